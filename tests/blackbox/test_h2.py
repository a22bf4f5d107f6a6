"""HTTP/2: RFC 9113 case by case, what a hostile client may do for nothing, and that it answers as HTTP/1.1 does."""
import base64
import importlib.util
import struct
import subprocess

import pytest

from conftest import ROOT, Usher
from gatewaylib import Gateway
from h2lib import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY,
                   PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, Client, block, field, frame, number, request)


@pytest.fixture(scope="module")
def server():
    with Usher(seed=True, env={"HTTP2_CLEARTEXT": "true"}) as usher:
        yield usher


def setting(which, value):
    return struct.pack(">HI", which, value)


def head(fields=None, stream=1, flags=END_STREAM | END_HEADERS):
    return frame(HEADERS, flags, stream, block(fields or request()))


def window(n, stream=0):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", n))


BODY = b'{"fullName":"H Two","email":"h.two.000@example.org"}'
POST = request("/users", "POST", [("content-type", "application/json"), ("content-length", str(len(BODY)))])

# Section of RFC 9113; what is sent behind the preface and SETTINGS (None: nothing, and no SETTINGS either, but a request at once), and what must be seen: a
# status on stream 1, "RST x" on stream 1, or "GOAWAY x".
CASES = [
    # --- well-formed
    ("8.1", "a request", head(), 200),
    ("8.1", "HEAD", head(request(method="HEAD")), 405),
    ("8.1", "no such route", head(request("/nothing")), 404),
    ("8.3.1", "a path that is none", head(request("/%zz")), 400),
    ("8.1", "a body", head(POST, flags=END_HEADERS) + frame(DATA, END_STREAM, 1, BODY), 201),
    ("6.1", "a body in pieces", head(POST, flags=END_HEADERS) + frame(DATA, 0, 1, BODY[:7]) + frame(DATA, END_STREAM, 1, BODY[7:]), 201),
    ("8.1.1", "a body without a length", head(POST[:-1], flags=END_HEADERS) + frame(DATA, 0, 1, BODY) + frame(DATA, END_STREAM, 1), 201),
    ("6.1", "padding", head(POST, flags=END_HEADERS) + frame(DATA, END_STREAM | PADDED, 1, b"\x03" + BODY + b"\0\0\0"), 201),
    ("8.1", "trailers", head(POST, flags=END_HEADERS) + frame(DATA, 0, 1, BODY) + head([("x-checked", "1")]), 201),
    ("6.10", "a head in pieces", frame(HEADERS, END_STREAM, 1, block(request())[:11]) + frame(CONTINUATION, END_HEADERS, 1, block(request())[11:]), 200),
    ("5.5", "an unknown frame is passed over", frame(0xbe, 0, 0, b"x") + head(), 200),
    ("6.5.2", "an unknown setting is passed over", frame(SETTINGS, payload=setting(0xbeef, 1)) + head(), 200),
    ("5.3.2", "PRIORITY means nothing", frame(PRIORITY, 0, 3, struct.pack(">IB", 0, 9)) + head(), 200),
    ("8.3.1", "Host beside :authority", head(request(more=[("host", "localhost")])), 200),
    ("8.3.1", "Host in place of :authority", head([f for f in request() if f[0] != ":authority"] + [("host", "localhost")]), 200),
    ("8.2.2", "te: trailers", head(request(more=[("te", "trailers")])), 200),
    ("8.2.3", "cookie crumbs", head(request(more=[("cookie", "a=1"), ("cookie", "b=2")])), 200),
    # --- §8.1.1: malformed
    ("8.2.1", "a name in capitals", head(request(more=[("X-Big", "1")])), "RST PROTOCOL_ERROR"),
    ("8.3", "an unknown pseudo field", head([(":what", "x"), *request()]), "RST PROTOCOL_ERROR"),
    ("8.3", "a pseudo field of answers", head([(":status", "200"), *request()]), "RST PROTOCOL_ERROR"),
    ("8.3", "a pseudo field behind others", head([("x", "1"), *request()]), "RST PROTOCOL_ERROR"),
    ("8.3", "a pseudo field twice", head([(":path", "/"), *request()]), "RST PROTOCOL_ERROR"),
    ("8.3.1", "no :method", head(request()[1:]), "RST PROTOCOL_ERROR"),
    ("8.3.1", "no :scheme", head([f for f in request() if f[0] != ":scheme"]), "RST PROTOCOL_ERROR"),
    ("8.3.1", "no :path", head([f for f in request() if f[0] != ":path"]), "RST PROTOCOL_ERROR"),
    ("8.3.1", "an empty :path", head(request("")), "RST PROTOCOL_ERROR"),
    ("8.3.1", "a :path without a slash", head(request("events")), "RST PROTOCOL_ERROR"),
    ("8.2.2", "connection", head(request(more=[("connection", "close")])), "RST PROTOCOL_ERROR"),
    ("8.2.2", "transfer-encoding", head(request(more=[("transfer-encoding", "chunked")])), "RST PROTOCOL_ERROR"),
    ("8.2.2", "upgrade", head(request(more=[("upgrade", "h2c")])), "RST PROTOCOL_ERROR"),
    ("8.2.2", "keep-alive", head(request(more=[("keep-alive", "timeout=1")])), "RST PROTOCOL_ERROR"),
    ("8.2.2", "te: gzip", head(request(more=[("te", "gzip")])), "RST PROTOCOL_ERROR"),
    ("8.2.1", "a line break in a value", head(request(more=[("x", "a\r\nHost: evil")])), "RST PROTOCOL_ERROR"),
    ("8.2.1", "NUL in a value", head(request(more=[("x", "a\0b")])), "RST PROTOCOL_ERROR"),
    ("8.3.1", "a line break in the method", head(request(method="GET / HTTP/1.1\r\nX: ")), "RST PROTOCOL_ERROR"),
    ("8.3.1", "a space in the path", head(request("/events HTTP/1.1\r\nX: y")), "RST PROTOCOL_ERROR"),
    ("8.3.1", "a Host that is not :authority", head(request(more=[("host", "other")])), "RST PROTOCOL_ERROR"),
    ("8.1.1", "less body than said", head(POST, flags=END_HEADERS) + frame(DATA, END_STREAM, 1, BODY[:-1]), "RST PROTOCOL_ERROR"),
    ("8.1.1", "more body than said", head(POST, flags=END_HEADERS) + frame(DATA, END_STREAM, 1, BODY + b" "), "RST PROTOCOL_ERROR"),
    ("8.1.1", "a length and no body", head(POST), "RST PROTOCOL_ERROR"),
    ("8.1.1", "two lengths", head([*POST, ("content-length", "1")], flags=END_HEADERS), "RST PROTOCOL_ERROR"),
    ("8.1", "pseudo fields in trailers", head(POST, flags=END_HEADERS) + frame(DATA, 0, 1, BODY) + head([(":path", "/")]), "RST PROTOCOL_ERROR"),
    # --- heads that are no requests of ours: answered
    ("8.3.1", "no host", head([f for f in request() if f[0] != ":authority"]), "RST PROTOCOL_ERROR"),
    ("8.3.1", "an authority with a space", head(request(authority="a b")), "RST PROTOCOL_ERROR"),
    ("8.3.1", "an authority that is none", head(request(authority="a:b:c")), 400),
    ("10.5.1", "a target over the limit", head(request("/" + "x" * 8300)), 414),
    ("10.5.1", "fields over the limit", frame(HEADERS, END_STREAM, 1, block(request(more=[("a", "x" * 16000)]))) +
     frame(CONTINUATION, 0, 1, field("b", "y" * 16000)) + frame(CONTINUATION, END_HEADERS, 1, field("c", "z" * 3000)), 431),
    ("10.5.1", "too many fields", head(request(more=[(f"x{i}", "1") for i in range(120)])), 431),
    ("8.1", "a body over the limit", head(request("/users", "POST", [("content-type", "application/json"), ("content-length", "30000001")]), flags=END_HEADERS), 413),
    ("8.1", "another expectation", head(request("/users", "POST", [("expect", "x")]), flags=END_HEADERS), 417),
    # --- §5.1, §6: streams and frames where they do not belong
    ("5.1.1", "an even stream", head(stream=2), "GOAWAY PROTOCOL_ERROR"),
    ("6.1", "DATA on stream 0", frame(DATA, 0, 0, b"x"), "GOAWAY PROTOCOL_ERROR"),
    ("5.1", "DATA on an idle stream", frame(DATA, 0, 1, b"x"), "GOAWAY PROTOCOL_ERROR"),
    ("6.2", "HEADERS on stream 0", head(stream=0), "GOAWAY PROTOCOL_ERROR"),
    ("6.5", "SETTINGS on a stream", frame(SETTINGS, 0, 1), "GOAWAY PROTOCOL_ERROR"),
    ("6.5", "SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, b"12345"), "GOAWAY FRAME_SIZE_ERROR"),
    ("6.5", "SETTINGS ACK with a payload", frame(SETTINGS, ACK, 0, setting(3, 1)), "GOAWAY FRAME_SIZE_ERROR"),
    ("6.5.2", "ENABLE_PUSH 2", frame(SETTINGS, 0, 0, setting(2, 2)), "GOAWAY PROTOCOL_ERROR"),
    ("6.5.2", "a window over 2^31-1", frame(SETTINGS, 0, 0, setting(4, 0x80000000)), "GOAWAY FLOW_CONTROL_ERROR"),
    ("6.5.2", "MAX_FRAME_SIZE 1", frame(SETTINGS, 0, 0, setting(5, 1)), "GOAWAY PROTOCOL_ERROR"),
    ("6.7", "PING of 7 bytes", frame(PING, 0, 0, b"1234567"), "GOAWAY FRAME_SIZE_ERROR"),
    ("6.7", "PING on a stream", frame(PING, 0, 1, b"12345678"), "GOAWAY PROTOCOL_ERROR"),
    ("6.8", "GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8)), "GOAWAY PROTOCOL_ERROR"),
    ("6.4", "RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, bytes(4)), "GOAWAY PROTOCOL_ERROR"),
    ("6.4", "RST_STREAM of 3 bytes", head(flags=END_HEADERS) + frame(RST_STREAM, 0, 1, bytes(3)), "GOAWAY FRAME_SIZE_ERROR"),
    ("8.4", "PUSH_PROMISE from a client", head(flags=END_HEADERS) + frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2)), "GOAWAY PROTOCOL_ERROR"),
    ("6.9", "WINDOW_UPDATE of 0", window(0), "GOAWAY PROTOCOL_ERROR"),
    ("6.9", "WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, bytes(3)), "GOAWAY FRAME_SIZE_ERROR"),
    ("6.9.1", "a connection window that overflows", window(0x7fffffff), "GOAWAY FLOW_CONTROL_ERROR"),
    ("6.9.1", "a stream window that overflows", head(POST, flags=END_HEADERS) + window(0x7fffffff, 1), "RST FLOW_CONTROL_ERROR"),
    ("4.2", "a frame over the largest size", frame(DATA, 0, 1, bytes(16385)), "GOAWAY FRAME_SIZE_ERROR"),
    ("6.2", "another frame inside a head", frame(HEADERS, END_STREAM, 1, block(request())[:9]) + frame(PING, 0, 0, bytes(8)), "GOAWAY PROTOCOL_ERROR"),
    ("6.10", "CONTINUATION of another stream", frame(HEADERS, END_STREAM, 1, block(request())[:9]) + frame(CONTINUATION, END_HEADERS, 3, b""), "GOAWAY PROTOCOL_ERROR"),
    ("6.10", "CONTINUATION without HEADERS", frame(CONTINUATION, END_HEADERS, 1, block(request())), "GOAWAY PROTOCOL_ERROR"),
    ("6.1", "padding longer than the frame", head(POST, flags=END_HEADERS) + frame(DATA, PADDED, 1, b"\x09abc"), "GOAWAY PROTOCOL_ERROR"),
    ("5.1", "DATA behind the end", head() + frame(DATA, 0, 1, b"x"), ("GOAWAY STREAM_CLOSED", "RST STREAM_CLOSED")),
    ("5.1", "HEADERS behind the end", head() + head(), ("GOAWAY STREAM_CLOSED", "RST STREAM_CLOSED", "GOAWAY PROTOCOL_ERROR")),
    ("8.1", "a second HEADERS that ends nothing", head(POST, flags=END_HEADERS) + head([("x", "1")], flags=END_HEADERS), ("RST PROTOCOL_ERROR", "GOAWAY PROTOCOL_ERROR")),
    ("3.4", "SETTINGS do not come first", None, "GOAWAY PROTOCOL_ERROR"),
    ("4.2", "HEADERS over the largest size", frame(HEADERS, END_STREAM | END_HEADERS, 1, block(request()) + bytes(16384)), "GOAWAY FRAME_SIZE_ERROR"),
    ("4.2", "a frame that says 2^24-1", frame(DATA, 0, 1, b"x", length=0xffffff), "GOAWAY FRAME_SIZE_ERROR"),
    ("5.1", "WINDOW_UPDATE on an idle stream", window(1, 1), "GOAWAY PROTOCOL_ERROR"),
    ("5.1.1", "a stream of the server's", head(stream=4), "GOAWAY PROTOCOL_ERROR"),
    ("5.5", "an unknown frame inside a head", frame(HEADERS, END_STREAM, 1, block(request())[:9]) + frame(0xbe, 0, 1, b"x"), "GOAWAY PROTOCOL_ERROR"),
    ("6.2", "padding longer than a head", frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, b"\xff" + block(request())), "GOAWAY PROTOCOL_ERROR"),
    ("6.3", "PRIORITY of 4 bytes", frame(PRIORITY, 0, 1, bytes(4)), ("GOAWAY FRAME_SIZE_ERROR", "RST FRAME_SIZE_ERROR")),
    ("6.3", "PRIORITY on stream 0", frame(PRIORITY, 0, 0, bytes(5)), "GOAWAY PROTOCOL_ERROR"),
    ("6.4", "RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, bytes(4)), "GOAWAY PROTOCOL_ERROR"),
    ("6.5.2", "MAX_FRAME_SIZE over 2^24-1", frame(SETTINGS, 0, 0, setting(5, 1 << 24)), "GOAWAY PROTOCOL_ERROR"),
    ("6.5.3", "an ACK of nothing that was sent", frame(SETTINGS, ACK) * 2 + head(), (200, "GOAWAY PROTOCOL_ERROR")),
    ("6.8", "GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, bytes(7)), "GOAWAY FRAME_SIZE_ERROR"),
    ("6.9", "WINDOW_UPDATE of 0 on a stream", head(POST, flags=END_HEADERS) + window(0, 1), ("RST PROTOCOL_ERROR", "GOAWAY PROTOCOL_ERROR")),
    ("6.9.2", "a first window that makes one overflow", head(POST, flags=END_HEADERS) + window(0x7fff0000, 1) + frame(SETTINGS, 0, 0, setting(4, 0x7fffffff)),
     ("GOAWAY FLOW_CONTROL_ERROR", "RST FLOW_CONTROL_ERROR")),
    ("6.10", "CONTINUATION on stream 0", frame(HEADERS, END_STREAM, 1, block(request())[:9]) + frame(CONTINUATION, END_HEADERS, 0, b""), "GOAWAY PROTOCOL_ERROR"),
    ("6.10", "CONTINUATION behind a whole head", head(POST, flags=END_HEADERS) + frame(CONTINUATION, END_HEADERS, 1, field("x", "1")), "GOAWAY PROTOCOL_ERROR"),
    ("8.2.1", "a name with a space", head(request(more=[("x y", "1")])), "RST PROTOCOL_ERROR"),
    ("8.2.1", "a name with a colon", head(request(more=[("x:y", "1")])), "RST PROTOCOL_ERROR"),
    ("8.2.1", "an empty name", head(request(more=[("", "1")])), "RST PROTOCOL_ERROR"),
    ("8.2.1", "a name outside ASCII", head(request(more=[(b"x\xff".decode("latin-1"), "1")])), "RST PROTOCOL_ERROR"),
    ("8.2.2", "proxy-connection", head(request(more=[("proxy-connection", "keep-alive")])), "RST PROTOCOL_ERROR"),
    ("8.5", "CONNECT with a path", head(request("/events", "CONNECT")), "RST PROTOCOL_ERROR"),
    ("8.5", "CONNECT", head([(":method", "CONNECT"), (":authority", "localhost:80")]), ("RST PROTOCOL_ERROR", 400, 404, 405, 501)),
    # --- RFC 7541
    ("4.3", "a table that changes its size in the middle", frame(HEADERS, END_STREAM | END_HEADERS, 1, block(request()) + b"\x20"), "GOAWAY COMPRESSION_ERROR"),
    ("4.3", "an index of nothing", frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\xff\x80\x01"), "GOAWAY COMPRESSION_ERROR"),
    ("4.3", "index 0", frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x80"), "GOAWAY COMPRESSION_ERROR"),
    ("4.3", "a table over the limit", frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x3f\xff\xff\x03" + block(request())), "GOAWAY COMPRESSION_ERROR"),
    ("4.3", "a string cut short", frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x00\x0axy"), "GOAWAY COMPRESSION_ERROR"),
    ("4.3", "a number without end", frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x00\x7f" + b"\xff" * 12), "GOAWAY COMPRESSION_ERROR"),
]


def seen(client):
    out = []
    if client.status() is not None and client.ended():
        out.append(client.status())
    if client.reset():
        out.append("RST " + client.reset())
    if client.goaway():
        out.append("GOAWAY " + client.goaway())
    return out


def named(case):
    section, label, _, want = case
    return f"§{section} {label}: {' or '.join(map(str, want)) if isinstance(want, tuple) else want}"


@pytest.fixture(scope="module", params=["http role", "gateway"])
def door(request, server):
    """(its number, port): our own server, and the gateway before it. Both must keep to the same rules."""
    if request.param == "http role":
        yield 0, server.port
    else:
        with Gateway(legacy=server.base, env={"HTTP2_CLEARTEXT": "true"}) as gateway:
            yield 1, gateway.port


@pytest.mark.parametrize("case", CASES, ids=map(named, CASES))
def test_case(door, case):
    _, _, data, want = case
    wants = want if isinstance(want, tuple) else (want,)
    own = b"h.two.%03d" % (2 * CASES.index(case) + door[0])  # an address is taken once
    with Client(door[1], hello=data is not None) as client:
        client.send(PREFACE + head() if data is None else data.replace(b"h.two.000", own))
        assert client.until(lambda c: any(w in seen(c) for w in wants)), f"{seen(client)}, closed: {client.closed}"
        if any(str(w).startswith("GOAWAY") for w in wants) and client.goaway():
            assert client.until(lambda c: c.closed) or client.closed, "the connection ends behind GOAWAY"
        else:
            assert client.alive(), "one stream's error is not the others'"


def test_a_stream_that_goes_back_is_passed_over(server):
    """nghttp2 does not end the connection (RFC 9113 §5.1.1 would), because it cannot tell this from trailers behind a reset."""
    with Client(server.port) as client:
        for stream in (5, 3, 7):
            client.ask(stream)
        assert client.until(lambda c: c.ended(5) and c.ended(7)) and client.alive()
        assert client.status(3) is None


def test_bytes_one_by_one(server):
    with Client(server.port, hello=False) as client:
        for byte in PREFACE + frame(SETTINGS) + head(POST, flags=END_HEADERS) + frame(DATA, END_STREAM, 1, BODY):
            client.send(bytes([byte]))
        assert client.until(lambda c: c.ended()) and client.status() in (201, 400)


def test_a_wrong_preface_is_no_http2(server):
    with Client(server.port, hello=False) as client:
        client.send(PREFACE[:-2] + b"XX" + frame(SETTINGS))
        assert not client.until(lambda c: c.of(HEADERS), limit=5) and client.closed


# --- flow control -------------------------------------------------------------------------------------------------------------------

def test_answers_respect_windows(server):
    with Client(server.port, settings=setting(4, 10)) as client:
        client.ask()
        assert client.until(lambda c: len(c.body()) == 10)
        assert client.alive() and len(client.body()) == 10, "no byte more than the window"
        client.send(window(25, 1))
        assert client.until(lambda c: len(c.body()) == 35)
        client.send(window(1 << 20, 1))
        assert client.until(lambda c: c.ended())
        assert client.body().decode() == server.get("/events").body


def test_a_window_may_shrink_below_zero(server):
    with Client(server.port, settings=setting(4, 100)) as client:
        client.ask()
        assert client.until(lambda c: len(c.body()) == 100)
        client.send(frame(SETTINGS, 0, 0, setting(4, 0)) + window(100, 1))
        assert client.alive() and len(client.body()) == 100
        client.send(window(1, 1))
        assert client.until(lambda c: len(c.body()) == 101)


def test_a_body_over_the_window_is_refused(server):
    with Client(server.port) as client:
        client.send(head(request("/users", "POST", [("expect", "100-continue")]), flags=END_HEADERS))
        for _ in range(80):  # 1.3 MB; the connection's window is 1 MB, and nothing of it is given back unread
            client.send(frame(DATA, 0, 1, bytes(16384)))
        assert client.until(lambda c: c.goaway() or c.reset() or c.ended())


def test_long_bodies_are_read_as_they_are_wanted(server):
    """A megabyte of white space before a payload, through windows that reopen."""
    body = b" " * (1 << 20) + BODY
    with Client(server.port) as client:
        client.send(head(POST[:-1], flags=END_HEADERS))
        sent, at = {0: 65535, 1: None}, 0
        assert client.until(lambda c: c.of(SETTINGS))
        stream_window = next(struct.unpack(">I", f[3][i + 2:i + 6])[0] for f in client.of(SETTINGS)
                             for i in range(0, len(f[3]), 6) if f[3][i:i + 2] == b"\0\4")
        sent[1] = stream_window
        counted = 0
        while at < len(body):
            for f in client.of(WINDOW_UPDATE)[counted:]:
                sent[f[2]] += struct.unpack(">I", f[3])[0]
            counted = len(client.of(WINDOW_UPDATE))
            n = min(16384, sent[0], sent[1], len(body) - at)
            if n == 0:
                assert client.until(lambda c: len(c.of(WINDOW_UPDATE)) > counted), "a window opens when the handler has read"
                continue
            client.send(frame(DATA, END_STREAM if at + n == len(body) else 0, 1, body[at:at + n]))
            sent[0], sent[1], at = sent[0] - n, sent[1] - n, at + n
        assert client.until(lambda c: c.ended()) and client.status() in (201, 400)


def test_100_continue(server):
    with Client(server.port) as client:
        client.send(head([*POST, ("expect", "100-continue")], flags=END_HEADERS))
        assert client.until(lambda c: c.of(HEADERS, 1)) and client.status() == 100
        client.send(frame(DATA, END_STREAM, 1, BODY))
        assert client.until(lambda c: len(c.of(HEADERS, 1)) == 2 and c.ended())


# --- for nothing ----------------------------------------------------------------------------------------------------------------------

FLOODS = [
    ("rapid reset", lambda i: head(stream=2 * i + 1) + frame(RST_STREAM, 0, 2 * i + 1, struct.pack(">I", 8)), 3000),
    ("ping", lambda i: frame(PING, 0, 0, bytes(8)), 5000),
    ("settings", lambda i: frame(SETTINGS), 5000),
    ("priority", lambda i: frame(PRIORITY, 0, 3, struct.pack(">IB", 0, 9)), 5000),
    ("empty DATA", lambda i: (head(POST[:-1], flags=END_HEADERS) if i == 0 else b"") + frame(DATA, 0, 1), 5000),
    ("crumbs of windows", lambda i: window(1), 5000),
    ("continuation", lambda i: frame(HEADERS, END_STREAM, 1, block(request())) if i == 0 else frame(CONTINUATION, 0, 1), 5000),
]


@pytest.mark.parametrize("label,make,n", FLOODS, ids=[f[0] for f in FLOODS])
def test_floods_end_the_connection(door, server, label, make, n):
    with Client(door[1]) as client:
        for i in range(0, n, 100):
            client.send(b"".join(make(j) for j in range(i, i + 100)))
        assert client.until(lambda c: c.closed or c.goaway()), label
        client.until(lambda c: c.closed)
        assert client.goaway() in ("ENHANCE_YOUR_CALM", "INTERNAL_ERROR", "PROTOCOL_ERROR", None)
    assert server.get("/events").status == 200
    with Client(door[1]) as client:
        client.ask()
        assert client.until(lambda c: c.ended()) and client.status() == 200, "others are served"


def test_an_hpack_bomb_costs_nothing(server):
    """4 kB in the dynamic table, named 16,000 times in each head: 64 MB when written out."""
    with Client(server.port) as client:
        big = b"\x40" + b"\x01a" + number(4000, 7) + b"x" * 4000
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, block(request()) + big))
        for stream in range(3, 23, 2):
            client.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, block(request()) + b"\xbe" * 16000))
        assert client.until(lambda c: all(c.status(s) for s in range(1, 23, 2)))
        assert client.status(1) == 200 and {client.status(s) for s in range(3, 23, 2)} == {431}
        assert client.alive()
    assert all("worker died" not in line for line in server.log)


def test_more_streams_than_allowed_are_refused(server):
    with Client(server.port, settings=setting(4, 0)) as client:  # answers cannot be sent, so streams stay
        assert client.until(lambda c: c.of(SETTINGS))
        for stream in range(1, 303, 2):
            client.ask(stream)
        assert client.until(lambda c: len(c.of(RST_STREAM)) >= 50 or c.goaway())
        assert client.goaway() == "PROTOCOL_ERROR" or {client.reset(f[2]) for f in client.of(RST_STREAM)} == {"REFUSED_STREAM"}
    assert server.get("/events").status == 200


# --- as HTTP/1.1 does ---------------------------------------------------------------------------------------------------------------

RECORDINGS = ["01-events-basic", "06-events-overlap", "08-users-crud", "11-tickets-reserve", "12-tickets-purchase", "13-http-bodies",
              "14-http-content-type", "15-http-routing", "16-http-cors"]


def replayer():
    spec = importlib.util.spec_from_file_location("replay", ROOT / "tests/contract/replay.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said_in_http2(wish, swap):
    """The recorded request's fields and body, or None where HTTP/2 has no words for it."""
    if "raw" in wish:
        return None
    if "body_generator" in wish:
        g = wish["body_generator"]
        body = (g["prefix"] + g["repeat"] * g["count"] + g["suffix"]).encode()
    elif "body_base64" in wish:
        body = base64.b64decode(wish["body_base64"])
    else:
        body = swap(wish.get("body") or "").encode("utf-8", "surrogateescape")
    path, more = swap(wish["path"]), []
    for name, value in wish.get("headers", []):
        name, value = name.lower(), swap(value)
        if name in ("connection", "transfer-encoding", "host", "te") or (name == "content-length" and not value.isdigit()):
            if name != "host":
                return None
            continue
        more.append((name, str(len(body)) if name == "content-length" else value))
    if wish["method"] == "CONNECT" or not path.startswith("/") or any(ord(c) > 126 or c == " " for c in path):
        return None
    return request(path, wish["method"], more), body


def ask_in_http2(port, wish, swap):
    said = said_in_http2(wish, swap)
    if said is None:
        return None
    fields, body = said
    with Client(port) as client:
        client.send(head(fields, flags=END_HEADERS | (END_STREAM if not body else 0)))
        for at in range(0, len(body), 16384):
            piece = body[at:at + 16384]
            client.until(lambda c: c.ended() or c.status() or c.window(1) - at >= len(piece))
            client.send(frame(DATA, END_STREAM if at + 16384 >= len(body) else 0, 1, piece))
        assert client.until(lambda c: c.ended() or c.reset()), wish
        assert client.ended(), (wish, client.reset())
        return {"status": client.status(), "headers": [[n, v] for n, v in client.heads[1][-1] if n != ":status"],
                "body": client.body().decode("utf-8", "surrogateescape")}


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_answer_as_over_http1(server, name):
    """The independent replayer, its requests sent as HTTP/2: the same differences from the recording, and no others."""
    replay, skipped = replayer(), []
    by_http1 = replay.send

    def send(address, wish, swap):
        answer = ask_in_http2(server.port, wish, swap)
        if answer is None:
            skipped.append(wish)
            return by_http1(address, wish, swap)
        return answer

    def differing():
        assert server.cli("reset", "--data", server.data, "--yes").returncode == 0
        address = ("127.0.0.1", server.port)
        _, n, report = replay.run_scenario(str(ROOT / "contracts/http" / f"{name}.json"), address, 2.0, 0.04)
        return n, {row["exchange"]: row["differences"] for row in report}

    n, before = differing()
    replay.send = send
    _, after = differing()
    assert after.keys() == before.keys(), after
    assert len(skipped) < n / 3


def test_nghttp_and_h2load_find_nothing_wrong(server):
    done = subprocess.run(["h2load", "-n", "400", "-c", "8", "-m", "20", f"http://127.0.0.1:{server.port}/events"],
                          capture_output=True, text=True, timeout=120)
    assert "400 succeeded, 0 failed" in done.stdout, done.stdout
    done = subprocess.run(["nghttp", "-nv", f"http://127.0.0.1:{server.port}/events"], capture_output=True, text=True,
                          timeout=120)
    assert ":status: 200" in done.stdout and "_ERROR" not in done.stdout.replace("NO_ERROR", ""), done.stdout


def test_a_drain_tells_and_answers():
    with Usher(seed=True, env={"HTTP2_CLEARTEXT": "true"}) as usher:
        with Client(usher.port, settings=setting(4, 0)) as client:
            client.ask(1)
            assert client.until(lambda c: c.status() == 200)
            usher.process.terminate()
            assert client.until(lambda c: c.of(GOAWAY)), "announced"
            assert client.until(lambda c: c.of(PING))
            client.ask(3)  # on its way before the client has seen it
            client.send(b"".join(frame(PING, ACK, 0, f[3]) for f in client.of(PING)))
            client.send(window(1 << 20, 1) + window(1 << 20, 3))
            assert client.until(lambda c: c.ended(1) and c.ended(3)), "what was taken is answered"
            assert client.until(lambda c: c.closed) or client.closed
            assert client.goaway() == "NO_ERROR"
            assert int.from_bytes(client.of(GOAWAY)[-1][3][:4], "big") == 3
