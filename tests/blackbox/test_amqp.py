"""usher on the old system's RabbitMQ: the recorded topology, shapes and outcomes, and what it does while the broker suffers.

The judge is pika, an AMQP client that shares no code with usher.
"""
import json
import os
import shutil
import socket
import subprocess
import threading

import pika
import pytest

from brokerlib import CONTENT_TYPE, EVENT, USER, Broker, Vhost, envelope, event_message
from conftest import BINARY, ROOT, Usher, wait_for

pytestmark = pytest.mark.skipif(shutil.which("rabbitmq-server") is None, reason="rabbitmq-server is not installed")
CONTRACT = ROOT / "contracts"
FAULTS = json.loads((CONTRACT / "messages" / "faults.json").read_text())


@pytest.fixture(scope="module")
def broker():
    broker = Broker()
    yield broker
    broker.close()


@pytest.fixture(scope="module")
def vhost(broker):
    vhost = Vhost(broker)
    yield vhost
    vhost.close()


@pytest.fixture(scope="module")
def usher(vhost):
    with Usher(env={"AMQP_URL": vhost.url}) as usher:
        consuming(vhost, usher)
        yield usher


def consuming(vhost, usher, queues=("event", "user", "tickets-inbox-events", "tickets-inbox-users")):
    def all_consumed():
        counts = {r["name"]: r["consumers"] for r in vhost.listing("queues", "name", "consumers")}
        return all(counts.get(q, 0) > 0 for q in queues)
    wait_for(all_consumed, 60, "usher to consume its queues; log:\n" + "".join(usher.log[-5:]))


def tickets(usher, event):
    return usher.sql("SELECT count(*), min(price)::text FROM tickets.tickets WHERE event_id = %s", event)[0]


# --- topology ----------------------------------------------------------------------------------------------------------


def test_the_topology_is_the_recorded_one(usher, vhost):
    recorded = json.loads((CONTRACT / "topology.json").read_text())
    # The _skipped ones were made by the recorder's first messages; usher makes them with the first as well.
    usher.new_user("topology@x.io")
    vhost.put(EVENT, envelope(EVENT, event_message()))
    wait_for(lambda: vhost.exists("tickets-inbox-events_skipped") and vhost.exists("tickets-inbox-users_skipped"))

    def wanted(kind, keep):
        return sorted(json.dumps({k: r[k] for k in keep}, sort_keys=True) for r in recorded[kind])

    def found(kind, rows, keep):
        names = {r["name"] for r in recorded[kind]} if kind != "bindings" else None
        return sorted(json.dumps({k: r[k] for k in keep}, sort_keys=True) for r in rows if names is None or r["name"] in names)
    exchange = ("name", "type", "durable", "auto_delete", "internal")
    assert found("exchanges", vhost.listing("exchanges", *exchange), exchange) == wanted("exchanges", exchange)
    queue = ("name", "durable", "auto_delete")
    assert found("queues", vhost.listing("queues", *queue), queue) == wanted("queues", queue)
    rows = [{"source": r["source_name"], "destination": r["destination_name"], "destination_type": r["destination_kind"],
             "routing_key": r["routing_key"]} for r in vhost.listing("bindings")
            if r["source_name"] and "Fault" not in r["source_name"] and not r["source_name"].endswith("_error")]
    binding = ("source", "destination", "destination_type", "routing_key")
    assert found("bindings", rows, binding) == wanted("bindings", binding)


# --- what usher says -----------------------------------------------------------------------------------------------------


