"""The gateway before servers and clients that are odd, slow, broken or hostile."""
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import threading

import pytest

from certs import Authority
from conftest import BINARY, free_port, wait_for
from gatewaylib import Gateway, Wire
from oddserver import MALFORMED, OddServer, counted_bytes


@pytest.fixture(scope="module", params=["http", "https"])
def odd(request, tmp_path_factory):
    """The same server twice: TLS below changes nothing that anybody sees."""
    context = None
    if request.param == "https":
        ca = Authority(tmp_path_factory.mktemp("odd"))
        context = ca.server_context("odd")
    with OddServer(tls=context) as server:
        server.url += f"?cacertfile={ca.crt}" if context else ""
        yield server


@pytest.fixture(scope="module")
def gateway(odd):
    # As quick as a test wants to see a time-out; slow enough for a busy machine to answer.
    limits = {"connect_timeout": "20s", "failures_max": 100000}
    with Gateway(routes={"upstreams": {"odd": {"urls": [odd.url], **limits}}, "old": "odd"}) as running:
        yield running


def get(path, *fields, method="GET", version="HTTP/1.1"):
    return "\r\n".join([f"{method} {path} {version}", "Host: odd.example:81", *fields, "", ""]).encode("latin-1")


# --- answers come as they are ---------------------------------------------------------------------------------------

def test_an_answer_keeps_order_case_and_words(gateway):
    reply = gateway.ask(get("/plain"))
    assert (reply.status, reply.reason, reply.body) == (200, "OK", b"fine")
    assert reply.lines == [("Content-Length", "4"), ("X-Second", "2"), ("x-first", "1"), ("Date", "Mon, 01 Jan 2024 00:00:00 GMT"),
                           ("Server", "Odd/1.0")]


def test_what_belongs_to_one_connection_stays_there(gateway):
    reply = gateway.ask(get("/hop-by-hop"))
    assert reply.lines == [("Content-Length", "2"), ("X-Public", "all")]


@pytest.mark.parametrize("method,path,status,lines", [
    ("HEAD", "/head-length", 200, [("Content-Length", "12345"), ("X-Head", "1")]),
    ("GET", "/no-content", 204, [("X-Empty", "1")]),
    ("GET", "/not-modified", 304, [("ETag", '"x"'), ("Content-Length", "77")]),
    ("GET", "/latin", 200, [("Content-Length", "0"), ("X-Name", "caf\xe9")]),
    ("GET", "/no-reason", 299, [("Content-Length", "0")]),
])
def test_answers_without_a_body(gateway, method, path, status, lines):
    with gateway.connect() as wire:
        for _ in range(2):  # the connection can be used on
            wire.send(get(path, method=method))
            reply = wire.answer(head_only=method == "HEAD")
            assert (reply.status, reply.lines) == (status, lines)


def test_trailers_pass_without_those_that_frame(gateway):
    reply = gateway.ask(get("/trailers", "TE: trailers", "Connection: TE"))
    assert (reply.body, reply.trailers, reply.whole) == (b"body", [("X-Sum", "1f"), ("X-More", "yes")], True)


def test_a_body_that_the_close_ends_gets_chunks(gateway):
    reply = gateway.ask(get("/until-close"))
    assert (reply.body, reply.whole) == (b"all that comes", True) and reply.get("transfer-encoding") == ["chunked"]


def test_an_old_client_gets_no_chunks_and_no_interim_answers(gateway):
    for path, body in (("/trailers", b"body"), ("/early-hints", b"after"), ("/until-close", b"all that comes")):
        reply = gateway.ask(get(path, version="HTTP/1.0"))
        assert (reply.status, reply.body) == (200, body) and not reply.get("transfer-encoding")


def test_an_old_server_is_understood(gateway):
    assert gateway.ask(get("/old-version")).body == b"old"


def test_interim_answers_pass(gateway):
    with gateway.connect() as wire:
        wire.send(get("/early-hints"))
        first, second, last = wire.answer(), wire.answer(), wire.answer()
    assert [first.status, second.status, last.status] == [103, 102, 200]
    assert first.lines == [("Link", "</a>; rel=preload")] and last.body == b"after"


def test_a_large_head_passes(gateway):
    assert len(gateway.ask(get("/large-head")).lines) == 401


# --- requests go on as they are --------------------------------------------------------------------------------------

