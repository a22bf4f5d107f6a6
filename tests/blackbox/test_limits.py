"""Clients that are slow, half gone, silent, greedy or many: others are served meanwhile, and memory stays bounded."""
import json
import pathlib
import re
import resource
import select
import socket
import struct
import threading
import time

import pytest

from conftest import BINARY, wait_for
from faultlib import Cluster, Serve, seeded

IDLE_CONNECTIONS = 5000
# What one idle connection may cost, and what the allocator may keep besides.
CONNECTION_BYTES_MAX = 4096
FIXED_BYTES = 8 << 20
# A build with AddressSanitizer keeps what was freed; its memory tells nothing.
MEMORY_TELLS = b"__asan_init" not in pathlib.Path(BINARY).read_bytes()


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def server(cluster):
    with Serve(cluster) as server:
        yield server


@pytest.fixture(autouse=True)
def workers_stay(request):
    """No test here may cost a worker its life."""
    server = request.getfixturevalue("server")
    before = server.workers()
    yield
    assert server.workers() == before
    assert server.get("/events").status == 200


def connect(server, small_window=False):
    s = socket.socket()
    if small_window:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    s.settimeout(20)
    s.connect(("127.0.0.1", server.port))
    return s


def request_of(method, path, body=b"", length=None, extra=b""):
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode() + extra
    if body or length is not None:
        head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % (len(body) if length is None else length)
    return head + b"\r\n" + body


def user_body(email):
    return json.dumps({"FullName": "Ann", "Email": email, "UserType": 0}).encode()


def all_of(s):
    """Everything until the end, or what had come when the connection was reset."""
    data = b""
    try:
        while piece := s.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def statuses(data):
    return [int(n) for n in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]


# --- slow ------------------------------------------------------------------------------------------------------------------------


def test_dripping_heads_and_bodies_are_cut_while_others_are_served(server):
    rng = seeded()
    drips = {}
    for i in range(60):
        s = connect(server)
        s.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\nX-Slow: " if i % 2 else
                  request_of("POST", "/users", user_body(f"slow{i}@x.io")[:10], length=60))
        drips[s] = b""
    open_ones = set(drips)
    others = 0
    deadline = time.monotonic() + 40
    while open_ones:
        assert time.monotonic() < deadline, f"{len(open_ones)} slow clients hold their connections"
        assert server.get("/events").status == 200
        others += 1
        readable, _, _ = select.select(list(open_ones), [], [], 0.1)
        for s in readable:
            try:
                piece = s.recv(4096)
            except ConnectionResetError:
                piece = b""
            drips[s] += piece
            if not piece:
                open_ones.discard(s)
        for s in rng.sample(sorted(open_ones, key=id), min(len(open_ones), 20)):
            try:
                s.send(b"x")
            except OSError:
                pass
    assert others > 10
    for data in drips.values():
        assert statuses(data) in ([408], []), data
    assert server.sql("SELECT count(*) FROM users.users WHERE email LIKE 'slow%%'") == [(0,)]


def test_a_silent_connection_is_closed(cluster, server):
    with Serve(cluster, env={"IDLE_TIMEOUT": "300ms", "ROLES": "http"}) as impatient:
        silent, kept = connect(impatient), connect(impatient)
        kept.sendall(request_of("GET", "/users"))
        assert statuses(kept.recv(65536)) == [200]
        assert silent.recv(1) == b"" and all_of(kept)[-20:] in (b"", b"\r\n0\r\n\r\n", b"]\r\n0\r\n\r\n")


def test_a_client_that_does_not_read_blocks_nobody(server):
    """It asks for far more than sockets hold; its answers wait for it, within bounds, and come in order when it reads."""
    for day in range(1, 29):
        server.post("/events", {"EventName": "Big " + "x" * 4000, "StartDate": f"2093-01-{day:02d}T10:00:00Z",
                                "EndDate": f"2093-01-{day:02d}T12:00:00Z", "Venue": 5, "Price": 1})
    wanted = server.get("/events").body.encode()
    assert len(wanted) > 100_000
    count = 100
    before = rss(server)
    deaf = connect(server, small_window=True)
    sender = threading.Thread(target=lambda: deaf.sendall(request_of("GET", "/events") * count + request_of("GET", "/nowhere")))
    sender.start()
    for _ in range(100):
        assert server.get("/events").status == 200
    grown = rss(server) - before
    assert grown < 48 << 20 or not MEMORY_TELLS, f"{grown} bytes for one client that does not read"
    data = bytearray()
    while b"HTTP/1.1 404 " not in data[-8192:]:
        piece = deaf.recv(1 << 20)
        assert piece, "closed before all was answered"
        data += piece
    sender.join(20)
    assert len(re.findall(rb"HTTP/1\.1 200 OK\r\n", data)) == count
    assert data.count(b'"EventName":"Big ') >= 28 * count