def test_a_change_is_published_in_the_recorded_shape(usher, vhost):
    tap = vhost.tap(EVENT)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    answer = usher.post("/events", {"EventName": "Shape", "StartDate": "2096-03-07T10:00:00.1234567+02:00", "EndDate": "2096-03-07T12:00:00Z",
                                    "Venue": 5, "Price": 12.50},
                        headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "tracestate": "old=1", "baggage": "tenant=a"})
    assert answer.status == 201, answer
    properties, body = vhost.take(tap)
    recording = json.loads((CONTRACT / "messages" / "01-events-basic.json").read_text())["messages"][0]
    recorded, said = json.loads(recording["body"]), json.loads(body)
    assert list(said) == list(recorded) and list(said["message"]) == list(recorded["message"]) and list(said["host"]) == list(recorded["host"])
    assert body == json.dumps(said, indent=2, ensure_ascii=False), "indented as .NET does"
    assert said["messageType"] == recorded["messageType"]
    assert said["message"]["id"] == answer.json() and said["message"]["price"] == "12.5"
    assert said["message"]["startDate"] == "2096-03-07T10:00:00.1234567+02:00"
    assert said["sentTime"].endswith("Z") and said["destinationAddress"].endswith("/" + EVENT)
    assert (properties.content_type, properties.delivery_mode, properties.message_id) == (CONTENT_TYPE, 2, said["messageId"])
    assert isinstance(properties.headers["x-dotnet-pub-seq-no"], int)
    # Trace context, in the recorded world's names and in W3C's, beside the body and in it.
    for headers in (properties.headers, said["headers"]):
        assert headers["traceparent"].split("-")[1] == trace and headers["MT-Activity-Id"] == headers["traceparent"]
        assert headers["tracestate"] == "old=1" and headers["baggage"] == "tenant=a"
    assert said["headers"]["MT-Activity-Correlation-Context"] == [{"key": "tenant", "value": "a"}]
    assert len(usher.tickets(answer.json())) == 15
    # Recorded: each also lands where nobody takes it.
    copy, again = vhost.take("tickets-inbox-events_skipped")
    assert copy.headers["MT-Reason"] == "dead-letter" and "MT-Host-MachineName" in copy.headers


# --- what usher hears ----------------------------------------------------------------------------------------------------

# Named exceptions to "as recorded": headers that say something else.
# The old system told itself to make tickets by a second message, and that one died; usher makes them with the first.
# That a venue exists is a check here; there it was a query that found nothing.
REFUSED = "System.ComponentModel.DataAnnotations.ValidationException"
EXCEPTIONS = {
    "venue 42 (unknown): second consumer fails": {"MT-Fault-MessageType": EVENT.replace(":", "."), "MT-Fault-ExceptionType": REFUSED},
    "domain message with bad venue": {"MT-Fault-ExceptionType": REFUSED},
}


@pytest.mark.parametrize("row", FAULTS, ids=[r["case"] for r in FAULTS])
def test_each_recorded_oddity_has_its_recorded_outcome(usher, vhost, row):
    published = row["published"]
    wanted = {queue: rows[0]["headers"] for queue, rows in (row["arrived"] or {}).items() if rows}
    queues = ["event_error", "event_skipped", "user_error", "tickets-inbox-events_error"]
    for queue in queues:
        if vhost.exists(queue):
            vhost.channel().queue_purge(queue)
    exchange = published["exchange"]
    vhost.put(exchange, published["body"], published["content_type"], published["headers"])
    for queue, headers in wanted.items():
        properties, body = vhost.take(queue, 60)
        got = properties.headers
        assert body == published["body"] and properties.delivery_mode == 2 and properties.content_type == published["content_type"]
        for name in headers:
            assert name in got, f"{queue}: {name}"
        for name in ("MT-Reason", "MT-Fault-MessageType", "MT-Fault-RetryCount", "MT-Fault-ExceptionType"):
            want = EXCEPTIONS.get(row["case"], {}).get(name, headers.get(name))
            assert got.get(name) == want, (queue, name)
        if "MT-Fault-InputAddress" in headers:
            assert got["MT-Fault-InputAddress"].endswith(headers["MT-Fault-InputAddress"].rsplit("/", 1)[1])
    if not any(q.startswith(("event_", "user_")) for q in wanted):
        message = json.loads(published["body"])["message"]
        if exchange == USER:
            wait_for(lambda: usher.sql("SELECT email FROM tickets.users WHERE id = %s", message["id"]) == [(message["email"],)], 60)
        else:
            wait_for(lambda: tickets(usher, message["id"])[0] > 0, 60, "its tickets")
    for queue in set(queues) - set(wanted) - {"tickets-inbox-events_error"}:
        assert not vhost.exists(queue) or vhost.depth(queue) == 0, f"something went to {queue}"


