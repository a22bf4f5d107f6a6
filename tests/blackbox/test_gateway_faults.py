"""The fault matrix: sides dead, slow, lying; workers killed; reloads under load. Counts what clients saw of it."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest

from conftest import free_port, wait_for
from gatewaylib import Gateway, Wire
from oddserver import OddServer
from test_gateway import get


@pytest.fixture
def odd():
    with OddServer() as server:
        yield server


def config(*urls, **limits):
    return {"upstreams": {"odd": {"urls": list(urls), "connect_timeout": "20s", **limits}}, "old": "odd"}


# --- time-outs, and what they are called ------------------------------------------------------------------------------

def test_nobody_listens(odd):
    with Gateway(legacy=f"http://127.0.0.1:{free_port()}") as gateway:
        reply = gateway.ask(get("/plain"))
        assert reply.status == 502
        gateway.told("connect")


def test_a_side_that_is_dead_for_long_is_refused_at_once_and_comes_back():
    with OddServer() as server:
        port = server.port
    with Gateway(routes=config(f"http://127.0.0.1:{port}", failures_max=3, aside="200ms")) as gateway:
        assert [gateway.ask(get("/plain")).status for _ in range(3)] == [502] * 3
        wait_for(lambda: gateway.ask(get("/plain")).status == 503, what="the circuit")
        gateway.told("circuit_open")
        assert gateway.events("upstream.aside")
        with OddServer(port):
            wait_for(lambda: gateway.ask(get("/plain")).status == 200, 30, "the side that is back")
            assert all(gateway.ask(get("/plain")).status == 200 for _ in range(20))
            wait_for(lambda: gateway.events("upstream.back"), what="the log")


def test_a_side_that_nobody_asked_for_long_is_open_to_all():
    """Not only to the one that tries it: the others came for an answer too."""
    with OddServer() as server:
        port = server.port
    with Gateway(routes=config(f"http://127.0.0.1:{port}", failures_max=1, aside="100ms")) as gateway:
        assert gateway.ask(get("/plain")).status == 502
        with OddServer(port) as server:
            time.sleep(0.5)  # aside for 100 ms, and as long again
            with gateway.connect() as first:
                first.send(get("/slowly"))
                wait_for(lambda: len(server.seen) == 1)
                assert gateway.ask(get("/plain")).status == 200
                server.gate.set()
                assert first.answer().body == b"at last"


@pytest.mark.parametrize("path,limit,status,reason", [
    ("/slowly", "first_byte_timeout", 504, "first_byte_timeout"),
    ("/half-slowly", "idle_timeout", 200, "idle_timeout"),
    ("/counted-slowly?9000000", "idle_timeout", 200, "idle_timeout"),
    ("/slowly", "total_timeout", 504, "total_timeout"),
])
def test_a_slow_side_is_given_up(odd, path, limit, status, reason):
    with Gateway(routes=config(odd.url, **{limit: "300ms"})) as gateway:
        reply = gateway.ask(get(path))
        assert reply.status == status and (status == 504 or not reply.whole)
        gateway.told(reason)


def test_a_connection_that_is_never_made(odd):
    """A listener whose backlog is full answers nothing."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fill = [socket.socket() for _ in range(4)]
        for sock in fill:
            sock.setblocking(False)
            sock.connect_ex(deaf.getsockname())
        limits = {"urls": [f"http://127.0.0.1:{deaf.getsockname()[1]}"], "connect_timeout": "300ms"}
        with Gateway(routes={"upstreams": {"deaf": limits}, "old": "deaf"}) as gateway:
            assert gateway.ask(get("/plain")).status == 504
            gateway.told("connect_timeout")
        for sock in fill:
            sock.close()


