"""Mirrored writes: tried on the new side, rolled back, compared with what the old side answered and published; no client notices."""
import json
import os
import signal
import uuid

import psycopg2
import pytest

from brokerlib import USER, Broker, Vhost, envelope
from conftest import Usher, free_port, wait_for
from otel import Collector
from shadowlib import Backend, Gateway, everything, hammer, kept_user, metrics

ANN = {"FullName": "Ann Able", "Email": "ann@example.com", "UserType": "Customer"}
POST, PUT = "POST /users", "PUT /users/{id}"
JSON = {"Content-Type": "application/json"}


def made(handler, body):
    """The old side: makes a user, or changes one."""
    if handler.command == "POST":
        id_ = str(uuid.uuid4())
        return Backend.json(id_, status=201, headers={"Location": f"/users/{id_}"})
    return 204, {}, b""


@pytest.fixture
def old():
    backend = Backend("old", made)
    yield backend
    backend.close()


def to_stage(gateway, *step):
    """Until every worker acts on it."""
    gateway.stage("users", "writes", *step)
    wait_for(lambda: gateway.sql("SELECT 1 FROM gateway.gateways WHERE followed_epochs = (SELECT sum(epoch) FROM gateway.stages)"),
             limit=60, what="the stage is followed")


@pytest.fixture
def make_gateway(server, old):
    """Gateways on the emptied databases; NEW_URL is nobody: what is tried goes another way."""
    opened = []

    def make(NEW_URL=None, **env):
        gateway = Gateway(server.url(), old.url, NEW_URL or f"http://127.0.0.1:{free_port()}", env=env)
        gateway.__enter__()
        opened.append(gateway)
        gateway.clear()
        to_stage(gateway, "shadow")
        return gateway

    yield make
    for gateway in opened:
        gateway.clear()
        gateway.__exit__()
        # Dispensable processes die unseen otherwise.
        assert not [line for line in gateway.log if "Sanitizer" in line or "runtime error" in line or "assert" in line.lower()]


@pytest.fixture
def gateway(make_gateway):
    return make_gateway()


def post(gateway, body=ANN, path="/users", **more):
    return gateway.request("POST", path, body=json.dumps({**body, **more}), headers=JSON)


def settled(gateway, n=1, route=POST):
    """The route's counts when n writes have come to an end, whatever it was."""
    def look():
        tally = gateway.tally(route)
        return tally["compared"] + tally["skipped"] >= n and tally
    return wait_for(look, limit=60, what=f"{n} writes settled")


def test_equal_writes_are_counted_and_nothing_stays(server, gateway, old):
    kept = kept_user(server)
    before = everything(server)
    for i in range(10):
        assert post(gateway, Email=f"u{i}@example.com").status == 201
    assert gateway.request("PUT", f"/users/{kept}", body=json.dumps({**ANN, "Email": "new@example.com"}), headers=JSON).status == 204
    tally = settled(gateway, 10)
    assert (tally["compared"], tally["equal"], tally["real"]) == (10, 10, 0), gateway.diffs()["causes"]
    assert settled(gateway, 1, PUT)["equal"] == 1, gateway.diffs()["causes"]
    effects = wait_for(lambda: {(e["route"], e["what"]): e for e in gateway.diffs()["effects"]}, what="effects")
    assert effects[POST, "users.users"]["inserted"] == 10 and effects[PUT, "users.users"]["updated"] == 1
    assert effects[POST, USER]["published"] == 10 and effects[POST, "users.outbox"]["inserted"] == 10
    assert everything(server) == before
    assert "users.users" in gateway.cli("diffs", "list").stdout
    assert old.count("GET") == 0 and old.count(mirrored=True) == 0, "nobody is asked again"


