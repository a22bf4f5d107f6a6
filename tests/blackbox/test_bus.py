"""Outbox, relays and dead letters as an operator sees them: several relays, slots that go, a pooler in between, `usher bus`."""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import uuid

import pytest

from conftest import START_LIMIT, free_port, wait_for, waiting_in
from faultlib import Cluster, Load, Serve, as_postgres, check_books
from test_messages import event_message, put, settled


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


def empty(cluster):
    cluster.sql("TRUNCATE events.events, events.outbox, events.outbox_marks, users.users, users.outbox, users.outbox_marks, "
                "tickets.tickets, tickets.reservations, tickets.events, tickets.users, tickets.inbox, bus.messages, bus.dead")


# --- usher bus ---------------------------------------------------------------------------------------------------------------


def bus(server, *args, check=0):
    done = server.cli("bus", *args, "--json", check=check)
    return json.loads(done.stdout) if check == 0 else done.stderr


def test_dead_letters_are_grouped_shown_retried_and_discarded(server):
    event = str(uuid.uuid4())
    for _ in range(3):
        put(server, "Integration.Events.Messaging:EventUpserted", "{}")
    unheard = put(server, "Unit:Unheard", {"id": event})
    kept = put(server, "Integration.Events.Messaging:EventUpserted", event_message(event, price=[1]), event)
    settled(server)

    groups = bus(server, "dead", "list")
    assert sorted((g["count"], g["reason"]) for g in groups) == [
        (1, "The message's price is not a number."), (1, "skipped: nothing here takes Unit:Unheard"), (3, "The message's id is missing.")]
    assert "3  tickets-inbox-events" in server.cli("bus", "dead", "list", check=0).stdout
    status = bus(server, "status")
    assert [q["dead"] for q in status["queues"] if q["queue"] == "tickets-inbox-events"] == [5]
    assert [o["waiting"] for o in status["outboxes"]] == [0, 0]

    shown = bus(server, "dead", "show", "--reason", "The message's price is not a number.")
    assert len(shown) == 1 and shown[0]["id"] == kept and json.loads(shown[0]["body"])["price"] == [1]
    assert shown[0]["headers"]["attempts"] == 1 and shown[0]["fault"] == "The message's price is not a number."

    # Mended by hand (as a deployment would that can read it), then back, and again: nothing is doubled.
    server.sql("UPDATE bus.dead SET payload = %s WHERE message_id = %s", json.dumps(event_message(event)), kept)
    letter = shown[0]["letter"]
    assert bus(server, "dead", "retry", letter) == {"retried": 1}
    wait_for(lambda: server.sql("SELECT count(*) FROM tickets.tickets WHERE event_id = %s", event)[0][0], what="tickets")
    assert "no dead letter" in bus(server, "dead", "retry", letter, check=1)
    before = server.sql("SELECT ctid::text, xmin::text FROM tickets.tickets ORDER BY id")
    put(server, "Integration.Events.Messaging:EventUpserted", event_message(event), event, kept)
    settled(server)
    assert server.sql("SELECT ctid::text, xmin::text FROM tickets.tickets ORDER BY id") == before, "a second effect"

    assert bus(server, "dead", "retry", "--all", "--reason", "The message's id is missing.") == {"retried": 3}
    wait_for(lambda: server.sql("SELECT count(*) FROM bus.dead") == [(4,)], what="the three to die once more")
    assert "--all" in bus(server, "dead", "discard", check=2)
    assert bus(server, "dead", "discard", "--all") == {"discarded": 4}
    assert bus(server, "dead", "list") == []
    assert server.sql("SELECT count(*) FROM tickets.inbox WHERE message_id = %s", unheard) == [(0,)]


# --- several relays ----------------------------------------------------------------------------------------------------------


def test_relays_share_out_the_outbox_and_take_over(cluster):
    """Three relays under load, killed at random; every bucket that had messages was published, in order."""
    empty(cluster)
    with Serve(cluster, env={"RELAY_WORKERS": "3"}) as server:
        assert len(server.workers("relay")) == 3
        with Load(server) as load:
            load.go_on(100)
            server.kill("relay")
            load.go_on(100)
        check_books(server, load)
        # One of three stands still with nobody to take its place: its buckets are taken over.
        os.kill(server.workers("relay")[0], signal.SIGSTOP)
        frozen = server.workers("relay")[0]
        with Load(server) as load:
            load.go_on(100)
        check_books(server, load)
        os.kill(frozen, signal.SIGCONT)


def test_slots_are_emptied_and_rows_go_on(cluster):
    """Positions cross from slot to slot (the sequence is moved on); what is published goes although a session reads on for ever."""
    empty(cluster)
    with Serve(cluster, env={"ROLES": "http,relay"}) as server:
        pin = cluster.connect()
        with pin.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current()")
            for slot in range(6):
                cluster.sql("SELECT setval('events.outbox_position_seq', %s)", slot << 17 or 1)
                with Load(server, clients=1) as load:
                    load.go_on(5)
                wait_for(lambda: cluster.sql(f"SELECT {waiting_in('events')}") == [(0,)], what="all published")
                assert cluster.sql("SELECT count(DISTINCT slot) FROM events.outbox") == [(min(slot + 1, 4),)]
            server.stop()
        # Relays that start anew empty what they find, though the old snapshot is still held.
        with Serve(cluster, env={"ROLES": "relay"}):
            wait_for(lambda: cluster.sql("SELECT count(DISTINCT slot) FROM events.outbox")[0][0] == 1, limit=180, what="emptied slots")
        pin.close()


# --- a pooler in between -----------------------------------------------------------------------------------------------------


PGBOUNCER = "/usr/sbin/pgbouncer"


@pytest.mark.skipif(not os.path.exists(PGBOUNCER), reason="pgbouncer is not installed")
def test_behind_pgbouncer_in_transaction_mode(cluster):
    empty(cluster)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="usher-pooler-"))
    folder.chmod(0o777)
    port = free_port()
    (folder / "ini").write_text(f"""[databases]
usher = host={cluster.run} dbname=usher user=usher
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 6
max_client_conn = 200
""")
    pooler = subprocess.Popen(as_postgres(PGBOUNCER, "-q", str(folder / "ini")), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              cwd="/", text=True)
    try:
        url = f"postgresql://usher@127.0.0.1:{port}/usher"
        env = {"DATABASE_URL": url, "DATABASE_POOLED": "true", "SET_ROLE": "false", "RELAY_POLL": "50ms", "RELAY_WORKERS": "2"}
        with Serve(cluster, env=env) as server:
            wait_for(lambda: server.get("/events").status == 200, START_LIMIT, "service through the pooler")
            with Load(server) as load:
                load.go_on(100)
                server.kill("relay")
                load.go_on(100)
            check_books(server, load)
            said = server.cli("doctor", env=env).stdout
            assert "polling" in said and "DATABASE_POOLED" in said, said
        # Without the setting usher says what stands in its way.
        said = server.cli("doctor", env={**env, "DATABASE_POOLED": "false"}).stdout
        assert "set DATABASE_POOLED=true" in said, said
    finally:
        pooler.terminate()
        pooler.wait(20)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
