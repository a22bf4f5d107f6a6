"""Mirrored reads: what is compared, what is found, and that no client ever notices."""
import json
import os
import signal
import subprocess

import pytest

from conftest import BINARY, ROOT, Usher, wait_for
from otel import Collector
from shadowlib import EVENT, Backend, Gateway, event, hammer


@pytest.fixture
def old():
    backend = Backend("old")
    yield backend
    backend.close()


@pytest.fixture
def new():
    backend = Backend("new")
    yield backend
    backend.close()


@pytest.fixture
def gateway(shared_server, old, new):
    with Gateway(shared_server.url(), old.url, new.url) as made:
        made.clear()
        yield made
        made.clear()


def in_shadow(gateway, new):
    gateway.stage("events", "reads", "shadow")
    wait_for(lambda: gateway.get().status == 200 and new.count(mirrored=True) > 0, what="mirroring began")


def test_reads_are_mirrored_and_equal_ones_counted(gateway, old, new):
    assert gateway.get().status == 200
    assert new.count() == 0, "stage legacy mirrors nothing"
    in_shadow(gateway, new)
    before = new.count(mirrored=True)
    for _ in range(20):
        assert gateway.get().json()["Price"] == 12.5
    assert gateway.request("POST", "/events", body="{}").status == 200
    wait_for(lambda: new.count(mirrored=True) >= before + 20, what="all mirrored")
    assert new.count("POST") == 0, "writes are of another stage"
    assert new.count(mirrored=False) == 0, "no client was answered by the new side"
    wait_for(lambda: gateway.tally()["equal"] >= 20, what="counts")
    assert gateway.diffs()["causes"] == []


def test_a_difference_is_found_explained_expected_and_replayed(gateway, old, new, tmp_path):
    new.answer = lambda h, body: Backend.json(event(price=13.5, Email="new@x.io"))
    old.answer = lambda h, body: Backend.json(event(price=12.5, Email="old@x.io"))
    in_shadow(gateway, new)
    causes = wait_for(lambda: (rows := gateway.diffs()["causes"]) and len(rows) == 2 and rows, what="causes")
    price = next(c for c in causes if c["pointer"] == "/Price")
    assert (price["route"], price["kind"], price["class"]) == ("GET /events/{id}", "value", "real")
    assert (price["old_value"], price["new_value"]) == ("12.5", "13.5")
    shown = wait_for(lambda: (s := json.loads(gateway.cli("diffs", "show", str(price["id"]), "--json").stdout))["samples"] and s)
    assert "x.io" not in json.dumps(shown), "personal data is never kept"
    assert shown["samples"][0]["old_status"] == 200
    said = gateway.cli("diffs", "explain", str(price["id"])).stdout
    assert "Class real" in said and "13.5" in said

    recording = tmp_path / "sample.json"
    recording.write_text(gateway.cli("diffs", "export", str(price["id"])).stdout)
    assert gateway.cli("replay", str(recording), "--against", old.url).returncode == 0
    assert "/Price" in gateway.cli("replay", str(recording), "--against", new.url, check=1).stdout

    gateway.cli("diffs", "expect", str(price["id"]), "--until", "1d", check=2)  # no reason, no owner
    for cause in causes:
        gateway.cli("diffs", "expect", str(cause["id"]), "--reason", "fixed on the new side", "--owner", "ann", "--until", "1d")
    wait_for(lambda: gateway.get() and gateway.tally()["expected"] > 0, what="expected now")
    before = gateway.tally()["real"]
    gateway.sql("UPDATE gateway.expected_differences SET expires_at = now() - interval '1 second'")
    gateway.sql("NOTIFY gateway_stages")
    wait_for(lambda: gateway.get() and gateway.tally()["real"] > before, what="counts again")


