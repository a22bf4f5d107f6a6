"""SIGUSR2: a new binary takes over under load, and no client notices; a broken one takes over nothing."""
import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import ssl
import sys
import threading

import pytest

import h2lib
from certs import Authority
from conftest import BINARY, Usher, free_port, wait_for
from faultlib import Cluster, Load, check_books, family, seeded, still_there, wait_gone
from handoverlib import Service
from loadgen import LoadGenerator, Wire, request
from test_faults import post_user, users_held, wait_for_lock


@pytest.fixture(scope="module")
def cluster():
    with Cluster(settings="max_connections = 200\n") as cluster:
        yield cluster


def test_twice_in_a_row_under_load(cluster, tmp_path):
    """Each generation with another number of workers: sockets that hold waiting connections are never closed. Events are created all
    the while and get their tickets; whoever asks after health hears that it is good."""
    conf = tmp_path / "usher.conf"
    conf.write_text("HTTP_WORKERS=3\n")
    with Service(cluster, env={"USHER_CONFIG": str(conf)}) as server:
        wait_for(lambda: len(server.workers("http")) == 3, what="three workers")
        counted = []

        def count(n):
            """Between two questions after health; a counter that falls would look like a restart."""
            counted.append(requests_counted(server))
            return ("GET", "/health/ready", b"")

        health = LoadGenerator(server.admin_port, 0, 1, 0, make=count)
        wait_for(lambda: answers(server.admin_port, "/health/ready") == 200, what="good health")
        with LoadGenerator(server.port) as load, Load(server) as events, health:
            load.go_on(200)
            for workers in (1, 2):
                conf.write_text(f"HTTP_WORKERS={workers}\n")
                events.go_on(20)
                server.hand_over()
                load.go_on(200)
            assert len(server.workers("http")) == 2
            events.go_on(20)
            health.go_on(20)
        assert load.failures == [] and health.failures == [], server.log[-20:]
        assert load.counts.keys() == {"keep-alive", "new", "pipelined"}
        assert counted == sorted(counted)
        wait_for(lambda: requests_counted(server) == load.answered(), what="every request of three generations to be counted")
        assert events.statuses() == {201}, events.bodies
        check_books(server, events)


def answers(port, path):
    with contextlib.closing(Wire(("127.0.0.1", port))) as wire:
        wire.send(request("GET", path, close=True))
        return wire.read()[0]


def requests_counted(server):
    """GET /events, as /metrics has them."""
    with contextlib.closing(Wire(("127.0.0.1", server.admin_port))) as wire:
        wire.send(request("GET", "/metrics", close=True))
        text = wire.read()[1].decode()
    return sum(int(line.rsplit(" ", 1)[1]) for line in text.splitlines()
               if line.startswith("http_server_request_duration_seconds_count") and '"GET"' in line and 'http_route="/events"' in line)


@pytest.mark.parametrize("by", ["rename", "link"])
def test_the_new_file_is_taken(cluster, by):
    with Service(cluster, own_binary=True) as server:
        if by == "link":
            server.stop()
            link = pathlib.Path(server.folder, "current")
            link.symlink_to(server.program)
            server.command[0] = str(link)
            server.start()
            new = pathlib.Path(server.folder, "usher-2")
            os.link(BINARY, new) if os.stat(BINARY).st_dev == os.stat(server.folder).st_dev else new.write_bytes(pathlib.Path(BINARY).read_bytes())
            new.chmod(0o755)
            link.unlink()
            link.symlink_to(new)
        else:
            server.replace_program()
            new = pathlib.Path(server.program)
        old = server.hand_over()
        assert os.stat(f"/proc/{server.pid}/exe").st_ino == new.stat().st_ino
        assert server.wait_ended(old) == 0
        assert server.get("/events").status == 200


