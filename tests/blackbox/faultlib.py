"""What fault tests need besides conftest: a Postgres of their own that can be stopped, killed, frozen and filled up, `usher serve` on
it, clients that note every answer, and the books that must balance afterwards.

How to add a fault: 1. a method of Cluster (or of Serve) that does it and returns when it is done; 2. a test that runs Load across it;
3. check_books() at the end. Nothing here sleeps to synchronise: what happens at a random moment is counted in answers of the load.
"""
import atexit
import contextlib
import datetime
import functools
import glob
import http.client
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import psycopg2

from conftest import BINARY, START_LIMIT, Usher, free_port, run_sql, wait_for, waiting_in

SEATS = 15


def seeded():
    """Every random choice of a test comes from here; USHER_SEED repeats a run."""
    seed = int(os.environ.get("USHER_SEED", random.randrange(2**32)))
    print(f"USHER_SEED={seed}")
    return random.Random(seed)


# --- processes -------------------------------------------------------------------------------------------------------------


def stat_of(pid):
    """(parent, state, start time) or None when there is no such process."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return int(fields[1]), fields[0], int(fields[19])


def family(pid):
    """The process and all below it as {pid: start time}: pids come again, the pair does not."""
    stats = {int(e.name): s for e in pathlib.Path("/proc").iterdir() if e.name.isdigit() and (s := stat_of(e.name))}
    found = [pid] if pid in stats else []
    for parent in found:
        found += [child for child, s in stats.items() if s[0] == parent]
    return {p: stats[p][2] for p in found}


def still_there(processes):
    return [p for p, started in processes.items() if (s := stat_of(p)) and s[2] == started and s[1] not in "ZX"]


def send_all(processes, what):
    """A signal to those that are still there; one may end in between."""
    for pid in still_there(processes):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)


def wait_gone(processes, what):
    wait_for(lambda: not still_there(processes), what=f"{what} to be gone")


# --- Postgres --------------------------------------------------------------------------------------------------------------


def pg_binary(name):
    own = os.environ.get("USHER_PG_BIN")
    folders = [own] if own else sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[-2]))
    return f"{folders[-1]}/{name}"


def as_postgres(*command):
    """Postgres refuses to run as root; and none of ours outlives us."""
    other = ["--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *other, "--pdeathsig", "QUIT", "--", *command]


# fsync is off: here processes die, not machines. Commits stay synchronous and WAL segments small, so that crash recovery is quick.
SETTINGS = """
listen_addresses = ''
unix_socket_permissions = 0777
max_connections = 100
shared_buffers = 16MB
fsync = off
min_wal_size = 2MB
max_wal_size = 16MB
timezone = 'UTC'
"""


class Cluster:
    """A Postgres with usher's schemas in it. Begins as a copy of one that was made once per test run."""

    def __init__(self, folder=None, wal_folder=None, settings=""):
        begun_from = template()  # before anything of ours is there to be left behind
        self.own_folder = folder is None
        self.folder = str(folder or tempfile.mkdtemp(prefix="usher-fault-"))
        os.chmod(self.folder, 0o755)
        self.data = f"{self.folder}/data"
        self.process = None
        subprocess.run(["cp", "-a", begun_from, self.data], check=True)
        if wal_folder is not None:
            subprocess.run(["cp", "-a", f"{self.data}/pg_wal", wal_folder], check=True)
            shutil.rmtree(f"{self.data}/pg_wal")
            os.symlink(f"{wal_folder}/pg_wal", f"{self.data}/pg_wal")
        with open(f"{self.data}/postgresql.conf", "a") as conf:
            conf.write(settings)
        self.run = tempfile.mkdtemp(prefix="usher-sock-")
        os.chmod(self.run, 0o777)
        self.log = f"{self.run}/log"
        self.url = f"postgresql:///usher?host={self.run}&user=usher"

    def start(self):
        """A backend that was forked in the moment of its postmaster's death is in nobody's list, and holds the shared memory for a moment
        longer: then it is tried again."""
        until = time.monotonic() + START_LIMIT
        while True:
            with open(self.log, "a") as log:
                self.process = subprocess.Popen(as_postgres(pg_binary("postgres"), "-D", self.data, "-k", self.run),
                                                stdout=log, stderr=log, cwd="/")
            try:
                wait_for(self.answers, START_LIMIT, "Postgres to answer")
                return self
            except AssertionError as error:
                if "pre-existing shared memory block" not in str(error) or time.monotonic() > until:
                    raise

    def answers(self):
        assert self.process.poll() is None, "Postgres ended at once:\n" + pathlib.Path(self.log).read_text()[-2000:]
        try:
            self.connect("postgres").close()
        except psycopg2.OperationalError:
            return False
        return True

    def connect(self, database="usher"):
        """Ours may write whatever a test has told the role of usher."""
        return psycopg2.connect(f"postgresql:///{database}?host={self.run}&user=usher&connect_timeout=10",
                                options="-c default_transaction_read_only=off")

    def stop(self, how=signal.SIGINT):
        """SIGINT: fast; SIGQUIT: immediate; SIGKILL: the postmaster alone, its backends then end by themselves."""
        processes = family(self.process.pid)
        self.process.send_signal(how)
        self.process.wait(30)
        wait_gone(processes, "Postgres")

    def crash(self):
        """One backend dies: Postgres throws all others out and recovers by itself."""
        before = self.sql("SELECT pg_postmaster_start_time()")
        victim = self.sql("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'usher/%%' LIMIT 1")[0][0]
        os.kill(victim, signal.SIGKILL)
        wait_gone({victim: (stat_of(victim) or (0, "X", 0))[2]}, "the backend")
        return before

    def freeze(self):
        """Answers nothing and refuses nothing, as a machine that hangs."""
        frozen = family(self.process.pid)
        send_all(frozen, signal.SIGSTOP)
        return frozen

    def thaw(self, frozen):
        send_all(frozen, signal.SIGCONT)

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.thaw(family(self.process.pid))
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.run, ignore_errors=True)
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    def sql(self, text, *values):
        return run_sql(self.connect, text, *values)


