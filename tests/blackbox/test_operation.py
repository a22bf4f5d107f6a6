"""Under load: a worker's crash costs only what it had in hand, a reload costs nothing; and what workers may not do, in the real roles."""
import contextlib
import os
import pathlib
import pwd
import signal
import subprocess

import pytest

from conftest import BINARY, START_LIMIT, Usher, free_port, wait_for
from faultlib import Cluster, Load, Serve, check_books, family, seeded, send_all, stat_of, wait_gone
from handoverlib import Service
from loadgen import LoadGenerator, Truncated, Wire, request
from test_faults import fill, small_disk  # noqa: F401


@pytest.fixture(scope="module")
def cluster():
    with Cluster(settings="max_connections = 200\n") as cluster:
        yield cluster


def client_ports(pid, port):
    """Ports of the clients whose connections this process holds."""
    inodes = set()
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(entry)
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    ports = set()
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes and int(fields[1].split(":")[1], 16) == port and fields[3] == "01":
            ports.add(int(fields[2].split(":")[1], 16))
    return ports


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_crash_fails_only_what_the_worker_had_in_hand(cluster, how):
    """It is stopped first, so that what it holds can be looked up; then it dies of the signal. Who waits in its backlog is served by
    the next one, and who is with another worker sees nothing."""
    with Service(cluster, env={"HTTP_WORKERS": "2"}) as server:
        with LoadGenerator(server.port, keep_alive=4, new=2, pipelined=2) as load:
            load.go_on(100)
            for _ in range(2):
                victim = server.workers("http")[0]
                before = len(load.failures)
                os.kill(victim, signal.SIGSTOP)
                wait_for(lambda: stat_of(victim)[1] == "T", what="the worker to stand")
                in_hand = client_ports(victim, server.port)
                os.kill(victim, how)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGCONT)
                wait_for(lambda: len(new := server.workers("http")) == 2 and victim not in new, what="a new worker")
                load.go_on(100)
                failed = load.failed_ports[before:]
                assert len(failed) == len(set(failed)) and set(failed) <= in_hand, (in_hand, load.failures)
        assert all("Truncated" in f or "Reset" in f or "BrokenPipe" in f for f in load.failures), load.failures


def test_a_reload_under_load_costs_no_request_and_no_connection(cluster, tmp_path):
    conf = tmp_path / "usher.conf"
    conf.write_text("QUIRKS_OFF=\n")
    with Service(cluster, env={"USHER_CONFIG": str(conf), "HTTP_WORKERS": "2"}) as server:
        workers = server.workers()
        with LoadGenerator(server.port, keep_alive=4, new=0, pipelined=3) as load:
            for n in range(6):
                load.go_on(60)
                conf.write_text(("QUIRKS_OFF=all\n", "LOG_LEVEL=info\n", "HTTP_WORKERS=nonsense\n")[n % 3])
                os.kill(server.pid, signal.SIGHUP)
                wait_for(lambda: len(server.lines('"reloaded"')) + len(server.lines('"not reloaded"')) > n, what="the reload")
            load.go_on(100)
        assert load.failures == []
        assert load.connections == 7, "each client kept its one connection"
        assert server.workers() == workers


def test_the_log_may_lose_its_reader(cluster):
    """As when the program behind a pipe ends: lines are lost, the service is not."""
    port = free_port()
    reader, writer = os.pipe()
    env = {**os.environ, "DATABASE_URL": cluster.url, "LOG_FORMAT": "json", "ROLES": "http"}
    process = subprocess.Popen([BINARY, "serve", "--listen", f"127.0.0.1:{port}"], stderr=writer, env=env)
    os.close(writer)
    processes = {}
    try:
        wait_for(lambda: serves(port), START_LIMIT, "service")
        os.close(reader)
        workers = family(process.pid).keys() - {process.pid}
        processes.update(family(process.pid))
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        wait_for(lambda: (now := family(process.pid)).keys() - {process.pid} - workers and processes.update(now) is None,
                 what="a new worker")
        wait_for(lambda: serves(port), what="service again")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        send_all(processes, signal.SIGKILL)
        process.kill()
        process.wait()


def serves(port):
    try:
        with contextlib.closing(Wire(("127.0.0.1", port))) as wire:
            wire.send(request("GET", "/events", close=True))
            return wire.read()[0] == 200
    except (OSError, Truncated):
        return False