def test_the_mirror_points_the_other_way_when_the_new_side_answers(gateway, old, new):
    """While data is kept in step the old side is the check: old is old and new is new in what is found, whoever answered the client."""
    new.answer = lambda h, body: Backend.json(event(price=13.5))
    gateway.stage("events", "reads", "promote", "--force")
    wait_for(lambda: gateway.get().json()["Price"] == 13.5 and old.count(mirrored=True) > 0, what="the old side is asked behind the new one")
    cause, = wait_for(lambda: gateway.diffs()["causes"], what="causes")
    assert (cause["pointer"], cause["class"], cause["old_value"], cause["new_value"]) == ("/Price", "real", "12.5", "13.5")
    gateway.stage("events", "reads", "rollback", "--legacy")
    wait_for(lambda: gateway.get().json()["Price"] == 12.5, what="rolled back")


def test_lag_and_noise_are_no_real_differences(gateway, old, new):
    numbers = iter(range(10 ** 9))
    old.answer = lambda h, body: Backend.json(event(traceId=f"old-{next(numbers)}"))
    new.answer = lambda h, body: Backend.json(event(traceId=f"new-{next(numbers)}"))
    in_shadow(gateway, new)
    wait_for(lambda: gateway.tally()["noisy"] > 0, what="noise")
    seen = set()

    def late(handler, body):  # right only when asked again
        again = handler.headers.get("X-Request") in seen
        seen.add(handler.headers.get("X-Request"))
        return Backend.json(event(price=12.5 if again else 1, traceId="new"))

    new.answer = late
    for i in range(5):
        gateway.get(headers={"X-Request": str(i)})
    wait_for(lambda: gateway.tally()["lag"] >= 5, what="lag")
    assert gateway.tally()["real"] == 0
    assert {c["class"] for c in gateway.diffs()["causes"]} == {"lag"}


CANDIDATES = {
    "dead": lambda h, body: None,
    "lying": lambda h, body: (200, {"Content-Type": "application/json"}, b'{"Price": 1e999999, "x": [' + b"[" * 200),
    "failing": lambda h, body: (500, {}, b"no"),
    "huge": lambda h, body: (200, {"Content-Type": "text/plain"}, b"x" * 2_000_000),
}


@pytest.mark.parametrize("kind", CANDIDATES)
def test_a_bad_candidate_is_the_clients_business_never(gateway, old, new, kind):
    in_shadow(gateway, new)
    new.answer = CANDIDATES[kind]
    with hammer(gateway) as results:
        wait_for(lambda: gateway.tally()["real"] > 0, what="differences are seen")
        wait_for(lambda: len(results) > 200, what="load")
    assert {status for status, _ in results} == {200}
    assert gateway.pids("shadow"), "it lives"


def test_a_candidate_that_never_answers_fills_a_bounded_queue(shared_server, old, new):
    from threading import Event
    done = Event()
    new.answer = lambda h, body: done.wait(60) and None
    env = {"SHADOW_CONCURRENCY": "1", "SHADOW_QUEUE": "64kB", "SHADOW_TIMEOUT": "10m"}
    with Gateway(shared_server.url(), old.url, new.url, env=env) as gateway:
        gateway.clear()
        in_shadow(gateway, new)
        with hammer(gateway) as results:
            wait_for(lambda: gateway.tally()["skipped"] > 0, limit=60, what="what has no room is skipped and counted")
        assert {status for status, _ in results} == {200}
        assert new.count() == 1
        done.set()
        gateway.clear()


def test_a_share_is_mirrored_and_the_rest_counted(shared_server, old, new):
    with Gateway(shared_server.url(), old.url, new.url, env={"SHADOW_SAMPLE": "25"}) as gateway:
        gateway.clear()
        in_shadow(gateway, new)
        asked = len([gateway.get() for _ in range(400)])
        tally = wait_for(lambda: (t := gateway.tally()) and t["compared"] + t["skipped"] >= asked and t, what="all counted")
        assert tally["compared"] == new.count(mirrored=True)
        share = tally["compared"] / (tally["compared"] + tally["skipped"])
        assert 0.13 < share < 0.38, tally  # five standard deviations to each side, and the one by which it was seen to begin
        gateway.clear()


