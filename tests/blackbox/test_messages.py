"""What the contexts say to each other: the recorded shapes, in order, each with one effect, and no message in the way of another."""
import json
import uuid

import pytest

from conftest import ROOT, Usher, wait_for, waiting_in
from faultlib import SEATS, family, seeded, wait_gone

EVENT = "Integration.Events.Messaging:EventUpserted"
RELEASE = "Domain.Tickets.Messages:EventUpserted"
USER = "Integration.Users.Messaging.Messages:UserUpserted"
QUEUES = {EVENT: "tickets-inbox-events", RELEASE: "tickets-inbox-events", USER: "tickets-inbox-users"}
RECORDINGS = sorted((ROOT / "contracts" / "messages").glob("[01]?-*.json"))

LISTEN_IN = """
CREATE SCHEMA IF NOT EXISTS heard;
CREATE TABLE IF NOT EXISTS heard.messages (n bigserial, type text, payload text);
CREATE OR REPLACE FUNCTION heard.note() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO heard.messages (type, payload) VALUES (NEW.type, NEW.payload);
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER heard AFTER INSERT ON events.outbox FOR EACH ROW EXECUTE FUNCTION heard.note();
CREATE OR REPLACE TRIGGER heard AFTER INSERT ON users.outbox FOR EACH ROW EXECUTE FUNCTION heard.note();
TRUNCATE heard.messages;
"""


@pytest.fixture
def heard(server):
    """What usher says from now on, in the order in which it was appended."""
    server.sql(LISTEN_IN)
    yield lambda: server.sql("SELECT type, payload FROM heard.messages ORDER BY n")
    server.sql("DROP SCHEMA heard CASCADE")


def put(server, type, payload, aggregate=None, message_id=None):
    """A message from outside, as a transport would deliver it. Returns its id."""
    message_id = message_id or str(uuid.uuid4())
    queue = QUEUES.get(type, "tickets-inbox-events")
    server.sql("INSERT INTO bus.messages (queue, message_id, type, aggregate, payload, attempt, enqueued_at) "
               "VALUES (%s, %s, %s, %s, %s, 0, clock_timestamp()); SELECT pg_notify(%s, '')",
               queue, message_id, type, aggregate or str(uuid.uuid4()), payload if isinstance(payload, str) else json.dumps(payload),
               f"bus_{queue}")
    return message_id


def settled(server):
    wait_for(lambda: server.sql(f"SELECT {waiting_in('events')} + {waiting_in('users')} "
                                "+ (SELECT count(*) FROM bus.messages)") == [(0,)], what="all messages to be through")


def event_message(id=None, **changed):
    return {"id": id or str(uuid.uuid4()), "eventName": "Msg", "startDate": "2095-05-05T10:00:00Z", "endDate": "2095-05-05T12:00:00Z",
            "venue": 3, "price": "7.5", **changed}


def tickets(server, event):
    return server.sql("SELECT count(*), min(price)::text, max(price)::text FROM tickets.tickets WHERE event_id = %s", event)[0]


# --- out ---------------------------------------------------------------------------------------------------------------------------


def in_order_of_appearance(messages):
    """(type, members in their order) with ids numbered as they first appear: what two runs have in common."""
    numbers = {}
    return [(type, members and [(name, numbers.setdefault(value, len(numbers)) if name == "id" else value) for name, value in members])
            for type, members in messages]


def not_asked_here(scenario):
    """Requests that the old system took and we refuse, each for a written reason: nothing is said about them."""
    exchanges = json.loads((ROOT / "contracts" / "http" / f"{scenario}.json").read_text())["exchanges"]
    wanted = json.loads((ROOT / "contracts" / "exceptions.json").read_text())
    return "".join(json.dumps(exchanges[e["exchange"]]["request"]) for e in wanted if e["scenario"] == scenario)


def recorded(path):
    """What the old system's Events and Users contexts published; its Tickets context's message to itself is an effect here. Members
    are None where the recording left out a body for its size."""
    refused = not_asked_here(path.stem)
    for message in json.loads(path.read_text())["messages"]:
        if message["exchange"] not in (EVENT, USER):
            continue
        members = message["body"] and dict(json.loads(message["body"], object_pairs_hook=list))["message"]
        if message["exchange"] == USER and members and dict(members)["email"] in refused:
            continue
        yield message["exchange"], members


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda p: p.stem)
def test_what_is_said_is_what_was_recorded(server, heard, path):
    replay = server.cli("replay", str(ROOT / "contracts" / "http" / path.name), "--against", server.base, "--expect",
                        str(ROOT / "contracts" / "exceptions.json"), "--pause", "0ms")
    assert replay.returncode == 0, replay.stdout + replay.stderr
    old = list(recorded(path))
    new = [(type, json.loads(text, object_pairs_hook=list)) for type, text in heard()]
    assert len(new) == len(old) > 0
    new = [(type, members if known else None) for (type, members), (_, known) in zip(new, old)]
    assert in_order_of_appearance(new) == in_order_of_appearance(old)