def test_a_trial_stands_in_the_trace_of_its_write(server, make_gateway, old):
    with Collector() as collector:
        gateway = make_gateway(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="50")
        assert post(gateway).status == 201
        settled(gateway)

        def below():
            rows = collector.spans()
            return [(front, mirror) for mirror in rows if mirror["name"] == "mirror POST" for front in rows
                    if front["spanId"] == mirror["parentSpanId"]]
        (front, mirror), = wait_for(below, 30, "both spans")
        assert front["traceId"] == mirror["traceId"] and front["attributes"]["usher.backend"] == "legacy"
        assert (mirror["attributes"]["usher.backend"], mirror["attributes"]["url.path"]) == ("trial", "/users")


def test_only_what_the_old_side_answers_is_tried(server, make_gateway, old):
    """Not in stage legacy, not what a tester sends to the new side, and not without processes for trials."""
    secret = "0123456789abcdef"
    gateway = make_gateway(GATEWAY_TESTER_SECRET=secret, NEW_URL=server.base)
    header, _, value = gateway.cli("cutover", "sign", "new").stdout.strip().partition(": ")
    forced = gateway.request("POST", "/users", body=json.dumps({**ANN, "Email": "forced@example.com"}), headers={**JSON, header: value})
    assert forced.status == 201 and len(server.get("/users").json()) == 1, "it is really written there"
    to_stage(gateway, "rollback", "--legacy")
    post(gateway, Email="legacy@example.com")
    to_stage(gateway, "shadow")
    post(gateway, Email="shadow@example.com")
    tally = settled(gateway)
    assert (tally["compared"], tally["skipped"]) == (1, 0)
    assert len(server.get("/users").json()) == 1


def test_in_a_canary_those_of_the_old_side_are_tried(server, make_gateway, old):
    gateway = make_gateway(CANARY_KEY="header:X-Caller", NEW_URL=server.base)
    to_stage(gateway, "canary", "--percent", "50", "--force")
    for i in range(16):
        sent = {**JSON, "X-Caller": f"caller {i}"}
        assert gateway.request("POST", "/users", body=json.dumps({**ANN, "Email": f"u{i}@example.com"}), headers=sent).status == 201
    n = old.count("POST")
    assert 0 < n < 16 and len(server.get("/users").json()) == 16 - n, "the others are really written, on the new side"
    assert settled(gateway, n)["equal"] == n, gateway.diffs()["causes"]
    assert len(server.get("/users").json()) == 16 - n


def test_without_processes_for_trials_writes_are_not_mirrored(server, make_gateway, old):
    gateway = make_gateway(SHADOW_TRIALS="0")
    assert gateway.pids("trial") == []
    assert post(gateway).status == 201
    gateway.stage("users", "reads", "shadow")  # its counts come later than the write's would
    wait_for(lambda: gateway.get("/users") and gateway.tally("GET /users")["compared"] > 0, limit=60, what="reads are compared")
    assert gateway.tally(POST)["compared"] + gateway.tally(POST)["skipped"] == 0


def test_another_answer_is_reported_with_what_would_have_been_written(server, gateway, old, tmp_path):
    old.answer = lambda h, body: Backend.json({"Email": "other@example.com"}, status=200)
    sent = {**JSON, "Authorization": "Bearer s3cret", "Cookie": "id=s3cret"}
    assert gateway.request("POST", "/users?token=s3cret", body=json.dumps({**ANN, "Password": "s3cret"}), headers=sent).status == 200
    assert settled(gateway)["real"] == 1
    causes = wait_for(lambda: gateway.diffs()["causes"], what="causes")
    status = next(c for c in causes if c["kind"] == "status")
    assert (status["route"], status["class"], status["old_value"], status["new_value"]) == (POST, "real", "200", "201")
    shown = json.loads(gateway.cli("diffs", "show", str(status["id"]), "--json").stdout)["samples"][0]
    assert "FullName" in shown["request_body"] and "Customer" in shown["request_body"]
    effects = json.loads(shown["effects"])
    assert effects[0]["tables"] and effects[0]["messages"][0]["type"] == USER
    kept = str(gateway.sql("SELECT s::text FROM gateway.samples s UNION ALL SELECT c::text FROM gateway.clusters c UNION ALL SELECT e::text FROM gateway.effects e"))
    for secret in ("Ann Able", "ann@example.com", "other@example.com", "s3cret"):
        assert secret not in kept, "secrets and personal data are never kept"
    said = gateway.cli("diffs", "show", str(status["id"])).stdout
    assert "would write   users.users: 1 new" in said and f"would publish {USER}" in said
    assert "tried once" in gateway.cli("diffs", "explain", str(status["id"])).stdout
    recording = tmp_path / "sample.json"
    recording.write_text(gateway.cli("diffs", "export", str(status["id"])).stdout)
    assert "Customer" in json.loads(recording.read_text())["exchanges"][0]["request"]["body"]
    assert "status: want 200" in gateway.cli("shadow-write", str(recording), check=1).stdout, "it can be tried again"


