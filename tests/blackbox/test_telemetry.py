"""Traces, metrics and health of a whole usher, judged by decoders that are not ours."""
import http.client
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest

import otel
from conftest import ROOT, Usher, free_port, wait_for

FOREIGN_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
FOREIGN_SPAN = "00f067aa0ba902b7"
FOREIGN = {"traceparent": f"00-{FOREIGN_TRACE}-{FOREIGN_SPAN}-01", "tracestate": "other=1,vendor=x", "baggage": "k=v"}


def gig(month, price=25.5):
    """A venue takes one event at a time."""
    return {"EventName": "Gig", "StartDate": f"2096-{month:02d}-02T10:00:00Z", "EndDate": f"2096-{month:02d}-02T12:00:00Z",
            "Venue": "FirstDirectArenaLeeds", "Price": price}


class Observed(Usher):
    def __init__(self, collector=None, env=None, **kw):
        self.admin_port = free_port()
        settings = {"ADMIN_LISTEN": f"127.0.0.1:{self.admin_port}", "OTEL_BSP_SCHEDULE_DELAY": "50",
                    "OTEL_METRIC_EXPORT_INTERVAL": "300"}
        if collector:
            settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = getattr(collector, "url", collector)
        super().__init__(env={**settings, **(env or {})}, **kw)

    def admin(self, path, method="GET"):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode(), dict(response.getheaders())
        finally:
            connection.close()

    def samples(self):
        """Prometheus' samples: name → [(labels, value)]."""
        found = {}
        for line in self.admin("/metrics")[1].splitlines():
            m = re.match(r'([a-z_]+)(?:\{(.*)\})? (\S+)$', line)
            if m:
                labels = dict(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', m[2] or ""))
                found.setdefault(m[1], []).append((labels, float(m[3])))
        return found

    def total(self, name, **labels):
        return sum(v for have, v in self.samples().get(name, []) if labels.items() <= have.items())


def drive(usher):
    """A little of everything that has a span."""
    event, user = usher.new_event(), usher.new_user()
    tickets = usher.tickets(event)
    usher.get("/events")
    usher.get(f"/events/{event}")
    usher.get("/events/00000000-0000-4000-8000-000000000001")
    usher.get(f"/users/{user}?a=b")
    usher.get("/nothing/here")
    usher.request("BREW", "/events")
    usher.put(f"/events/{event}", gig(1, 30))
    usher.post(f"/events/{event}/tickets/purchase", {"UserId": user, "TicketIds": [tickets[0]["Id"]]})
    usher.post("/users", {"FullName": "Ann", "Email": "ann@example.com", "UserType": "Customer"})
    usher.post("/users", "{")
    return event


@pytest.fixture(scope="module")
def recorded():
    """What one short life of usher sent: spans, the last metrics, log records, /metrics."""
    with otel.Collector() as collector:
        with Observed(collector, env={"OTEL_LOGS_EXPORTER": "otlp", "OTEL_SERVICE_NAME": "box office",
                                      "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=te%20st,service.name=no",
                                      "OTEL_EXPORTER_OTLP_HEADERS": "x-key=secret,bad name=1"}) as usher:
            drive(usher)
            answer = usher.post("/events", gig(2), headers=FOREIGN)
            assert answer.status == 201, answer
            usher.tickets(answer.json())
            wait_for(lambda: usher.total("messaging_process_duration_seconds_count") >= 4, what="messages processed")
            text = usher.admin("/metrics")
        yield {"spans": collector.spans(), "metrics": collector.metrics(), "logs": collector.log_records(),
               "prometheus": text, "headers": collector.headers, "event": answer.json()}


# --- one trace -----------------------------------------------------------------------------------------------------


def test_one_trace_from_a_foreign_request_to_the_effect(recorded):
    spans = [s for s in recorded["spans"] if s["traceId"] == FOREIGN_TRACE]
    by_id = {s["spanId"]: s for s in spans}
    assert len(by_id) == len(spans)

    def one(name, kind):
        found = [s for s in spans if s["name"] == name]
        assert len(found) == 1, (name, [s["name"] for s in spans])
        assert found[0]["kind"] == f"SPAN_KIND_{kind}"
        return found[0]

    server = one("POST /events", "SERVER")
    action = one("event.create", "INTERNAL")
    append = one("append events.outbox", "PRODUCER")
    publish = one("publish Integration.Events.Messaging:EventUpserted", "PRODUCER")
    process = one("process tickets-inbox-events", "CONSUMER")
    effect = one("event.upsert", "INTERNAL")
    assert server["parentSpanId"] == FOREIGN_SPAN
    assert action["parentSpanId"] == server["spanId"]
    assert append["parentSpanId"] == action["spanId"]
    assert publish["parentSpanId"] == append["spanId"]
    assert process["parentSpanId"] == append["spanId"]
    assert effect["parentSpanId"] == process["spanId"]
    # Statements of both ends hang below their action, the effect's writing included.
    under = {parent: [s["name"] for s in spans if s["kind"] == "SPAN_KIND_CLIENT" and s["parentSpanId"] == parent]
             for parent in (action["spanId"], effect["spanId"])}
    assert "outbox_append" in under[action["spanId"]]
    assert "inbox_add" in under[effect["spanId"]]
    # Nothing of the trace hangs in the air, and all carries the foreign state.
    assert all(s["parentSpanId"] in by_id or s is server for s in spans)
    assert {s["traceState"] for s in spans} == {FOREIGN["tracestate"]}
    message = {s["attributes"]["messaging.message.id"] for s in (append, publish, process)}
    assert len(message) == 1
    for span in spans:
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
        assert int(span["startTimeUnixNano"]) >= int(by_id[server["spanId"]]["startTimeUnixNano"]) - 1000
    remote = {s["name"]: bool(int(s["flags"]) & 0x200) for s in spans}
    assert remote["POST /events"] and remote["process tickets-inbox-events"] and not remote["event.create"]


def test_outbox_and_queue_carry_the_context():
    """With relay and consumer held off, what stands in the outbox row is what came in."""
    with Observed(otel_nobody(), env={"ROLES": "http"}) as usher:
        assert usher.post("/events", gig(1), headers=FOREIGN).status == 201
        assert usher.post("/events", gig(2), headers={"tracestate": "orphan=1", "baggage": "b=1"}).status == 201
        broken = {**FOREIGN, "traceparent": FOREIGN["traceparent"][:-1]}
        assert usher.post("/events", gig(3), headers=broken).status == 201
        rows = usher.sql("SELECT traceparent, tracestate, baggage FROM events.outbox ORDER BY position")
    version, trace, span, flags = rows[0][0].split("-")
    assert (version, trace, flags) == ("00", FOREIGN_TRACE, "01") and span != FOREIGN_SPAN
    assert rows[0][1:] == (FOREIGN["tracestate"], FOREIGN["baggage"])
    # tracestate without a traceparent that can be read is nobody's; baggage stands for itself.
    assert rows[1][1:] == (None, "b=1")
    assert rows[2][1:] == (None, "k=v") and FOREIGN_TRACE not in rows[2][0]


def otel_nobody():
    return f"http://127.0.0.1:{free_port()}"


# --- conventions ---------------------------------------------------------------------------------------------------

# From the list of names that this program is held to (OpenTelemetry semantic conventions, stable unless said).
HTTP_SERVER = {"http.request.method", "url.path", "url.scheme", "error.type", "http.request.method_original",
               "http.response.status_code", "http.route", "network.protocol.name", "server.port", "url.query",
               "client.address", "network.peer.address", "network.peer.port", "network.protocol.version",
               "server.address", "user_agent.original"}
DB = {"db.system.name", "db.namespace", "db.collection.name", "db.operation.name", "db.query.summary", "db.query.text",
      "db.operation.batch.size", "db.stored_procedure.name", "db.response.status_code", "error.type", "server.address",
      "server.port"}
MESSAGING = {"messaging.system", "messaging.operation.name", "messaging.operation.type", "messaging.destination.name",
             "messaging.message.id", "messaging.message.conversation_id", "messaging.batch.message_count", "error.type"}
SPANS = {  # kind → (allowed, required)
    "SPAN_KIND_SERVER": (HTTP_SERVER, {"http.request.method", "url.path", "url.scheme"}),
    "SPAN_KIND_CLIENT": (DB, {"db.system.name", "db.query.summary", "db.query.text", "db.namespace", "server.address"}),
    "SPAN_KIND_PRODUCER": (MESSAGING, {"messaging.system", "messaging.operation.name", "messaging.destination.name"}),
    "SPAN_KIND_CONSUMER": (MESSAGING, {"messaging.system", "messaging.operation.name", "messaging.destination.name"}),
    "SPAN_KIND_INTERNAL": ({"error.type"}, {"usher.resource", "usher.action", "usher.outcome"}),
}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "_OTHER"}
HTTP_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
METRICS = {  # name → (unit, kind, bounds, allowed, required)
    "http.server.request.duration": ("s", "histogram", HTTP_BUCKETS, HTTP_SERVER, {"http.request.method", "url.scheme"}),
    "http.server.active_requests": ("{request}", "sum", None, HTTP_SERVER, {"http.request.method", "url.scheme"}),
    "db.client.operation.duration": ("s", "histogram", [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10], DB,
                                     {"db.system.name"}),
    "messaging.client.operation.duration": ("s", "histogram", HTTP_BUCKETS, MESSAGING,
                                            {"messaging.system", "messaging.operation.name"}),
    "messaging.client.sent.messages": ("{message}", "sum", None, MESSAGING,
                                       {"messaging.system", "messaging.operation.name"}),
    "messaging.client.consumed.messages": ("{message}", "sum", None, MESSAGING,
                                           {"messaging.system", "messaging.operation.name"}),
    "messaging.process.duration": ("s", "histogram", HTTP_BUCKETS, MESSAGING,
                                   {"messaging.system", "messaging.operation.name"}),
}