def test_faults_are_announced_as_recorded(usher, vhost):
    fault, receive = f"MassTransit:Fault--{EVENT}--", "MassTransit:ReceiveFault"
    recorded = {m["exchange"]: m for r in FAULTS for m in r["messages_seen_on_exchanges"] if m["exchange"] in (fault, receive)}
    taps = {name: vhost.tap(name) for name in (fault, receive)}
    message = event_message(eventName="Bad_")
    sent = envelope(EVENT, message)
    vhost.put(EVENT, sent)
    vhost.put("event", "this is not json")
    for name in (fault, receive):
        properties, body = vhost.take(taps[name], 60)
        said, want = json.loads(body), json.loads(recorded[name]["body"])
        assert list(said) == list(want) and list(said["message"]) == list(want["message"]) and said["messageType"] == want["messageType"]
        assert list(said["message"]["exceptions"][0]) == list(want["message"]["exceptions"][0])
        if name == fault:
            assert said["message"]["faultedMessageId"] == sent["messageId"] and said["message"]["message"] == message
            assert said["headers"] == {"MT-Fault-RetryCount": 2} and properties.headers["MT-Fault-RetryCount"] == 2


def test_raw_json_is_taken_when_a_header_names_its_type(usher, vhost):
    message = event_message()
    vhost.put("event", message, "application/json", {"MT-MessageType": f"urn:message:{EVENT}"})
    wait_for(lambda: tickets(usher, message["id"])[0] == 13, 60, "tickets of a raw message")


def test_a_repetition_has_no_second_effect(usher, vhost):
    message, again = event_message(), event_message()
    sent = envelope(EVENT, message)
    vhost.put(EVENT, sent)
    wait_for(lambda: tickets(usher, message["id"]) == (13, "7.5"), 60)
    vhost.put(EVENT, {**sent, "message": {**message, "price": "99"}})
    vhost.put(EVENT, envelope(EVENT, again))
    wait_for(lambda: tickets(usher, again["id"])[0] == 13, 60)
    assert tickets(usher, message["id"]) == (13, "7.5"), "the same id had an effect again"


def test_order_holds_while_an_earlier_message_waits_for_its_retry(usher, vhost):
    """An event's second message must not overtake its first, nor must a failing one hold up other events."""
    slow, other = event_message(), event_message()
    vhost.put(EVENT, envelope(EVENT, {**slow, "eventName": "Bad_"}))
    vhost.put(EVENT, envelope(EVENT, {**slow, "price": "8"}))
    vhost.put(EVENT, envelope(EVENT, other))
    wait_for(lambda: tickets(usher, other["id"])[0] == 13, 60)
    wait_for(lambda: tickets(usher, slow["id"]) == (13, "8"), 60)


# --- the broker suffers --------------------------------------------------------------------------------------------------


def test_nothing_is_lost_when_the_broker_is_killed(usher, vhost, broker):
    before = usher.workers()
    events, day = [], iter(range(1, 28))
    stop = threading.Event()

    def create():
        while not stop.is_set():
            events.append(usher.new_event("Kill", next(day), month=7, year=2097))
            stop.wait(0.05)
            if len(events) == 20:
                return
    creator = threading.Thread(target=create)
    creator.start()
    wait_for(lambda: len(events) >= 3, 60)
    broker.kill()
    wait_for(lambda: len(events) >= 10, 60, "creating events goes on without a broker")
    broker.start()
    creator.join(120)
    stop.set()
    assert len(events) == 20
    for event in events:
        assert len(usher.tickets(event)) == 15
    assert usher.workers() == before, "no worker died"


