"""Upstreams over TLS: whom the gateway believes, what it says when it does not, and that its pools stay what they are."""
import json
import os
import socket
import ssl
import subprocess
import threading

import pytest

from certs import Authority
from conftest import BINARY, free_port, wait_for
from gatewaylib import Gateway
from oddserver import OddServer

GET = b"GET /plain HTTP/1.1\r\nHost: odd\r\n\r\n"


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("upstream"))


def before(url, **limits):
    upstream = {"urls": [url], "connect_timeout": "20s", "failures_max": 100000, **limits}
    return Gateway(routes={"upstreams": {"odd": upstream}, "old": "odd"})


@pytest.fixture(scope="module")
def odd(ca):
    with OddServer(tls=ca.server_context("odd")) as server:
        yield server


# --- whom it believes -----------------------------------------------------------------------------------------------

def test_the_systems_store(odd, ca):
    with Gateway(legacy=odd.url, env={"SSL_CERT_FILE": str(ca.crt)}) as gateway:
        assert gateway.ask(GET).body == b"fine"
    with Gateway(legacy=odd.url, env={"SSL_CERT_FILE": "/dev/null"}) as gateway:
        assert gateway.ask(GET).status == 502


def test_a_name_beside_the_address(ca):
    context, asked = ca.server_context("named", names="DNS:tickets.internal"), []
    context.sni_callback = lambda sock, name, ctx: asked.append(name)
    with OddServer(tls=context) as server:
        with before(f"{server.url}?cacertfile={ca.crt}&server_name_indication=tickets.internal") as gateway:
            assert gateway.ask(GET).body == b"fine"
    assert asked == ["tickets.internal"]


def test_a_client_certificate(ca, tmp_path):
    crt, key = ca.issue("gateway")
    both = tmp_path / "both.pem"
    both.write_text(crt.read_text() + key.read_text())
    context = ca.server_context("strict")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca.crt)
    with OddServer(tls=context) as server:
        for shown in (f"certfile={crt}&keyfile={key}", f"certfile={both}"):
            with before(f"{server.url}?cacertfile={ca.crt}&{shown}") as gateway:
                assert gateway.ask(GET).body == b"fine"


def failure_of(gateway):
    reply = gateway.ask(GET)
    assert reply.status == 502 and b"certificate" not in reply.body  # the client is not told
    gateway.told("tls")
    return gateway.events("upstream.tls_failed")[0]


@pytest.mark.parametrize("issue,parameters,why,mend", [
    ({}, "", "unable to get local issuer certificate", "cacertfile=FILE"),
    ({"names": "DNS:other.example"}, "?cacertfile={ca}", "mismatch", "server_name_indication=NAME"),
    ({"days": "-1"}, "?cacertfile={ca}", "expired", "renew the certificate"),
])
def test_a_wrong_certificate_is_told_with_its_mend(ca, tmp_path, issue, parameters, why, mend):
    with OddServer(tls=ca.server_context("wrong", to=tmp_path, **issue)) as server:
        with before(server.url + parameters.format(ca=ca.crt)) as gateway:
            told = failure_of(gateway)
            assert why in told["why"] and mend in told["mend"] and told["asked_for"] == "127.0.0.1", told
            assert told["names"] == issue.get("names", "DNS:localhost, 127.0.0.1").replace("DNS:", ""), told
            assert gateway.ask(GET).status == 502
            assert len(gateway.events("upstream.tls_failed")) == 1  # not once for each request
        assert server.seen == []
        with before(f"{server.url}?verify=verify_none") as gateway:
            assert gateway.ask(GET).body == b"fine"


def test_a_certificate_that_we_lack_is_told(ca):
    context = ca.server_context("strict")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca.crt)
    with OddServer(tls=context) as server, before(f"{server.url}?cacertfile={ca.crt}") as gateway:
        assert "certfile=FILE" in failure_of(gateway)["mend"]


def test_who_speaks_no_tls_is_told(ca):
    def answer():
        peer, _ = listener.accept()
        peer.recv(100)
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        peer.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with before(f"https://127.0.0.1:{listener.getsockname()[1]}?cacertfile={ca.crt}") as gateway:
            assert "not TLS" in failure_of(gateway)["mend"]
        thread.join(30)


def test_who_never_answers_a_handshake_is_late(ca):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with before(f"https://127.0.0.1:{silent.getsockname()[1]}?cacertfile={ca.crt}", connect_timeout="200ms") as gateway:
            assert gateway.ask(GET).status == 504
            gateway.told("connect_timeout")


@pytest.mark.parametrize("url,words", [
    ("https://a?cafile=/x", "its parameters are cacertfile"),
    ("https://a?cacertfile=/does/not/exist", "the authorities cannot be read from /does/not/exist"),
    ("https://a?certfile=/does/not/exist", "/does/not/exist cannot be opened"),
    ("https://a?keyfile=/x", "keyfile wants certfile"),
    ("https://a?verify=no", "verify_peer or verify_none"),
    ("https://a?cacertfile=%0g", "two hexadecimal digits"),
    ("https://a?cacertfile=", "a parameter has a value"),
    ("http://a?verify=verify_none", "parameters are for https:// only"),
    ("https://a/b", "write http://host"),
])
def test_mistakes_in_urls_are_found_before_serving(url, words):
    done = subprocess.run([BINARY, "gateway", "check"], capture_output=True, text=True, timeout=60, env={**os.environ, "LEGACY_URL": url})
    assert done.returncode != 0 and words in done.stdout + done.stderr and "LEGACY_URL" in done.stdout + done.stderr, done


# --- what it keeps --------------------------------------------------------------------------------------------------

