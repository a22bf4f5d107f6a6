"""Each context in a database of its own, under a user that may do nothing else."""
import json
import os
import subprocess

import psycopg2
import pytest

from conftest import BINARY, wait_for
from faultlib import Cluster, Serve

CONTEXTS = ("events", "users", "tickets", "bus", "jobs", "gateway")


def url(cluster, context, user="usher"):
    return cluster.url.replace("/usher?", f"/only_{context}?").replace("user=usher", f"user={user}")


def run_in(target, text, *values):
    connection = psycopg2.connect(target)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(text, values)
            return cursor.fetchall() if cursor.description else None
    finally:
        connection.close()


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        for context in CONTEXTS:
            run_in(cluster.url, f"CREATE DATABASE only_{context}")
        environment = {f"{c.upper()}_DATABASE_URL": url(cluster, c) for c in CONTEXTS}
        for command in (["migrate", "up"], ["migrate", "verify"], ["doctor"]):
            done = subprocess.run([BINARY, *command], capture_output=True, text=True,
                                  env={**os.environ, "DATABASE_URL": "", "LISTEN": "127.0.0.1:0", **environment})
            assert done.returncode == 0, done.stdout + done.stderr
        for context in CONTEXTS:
            run_in(cluster.url, f"CREATE USER app_{context} IN ROLE usher_{context}")
        yield cluster


@pytest.fixture(scope="module")
def server(cluster):
    environment = {f"{c.upper()}_DATABASE_URL": url(cluster, c, f"app_{c}") for c in CONTEXTS}
    with Serve(cluster, {"DATABASE_URL": "", "SET_ROLE": "false", **environment}) as server:
        yield server


def test_the_contexts_share_nothing_but_messages(cluster, server):
    event = server.new_event(price=12.5)
    seats = server.tickets(event)
    user = server.new_user()
    wait_for(lambda: run_in(url(cluster, "tickets"), "SELECT count(*) FROM tickets.users")[0][0] == 1, what="the user's copy")
    answer = server.post(f"/events/{event}/tickets/purchase", {"userId": user, "ticketIds": [seats[0]["Id"]]})
    assert answer.status == 204
    assert [t["Id"] for t in server.get(f"/events/{event}/tickets/user/{user}").json()] == [seats[0]["Id"]]
    for context in CONTEXTS:
        schemas = run_in(url(cluster, context), "SELECT nspname FROM pg_namespace WHERE nspname IN ('events', 'users', 'tickets', 'bus', 'jobs', 'gateway')")
        assert schemas == [(context,)]


def test_one_context_s_database_away_leaves_the_others_serving(cluster, server):
    event = server.new_event(day=9)
    server.tickets(event)
    run_in(cluster.url, "ALTER DATABASE only_tickets ALLOW_CONNECTIONS false")
    run_in(cluster.url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'only_tickets'")
    try:
        answer = server.get(f"/events/{event}/tickets")
        assert answer.status == 503 and "retry-after" in answer.headers
        assert server.get(f"/events/{event}").status == 200
        later = server.new_event(day=10)
        server.new_user("other@example.com")
    finally:
        run_in(cluster.url, "ALTER DATABASE only_tickets ALLOW_CONNECTIONS true")
    server.tickets(later)


def test_a_context_s_user_may_not_touch_another_s_tables(cluster):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        run_in(url(cluster, "events", "app_users"), "SELECT * FROM events.events")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        run_in(url(cluster, "events", "app_events"), "DROP TABLE events.events")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        run_in(url(cluster, "events", "app_events"), "DELETE FROM events.schema_migrations")


def test_a_database_that_is_not_configured_is_named():
    done = subprocess.run([BINARY, "serve"], capture_output=True, text=True,
                          env={**os.environ, "DATABASE_URL": "", "EVENTS_DATABASE_URL": "postgresql:///x"})
    assert done.returncode == 2 and "USERS_DATABASE_URL" in done.stderr
    done = subprocess.run([BINARY, "doctor", "--json"], capture_output=True, text=True, env={**os.environ, "DATABASE_URL": ""})
    assert all(r["finding"] == "wrong" for r in json.loads(done.stdout) if r["subject"] in CONTEXTS)
