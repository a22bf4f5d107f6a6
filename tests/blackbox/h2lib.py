"""HTTP/2 by hand (RFC 9113): frames as they are wanted, right or wrong. No Huffman, no dynamic table in what is sent."""
import select
import socket
import struct
import time

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK, PADDED = 0x1, 0x4, 0x1, 0x8
ERRORS = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
          "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
          "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"]


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    n = len(payload) if length is None else length
    return struct.pack(">I", n)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def number(value, bits):
    top = (1 << bits) - 1
    if value < top:
        return bytes([value])
    out, value = [top], value - top
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + [value])


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    return number(len(value), 7) + value


def field(name, value):
    return b"\x00" + text(name) + text(value)  # literal, not indexed, new name


def block(fields):
    return b"".join(field(n, v) for n, v in fields)


def request(path="/events", method="GET", more=(), authority="localhost", scheme="http"):
    return [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority), *more]


class Client:
    """One connection. Collects what comes; `until` waits for what a test wants to see."""

    def __init__(self, port, hello=True, settings=b"", sock=None):
        self.sock = sock or socket.create_connection(("127.0.0.1", port), timeout=30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = getattr(self.sock, "pending", lambda: 0)  # of TLS
        self.poll = select.poll()
        self.poll.register(self.sock, select.POLLIN)
        self.buffer, self.frames, self.closed = b"", [], False
        self.decoder, self.heads = hpack.Decoder(), {}  # stream: [fields, …]
        if hello:
            self.send(PREFACE + frame(SETTINGS, payload=settings))

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            pass  # the server has closed; what it said before is read all the same

    def ask(self, stream=1, fields=None, flags=END_STREAM | END_HEADERS):
        self.send(frame(HEADERS, flags, stream, block(fields or request())))

    def _read(self, limit):
        if not self.pending() and not self.poll.poll(limit * 1000):
            return False
        try:
            got = self.sock.recv(65536)
        except OSError:
            got = b""
        if not got:
            self.closed = True
            return False
        self.buffer += got
        while len(self.buffer) >= 9:
            n = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + n:
                break
            kind, flags, stream = self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], "big") & 0x7fffffff
            self.frames.append((kind, flags, stream, self.buffer[9:9 + n]))
            self.buffer = self.buffer[9 + n:]
            if kind == HEADERS:  # ours fit into one frame
                fields = self.decoder.decode(self.frames[-1][3])
                self.heads.setdefault(stream, []).append(fields)
            if kind == SETTINGS and not flags & ACK:
                self.send(frame(SETTINGS, ACK))
        return True

    def until(self, check, limit=30.0):
        deadline = time.monotonic() + limit
        while not check(self) and not self.closed and time.monotonic() < deadline:
            self._read(min(1.0, max(0.0, deadline - time.monotonic())))
        return bool(check(self))

    def of(self, kind, stream=None):
        return [f for f in self.frames if f[0] == kind and (stream is None or f[2] == stream)]

    def status(self, stream=1):
        heads = self.heads.get(stream)
        return int(dict(heads[0])[":status"]) if heads else None

    def body(self, stream=1):
        return b"".join(f[3] for f in self.of(DATA, stream))

    def ended(self, stream=1):
        return any(f[1] & END_STREAM for f in self.frames if f[2] == stream and f[0] in (DATA, HEADERS))

    def reset(self, stream=1):
        resets = self.of(RST_STREAM, stream)
        return ERRORS[int.from_bytes(resets[0][3][:4], "big")] if resets else None

    def window(self, stream):
        """How many bytes of bodies may be sent in all on a connection that has sent them on this stream only (RFC 9113 §6.9)."""
        first = 65535
        for _, flags, _, payload in self.of(SETTINGS):
            for at in range(0, len(payload) if not flags & ACK else 0, 6):
                if payload[at:at + 2] == b"\0\4":
                    first = int.from_bytes(payload[at + 2:at + 6], "big")
        more = {s: sum(int.from_bytes(f[3], "big") for f in self.of(WINDOW_UPDATE, s)) for s in (0, stream)}
        return min(65535 + more[0], first + more[stream])

    def goaway(self):
        """The last one's error: a drain announces itself with one that says NO_ERROR."""
        frames = self.of(GOAWAY)
        return ERRORS[int.from_bytes(frames[-1][3][4:8], "big")] if frames else None

    def alive(self):
        """The connection still answers a PING."""
        before = len(self.of(PING))
        self.send(frame(PING, payload=b"are you?"))
        return self.until(lambda c: len(c.of(PING)) > before) and not self.closed
