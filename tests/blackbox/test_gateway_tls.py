"""The gateway over TLS and HTTP/2, before a back end that speaks plain HTTP/1.1 and writes down what it was asked."""
import pathlib
import signal
import socket
import ssl
import subprocess
import threading

import pytest

from certs import Authority
from conftest import free_port, wait_for
from gatewaylib import Gateway
from h2lib import DATA, END_HEADERS, END_STREAM, HEADERS, Client, block, frame, request


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

    def start(back_end):
        port = free_port()
        env = {"TLS_CERT": str(crt), "TLS_KEY": str(key)}
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