def test_refusals_are_compared_and_their_trace_is_noise(server, gateway, old):
    """What the real one says, with a trace of its own."""
    refused = server.post("/users", {**ANN, "UserType": "Nobody"})
    assert refused.status == 400
    problem = {**refused.json(), "traceId": "00-11111111111111111111111111111111-2222222222222222-00"}
    old.answer = lambda h, body: (refused.status, {"Content-Type": refused.headers["content-type"]}, json.dumps(problem).encode())
    post(gateway, UserType="Nobody")
    tally = settled(gateway)
    assert (tally["equal"], tally["real"]) == (1, 0), gateway.diffs()["causes"]


def test_a_create_that_meets_its_own_result_is_skipped(server, make_gateway, old):
    """As where the data are kept in step: the old side's user is there before the trial."""
    admin = free_port()
    gateway = make_gateway(ADMIN_LISTEN=f"127.0.0.1:{admin}")
    id_ = server.new_user("ann@example.com", "Ann Able")
    old.answer = lambda h, body: Backend.json(id_, status=201, headers={"Location": f"/users/{id_}"})
    assert post(gateway).status == 201
    tally = settled(gateway)
    assert (tally["compared"], tally["skipped"]) == (0, 1), gateway.diffs()["causes"]
    assert metrics(admin, "usher_shadow_skipped")["own_result"] == 1


def test_a_user_that_somebody_else_made_is_a_difference(server, gateway, old):
    server.new_user("ann@example.com", "Ann Able")
    assert post(gateway).status == 201
    assert settled(gateway)["real"] == 1


def test_what_is_not_there_yet_is_lag_and_what_never_comes_is_real(server, make_gateway, old):
    gateway = make_gateway(SHADOW_RECHECK="8s")
    late, never = str(uuid.uuid4()), str(uuid.uuid4())
    for id_ in (late, never):
        assert gateway.request("PUT", f"/users/{id_}", body=json.dumps(ANN), headers=JSON).status == 204
    wait_for(lambda: gateway.sql("SELECT sum(requests) FROM gateway.traffic WHERE side = 'trial' AND route = %s", PUT) == [(2,)], what="both were tried")
    server.sql("INSERT INTO users.users (id, full_name, email, user_type) VALUES (%s, 'Ann', 'a@example.com', 1)", late)
    tally = settled(gateway, 2, PUT)
    assert (tally["lag"], tally["real"]) == (1, 1), gateway.diffs()["causes"]
    assert {c["class"] for c in gateway.diffs()["causes"]} == {"lag", "real"}


def test_a_trial_process_that_is_killed_comes_back(server, make_gateway, old):
    gateway = make_gateway(RESTART_INTENSITY="2", SHADOW_TIMEOUT="1s")
    with hammer(gateway, threads=2, method="POST", path="/users", body=json.dumps(ANN), headers=JSON) as results:
        for _ in range(3):  # any other role's second death would end all
            before = wait_for(lambda: gateway.pids("trial"), what="a trial process")
            os.kill(before[0], signal.SIGKILL)
            wait_for(lambda: (now := gateway.pids("trial")) and now != before, limit=60, what="another one")
        compared = gateway.tally(POST)["compared"]
        wait_for(lambda: gateway.tally(POST)["compared"] > compared, limit=60, what="comparing again")
    assert {status for status, _ in results} == {201}
    assert gateway.process.poll() is None
    assert server.get("/users").json() == []


