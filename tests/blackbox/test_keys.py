"""Idempotency keys while workers, and Postgres' backends, are killed: a client that asks again under its key gets the answer to its one effect,
whether the kill came before the commit, between commit and answer, or between the answer's bytes."""
import http.client
import json
import threading

import pytest

from conftest import wait_for
from faultlib import Cluster, Serve

API = "application/vnd.api+json"
CLIENTS, REQUESTS = 6, 80
BETWEEN = 80  # answers between kills: workers that die often are started ever later


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


class Client(threading.Thread):
    """Creates users, each under a key of its own and again until there is an answer; remembers every answer."""

    def __init__(self, server, number):
        super().__init__(daemon=True)
        self.server, self.number = server, number
        self.answers, self.again, self.wrong = {}, 0, []
        self.goes_on = lambda: False  # after REQUESTS

    def ask(self, n):
        email = f"key{self.number}.{n}@example.com"
        body = {"data": {"type": "users", "attributes": {"fullName": "Ann", "email": email, "userType": "Customer"}}}
        headers = {"Content-Type": API, "Idempotency-Key": f'"{self.number}-{n}"'}
        return email, self.server.request("POST", "/api/users", json.dumps(body), headers=headers)

    def until_answered(self, n):
        for _ in range(2000):
            try:
                email, answer = self.ask(n)
            except (OSError, http.client.HTTPException):
                self.again += 1
                continue
            in_flight = answer.status == 409 and answer.json()["errors"][0]["code"] == "in-flight"
            if answer.status == 503 or in_flight:
                self.again += 1
                continue
            return email, answer
        raise AssertionError("no answer in 2000 attempts")

    def run(self):
        try:
            while len(self.answers) < REQUESTS or self.goes_on():
                email, answer = self.until_answered(len(self.answers))
                if answer.status != 201:
                    self.wrong.append((email, answer))
                self.answers[email] = answer.body
        except Exception as failure:  # told by the test
            self.wrong.append(failure)


@pytest.mark.parametrize("victim", ["http", "backends"])
def test_a_key_has_one_effect_whatever_is_killed(cluster, victim):
    with Serve(cluster, env={"ROLES": "http", "HTTP_WORKERS": "2"}) as server:
        server.sql("DELETE FROM users.users")
        clients = [Client(server, f"{victim}{i}") for i in range(CLIENTS)]
        for client in clients:
            if victim == "http":
                client.goes_on = lambda: not any(c.again or c.wrong for c in clients)  # until a kill was felt
            client.start()
        kills = 0
        while any(client.is_alive() for client in clients):
            if victim == "http":
                server.kill("http")
            else:
                server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'usher/%%' AND state <> 'idle'")
            kills += 1
            seen = sum(len(c.answers) for c in clients)
            wait_for(lambda: sum(len(c.answers) for c in clients) >= seen + BETWEEN or not any(c.is_alive() for c in clients), limit=60,
                     what="some answers between kills")
        assert [c.wrong for c in clients if c.wrong] == []
        assert kills >= 1  # how many more fit in depends on the machine
        emails = [email for c in clients for email in c.answers]
        assert len(emails) >= CLIENTS * REQUESTS
        assert server.sql("SELECT count(*), count(DISTINCT email) FROM users.users") == [(len(emails), len(emails))]
        for client in clients:  # and once more: the same answer, the same id
            for n in range(len(client.answers)):
                email, answer = client.until_answered(n)
                assert (answer.status, answer.body) == (201, client.answers[email])


def test_a_key_of_another_request_is_refused_also_after_a_kill(cluster):
    with Serve(cluster, env={"ROLES": "http"}) as server:
        client = Client(server, "other")
        email, answer = client.until_answered(0)
        assert answer.status == 201
        server.kill("http")
        body = {"data": {"type": "users", "attributes": {"fullName": "Bob", "email": "bob@example.com", "userType": "Customer"}}}
        refused = wait_for(lambda: server.request("POST", "/api/users", json.dumps(body),
                                                  headers={"Content-Type": API, "Idempotency-Key": '"other-0"'}), what="an answer")
        assert (refused.status, refused.json()["errors"][0]["code"]) == (422, "key-reused")
        assert server.sql("SELECT count(*) FROM users.users WHERE email = 'bob@example.com'") == [(0,)]