def ours(name):
    return name.startswith("usher.")


def test_every_span_is_by_the_conventions(recorded):
    assert {s["kind"] for s in recorded["spans"]} == set(SPANS)
    for span in recorded["spans"]:
        allowed, required = SPANS[span["kind"]]
        names = set(span["attributes"])
        assert not {n for n in names if n not in allowed and not ours(n)}, span
        # A job is consumed from a table: the conventions have no messaging system for that.
        assert ({"usher.job.kind"} if "usher.job.id" in names else required) <= names, span
        assert ("error.type" in names) == (span.get("status", {}).get("code") == "STATUS_CODE_ERROR"), span
        if span["kind"] == "SPAN_KIND_SERVER":
            method = span["attributes"]["http.request.method"]
            route = span["attributes"].get("http.route")
            assert method in METHODS
            assert span["name"] == (f"{method} {route}" if route else "HTTP" if method == "_OTHER" else method)
            assert ("http.request.method_original" in names) == (method == "_OTHER")
            assert isinstance(span["attributes"]["http.response.status_code"], int)
            assert "?" not in span["attributes"]["url.path"]
        if span["kind"] == "SPAN_KIND_CLIENT":
            assert span["name"] == span["attributes"]["db.query.summary"]
            assert span["attributes"]["db.system.name"] == "postgresql"
            assert "@example.com" not in span["attributes"]["db.query.text"]
        assert span["resource"]["service.name"] == "box office"
        assert span["resource"]["deployment.environment.name"] == "te st"
        assert span["resource"]["telemetry.sdk.language"] == "c"


