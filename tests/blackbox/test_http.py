"""The protocol on the wire, from outside: RFC 9110 and RFC 9112 beyond what the recordings show.

Every answer in this file is read by a strict reader (`Wire.answer`): one framing, a valid head, nothing too much. After it the
connection must be what the answer said: closed, or good for the next request.
"""
import email.utils
import json
import re
import socket

import pytest

from conftest import ROOT

LIMIT = 20  # of any one wait; a net, not a measure
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
SOMEWHERE = "/events/00000000-0000-4000-8000-000000000000"
NEXT = b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n"


class Reply:
    def __init__(self, status, headers, body, interim):
        self.status, self.headers, self.body, self.interim = status, headers, body, interim
        self.closes = "close" in (self.header("connection") or "")

    def header(self, name):
        found = [value for key, value in self.headers if key.lower() == name]
        assert len(found) <= 1, f"{name} is there {len(found)} times"
        return found[0] if found else None

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:200]!r}>"


class Wire:
    """One connection, and a reader that believes nothing."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port), LIMIT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.left = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
        return self

    def send_slowly(self, data):
        """A byte a packet. An answer may come, and the connection end, before all is sent."""
        for i in range(len(data)):
            try:
                self.socket.sendall(data[i:i + 1])
            except (BrokenPipeError, ConnectionResetError):
                break
        return self

    def more(self):
        data = self.socket.recv(65536)
        assert data, f"closed within an answer, behind {self.left[-200:]!r}"
        self.left += data

    def until(self, mark):
        while mark not in self.left:
            self.more()
        taken, _, self.left = self.left.partition(mark)
        return taken

    def take(self, n):
        while len(self.left) < n:
            self.more()
        taken, self.left = self.left[:n], self.left[n:]
        return taken

    def chunks(self):
        body = b""
        while True:
            size = self.until(b"\r\n")
            assert re.fullmatch(rb"[0-9a-fA-F]{1,8}", size), size
            piece = self.take(int(size, 16))
            assert self.take(2) == b"\r\n"
            if not piece:
                return body
            body += piece

    def head(self):
        line, *lines = self.until(b"\r\n\r\n").decode("ascii").split("\r\n")
        found = re.fullmatch(r"HTTP/1\.1 ([1-5][0-9][0-9]) ([ -~]+)", line)
        assert found, line
        headers = []
        for field in lines:
            name, colon, value = field.partition(":")
            assert colon and TOKEN.match(name) and value == " " + value.strip() and "\n" not in value, field
            headers.append((name, value.strip()))
        return int(found.group(1)), headers

    def answer(self, method="GET", minor=1):
        interim = []
        status, headers = self.head()
        while status < 200:
            assert not headers
            interim.append(status)
            status, headers = self.head()
        reply = Reply(status, headers, b"", interim)
        assert email.utils.parsedate_to_datetime(reply.header("date")) is not None
        assert status != 405 or reply.header("allow")
        length, coding = reply.header("content-length"), reply.header("transfer-encoding")
        assert length is None or coding is None, "two framings"
        assert minor == 1 or coding is None, "chunks for HTTP/1.0"
        assert minor == 1 or reply.closes
        if status == 204 or method == "HEAD":
            assert coding is None and (status != 204 or length is None)
        elif coding is not None:
            assert coding == "chunked"
            reply.body = self.chunks()
        elif length is not None:
            reply.body = self.take(int(length))
        else:
            assert reply.closes, "nothing says where the answer ends"
            reply.body = self.rest()
        return reply

    def rest(self):
        while data := self.socket.recv(65536):
            self.left += data
        taken, self.left = self.left, b""
        return taken

    def end(self, reply=None):
        """What the last answer said holds: closed without another byte, or open and sound."""
        if reply is None or reply.closes:
            assert self.rest() == b""
        else:
            assert self.left == b""
            assert self.send(NEXT).answer().status == 200


def ask(server, data, method="GET", minor=1, send=Wire.send):
    with Wire(server) as wire:
        reply = send(wire, data).answer(method, minor)
        wire.end(reply)
        return reply


def post(body, *fields, path="/users", length=True):
    head = [f"POST {path} HTTP/1.1", "Host: a", "Content-Type: application/json", *fields]
    if length:
        head.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode("latin-1")


def chunked(*pieces, path="/users"):
    text = "".join(f"{len(piece):x}\r\n{piece}\r\n" for piece in pieces)
    return post(text + "0\r\n\r\n", "Transfer-Encoding: chunked", path=path, length=False)


def user(i=0):
    return json.dumps({"FullName": "Ann", "Email": f"ann{i}@example.com"})


@pytest.fixture(scope="module", autouse=True)
def no_worker_dies(shared_server):
    before = shared_server.workers()
    assert before["http"]
    yield
    assert shared_server.workers() == before

# --- what is malformed ------------------------------------------------------------------------------------------------------------

RECORDED = json.loads((ROOT / "contracts/http/17-http-protocol.json").read_text())["exchanges"]
# The named exceptions of this scenario (contracts/exceptions.json): refused, where the old server took them or blamed itself.
OTHERWISE = {15: 400, 28: 400, 29: 400, 37: 413}
# Whole, and cut into bytes: but for the limits, which have tests of their own.
RAW = [pytest.param(i, send, id=f"{e['note'].replace(' ', '-')}-{way}") for i, e in enumerate(RECORDED)
       for way, send in [("whole", Wire.send), ("by-byte", Wire.send_slowly)]
       if e["response"]["status"] is not None and (way == "whole" or len(e["request"]["raw"]) < 5000)]


@pytest.mark.parametrize("i, send", RAW)
def test_recorded_requests(server, i, send):
    exchange = RECORDED[i]
    data = exchange["request"]["raw"].encode("latin-1")
    reply = ask(server, data, minor=0 if b"HTTP/1.0\r\n" in data else 1, send=send)
    assert reply.status == OTHERWISE.get(i, exchange["response"]["status"])
    assert reply.closes == (i in OTHERWISE or exchange["response"].get("connection_closed", False))


def test_http2_prior_knowledge_is_closed_on(server):
    with Wire(server) as wire:
        wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").end()


def framed(*fields, body="GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", version="1.1"):
    head = "\r\n".join([f"POST /users HTTP/{version}", "Host: a", "Content-Type: application/json", *fields])
    return head + "\r\n\r\n" + body


SMUGGLING = {
    "both framings": framed("Content-Length: 4", "Transfer-Encoding: chunked", body="0\r\n\r\n"),
    "both, the other way round": framed("Transfer-Encoding: chunked", "Content-Length: 4", body="0\r\n\r\n"),
    "chunked twice": framed("Transfer-Encoding: chunked, chunked", body="0\r\n\r\n"),
    "chunked in two fields": framed("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body="0\r\n\r\n"),
    "chunked, then identity": framed("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body="0\r\n\r\n"),
    "identity": framed("Transfer-Encoding: identity"),
    "gzip before chunked": framed("Transfer-Encoding: gzip, chunked", body="0\r\n\r\n"),
    "chunked is not last": framed("Transfer-Encoding: chunked, gzip", body="0\r\n\r\n"),
    "nearly chunked": framed("Transfer-Encoding: xchunked"),
    "quoted": framed('Transfer-Encoding: "chunked"'),
    "a parameter": framed("Transfer-Encoding: chunked;q=1"),
    "empty coding": framed("Transfer-Encoding:"),
    "vertical tab": framed("Transfer-Encoding:\x0bchunked"),
    "NUL": framed("Transfer-Encoding: \x00chunked"),
    "space before the colon": framed("Transfer-Encoding : chunked", body="0\r\n\r\n"),
    "tab before the colon": framed("Content-Length\t: 5"),
    "folded": framed("Transfer-Encoding:", " chunked", body="0\r\n\r\n"),
    "folded by tab": framed("X: a", "\tTransfer-Encoding: chunked", body="0\r\n\r\n"),
    "first line begins with space": "POST /users HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n",
    "hidden behind a bare LF": framed("X: a\nTransfer-Encoding: chunked", body="0\r\n\r\n"),
    "hidden behind a bare CR": framed("X: a\rTransfer-Encoding: chunked", body="0\r\n\r\n"),
    "bare CR ends the head": "GET /events HTTP/1.1\r\nHost: a\r\n\rGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    "chunks in HTTP/1.0": framed("Transfer-Encoding: chunked", body="0\r\n\r\n", version="1.0"),
    "two lengths": framed("Content-Length: 0", "Content-Length: 33"),
    "two equal lengths": framed("Content-Length: 33", "Content-Length: 33"),
    "list of lengths": framed("Content-Length: 33, 33"),
    "plus": framed("Content-Length: +33"),
    "minus nothing": framed("Content-Length: -0"),
    "hexadecimal": framed("Content-Length: 0x21"),
    "exponent": framed("Content-Length: 1e1"),
    "fraction": framed("Content-Length: 1.0"),
    "space within": framed("Content-Length: 3 3"),
    "empty length": framed("Content-Length:"),
    "2^63": framed("Content-Length: 9223372036854775808"),
    "2^64": framed("Content-Length: 18446744073709551616"),
    "2^64 + 33": framed("Content-Length: 18446744073709551649"),
    "other digits": framed("Content-Length: \xb2"),
    "no field name": framed(": x"),
    "two Hosts": "GET /events HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "Host with user": "GET /events HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "Host with path": "GET /events HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "Host with no port": "GET /events HTTP/1.1\r\nHost: a:b\r\n\r\n",
    "Host, open bracket": "GET /events HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "absolute form with user": "GET http://u@a/events HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute form without host": "GET http:///events HTTP/1.1\r\nHost: a\r\n\r\n",
    "tab for space": "GET\t/events\tHTTP/1.1\r\nHost: a\r\n\r\n",
    "space behind the version": "GET /events HTTP/1.1 \r\nHost: a\r\n\r\n",
    "lower-case version": "GET /events http/1.1\r\nHost: a\r\n\r\n",
    "long version": "GET /events HTTP/1.10\r\nHost: a\r\n\r\n",
    "no token": "G@T /events HTTP/1.1\r\nHost: a\r\n\r\n",
    "broken escape": "GET /events%2 HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in the path": "GET /events%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "path that is not UTF-8": "GET /events%ff HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("send", [Wire.send, Wire.send_slowly], ids=["whole", "by-byte"])
@pytest.mark.parametrize("name", SMUGGLING)
def test_where_a_request_ends_is_never_in_doubt(server, name, send):
    """One refusal that closes; nothing behind it is ever read as a request."""
    reply = ask(server, SMUGGLING[name].encode("latin-1") + NEXT, send=send)
    assert reply.status == 400 and reply.closes and reply.body == b""


BAD_CHUNKS = {
    "no size": "\r\n{}\r\n0\r\n\r\n", "prefix": "0x2\r\n{}\r\n0\r\n\r\n", "sign": "+2\r\n{}\r\n0\r\n\r\n",
    "minus": "-2\r\n{}\r\n0\r\n\r\n", "17 digits": "00000000000000002\r\n{}\r\n0\r\n\r\n",
    "overflow": "ffffffffffffffff\r\n{}\r\n0\r\n\r\n", "space before": " 2\r\n{}\r\n0\r\n\r\n", "space behind": "2 \r\n{}\r\n0\r\n\r\n",
    "bare LF behind the size": "2\n{}\r\n0\r\n\r\n", "bare LF in an extension": "2;x\n{}\r\n0\r\n\r\n",
    "bare CR in an extension": "2;x\ry\r\n{}\r\n0\r\n\r\n", "bare LF behind data": "2\r\n{}\n0\r\n\r\n",
    "data too long": "2\r\n{}}\r\n0\r\n\r\n", "data too short": "3\r\n{}\r\n0\r\n\r\n", "bare LF at the end": "2\r\n{}\r\n0\n\n",
    "trailer without colon": "2\r\n{}\r\n0\r\nX\r\n\r\n", "folded trailer": "2\r\n{}\r\n0\r\nX: a\r\n b\r\n\r\n",
    "trailer with bare LF": "2\r\n{}\r\n0\r\nX: a\nY: b\r\n\r\n", "NUL in a trailer": "2\r\n{}\r\n0\r\nX: \x00\r\n\r\n",
    "endless extension": "2;" + "x" * 70000 + "\r\n{}\r\n0\r\n\r\n", "endless trailers": "2\r\n{}\r\n0\r\n" + "X: y\r\n" * 20000 + "\r\n",
}


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_bad_chunks_end_the_connection(server, name):
    data = post(BAD_CHUNKS[name], "Transfer-Encoding: chunked", length=False) + NEXT
    with Wire(server) as wire:
        try:
            wire.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was refused before it had all come; the answer is there all the same
        reply = wire.answer()
        assert reply.status == 400 and reply.closes and reply.json()["status"] == 400
        wire.end(reply)

# --- limits -------------------------------------------------------------------------------------------------------------------------

def padded_line(n):  # with its CRLF
    return "GET /events?" + "q" * (n - len("GET /events? HTTP/1.1\r\n")) + " HTTP/1.1\r\nHost: a\r\n\r\n"


def with_fields(count):  # Host among them
    return "GET /events HTTP/1.1\r\nHost: a\r\n" + "".join(f"X{i}: y\r\n" for i in range(count - 1)) + "\r\n"


def padded_head(n):  # of all fields, with the empty line
    return "GET /events HTTP/1.1\r\nHost: a\r\nX: " + "y" * (n - len("Host: a\r\nX: \r\n\r\n")) + "\r\n\r\n"


@pytest.mark.parametrize("data, status", [
    (padded_line(8192), 200), (padded_line(8193), 414), (padded_line(100_000), 414), ("G" * 100_000, 414), ("GET /" + "a" * 9000, 414),
    (with_fields(100), 200), (with_fields(101), 431), (with_fields(5000), 431),
    (padded_head(32768), 200), (padded_head(32769), 431), (padded_head(200_000), 431),
    ("GET /events HTTP/1.1\r\nHost: a\r\n" + "X" * 40_000, 431),
], ids=lambda v: str(v)[:24].split("\r")[0] + f"-{len(v)}" if isinstance(v, str) else str(v))
def test_limits_of_the_head(server, data, status):
    reply = ask(server, data)
    assert reply.status == status and reply.closes == (status != 200)


@pytest.mark.parametrize("name", ["length", "chunks"])
def test_a_body_over_the_limit(server, name):
    with Wire(server) as wire:
        try:
            if name == "length":
                wire.send(framed("Content-Length: 30000001", body=""))
            else:
                wire.send(framed("Transfer-Encoding: chunked", body="")).send(f"{31_000_000:x}\r\n")
                for _ in range(31):
                    wire.send(b"[" * 1_000_000)
        except (BrokenPipeError, ConnectionResetError):
            pass
        reply = wire.answer()
        assert reply.status == 413 and reply.closes and reply.json()["title"] == "Content Too Large"
        wire.end(reply)


def test_a_large_body_within_the_limit(server):
    """Announced, it is read to its end; what is said then is about its content."""
    body = '{"FullName":"' + "a" * 20_000_000 + '","Email":"nonsense"}'
    reply = ask(server, post(body))
    assert reply.status == 400 and reply.json()["Errors"] == ["Email must be valid"] and not reply.closes

# --- connections ----------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("fields, minor, closes", [
    ((), 1, False), (("Connection: keep-alive",), 1, False), (("Connection: close",), 1, True), (("Connection: CLOSE",), 1, True),
    (("Connection: keep-alive, close",), 1, True), (("Connection: x", "Connection: close"), 1, True),
    (("Connection: closed",), 1, False), (("Connection: Upgrade", "Upgrade: websocket"), 1, False),
    ((), 0, True), (("Connection: keep-alive",), 0, True),
])
def test_connection_options(server, fields, minor, closes):
    data = "\r\n".join([f"GET /events HTTP/1.{minor}", "Host: a", *fields, "", ""])
    reply = ask(server, data, minor=minor)
    assert (reply.status, reply.body, reply.closes) == (200, b"[]", closes)


def test_nothing_is_answered_behind_close(server):
    with Wire(server) as wire:
        wire.send("GET /events HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode() + NEXT * 3)
        reply = wire.answer()
        assert reply.status == 200 and reply.closes
        wire.end(reply)


GOOD_AFTER = {
    "404 path": (b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "404 id": (f"GET {SOMEWHERE} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 404),
    "405": (b"DELETE /events HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "405 with a body": (b"PATCH /events HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", 405),
    "404 with chunks": (chunked("some", "thing", path="/nowhere"), 404),
    "GET with a body": (b"GET /events HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", 200),
    "GET with chunks": (b"GET /events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200),
    "415": (b"POST /users HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\nContent-Length: 4\r\n\r\n<a/>", 415),
    "form 1": (post('{"FullName":"A1"}'), 400),
    "form 2": (post("{"), 400),
    "form 3": (post('{"Email":"ann@example.com"}'), 500),
    "empty body": (post(""), 400),
    "unknown method": (b"BREW /events HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "TRACE": (b"TRACE /events HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "a chunked body": (chunked(*user()), 201),
    "chunked in any case": (chunked(user()).replace(b": chunked", b":\tCHUNKED "), 201),
    "trailers": (post("2\r\n{}\r\n0\r\nX: y\r\nContent-Length: 9\r\n\r\n", "Transfer-Encoding: chunked", length=False), 400),
    "empty Host": (b"GET /events HTTP/1.1\r\nHost:\r\n\r\n", 200),
    "IPv6 Host": (b"GET /events HTTP/1.1\r\nHost: [::1]:5000\r\n\r\n", 200),
    "absolute form": (b"GET HTTP://A:80/events HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    "field without a value": (b"GET /events HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", 200),
    "empty lines before": (b"\r\n\r\nGET /events HTTP/1.1\r\nHost: a\r\n\r\n", 200),
}


@pytest.mark.parametrize("send", [Wire.send, Wire.send_slowly], ids=["whole", "by-byte"])
@pytest.mark.parametrize("name", GOOD_AFTER)
def test_the_connection_is_good_after(server, name, send):
    data, status = GOOD_AFTER[name]
    reply = ask(server, data, send=send)
    assert reply.status == status and not reply.closes
    assert not (name == "TRACE" and reply.body), "nothing is echoed"


def test_a_large_body_nobody_wants(server):
    """Dropped where that is cheap, and the connection goes on; otherwise it closes, but the answer can be read."""
    with Wire(server) as wire:
        wire.send(post("x" * 10_000, path="/nowhere"))
        reply = wire.answer()
        assert reply.status == 404 and not reply.closes
        wire.end(reply)
        wire.send(post("x" * 5_000_000, path="/nowhere"))
        reply = wire.answer()
        assert reply.status == 404
        wire.end(reply)


def test_connect_is_refused_and_closed(server):
    reply = ask(server, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")
    assert reply.status in (404, 405) and reply.closes


def test_answers_come_in_the_order_of_the_questions(server):
    """Pipelined, mixed, with bodies of both kinds; what is written is seen by the questions behind it."""
    script, want = b"", []
    for i in range(20):
        script += chunked(user(i)) if i % 2 else post(user(i))
        script += b"GET /users HTTP/1.1\r\nHost: a\r\n\r\n"
        script += f"GET /nowhere/{i} HTTP/1.1\r\nHost: a\r\n\r\n".encode() + b"HEAD /users HTTP/1.1\r\nHost: a\r\n\r\n"
        script += post(user(i)) + NEXT * 3
        want += [("POST", 201), ("GET", 200), ("GET", 404), ("HEAD", 405), ("POST", 400)] + [("GET", 200)] * 3
    with Wire(server) as wire:
        wire.send(script)
        seen = []
        for method, status in want:
            reply = wire.answer(method)
            assert reply.status == status and not reply.closes, (len(seen), reply)
            if (method, status) == ("GET", 200) and (text := reply.json()):
                seen.append(len(text))
        assert seen == list(range(1, 21))
        wire.end(reply)


def test_what_is_pipelined_before_a_mistake_is_answered(server):
    with Wire(server) as wire:
        wire.send(NEXT + post(user()) + NEXT + b"GET /events HTTP/1.1\r\nBad Name: x\r\n\r\n" + NEXT)
        assert [wire.answer().status for _ in range(3)] == [200, 201, 200]
        reply = wire.answer()
        assert reply.status == 400 and reply.closes
        wire.end(reply)


def test_a_client_that_has_said_all_is_answered(server):
    """A half-closed connection: the client sends no more, and still reads."""
    with Wire(server) as wire:
        wire.send(NEXT + post(user()))
        wire.socket.shutdown(socket.SHUT_WR)
        assert [wire.answer().status, wire.answer().status] == [200, 201]
        wire.end()


@pytest.mark.parametrize("data", [b"", b"GE", b"GET /events HTTP/1.1\r\nHos", post(user())[:-5], chunked(user())[:-3]])
def test_a_client_that_leaves_in_the_middle(server, data):
    for reset in (False, True):
        with Wire(server) as wire:
            wire.send(data)
            if reset:
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        with Wire(server) as wire:
            wire.send(data)
            wire.socket.shutdown(socket.SHUT_WR)
            assert b"HTTP/1.1 2" not in wire.rest()
    assert server.get("/users").json() == []


def test_a_hundred_connections_at_once(server):
    wires = [Wire(server) for _ in range(100)]
    try:
        for turn in range(5):
            for i, wire in enumerate(wires):
                wire.send(post(user(f"{i}.{turn}")) + NEXT if i % 4 == 0 else NEXT * 2)
            for i, wire in enumerate(wires):
                replies = [wire.answer(), wire.answer()]
                assert [r.status for r in replies] == [201 if i % 4 == 0 else 200, 200]
                assert not any(r.closes for r in replies)
        for wire in wires:
            wire.end(replies[-1])
    finally:
        for wire in wires:
            wire.socket.close()
    assert len(server.get("/users").json()) == 125

# --- Expect ---------------------------------------------------------------------------------------------------------------------------

EXPECT = "Expect: 100-continue"


def head_of(data):
    return data[:data.index(b"\r\n\r\n") + 4]


@pytest.mark.parametrize("data", [post(user(), EXPECT), post(user(), "expect: 100-CONTINUE"),
                                  chunked(user()).replace(b"Host", EXPECT.encode() + b"\r\nHost")])
def test_a_body_is_asked_for(server, data):
    with Wire(server) as wire:
        head = head_of(data)
        wire.send(head)
        assert wire.head() == (100, [])
        reply = wire.send(data[len(head):]).answer()
        assert reply.status == 201 and not reply.interim
        wire.end(reply)


def test_a_body_is_not_asked_for_twice(server):
    """Sent along with the head it needs no asking; a 100 is allowed all the same, a second one is not."""
    with Wire(server) as wire:
        reply = wire.send(post(user(), EXPECT)).answer()
        assert reply.status == 201 and len(reply.interim) <= 1
        wire.end(reply)


@pytest.mark.parametrize("path, kind, status", [("/users", "text/xml", 415), ("/nowhere", "application/json", 404)])
def test_a_body_nobody_wants_is_not_asked_for(server, path, kind, status):
    head = head_of(post(user(), EXPECT, path=path)).replace(b"application/json", kind.encode())
    reply = ask(server, head)
    assert reply.status == status and not reply.interim and reply.closes


def test_a_body_over_the_limit_is_not_asked_for(server):
    reply = ask(server, framed(EXPECT, "Content-Length: 30000001", body=""))
    assert reply.status == 413 and not reply.interim and reply.closes


@pytest.mark.parametrize("value", ["200-ok", "100-continue, x", ""])
def test_other_expectations_fail(server, value):
    reply = ask(server, post(user(), f"Expect: {value}"))
    assert reply.status == 417 and reply.closes
    assert server.get("/users").json() == []


def test_expect_means_nothing_without_a_body_or_to_old_clients(server):
    reply = ask(server, f"GET /events HTTP/1.1\r\nHost: a\r\n{EXPECT}\r\n\r\n")
    assert reply.status == 200 and not reply.interim
    data = post(user(), EXPECT).replace(b"HTTP/1.1", b"HTTP/1.0")
    reply = ask(server, data, minor=0)
    assert reply.status == 201 and not reply.interim

# --- methods and origins --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("path, allow", [("/events", "GET, POST"), ("/users", "GET, POST"), (SOMEWHERE, "GET, PUT"),
                                         (f"{SOMEWHERE}/tickets", "GET"), (f"{SOMEWHERE}/tickets/reserve", "POST"),
                                         (f"{SOMEWHERE}/tickets/purchase", "POST")])
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "BREW"])
def test_other_methods(server, method, path, allow):
    reply = ask(server, f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n", method)
    assert (reply.status, reply.header("allow"), reply.body, reply.closes) == (405, allow, b"", False)


def test_every_answer_carries_the_origin_header(server):
    origin = b"Host: a\r\nOrigin: https://shop.example"
    for data, _ in GOOD_AFTER.values():
        if b"Host: a" in data:
            assert ask(server, data.replace(b"Host: a", origin)).header("access-control-allow-origin") == "*"
        assert ask(server, data).header("access-control-allow-origin") is None or b"Origin" in data


def test_a_preflight(server):
    data = ("OPTIONS /events HTTP/1.1\r\nHost: a\r\nOrigin: https://shop.example\r\nAccess-Control-Request-Method: PUT\r\n"
            "Access-Control-Request-Headers: content-type, x-y\r\n\r\n")
    reply = ask(server, data, "OPTIONS")
    assert reply.status == 204
    assert {k.lower(): v for k, v in reply.headers if k.lower().startswith("access-")} == {
        "access-control-allow-origin": "*", "access-control-allow-methods": "PUT",
        "access-control-allow-headers": "content-type, x-y"}


def test_echoed_headers_cannot_split_the_answer(server):
    """A preflight echoes; what a client may not put into a head does not come out of one."""
    for value in ["a\x00b", "a\rb", "a\nSet-Cookie: x", "\xff"]:
        data = ("OPTIONS /events HTTP/1.1\r\nHost: a\r\nOrigin: x\r\nAccess-Control-Request-Method: PUT\r\n"
                f"Access-Control-Request-Headers: {value}\r\n\r\n")
        reply = ask(server, data, "OPTIONS")
        assert reply.status == 400 and reply.header("set-cookie") is None
    long = "x" * 30_000
    data = f"OPTIONS /events HTTP/1.1\r\nHost: a\r\nOrigin: x\r\nAccess-Control-Request-Method: {long}\r\n\r\n"
    assert ask(server, data, "OPTIONS").status == 204

# --- the same request, however the network cuts it ----------------------------------------------------------------------------------------

def test_how_bytes_are_cut_never_matters(server):
    data = NEXT + chunked('{"FullName":"Ann",', '"Email":"nonsense"}') + post("{") + NEXT
    for cut in range(1, len(data)):
        with Wire(server) as wire:
            wire.send(data[:cut]).send(data[cut:])
            replies = [wire.answer() for _ in range(4)]
            assert [r.status for r in replies] == [200, 400, 400, 200], cut
            assert not any(r.closes for r in replies)