def seen(odd, gateway, request):
    assert gateway.ask(request).status == 200
    return odd.last()


def test_a_request_keeps_order_case_and_target(gateway, odd):
    request = seen(odd, gateway, get("/plain?a=%2f&b", "X-Zulu: 1", "x-alpha:  2 ", "Accept: */*"))
    assert request.target == "/plain?a=%2f&b"
    assert request.lines[:4] == [("Host", "odd.example:81"), ("X-Zulu", "1"), ("x-alpha", "2"), ("Accept", "*/*")]
    assert request.lines[4:] == [("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-Proto", "http"),
                                 ("X-Forwarded-Host", "odd.example:81"),
                                 ("Forwarded", 'for=127.0.0.1;host="odd.example:81";proto=http'), ("Via", "1.1 usher")]


def test_a_stranger_cannot_say_who_he_is(gateway, odd):
    request = seen(odd, gateway, get("/plain", "X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1", "X-Forwarded-Proto: https",
                                     "X-Forwarded-Prefix: /x"))
    assert request.fields["x-forwarded-for"] == "127.0.0.1" and request.fields["x-forwarded-proto"] == "http"
    assert "10.0.0.1" not in str(request.lines) and "x-forwarded-prefix" not in request.fields


def test_hop_by_hop_fields_do_not_go_on(gateway, odd):
    request = seen(odd, gateway, get("/plain", "Connection: keep-alive, X-Mine, Host", "Keep-Alive: 5", "X-Mine: 1", "TE: gzip",
                                     "Proxy-Connection: x", "Upgrade: h2c", "X-Theirs: 1"))
    assert {"connection", "keep-alive", "x-mine", "te", "proxy-connection", "upgrade"}.isdisjoint(request.fields)
    assert request.fields["host"] == "odd.example:81" and request.fields["x-theirs"] == "1"


def test_absolute_form_becomes_origin_form(gateway, odd):
    assert seen(odd, gateway, get("http://odd.example:81/plain?x")).target == "/plain?x"


def test_max_forwards_counts_down_and_ends(gateway, odd):
    assert seen(odd, gateway, get("/plain", "Max-Forwards: 3", method="OPTIONS")).fields["max-forwards"] == "2"
    before = len(odd.seen)
    assert gateway.ask(get("/plain", "Max-Forwards: 0", method="OPTIONS")).status == 204
    assert len(odd.seen) == before


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("size", [0, 1, 5000, 3_000_000])
def test_bodies_go_through_whole(gateway, odd, framing, size):
    body = os.urandom(size)
    sent = b"%x\r\n%s\r\n0\r\n\r\n" % (size, body) if size else b"0\r\n\r\n"
    head, sent = ("Transfer-Encoding: chunked", sent) if framing == "chunks" else (f"Content-Length: {size}", body)
    with gateway.connect() as wire:
        sender = threading.Thread(target=wire.send, args=(get("/stream-echo", head, method="POST") + sent,))
        sender.start()
        reply = wire.answer()
        sender.join()
    assert reply.status == 200 and reply.body == body and reply.whole
    assert ("content-length" in odd.last().fields) == (framing == "length")


LARGE = 9_000_001  # passed on in another way than small bodies, where nobody must see them


def test_a_large_body_is_whole_and_another_answer_may_follow(gateway, odd):
    with gateway.connect() as wire:
        for size in (LARGE, 300_000, 10, LARGE):
            wire.send(get(f"/counted?{size}"))
            reply = wire.answer()
            assert reply.whole and reply.body == counted_bytes(size)
        wire.send(get(f"/counted?{LARGE}", version="HTTP/1.0"))
        assert wire.answer().body == counted_bytes(LARGE) and wire.ended()


def test_a_large_body_waits_for_a_slow_reader(gateway, odd):
    with gateway.connect() as slow:
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
        slow.send(get("/counted?20000000") + get("/plain"))
        assert slow.head()[0] == 200
        for _ in range(20):
            assert gateway.ask(get("/plain")).body == b"fine"
        assert slow.exactly(20_000_000) == counted_bytes(20_000_000)
        assert slow.answer().body == b"fine"


