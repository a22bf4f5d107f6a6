"""The role `jobs` as an operator sees it: what a worker did with a job that `usher jobs` inserted."""
import json

from conftest import Usher, wait_for


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
