"""A gateway in front of something, and raw sockets to talk to it."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading

from conftest import BINARY, START_LIMIT, free_port, wait_for


class Gateway:
    """One `usher gateway`. `routes` is the routes file's content, if any."""

    def __init__(self, legacy=None, new=None, routes=None, env=None, args=()):
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.folder = tempfile.TemporaryDirectory(prefix="usher-gateway-")
        self.env = {**os.environ, "LOG_FORMAT": "json", "DRAIN_TIMEOUT": "20s", **(env or {})}
        for name, value in (("LEGACY_URL", legacy), ("NEW_URL", new)):
            if value:
                self.env[name] = value
        if routes is not None:
            self.routes_path = pathlib.Path(self.folder.name) / "routes.json"
            self.write_routes(routes)
            self.env["GATEWAY_ROUTES"] = str(self.routes_path)
        self.command = [BINARY, "gateway", "--listen", f"127.0.0.1:{self.port}", *args]
        self.log = []

    def write_routes(self, routes):
        text = routes if isinstance(routes, str) else json.dumps(routes)
        beside = self.routes_path.with_suffix(".new")
        beside.write_text(text)
        beside.rename(self.routes_path)

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env)
        self.out = []
        self.threads = [threading.Thread(target=self.read, args=a, daemon=True)
                        for a in ((self.process.stderr, self.log), (self.process.stdout, self.out))]
        for thread in self.threads:
            thread.start()
        workers = int(self.env.get("GATEWAY_WORKERS", "1"))
        wait_for(lambda: self.process.poll() is not None or len(self.events("worker ready")) >= workers, START_LIMIT,
                 "the gateway's workers")
        assert self.process.poll() is None, "".join(self.log)
        return self

    @staticmethod
    def read(stream, lines):
        for line in stream:
            lines.append(line)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            for thread in self.threads:
                thread.join(10)
            self.process.stdout.close()
            self.process.stderr.close()
            self.folder.cleanup()

    def events(self, name):
        found = []
        for line in list(self.log):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if row.get("event") == name:
                found.append(row)
        return found

    def reasons(self):
        return [row["reason"] for row in self.events("gateway.upstream_failed")]

    def told(self, reason):
        wait_for(lambda: reason in self.reasons(), what=f"{reason} in the log")

    def reload(self):
        before = len(self.events("reloaded")) + len(self.events("not reloaded"))
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(self.events("reloaded")) + len(self.events("not reloaded")) > before, 30, "the reload")

    def memory_kb(self):
        """The most that any worker has held. Sanitizers keep what was freed, so that nothing can be said of theirs."""
        workers = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        held = [pathlib.Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0] for pid in workers]
        return 0 if "asan" in str(BINARY) else max(map(int, held))

    def connect(self):
        return Wire(socket.create_connection(("127.0.0.1", self.port), timeout=60))

    def ask(self, request):
        """One request's bytes on a connection of its own; the answer."""
        with self.connect() as wire:
            wire.send(request)
            return wire.answer(head_only=request.startswith(b"HEAD"))


class Reply:
    def __init__(self, status, reason, lines, body, trailers, whole):
        self.status, self.reason, self.lines, self.body, self.trailers, self.whole = status, reason, lines, body, trailers, whole

    def get(self, name):
        return [v for k, v in self.lines if k.lower() == name.lower()]

    def __repr__(self):
        return f"<{self.status} {self.lines} {self.body[:200]!r} whole={self.whole}>"


class Wire:
    """A socket that reads HTTP answers as they are, order and case of fields kept."""

    def __init__(self, sock):
        self.sock, self.kept = sock, b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def more(self):
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            data = b""
        self.kept += data
        return bool(data)

    def line(self):
        while b"\r\n" not in self.kept:
            if not self.more():
                return None
        line, self.kept = self.kept.split(b"\r\n", 1)
        return line.decode("latin-1")

    def exactly(self, n):
        while len(self.kept) < n:
            if not self.more():
                break
        data, self.kept = self.kept[:n], self.kept[n:]
        return data

    def head(self):
        line = self.line()
        if line is None:
            return None
        parts = line.split(" ", 2)
        lines = []
        while True:
            field = self.line()
            if not field:
                break
            name, _, value = field.partition(":")
            lines.append((name, value.strip()))
        return int(parts[1]), parts[2] if len(parts) > 2 else "", lines

    def answer(self, head_only=False):
        """The next answer, interim ones included; None: the connection ended before one."""
        head = self.head()
        if head is None:
            return None
        status, reason, lines = head
        fields = {k.lower(): v for k, v in lines}
        body, trailers, whole = b"", [], True
        if status < 200 or status in (204, 304) or head_only:
            pass
        elif fields.get("transfer-encoding") == "chunked":
            whole = False
            while (size := self.line()) is not None:
                n = int(size.split(";")[0], 16)
                if n == 0:
                    while (field := self.line()):
                        name, _, value = field.partition(":")
                        trailers.append((name, value.strip()))
                    whole = field == ""
                    break
                piece = self.exactly(n)
                body += piece
                if len(piece) < n or self.line() is None:
                    break
        elif "content-length" in fields:
            n = int(fields["content-length"])
            body = self.exactly(n)
            whole = len(body) == n
        else:
            while self.more():
                pass
            body, self.kept = self.kept, b""
        return Reply(status, reason, lines, body, trailers, whole)

    def ended(self):
        """True when the other end has closed, nothing more having come."""
        return not self.kept and not self.more()