def test_each_kind_of_request_has_its_span(recorded):
    spans = [s for s in recorded["spans"] if s["kind"] == "SPAN_KIND_SERVER"]
    seen = {(s["name"], s["attributes"]["http.response.status_code"]) for s in spans}
    assert {("GET /events", 200), ("GET /events/{id:id}", 200), ("GET /events/{id:id}", 404), ("GET", 404),
            ("POST /users", 201)} <= {(n.replace("{id}", "{id:id}"), c) for n, c in seen}, seen
    odd = [s for s in spans if s["attributes"]["http.request.method"] == "_OTHER"]
    assert odd and odd[0]["attributes"]["http.request.method_original"] == "BREW"
    assert {s["attributes"].get("url.query") for s in spans} >= {"a=b"}


def test_a_span_tells_of_its_own_request():
    """What requests have in common is encoded once: two hundred askers in turns, on three routes, some without a name or with one too long."""
    agents = [None, "", "x" * 400] + [f"agent/{i}" for i in range(200)]
    routes = {"/events": ("/events", 200), "/users/00000000-0000-4000-8000-000000000001": ("/users/{id:id}", 404), "/nothing": (None, 404)}
    with otel.Collector() as collector, Observed(collector) as usher:
        def ask(path, agent, host):
            connection = http.client.HTTPConnection("127.0.0.1", usher.port, timeout=10)
            connection.putrequest("GET", path, skip_host=True)
            connection.putheader("Host", host)
            if agent is not None:
                connection.putheader("User-Agent", agent)
            connection.endheaders()
            status = connection.getresponse().status
            connection.close()
            return status

        wanted = set()
        for i, agent in enumerate(agents * 2):
            path = list(routes)[i % 3]
            host = f"host-{i % 2}:8{i % 2}"
            status = ask(path, agent, host)
            wanted.add((path, routes[path][0], status, agent, host))
        found = wait_for(lambda: len(spans := [s["attributes"] for s in collector.spans() if s["kind"] == "SPAN_KIND_SERVER"
                                               and s["attributes"].get("server.address", "").startswith("host-")])
                         == 2 * len(agents) and spans, what="all spans")
    assert {(a["url.path"], a.get("http.route"), a["http.response.status_code"], a.get("user_agent.original"),
             f"{a['server.address']}:{a['server.port']}") for a in found} == wanted