def test_two_shadow_workers_share_the_copies(shared_server, old, new):
    """Each copy is compared once, by whoever has its gateway worker's ring; either may die."""
    env = {"SHADOW_WORKERS": "2", "RESTART_INTENSITY": "100"}
    with Gateway(shared_server.url(), old.url, new.url, env=env, workers=2) as gateway:
        gateway.clear()
        in_shadow(gateway, new)
        pids = wait_for(lambda: len(now := gateway.pids("shadow")) == 2 and now, what="two shadow workers")
        before = new.count(mirrored=True)
        for _ in range(200):
            gateway.get()
        wait_for(lambda: gateway.tally()["compared"] >= before + 200, what="all compared")
        assert gateway.tally()["compared"] == new.count(mirrored=True) == before + 200, "each once"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: pid not in (now := gateway.pids("shadow")) and len(now) == 2, limit=60, what="another one")
            compared = gateway.tally()["compared"]
            with hammer(gateway) as results:
                wait_for(lambda: gateway.tally()["compared"] > compared + 100, limit=60, what="comparing")
            assert {status for status, _ in results} == {200}
        gateway.clear()


def test_a_killed_shadow_worker_comes_back(shared_server, old, new):
    with Gateway(shared_server.url(), old.url, new.url, env={"RESTART_INTENSITY": "2"}) as gateway:
        gateway.clear()
        in_shadow(gateway, new)
        with hammer(gateway) as results:
            for _ in range(3):  # any other role's second death would end all
                before = wait_for(lambda: gateway.pids("shadow"), what="a shadow worker")
                os.kill(before[0], signal.SIGKILL)
                wait_for(lambda: (now := gateway.pids("shadow")) and now != before, limit=60, what="another one")
            compared = gateway.tally()["compared"]
            wait_for(lambda: gateway.tally()["compared"] > compared, limit=60, what="comparing again")
        assert {status for status, _ in results} == {200}
        assert gateway.process.poll() is None
        gateway.clear()


def test_ids_are_learnt_and_bind(gateway, old, new):
    seat = {"EventId": EVENT, "Price": 1, "SeatNumber": 1, "Purchased": False, "Reserved": False}
    ids = {"old": "aaaaaaaa-0000-4000-8000-000000000001", "new": "bbbbbbbb-0000-4000-8000-000000000002"}
    route, path = "GET /events/{id}/tickets", f"/events/{EVENT}/tickets"
    old.answer = lambda h, body: Backend.json([{**seat, "Id": ids["old"]}])
    new.answer = lambda h, body: Backend.json([{**seat, "Id": ids["new"]}])
    gateway.stage("tickets", "reads", "shadow")
    wait_for(lambda: gateway.get(path) and gateway.tally(route)["equal"] > 3, what="ids that differ are learnt")
    wait_for(lambda: gateway.sql("SELECT count(*) FROM gateway.id_pairs WHERE kind = 'ticket'") == [(1,)], what="kept")
    os.kill(gateway.pids("shadow")[0], signal.SIGKILL)  # what was learnt is known to the next one
    ids["new"] = "cccccccc-0000-4000-8000-000000000003"
    wait_for(lambda: gateway.get(path) and gateway.tally(route)["real"] > 0, limit=60, what="a contradiction counts")
    assert [c["kind"] for c in gateway.diffs()["causes"]] == ["id"]


def test_what_is_redacted_can_be_told_at_run_time(shared_server, old, new, tmp_path):
    conf = tmp_path / "usher.conf"
    conf.write_text("")
    new.answer = lambda h, body: Backend.json(event(price=1))
    with Gateway(shared_server.url(), old.url, new.url, env={"USHER_CONFIG": str(conf), "SHADOW_SAMPLES": "100"}) as gateway:
        gateway.clear()
        in_shadow(gateway, new)
        wait_for(lambda: gateway.sql("SELECT 1 FROM gateway.samples WHERE position('FirstDirectArena' in old_body) > 0"), limit=60, what="a sample")
        conf.write_text("SHADOW_REDACT=venue\n")
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: gateway.get() and gateway.sql("SELECT 1 FROM gateway.samples WHERE position('bytes redacted' in old_body) > 0"),
                 limit=60, what="a sample without it")
        gateway.clear()