def test_what_is_over_the_limit_waits_and_then_is_refused(odd):
    with Gateway(routes=config(odd.url, requests_max=2, queue_max=2, queue_timeout="60s")) as gateway:
        busy = [gateway.connect() for _ in range(4)]
        for wire in busy:
            wire.send(get("/slowly"))
        wait_for(lambda: len(odd.seen) == 2, what="two requests behind")
        with gateway.connect() as one_more:
            # The two that wait stand in the queue as soon as the third is refused.
            wait_for(lambda: (one_more.send(get("/slowly")), one_more.answer())[1].status == 503, what="a refusal")
        gateway.told("queue_full")
        odd.gate.set()
        assert [wire.answer().body for wire in busy] == [b"at last"] * 4
        for wire in busy:
            wire.sock.close()
    assert len(odd.seen) == 4


def test_who_waits_too_long_is_refused(odd):
    with Gateway(routes=config(odd.url, requests_max=1, queue_timeout="200ms")) as gateway:
        with gateway.connect() as busy:
            busy.send(get("/slowly"))
            wait_for(lambda: len(odd.seen) == 1)
            assert gateway.ask(get("/plain")).status == 503
            gateway.told("queue_timeout")
            odd.gate.set()
            assert busy.answer().body == b"at last"


# --- connections that were kept ----------------------------------------------------------------------------------------

def test_connections_are_used_again(odd):
    with Gateway(legacy=odd.url) as gateway, gateway.connect() as wire:
        for _ in range(50):
            wire.send(get("/plain"))
            assert wire.answer().status == 200
        assert odd.connections == 1


