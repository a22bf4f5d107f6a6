"""Stages: who is answered by which side, the gates before a step, and the way back."""
import json
import os
import signal
import threading
import time

import pytest

from conftest import Usher, wait_for, waiting_in
from shadowlib import EVENT, Backend, Gateway, event, hammer


@pytest.fixture
def old():
    backend = Backend("old", lambda h, body: Backend.json(event(), headers={"X-Side": "old"}))
    yield backend
    backend.close()


@pytest.fixture
def new():
    backend = Backend("new", lambda h, body: Backend.json(event(), headers={"X-Side": "new"}))
    yield backend
    backend.close()


SECRET = "a secret of sixteen bytes or more"


@pytest.fixture
def gateway(shared_server, old, new):
    env = {"GATEWAY_TESTER_SECRET": SECRET, "CANARY_KEY": "cookie:user", "SHADOW_BACK": "false"}
    with Gateway(shared_server.url(), old.url, new.url, env=env, workers=2) as made:
        made.clear()
        yield made
        made.clear()


def side(gateway, method="GET", **kw):
    return gateway.request(method, "/events/" + EVENT, **kw).headers["x-side"]


def test_stages_there_and_back_with_their_audit(gateway):
    assert side(gateway) == "old"
    assert gateway.stage("events", "reads", "shadow").stdout.startswith("events reads: legacy → shadow")
    assert gateway.stage("events", "reads", "promote", check=1).stdout.count("not available") == 4, "gates refuse"
    gateway.cli("cutover", "promote", "events", "--force", check=2)  # without a reason
    gateway.stage("events", "reads", "promote", "--force")
    wait_for(lambda: side(gateway) == "new", what="promoted")
    assert side(gateway, "PUT") == "old", "writes are a stage of their own"
    assert gateway.get("/users").headers["x-side"] == "old", "as are other contexts"
    gateway.stage("events", "reads", "rollback", "--route", "GET /events")
    wait_for(lambda: gateway.get("/events").headers["x-side"] == "old", what="one route goes its own way")
    assert side(gateway) == "new"
    gateway.stage("events", "reads", "rollback")
    wait_for(lambda: side(gateway) == "old", what="rolled back")
    changes = json.loads(gateway.cli("cutover", "status", "--json").stdout)["changes"]
    assert [(c["from_stage"], c["to_stage"], c["forced"], c["why"]) for c in reversed(changes)] == [
        ("legacy", "shadow", False, "test"), ("shadow", "new", True, "test"), ("legacy", "shadow", False, "test"),
        ("new", "shadow", False, "test")]
    assert all(c["who"] for c in changes)


def test_a_canary_is_sticky_and_grows(gateway):
    gateway.stage("events", "reads", "canary", "--percent", "30", "--force")
    users = [f"user-{i}" for i in range(100)]

    def taken():
        return {u for u in users if side(gateway, headers={"Cookie": f"a=b; user={u}"}) == "new"}

    first = wait_for(lambda: (a := taken()) and a == taken() and a, what="somebody is taken")
    assert 15 <= len(first) <= 45
    assert taken() == first
    gateway.stage("events", "reads", "canary", "--percent", "60", "--force")
    wait_for(lambda: len(taken()) > len(first), what="it grows")
    assert first <= taken()


def test_a_canary_by_address_looks_behind_trusted_proxies(shared_server, old, new):
    """A load balancer in front has one address; its clients have theirs."""
    env = {"CANARY_KEY": "address", "GATEWAY_TRUSTED_PROXIES": "127.0.0.1", "SHADOW_BACK": "false"}
    with Gateway(shared_server.url(), old.url, new.url, env=env) as gateway:
        gateway.clear()
        gateway.stage("events", "reads", "canary", "--percent", "50", "--force")

        def sides():
            return {n: side(gateway, headers={"X-Forwarded-For": f"192.0.2.{n}"}) for n in range(40)}

        first = wait_for(lambda: set((found := sides()).values()) == {"old", "new"} and found == sides() and found, what="the canary")
        assert sides() == first
        assert len({side(gateway, headers={"X-Forwarded-For": f"192.0.2.{n}, 127.0.0.1"}) for n in range(40)}) == 2
        gateway.clear()


def test_testers_choose_by_a_signature(gateway):
    def sign(side_, *args):
        return dict([gateway.cli("cutover", "sign", side_, *args).stdout.strip().split(": ")])

    assert side(gateway, headers=sign("new")) == "new"
    assert side(gateway, headers={"Usher-Side": sign("new")["Usher-Side"][:-1] + "x"}) == "old"
    assert side(gateway, headers=sign("new", "--for", "0s")) == "old"
    gateway.stage("events", "reads", "promote", "--force")
    wait_for(lambda: side(gateway) == "new", what="promoted")
    assert side(gateway, headers=sign("legacy")) == "old"