# --- half gone ---------------------------------------------------------------------------------------------------------------------


def test_half_closed_after_the_request_is_still_answered(server):
    for sent, want in [(request_of("GET", "/users"), [200]), (request_of("POST", "/users", user_body("half@x.io")), [201]),
                       (request_of("GET", "/users") + request_of("GET", "/nowhere"), [200, 404])]:
        s = connect(server)
        s.sendall(sent)
        s.shutdown(socket.SHUT_WR)
        assert statuses(all_of(s)) == want


def test_half_closed_within_the_request_does_nothing(server):
    whole = request_of("POST", "/users", user_body("cut@x.io"))
    for cut in (1, 20, len(whole) - 30, len(whole) - 1):
        s = connect(server)
        s.sendall(whole[:cut])
        s.shutdown(socket.SHUT_WR)
        assert statuses(all_of(s)) in ([], [400]), cut
    assert server.sql("SELECT count(*) FROM users.users WHERE email = 'cut@x.io'") == [(0,)]


def test_reset_in_mid_body(server):
    whole = request_of("POST", "/users", user_body("reset@x.io"))
    for cut in (5, len(whole) - 30, len(whole) - 1):
        for _ in range(20):
            s = connect(server)
            s.sendall(whole[:cut])
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
    assert server.sql("SELECT count(*) FROM users.users WHERE email = 'reset@x.io'") == [(0,)]


def test_gone_before_the_answer(server):
    """Whether it was done is for the database to know; here: at most once each, and nobody else is disturbed."""
    for i in range(100):
        s = connect(server)
        s.sendall(request_of("POST", "/users", user_body(f"gone{i}@x.io")))
        s.close()
        if i % 10 == 0:
            assert server.get("/users").status == 200
    counts = server.sql("SELECT count(*), count(DISTINCT email) FROM users.users WHERE email LIKE 'gone%%'")[0]
    assert counts[0] == counts[1]


# --- more or less than announced -----------------------------------------------------------------------------------------------------


def test_200_pipelined_requests_are_answered_in_order(server):
    rng = seeded()
    wanted, sent = [], b""
    for i in range(200):
        kind = rng.choice(["user", "list", "nowhere", "bad"])
        sent += {"user": request_of("POST", "/users", user_body(f"pipe{i}@x.io")), "list": request_of("GET", "/users"),
                 "nowhere": request_of("GET", "/nowhere"), "bad": request_of("POST", "/users", b"{")}[kind]
        wanted.append({"user": 201, "list": 200, "nowhere": 404, "bad": 400}[kind])
    s = connect(server)
    sender = threading.Thread(target=lambda: (s.sendall(sent), s.shutdown(socket.SHUT_WR)))
    sender.start()
    got = all_of(s)
    sender.join(20)
    assert statuses(got) == wanted


def test_more_body_than_announced_is_the_next_request_and_refused(server):
    s = connect(server)
    body = user_body("more@x.io")
    s.sendall(request_of("POST", "/users", body + b"and more\r\n\r\n", length=len(body)))
    assert statuses(all_of(s)) == [201, 400]


def test_a_body_over_the_limit_is_not_read_to_its_end(server):
    s = connect(server)
    s.sendall(request_of("POST", "/users", b"", length=10**12))
    refused = statuses(s.recv(4096))
    assert refused in ([413], [500]), refused