def test_connections_that_are_cut_come_back(usher, vhost, broker):
    broker.ctl("close_all_connections", "-p", vhost.name, "cut by a test")
    event = usher.new_event("Cut", 2, year=2098)
    assert len(usher.tickets(event)) == 15
    consuming(vhost, usher)
    prefetch = json.loads(broker.ctl("list_consumers", "-p", vhost.name, "queue_name", "prefetch_count", "--formatter", "json"))
    assert {r["prefetch_count"] for r in prefetch if not r["queue_name"].startswith("tap")} == {1500}


def test_a_blocked_broker_delays_and_loses_nothing(usher, vhost, broker):
    broker.ctl("set_vm_memory_high_watermark", "0.000001")
    try:
        event = usher.new_event("Blocked", 3, year=2098)
        user = usher.new_user("blocked@x.io")
        wait_for(lambda: '"blocked"' in broker.ctl("list_connections", "state", "--formatter", "json")
                 or '"blocking"' in broker.ctl("list_connections", "state", "--formatter", "json"), 60, "a blocked connection")
        assert usher.get("/events").status == 200
    finally:
        broker.ctl("set_vm_memory_high_watermark", "0.4")
    assert len(usher.tickets(event)) == 15
    wait_for(lambda: usher.sql("SELECT count(*) FROM tickets.users WHERE id = %s", user) == [(1,)], 60)


def test_a_binding_that_was_taken_away_is_noticed_and_declared_again(usher, vhost):
    channel = vhost.channel()
    channel.exchange_unbind("event", EVENT)
    channel.exchange_unbind("tickets-inbox-events", EVENT)
    event = usher.new_event("Unbound", 4, year=2098)
    assert len(usher.tickets(event)) == 15
    wait_for(lambda: any("no queue was bound" in line for line in usher.log), 30, "a word about it in the log")


def test_a_queue_that_is_deleted_is_declared_and_consumed_again(usher, vhost):
    vhost.channel().queue_delete("event")
    consuming(vhost, usher)
    event = usher.new_event("Deleted", 5, year=2098)
    assert len(usher.tickets(event)) == 15


# --- configuration -------------------------------------------------------------------------------------------------------


def doctor(usher, **env):
    done = usher.cli("doctor", "--json", env=env)
    return [(r["finding"], r["what"]) for r in json.loads(done.stdout) if r["subject"] == "broker"]


def test_a_queue_declared_differently_is_said_and_mended(usher, broker):
    vhost = Vhost(broker)
    channel = vhost.channel()
    channel.queue_declare("event", durable=False)
    with Usher(env={"AMQP_URL": vhost.url, "AMQP_QUEUES": "event,user"}) as other:
        before = other.workers()
        wait_for(lambda: any("queue event in vhost" in line and "declared differently: its durable is 'false', usher declares 'true'" in line
                             for line in other.log), 60, "a clear error")
        event = other.new_event()
        channel.queue_delete("event")
        assert len(wait_for(lambda: len(r := other.get(f"/events/{event}/tickets").json()) == 15 and r, 120)) == 15
        assert other.workers() == before, "no crash loop"
    vhost.close()


def test_quorum_queues_and_a_queue_of_its_own(usher, broker):
    """Beside the old service: usher's own queue hears the same messages, and the old one keeps its own."""
    vhost = Vhost(broker)
    old = vhost.channel()
    old.exchange_declare("event", "fanout", durable=True)
    old.queue_declare("event", durable=True)
    old.queue_bind("event", "event")
    old.exchange_declare(EVENT, "fanout", durable=True)
    old.exchange_bind("event", EVENT)
    env = {"AMQP_URL": vhost.url, "AMQP_QUEUES": "event=usher-event", "AMQP_QUEUE_TYPE": "quorum", "AMQP_EXCLUSIVE": "true"}
    with Usher(env=env) as other:
        event = other.new_event()
        assert len(other.tickets(event)) == 15
        assert json.loads(vhost.take("event")[1])["message"]["id"] == event
        types = {r["name"]: r["type"] for r in vhost.listing("queues", "name", "type")}
        assert types["usher-event"] == "quorum" and types["event"] == "classic" and "user" not in types
    vhost.close()