def test_connections_are_kept_and_dead_ones_replaced(ca, odd):
    with before(f"{odd.url}?cacertfile={ca.crt}") as gateway:
        first = odd.connections
        for _ in range(10):
            assert gateway.ask(GET).body == b"fine"
        assert odd.connections == first + 1
        for _ in range(5):
            odd.hang_up()
            assert gateway.ask(GET).body == b"fine"
        assert gateway.reasons() == []


def test_sessions_are_resumed(ca):
    with OddServer(tls=ca.server_context("odd")) as server, before(f"{server.url}?cacertfile={ca.crt}") as gateway:
        for _ in range(4):
            assert gateway.ask(b"GET /until-close HTTP/1.1\r\nHost: odd\r\n\r\n").body == b"all that comes"
        assert server.handshakes == [False, True, True, True]


def test_new_keys_on_an_unused_connection_do_not_end_it(ca, tmp_path):
    """OpenSSL's own server, by its commands: it answers, changes keys (and wants ours changed) while nobody asks, and answers again."""
    crt, key = ca.issue("server", to=tmp_path)
    port = free_port()
    server = subprocess.Popen(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(crt), "-key", str(key), "-crlf"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=0)
    out = []
    reader = threading.Thread(target=lambda: out.extend(iter(lambda: server.stdout.read(1), "")), daemon=True)
    reader.start()
    said = lambda: "".join(out)  # noqa: E731
    wait_for(lambda: "ACCEPT" in said(), what="s_server")
    try:
        with before(f"https://127.0.0.1:{port}?cacertfile={ca.crt}") as gateway:
            for n in range(1, 4):
                with gateway.connect() as wire:
                    wire.send(GET)
                    wait_for(lambda: said().count("GET /plain") == n, what="the request")
                    server.stdin.write("HTTP/1.1 200 OK\nContent-Length: 2\n\nok")
                    server.stdin.flush()
                    reply = wire.answer()
                    assert (reply.status, reply.body) == (200, b"ok")
                server.stdin.write("K\n")
                server.stdin.flush()
            assert said().count("BEGIN SSL SESSION PARAMETERS") == 1, said()
            assert "SSL_do_handshake -> 1" in said(), said()  # how it says that new keys are out, when it next says anything
    finally:
        server.kill()
        server.wait()
        reader.join(10)
        server.stdin.close()
        server.stdout.close()


def test_checks_ask_over_tls(ca, odd):
    dead = free_port()
    upstream = {"urls": [f"{odd.url}?cacertfile={ca.crt}", f"https://127.0.0.1:{dead}?cacertfile={ca.crt}"], "check": "/plain?check",
                "check_interval": "20ms", "check_timeout": "20s", "check_fall": 1, "failures_max": 1}
    with Gateway(routes={"upstreams": {"odd": upstream}, "old": "odd"}) as gateway:
        wait_for(lambda: any(r.target == "/plain?check" for r in odd.seen), what="a check")
        wait_for(lambda: gateway.events("upstream.checked"), what="the dead one found")
        assert gateway.events("upstream.checked")[0]["instance"] == f"127.0.0.1:{dead}"
        checks = [r for r in odd.seen if r.target == "/plain?check"]
        assert checks[0].fields["host"] == "127.0.0.1"
        for _ in range(4):
            assert gateway.ask(GET).body == b"fine"


def test_a_reload_reads_the_files_again(ca, odd, tmp_path):
    """The upstream stays the same, with its connections; whom it believes does not."""
    other = tmp_path / "other"
    other.mkdir()
    believed = tmp_path / "believed.pem"
    believed.write_text(Authority(other).crt.read_text())
    with before(f"{odd.url}?cacertfile={believed}") as gateway:
        assert gateway.ask(GET).status == 502
        beside = tmp_path / "beside"
        beside.write_text(ca.crt.read_text())
        beside.rename(believed)
        gateway.reload()
        wait_for(lambda: gateway.ask(GET).status == 200, what="the new authority")
        believed.unlink()
        gateway.reload()
        assert "believed.pem" in json.dumps(gateway.events("not reloaded") + gateway.events("gateway configuration"))
        assert gateway.ask(GET).body == b"fine"


def test_a_circuit_opens_and_closes_over_tls(ca, tmp_path):
    context = ca.server_context("odd", to=tmp_path)
    port = free_port()
    with before(f"https://127.0.0.1:{port}?cacertfile={ca.crt}", failures_max=2, aside="50ms") as gateway:
        with OddServer(port, tls=context):
            assert gateway.ask(GET).status == 200
        wait_for(lambda: gateway.ask(GET).status == 503, what="the circuit")
        with OddServer(port, tls=context):
            wait_for(lambda: gateway.ask(GET).status == 200, what="the server again")
        wait_for(lambda: gateway.events("upstream.aside") and gateway.events("upstream.back"), what="the log")


def test_much_both_ways_in_little_memory(ca, odd):
    """32 MB up and down at once, the client slow in the middle; the worker's memory stays below what would hold them."""
    size = 32 << 20
    with before(f"{odd.url}?cacertfile={ca.crt}") as gateway:
        with gateway.connect() as wire:
            wire.send(b"POST /stream-echo HTTP/1.1\r\nHost: odd\r\nContent-Length: %d\r\n\r\n" % size)
            sender = threading.Thread(target=wire.send, args=(bytes(size),), daemon=True)
            sender.start()
            assert wire.head()[0] == 200
            got = 0
            while (n := int(wire.line(), 16)) > 0:
                got += len(wire.exactly(n))
                wire.line()
            sender.join(60)
            assert got == size
        assert gateway.memory_kb() < 32 << 10
