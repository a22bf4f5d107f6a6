"""The role `jobs` as an operator sees it: what a worker did with a job that `usher jobs` inserted."""
import json

import psycopg2

from conftest import Usher, wait_for, waiting_in


def run(usher, kind):
    """One job of that kind in the tickets context, from its insertion to its end."""
    usher.cli("jobs", "run", kind, "--context", "tickets", check=0)

    def ended():
        rows = [json.loads(line) for line in usher.cli("jobs", "list", "--context", "tickets", "--kind", kind, "--json", check=0).stdout.splitlines()]
        return rows and all(row["state"] == "completed" for row in rows) and rows
    return wait_for(ended, 60, f"{kind} to end")


def test_the_inbox_is_pruned_by_the_window_that_is_set():
    with Usher(env={"INBOX_KEEP": "10d"}) as usher:
        usher.sql("""INSERT INTO tickets.inbox SELECT gen_random_uuid(), c, now() - d * interval '1 day'
                     FROM (VALUES ('one', 9), ('one', 11), ('two', 11), ('two', 9)) AS v (c, d), generate_series(1, 3000)""")
        run(usher, "inbox_prune")
        assert usher.sql("SELECT consumer, count(*) FROM tickets.inbox WHERE consumer IN ('one', 'two') GROUP BY 1 ORDER BY 1") == [
            ("one", 3000), ("two", 3000)]
        assert usher.sql("SELECT count(*) FROM tickets.inbox WHERE received_at < now() - interval '10 days'") == [(0,)]


def test_the_outbox_is_rotated_by_its_job_and_left_to_it_by_the_relay():
    with Usher() as usher:
        def rotate():
            """The cron line may have been faster; then there is one already, and it does the same."""
            usher.cli("jobs", "run", "outbox_rotate", "--context", "events")

        def slots():
            return [usher.sql(f"SELECT count(*) FROM events.outbox_{slot}")[0][0] for slot in range(4)]
        rotate()
        kept = wait_for(lambda: usher.sql("SELECT marked_at FROM events.outbox_marks WHERE bucket = -1"), 90, "the job's mark")
        for slot in range(3):  # the first two are full, as far as anybody can see
            usher.sql("SELECT setval('events.outbox_position_seq', %s)", (slot << 17) + 1)
            usher.new_event(day=2 + slot)
        wait_for(lambda: usher.sql(f"SELECT {waiting_in('events')}") == [(0,)], 60, "all to be published")
        assert usher.sql("SELECT now() - %s < interval '150 seconds'", kept[0][0]) == [(True,)], "no relay may rotate yet"
        assert [n > 0 for n in slots()] == [True, True, True, False]
        rotate()
        wait_for(lambda: slots()[:2] == [0, 0], 90, "the job to empty what is published")
        assert slots()[2] == 1, "what is written to now stays"
        assert wait_for(lambda: usher.sql("SELECT sum(n)::int FROM events.job_tallies WHERE kind = 'outbox_rotate' AND outcome = 'snooze'")[0][0],
                        30, "its tally: it looks again soon")
        last = usher.new_event(day=9)
        assert len(wait_for(lambda: len(t := usher.tickets(last)) == 15 and t, 60)) == 15, "and messages go on"


def test_a_postgres_that_does_not_answer_is_given_up(server):
    with psycopg2.connect(server.url()) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE tickets.jobs IN ACCESS EXCLUSIVE MODE")
        done = server.cli("jobs", "list", "--context", "tickets", check=2)
        assert "has not answered in time" in done.stderr, done.stderr
        other.rollback()
    server.cli("jobs", "list", "--context", "tickets", check=0)