def test_a_message_carries_the_trace_of_its_request(server, heard):
    trace = "0af7651916cd43dd8448eb211c80319c"
    server.sql("CREATE TABLE heard.traces (traceparent text); CREATE FUNCTION heard.trace() RETURNS trigger SECURITY DEFINER "
               "LANGUAGE plpgsql AS $$ BEGIN INSERT INTO heard.traces VALUES (NEW.traceparent); RETURN NEW; END $$; "
               "CREATE TRIGGER traced AFTER INSERT ON bus.messages FOR EACH ROW EXECUTE FUNCTION heard.trace()")
    server.post("/users", {"FullName": "Ann", "Email": "ann@trace.io", "UserType": 0},
                headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    settled(server)
    try:
        assert [t.split("-")[1] for t, in server.sql("SELECT traceparent FROM heard.traces")] == [trace]
    finally:
        server.sql("DROP TRIGGER traced ON bus.messages")


def test_a_refused_request_says_nothing(server, heard):
    event = server.new_event()
    assert server.post("/events", {"EventName": "Gig", "StartDate": "2095-01-02T10:00:00Z", "EndDate": "2095-01-02T12:00:00Z",
                                   "Venue": 5, "Price": 1}).status == 400
    assert server.put(f"/events/{event}", {"EventName": "No_", "StartDate": "2095-01-02T10:00:00Z",
                                           "EndDate": "2095-01-02T12:00:00Z"}).status == 400
    server.new_user()
    assert server.post("/users", {"FullName": "Ann", "Email": "ann@example.com", "UserType": 0}).status == 400
    assert [type for type, _ in heard()] == [EVENT, USER]


def test_changes_of_one_event_arrive_in_their_order(server, heard):
    rng = seeded()
    events = [server.new_event(f"Gig {day}", day=day) for day in range(1, 6)]
    wanted = {event: [] for event in events}
    for n in range(60):
        day = rng.randrange(5)
        wanted[events[day]].append(str(n))
        assert server.put(f"/events/{events[day]}", {"EventName": f"Gig {n}", "StartDate": f"2095-01-0{day + 1}T10:00:00Z",
                                                    "EndDate": f"2095-01-0{day + 1}T12:00:00Z", "Price": n}).status == 204
    said = [json.loads(payload) for _, payload in heard()]
    settled(server)
    for event in events:
        assert [m["price"] for m in said if m["id"] == event][1:] == wanted[event]
        last = wanted[event][-1] if wanted[event] else "25.5"
        assert tickets(server, event) == (SEATS, last, last)
        assert server.sql("SELECT price::text FROM tickets.events WHERE id = %s", event) == [(last,)]


# --- in ----------------------------------------------------------------------------------------------------------------------------


def cases():
    """Hand-made messages and what the old consumers made of them. What is about the envelope has no place on this transport: it
    carries the type and the message by themselves."""
    for case in json.loads((ROOT / "contracts/messages/faults.json").read_text()):
        if case["case"].startswith(("content type application/json, raw", "empty JSON object")):
            continue
        try:
            envelope = json.loads(case["published"]["body"])
            type, payload = envelope["messageType"][0].removeprefix("urn:message:"), envelope["message"]
        except ValueError:
            type, payload = EVENT, case["published"]["body"]
        faults = [m["headers"].get("MT-Fault-Message") for queue in case["arrived"].values() for m in queue]
        seats, low, _ = case["rows"].get("tickets", ["0", "None", "None"])
        yield case["case"], type, payload, faults, int(seats), low
    for case in json.loads((ROOT / "contracts/messages/faults2.json").read_text()):
        if case["case"].startswith("second of two message types"):
            continue
        seats, price = case["tickets"]
        yield (case["case"], case["envelope"]["messageType"][0].removeprefix("urn:message:"), case["envelope"]["message"],
               [] if seats else [None], seats, price)


# Their words told of .NET; ours tell what is wrong with the message.
OWN_WORDS = ("The JSON value", "Sequence contains", "'this is not json'", "Value cannot be null")


def test_good_bad_and_odd_messages_fare_as_recorded(server):
    """All in one go: none is in the way of another."""
    table = list(cases())
    assert len(table) > 30
    ids = [put(server, type, payload, payload.get("id") if isinstance(payload, dict) else None) for _, type, payload, _, _, _ in table]
    settled(server)
    dead = dict(server.sql("SELECT message_id::text, reason FROM bus.dead"))
    for (case, type, payload, faults, seats, price), id in zip(table, ids):
        assert (id in dead) == bool(faults), (case, dead.get(id))
        if id in dead:
            assert dead[id], case
            for words in faults:
                assert words is None or words.startswith(OWN_WORDS) or words in dead[id], (case, dead[id])
        if type == USER:
            known = server.sql("SELECT count(*) FROM tickets.users WHERE id = %s", payload["id"])[0][0]
            assert known == (not faults), case
        elif isinstance(payload, dict):
            count, low, high = tickets(server, payload.get("id") or payload["Id"])
            assert count == seats and (count == 0 or low == high == price), (case, count, low)


def test_a_message_that_comes_again_has_no_second_effect(server):
    event = str(uuid.uuid4())
    first = put(server, EVENT, event_message(event), event)
    put(server, EVENT, event_message(event, price="9", eventName="Later"), event)
    settled(server)
    before = server.sql("SELECT ctid::text, xmin::text, * FROM tickets.tickets ORDER BY id")
    for _ in range(3):
        put(server, EVENT, event_message(event), event, message_id=first)
        settled(server)
    assert server.sql("SELECT ctid::text, xmin::text, * FROM tickets.tickets ORDER BY id") == before
    assert server.sql("SELECT event_name, price::text FROM tickets.events") == [("Later", "9")]
    assert server.sql("SELECT count(*) FROM tickets.inbox") == [(2,)]
    assert server.sql("SELECT count(*) FROM bus.dead") == [(0,)]


def test_sold_seats_keep_their_price_and_owner_whatever_is_said(server):
    event = server.new_event()
    seat = server.tickets(event)[0]
    buyer = server.new_user()
    assert server.post(f"/events/{event}/tickets/purchase", {"userId": buyer, "ticketIds": [seat["Id"]]}).status == 204
    put(server, EVENT, event_message(event, venue=5, price="1"), event)
    put(server, RELEASE, {"id": event, "venue": 5, "price": "2"}, event)
    settled(server)
    rows = server.sql("SELECT price::text, user_id::text FROM tickets.tickets WHERE event_id = %s ORDER BY seat_number", event)
    assert rows == [("25.5", buyer)] + [("2", None)] * (SEATS - 1)


def test_poison_is_put_aside_with_its_reason_and_the_rest_goes_on(server):
    poison = ["", "null", "[]", "42", '"text"', "{", '{"id": null}', '{"id": "not a uuid", "venue": 3}', '{"venue": 3}',
              json.dumps(event_message(price="12,5")), json.dumps(event_message(venue=2**31)), json.dumps(event_message(eventName=7)),
              json.dumps(event_message(startDate="yesterday")), json.dumps(event_message(price="1" + "0" * 40)),
              "[" * 100_000, '{"id": "\\ud800"}', json.dumps(event_message())[:-1], json.dumps(event_message()) + "x"]
    good, bad = [], []
    for payload in poison:
        bad.append(put(server, EVENT, payload))
        event = str(uuid.uuid4())
        put(server, EVENT, event_message(event), event)
        good.append(event)
    settled(server)
    assert [tickets(server, event)[0] for event in good] == [13] * len(good)
    dead = dict(server.sql("SELECT message_id::text, reason FROM bus.dead"))
    for payload, id in zip(poison, bad):
        assert dead.get(id), payload[:100]
    assert set(dead) == set(bad)


def statement_of_the_runbook(begins):
    """An indented statement of the outage runbook: what an operator copies must work."""
    text = (ROOT / "docs" / "runbooks" / "outages.md").read_text()
    return next(" ".join(block.split()) for block in text.split("\n\n") if block.strip().startswith(begins))


def test_a_message_put_aside_comes_again_by_the_runbook(server):
    event = str(uuid.uuid4())
    id = put(server, EVENT, event_message(event, venue=42), event)
    settled(server)
    assert server.sql("SELECT message_id::text, reason FROM bus.dead") == [(id, "Venue does not exist")]
    server.sql("INSERT INTO tickets.event_venues (number, code, title, capacity) VALUES (42, 'NewArena', 'New Arena', 3)")
    try:
        server.sql(statement_of_the_runbook("WITH again").replace("…", id))
        settled(server)
        assert tickets(server, event)[0] == 3 and server.sql("SELECT count(*) FROM bus.dead") == [(0,)]
        assert len(server.sql(statement_of_the_runbook("SELECT died_at"))) == 0
    finally:
        server.sql("DELETE FROM tickets.event_venues WHERE number = 42")


def test_a_type_that_nobody_takes_is_put_aside(server):
    ids = [put(server, type, "{}") for type in ("Foo.Bar:Baz", "", "Integration.Events.Messaging", EVENT + "x")]
    event = str(uuid.uuid4())
    put(server, EVENT, event_message(event), event)
    settled(server)
    dead = dict(server.sql("SELECT message_id::text, reason FROM bus.dead"))
    assert set(dead) == set(ids) and all("nothing here takes" in reason for reason in dead.values())
    assert tickets(server, event)[0] == 13


def test_a_failing_message_holds_back_its_own_event_only(server):
    """Three attempts, as recorded; meanwhile later ones of its event wait in order, and other events go on."""
    failing, other = str(uuid.uuid4()), str(uuid.uuid4())
    put(server, EVENT, event_message(failing), failing)
    settled(server)
    bad = put(server, EVENT, event_message(failing, endDate="2095-05-04T10:00:00Z", price="1"), failing)
    after = put(server, EVENT, event_message(failing, price="2"), failing)
    put(server, EVENT, event_message(other), other)
    wait_for(lambda: tickets(server, other)[0] == 13, what="the other event's tickets")
    waiting = server.sql("SELECT message_id::text FROM bus.messages ORDER BY position")
    assert waiting == [(bad,), (after,)] and tickets(server, failing) == (13, "7.5", "7.5")
    settled(server)
    assert tickets(server, failing) == (13, "2", "2")
    assert server.sql("SELECT message_id::text, reason, attempt FROM bus.dead") == [(bad, "End date cannot be before start date", 3)]


def test_an_event_without_tickets_is_repaired_by_its_next_message(server):
    event = server.new_event()
    server.tickets(event)
    server.sql("DELETE FROM tickets.tickets WHERE event_id = %s AND seat_number > 4", event)
    assert server.put(f"/events/{event}", {"EventName": "Gig", "StartDate": "2095-01-02T10:00:00Z", "EndDate": "2095-01-02T12:00:00Z",
                                           "Price": 3}).status == 204
    server.tickets(event)


# --- reservations ---------------------------------------------------------------------------------------------------------------------


def test_a_reservation_outlives_everything_and_ends_by_time():
    """Redis forgot them at its restart. Here only the fifteen minutes, or the purchase, end one; nothing has to sweep."""
    usher = Usher()
    try:
        usher.start()
        event = usher.new_event()
        seat = usher.tickets(event)[0]["Id"]
        holder, other = usher.new_user("holder@x.io"), usher.new_user("other@x.io")
        hold = f"/events/{event}/tickets/reserve"
        assert usher.post(hold, {"userId": holder, "ticketIds": [seat]}).status == 204
        until = usher.sql("SELECT until_at FROM tickets.reservations")
        assert usher.stop() == 0
        usher.start()
        assert usher.post(hold, {"userId": other, "ticketIds": [seat]}).status == 400
        processes = family(usher.process.pid)
        usher.process.kill()
        usher.process.wait()
        wait_gone(processes, "everything below a killed usher dev")
        usher.start()
        assert [t["Reserved"] for t in usher.tickets(event)] == [True] + [False] * (SEATS - 1)
        assert usher.post(f"/events/{event}/tickets/purchase", {"userId": other, "ticketIds": [seat]}).status == 400
        assert usher.sql("SELECT until_at FROM tickets.reservations") == until
        usher.sql("UPDATE tickets.reservations SET until_at = now()")
        assert not usher.tickets(event)[0]["Reserved"]
        assert usher.post(hold, {"userId": other, "ticketIds": [seat]}).status == 204
        assert usher.post(hold, {"userId": holder, "ticketIds": [seat]}).status == 400
    finally:
        usher.close()