class Forgetful:
    """Answers the first request of each connection, and closes when the second one comes."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.requests = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(sock,), daemon=True).start()

    def talk(self, sock):
        with sock:
            for n in range(2):
                head = b""
                while b"\r\n\r\n" not in head:
                    data = sock.recv(65536)
                    if not data:
                        return
                    head += data
                self.requests.append(head.split(b" ")[0])
                if n == 0:
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def test_a_stale_connection_costs_nobody_a_safe_request():
    server = Forgetful()
    with Gateway(legacy=server.url) as gateway, gateway.connect() as wire:
        for method in ("GET", "GET", "PUT", "DELETE", "HEAD", "GET"):
            wire.send(get("/x", method=method))
            assert wire.answer(head_only=method == "HEAD").status == 200, method
        # What may have had an effect is not sent twice; the client hears of it.
        wire.send(get("/x", method="POST", version="HTTP/1.1"))
        assert wire.answer().status == 502
        assert server.requests.count(b"POST") == 1
    server.listener.close()


def test_retries_have_a_budget():
    server = Forgetful()
    with Gateway(routes={"upstreams": {"f": {"urls": [server.url], "retry_percent": 0}}, "old": "f"}) as gateway:
        with gateway.connect() as wire:
            statuses = []
            for _ in range(60):
                wire.send(get("/x"))
                statuses.append(wire.answer().status)
        assert 0 < statuses.count(502) and statuses.count(200) >= 30
    server.listener.close()


# --- several instances --------------------------------------------------------------------------------------------------

def test_the_dead_one_of_two_costs_nothing(odd):
    with Gateway(routes=config(odd.url, f"http://127.0.0.1:{free_port()}", retry_percent=100)) as gateway:
        assert [gateway.ask(get("/plain", method="POST")).status for _ in range(40)] == [200] * 40
        wait_for(lambda: gateway.events("upstream.aside"), what="the dead one put aside")


def test_least_requests():
    with OddServer() as busy, OddServer() as idle, Gateway(routes=config(busy.url, idle.url)) as gateway:
        held = []
        while len(busy.seen) < 1:
            held.append(gateway.connect())
            held[-1].send(get("/slowly"))
            wait_for(lambda: len(busy.seen) + len(idle.seen) == len(held))
        before = len(busy.seen), len(idle.seen)
        idle.gate.set()
        for _ in range(20):
            assert gateway.ask(get("/plain")).status == 200
        assert len(busy.seen) == before[0] and len(idle.seen) == before[1] + 20
        busy.gate.set()
        for wire in held:
            wire.answer()
            wire.sock.close()


def test_an_instance_that_checks_call_bad_gets_nothing():
    with OddServer() as well, OddServer() as ill:
        limits = {"check": "/plain", "check_interval": "20ms", "check_timeout": "10s", "check_fall": 2, "check_rise": 2}
        import oddserver
        plain = oddserver.ODDITIES["/plain"]
        sick = threading.Event()

        def checked(talk, request):
            if talk.server is ill and sick.is_set():
                talk.answer(b"", status="500 Internal Server Error")
            else:
                plain(talk, request)

        oddserver.ODDITIES["/plain"] = checked
        try:
            with Gateway(routes=config(well.url, ill.url, **limits)) as gateway:
                wait_for(lambda: well.seen and ill.seen, what="checks")
                sick.set()
                wait_for(lambda: gateway.events("upstream.checked"), what="a bad check")
                count = len([r for r in ill.seen if r.path == "/echo"])
                assert all(gateway.ask(get("/echo")).status == 200 for _ in range(20))
                assert len([r for r in ill.seen if r.path == "/echo"]) == count
                sick.clear()
                wait_for(lambda: [e["well"] for e in gateway.events("upstream.checked")] == [False, True], what="a good check")
        finally:
            oddserver.ODDITIES["/plain"] = plain


@pytest.mark.parametrize("slow_start,share", [("0s", 50), ("1h", 0)])
def test_an_instance_that_comes_back_begins_slowly(slow_start, share):
    """With equal work the one that was always there is taken first, for as long as the other one begins."""
    with OddServer() as here:
        with OddServer() as away:
            port = away.port
        limits = {"failures_max": 1, "aside": "50ms", "slow_start": slow_start, "retry_percent": 100}
        with Gateway(routes=config(here.url, f"http://127.0.0.1:{port}", **limits)) as gateway:
            wait_for(lambda: gateway.ask(get("/plain")).status == 200 and gateway.events("upstream.aside"), what="the dead one put aside")
            with OddServer(port) as back:
                wait_for(lambda: gateway.ask(get("/plain")).status == 200 and gateway.events("upstream.back"), 30, what="the one that is back")
                before = len(back.seen)
                assert all(gateway.ask(get("/plain")).status == 200 for _ in range(100))
                assert len(back.seen) - before == share


def test_a_name_that_moves_is_followed():
    """Looked up again and again: the address that has gone gets nothing any more, and nobody notices."""
    with tempfile.NamedTemporaryFile("w", suffix=".hosts") as hosts, OddServer(host="127.0.0.2") as one, OddServer(one.port, host="127.0.0.3") as two:
        def leads_to(address):
            hosts.seek(0)
            hosts.write(f"{address} moves.test # \n")
            hosts.flush()

        leads_to("127.0.0.2")
        limits = {"urls": [f"http://moves.test:{one.port}"], "resolve_interval": "100ms"}
        gateway = Gateway(routes={"upstreams": {"m": limits}, "old": "m"})
        gateway.command = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', hosts.name, *gateway.command]
        if subprocess.run([*gateway.command[:4], 'mount --bind "$0" /etc/hosts', hosts.name], capture_output=True).returncode != 0:
            pytest.skip("no mount namespace here")
        with gateway, Load(gateway, clients=2) as load:
            load.more(50)
            assert one.seen and not two.seen
            leads_to("127.0.0.3")
            wait_for(lambda: gateway.events("upstream.left"), 30, "the old address has left")
            load.more(20)
            asked = len(one.seen)
            load.more(50)
            assert len(one.seen) == asked and len(two.seen) > 0
            load.__exit__()
            assert set(load.statuses) == {200} and not load.failures


def test_a_name_is_looked_up(odd):
    with Gateway(legacy=f"http://localhost:{odd.port}") as gateway:
        assert gateway.ask(get("/plain")).body == b"fine"


def test_an_unknown_name_is_503_and_the_gateway_lives(odd):
    with Gateway(legacy="http://no-such-host.invalid:80") as gateway:
        assert gateway.ask(get("/plain")).status == 503
        gateway.told("no_instance")


# --- back-pressure ------------------------------------------------------------------------------------------------------

def rss(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")


def worker_of(gateway):
    children = pathlib.Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text().split()
    return next(int(pid) for pid in children if "gateway" in pathlib.Path(f"/proc/{pid}/comm").read_text())


@pytest.mark.skipif("asan" in os.environ.get("USHER", ""), reason="quarantine is no constant memory")
def test_bodies_of_any_size_in_constant_memory(odd):
    with Gateway(legacy=odd.url) as gateway:
        gateway.ask(get("/big?1000000"))
        before = rss(worker_of(gateway))
        with gateway.connect() as wire:
            wire.send(get(f"/big?{200 << 20}"))
            _, _, lines = wire.head()
            left = (200 << 20) - len(wire.kept)
            while left > 0:
                left -= len(wire.sock.recv(1 << 20))
        with gateway.connect() as wire:
            wire.send(get("/stream-count", f"Content-Length: {100 << 20}", method="POST"))
            for _ in range(100):
                wire.send(bytes(1 << 20))
            assert wire.answer().body == str(100 << 20).encode()
        assert rss(worker_of(gateway)) - before < 8 * 1024


def test_a_client_that_does_not_read_stops_the_server_not_the_gateway(odd):
    with Gateway(legacy=odd.url) as gateway, gateway.connect() as slow:
        slow.send(get("/never-ending"))
        slow.exactly(10)
        before = rss(worker_of(gateway))
        for _ in range(50):
            assert gateway.ask(get("/plain")).status == 200
        assert rss(worker_of(gateway)) - before < 8 * 1024


# --- operation ----------------------------------------------------------------------------------------------------------

class Load:
    """Clients that ask without pause and keep what they saw."""

    def __init__(self, gateway, path="/plain", clients=8):
        self.stop, self.statuses, self.failures = threading.Event(), [], []
        self.threads = [threading.Thread(target=self.run, args=(gateway, path)) for _ in range(clients)]

    def run(self, gateway, path):
        wire = None
        while not self.stop.is_set():
            try:
                if wire is None:
                    wire = gateway.connect()
                wire.send(get(path))
                reply = wire.answer()
                if reply is None or not reply.whole:
                    raise ConnectionError("no whole answer")
                self.statuses.append(reply.status)
                if "close" in reply.get("connection"):
                    wire.sock.close()
                    wire = None
            except OSError as error:
                self.failures.append(repr(error))
                wire = None

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(60)

    def more(self, n=200):
        until = len(self.statuses) + n
        wait_for(lambda: len(self.statuses) >= until, 60, "answers")


def test_reloads_under_load_lose_no_request():
    with OddServer() as one, OddServer() as two:
        with Gateway(routes=config(one.url)) as gateway, Load(gateway) as load:
            for server in (two, one, two, one, two):
                load.more()
                gateway.write_routes(config(server.url, idle_timeout=f"{30 + len(load.statuses) % 7}s"))
                gateway.reload()
                seen = len(server.seen)
                wait_for(lambda: len(server.seen) > seen + 20, what="requests at the other server")
            load.more()
            load.__exit__()
            assert set(load.statuses) == {200} and not load.failures


def test_a_request_in_work_ends_with_the_routes_it_began_with():
    with OddServer() as one, OddServer() as two, Gateway(routes=config(one.url)) as gateway, gateway.connect() as wire:
        wire.send(get("/slowly"))
        wait_for(lambda: one.seen)
        gateway.write_routes(config(two.url))
        gateway.reload()
        assert gateway.ask(get("/plain")).status == 200 and two.seen
        one.gate.set()
        assert wire.answer().body == b"at last"


def test_a_reload_with_mistakes_changes_nothing(odd):
    with Gateway(routes=config(odd.url)) as gateway:
        gateway.write_routes('{"old": "nobody", "rutes": []}')
        gateway.reload()
        assert gateway.events("not reloaded") and gateway.ask(get("/plain")).body == b"fine"
        assert any("rutes" in e["mistake"] for e in gateway.events("gateway configuration"))


def test_draining_lets_answers_end(odd):
    with Gateway(legacy=odd.url) as gateway:
        wire = gateway.connect()
        wire.send(get("/half-slowly"))
        assert wire.head()[0] == 200
        gateway.process.send_signal(signal.SIGTERM)
        wait_for(lambda: gateway.events("worker drains"))
        odd.gate.set()
        assert wire.exactly(8) == b"halfhalf" and wire.ended()
        assert gateway.process.wait(60) == 0


def test_a_killed_worker_costs_only_what_it_had_in_hand(odd):
    with Gateway(legacy=odd.url, env={"GATEWAY_WORKERS": "2"}) as gateway:
        with gateway.connect() as wire:
            wire.send(get("/half-slowly"))
            assert wire.head()[0] == 200
            victim = worker_of(gateway)
            workers = pathlib.Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text().split()
            for pid in workers:
                if "gateway" in pathlib.Path(f"/proc/{pid}/comm").read_text():
                    os.kill(int(pid), signal.SIGKILL)
            assert wire.exactly(8) in (b"", b"half") and wire.ended()  # seen to be half
        odd.gate.set()
        wait_for(lambda: len(gateway.events("worker ready")) >= 4, 60, "two new workers")
        assert gateway.ask(get("/plain")).body == b"fine"
        assert victim


def test_a_side_that_restarts_under_load(odd):
    """Connections that were kept die with the old process: safe requests never notice."""
    with Gateway(legacy=odd.url) as gateway, Load(gateway, clients=4) as load:
        for _ in range(10):
            load.more(100)
            idle = odd.socks[:]
            odd.socks.clear()
            for sock in idle:  # as a server does that ends its idle connections: between two requests
                try:
                    sock.shutdown(socket.SHUT_RD)
                except OSError:
                    pass
        load.more(100)
        load.__exit__()
        assert set(load.statuses) == {200} and not load.failures, (load.failures[:3], gateway.reasons()[:5])


# --- nginx behind -------------------------------------------------------------------------------------------------------

@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here")
def test_nginx_behind():
    folder = tempfile.mkdtemp(prefix="usher-nginx-")
    os.chmod(folder, 0o755)
    port = free_port()
    try:
        body = bytes(range(256)) * 4000
        (pathlib.Path(folder) / "file.bin").write_bytes(body)
        paths = "".join(f"{n}_temp_path {folder}/{n};" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (pathlib.Path(folder) / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; events {{}} "
            f"http {{ access_log off; {paths} server {{ listen 127.0.0.1:{port}; root {folder}; }} }}")
        for root, _, _ in os.walk(folder):
            shutil.chown(root, "nobody") if os.geteuid() == 0 else None
        nginx = subprocess.Popen(["nginx", "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"], stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, what="nginx")
            with Gateway(legacy=f"http://127.0.0.1:{port}") as gateway, gateway.connect() as wire:
                wire.send(get("/file.bin"))
                reply = wire.answer()
                assert reply.body == body and reply.get("server")[0].startswith("nginx")
                wire.send(get("/file.bin", "Range: bytes=1000-1999"))
                reply = wire.answer()
                assert reply.status == 206 and reply.body == body[1000:2000]
                wire.send(get("/file.bin", f"If-None-Match: {reply.get('etag')[0]}"))
                assert wire.answer().status == 304
                wire.send(get("/nothing", method="HEAD"))
                assert wire.answer(head_only=True).status == 404
                wire.send(get("/file.bin", "Content-Length: 3", method="POST") + b"abc")
                assert wire.answer().status == 405
        finally:
            nginx.terminate()
            nginx.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