@functools.lru_cache(maxsize=1)
def template():
    """A migrated cluster, at rest; made once, since initdb takes longer than most tests here."""
    folder = tempfile.mkdtemp(prefix="usher-template-")
    atexit.register(shutil.rmtree, folder, True)
    os.chmod(folder, 0o777)
    data = f"{folder}/data"
    subprocess.run(as_postgres(pg_binary("initdb"), "-D", data, "-U", "usher", "-A", "trust", "-E", "UTF8", "--locale=C",
                               "--no-sync", "--wal-segsize=1", "--no-instructions"), check=True, capture_output=True, cwd="/")
    with open(f"{data}/postgresql.conf", "a") as conf:
        conf.write(SETTINGS)
    with open(f"{folder}/log", "w") as log:
        server = subprocess.Popen(as_postgres(pg_binary("postgres"), "-D", data, "-k", folder), stdout=log, stderr=log, cwd="/")
    url = f"postgresql:///{{}}?host={folder}&user=usher"

    def made():
        try:
            connection = psycopg2.connect(url.format("postgres"))
        except psycopg2.OperationalError:
            assert server.poll() is None, pathlib.Path(f"{folder}/log").read_text()
            return False
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE usher")
        connection.close()
        return True

    wait_for(made, START_LIMIT, "Postgres to answer")
    subprocess.run([BINARY, "migrate", "up"], check=True, capture_output=True, env={**os.environ, "DATABASE_URL": url.format("usher")})
    server.send_signal(signal.SIGINT)
    server.wait(30)
    return data


# --- usher -----------------------------------------------------------------------------------------------------------------


class Serve(Usher):
    """`usher serve` on a Cluster: what a system administrator runs, without the care that `usher dev` takes of its Postgres."""

    pass_fds = ()

    def __init__(self, cluster, env=None):
        self.cluster = cluster
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.own_data, self.data = False, cluster.folder
        self.command = [BINARY, "serve", "--listen", f"127.0.0.1:{self.port}"]
        self.env = {**os.environ, "LOG_FORMAT": "json", "DATABASE_URL": cluster.url, "RESTART_INTENSITY": "1000",
                    "REQUEST_TIMEOUT": "1s", **(env or {})}
        self.process = None
        self.log = []
        self.threads = []

    def url(self):
        return self.cluster.url

    def sql(self, text, *values):
        return self.cluster.sql(text, *values)

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.env,
                                        pass_fds=self.pass_fds)
        seen = []

        def read(stream=self.process.stdout):
            for line in stream:
                self.log.append(line)
                seen.append(line)

        self.threads = [threading.Thread(target=read, daemon=True)]
        self.threads[0].start()
        roles = self.env.get("ROLES", "http,relay,consume,jobs").split(",")
        workers = len(roles) + ("http" in roles) * (int(self.env.get("HTTP_WORKERS", "1")) - 1)

        def ready():
            assert self.process.poll() is None, "usher serve ended at once:\n" + "".join(seen)
            return sum('"worker ready"' in line for line in seen) >= workers

        try:
            wait_for(ready, START_LIMIT, "workers to be ready")
        except AssertionError:
            self.process.kill()
            raise
        return self

    def kill(self, role):
        """kill -9 of all workers of a role; returns when others have taken their place."""
        old = self.workers(role)
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(new := self.workers(role)) == len(old) and not set(new) & set(old), what=f"a new {role}")

    def close(self):
        if self.process is not None:
            processes = family(self.process.pid)
            try:
                self.stop()
            finally:
                send_all(processes, signal.SIGKILL)