def test_a_trial_that_is_killed_half_way_is_skipped_once(server, make_gateway, old):
    """It waits for a lock that this test holds."""
    admin = free_port()
    gateway = make_gateway(ADMIN_LISTEN=f"127.0.0.1:{admin}")
    assert post(gateway, Email="first@example.com").status == 201
    settled(gateway)
    connection = psycopg2.connect(server.url())
    try:
        connection.cursor().execute("LOCK users.users IN ACCESS EXCLUSIVE MODE")
        for attempt in range(50):  # half a second is all that it waits, and a busy machine may look too late
            assert post(gateway, Email=f"u{attempt}@example.com").status == 201
            wait_for(lambda: server.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'usher/users'")
                     or gateway.tally(POST)["skipped"] > attempt, what="it waits")
            os.kill(gateway.pids("trial")[0], signal.SIGKILL)
            settled(gateway, attempt + 2)
            if metrics(admin, "usher_shadow_skipped").get("no_trial"):
                break
    finally:
        connection.close()
    assert metrics(admin, "usher_shadow_skipped")["no_trial"] == 1
    assert post(gateway, Email="last@example.com").status == 201
    wait_for(lambda: gateway.tally(POST)["equal"] == 2, limit=60, what="it is back")
    assert server.get("/users").json() == []


def test_a_lock_that_is_not_had_is_skipped_and_clients_go_on(server, make_gateway, old):
    admin = free_port()
    gateway = make_gateway(ADMIN_LISTEN=f"127.0.0.1:{admin}")
    connection = psycopg2.connect(server.url())
    try:
        connection.cursor().execute("LOCK users.users IN ACCESS EXCLUSIVE MODE")
        for i in range(5):
            assert post(gateway, Email=f"u{i}@example.com").status == 201
        tally = settled(gateway, 5)
    finally:
        connection.close()
    assert (tally["compared"], tally["skipped"]) == (0, 5)
    assert metrics(admin, "usher_shadow_skipped")["not_tried"] == 5


def test_what_is_too_large_or_not_sampled_is_skipped(server, make_gateway, old):
    admin = free_port()
    gateway = make_gateway(ADMIN_LISTEN=f"127.0.0.1:{admin}")
    before = everything(server)
    assert post(gateway, FullName="x" * 100_000).status == 201
    assert settled(gateway)["skipped"] == 1
    assert metrics(admin, "usher_shadow_skipped")["too_large"] == 1
    old.answer = lambda h, body: (503, {}, b"")
    assert post(gateway).status == 503
    assert settled(gateway, 2)["skipped"] == 2
    assert metrics(admin, "usher_shadow_skipped")["no_answer"] == 1, "an old side that is out of order says nothing"
    assert everything(server) == before


def test_nobody_but_the_shadow_is_answered(server, gateway):
    """The port is on loopback, and wants a key."""
    import subprocess
    listing = subprocess.run(["ss", "-Htlnp"], capture_output=True, text=True).stdout
    pid = gateway.pids("trial")[0]
    ports = [int(line.split()[3].rsplit(":", 1)[1]) for line in listing.splitlines() if f"pid={pid}," in line]
    assert ports and all("127.0.0.1:" in line for line in listing.splitlines() if f"pid={pid}," in line)
    import http.client
    connection = http.client.HTTPConnection("127.0.0.1", ports[0], timeout=10)
    connection.request("GET", "/users", headers={"Usher-Trial": "0" * 72})
    assert connection.getresponse().status == 404


