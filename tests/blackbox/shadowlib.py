"""What the tests of shadow and stages share: two back ends that answer what they are told, and a gateway before them."""
import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import psycopg2

from conftest import BINARY, ROOT, START_LIMIT, Answer, free_port, run_sql, wait_for

EVENT = "11111111-2222-4333-8444-555555555555"


def event(price=12.5, **more):
    return {"EventName": "Gig", "StartDate": "2095-01-02T10:00:00+00:00", "EndDate": "2095-01-02T12:00:00+00:00",
            "Venue": "FirstDirectArenaLeeds", "Price": price, "Id": EVENT, **more}


class Backend:
    """An HTTP server whose answers are `answer(handler, body) -> (status, headers, bytes)`; None closes without one."""

    def __init__(self, name, answer=None, port=0):
        self.name, self.seen, self.answer = name, [], answer or (lambda h, body: self.json(event()))
        self.lock = threading.Lock()
        backend = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                with backend.lock:
                    backend.seen.append((self.command, self.path, dict(self.headers), body))
                got = backend.answer(self, body)
                if got is None:
                    self.close_connection = True
                    return
                status, headers, content = got
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = serve

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    @staticmethod
    def json(value, status=200, headers=None):
        return status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, json.dumps(value).encode()

    def count(self, method=None, mirrored=None):
        with self.lock:
            return sum(1 for m, _, headers, _ in self.seen
                       if (method is None or m == method) and (mirrored is None or ("Usher-Mirror" in headers) == mirrored))

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Gateway:
    """`usher gateway` on a database that somebody else runs."""

    def __init__(self, database, legacy, new, env=None, workers=1):
        self.port = free_port()
        self.database = database
        self.env = {**os.environ, "LOG_FORMAT": "json", "DATABASE_URL": database, "LEGACY_URL": legacy, "NEW_URL": new,
                    "GATEWAY_LISTEN": f"127.0.0.1:{self.port}", "GATEWAY_WORKERS": str(workers),
                    "GATEWAY_ACCESS_LOG": "off", "SHADOW_RECHECK": "50ms", **(env or {})}
        self.log = []

    def __enter__(self):
        self.process = subprocess.Popen([BINARY, "gateway"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                                        env=self.env, cwd=ROOT)
        self.thread = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.thread.start()
        wait_for(self.answers, START_LIMIT, "the gateway serves")
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.thread.join(10)

    def answers(self):
        assert self.process.poll() is None, "".join(self.log)
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def request(self, method, path, body=None, headers=None, timeout=30):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()},
                          response.read().decode("utf-8", "surrogateescape"))
        finally:
            connection.close()

    def get(self, path="/events/" + EVENT, **kw):
        return self.request("GET", path, **kw)

    def cli(self, *args, check=0):
        done = subprocess.run([BINARY, *args], capture_output=True, text=True, cwd=ROOT, env=self.env)
        assert check is None or done.returncode == check, done.stdout + done.stderr
        return done

    def sql(self, text, *values):
        return run_sql(lambda: psycopg2.connect(self.database), text, *values)

    def clear(self):
        for table in ("clusters", "samples", "expected_differences", "stages", "stage_changes", "tallies", "traffic",
                      "id_pairs", "callers", "effects"):
            self.sql(f"DELETE FROM gateway.{table}")
        self.sql("NOTIFY gateway_stages")

    def stage(self, context, part, stage, *args, check=0):
        return self.cli("cutover", stage, context, part, "--reason", "test", *args, check=check)

    def diffs(self):
        return json.loads(self.cli("diffs", "list", "--json").stdout)

    def tally(self, route="GET /events/{id}"):
        rows = [r for r in self.diffs()["routes"] if r["route"] == route]
        return rows[0] if rows else {k: 0 for k in ("compared", "equal", "real", "lag", "expected", "noisy", "skipped")}

    def pids(self, role):
        """Workers by role, as ps shows them."""
        found = []
        for pid in subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout.split():
            try:
                with open(f"/proc/{pid}/comm") as f:
                    if f.read().strip() == "usher:" + role:
                        found.append(int(pid))
            except OSError:
                pass
        return found


CONTEXTS = ("events", "users", "tickets")


def everything(server):
    """Each table's rows as text: a count would miss an UPDATE. Without what relay and jobs of the running server write of themselves."""
    tables = server.sql("SELECT schemaname || '.' || relname FROM pg_stat_user_tables WHERE schemaname = ANY(%s)", list(CONTEXTS))
    own = ("outbox", "job", "cron")
    return {name: server.sql(f"SELECT t::text FROM {name} AS t ORDER BY 1") for (name,) in tables if not any(w in name for w in own)}


def kept_user(server):
    """A user that is really there, and known to Tickets too: nothing of it is under way any more."""
    id_ = server.new_user("kept@example.com")
    wait_for(lambda: server.sql("SELECT 1 FROM tickets.inbox"), what="its message is consumed")
    return id_


def metrics(port, name):
    """A counter by its only label's value, as Prometheus sees it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    rows = [line for line in text.splitlines() if line.startswith(name)]
    return {line.split('="')[1].split('"')[0]: float(line.rsplit(" ", 1)[1]) for line in rows if '="' in line}


@contextmanager
def hammer(gateway, threads=4, method="GET", path="/events/" + EVENT, body=None, headers=None):
    """Requests without a pause until the block ends; yields the list of (status, seconds) so far; -1: no answer."""
    stop, results, lock = threading.Event(), [], threading.Lock()

    def run():
        while not stop.is_set():
            began = time.monotonic()
            try:
                status = gateway.request(method, path, body=body, headers=headers).status
            except (OSError, http.client.HTTPException):
                status = -1
            with lock:
                results.append((status, time.monotonic() - began))

    workers = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield results
    finally:
        stop.set()
        for worker in workers:
            worker.join(60)