def test_broken_successors_take_over_nothing(cluster, tmp_path):
    """Each of them under load; and when the file is mended the hand-over works."""
    conf = tmp_path / "usher.conf"
    conf.write_text("\n")
    with Service(cluster, env={"USHER_CONFIG": str(conf), "HANDOVER_TIMEOUT": "1s"}, own_binary=True) as server:
        workers = server.workers()
        with LoadGenerator(server.port, 2, 1, 1) as load:
            cases = (
                ("exits at once", lambda: server.replace_program("#!/bin/sh\nexit 3\n"), '"detail":3'),
                ("dies", lambda: server.replace_program("#!/bin/sh\nkill -SEGV $$\n"), "killed by a signal"),
                ("is no program", lambda: server.replace_program("\0\1\2"), '"detail":127'),
                ("is away", lambda: os.unlink(server.program), "not_found"),
                ("never serves", lambda: server.replace_program("#!/bin/sh\nexec sleep 600\n"), "killed by a signal"),
                ("cannot read its settings", lambda: (server.replace_program(), conf.write_text("LISTNE=x\n")), '"detail":2'),
            )
            for label, replace, words in cases:
                load.go_on(30)
                assert words in server.refused(replace), label
                assert server.workers() == workers, label
            conf.write_text("\n")
            load.go_on(30)
            server.hand_over()
            load.go_on(100)
        assert load.failures == []


def test_a_successor_whose_workers_cannot_start_takes_over_nothing(cluster, tmp_path):
    """Its HTTP worker has served on our sockets by then; what it had taken it finishes. Likewise an address that it cannot have."""
    conf = tmp_path / "usher.conf"
    conf.write_text("")
    with Service(cluster, env={"USHER_CONFIG": str(conf), "RESTART_INTENSITY": ""}, listen_by_file=conf) as server, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with LoadGenerator(server.port) as load:
            for label, line in (("relay and consumers", "BUS_DATABASE_URL=postgresql:///usher?nonsense=1"),
                                ("the address", f"LISTEN=127.0.0.1:{server.port},127.0.0.1:{taken.getsockname()[1]}")):
                load.go_on(50)
                text = f"RESTART_INTENSITY=2\nLISTEN=127.0.0.1:{server.port}\n{line}\n"
                assert '"detail":1' in server.refused(lambda: conf.write_text(text)), label
            load.go_on(100)
        assert load.failures == []