def test_what_dies_in_a_quorum_queue_lies_in_a_quorum_queue(broker):
    """Its _error is declared like it. Looking counts as a delivery there, and loses nothing however often."""
    vhost = Vhost(broker)
    env = {"AMQP_URL": vhost.url, "AMQP_QUEUES": "event", "AMQP_QUEUE_TYPE": "quorum"}
    with Usher(env=env) as other:
        consuming(vhost, other, ["event"])

        def dead(*args):
            return json.loads(other.cli("bus", "dead", *args, "--json", env=env, check=0).stdout)
        bad = [envelope(EVENT, event_message(venue=42)) for _ in range(3)]
        for said in [*bad, "no JSON"]:
            vhost.put(EVENT, said)
        wait_for(lambda: vhost.exists("event_error") and vhost.depth("event_error") == 4, 60, "four dead letters")
        vhost.put(EVENT, envelope(EVENT, good := event_message()))
        wait_for(lambda: tickets(other, good["id"])[0] == 13, 60, "those behind to go on")
        types = {r["name"]: r["type"] for r in vhost.listing("queues", "name", "type")}
        assert types["event"] == types["event_error"] == "quorum"
        groups = dead("list")
        assert sorted(g["count"] for g in groups) == [1, 3]
        for _ in range(25):
            assert dead("list") == groups
        assert json.loads(dead("show", next(g["first"] for g in groups if g["count"] == 3))[0]["body"]) == bad[0]
        reason = next(g["reason"] for g in groups if g["count"] == 3)
        assert dead("retry", "--all", "--reason", reason) == {"retried": 3}
        wait_for(lambda: vhost.depth("event_error") == 4, 60, "them to die again")
        assert dead("discard", "--all") == {"discarded": 4}
        assert dead("list") == [] and vhost.depth("event") == 0
    vhost.close()


@pytest.mark.parametrize("name, value, words", [
    ("AMQP_URL", "http://x", "it is written amqp://"),
    ("AMQP_URL", "amqp://x?hartbeat=1", "unknown parameter hartbeat"),
    ("AMQP_QUEUES", "evnet", 'there is no endpoint "evnet"'),
    ("AMQP_QUEUES", "event,user=event", "queue event is named twice"),
    ("AMQP_QUEUE_TYPE", "stream", "classic or quorum"),
])
def test_settings_are_refused_with_words(name, value, words):
    done = subprocess.run([BINARY, "config"], capture_output=True, text=True, env={**os.environ, name: value})
    assert done.returncode != 0 and words in done.stdout + done.stderr


# --- no broker at all ----------------------------------------------------------------------------------------------------


class Garbage:
    """Listens as a broker would and says what it is told to; counts who came."""

    def __init__(self, *pieces, close=True):
        self.pieces, self.close_after, self.visits, self.open = pieces, close, 0, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.visits += 1
            try:
                peer.recv(8)
                for piece in self.pieces:
                    peer.sendall(piece)
            except OSError:
                pass
            if self.close_after:
                peer.close()
            else:
                self.open.append(peer)

    def stop(self):
        self.listener.close()
        for peer in self.open:
            peer.close()