def test_a_stage_changes_under_load_and_nobody_notices(gateway):
    with hammer(gateway) as results:
        for step in ("shadow", "canary", "promote", "rollback", "promote", "rollback"):
            gateway.stage("events", "reads", step, *(["--force"] if step in ("canary", "promote") else []))
            n = len(results)
            wait_for(lambda: len(results) > n + 50, what="load goes on")
    assert {status for status, _ in results} == {200}


def test_writes_wait_while_they_are_switched(gateway, old, new):
    """A write in work on the old side ends there before one begins on the new side; none fails."""
    in_work, lock, both = {"old": 0, "new": 0}, threading.Lock(), []

    def serve(name):
        def answer(handler, body):
            with lock:
                in_work[name] += 1
                both.append(all(in_work.values()))
            time.sleep(0.01)
            with lock:
                in_work[name] -= 1
            return Backend.json(event(), headers={"X-Side": name})
        return answer

    old.answer, new.answer = serve("old"), serve("new")
    with hammer(gateway, method="PUT", body="{}") as results:
        wait_for(lambda: len(results) > 50, what="load")
        out = gateway.stage("events", "writes", "promote", "--force", "--pause", "20s").stdout
        assert "writes waited" in out and "for 1 gateways" in out
        n = new.count("PUT")
        wait_for(lambda: new.count("PUT") > n + 50, what="the new side writes")
        gateway.stage("events", "writes", "rollback", "--pause", "20s")
        n = old.count("PUT")
        wait_for(lambda: old.count("PUT") > n + 50, what="the old side writes again")
    assert {status for status, _ in results} == {200}
    assert not any(both), "both sides wrote at once"


def test_a_switch_that_cannot_come_to_rest_is_called_off(gateway, old):
    release = threading.Event()
    old.answer = lambda h, body: release.wait(60) and Backend.json(event(), headers={"X-Side": "old"})
    stuck = threading.Thread(target=lambda: gateway.request("PUT", "/events/" + EVENT, body="{}"), daemon=True)
    stuck.start()
    wait_for(lambda: old.count("PUT") == 1, what="a write that does not end")
    done = gateway.stage("events", "writes", "promote", "--force", "--pause", "1s", check=1)
    assert "called off" in done.stderr
    release.set()
    stuck.join(60)
    assert side(gateway, "PUT", body="{}") == "old"
    assert gateway.sql("SELECT stage, paused_until FROM gateway.stages") == [("legacy", None)]


def test_it_steps_back_by_itself(gateway, new, old):
    gateway.stage("events", "reads", "promote", "--force")
    wait_for(lambda: side(gateway) == "new", what="promoted")
    n = [0]

    def failing(handler, body):
        n[0] += 1
        return Backend.json(event(), headers={"X-Side": "new"}, status=500 if n[0] % 50 == 0 else 200)

    with hammer(gateway) as results:
        wait_for(lambda: len(results) > 100, what="load")
        new.answer = failing
        wait_for(lambda: gateway.sql("SELECT stage FROM gateway.stages") == [("shadow",)], limit=120, what="a step back")
    assert side(gateway) == "old"
    assert -1 not in {status for status, _ in results}, "no request was dropped"
    (who, why), = gateway.sql("SELECT who, why FROM gateway.stage_changes WHERE to_stage = 'shadow'")
    assert who == "usher" and "error budget" in why


def test_what_the_file_gives_to_a_context_is_switched_and_counted_with_it(shared_server, old, new, tmp_path):
    routes = tmp_path / "routes.json"
    routes.write_text(json.dumps({"routes": [
        {"name": "search", "path": "/search", "methods": ["POST"], "context": "events", "group": "reads"},
        {"name": "find", "path": "/find", "context": "events", "group": "reads"},
        {"name": "users.mine", "methods": ["GET"], "path": "/users", "context": "events", "group": "reads"},
        {"name": "kept", "methods": ["GET"], "path": "/events"}]}))
    env = {"GATEWAY_ROUTES": str(routes), "SHADOW_BACK": "false"}
    with Gateway(shared_server.url(), old.url, new.url, env=env) as gateway:
        gateway.clear()

        def of(method, path):
            return gateway.request(method, path).headers["x-side"]

        gateway.stage("events", "reads", "shadow")
        new.answer = lambda h, body: Backend.json(event(price=13), headers={"X-Side": "new"})
        wait_for(lambda: gateway.get("/find") and gateway.tally("other events reads")["real"] > 0, what="its difference")
        says = {g["name"]: g for g in json.loads(gateway.cli("cutover", "plan", "events", "--json", check=1).stdout)["gates"]}
        assert "other events reads up to" in says["differences"]["says"]
        gateway.stage("events", "reads", "promote", "--force")
        wait_for(lambda: of("GET", "/find") == "new", what="promoted")
        assert [of("POST", "/search"), of("GET", "/users"), of("HEAD", "/users")] == ["new", "new", "old"]
        assert of("GET", "/events") == "old", "a route without context is never switched"
        assert of("GET", "/events/" + EVENT) == "new", "usher's own routes go with it"
        new.answer = lambda h, body: Backend.json({}, headers={"X-Side": "new"}, status=500)
        with hammer(gateway, path="/find"):
            wait_for(lambda: gateway.sql("SELECT stage FROM gateway.stages") == [("shadow",)], limit=120, what="a step back")
        gateway.clear()