def test_an_endless_chunked_body_is_cut(server):
    s = connect(server)
    s.sendall(request_of("POST", "/users", extra=b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"))
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    before = rss(server)
    sent = 0
    try:
        while sent < 200_000_000 and not select.select([s], [], [], 0)[0]:
            s.sendall(chunk)
            sent += len(chunk)
    except (ConnectionResetError, BrokenPipeError, TimeoutError):
        pass
    assert sent < 200_000_000, "it would have been read for ever"
    assert rss(server) - before < 128 << 20 or not MEMORY_TELLS


def test_an_endless_head_is_cut(server):
    s = connect(server)
    s.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n")
    sent = 0
    while not select.select([s], [], [], 0)[0]:
        s.sendall(b"X-%d: y\r\n" % sent)
        sent += 1
        assert sent < 100_000, "a head without end was read to its end"
    assert statuses(s.recv(4096)) == [431]


# --- many ----------------------------------------------------------------------------------------------------------------------------


def rss(server):
    status = pathlib.Path(f"/proc/{server.workers('http')[0]}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE_CONNECTIONS + 1000
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this machine allows {hard} descriptors to a process; {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("kind, sent, bytes_max", [
    ("silent", b"", CONNECTION_BYTES_MAX),
    ("served once", request_of("GET", "/nowhere"), CONNECTION_BYTES_MAX),
    ("in mid head", b"GET /events HTTP/1.1\r\nX: ", 3 * CONNECTION_BYTES_MAX),
], ids=lambda v: v if isinstance(v, str) else "")
def test_5000_idle_connections(cluster, server, many_descriptors, kind, sent, bytes_max):
    with Serve(cluster, env={"ROLES": "http"}) as crowded:
        for _ in range(50):
            assert crowded.get("/events").status == 200
        before = rss(crowded)
        idle = []
        try:
            for _ in range(IDLE_CONNECTIONS):
                s = connect(crowded)
                if sent:
                    s.sendall(sent)
                if kind == "served once":
                    assert statuses(s.recv(4096)) == [404]
                idle.append(s)
            for _ in range(50):
                assert crowded.get("/events").status == 200
            each = (rss(crowded) - before) / IDLE_CONNECTIONS
            print(f"{kind}: {each:.0f} bytes for each of {IDLE_CONNECTIONS} connections")
            assert each * IDLE_CONNECTIONS <= IDLE_CONNECTIONS * bytes_max + FIXED_BYTES or not MEMORY_TELLS, f"{each:.0f} bytes per connection"
            idle[-1].sendall(b"y\r\nHost: x\r\n\r\n" if kind == "in mid head" else request_of("GET", "/events"))
            assert statuses(idle[-1].recv(65536)) == [200], "an idle connection is still good"
        finally:
            for s in idle:
                s.close()
        assert crowded.get("/events").status == 200


def test_over_connections_max_clients_wait_their_turn(cluster, server):
    """Not refused, not dropped: they stand in the backlog until one of those inside leaves."""
    with Serve(cluster, env={"CONNECTIONS_MAX": "10", "ROLES": "http"}) as small:
        inside = [connect(small) for _ in range(10)]
        for s in inside:
            s.sendall(request_of("GET", "/nowhere"))
            assert statuses(s.recv(4096)) == [404]
        outside = connect(small)
        outside.sendall(request_of("GET", "/users"))
        for _ in range(20):  # whoever is inside is served, whoever is not waits
            inside[0].sendall(request_of("GET", "/nowhere"))
            assert statuses(inside[0].recv(4096)) == [404]
            assert select.select([outside], [], [], 0)[0] == []
        inside.pop().close()
        assert statuses(outside.recv(65536)) == [200]


def test_out_of_descriptors(cluster, server):
    """Accepting pauses and says so; those inside are served, and so is everybody when there is room again."""
    with Serve(cluster, env={"ROLES": "http"}) as poor:
        poor.stop()
        poor.command = ["prlimit", "--nofile=80", *poor.command]
        poor.start()
        inside = connect(poor)
        inside.sendall(request_of("GET", "/nowhere"))
        assert statuses(inside.recv(4096)) == [404]
        crowd = [connect(poor) for _ in range(100)]
        wait_for(lambda: any("accept_paused" in line for line in list(poor.log)), what="accepting to pause")
        inside.sendall(request_of("GET", "/events"))
        assert statuses(inside.recv(65536)) == [200]
        for s in crowd:
            s.close()
        assert poor.get("/events").status == 200
