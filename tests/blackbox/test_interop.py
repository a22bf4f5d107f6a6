"""usher and the real MassTransit on one broker: each hears what the other says, in one trace. tests/interop/ is the other side."""
import json
import os
import shutil
import subprocess
import threading
import uuid

import pytest

from brokerlib import EVENT, USER, Broker, Vhost, event_message
from conftest import ROOT, Usher, wait_for

INTEROP = ROOT / "tests" / "interop"
MUST = os.environ.get("USHER_INTEROP") == "must"


def refuse(why):
    if MUST:
        pytest.fail(why)
    pytest.skip("SKIPPED interop with the real MassTransit: " + why)


class MassTransit:
    """The .NET program; lines() are what it has said so far."""

    def __init__(self, vhost):
        port = vhost.broker.root_url.rsplit(":", 1)[1]
        env = {**os.environ, "DOTNET_CLI_TELEMETRY_OPTOUT": "1", "DOTNET_NOLOGO": "1", "DOTNET_TieredPGO": "0"}
        built = subprocess.run(["dotnet", "build", "-c", "Release", "-v", "quiet", "--disable-build-servers"], cwd=INTEROP,
                               capture_output=True, text=True, env=env, timeout=600)
        if built.returncode != 0:
            refuse("dotnet build failed: " + built.stdout[-2000:])
        self.process = subprocess.Popen(["dotnet", str(INTEROP / "bin" / "Release" / "net10.0" / "Interop.dll"), "127.0.0.1", port,
                                         vhost.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.said = []
        threading.Thread(target=self.read, daemon=True).start()
        wait_for(lambda: {"ready": True} in self.said, 180, "MassTransit to start")

    def read(self):
        for line in self.process.stdout:
            self.said.append(json.loads(line) if line.startswith("{") else {"noise": line})

    def publish(self, type, message):
        before = len([s for s in self.said if "published" in s])
        self.process.stdin.write(json.dumps({"type": type, "message": message}) + "\n")
        self.process.stdin.flush()
        return wait_for(lambda: [s for s in self.said if "published" in s][before:], 60, "MassTransit to publish")[0]["trace"]

    def consumed(self, type, key, value):
        def look():
            return [s for s in self.said if s.get("consumed") == type and str(s["message"].get(key)) == value]
        return wait_for(look, 60, f"MassTransit to consume {type} {value}")[0]

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


@pytest.fixture(scope="module")
def sides():
    if shutil.which("dotnet") is None:
        refuse("dotnet is not installed")
    if shutil.which("rabbitmq-server") is None:
        refuse("rabbitmq-server is not installed")
    broker = Broker()
    vhost = Vhost(broker)
    other = MassTransit(vhost)
    with Usher(env={"AMQP_URL": vhost.url}) as usher:
        yield usher, other, vhost
    other.close()
    vhost.close()
    broker.close()


def traced(trace):
    return {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "baggage": "tenant=usher"}


def test_masstransit_consumes_events_of_usher(sides):
    usher, other, _ = sides
    trace = uuid.uuid4().hex
    answer = usher.post("/events", {"EventName": "Interop", "StartDate": "2095-03-07T10:00:00.1234567+02:00",
                                    "EndDate": "2095-03-07T12:00:00Z", "Venue": 5, "Price": 12.345}, headers=traced(trace))
    assert answer.status == 201, answer
    heard = other.consumed(EVENT.replace(":", "."), "Id", answer.json())
    assert heard["message"] == {"Id": answer.json(), "EventName": "Interop", "StartDate": "2095-03-07T10:00:00.1234567+02:00",
                                "EndDate": "2095-03-07T12:00:00+00:00", "Venue": 5, "Price": 12.345}
    assert heard["host"] == "usher" and heard["messageId"] and heard["conversationId"] and heard["sentTime"].endswith("Z")
    assert heard["trace"] == trace, "one trace from the request to the other side's consumer"
    assert heard["headers"]["baggage"] == "tenant=usher"


def test_masstransit_consumes_users_of_usher(sides):
    usher, other, _ = sides
    user = usher.new_user("interop@x.io", "Ann Angstrom")
    heard = other.consumed(USER.replace(":", "."), "Id", user)
    assert heard["message"] == {"Id": user, "FullName": "Ann Angstrom", "Email": "interop@x.io"}


def test_usher_consumes_what_masstransit_publishes(sides):
    usher, other, _ = sides
    event, release, user = (str(uuid.uuid4()) for _ in range(3))
    other.publish("event", {**event_message(event), "price": 7.50})
    other.publish("release", {"id": release, "venue": 3, "price": 12.345})
    other.publish("user", {"id": user, "fullName": "Bob", "email": "bob@x.io"})

    def tickets(id):
        return usher.sql("SELECT count(*), min(price)::text FROM tickets.tickets WHERE event_id = %s", id)[0]
    wait_for(lambda: tickets(event) == (13, "7.5") or tickets(event) == (13, "7.50"), 60, "tickets of the event")
    wait_for(lambda: tickets(release) == (13, "12.345"), 60, "tickets of the release")
    wait_for(lambda: usher.sql("SELECT full_name, email FROM tickets.users WHERE id = %s", user) == [("Bob", "bob@x.io")], 60)


def test_a_failure_here_is_a_fault_there_in_the_publishers_trace(sides):
    usher, other, vhost = sides
    event = str(uuid.uuid4())
    trace = other.publish("event", {**event_message(event), "eventName": "Bad_"})
    properties, body = vhost.take("event_error", 60)
    assert json.loads(body)["message"]["id"] == event
    assert properties.headers["MT-Fault-Message"] == "Name can only have alphanumerical characters"
    fault = wait_for(lambda: [s for s in other.said if s.get("consumed") == "Fault"], 60, "the fault")[0]["message"]
    assert fault["Message"]["Id"] == event and fault["Exceptions"][0]["Message"] == "Name can only have alphanumerical characters"
    wait_for(lambda: any('"message_dead"' in line and trace in line for line in usher.log), 30,
             f"usher's work in trace {trace}")
