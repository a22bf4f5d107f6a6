"""Input made to hurt: each table is named after the attack. What is asked of every case: an answer that says no (never 500), or does the
little it was really asked for; the worker lives; whoever comes next is served.

Where the other tables stand: request smuggling, bad chunks, limits of the head in test_http.py; slow, silent, deaf and endless clients in
test_limits.py; names that collide, and what numbers cost, counted, in tests/unit/json/test_flood.c; all of them by chance in fuzz/.
"""
import json
import pathlib
import re
import uuid

import pytest

from conftest import wait_for
from faultlib import Cluster, Serve
from test_http import NEXT, Wire, ask, chunked, post, user

API = "application/vnd.api+json"
EVENT = {"EventName": "Gig", "StartDate": "2095-01-01T10:00:00Z", "EndDate": "2095-01-01T12:00:00Z", "Venue": 5, "Price": 1}
ATTRIBUTES = {"eventName": "Gig", "startDate": "2095-01-01T10:00:00Z", "endDate": "2095-01-01T12:00:00Z", "venue": "O2ArenaLondon", "price": "1"}


@pytest.fixture(autouse=True)
def the_worker_lives(request):
    if "server" not in request.fixturenames:
        yield
        return
    server = request.getfixturevalue("server")
    before = server.workers()
    yield
    assert server.workers() == before
    assert server.get("/users").status == 200


def compat_event(raw_members):
    """A body whose last members are written as they stand."""
    return json.dumps(EVENT)[:-1] + "," + raw_members + "}"


def api_event(raw_members):
    return '{"data":{"type":"events","attributes":' + json.dumps(ATTRIBUTES)[:-1] + "," + raw_members + "}}}"


def send(server, surface, body):
    if surface == "compat":
        return server.post("/events", body)
    return server.request("POST", "/api/events", body, headers={"Content-Type": API})

# --- request smuggling, where test_http.py's table ends ---------------------------------------------------------------------------

