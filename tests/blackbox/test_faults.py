"""kill -9 of every kind of process at random points, orderly ends, and a full disk: nothing that was answered is lost, nothing
stays undone, nothing keeps running that should not.
"""
import contextlib
import http.client
import os
import pathlib
import signal
import socket
import subprocess
import tempfile

import psycopg2
import pytest

from conftest import Usher, wait_for, waiting_in
from faultlib import SEATS, Cluster, Load, Serve, check_books, family, seeded, still_there, wait_gone


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def server(cluster):
    cluster.sql("TRUNCATE events.events, events.outbox, events.outbox_marks, users.users, users.outbox, users.outbox_marks, tickets.tickets, tickets.reservations, "
                "tickets.events, tickets.users, tickets.inbox, bus.messages, bus.dead")
    with Serve(cluster) as server:
        yield server


def log_has(server, text):
    return any(text in line for line in list(server.log))


# --- kill -9 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["http", "relay", "consume"])
def test_a_worker_killed(server, role):
    rng = seeded()
    with Load(server) as load:
        for _ in range(3):
            load.go_on(rng.randrange(5, 40))
            server.kill(role)
        load.go_on(20)
    assert load.statuses() <= {201, 503, None}, load.bodies
    check_books(server, load)


def test_all_workers_killed_at_once(server):
    rng = seeded()
    with Load(server) as load:
        for _ in range(2):
            load.go_on(rng.randrange(5, 40))
            old = server.workers()
            for pid in [pid for pids in old.values() for pid in pids]:
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: (new := server.workers()).keys() == old.keys() and
                     not {p for pids in new.values() for p in pids} & {p for pids in old.values() for p in pids}, what="new workers")
        load.go_on(20)
    check_books(server, load)


def test_the_supervisor_killed(server):
    rng = seeded()
    with Load(server) as load:
        for _ in range(3):
            load.go_on(rng.randrange(5, 40))
            processes = family(server.process.pid)
            server.process.kill()
            server.process.wait()
            wait_gone(processes, "every worker of a killed supervisor")
            server.start()
        load.go_on(20)
    check_books(server, load)


def test_usher_dev_killed():
    """Its Postgres and its workers end with it, and the next one goes on where it was."""
    rng = seeded()
    usher = Usher()
    try:
        usher.start()
        with Load(usher) as load:
            for _ in range(2):
                load.go_on(rng.randrange(5, 40))
                processes = family(usher.process.pid)
                assert len(processes) > 5
                usher.process.kill()
                usher.process.wait()
                wait_gone(processes, "everything below a killed usher dev")
                usher.start()
            load.go_on(20)
        check_books(usher, load)
    finally:
        usher.close()


def test_usher_dev_starts_its_postgres_again():
    with Usher() as usher:
        workers = usher.workers()
        with Load(usher) as load:
            load.go_on(20)
            data_folder = usher.sql("SHOW data_directory")[0][0]
            postmaster = int((pathlib.Path(data_folder) / "postmaster.pid").read_text().split()[0])
            os.kill(postmaster, signal.SIGKILL)
            load.go_on(20)
        assert usher.workers() == workers
        assert load.statuses() <= {201, 503}, load.bodies
        check_books(usher, load)


def test_killed_between_commit_and_publish(server):
    """The old system lost the message for ever here: an event without tickets, whose slot nobody else could book."""
    relay = server.workers("relay")[0]
    os.kill(relay, signal.SIGSTOP)
    events = [server.new_event(f"Gap {day}", day=day) for day in range(1, 11)]
    assert server.sql(f"SELECT {waiting_in('events')}") == [(10,)]
    assert server.sql("SELECT count(*) FROM tickets.tickets") == [(0,)]
    os.kill(relay, signal.SIGKILL)
    for event in events:
        server.tickets(event)


def test_killed_between_publish_and_consume(server):
    consumer = server.workers("consume")[0]
    os.kill(consumer, signal.SIGSTOP)
    events = [server.new_event(f"Gap {day}", day=day) for day in range(1, 11)]
    wait_for(lambda: server.sql("SELECT count(*) FROM bus.messages WHERE queue = 'tickets-inbox-events'") == [(10,)], what="messages")
    os.kill(consumer, signal.SIGKILL)
    for event in events:
        server.tickets(event)


