"""A load generator that forgives nothing: what a client of a service that is never down must not see.

Three kinds of client, each in threads of its own: one connection kept alive, a new connection for each request, and several requests in
one write (pipelined). A request fails when it is refused, reset, cut short, left unanswered or answered with anything but 2xx; nothing is
tried again. Only what HTTP allows is obeyed: after `Connection: close` the next request goes to a new connection.

    with LoadGenerator(port) as load:
        load.go_on(200)         # until 200 more requests have been answered
    assert load.failures == []
"""
import collections
import socket
import threading

from conftest import wait_for

TIMEOUT = 60
PIPELINED = 6


class Truncated(Exception):
    pass


class Wire:
    """One connection, read by the rules of RFC 9112 as far as usher uses them."""

    def __init__(self, address):
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(TIMEOUT)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, TIMEOUT)
        self.buffer = b""
        self.open = True
        self.port = self.socket.getsockname()[1] if isinstance(address, tuple) else None

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise Truncated(f"closed after {len(self.buffer)} bytes")
        self.buffer += data

    def read(self):
        """(status, body) of the next answer."""
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        status = int(lines[0].split()[1])
        length = 0 if status == 204 else int(fields["content-length"])
        while len(self.buffer) < length:
            self.more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        self.open = fields.get("connection", "").lower() != "close"
        return status, body

    def close(self):
        self.socket.close()


def request(method, path, body=b"", close=False):
    head = f"{method} {path} HTTP/1.1\r\nHost: load\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return (head + ("Connection: close\r\n" if close else "") + "\r\n").encode() + body


class LoadGenerator:
    """kinds: how many clients of each kind. make(n): the n-th request as (method, path, body)."""

    def __init__(self, address, keep_alive=3, new=2, pipelined=2, make=lambda n: ("GET", "/events", b"")):
        self.address = ("127.0.0.1", address) if isinstance(address, int) else address
        self.make = make
        self.failures = []
        self.failed_ports = []  # of connections that were open; None: could not be opened
        self.connections = 0
        self.counts = collections.Counter()
        self.number = 0
        self.lock = threading.Lock()
        self.ended = threading.Event()
        kinds = ((keep_alive, self.keep_alive), (new, self.new), (pipelined, self.pipelined))
        self.threads = [threading.Thread(target=self.run, args=(kind,), daemon=True) for count, kind in kinds for _ in range(count)]

    # --- what a client does, again and again

    def connect(self):
        wire = Wire(self.address)
        with self.lock:
            self.connections += 1
        return wire

    def keep_alive(self, wire):
        wire.send(request(*self.next()))
        self.take(wire, "keep-alive")

    def new(self, wire):
        wire.send(request(*self.next(), close=True))
        self.take(wire, "new")

    def pipelined(self, wire):
        """All that is in one write has arrived when any of it has; so all of it is answered."""
        wire.send(b"".join(request(*self.next()) for _ in range(PIPELINED)))
        for _ in range(PIPELINED):
            self.take(wire, "pipelined")

    def next(self):
        with self.lock:
            self.number += 1
            return self.make(self.number)

    def take(self, wire, kind):
        status, body = wire.read()
        with self.lock:
            self.counts[kind] += 1
            if not 200 <= status < 300:
                self.failures.append(f"{kind}: answered {status} {body[:200]!r}")

    def run(self, kind):
        wire = None
        while not self.ended.is_set():
            try:
                wire = wire or self.connect()
                kind(wire)
            except (OSError, Truncated, ValueError, KeyError) as e:
                with self.lock:
                    self.failures.append(f"{kind.__name__}: {type(e).__name__} {e}")
                    self.failed_ports.append(wire and wire.port)
                    self.counts["failed"] += 1
                if wire is not None:
                    wire.open = False
                self.ended.wait(0.01)
            if wire is not None and not wire.open:
                wire.close()
                wire = None
        if wire is not None:
            wire.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join(2 * TIMEOUT)
        assert not any(t.is_alive() for t in self.threads), "a client that never ends"

    def answered(self):
        with self.lock:
            return sum(n for kind, n in self.counts.items() if kind != "failed")

    def go_on(self, count, limit=60):
        """Returns when `count` more requests have been answered, and each kind has had some of them."""
        wanted = self.answered() + count
        wait_for(lambda: self.answered() >= wanted, limit, f"{count} more answers; failures: {self.failures[:3]}")