def test_requests_in_flight_finish_in_the_old_process(cluster):
    with Service(cluster, env={"DRAIN_TIMEOUT": "60s"}) as server:
        half = socket.create_connection(("127.0.0.1", server.port), 60)
        body = b'{"FullName": "Half", "Email": "half@over.io", "UserType": 0}'
        half.sendall(b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        half.sendall(body[:10])
        idle = Wire(("127.0.0.1", server.port))
        idle.send(request("GET", "/events"))
        assert idle.read()[0] == 200 and idle.open
        with users_held(server) as ours:
            waiting = post_user(server, "waiting@over.io")
            wait_for_lock(server)
            old = server.hand_over()
            assert server.get("/events").status == 200, "the new one serves"
            idle.send(request("GET", "/events"))
            assert idle.read()[0] == 200 and not idle.open, "an idle connection is heard once more, and told to go"
            assert old in still_there(server.seen), "the old one waits for what it has in hand"
            half.sendall(body[10:])
            ours.rollback()
            answer = waiting.getresponse()
            assert answer.status == 201 and answer.headers["Connection"] == "close"
            answer.read()
        assert half.recv(1000).startswith(b"HTTP/1.1 201 ")
        assert server.wait_ended(old) == 0


def test_a_drain_after_a_hand_over_has_an_end(cluster):
    with Service(cluster, env={"DRAIN_TIMEOUT": "300ms"}) as server:
        with users_held(server), LoadGenerator(server.port) as load:
            post_user(server, "late@over.io")
            wait_for_lock(server)
            load.go_on(30)
            old = server.hand_over()
            server.wait_ended(old)
            load.go_on(30)
        assert load.failures == []


def test_while_postgres_is_away():
    with Cluster(settings="max_connections = 200\n") as away, Service(away, env={"REQUEST_TIMEOUT": "1s"}) as server:
        event = server.new_event()
        away.stop(signal.SIGQUIT)
        old = server.hand_over()
        server.wait_ended(old)
        assert server.get("/events").status == 503
        away.start()
        wait_for(lambda: server.get("/events").status == 200, what="service to be back")
        assert len(server.tickets(event)) == 15


def test_told_to_stop_while_a_successor_starts(cluster):
    with Service(cluster, own_binary=True) as server:
        server.replace_program("#!/bin/sh\nexec sleep 600\n")
        os.kill(server.pid, signal.SIGUSR2)
        wait_for(lambda: server.lines("successor started"), what="the successor")
        processes = family(server.pid)
        os.kill(server.pid, signal.SIGUSR2)
        wait_for(lambda: server.lines("a successor is starting already"), what="the refusal")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        wait_gone(processes, "the service and its successor")


def test_usher_dev_says_why_not():
    with Usher() as usher:
        workers = usher.workers()
        usher.process.send_signal(signal.SIGUSR2)
        wait_for(lambda: any("hand-over refused" in line for line in list(usher.log)), what="the refusal")
        assert usher.get("/events").status == 200 and usher.workers() == workers


# --- with a service manager -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def notify_socket(folder):
    """$NOTIFY_SOCKET; yields (path, messages)."""
    path, messages = f"{folder}/notify", []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(path)

        def read():
            with contextlib.suppress(OSError):
                while data := ours.recv(4096):
                    messages.append(data.decode())

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        yield path, messages
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", path)
        thread.join(10)


def test_systemd_follows_and_so_does_the_pidfile(cluster, tmp_path):
    pidfile = tmp_path / "usher.pid"
    with notify_socket(tmp_path) as (path, messages):
        with Service(cluster, env={"NOTIFY_SOCKET": path, "PIDFILE": str(pidfile)}) as server:
            wait_for(lambda: pidfile.exists() and pidfile.read_text() == f"{server.pid}\n", what="the pid file")
            old = server.hand_over()
            server.wait_ended(old)
            wait_for(lambda: pidfile.read_text() == f"{server.pid}\n", what="the new pid")
            assert not any("STOPPING=1" in m for m in messages), "the service does not stop when a predecessor ends"
            told = [m for m in messages if f"MAINPID={server.pid}" in m]
            assert len(told) == 1 and "READY=1" in told[0]
            assert messages.index(next(m for m in messages if "RELOADING=1" in m)) < messages.index(told[0])
            os.kill(server.pid, signal.SIGTERM)
            wait_gone(server.seen, "the service")
            assert not pidfile.exists()
        assert any("STOPPING=1" in m for m in messages)


ACTIVATE = """import fcntl, os, sys
high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]
for place, fd in enumerate(high, 3):
    os.dup2(fd, place)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[3], sys.argv[3:])"""


def test_sockets_from_systemd(cluster, tmp_path):
    """sd_listen_fds(3): LISTEN is not bound, the passed sockets serve; and they are handed over like our own."""
    with socket.socket() as http, socket.socket(socket.AF_UNIX) as admin:
        http.bind(("127.0.0.1", 0))
        http.listen(100)
        admin.bind(str(tmp_path / "admin"))
        admin.listen(100)

        server = Service(cluster, env={"HTTP_WORKERS": "2", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "usher.socket:admin"})
        unused, server.port = server.port, http.getsockname()[1]
        server.pass_fds = (http.fileno(), admin.fileno())
        server.command = [sys.executable, "-c", ACTIVATE, *map(str, server.pass_fds), *server.command]
        with server:
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", unused), 5)
            with LoadGenerator(server.port) as load:
                load.go_on(50)
                old = server.hand_over()
                load.go_on(50)
            assert load.failures == []
            server.wait_ended(old)
            with contextlib.closing(Wire(str(tmp_path / "admin"))) as wire:
                wire.send(request("GET", "/health/live", close=True))
                assert wire.read()[0] == 200


def test_unix_sockets_are_shared_and_handed_over(cluster, tmp_path):
    path = str(tmp_path / "usher.sock")
    with Service(cluster, env={"HTTP_WORKERS": "2"}) as server:
        server.stop()
        server.command[server.command.index("--listen") + 1] += f",unix:{path}"
        server.start()
        with LoadGenerator(path) as load:
            load.go_on(100)
            server.hand_over()
            load.go_on(100)
        assert load.failures == []


def test_an_address_more_and_an_address_less(cluster, tmp_path):
    """LISTEN may change at a hand-over: what waits at an address that goes is still answered."""
    conf, more = tmp_path / "usher.conf", free_port()
    with Service(cluster, env={"USHER_CONFIG": str(conf)}, listen_by_file=conf) as server:
        conf.write_text(f"LISTEN=127.0.0.1:{server.port},127.0.0.1:{more}\n")
        server.hand_over()
        assert answers(more, "/events") == 200
        conf.write_text(f"LISTEN=127.0.0.1:{more}\n")
        with LoadGenerator(more) as load:
            load.go_on(30)
            old = server.hand_over()
            load.go_on(30)
            server.wait_ended(old)
        assert load.failures == []
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), 5)