def test_every_metric_is_by_the_conventions(recorded):
    for name, metric in recorded["metrics"].items():
        kind, points = otel.points(metric)
        if name not in METRICS:
            assert ours(name), name
            continue
        unit, want_kind, bounds, allowed, required = METRICS[name]
        assert (metric["unit"], kind) == (unit, want_kind), metric
        for point in points:
            names = set(otel.attributes(point["attributes"]))
            assert not {n for n in names if n not in allowed and not ours(n)}, (name, names)
            assert required <= names, (name, names)
            if bounds:
                assert point["explicitBounds"] == bounds
                assert sum(int(n) for n in point["bucketCounts"]) == int(point["count"])
                assert len(point["bucketCounts"]) == len(bounds) + 1
        if kind != "gauge":
            assert metric[kind]["aggregationTemporality"] == "AGGREGATION_TEMPORALITY_CUMULATIVE"
    assert set(METRICS) <= set(recorded["metrics"])


def test_documented(recorded):
    """docs/telemetry.md names every span attribute, metric and label there was."""
    text = (ROOT / "docs" / "telemetry.md").read_text()
    names = {n for s in recorded["spans"] for n in s["attributes"]} | set(recorded["metrics"])
    for metric in recorded["metrics"].values():
        names |= {n for point in otel.points(metric)[1] for n in otel.attributes(point["attributes"])}
    assert not {n for n in names if f"`{n}`" not in text}
    header = (ROOT / "lib" / "telemetry" / "metrics.h").read_text()
    declared = re.findall(r'X\(METRIC_\w+, "([^"]+)"', header)
    assert len(declared) > 15 and not {n for n in declared if f"`{n}`" not in text}