SMUGGLING = {
    "HTTP/0.9": ("GET /users\r\n", 400),
    "HTTP/0.9 behind a request": ("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\nGET /users\r\n", 404),
    "absolute form, another authority than Host": ("GET http://inner/users HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "absolute form, another port than Host": ("GET http://a:81/users HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "authority form for GET": ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "TE.TE, the second hidden by case": ("POST /users HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ntransfer-encoding: CHUNKED\r\n\r\n", 400),
    "TE.TE, comma and nothing": ("POST /users HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n", 400),
    "TE.TE, chunked and nothing": ("POST /users HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n", 400),
    "TE.CL with Content-Length 0": ("POST /users HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n", 400),
    "CL by a name that only looks like it": ("GET /nowhere HTTP/1.1\r\nHost: a\r\nContent_Length: 40\r\n\r\n", 404),
    "a proxy's field names the length": ("GET /nowhere HTTP/1.1\r\nHost: a\r\nX-Content-Length: 40\r\n\r\n", 404),
    "Connection names Host": ("GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: Host, Content-Length\r\n\r\n", 404),
    "HTTP/2 preface behind a request": ("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404),
    "method override": ("GET /nowhere HTTP/1.1\r\nHost: a\r\nX-HTTP-Method-Override: DELETE\r\n\r\n", 404),
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_smuggling(server, name):
    """Of two requests behind one another each is answered for itself, or the first refusal ends all."""
    data, status = SMUGGLING[name]
    with Wire(server) as wire:
        wire.send(data)
        reply = wire.answer()
        assert reply.status == status
        if "behind a request" in name:
            rest = wire.rest()  # what follows is refused, or (a preface) not even that
            assert rest.startswith(b"HTTP/1.1 400 ") or rest == b""
        else:
            wire.end(reply)

# --- header bombs -----------------------------------------------------------------------------------------------------------------

def head(fields):
    return "GET /nowhere HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n"


HEADER_BOMBS = {
    "one long name": (head("X" * 32000 + ": y\r\n"), 404),
    "one longer name": (head("X" * 33000 + ": y\r\n"), 431),
    "a long method": ("M" * 8000 + " / HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "a longer method": ("M" * 9000 + " / HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "a name without end": ("GET / HTTP/1.1\r\nHost: a\r\n" + "X" * 100_000, 431),
    "many empty fields": (head("X:\r\n" * 5000), 431),
    "99 cookies of 300 bytes": (head(("Cookie: " + "c" * 300 + "\r\n") * 99), 404),
    "Accept of 15,000 ranges": (head("Accept: " + "a/a," * 7500 + "\r\n").replace("/nowhere", "/api"), 406),
    "If-Match of 8,000 tags": (head("If-None-Match: " + '"a",' * 7000 + "\r\n").replace("/nowhere", "/api/eventVenues/0"), 200),
    "Connection of 8,000 names": (head("Connection: " + "a," * 8000 + "\r\n"), 404),
    "baggage over its bound": (head("baggage: " + "a=b," * 7000 + "\r\n"), 404),
    "tracestate in 90 fields": (head("tracestate: a=b\r\n" * 90), 404),
    "an Idempotency-Key of 20 kB": ("POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Type: " + API +
                                    "\r\nIdempotency-Key: " + "k" * 20000 + "\r\n\r\n{}", 400),
}


@pytest.mark.parametrize("name", HEADER_BOMBS)
def test_header_bombs(server, name):
    data, status = HEADER_BOMBS[name]
    assert ask(server, data).status == status

# --- slow-loris, where test_limits.py's tables end --------------------------------------------------------------------------------

TRICKLES = {
    "chunks of one byte": b"1\r\nx\r\n",
    "an extension without end": b"y",
    "empty chunk sizes": b"0",
}


def test_trickled_chunks_are_cut_while_others_are_served(server):
    """A chunk a second keeps a time-out between bytes from ever coming; the rate does not."""
    slow = {}
    for name in TRICKLES:
        wire = Wire(server)
        wire.send(post("", "Transfer-Encoding: chunked", length=False))
        wire.send(b"1;" if name == "an extension without end" else b"")
        slow[name] = wire

    def all_cut():
        for name, wire in list(slow.items()):
            wire.socket.settimeout(0.05)
            try:
                wire.socket.sendall(TRICKLES[name])
                piece = wire.socket.recv(4096)
                wire.left += piece
            except TimeoutError:
                continue
            except OSError:
                piece = b""
            if not piece:
                assert re.match(rb"HTTP/1\.1 (408|400) ", wire.left) or wire.left == b"", (name, wire.left)
                wire.socket.close()
                del slow[name]
        assert server.get("/nowhere").status == 404
        return not slow

    wait_for(all_cut, limit=120, what="every trickling client to be cut")

# --- deep JSON --------------------------------------------------------------------------------------------------------------------

DEEP_JSON = {
    "arrays": lambda n: "[" * n,
    "arrays, closed": lambda n: "[" * n + "]" * n,
    "objects": lambda n: '{"a":' * n,
    "objects, closed": lambda n: '{"a":' * n + "1" + "}" * n,
    "objects and arrays": lambda n: '[{"a":' * n,
    "closing brackets": lambda n: "]" * n,
}


@pytest.mark.parametrize("surface", ["compat", "api"])
@pytest.mark.parametrize("name", DEEP_JSON)
def test_deep_json(server, name, surface):
    for depth in (33, 65, 1000, 100_000):
        answer = send(server, surface, DEEP_JSON[name](depth))
        assert answer.status == 400, (depth, answer)
        inside = {"compat": compat_event, "api": api_event}[surface]('"more":' + DEEP_JSON[name](depth))
        answer = send(server, surface, inside)
        assert answer.status in (400, 422), (depth, answer)
    assert server.get("/events").json() == []

# --- hash flood -------------------------------------------------------------------------------------------------------------------

def colliding(n, pair="Aa BB"):
    """Words that the usual unkeyed hashes throw into one bucket."""
    a, b = pair.split()
    return ["".join(a if n >> bit & 1 else b for bit in range(16)) for n in range(n)]


@pytest.mark.parametrize("pair", ["Aa BB", "Bz CY", "ab ba"])
def test_hash_flood_in_names(server, pair):
    names = ",".join(f'"{name}":0' for name in colliding(20_000, pair))
    assert send(server, "compat", compat_event(names)).status == 201
    answer = send(server, "api", api_event(names))
    assert answer.status == 422 and len(answer.json()["errors"]) == 16, answer


def test_hash_flood_in_query_and_head(server):
    names = colliding(60)
    answer = server.get("/api/events?" + "&".join(f"{name}=0" for name in names))
    assert answer.status == 400 and answer.json()["errors"][0]["code"] == "unknown-parameter"
    assert server.get("/api/events?" + "&".join("a=0" for _ in range(1500))).status == 400
    assert ask(server, head("".join(f"{name}: 0\r\n" for name in names))).status == 404

# --- number bombs -----------------------------------------------------------------------------------------------------------------

NUMBER_BOMBS = {
    "exponent": "1e999999999", "exponent beyond 64 bits": "1e99999999999999999999", "negative exponent": "1e-999999999",
    "10^5 digits": "9" * 100_000, "10^5 decimals": "0." + "9" * 100_000, "10^5 zeros and a digit": "0." + "0" * 100_000 + "1",
    "digits an exponent takes back": "9" * 100_000 + "e-100000", "10^5 digits of exponent": "1e" + "9" * 100_000,
    "minus and 10^5 digits": "-" + "9" * 100_000,
}


@pytest.mark.parametrize("form", ["{}", '"{}"'], ids=["number", "text"])
@pytest.mark.parametrize("name", NUMBER_BOMBS)
def test_number_bombs(server, name, form):
    value = form.format(NUMBER_BOMBS[name])
    for surface, body in [("compat", compat_event(f'"Price":{value}')), ("api", api_event('"x":0').replace('"price": "1"', f'"price":{value}').replace(',"x":0', ""))]:
        answer = send(server, surface, body)
        assert answer.status in (201, 400, 422), (surface, answer)
        if answer.status == 201:  # it is small: rounded as every price is
            server.reset()
    for body in (compat_event(f'"Venue":{value}'), json.dumps({"FullName": "Ann", "Email": "a@b.cd"})[:-1] + f',"UserType":{value}}}'):
        path = "/users" if "FullName" in body else "/events"
        assert server.post(path, body).status == 400


DATE_BOMBS = ["9999-12-31T23:59:59.9999999-14:00", "0001-01-01T00:00:00+14:00", "99999-01-01T00:00:00Z", "-0001-01-01T00:00:00Z",
              "2095-01-01T10:00:00." + "9" * 10_000 + "Z", "2095-13-01T10:00:00Z", "2095-02-30T10:00:00Z", "2095-01-01T24:00:00Z",
              "2095-01-01T10:00:60Z", "2095-01-01T10:00:00+99:99", "2095-W01-1T10:00:00Z", "1e9", "9" * 100_000]


@pytest.mark.parametrize("date", DATE_BOMBS, ids=lambda d: d[:24])
def test_date_bombs(server, date):
    assert send(server, "compat", json.dumps({**EVENT, "StartDate": date})).status == 400
    answer = send(server, "api", json.dumps({"data": {"type": "events", "attributes": {**ATTRIBUTES, "startDate": date}}}))
    assert answer.status == 422, answer
    assert server.get(f"/api/events?filter[startDate][ge]={date[:6000].replace('+', '%2B')}").status in (200, 400)


PAGE_BOMBS = ["0", "-1", "501", "1e3", "0x10", "99999999999999999999999999", "9" * 7000, "%00", "1.0", "+1", "", "NaN"]


@pytest.mark.parametrize("size", PAGE_BOMBS, ids=lambda s: s[:12])
def test_page_bombs(server, size):
    answer = server.get(f"/api/events?page[size]={size}")
    assert answer.status == 400 and answer.json()["errors"][0]["source"] == {"parameter": "page[size]"}


QUERY_BOMBS = {
    "parameters": "&".join(f"filter[price][ge]={i}" for i in range(300)),
    "filters": "&".join(f"filter[{f}][{o}]={v}" for f, v in [("price", 1), ("eventName", "a"), ("startDate", "2095-01-01T00:00:00Z")]
                        for o in ("eq", "ne", "gt", "ge", "lt", "le", "in")),
    "values": "filter[id][in]=" + ",".join(str(uuid.UUID(int=i)) for i in range(205)),
    "include in a circle": "include=" + ".".join(["tickets.event"] * 200),
    "includes": "include=" + ",".join(["tickets"] * 800),
    "fields": "fields[events]=" + ",".join(["price"] * 900),
    "sort": "sort=" + ",".join(["price"] * 900),
    "brackets": "filter" + "[price]" * 900 + "=1",
    "a cursor of 7 kB": "page[after]=" + "W" * 7000,
    "a cursor of brackets": "page[after]=" + "W1tb" * 1700,
    "escapes of escapes": "filter[eventName]=" + "%2525" * 1500,
    "bytes that are no text": "filter[eventName]=" + "%ff" * 2500,
}


@pytest.mark.parametrize("name", QUERY_BOMBS)
def test_query_bombs(server, name):
    answer = server.get("/api/events?" + QUERY_BOMBS[name])
    assert answer.status in (200, 400), answer
    assert (answer.status == 200) == (name in ("includes", "fields", "escapes of escapes", "bytes that are no text")), answer

# --- lists and sizes --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("count, status", [(10_000, 400), (10_001, 400), (300_000, 400)])
def test_a_purchase_of_very_many_seats(server, count, status):
    ids = [str(uuid.UUID(int=i)) for i in range(count)]
    event = str(uuid.UUID(int=1))
    answer = server.post(f"/events/{event}/tickets/purchase", {"userId": event, "ticketIds": ids})
    words = "One or more tickets do not exist" if count <= 10_000 else "At most 10000 tickets can be asked for at once"
    assert answer.status == status and answer.json()["Errors"] == [words]


def test_a_document_over_the_limit_of_the_surface(server):
    """A tree of a document costs many times its length, so /api takes less than the 30,000,000 bytes of the old routes."""
    for body in ("[" + "0," * 600_000 + "0]", '{"data":"' + "x" * 1_100_000 + '"}'):
        answer = send(server, "api", body)
        assert answer.status == 413 and answer.json()["errors"][0]["code"] == "too-large"
    assert send(server, "api", "[" + "0," * 400_000 + "0]").status == 400


def rss(pid):
    return int(re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


def test_memory_bomb(cluster):
    """Many large bodies at once, none complete: past MEMORY_MAX the large are refused and the small served."""
    with Serve(cluster, env={"MEMORY_MAX": "64MB", "ROLES": "http", "HTTP_WORKERS": "1"}) as server:
        before, refused, wires = rss(server.workers("http")[0]), 0, []
        for _ in range(24):
            wire = Wire(server)
            wires.append(wire)
            wire.socket.settimeout(20)
            try:
                wire.send(post("", "Content-Length: 20000000", length=False)).send(b" " * 8_000_000)
            except OSError:
                pass  # refused before all had come
            assert server.get("/users").status == 200
        for wire in wires:
            wire.socket.settimeout(0.05)
            try:
                refused += wire.answer().status == 503
            except (TimeoutError, OSError, AssertionError):
                pass
        grown = rss(server.workers("http")[0]) - before
        assert refused >= 10, f"{refused} of 24 refused"
        assert grown < 200 << 20, f"{grown} bytes"
        for wire in wires:
            wire.socket.close()
        reply = wait_for(lambda: (a := server.post("/users", user())).status == 201 and a, what="room again")
        assert reply.status == 201
        assert ask(server, chunked(*["x" * 100_000] * 50)).status == 400
        assert ask(server, NEXT).status == 200


def test_the_answer_to_a_used_up_arena_is_an_answer(cluster):
    """A request that needs more than it may have is told so, with 503; its connection goes on."""
    with Serve(cluster, env={"BODY_MAX": "1MB", "ROLES": "http", "HTTP_WORKERS": "1"}) as server:
        wide = '{"data":{"type":"events","@x":[' + "[],[]," * 150_000 + "0]}}"
        reply = ask(server, post(wide, path="/api/events").replace(b"application/json", API.encode()))
        assert reply.status == 503 and not reply.closes