def test_what_passes_is_recorded_redacted_and_replayed(shared_server, old, new, tmp_path):
    path = tmp_path / "recorded.json"
    made = iter(f"{i:08d}-0000-4000-8000-000000000000" for i in range(1, 100))

    def answer(handler, body):
        if handler.command == "POST":
            id_ = next(made)
            return Backend.json(id_, status=201, headers={"Location": f"/users/{id_}"})
        return Backend.json({"Id": handler.path.rsplit("/", 1)[1], "Email": "ann@x.io"})

    old.answer = answer
    with Gateway(shared_server.url(), old.url, new.url, env={"GATEWAY_RECORD": str(path), "SHADOW_REDACT": "X-Badge"}) as gateway:
        gateway.clear()
        headers = {"Content-Type": "application/json", "Authorization": "Bearer s3cret", "X-Badge": "s3cret"}
        id_ = json.loads(gateway.request("POST", "/users?token=s3cret", body='{"Email":"ann@x.io","UserType":0}', headers=headers).body)
        gateway.get(f"/users/{id_}")
        written = wait_for(lambda: (d := json.loads(path.read_text())) and len(d["exchanges"]) == 2 and d, what="a whole file")
        gateway.process.kill()  # it is whole at any moment
    assert "ann@x.io" not in path.read_text() and "s3cret" not in path.read_text()
    assert written["captures"]["made_1"]["value"] == id_
    with Gateway(shared_server.url(), old.url, new.url) as gateway:
        # The side makes another id now; the replay puts it in the place of the recorded one.
        done = gateway.cli("replay", str(path), "--against", old.url, "--speed", "1000", "--count")
        assert "2 exchanges, 0 unexpected" in done.stdout
        assert gateway.sql("SELECT compared, real, source FROM gateway.tallies WHERE route = 'GET /users/{id}'") == [(1, 0, "replay")]
        gateway.clear()


def test_the_mirror_follows_a_reload(shared_server, old, new, tmp_path):
    """Other sides in the routes file: the shadow worker asks those, as the gateway does; and goes on where one is taken away."""
    routes, third = tmp_path / "routes.json", Backend("third")

    def point_to(*urls):
        routes.write_text(json.dumps({"upstreams": {"new": {"urls": list(urls)}}}))

    point_to(new.url)
    with Gateway(shared_server.url(), old.url, "http://127.0.0.1:1", env={"GATEWAY_ROUTES": str(routes)}) as gateway:
        gateway.clear()
        in_shadow(gateway, new)
        with hammer(gateway) as results:
            point_to(third.url)
            gateway.process.send_signal(signal.SIGHUP)
            wait_for(lambda: third.count(mirrored=True) > 20, what="the other one is asked")
            before = new.count()
            asked = third.count()
            wait_for(lambda: third.count() > asked + 20, what="and goes on being asked")
            assert new.count() == before, "and only that"
        assert {status for status, _ in results} == {200}
        gateway.clear()
    third.close()


def test_a_routes_own_sides_are_the_ones_asked(shared_server, old, new, tmp_path):
    """A route of the file may have other upstreams than the rest: its copies go to those, in both directions."""
    routes, own_old, own_new = tmp_path / "routes.json", Backend("own-old"), Backend("own-new")
    own_old.answer = lambda h, body: Backend.json(event(), headers={"X-Side": "own-old"})
    own_new.answer = lambda h, body: Backend.json(event(price=13), headers={"X-Side": "own-new"})
    routes.write_text(json.dumps({
        "upstreams": {"archive": {"urls": [own_old.url]}, "archive2": {"urls": [own_new.url]}},
        "routes": [{"name": "past", "path": "/past", "context": "events", "group": "reads", "old": "archive", "new": "archive2"}]}))
    with Gateway(shared_server.url(), old.url, new.url, env={"GATEWAY_ROUTES": str(routes)}) as gateway:
        gateway.clear()
        others = old.count(), new.count()
        gateway.stage("events", "reads", "shadow")
        wait_for(lambda: gateway.get("/past").headers["x-side"] == "own-old" and gateway.tally("other events reads")["real"] > 0, what="its difference")
        assert own_new.count(mirrored=True) >= 1 and own_old.count(mirrored=True) >= 1
        gateway.stage("events", "reads", "promote", "--force")
        wait_for(lambda: gateway.get("/past").headers["x-side"] == "own-new", what="promoted")
        asked = own_old.count(mirrored=True)
        gateway.get("/past")
        wait_for(lambda: own_old.count(mirrored=True) > asked, what="the old one as the check")
        assert (old.count(), new.count()) == others
        gateway.clear()
    own_old.close()
    own_new.close()