# --- kill -9 in the midst of it ----------------------------------------------------------------------------------------------


def started_successor(server):
    """SIGUSR2, and its pid as soon as it runs; whether it serves by then is chance."""
    before = len(server.lines("successor started"))
    os.kill(server.pid, signal.SIGUSR2)
    line = server.wait_line("successor started", before, 60, "a successor")
    return int(re.search(r'"successor_pid":(\d+)', line).group(1))


def test_the_successor_is_killed_at_random_moments(cluster):
    """Before it serves: the old one goes on. After: it is as any supervisor killed, and somebody starts usher again."""
    rng = seeded()
    with Service(cluster) as server:
        with Load(server) as load:
            kill_successors(server, load, rng)
        assert load.statuses() <= {201, 503, None}, load.bodies
        check_books(server, load)


def kill_successors(server, load, rng):
    for round_number in range(4):
        load.go_on(rng.randrange(1, 15))
        successor = started_successor(server)
        server.seen.update(family(successor))
        server.note()
        if round_number:
            load.go_on(rng.randrange(1, 3))
        processes = family(successor)
        with contextlib.suppress(ProcessLookupError):
            os.kill(successor, signal.SIGKILL)
        server.seen.update(processes)
        wait_gone(processes, "the successor and its workers")
        if server.lines(f'"handed over","pid":{server.pid}'):
            wait_gone(server.seen, "the predecessor, which only drained")
            server.process.wait(30)
            server.start()
        load.go_on(10)


def test_the_predecessor_is_killed_while_its_successor_starts(cluster, tmp_path):
    """Its workers end with it; the successor need not be told anything, serves, and loses nothing that was answered."""
    slow = tmp_path / "slow"
    os.mkfifo(slow)
    with Service(cluster, own_binary=True) as server:
        with Load(server) as load:
            load.go_on(20)
            shutil.move(server.program, f"{server.folder}/real")
            server.replace_program(f'#!/bin/sh\nread go <{slow}\nexport LISTEN_PID=$$\nexec {server.folder}/real "$@"\n')
            successor = started_successor(server)
            old = server.note()
            os.kill(server.pid, signal.SIGKILL)
            server.pid = successor
            wait_gone({pid: start for pid, start in old.items() if pid != successor}, "the old generation")
            slow.write_text("go\n")
            load.go_on(20, limit=60)
            server.note()
        assert load.statuses() <= {201, None}, load.bodies
        wait_for(lambda: {"http", "relay", "consume"} <= server.workers().keys(), what="all roles")
        check_books(server, load)


