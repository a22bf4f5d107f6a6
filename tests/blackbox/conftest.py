"""Black-box tests: a real usher, a real Postgres, real sockets.

`server` is one `usher dev` for the whole run, emptied before each test that asks for it. A test that kills things starts its own with
`Usher(...)`. USHER names the binary (default build/usher).
"""
import http.client
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

import psycopg2
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("USHER", str(ROOT / "build" / "usher"))
START_LIMIT = float(os.environ.get("USHER_START_LIMIT", "60"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(check, limit=20.0, what="condition"):
    """Asks again until check() is true; the bound is a safety net, never the measure."""
    deadline = time.monotonic() + limit
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {limit} s")
        time.sleep(0.01)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:200]!r}>"


def waiting_in(schema):
    """SQL: how many messages of a context's outbox are not published yet. Rows stay a while after that; marks say how far relays came."""
    return f"""(SELECT count(*) FROM {schema}.outbox o
        LEFT JOIN LATERAL (SELECT * FROM {schema}.outbox_marks m WHERE m.bucket = o.bucket ORDER BY m.position DESC LIMIT 1) m ON true
        WHERE NOT coalesce(txid_visible_in_snapshot(o.xid, m.from_snapshot::txid_snapshot) OR (o.position <= m.after
              AND txid_visible_in_snapshot(o.xid, m.to_snapshot::txid_snapshot)), false))"""


def run_sql(connect, text, *values):
    """One transaction on a connection of its own. A test that empties or alters tables beside a running usher can be the one
    that Postgres picks to end a deadlock: nothing of it has happened then, and it begins anew."""
    for attempt in range(10):
        connection = connect()
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(text, values)
                return cursor.fetchall() if cursor.description else None
        except psycopg2.errors.DeadlockDetected:
            if attempt == 9:
                raise
        finally:
            connection.close()


class Usher:
    """One `usher dev` with its own data folder."""

    def __init__(self, data=None, seed=False, env=None, args=(), own_group=False):
        self.own_data = data is None
        self.data = data or tempfile.mkdtemp(prefix="usher-test-")
        os.chmod(self.data, 0o755)
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.command = [BINARY, "dev", "--listen", f"127.0.0.1:{self.port}", "--data", self.data, *args]
        if not seed:
            self.command.append("--no-seed")
        self.env = {**os.environ, "LOG_FORMAT": "json", **(env or {})}
        self.own_group = own_group
        self.process = None
        self.log = []

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env=self.env, start_new_session=self.own_group)
        ready = threading.Event()

        def read_out():
            for line in self.process.stdout:
                self.log.append(line)
                if line.startswith("ready"):
                    ready.set()
            ready.set()

        def read_err():
            for line in self.process.stderr:
                self.log.append(line)

        self.threads = [threading.Thread(target=t, daemon=True) for t in (read_out, read_err)]
        for thread in self.threads:
            thread.start()
        if not ready.wait(START_LIMIT) or self.process.poll() is not None:
            self.process.kill()
            raise AssertionError("usher dev did not become ready:\n" + "".join(self.log))
        return self

    def stop(self, sig=signal.SIGTERM, limit=30):
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(sig)
        status = self.process.wait(limit)
        for thread in self.threads:
            thread.join(10)
        self.process = None
        return status

    def close(self):
        try:
            self.stop()
        finally:
            if self.own_data:
                shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    # --- talking to it ---

    def request(self, method, path, body=None, headers=None, timeout=20):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            sent = dict(headers or {})
            if body is not None and not isinstance(body, (bytes, str)):
                body = json.dumps(body)
            if body is not None and "Content-Type" not in sent:
                sent["Content-Type"] = "application/json"
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()},
                          response.read().decode("utf-8", "surrogateescape"))
        finally:
            connection.close()

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body, **kw):
        return self.request("POST", path, body, **kw)

    def put(self, path, body, **kw):
        return self.request("PUT", path, body, **kw)

    # --- its database, processes and command line ---

    def url(self):
        for line in (pathlib.Path(self.data) / "usher.env").read_text().splitlines():
            name, _, value = line.partition("=")
            if name == "DATABASE_URL":
                return value
        raise AssertionError("usher.env has no DATABASE_URL")

    def sql(self, text, *values):
        return run_sql(lambda: psycopg2.connect(self.url()), text, *values)

    def cli(self, *args, env=None, check=None):
        done = subprocess.run([BINARY, *args], capture_output=True, text=True, cwd=ROOT,
                              env={**os.environ, "DATABASE_URL": self.url(), **(env or {})})
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        return done

    def reset(self):
        self.cli("reset", "--data", self.data, "--yes", check=0)

    def workers(self, role=None):
        """Pids of the worker processes, by role as ps shows it."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or not self.is_mine(int(entry.name)):
                continue
            try:
                name = (entry / "comm").read_text().strip()
            except OSError:
                continue
            if name.startswith("usher:"):
                found.setdefault(name.removeprefix("usher:"), []).append(int(entry.name))
        return found.get(role, []) if role else found

    def is_mine(self, pid):
        while pid > 1:
            if pid == self.process.pid:
                return True
            try:
                pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                return False
        return False

    # --- what tests often need ---

    def new_event(self, name="Gig", day=2, price=25.5, month=1, year=2095):
        answer = self.post("/events", {"EventName": name, "StartDate": f"{year}-{month:02d}-{day:02d}T10:00:00Z",
                                       "EndDate": f"{year}-{month:02d}-{day:02d}T12:00:00Z",
                                       "Venue": "FirstDirectArenaLeeds", "Price": price})
        assert answer.status == 201, answer
        return answer.json()

    def new_user(self, email="ann@example.com", name="Ann"):
        answer = self.post("/users", {"FullName": name, "Email": email, "UserType": "Customer"})
        assert answer.status == 201, answer
        return answer.json()

    def tickets(self, event, count=15):
        return wait_for(lambda: (rows := self.get(f"/events/{event}/tickets").json()) and len(rows) == count and
                        sorted(rows, key=lambda r: r["SeatNumber"]), what=f"{count} tickets of {event}")


@pytest.fixture(scope="session")
def shared_server():
    with Usher() as usher:
        yield usher


@pytest.fixture
def server(shared_server):
    shared_server.reset()
    return shared_server
