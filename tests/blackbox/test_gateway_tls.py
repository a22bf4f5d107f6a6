"""The gateway over TLS and HTTP/2, before a back end that speaks plain HTTP/1.1 and writes down what it was asked."""
import json
import pathlib
import signal
import socket
import ssl
import subprocess
import threading

import pytest

from certs import Authority
from conftest import free_port, wait_for
from gatewaylib import Gateway, Wire
from h2lib import DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, WINDOW_UPDATE, Client, block, frame, request
from oddserver import ODDITIES, OddServer


class BackEnd:
    """Reads one request a connection, to the end that `until` names, and answers with `answer`."""

    def __init__(self, answer, until=b"\r\n\r\n"):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.answer, self.until, self.asked = answer, until, []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(peer,), daemon=True).start()

    def one(self, peer):
        got = b""
        while self.until not in got:
            piece = peer.recv(65536)
            if not piece:
                return
            got += piece
        self.asked.append(got)
        peer.sendall(self.answer)
        peer.close()


@pytest.fixture
def tls_gateway(tmp_path):
    """(start a gateway before a back end, its TLS port, the authority)"""
    ca, running = Authority(tmp_path), []
    crt, key = ca.issue("gateway")

    def start(back_end, **env):
        port = free_port()
        env = {"TLS_CERT": str(crt), "TLS_KEY": str(key), **env}
        gateway = Gateway(legacy=back_end.url, env=env)
        gateway.command[gateway.command.index("--listen") + 1] += f",https://127.0.0.1:{port}"
        running.append(gateway)
        gateway.__enter__()
        return gateway, port, ca

    yield start
    for gateway in running:
        gateway.__exit__()


def h2_client(port, ca):
    context = ssl.create_default_context(cafile=str(ca.crt))
    context.set_alpn_protocols(["h2"])
    raw = socket.create_connection(("127.0.0.1", port), timeout=30)
    return Client(0, sock=context.wrap_socket(raw, server_hostname="localhost"))