@pytest.mark.parametrize("label, pieces, close, words", [
    ("HTTP", [b"HTTP/1.1 400 Bad Request\r\n\r\n"], True, "does not speak AMQP 0-9-1"),
    ("another version", [b"AMQP\0\0\x09\x01"], True, "does not speak AMQP 0-9-1"),
    ("an endless frame", [b"\x01\0\0\xff\xff\xff\xff"], True, "longer than was agreed"),
    ("a start cut short", [b"\x01\0\0\0\0\0\x04\0\x0a\0\x0a\xce"], True, "no method where"),
    ("silence", [], False, "did not answer within 300 ms"),
    ("a close", [], True, "closed the connection while signing in"),
])
def test_whatever_answers_there_usher_stays(usher, label, pieces, close, words):
    fake = Garbage(*pieces, close=close)
    done = usher.cli("doctor", "--json", env={"AMQP_URL": f"amqp://127.0.0.1:{fake.port}/?connection_timeout=300"})
    fake.stop()
    told = [r for r in json.loads(done.stdout) if r["subject"] == "broker"]
    assert told and told[0]["finding"] == "wrong" and words in told[0]["what"], told


def test_doctor_tells_what_is_wrong_with_the_broker(usher, vhost, broker):
    fine = doctor(usher, AMQP_URL=vhost.url)
    assert [finding for finding, _ in fine] == ["ok", "ok"] and fine[0][1].startswith("RabbitMQ 3"), fine
    port = broker.root_url.rsplit(":", 1)[1]

    def wrong(url):
        return " ".join(what for finding, what in doctor(usher, AMQP_URL=url) if finding == "wrong")
    assert "ACCESS_REFUSED" in wrong(f"amqp://guest:no@127.0.0.1:{port}/")
    assert "vhost nowhere not found" in wrong(f"{broker.root_url}/nowhere")
    broker.ctl("add_user", "reader", "reader", check=False)
    broker.ctl("set_permissions", "-p", vhost.name, "reader", "^$", "^$", ".*")
    assert "refused for user 'reader'" in wrong(f"amqp://reader:reader@127.0.0.1:{port}/{vhost.name}")
    empty = Vhost(broker)
    assert any(finding == "warning" and "not there yet" in what for finding, what in doctor(usher, AMQP_URL=empty.url))
    empty.channel().queue_declare("user", durable=False)
    assert "queue user" in wrong(empty.url) and "declared differently" in wrong(empty.url)
    empty.close()


# --- the dead, as an operator handles them ------------------------------------------------------------------------------