def test_published_twice_by_a_relay_that_died_before_it_could_forget(server):
    """The relay is held at its mark by a lock of ours and dies there; the next one publishes again; the inbox knows the id."""
    relay = server.workers("relay")[0]
    os.kill(relay, signal.SIGSTOP)
    event = server.new_event()
    ours = server.cluster.connect()
    with ours.cursor() as cursor:
        cursor.execute("LOCK TABLE events.outbox_marks IN SHARE MODE")
        os.kill(relay, signal.SIGCONT)
        server.tickets(event)
        before = server.sql("SELECT ctid::text, xmin::text, * FROM tickets.tickets ORDER BY id")
        held = "SELECT pid FROM pg_stat_activity WHERE application_name = 'usher/events' AND wait_event_type = 'Lock'"
        backend = wait_for(lambda: server.sql(held), what="the relay to wait for our lock")[0][0]
        server.kill("relay")
        server.sql("SELECT pg_terminate_backend(%s, 10000)", backend)
        assert server.sql(f"SELECT {waiting_in('events')}") == [(1,)]
    ours.rollback()
    ours.close()
    wait_for(lambda: server.sql(f"SELECT {waiting_in('events')} + (SELECT count(*) FROM bus.messages)") == [(0,)],
             what="the message to be through again")
    assert server.sql("SELECT ctid::text, xmin::text, * FROM tickets.tickets ORDER BY id") == before, "a second effect"
    assert server.sql("SELECT count(*) FROM tickets.inbox") == [(1,)]


def test_messages_wait_for_those_who_carry_them(cluster, server):
    """A machine that only serves HTTP: its messages lie in the outbox until a relay and a consumer run somewhere."""
    server.stop()
    with Serve(cluster, env={"ROLES": "http"}) as alone:
        event = alone.new_event()
        assert alone.get(f"/events/{event}/tickets").json() == []
    assert cluster.sql(f"SELECT {waiting_in('events')}") == [(1,)]
    with Serve(cluster, env={"ROLES": "relay,consume"}):
        wait_for(lambda: cluster.sql("SELECT count(*) FROM tickets.tickets") == [(SEATS,)], what="tickets")


def test_a_worker_that_always_dies_ends_everything(cluster):
    """A broken installation should be seen, not hidden."""
    with Serve(cluster, env={"RESTART_INTENSITY": "3"}) as server:
        processes = family(server.process.pid)
        for _ in range(2):
            server.kill("relay")
            processes.update(family(server.process.pid))
        os.kill(server.workers("relay")[0], signal.SIGKILL)
        assert server.process.wait(20) == 1
        wait_gone(processes, "every worker")


# --- orderly ends ----------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def users_held(server):
    """A lock that whoever writes users waits for, until rollback."""
    ours = server.cluster.connect()
    try:
        ours.cursor().execute("LOCK TABLE users.users IN SHARE MODE")
        yield ours
    finally:
        ours.close()