def test_prometheus_text(recorded):
    status, text, headers = recorded["prometheus"]
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_log_records_and_headers(recorded):
    bodies = [record["body"]["stringValue"] for record in recorded["logs"]]
    assert bodies.count("worker drains") == 5, bodies  # what they said last was sent too
    for record in recorded["logs"]:
        assert record["severityText"] in ("DEBUG", "INFO", "WARN", "ERROR")
        assert otel.attributes(record["attributes"])["usher.role"] in ("http", "relay", "consume", "jobs", "telemetry")
    assert all(h.get("x-key") == "secret" and "bad name" not in h for h in recorded["headers"])


# --- sampling ------------------------------------------------------------------------------------------------------


def test_sampling_by_ratio_and_parent():
    with otel.Collector() as collector:
        env = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
        with Observed(collector, env=env) as usher:
            for _ in range(5):
                usher.get("/events")
            unsampled = usher.post("/events", gig(1), headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"}).json()
            usher.tickets(unsampled)
            usher.post("/events", gig(2), headers=FOREIGN)
            wait_for(lambda: any(s["kind"] == "SPAN_KIND_CONSUMER" for s in collector.spans()), what="the consumer's span")
        assert {s["traceId"] for s in collector.spans()} == {FOREIGN_TRACE}


def test_disabled_means_nothing():
    with otel.Collector() as collector:
        with Observed(collector, env={"OTEL_SDK_DISABLED": "true"}) as usher:
            usher.get("/events")
            assert usher.admin("/metrics")[1] == ""
            assert usher.admin("/health/live")[0] == 200
        assert collector.requests == 0


# --- failing collectors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["dead", "500", "silent", "garbage"])
def test_a_failing_collector_hurts_no_request(mode):
    with otel.Collector(mode) as collector:
        target = otel_nobody() if mode == "dead" else collector
        env = {"OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_EXPORTER_OTLP_TIMEOUT": "500"}
        with Observed(target, env=env) as usher:
            event = usher.new_event()
            usher.tickets(event)
            for _ in range(300):
                assert usher.get(f"/events/{event}").status == 200
            # The ring of 64 kB is full, or each batch was refused: either way it is counted, and nobody waits.
            wait_for(lambda: usher.get("/events").status == 200 and usher.total("usher_spans_dropped_total") > 0,
                     limit=60, what="spans dropped and counted")
            assert usher.total("usher_spans_exported_total") == 0
            wait_for(lambda: usher.admin("/health/ready")[0] == 200, what="ready")
            assert usher.stop() == 0


def test_what_a_collector_could_not_take_comes_again():
    with otel.Collector("503 then ok") as collector:
        with Observed(collector, env={"OTEL_METRICS_EXPORTER": "none"}) as usher:
            usher.get("/events", headers=FOREIGN)
            wait_for(lambda: collector.bodies["traces"], what="the batch again")
            assert usher.total("usher_export_failures_total") >= 1
        assert [s["traceId"] for s in collector.spans() if s["name"] == "GET /events"].count(FOREIGN_TRACE) == 1


# --- metrics and health ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def observed():
    with Observed(env={"HTTP_WORKERS": "2", "RESTART_INTENSITY": "100"}) as usher:
        yield usher


def test_counts_are_of_all_workers(observed):
    before = observed.total("http_server_request_duration_seconds_count", http_route="/users")
    for i in range(40):
        observed.get("/users")
    assert observed.total("http_server_request_duration_seconds_count", http_route="/users") == before + 40
    assert observed.total("http_server_active_requests") == 0
    assert observed.total("usher_workers", usher_role="http") == 2


def test_what_cannot_be_read_counts_too(observed):
    before = observed.total("http_server_request_duration_seconds_count", http_response_status_code="400")
    with socket.create_connection(("127.0.0.1", observed.port)) as s:
        s.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 400")
    assert observed.total("http_server_request_duration_seconds_count", http_response_status_code="400") == before + 1


def test_a_killed_worker_is_counted_and_takes_no_counts_along(observed):
    for _ in range(10):
        observed.get("/users")
    before = observed.total("http_server_request_duration_seconds_count", http_route="/users")
    restarts = observed.total("usher_worker_restarts_total", usher_role="http")
    os.kill(observed.workers("http")[0], signal.SIGKILL)
    wait_for(lambda: observed.total("usher_worker_restarts_total", usher_role="http") == restarts + 1, what="a restart")
    assert observed.total("http_server_request_duration_seconds_count", http_route="/users") == before
    wait_for(lambda: observed.admin("/health/ready")[0] == 200, what="ready again")


def test_a_stopped_worker_is_not_ready(observed):
    pid = observed.workers("http")[0]
    wait_for(lambda: observed.admin("/health/ready")[0] == 200, what="ready")
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: observed.admin("/health/ready")[0] == 503, limit=60, what="its silence noticed")
        assert "silent" in observed.admin("/health/ready")[1]
        assert observed.admin("/health/live")[0] == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: observed.admin("/health/ready")[0] == 200, what="ready again")