def status_of(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def is_instrumented():
    """Sanitizer builds do not filter; `usher doctor` of that build says so."""
    return "build-asan" in BINARY or "build-valgrind" in BINARY


def test_every_role_is_confined(cluster):
    with Service(cluster, env={"HTTP_WORKERS": "2"}) as server:
        workers = server.workers()
        assert workers.keys() == {"http", "relay", "consume", "jobs", "telemetry"}
        for pid in [pid for pids in workers.values() for pid in pids]:
            status = status_of(pid)
            assert status["NoNewPrivs"] == "1" and int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
            assert status["Seccomp"] == ("0" if is_instrumented() else "2")
        assert len(server.tickets(server.new_event())) == 15, "and every role works"


def test_confinement_can_be_switched_off(cluster):
    with Serve(cluster, env={"CONFINE": "false"}) as server:
        for pids in server.workers().values():
            status = status_of(pids[0])
            assert status["NoNewPrivs"] == "0" and status["Seccomp"] == "0"


def doctor(cluster, **env):
    done = subprocess.run([BINARY, "doctor"], capture_output=True, text=True, env={**os.environ, "DATABASE_URL": cluster.url, **env})
    return [line for line in done.stdout.splitlines() if "confinement" in line]


def test_doctor_tells_about_confinement(cluster):
    on, off = doctor(cluster), doctor(cluster, CONFINE="false")
    assert on[0].startswith("warning" if is_instrumented() else "ok"), on
    assert off[0].startswith("warning") and "CONFINE" in off[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_binds_and_workers_are_somebody_else(cluster):
    """Also after a hand-over and a crash. Files of root are out of reach, a port below 1024 is not."""
    nobody = pwd.getpwnam("nobody")
    with Service(cluster, env={"RUN_AS": "nobody:nogroup"}) as server:
        def check():
            for pids in server.workers().values():
                status = status_of(pids[0])
                assert set(status["Uid"].split()) == {str(nobody.pw_uid)} and set(status["Gid"].split()) == {str(nobody.pw_gid)}
                assert "0" not in status["Groups"].split()
            assert server.get("/events").status == 200

        check()
        server.hand_over()
        check()
        server.kill("http")
        check()
        worker = server.workers("http")[0]
        os.kill(server.pid, signal.SIGKILL)
        wait_for(lambda: (s := stat_of(worker)) is None or s[1] in "ZX", what="the worker to go with its supervisor")


def test_run_as_is_checked(cluster):
    for value, words in (("no-such-user", "there is no user no-such-user"), ("root:no-such-group", "there is no group no-such-group")):
        done = subprocess.run([BINARY, "config"], capture_output=True, text=True, env={**os.environ, "RUN_AS": value})
        assert done.returncode == 2 and words in done.stderr, done.stderr


# --- kill -9 of what the other fault tests leave alive ----------------------------------------------------------------------


def test_telemetrys_process_killed(cluster):
    """Nobody who serves notices; counters go on, because they are not its own."""
    rng = seeded()
    with Service(cluster) as server, LoadGenerator(server.port, 2, 1, 1) as load:
        for _ in range(3):
            load.go_on(rng.randrange(10, 60))
            server.kill("telemetry")
        load.go_on(50)
        assert load.failures == []
        wait_for(lambda: serves_health(server), what="health to be answered again")


def serves_health(server):
    with contextlib.closing(Wire(("127.0.0.1", server.admin_port))) as wire:
        wire.send(request("GET", "/health/ready", close=True))
        return wire.read()[0] == 200


def test_the_supervisor_below_usher_dev_killed():
    """`usher dev` then ends with 1 and leaves nothing, and the next one goes on where it was."""
    usher = Usher()
    try:
        usher.start()
        with Load(usher) as load:
            load.go_on(20)
            processes = family(usher.process.pid)
            serving = next(stat_of(pid)[0] for pid in usher.workers("http"))
            os.kill(serving, signal.SIGKILL)
            assert usher.process.wait(60) == 1
            wait_gone(processes, "everything below it, Postgres included")
            usher.start()
            load.go_on(20)
        check_books(usher, load)
    finally:
        usher.close()


def test_the_disk_that_the_log_is_on_is_full(cluster, small_disk):
    """Requests are served, also after a worker's death that cannot be told; lines come again when there is room."""
    log = f"{small_disk}/log"
    with Serve(cluster, env={"ROLES": "http", "LOG_LEVEL": "debug"}) as server:
        server.stop()
        server.command = ["sh", "-c", f'exec "$0" "$@" 2>>{log}', *server.command]
        server.process = subprocess.Popen(server.command, env=server.env)
        server.threads = []
        wait_for(lambda: serves(server.port), START_LIMIT, "service")
        filler = fill(small_disk)
        with LoadGenerator(server.port, 2, 1, 1) as load:
            load.go_on(50)
            server.kill("http")
            load.failures.clear()
            load.go_on(50)
        assert load.failures == []
        os.remove(filler)
        server.kill("http")
        wait_for(lambda: '"event":"worker ready"' in pathlib.Path(log).read_text().splitlines()[-1], what="lines again")