# --- load, and the books -----------------------------------------------------------------------------------------------------


class Load:
    """Clients that create events without pause, each in a slot of its own. Notes what was asked and what came back (None: no
    answer); asks nothing twice, since whether an unanswered request was done is what the books must tell."""

    numbers = itertools.count(1)

    def __init__(self, server, clients=4):
        self.server = server
        self.ended = threading.Event()
        self.notes = {}  # event name: (status, id)
        self.bodies = {}  # status: one of its bodies
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(clients)]

    def run(self):
        connection = None
        while not self.ended.is_set():
            number = next(self.numbers)
            start = datetime.datetime(2090, 1, 1) + datetime.timedelta(minutes=2 * number)
            name = f"Load {number}"
            body = {"EventName": name, "StartDate": start.isoformat() + "Z", "Venue": 5, "Price": number,
                    "EndDate": (start + datetime.timedelta(minutes=1)).isoformat() + "Z"}
            self.notes[name] = (None, None)
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
                connection.request("POST", "/events", json.dumps(body), {"Content-Type": "application/json"})
                response = connection.getresponse()
                text = response.read().decode()
                self.notes[name] = (response.status, json.loads(text) if response.status == 201 else None)
                self.bodies[response.status] = text
                if response.status == 201:
                    continue
            except (OSError, http.client.HTTPException):
                connection = None
            self.ended.wait(0.02)  # a client does not storm a server that is away

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join(40)
        assert not any(t.is_alive() for t in self.threads), "a request that is never answered"

    def created(self):
        return [note[1] for note in list(self.notes.values()) if note[0] == 201]

    def statuses(self):
        return {note[0] for note in list(self.notes.values())}

    def go_on(self, count, what="the load to go on", limit=150, meanwhile=lambda: None):
        """Returns when `count` more events have been created."""
        wanted = len(self.created()) + count

        def enough():
            meanwhile()
            return len(self.created()) >= wanted
        wait_for(enough, limit, what)


def check_books(server, load):
    """Each answered 201 exists, nothing exists that nobody asked for, every event has its tickets, and no message is left or dead."""

    def settled():
        return server.sql(f"""SELECT {waiting_in("events")} + (SELECT count(*) FROM bus.messages)
            + (SELECT count(*) FROM events.events e
                WHERE (SELECT count(*) FROM tickets.tickets t WHERE t.event_id = e.id) <> %s)""", SEATS)[0][0] == 0

    try:
        wait_for(settled, 30, "every event to have its tickets")
    except AssertionError:
        print(server.sql("""SELECT e.event_name, (SELECT count(*) FROM tickets.tickets t WHERE t.event_id = e.id)
            FROM events.events e WHERE (SELECT count(*) FROM tickets.tickets t WHERE t.event_id = e.id) <> %s LIMIT 20""", SEATS))
        print(server.sql(f"SELECT 'outbox', {waiting_in('events')} UNION SELECT 'messages', count(*) FROM bus.messages"))
        print("".join(server.log[-40:]))
        raise
    assert server.sql("SELECT queue, type, reason FROM bus.dead") == []
    stored = server.sql("SELECT id::text, event_name FROM events.events WHERE event_name LIKE 'Load %%'")
    by_name = {name: id for id, name in stored}
    assert len(by_name) == len(stored), "an event was made twice"
    for name, (status, id) in load.notes.items():
        if status == 201:
            assert by_name.get(name) == id, f"{name} was answered 201 and is not there"
        elif status is not None and status != 503:
            assert name not in by_name, f"{name} was answered {status} and is there"
    assert server.sql("SELECT count(*) FROM tickets.tickets t WHERE NOT EXISTS (SELECT FROM events.events e WHERE e.id = t.event_id)") == [(0,)]