def test_health_answers(observed):
    assert observed.admin("/health/live")[:2] == (200, "alive\n")
    assert observed.admin("/health/startup")[:2] == (200, "started\n")
    wait_for(lambda: observed.admin("/health/ready")[0] == 200, what="ready")
    assert observed.admin("/health/live", "HEAD")[:2] == (200, "")
    assert observed.admin("/health/live", "POST")[0] == 405
    assert observed.admin("/nothing")[0] == 404


def test_the_clients_port_knows_nothing_of_it(observed):
    for path in ("/metrics", "/health", "/health/live", "/health/ready"):
        assert observed.get(path).status == 404


def test_ready_follows_the_database():
    with Observed() as usher:
        wait_for(lambda: usher.admin("/health/ready")[0] == 200, what="ready")
        postmaster = int(next(pathlib.Path(usher.data).rglob("postmaster.pid")).read_text().splitlines()[0])
        os.kill(postmaster, signal.SIGSTOP)  # takes no new connection; then those that are there go
        try:
            for pid in children(postmaster):
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: usher.admin("/health/ready")[0] == 503, limit=60, what="the outage noticed")
            assert "has no database" in usher.admin("/health/ready")[1]
            assert usher.admin("/health/live")[0] == 200 and usher.admin("/health/startup")[0] == 200
        finally:
            os.kill(postmaster, signal.SIGCONT)
        wait_for(lambda: usher.admin("/health/ready")[0] == 200, limit=60, what="ready again")


def children(pid):
    return [int(p) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
            for p in (task / "children").read_text().split()]


def test_outbox_depth_and_age():
    with Observed(env={"ROLES": "http,relay"}) as usher:
        usher.sql("CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'held'; END $$")
        usher.sql("CREATE TRIGGER hold BEFORE INSERT ON bus.messages FOR EACH ROW EXECUTE FUNCTION hold()")
        for month in (1, 2, 3):
            assert usher.post("/events", gig(month)).status == 201
        wait_for(lambda: usher.total("usher_outbox_depth", usher_context="events") == 3, what="three waiting")
        wait_for(lambda: usher.total("usher_outbox_age_seconds", usher_context="events") > 0, what="their age")
        usher.sql("DROP TRIGGER hold ON bus.messages")
        wait_for(lambda: usher.total("usher_outbox_depth", usher_context="events") == 0, what="none waiting")


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, value, word", [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318", "TLS"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:none", "http://HOST"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
    ("OTEL_TRACES_SAMPLER", "sometimes", "traceidratio"),
    ("OTEL_TRACES_SAMPLER_ARG", "2", "from 0 to 1"),
    ("OTEL_LOGS_EXPORTER", "zipkin", "otlp or none"),
])
def test_a_wrong_setting_says_how_to_mend_it(shared_server, name, value, word):
    done = shared_server.cli("config", env={name: value})
    assert done.returncode != 0 and name in done.stdout + done.stderr and word in done.stdout + done.stderr