def test_one_trace_shows_the_gateway_old_and_new(old):
    """Of a request that brings no trace: the mirror's question is a span below the gateway's, and the new side goes on from it."""
    with Collector() as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        old.answer = lambda h, body: Backend.json([])
        with Usher(env=env) as usher, Gateway(usher.url(), old.url, usher.base, env=env) as gateway:
            gateway.stage("events", "reads", "shadow")

            def spans_of_one():
                gateway.get("/events?shown=1")
                rows = [s for s in collector.spans() if s["attributes"].get("url.path") == "/events"]
                mirrors = [s for s in rows if s["name"] == "mirror GET" and s["attributes"]["usher.backend"] == "new"]
                for mirror in mirrors:
                    below = [s for s in rows if s.get("parentSpanId") == mirror["spanId"]]
                    front = [s for s in rows if s["spanId"] == mirror["parentSpanId"]]
                    client = [s for s in rows if front and s.get("parentSpanId") == front[0]["spanId"] and s["name"] == "GET"]
                    if below and client:
                        return front[0], client[0], mirror, below[0]

            front, client, mirror, back = wait_for(spans_of_one, 60, "a whole trace")
            assert len({s["traceId"] for s in (front, client, mirror, back)}) == 1
            assert front["attributes"]["usher.backend"] == client["attributes"]["usher.backend"] == "legacy"
            assert mirror["attributes"]["usher.upstream"] == "new" and mirror["attributes"]["http.response.status_code"] == 200
            assert back["name"] == "GET /events" and "usher.backend" not in back["attributes"]
            parents = [headers["traceparent"].split("-")[2] for _, _, headers, _ in old.seen if "Usher-Mirror" not in headers]
            assert client["spanId"] in parents


def test_a_recording_is_replayed_at_the_speed_that_is_asked_for(old, tmp_path):
    """Ten minutes lie between its two requests. A thousand times as fast it is over while the other still waits for its second."""
    def exchange(at_ms, path):
        return {"at_ms": at_ms, "request": {"method": "GET", "path": path, "headers": []},
                "response": {"status": 200, "reason": "OK", "version": "HTTP/1.1",
                             "headers": [["Content-Type", "application/json; charset=utf-8"]], "body": json.dumps(event())}}

    recording = tmp_path / "recorded.json"
    recording.write_text(json.dumps({"name": "pace", "exchanges": [exchange(5000, "/first"), exchange(605000, "/second")]}))
    as_recorded = subprocess.Popen([BINARY, "replay", str(recording), "--against", old.url, "--speed", "100"], cwd=ROOT,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_for(lambda: old.count() == 1, what="its first request, at once")
        done = subprocess.run([BINARY, "replay", str(recording), "--against", old.url, "--speed", "100000"], cwd=ROOT, capture_output=True, text=True)
        assert "2 exchanges, 0 unexpected" in done.stdout, done.stdout + done.stderr
        assert [path for _, path, _, _ in old.seen] == ["/first", "/first", "/second"]
        assert as_recorded.poll() is None, "it waits"
    finally:
        as_recorded.kill()
        as_recorded.communicate()
    for wrong in ("0", "fast", "100001"):
        done = subprocess.run([BINARY, "replay", str(recording), "--speed", wrong], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2 and "--speed takes a percentage" in done.stderr