def post_user(server, email):
    """Sent; its answer is not read yet."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/users", '{"FullName": "Ann", "Email": "%s", "UserType": 0}' % email, {"Content-Type": "application/json"})
    return connection


def refused(server):
    """By the kernel, or reset by a worker that listens no longer."""
    try:
        with socket.create_connection(("127.0.0.1", server.port), 5) as s:
            s.settimeout(0.2)
            return s.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def wait_for_lock(server):
    wait_for(lambda: server.sql("SELECT 1 FROM pg_stat_activity WHERE application_name = 'usher/users' AND wait_event_type = 'Lock'"),
             what="the request to be in work")


def test_sigterm_lets_requests_in_flight_finish(cluster):
    with Serve(cluster, env={"REQUEST_TIMEOUT": "20s", "DRAIN_TIMEOUT": "20s"}) as server:
        processes = family(server.process.pid)
        idle = socket.create_connection(("127.0.0.1", server.port), 20)
        half = socket.create_connection(("127.0.0.1", server.port), 20)
        body = b'{"FullName": "Half", "Email": "half@drain.io", "UserType": 0}'
        half.sendall(b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
                     % len(body))
        assert half.recv(100).startswith(b"HTTP/1.1 100 ")
        with users_held(server) as ours:
            waiting = post_user(server, "waiting@drain.io")
            wait_for_lock(server)
            server.process.send_signal(signal.SIGTERM)
            assert idle.recv(100) == b"", "an idle connection is closed by a drain"
            wait_for(lambda: refused(server), what="new connections to be refused")
            half.sendall(body)
            ours.rollback()
            answer = waiting.getresponse()
            assert answer.status == 201 and answer.headers["Connection"] == "close"
            answer.read()
            assert half.recv(1000).startswith(b"HTTP/1.1 201 ")
        assert server.stop() == 0
        assert still_there(processes) == []
        emails = cluster.sql("SELECT email FROM users.users WHERE email LIKE '%%@drain.io' ORDER BY 1")
        assert emails == [("half@drain.io",), ("waiting@drain.io",)]


def test_a_drain_has_an_end(cluster):
    with Serve(cluster, env={"REQUEST_TIMEOUT": "60s", "DRAIN_TIMEOUT": "200ms"}) as server:
        processes = family(server.process.pid)
        with users_held(server):
            waiting = post_user(server, "late@drain.io")
            wait_for_lock(server)
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(20)
            wait_gone(processes, "every worker")
            try:
                assert waiting.getresponse().status == 503
            except (OSError, http.client.HTTPException):
                print("closed unanswered")
        assert cluster.sql("SELECT 1 FROM users.users WHERE email = 'late@drain.io'") == []


def test_sigterm_under_load(cluster, server):
    """Every answer that was sent is true, and a client that saw its connection close may ask the next server."""
    with Load(server) as load:
        for _ in range(3):
            load.go_on(20)
            processes = family(server.process.pid)
            assert server.stop() == 0, "".join(server.log[-20:])
            assert still_there(processes) == []
            server.start()
        load.go_on(20)
    assert load.statuses() <= {201, None}, load.bodies
    check_books(server, load)


def test_sighup_drops_nobody(server):
    workers = server.workers()
    kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    kept.request("GET", "/events")
    assert kept.getresponse().read() == b"[]"
    socket_before = kept.sock
    with Load(server) as load:
        for round_number in range(1, 6):
            load.go_on(10)
            server.process.send_signal(signal.SIGHUP)
            wait_for(lambda: sum('"reloaded"' in line for line in list(server.log)) >= round_number, what="the reload")
        load.go_on(10)
    kept.request("GET", "/users")
    assert kept.getresponse().status == 200 and kept.sock is socket_before
    assert load.statuses() == {201}, load.bodies
    assert server.workers() == workers
    check_books(server, load)


# --- a full disk -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk():
    folder = tempfile.mkdtemp(prefix="usher-disk-")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode != 0:
        os.rmdir(folder)
        pytest.skip(f"mounting a tmpfs is not permitted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
    os.rmdir(folder)


def fill(folder):
    """All that is left, to the last byte."""
    filler = f"{folder}/filler"
    with open(filler, "wb", buffering=0) as f:
        for size in (1 << 20, 4096):
            try:
                while True:
                    f.write(b"\0" * size)
            except OSError:
                pass
    return filler


@contextlib.contextmanager
def full_disk_under_load(cluster, server, folder):
    """The body runs while the disk is full and has been felt; afterwards all must be as if it had only taken longer."""
    workers = server.workers()
    with Load(server) as load:
        for pid in workers["consume"]:
            os.kill(pid, signal.SIGSTOP)  # so that there is much to consume when there is no space
        load.go_on(150)
        filler = fill(folder)
        wait_for(lambda: 503 in load.statuses(), 60, "the disk to be felt")
        for pid in workers["consume"]:
            os.kill(pid, signal.SIGCONT)
        yield
        os.remove(filler)
        # It could not even recover perhaps, for the space that is there now; then its administrator starts it again.
        load.go_on(20, meanwhile=lambda: cluster.process.poll() is None or cluster.start())
    assert server.workers() == workers, "a worker died of a full disk"
    assert load.statuses() <= {201, 503}, load.bodies
    check_books(server, load)


def test_a_full_disk(small_disk):
    """No space for rows: writes are 503, reads go on, and no message is given up for it."""
    with tempfile.TemporaryDirectory(prefix="usher-wal-") as elsewhere:
        os.chmod(elsewhere, 0o777)
        with Cluster(folder=small_disk, wal_folder=elsewhere) as cluster, Serve(cluster) as server:
            with full_disk_under_load(cluster, server, small_disk):
                wait_for(lambda: any('"event":"consumer"' in line and "No space left" in line for line in list(server.log)),
                         what="the consumer to feel it")
                assert server.get("/events").status == 200
                answer = server.post("/events", {"EventName": "Full", "StartDate": "2089-01-01", "EndDate": "2089-01-02", "Venue": 5})
                assert answer.status in (201, 503) and (answer.status == 201 or int(answer.headers["retry-after"]) >= 1)


def test_a_full_disk_under_the_transaction_log(small_disk):
    """Postgres panics, and may fail again when it tries to recover."""
    with Cluster(folder=small_disk) as cluster, Serve(cluster) as server:
        with full_disk_under_load(cluster, server, small_disk):
            with pytest.raises(psycopg2.OperationalError):
                for _ in range(1000):
                    cluster.sql("SELECT pg_logical_emit_message(true, 'fill', repeat('x', 500000))")
            assert "PANIC" in pathlib.Path(cluster.log).read_text()
            assert server.get("/events").status in (200, 503)
            assert server.get("/nowhere").status == 404