def test_what_is_retired_says_so_and_then_is_gone(gateway):
    gateway.stage("events", "reads", "retire", "--gone", "30d", check=2)  # not yet promoted
    gateway.stage("events", "reads", "promote", "--force")
    gateway.stage("events", "reads", "retire", "--gone", "30d", "--deprecated", "2026-01-02")
    answer = wait_for(lambda: (a := gateway.get(headers={"User-Agent": "old-app/1"})) and "sunset" in a.headers and a, what="sunset")
    assert answer.status == 200 and answer.headers["deprecation"] == "@1767312000"
    assert answer.headers["sunset"].endswith(" GMT")
    wait_for(lambda: [c for c in json.loads(gateway.cli("cutover", "status", "--json").stdout)["callers"]
                      if "old-app/1" in c["caller"]], what="who still calls")
    gateway.stage("events", "reads", "retire", "--gone", "2026-01-03")
    wait_for(lambda: gateway.get().status == 410, what="gone")


def test_gates_hold_when_there_is_enough_and_it_is_equal(gateway, old, new):
    def plan(check=None):
        return {g["name"]: g for g in json.loads(gateway.cli("cutover", "plan", "events", "--json", "--samples", "60",
                                                             "--limit", "5", check=check).stdout)["gates"]}

    gates = plan(check=1)
    assert {gates[n]["state"] for n in ("comparisons", "differences", "errors", "latency")} == {"inconclusive"}
    assert gates["parity"]["state"] == gates["sync lag"]["state"] == "not available"
    assert gates["outbox"]["state"] == "holds"
    gateway.stage("events", "reads", "shadow")
    with hammer(gateway):  # not one of a thousand failed: then it is surely less than 0.3 %
        wait_for(lambda: plan()["errors"]["state"] == "holds", limit=60, what="errors are known")
    gates = plan()
    assert "GET /events has 0" in gates["comparisons"]["says"], "every route must have been compared"
    with hammer(gateway, path="/events") as results:
        wait_for(lambda: plan()["comparisons"]["state"] == "holds", what="comparisons")
    gates = wait_for(lambda: (g := plan())["differences"]["state"] == "holds" and g, what="differences")
    assert "Clopper-Pearson" in gates["differences"]["says"]
    new.answer = lambda h, body: Backend.json(event(price=1), headers={"X-Side": "new"})
    with hammer(gateway):
        wait_for(lambda: plan()["differences"]["state"] == "fails", limit=60, what="real differences close the gate")
    gateway.stage("events", "reads", "promote", "--samples", "60", check=1)
    assert side(gateway) == "old"


def test_the_last_known_stage_goes_on_without_postgres(old, new):
    with Usher() as own:
        with Gateway(own.url(), old.url, new.url) as gateway:
            gateway.stage("events", "reads", "promote", "--force")
            wait_for(lambda: side(gateway) == "new", what="promoted")
            own.stop()
            with hammer(gateway) as results:
                wait_for(lambda: len(results) > 300, what="load")
                before = gateway.pids("gateway")
                os.kill(before[0], signal.SIGKILL)
                wait_for(lambda: (now := gateway.pids("gateway")) and now != before, limit=60, what="another gateway worker")
                os.kill(gateway.pids("shadow")[0], signal.SIGKILL)
            wait_for(lambda: gateway.answers() and side(gateway) == "new", what="by the stages that were known")
            own.start()
            gateway.stage("events", "reads", "rollback")
            wait_for(lambda: side(gateway) == "old", limit=60, what="following again")


