"""Under load: a worker's crash costs only what it had in hand, a reload costs nothing; and what workers may not do, in the real roles."""
import contextlib
import os
import pathlib
import pwd
import signal
import subprocess

import pytest

from conftest import BINARY, wait_for
from faultlib import Cluster, Serve, stat_of
from handoverlib import Service
from loadgen import LoadGenerator


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


def status_of(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def is_instrumented():
    """Sanitizer builds do not filter; `usher doctor` of that build says so."""
    return "build-asan" in BINARY or "build-valgrind" in BINARY


def test_every_role_is_confined(cluster):
    with Service(cluster, env={"HTTP_WORKERS": "2"}) as server:
        workers = server.workers()
        assert workers.keys() == {"http", "relay", "consume", "telemetry"}
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