def test_gates_of_writes_count_trials(server, gateway):
    kept = kept_user(server)
    plan = lambda: {g["name"]: g for g in json.loads(gateway.cli("cutover", "plan", "users", "writes", "--samples", "3", "--limit", "99", "--json", check=1).stdout)["gates"]}
    assert plan()["comparisons"]["state"] == "inconclusive"
    for i in range(4):
        post(gateway, Email=f"u{i}@example.com")
        gateway.request("PUT", f"/users/{kept}", body=json.dumps({**ANN, "Email": f"n{i}@example.com"}), headers=JSON)
    settled(gateway, 4), settled(gateway, 4, PUT)
    wait_for(lambda: plan()["comparisons"]["state"] == "holds" and plan()["differences"]["state"] == "holds", what="they hold")
    wait_for(lambda: "trials" in plan()["errors"]["says"], what="errors are of trials")
    assert plan()["latency"]["state"] == "inconclusive" and "not timed" in plan()["latency"]["says"]


# --- messages ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker():
    broker = Broker()
    yield broker
    broker.close()


@pytest.fixture
def vhost(broker):
    vhost = Vhost(broker)
    yield vhost
    vhost.close()


def publishing(vhost, change=lambda message: message, type_=USER):
    """The old side as it publishes before it answers; change(message) may lie, or return None to be silent."""
    def answer(handler, body):
        sent = json.loads(body)
        id_ = str(uuid.uuid4()) if handler.command == "POST" else handler.path.rsplit("/", 1)[1]
        message = change({"id": id_, "fullName": sent.get("FullName"), "email": sent.get("Email")})
        if message is not None and "Email" in sent:
            vhost.put(type_, envelope(type_, message))
        if handler.command == "POST":
            return Backend.json(id_, status=201, headers={"Location": f"/users/{id_}"})
        return 204, {}, b""
    return answer


@pytest.fixture
def hearing(make_gateway, vhost):
    gateway = make_gateway(AMQP_URL=vhost.url)
    wait_for(lambda: any("listening to the old side" in line for line in gateway.log), what="the ear")
    return gateway


def test_the_same_message_is_equal_and_leaves_no_queue(server, hearing, old, vhost):
    old.answer = publishing(vhost)
    for i in range(5):
        assert post(hearing, Email=f"u{i}@example.com").status == 201
    tally = settled(hearing, 5)
    assert (tally["equal"], tally["real"]) == (5, 0), hearing.diffs()["causes"]
    hearing.process.send_signal(signal.SIGTERM)
    hearing.process.wait(60)
    wait_for(lambda: vhost.listing("queues", "name") == [], what="its queue is gone with it")