def test_a_long_outage_of_postgres_ends_nothing(old, new):
    """Longer than any statement is given. Behind it counts go on, and what fails steps back: once, and another time."""
    failing = []
    new.answer = lambda h, body: Backend.json(event(), headers={"X-Side": "new"}, status=500 if failing else 200)
    with Usher() as own:
        with Gateway(own.url(), old.url, new.url, env={"SHADOW_BACK": "false"}) as gateway:
            gateway.stage("events", "reads", "promote", "--force")
            wait_for(lambda: side(gateway) == "new", what="promoted")
            own.stop()
            until = time.monotonic() + 6  # the fault's length
            wait_for(lambda: time.monotonic() > until)
            own.start()

            def counted():
                return gateway.sql("SELECT coalesce(sum(requests), 0) FROM gateway.traffic WHERE side = 'new'")[0][0]

            before = wait_for(lambda: (n := counted()) > 0 and n, 60, "the database again")
            wait_for(lambda: gateway.get() and counted() > before, 60, "counts")
            for _ in range(2):
                with hammer(gateway):
                    failing.append(True)
                    wait_for(lambda: gateway.sql("SELECT stage FROM gateway.stages") == [("shadow",)], limit=120, what="a step back")
                failing.clear()
                until = time.monotonic() + 5
                wait_for(lambda: time.monotonic() > until)
                gateway.stage("events", "reads", "promote", "--force")
                wait_for(lambda: side(gateway) == "new", what="promoted again")


def test_what_has_had_its_time_goes(shared_server, old, new):
    """Callers and causes are named by whoever comes and answers, so that their number must be bounded, too."""
    gateway = Gateway(shared_server.url(), old.url, new.url)
    gateway.clear()
    gateway.sql("INSERT INTO gateway.callers SELECT 'GET /events', 'caller ' || n, 1, now(), now() - n * interval '1 second' "
                "FROM generate_series(1, 11200) n")
    gateway.sql("INSERT INTO gateway.callers SELECT 'GET /users', 'caller ' || n, 1, now(), now() - interval '91 days' FROM generate_series(1, 700) n")
    gateway.sql("INSERT INTO gateway.clusters (route, pointer, kind, class, count, first_seen, last_seen, old_value, new_value) "
                "SELECT 'GET /events', '/' || n, 'value', 'real', 1, now(), now() - n * interval '1 second', '', '' FROM generate_series(1, 10200) n")
    gateway.sql("INSERT INTO gateway.samples (cluster_id, taken_at, method, target, request_headers, request_body, old_status, old_headers, old_body, "
                "new_status, new_headers, new_body, differences) SELECT id, now(), '', '', '', '', 200, '', '', 200, '', '', '' FROM gateway.clusters")
    gateway.sql("INSERT INTO gateway.tallies SELECT 'GET /events', 'live', date_trunc('minute', now()) - n * interval '1 day', 'events', 'reads', "
                "1, 1, 0, 0, 0, 0, 0 FROM generate_series(1, 40) n")
    gateway.sql("INSERT INTO gateway.traffic SELECT gen_random_uuid(), 'GET /events', 'legacy', date_trunc('minute', now()) - n * interval '1 day', "
                "'events', 'reads', 1, 0, 1, '' FROM generate_series(1, 40) n")
    with gateway:
        def left():
            return [gateway.sql(f"SELECT count(*) FROM gateway.{table}")[0][0] for table in ("callers", "clusters", "samples", "tallies", "traffic")]
        try:
            wait_for(lambda: left() == [10000, 10000, 10000, 29, 29], 60, "what is left")
        except AssertionError as error:
            raise AssertionError(left(), "".join(gateway.log[-5:])) from error
        assert gateway.sql("SELECT max(substr(caller, 8)::integer) FROM gateway.callers") == [(10000,)], "those seen last stay"
        gateway.clear()


def test_what_is_published_waits_no_more(server, old, new):
    """Rows stay in the outbox for a while behind their publication: the gate counts those that wait."""
    gateway = Gateway(server.url(), old.url, new.url)
    with gateway:
        server.sql("INSERT INTO events.outbox (message_id, type, aggregate, payload, appended_at) "
                   "SELECT gen_random_uuid(), 'Nobody:Listens', gen_random_uuid(), '{}', now() FROM generate_series(1, 1500)")
        assert server.sql("SELECT count(*) > 1000 FROM events.outbox") == [(True,)]
        wait_for(lambda: server.sql(f"SELECT {waiting_in('events')}")[0][0] == 0, what="published")
        gates = json.loads(gateway.cli("cutover", "plan", "events", "--json", check=1).stdout)["gates"]
        assert {"name": "outbox", "state": "holds"}.items() <= next(g for g in gates if g["name"] == "outbox").items(), gates
        gateway.clear()