def test_hand_over_with_thousands_of_idle_connections(cluster):
    """Each may ask once more; who does not is closed, and the old generation ends in time."""
    count = 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 3 * count)), hard))
    try:
        with Service(cluster, env={"DRAIN_TIMEOUT": "20s"}) as server:
            idle = [socket.create_connection(("127.0.0.1", server.port), 60) for _ in range(count)]
            assert server.get("/events").status == 200, "all are accepted"
            old = server.hand_over()
            for s in idle[::2]:
                s.sendall(request("GET", "/users"))
            answers_of = [s.recv(65536) for s in idle[::2]]
            assert all(a.startswith(b"HTTP/1.1 200 ") and b"\r\nConnection: close\r\n" in a for a in answers_of)
            assert server.wait_ended(old) == 0, "no drain deadline has passed"
            assert all(s.recv(1) == b"" for s in idle[1::2])
            for s in idle:
                s.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_gateway_and_what_is_behind_it_hand_over_together(cluster):
    """Both are the same usher here: the gateway's clients see nothing, though its connections to the server behind it end as well."""
    front = free_port()
    server = Service(cluster, env={"ROLES": "http,relay,consume,gateway", "GATEWAY_LISTEN": f"127.0.0.1:{front}"})
    server.env["LEGACY_URL"] = f"http://127.0.0.1:{server.port}"
    with server:
        with LoadGenerator(front) as load:
            load.go_on(100)
            for _ in range(2):
                server.hand_over()
                load.go_on(100)
        assert load.failures == []


def test_a_gateway_with_tls_hands_over_under_http2(cluster, tmp_path):
    """Clients of HTTP/2 are told (GOAWAY) before anything is refused: what was asked before that is answered, by whichever of the two."""
    ca, front = Authority(tmp_path), free_port()
    crt, key = ca.issue("front")
    server = Service(cluster, env={"ROLES": "http,relay,consume,gateway", "GATEWAY_LISTEN": f"https://127.0.0.1:{front}",
                                   "TLS_CERT": str(crt), "TLS_KEY": str(key)})
    server.env["LEGACY_URL"] = f"http://127.0.0.1:{server.port}"
    context = ssl.create_default_context(cafile=str(ca.crt))
    context.set_alpn_protocols(["h2"])
    failures, answered, goaways, done = [], [], [], threading.Event()

    def one_connection():
        raw = socket.create_connection(("127.0.0.1", front), timeout=60)
        with h2lib.Client(0, sock=context.wrap_socket(raw, server_hostname="localhost")) as client:
            stream = 1
            while not done.is_set() and not client.of(h2lib.GOAWAY) and not client.closed:
                # Nobody's: a short answer, however many events other tests have left. The connection's window is kept open.
                client.ask(stream, h2lib.request("/users/00000000-0000-4000-8000-00000000dead", scheme="https"))
                client.send(h2lib.frame(h2lib.WINDOW_UPDATE, 0, 0, (4000).to_bytes(4, "big")))
                if not client.until(lambda c: c.ended(stream), 60) or client.status(stream) != 404:
                    failures.append((stream, client.frames[-3:], client.closed))
                    return
                answered.append(stream)
                stream += 2
            goaways.append(client.goaway())

    def ask():
        while not done.is_set():
            try:
                one_connection()
            except OSError as e:
                failures.append(repr(e))
                done.wait(0.2)

    with server:
        threads = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(2):
                before = len(answered)
                wait_for(lambda: failures or len(answered) > before + 60, 180, "answers")
                server.hand_over()
            before = len(answered)
            wait_for(lambda: failures or len(answered) > before + 60, 180, "answers of the last successor")
            wait_for(lambda: failures or goaways.count("NO_ERROR") >= 3, 180, "GOAWAY to those who were connected")
        finally:
            done.set()
            for thread in threads:
                thread.join(60)
    assert failures == []