LIES = {
    "wrong field": (lambda m: {**m, "fullName": "Ann Other"}, "value", f"message {USER}/fullName"),
    "missing field": (lambda m: {k: v for k, v in m.items() if k != "email"}, "extra", f"message {USER}/email"),
    "about another": (lambda m: {**m, "id": str(uuid.uuid4())}, "message", f"message {USER}"),
    "silence": (lambda m: None, "message", f"message {USER}"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_message_that_lies_is_reported(server, hearing, old, vhost, lie):
    change, kind, pointer = LIES[lie]
    old.answer = publishing(vhost, change)
    assert post(hearing).status == 201
    assert settled(hearing)["real"] == 1
    causes = wait_for(lambda: hearing.diffs()["causes"], what="causes")
    assert [(c["kind"], c["pointer"]) for c in causes] == [(kind, pointer)]
    assert "Ann" not in json.dumps(causes), "redacted by name"
    if kind == "message":
        assert causes[0]["old_value"] == "no message seen"
        hearing.cli("diffs", "expect", str(causes[0]["id"]), "--reason", "x", "--owner", "y", "--until", "1d")
        wait_for(lambda: post(hearing) and hearing.tally(POST)["expected"] > 0, limit=60, what="expected now")


def test_another_type_is_no_message_seen(server, hearing, old, vhost):
    old.answer = publishing(vhost, type_="Integration.Events.Messaging:EventUpserted")
    assert post(hearing).status == 201
    assert settled(hearing)["real"] == 1


def test_writes_about_the_same_thing_find_their_own_messages(server, hearing, old, vhost):
    kept = kept_user(server)
    old.answer = publishing(vhost)
    for i in range(8):
        hearing.request("PUT", f"/users/{kept}", body=json.dumps({**ANN, "FullName": "Ann " + "ABCDEFGH"[i]}), headers=JSON)
    tally = settled(hearing, 8, PUT)
    assert (tally["equal"], tally["real"]) == (8, 0), hearing.diffs()["causes"]


def test_without_the_broker_messages_are_not_judged(server, make_gateway, old):
    gateway = make_gateway(AMQP_URL=f"amqp://127.0.0.1:{free_port()}")
    assert post(gateway).status == 201
    assert settled(gateway)["equal"] == 1, gateway.diffs()["causes"]


# --- beside a real one ------------------------------------------------------------------------------------------------------------------


def copy_rows(source, target):
    """As a backfill would: what the old side has, with its ids. Children behind their parents."""
    for table in ("events.events", "users.users", "tickets.events", "tickets.users", "tickets.tickets"):
        for (row,) in source.sql(f"SELECT to_jsonb(t)::text FROM {table} t"):
            target.sql(f"INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, %s::jsonb)", row)


def test_a_real_old_side_is_equal_in_every_write(server):
    """The old side is another usher on a Postgres of its own; the new side has its data as they were before each write."""
    with Usher() as old, Gateway(server.url(), old.base, server.base) as gateway:
        gateway.clear()
        event, user = old.new_event(day=2), old.new_user("ann@example.com")
        seats = [row["Id"] for row in old.tickets(event)]
        wait_for(lambda: old.sql("SELECT 1 FROM tickets.users"), what="Tickets knows the user")
        copy_rows(old, server)
        for context in ("events", "users", "tickets"):
            gateway.stage(context, "writes", "shadow")
        wait_for(lambda: gateway.sql("SELECT 1 FROM gateway.gateways WHERE followed_epochs = (SELECT sum(epoch) FROM gateway.stages)"),
                 limit=60, what="the stages are followed")
        before = everything(server)
        gig = {"EventName": "Gig", "StartDate": "2095-01-02T13:00:00Z", "EndDate": "2095-01-02T14:00:00Z", "Venue": "FirstDirectArenaLeeds", "Price": 25.5}
        writes = [
            ("POST", "/events", "POST /events", gig, 201),
            ("POST", "/events", "POST /events", {**gig, "Price": "x"}, 400),
            ("PUT", f"/events/{event}", "PUT /events/{id}", {**gig, "StartDate": "2095-01-02T10:00:00Z", "EndDate": "2095-01-02T11:00:00Z", "Price": 30}, 204),
            ("POST", "/users", "POST /users", {**ANN, "Email": "bob@example.com"}, 201),
            ("POST", "/users", "POST /users", ANN, 400),
            ("PUT", f"/users/{user}", "PUT /users/{id}", {**ANN, "FullName": "Ann Other"}, 204),
            ("POST", f"/events/{event}/tickets/reserve", "POST /events/{id}/tickets/reserve", {"UserId": user, "TicketIds": seats[:2]}, 204),
            ("POST", f"/events/{event}/tickets/purchase", "POST /events/{id}/tickets/purchase", {"UserId": user, "TicketIds": seats[3:5]}, 204),
        ]
        for method, path, _, body, status in writes:
            assert gateway.request(method, path, body=json.dumps(body), headers=JSON).status == status, (method, path)
        for route in {w[2] for w in writes}:
            n = sum(w[2] == route for w in writes)
            assert settled(gateway, n, route)["equal"] == n, (route, gateway.tally(route), gateway.diffs()["causes"])
        assert everything(server) == before
        effects = {e["what"] for e in gateway.diffs()["effects"]}
        assert {"events.events", "users.users", "tickets.tickets"} <= effects
        gateway.clear()