def test_a_large_body_that_ends_early_is_seen_to_be_half(gateway, odd):
    reply = gateway.ask(get(f"/counted-half?{LARGE}"))
    assert reply.status == 200 and not reply.whole and reply.body == counted_bytes(LARGE)[:LARGE // 2]
    gateway.told("truncated")


def test_a_large_body_that_stops_and_goes_on_is_whole(gateway, odd):
    odd.gate.clear()
    with gateway.connect() as wire:
        wire.send(get(f"/counted-slowly?{LARGE}"))
        assert wire.head()[0] == 200 and wire.exactly(LARGE // 2) == counted_bytes(LARGE)[:LARGE // 2]
        odd.gate.set()
        assert wire.exactly(LARGE - LARGE // 2) == counted_bytes(LARGE)[LARGE // 2:]
    odd.gate.clear()


def test_who_leaves_a_large_body_ends_it(gateway, odd):
    ended = odd.ended
    with gateway.connect() as wire:
        wire.send(get("/big?4000000000"))
        assert len(wire.exactly(1_000_000)) == 1_000_000
    wait_for(lambda: odd.ended > ended, what="the end of the connection behind")
    assert gateway.ask(get("/plain")).body == b"fine"


def test_request_trailers_go_on(gateway, odd):
    with gateway.connect() as wire:
        wire.send(get("/stream-count", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n")
        wire.send(b"0\r\nX-Sum: 7\r\nHost: evil\r\n\r\n")
        assert wire.answer().body == b"3"
    assert odd.last().trailers == [("X-Sum", "7")]


def test_continue_is_the_servers_to_say(gateway, odd):
    with gateway.connect() as wire:
        wire.send(get("/continue-first", "Content-Length: 4", "Expect: 100-continue", method="POST"))
        assert wire.answer().status == 100
        wire.send(b"body")
        assert wire.answer().body == b"body"
    assert odd.last().fields["expect"] == "100-continue"
    with gateway.connect() as wire:
        wire.send(get("/continue-never", "Content-Length: 4", "Expect: 100-continue", method="POST"))
        assert wire.answer().status == 417
        assert wire.ended()


def test_an_early_refusal_is_seen(gateway):
    """The server answers 413 and closes; the client is still sending."""
    with gateway.connect() as wire:
        wire.send(get("/stream-refuse-early", "Content-Length: 50000000", method="POST") + bytes(100000))
        assert wire.answer().status == 413


def test_websocket_is_a_tunnel(gateway, odd):
    with gateway.connect() as wire:
        wire.send(get("/websocket", "Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Key: k"))
        reply = wire.answer()
        assert (reply.status, reply.get("upgrade"), reply.get("connection")) == (101, ["websocket"], ["Upgrade"])
        assert wire.exactly(6) == b"hello "
        for word in (b"abc", bytes(range(256)) * 300):
            sender = threading.Thread(target=wire.send, args=(word,))
            sender.start()
            got = b""
            while len(got) < len(word):
                got += wire.exactly(1) + wire.kept
                wire.kept = b""
            sender.join()
            assert sorted(got) == sorted(word)
        wire.sock.shutdown(socket.SHUT_WR)
        assert wire.exactly(3) == b"bye" and wire.ended()
    assert odd.last().fields["upgrade"] == "WebSocket" and odd.last().fields["connection"] == "Upgrade"


def test_a_switch_to_http2_is_not_passed_on(gateway, odd):
    request = seen(odd, gateway, get("/plain", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"))
    assert "upgrade" not in request.fields and "http2-settings" not in request.fields


# --- answers that are broken -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_an_answer_in_doubt_is_502(gateway, name):
    with gateway.connect() as wire:
        wire.send(get(f"/malformed/{name}"))
        reply = wire.answer()
        assert reply.status == 502 and reply.get("content-type") == ["application/problem+json; charset=utf-8"]
        problem = json.loads(reply.body)
        assert problem["status"] == 502 and problem["title"] == "Bad Gateway" and "malformed" not in reply.body.decode()
        wire.send(get("/plain"))
        assert wire.answer().body == b"fine"


@pytest.mark.parametrize("path,reason", [("/silent-close", "reset"), ("/reset-at-once", "reset"), ("/truncate-head", "reset"),
                                         ("/storm", "malformed")])
def test_an_answer_that_never_begins_is_502(gateway, path, reason):
    with gateway.connect() as wire:
        wire.send(get(path, method="POST"))
        while (reply := wire.answer()).status < 200:
            pass
        assert reply.status == 502
    gateway.told(reason)


@pytest.mark.parametrize("path", ["/truncate-length", "/truncate-chunks", "/no-last-chunk", "/bad-chunk", "/reset-in-body"])
def test_half_an_answer_is_seen_to_be_half(gateway, path):
    with gateway.connect() as wire:
        wire.send(get(path))
        reply = wire.answer()
        assert reply is None or (reply.status == 200 and not reply.whole)
        assert wire.ended()


def test_an_answer_too_many_is_nobodys(gateway, odd):
    with gateway.connect() as wire:
        for _ in range(5):
            ended = odd.ended
            wire.send(get("/splitting"))
            assert wire.answer().body == b"yours"
            wait_for(lambda: odd.ended > ended, what="the end of the connection that spoke unasked")
            wire.send(get("/plain"))
            assert wire.answer().body == b"fine"


def test_a_body_behind_head_is_nobodys(gateway, odd):
    """What comes on a connection that is kept: it is dropped. What comes when the next request is under way: that is asked elsewhere, if it may."""
    with gateway.connect() as wire:
        for path in ("/plain", "/late-body") * 3:
            wire.send(get(path, method="HEAD"))
            assert wire.answer(head_only=True).status == 200
            wire.send(get("/echo", "Content-Length: 4", method="PUT") + b"mine")
            assert wire.answer().body == b"mine", path
        wire.send(get("/late-body", method="HEAD"))
        assert wire.answer(head_only=True).status == 200
        wire.send(get("/echo", "Content-Length: 4", method="POST") + b"once")
        assert wire.answer().status == 502, "what may not be sent twice is not"
        wait_for(lambda: b"once" in [r.body for r in odd.seen], what="it was sent")
        assert [r.body for r in odd.seen].count(b"once") == 1


def test_a_client_that_leaves_ends_the_servers_work(gateway, odd):
    ended = odd.ended
    with gateway.connect() as wire:
        wire.send(get("/never-ending"))
        assert len(wire.exactly(100000)) == 100000
    wait_for(lambda: odd.ended > ended, what="the end of the connection behind")


# --- what clients do -------------------------------------------------------------------------------------------------

SMUGGLING = [
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nabcd",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n",
    b"GET /\tx HTTP/1.1\r\nHost: a\r\n\r\n",
]


@pytest.mark.parametrize("request_bytes", SMUGGLING, ids=range(len(SMUGGLING)))
def test_a_request_in_doubt_goes_nowhere(gateway, odd, request_bytes):
    before = len(odd.seen)
    with gateway.connect() as wire:
        wire.send(request_bytes + get("/plain"))
        assert wire.answer().status == 400
        assert wire.ended()
    assert len(odd.seen) == before


@pytest.mark.parametrize("chunks", [b"4\r\nbody\r\n-1\r\n\r\n", b"4\r\nbodyX\r\n0\r\n\r\n", b"4;a\nb\r\nbody\r\n0\r\n\r\n", b"10000000000000000\r\n"])
def test_a_chunk_in_doubt_ends_the_request_on_both_sides(gateway, odd, chunks):
    ended = odd.ended
    with gateway.connect() as wire:
        wire.send(get("/stream-count", "Transfer-Encoding: chunked", method="POST") + chunks)
        assert wire.answer().status == 400
        assert wire.ended()
    wait_for(lambda: odd.ended > ended, what="the end of the connection behind")


def test_a_client_that_dies_in_its_body_is_seen_behind(gateway, odd):
    ended, seen = odd.ended, len(odd.seen)
    with gateway.connect() as wire:
        wire.send(get("/stream-count", "Content-Length: 100000", method="POST") + bytes(50000))
        wait_for(lambda: len(odd.seen) > seen, what="the request behind")
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: odd.ended > ended, what="the end of the connection behind")


def test_pipelined_requests_are_answered_in_order(gateway):
    with gateway.connect() as wire:
        wire.send(get("/plain") + get("/echo") + get("/trailers") + get("/plain"))
        assert [wire.answer().body for _ in range(4)] == [b"fine", b"", b"body", b"fine"]


def test_byte_by_byte(gateway):
    with gateway.connect() as wire:
        for byte in get("/echo", "Content-Length: 3", method="POST") + b"abc":
            wire.send(bytes([byte]))
        assert wire.answer().body == b"abc"