def test_both_versions_over_tls(tls_gateway):
    back_end = BackEnd(b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX-Odd-Case: Yes\r\nConnection: close, X-Gone\r\nX-Gone: 1\r\n\r\nok")
    _, port, ca = tls_gateway(back_end)
    for version, word in (("--http1.1", b"Via: 1.1"), ("--http2", b"Via: 2.0")):
        done = subprocess.run(["curl", "-s", "-i", "--max-time", "60", version, "--cacert", str(ca.crt), f"https://localhost:{port}/a?b"],
                              capture_output=True, text=True)
        head = done.stdout.lower()
        assert "200" in head.split("\n")[0] and done.stdout.endswith("ok") and "x-odd-case: yes" in head, done
        assert "x-gone" not in head and "content-length: 2" in head
        asked = back_end.asked[-1]
        assert asked.startswith(b"GET /a?b HTTP/1.1\r\n") and b"localhost:" in asked
        assert b"x-forwarded-proto: https" in asked.lower() and word in asked, asked


def test_trailers_and_interim_answers_pass_http2(tls_gateway):
    back_end = BackEnd(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                       b"3\r\none\r\n0\r\nX-Sum: 1\r\n\r\n", until=b"0\r\nx-asked: 2\r\n\r\n")
    _, port, ca = tls_gateway(back_end)
    with h2_client(port, ca) as client:
        client.send(frame(HEADERS, END_HEADERS, 1, block(request("/up", "POST", [("te", "trailers")], scheme="https"))))
        client.send(frame(DATA, 0, 1, b"body") + frame(HEADERS, END_HEADERS | END_STREAM, 1, block([("x-asked", "2")])))
        assert client.until(lambda c: c.ended()), (client.frames, back_end.asked)
        heads = [dict(h) for h in client.heads[1]]
        assert [h.get(":status") for h in heads] == ["103", "200", None]
        assert heads[0]["link"] == "</x>" and heads[2] == {"x-sum": "1"} and client.body() == b"one"
        assert b"4\r\nbody\r\n" in back_end.asked[0]


def test_a_body_cut_short_is_no_whole_one(tls_gateway):
    back_end = BackEnd(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    _, port, ca = tls_gateway(back_end)
    with h2_client(port, ca) as client:
        client.ask(1, request("/cut", scheme="https"))
        assert client.until(lambda c: c.reset()) and not client.ended()
        assert client.alive()


def test_new_certificates_on_sighup(tls_gateway, tmp_path):
    back_end = BackEnd(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    gateway, port, ca = tls_gateway(back_end)

    def serial():
        context = ssl.create_default_context(cafile=str(ca.crt))
        with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
            with context.wrap_socket(raw, server_hostname="localhost") as s:
                return s.getpeercert()["serialNumber"]

    before = serial()
    folder = tmp_path / "next"
    folder.mkdir()
    for path in ca.issue("gateway", to=folder):
        path.rename(pathlib.Path(tmp_path) / path.name)
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: serial() != before, what="the new certificate")


# --- before the odd server ------------------------------------------------------------------------------------------

class Front:
    """A gateway that speaks TLS, before an odd server that does too."""

    def __init__(self, odd, ca, folder, **env):
        crt, key = ca.issue("front")
        self.port, self.log = free_port(), folder / "access.log"
        self.ca, self.odd = ca, odd
        self.gateway = Gateway(env={"TLS_CERT": str(crt), "TLS_KEY": str(key), "GATEWAY_ACCESS_LOG": str(self.log), **env},
                               routes={"upstreams": {"odd": {"urls": [odd.url + f"?cacertfile={ca.crt}"], "connect_timeout": "20s",
                                                             "failures_max": 100000, "retry_percent": 100}}, "old": "odd"})
        self.gateway.command[self.gateway.command.index("--listen") + 1] += f",https://127.0.0.1:{self.port}"

    def h2(self):
        return h2_client(self.port, self.ca)

    def h1(self):
        context = ssl.create_default_context(cafile=str(self.ca.crt))
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        return Wire(context.wrap_socket(raw, server_hostname="localhost"))


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    folder = tmp_path_factory.mktemp("front")
    ca = Authority(folder)
    with OddServer(tls=ca.server_context("odd")) as odd:
        front = Front(odd, ca, folder)
        with front.gateway:
            yield front


ENDLESS = ("/latin", "/head-length", "/websocket", "/slowly", "/half-slowly", "/never-ending", "/stream-late", "/splitting", "/echo", "/continue-first")
GROWN = 16384  # an answer's head of HTTP/2 may take more frames than h2lib reads


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_is_the_same_by_either_version(front, method):
    """Every oddity that ends (and is UTF-8, for hpack): status, fields, body, trailers; and whether it was whole."""
    with front.h2() as client:
        for stream, path in enumerate(sorted(set(ODDITIES) - set(ENDLESS))):
            stream = 2 * stream + 1
            path += "?100000" if path == "/big" else ""
            with front.gateway.connect() as wire:
                wire.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                interim = 0
                while (reply := wire.answer(head_only=method == "HEAD")).status < 200:
                    interim += 1
            if sum(len(k) + len(v) for k, v in reply.lines) > GROWN:
                continue
            client.ask(stream, request(path, method, scheme="https"))
            client.send(frame(WINDOW_UPDATE, 0, 0, (200000).to_bytes(4, "big")) + frame(WINDOW_UPDATE, 0, stream, (200000).to_bytes(4, "big")))
            assert client.until(lambda c, s=stream: c.ended(s) or c.reset(s)), (path, client.frames[-3:])
            heads = [head for head in client.heads.get(stream, [])]
            final = next((h for h in heads if not h[0][1].startswith("1")), None)
            assert final is not None and final[0] == (":status", str(reply.status)), (path, reply, heads)
            assert heads.index(final) == interim and client.ended(stream) == reply.whole, (path, reply)
            if reply.status >= 500:
                continue
            framing = ("transfer-encoding", "connection")
            assert [f for f in final[1:] if f[0] not in framing] == [(k.lower(), v) for k, v in reply.lines if k.lower() not in framing], path
            if reply.whole:
                assert client.body(stream) == reply.body, path
                behind = heads[heads.index(final) + 1:]
                assert [f for h in behind for f in h] == [(k.lower(), v) for k, v in reply.trailers], path
        assert client.alive() and client.goaway() is None


def test_a_client_that_reads_slowly_slows_the_side(front):
    """No more than its window goes out; then more; and when it has had enough, the side's work ends. Nothing gathers in between."""
    with front.h2() as client:
        ended = front.odd.ended
        client.ask(1, request("/never-ending", scheme="https"))
        assert client.until(lambda c: len(c.body()) == 65535)
        assert client.alive() and len(client.body()) == 65535
        for stream in (0, 1):
            client.send(frame(WINDOW_UPDATE, 0, stream, (1 << 20).to_bytes(4, "big")))
        assert client.until(lambda c: len(c.body()) == 65535 + (1 << 20))
        client.send(frame(RST_STREAM, 0, 1, (8).to_bytes(4, "big")))
        wait_for(lambda: front.odd.ended > ended, what="the side's end")
        assert client.alive() and front.gateway.memory_kb() < 64 << 10


def test_a_side_that_reads_slowly_slows_the_client(front):
    """The side takes nothing: no more windows open than buffers hold. Then it takes all of it."""
    size, piece = 24 << 20, bytes(16384)
    front.odd.gate.clear()
    with front.h2() as client:
        client.send(frame(HEADERS, END_HEADERS, 1, block(request("/stream-late", "POST", scheme="https"))))
        sent = 0

        def push(limit):
            nonlocal sent
            while sent < size:
                n = min(len(piece), size - sent, client.window(1) - sent)
                if n <= 0 and not client.until(lambda c: c.window(1) > sent, limit):
                    return False
                n = min(len(piece), size - sent, client.window(1) - sent)
                client.send(frame(DATA, END_STREAM if sent + n == size else 0, 1, piece[:n]))
                sent += n
            return True

        # What the kernel holds on both sides of the gateway is the machine's to say; it is less than all of it, or this proves nothing.
        assert not push(1.0) and sent < size, sent
        assert client.alive() and client.status(1) is None
        front.odd.gate.set()
        assert push(60.0) and client.until(lambda c: c.ended(1), 60)
        assert client.body() == str(size).encode() and front.gateway.memory_kb() < 64 << 10


def test_websocket_is_for_http1_over_tls_too(front):
    with front.h1() as wire:
        wire.send(b"GET /websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert wire.head()[0] == 101 and wire.exactly(6) == b"hello "
        wire.send(b"abc")
        assert wire.exactly(3) == b"cba"
        with pytest.raises(ssl.SSLError, match="APPLICATION_DATA_AFTER_CLOSE_NOTIFY"):
            wire.sock.unwrap()  # we say that no more comes; the side still says "bye"
    wait_for(lambda: front.odd.last().path == "/websocket", what="the request")
    with front.h2() as client:  # RFC 9113 §8.2.2
        client.ask(1, request("/websocket", more=[("connection", "upgrade"), ("upgrade", "websocket")], scheme="https"))
        assert client.until(lambda c: c.reset(1)) and client.reset(1) == "PROTOCOL_ERROR"


def test_expect_is_the_sides_to_answer(front):
    with front.h2() as client:
        client.send(frame(HEADERS, END_HEADERS, 1, block(request("/continue-first", "POST", [("expect", "100-continue")], scheme="https"))))
        assert client.until(lambda c: c.status(1) == 100)
        client.send(frame(DATA, END_STREAM, 1, b"now"))
        assert client.until(lambda c: c.ended(1)) and client.body(1) == b"now"
        client.send(frame(HEADERS, END_HEADERS, 3, block(request("/continue-never", "POST", [("expect", "100-continue")], scheme="https"))))
        assert client.until(lambda c: c.ended(3)) and client.status(3) == 417 and len(client.heads[3]) == 1


def test_what_is_written_down_of_it(front):
    before = len(front.log.read_text().splitlines()) if front.log.exists() else 0
    with front.h2() as client, front.h1() as wire:
        client.ask(1, request("/plain?second", scheme="https"))
        assert client.until(lambda c: c.ended())
        wire.send(b"GET /plain?first HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.answer().body == b"fine"
    front.gateway.ask(b"GET /plain?bare HTTP/1.0\r\n\r\n")

    def rows():
        lines = [json.loads(line) for line in front.log.read_text().splitlines()[before:]]
        return {row["target"].partition("?")[2]: (row["scheme"], row["version"], row.get("host")) for row in lines}

    wait_for(lambda: len(rows()) >= 3, what="three lines")
    assert rows()["second"] == ("https", "2", "localhost") and rows()["first"] == ("https", "1.1", "localhost")
    assert rows()["bare"][:2] == ("http", "1.0")


def test_names_and_client_certificates(tmp_path):
    """The settings of LISTEN, for the gateway: a folder of certificates by name, and clients that must show one."""
    folder, ca = tmp_path / "certs", Authority(tmp_path)
    folder.mkdir()
    ca.issue("a", "DNS:a.example", to=folder)
    ca.issue("b", "DNS:b.example", to=folder)
    shown, port = ca.issue("client"), free_port()
    with OddServer() as odd:
        gateway = Gateway(legacy=odd.url, env={"TLS_CERT": str(folder), "TLS_CLIENT_CA": str(ca.crt)})
        gateway.command[gateway.command.index("--listen") + 1] += f",https://127.0.0.1:{port}"
        with gateway:
            for name in ("b.example", "a.example"):
                context = ssl.create_default_context(cafile=str(ca.crt))
                context.load_cert_chain(*shown)
                with socket.create_connection(("127.0.0.1", port), timeout=60) as raw, context.wrap_socket(raw, server_hostname=name) as s:
                    assert ("DNS", name) in s.getpeercert()["subjectAltName"]
                    wire = Wire(s)
                    wire.send(b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n")
                    assert wire.answer().body == b"fine"
            context = ssl.create_default_context(cafile=str(ca.crt))
            with socket.create_connection(("127.0.0.1", port), timeout=60) as raw, pytest.raises((ssl.SSLError, ConnectionError)):
                with context.wrap_socket(raw, server_hostname="a.example") as s:
                    s.sendall(b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n")
                    assert s.recv(1) != b""
        assert len(odd.seen) == 2


# nghttp2's own clients, which check what a server sends. h2spec is not to be had here; cases by section of the RFC are in test_h2.py.
H2LOAD = {
    "many streams": ("-c", "8", "-m", "20", "/plain"),
    "one stream at a time": ("-c", "8", "-m", "1", "/plain"),
    "little windows": ("-c", "4", "-m", "10", "-w", "10", "-W", "10", "/big?100000"),
    "bodies": ("-c", "4", "-m", "10", "-d", "BODY", "/echo"),
    "trailers and chunks": ("-c", "4", "-m", "10", "/trailers"),
    "no table for heads": ("-c", "4", "-m", "10", "--header-table-size=0", "--encoder-header-table-size=0", "/hop-by-hop"),
    "a large head": ("-c", "2", "-m", "4", "/large-head"),
}
NGHTTP = {
    "an answer": (("/trailers",), "x-sum: 1f"),
    "interim answers": (("/early-hints",), ":status: 103"),
    "a body": (("-d", "BODY", "/echo"), "END_STREAM"),
    "a head in pieces": (("--continuation", "/plain"), "recv DATA"),
    "padding": (("-b", "100", "-d", "BODY", "/echo"), "recv DATA"),
    "trailers to the side": (("-d", "BODY", "--trailer", "x-more: 1", "/echo"), "recv DATA"),
    "100-continue": (("--expect-continue", "-d", "BODY", "/continue-first"), ":status: 100"),
    "a window of 1 kB": (("-w", "10", "-W", "10", "/big?20000"), "END_STREAM"),
    "another method": (("-H", ":method: DELETE", "/plain"), ":status: 200"),
}


@pytest.fixture(scope="module")
def body_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("body") / "body"
    path.write_bytes(bytes(range(256)) * 100)
    return str(path)


def nghttp2(front, program, args, body_file):
    *options, path = [body_file if a == "BODY" else a for a in args]
    done = subprocess.run([*program, *options, f"https://127.0.0.1:{front.port}{path}"], capture_output=True, text=True, errors="replace", timeout=120)
    return done.stdout + done.stderr


@pytest.mark.parametrize("how", H2LOAD)
def test_h2load_finds_nothing_wrong(front, body_file, how):
    said = nghttp2(front, ("h2load", "-n", "400"), H2LOAD[how], body_file)
    assert "400 succeeded, 0 failed, 0 errored, 0 timeout" in said and "400 2xx" in said and "TLSv1.3" in said, said


@pytest.mark.parametrize("how", NGHTTP)
def test_nghttp_finds_nothing_wrong(front, body_file, how):
    args, wanted = NGHTTP[how]
    said = nghttp2(front, ("nghttp", "-nv"), args, body_file)
    assert wanted in said and ":status: 200" in said and "_ERROR" not in said.replace("NO_ERROR", "") and "RST_STREAM" not in said, said


def test_a_drain_tells_and_answers(tmp_path):
    ca = Authority(tmp_path)
    with OddServer(tls=ca.server_context("odd")) as odd:
        front = Front(odd, ca, tmp_path)
        with front.gateway:
            with front.h2() as client:
                client.ask(1, request("/slowly", scheme="https"))
                wait_for(lambda: odd.seen, what="the request at the side")
                front.gateway.process.send_signal(signal.SIGTERM)
                assert client.until(lambda c: c.goaway() == "NO_ERROR")
                odd.gate.set()
                assert client.until(lambda c: c.ended(1)) and client.body(1) == b"at last"