class Dead:
    """`usher bus dead` in a vhost of its own, where nobody consumes."""

    def __init__(self, broker):
        self.vhost = Vhost(broker)
        self.channel = None

    def emptied(self):
        self.channel = self.vhost.channel()
        self.channel.queue_delete("event_skipped")
        for queue in ("event", "event_error"):
            self.channel.queue_declare(queue, durable=True)
            self.channel.queue_purge(queue)
        self.channel.confirm_delivery()
        return self

    def bury(self, body, words="it would not", queue="event_error", id=None, **headers):
        said = {"MT-Reason": "fault", "MT-Fault-ExceptionType": "System.Exception", "MT-Fault-Message": words,
                "MT-Fault-Timestamp": "2026-11-23T04:00:00.0000000Z", "MT-Host-MachineName": "old", "own": "kept", **headers}
        self.channel.basic_publish("", queue, body if isinstance(body, (bytes, str)) else json.dumps(body),
                                   pika.BasicProperties(content_type=CONTENT_TYPE, delivery_mode=2, message_id=id, headers=said))

    def bury_event(self, words="it would not"):
        said = envelope(EVENT, event_message())
        self.bury(said, words, id=said["messageId"])
        return said

    def run(self, *args, url=None):
        return subprocess.run([BINARY, "bus", *args], capture_output=True, text=True,
                              env={**os.environ, "DATABASE_URL": "postgresql:///nowhere", "AMQP_URL": url or self.vhost.url})

    def __call__(self, *args):
        done = self.run("dead", *args, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def drain(self, queue):
        found = []
        while (got := self.channel.basic_get(queue, auto_ack=True))[0]:
            found.append(got[1:])
        return found


@pytest.fixture(scope="module")
def dead_vhost(broker):
    dead = Dead(broker)
    yield dead
    dead.vhost.close()


@pytest.fixture
def dead(dead_vhost):
    return dead_vhost.emptied()


def test_the_dead_are_looked_at_and_stay_as_they_are(dead):
    assert dead("list") == [], "an empty queue; the others are not even there"
    first = dead.bury_event("one\nwith a \x1b[31mcolour")
    for _ in range(300):
        dead.bury_event("two")
    dead.bury(b"\xff\xfe not text", "three", table={"a": [1, True, None]})
    groups = dead("list")
    assert [(g["queue"], g["count"], g["type"], g["reason"]) for g in groups] == [
        ("event_error", 1, EVENT, "System.Exception: one with a  [31mcolour"), ("event_error", 300, EVENT, "System.Exception: two"),
        ("event_error", 1, "unknown type", "System.Exception: three")]
    assert dead("list") == groups, "the same letters have the same handles"
    assert [g["count"] for g in dead("list", "--queue", "event", "--reason", "System.Exception: two")] == [300]
    assert dead("list", "--queue", "user_error") == [] and dead("list", "--queue", "nobody") == []
    shown, = dead("show", groups[0]["first"])
    assert json.loads(shown["body"]) == first and shown["id"] == first["messageId"]
    assert shown["headers"]["own"] == "kept" and shown["headers"]["MT-Fault-Message"].startswith("one\n")
    shown, = dead("show", groups[2]["first"])
    assert shown["body"].endswith(" not text") and shown["headers"]["table"] == {"a": [1, True, None]}
    assert "300  event_error" in dead.run("dead", "list").stdout
    left = dead.drain("event_error")
    assert len(left) == 302 and json.loads(left[0][1]) == first, "nothing is lost, and the order is kept"


def test_the_dead_are_put_back_as_they_were_and_discarded(dead):
    kept, back = dead.bury_event("kept"), [dead.bury_event("back") for _ in range(400)]
    assert "--all" in dead.run("dead", "retry").stderr
    assert dead("retry", "--all", "--reason", "System.Exception: back") == {"retried": 400}
    found = dead.drain("event")
    assert [json.loads(body) for _, body in found] == back, "in their order"
    for (properties, _), said in zip(found, back):
        assert properties.message_id == said["messageId"] and properties.delivery_mode == 2 and properties.content_type == CONTENT_TYPE
        assert {k for k in properties.headers if not k.startswith("x-")} == {"own"}, "nothing of the burial"
    letter = dead("list")[0]["first"]
    dead.bury_event("meanwhile")
    assert dead("discard", letter) == {"discarded": 1}
    gone = dead.run("dead", "discard", letter)
    assert gone.returncode == 1 and f"there is no dead letter {letter}" in gone.stderr
    assert kept and [g["reason"] for g in dead("list")] == ["System.Exception: meanwhile"]


def test_letters_for_a_queue_that_is_not_there_stay(dead):
    dead.bury_event()
    dead.channel.queue_delete("event")
    done = dead.run("dead", "retry", "--all")
    assert done.returncode == 2 and "queue event is not there, so its letters stay in event_error" in done.stderr, done.stderr
    assert [g["count"] for g in dead("list")] == [1]


def test_skipped_ones_are_looked_at_only_when_their_queue_is_named(dead):
    dead.channel.queue_declare("event_skipped", durable=True)
    said = envelope("Some:Type", {})
    dead.channel.basic_publish("", "event_skipped", json.dumps(said), pika.BasicProperties(headers={"MT-Reason": "dead-letter"}))
    assert dead("list") == [] and dead("retry", "--all") == {"retried": 0}
    assert [(g["type"], g["reason"]) for g in dead("list", "--queue", "event_skipped")] == [("Some:Type", "skipped: nothing there takes its type")]
    assert dead("retry", "--all", "--queue", "event_skipped") == {"retried": 1}
    assert json.loads(dead.drain("event")[0][1]) == said


def test_a_letter_that_another_holds_is_not_waited_for(dead):
    dead.bury_event()
    other = dead.vhost.connection.channel()
    method, _, _ = other.basic_get("event_error")
    assert dead("list") == [], "in another's hands"
    other.basic_nack(method.delivery_tag)
    assert [g["count"] for g in dead("list")] == [1]


class KillAtAck:
    """Between usher and the broker: at the first acknowledgement `victim` is killed, and the acknowledgement never arrives."""
    ACK = b"\x00\x3c\x00\x50"

    def __init__(self, port):
        self.port, self.victim = port, None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.seen = threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        client, _ = self.listener.accept()
        broker = socket.create_connection(("127.0.0.1", self.port))
        threading.Thread(target=self.carry, args=(broker, client, False), daemon=True).start()
        self.carry(client, broker, True)

    def carry(self, source, target, watched):
        try:
            while data := source.recv(65536):
                if watched and self.ACK in data:
                    self.victim.kill()
                    self.seen.set()
                    break
                target.sendall(data)
        except OSError:
            pass
        source.close()
        target.close()


def test_a_retry_that_is_killed_before_its_acknowledgement_is_repeated_without_a_second_effect(usher, vhost, broker):
    said = envelope(EVENT, event_message(price="8.25"))
    del said["messageId"]  # the worst case: a message that nobody gave an id
    channel = vhost.channel()
    channel.queue_declare("event_error", durable=True)
    channel.queue_purge("event_error")
    channel.basic_publish("", "event_error", json.dumps(said),
                          pika.BasicProperties(content_type=CONTENT_TYPE, headers={"MT-Fault-Message": "killed", "MT-Fault-Timestamp": "x"}))
    channel.close()
    proxy = KillAtAck(int(broker.root_url.rsplit(":", 1)[1]))
    env = {**os.environ, "DATABASE_URL": usher.url(), "AMQP_URL": f"amqp://guest:guest@127.0.0.1:{proxy.listener.getsockname()[1]}/{vhost.name}"}
    proxy.victim = subprocess.Popen([BINARY, "bus", "dead", "retry", "--all"], env=env)
    assert proxy.seen.wait(60), "it acknowledges what it has put back"
    assert proxy.victim.wait(60) != 0
    event = said["message"]["id"]
    wait_for(lambda: tickets(usher, event)[0], 60, "the first copy's effect")
    rows = usher.sql("SELECT id::text, xmin::text FROM tickets.tickets WHERE event_id = %s ORDER BY id", event)
    known = usher.sql("SELECT count(*) FROM tickets.inbox")
    wait_for(lambda: vhost.depth("event_error") == 1, 60, "the letter to be back")

    assert json.loads(usher.cli("bus", "dead", "retry", "--all", "--json", env={"AMQP_URL": vhost.url}, check=0).stdout) == {"retried": 1}
    assert vhost.depth("event_error") == 0
    marker = envelope(EVENT, event_message())
    vhost.put("event", marker)
    wait_for(lambda: tickets(usher, marker["message"]["id"])[0], 60, "what came behind the second copy")
    assert usher.sql("SELECT id::text, xmin::text FROM tickets.tickets WHERE event_id = %s ORDER BY id", event) == rows, "a second effect"
    assert usher.sql("SELECT count(*) FROM tickets.inbox")[0][0] == known[0][0] + 1, "the second copy had the id of the first"


def test_a_broker_that_goes_while_its_dead_are_looked_at_loses_none(dead, broker):
    for _ in range(20):
        dead.bury_event()
    proxy = KillAtAck(int(broker.root_url.rsplit(":", 1)[1]))

    class Broker:
        kill = staticmethod(broker.kill)
    proxy.victim = Broker
    done = dead.run("dead", "retry", "--all", url=f"amqp://guest:guest@127.0.0.1:{proxy.listener.getsockname()[1]}/{dead.vhost.name}")
    assert done.returncode == 2 and "bus:" in done.stderr, done.stderr
    broker.start()
    dead.channel = dead.vhost.channel()
    ids = {json.loads(body)["messageId"] for _, body in dead.drain("event_error")}
    assert len(ids) == 20, "durable, and not acknowledged"
