"""A server that does what servers should not: the path says which oddity. Each connection is a thread that reads requests one by one.

How to add an oddity: a function below, named as its path; it gets the conversation and the request, and may return CLOSE.
"""
import socket
import ssl
import struct
import threading

CLOSE = object()
ODDITIES = {}
RESETS = ("/reset-at-once", "/reset-in-body", "/silent-close")  # without a word, also over TLS


def oddity(function):
    ODDITIES["/" + function.__name__.replace("_", "-")] = function
    return function


class Request:
    def __init__(self, line, lines):
        self.method, self.target, self.version = line.split(" ")
        self.path, _, self.query = self.target.partition("?")
        self.lines = lines
        self.fields = {k.lower(): v for k, v in lines}
        self.body, self.trailers = b"", []


class Conversation:
    def __init__(self, server, sock):
        self.server, self.sock, self.kept = server, sock, b""

    def more(self):
        data = self.sock.recv(65536)
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
                raise ConnectionError("ended within a body")
        data, self.kept = self.kept[:n], self.kept[n:]
        return data

    def request(self):
        line = self.line()
        if not line:
            return None
        lines = []
        while field := self.line():
            name, _, value = field.partition(":")
            lines.append((name, value.strip()))
        return Request(line, lines)

    def pieces(self, request):
        if request.fields.get("transfer-encoding") == "chunked":
            while n := int((self.line() or "ended within a body").split(";")[0], 16):
                yield self.exactly(n)
                self.line()
            while field := self.line():
                name, _, value = field.partition(":")
                request.trailers.append((name, value.strip()))
        else:
            left = int(request.fields.get("content-length", 0))
            while left > 0:
                piece = self.exactly(min(left, 65536))
                left -= len(piece)
                yield piece

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))

    def answer(self, body=b"", status="200 OK", fields=""):
        self.send(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode("latin-1") + body)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return CLOSE

    def run(self):
        with self.sock:
            try:
                if self.server.tls:
                    self.sock.do_handshake()
                    self.server.handshakes.append(self.sock.session_reused)
                while request := self.request():
                    with self.server.lock:
                        self.server.seen.append(request)
                    if not request.path.startswith("/stream"):
                        request.body = b"".join(self.pieces(request)) if "expect" not in request.fields else b""
                    if ODDITIES.get(request.path, plain)(self, request) is CLOSE:
                        if self.server.tls and request.path not in RESETS:
                            self.sock.unwrap()  # close_notify: an end that is meant
                        return
            except (OSError, ValueError, ConnectionError):
                pass
            finally:
                with self.server.lock:
                    self.server.ended += 1


class OddServer:
    """tls: an ssl.SSLContext of the server's side."""

    def __init__(self, port=0, tls=None, host="127.0.0.1"):
        self.wanted, self.tls, self.host = port, tls, host

    def __enter__(self):
        self.seen, self.ended, self.connections, self.lock = [], 0, 0, threading.Lock()
        self.handshakes = []  # one for each that went well: was a session resumed?
        self.gate = threading.Event()
        self.socks = []
        self.listener = socket.create_server((self.host, self.wanted), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.url = f"http{'s' if self.tls else ''}://{self.host}:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            self.socks.append(sock)
            threading.Thread(target=Conversation(self, sock).run, daemon=True).start()

    def hang_up(self):
        """Closes what is open, as a server that is restarted does."""
        for sock in self.socks:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.socks.clear()

    def __exit__(self, *_):
        self.gate.set()
        self.listener.shutdown(socket.SHUT_RDWR)  # closing alone leaves accept() at work
        self.listener.close()
        self.hang_up()

    def last(self):
        return self.seen[-1]


# --- in order -------------------------------------------------------------------------------------------------------

@oddity
def plain(talk, request):
    talk.answer(b"fine", fields="X-Second: 2\r\nx-first: 1\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: Odd/1.0\r\n")


@oddity
def echo(talk, request):
    talk.answer(request.body, fields="Content-Type: application/octet-stream\r\n")


@oddity
def stream_echo(talk, request):
    """Answers while it reads."""
    talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in talk.pieces(request):
        talk.send(b"%x\r\n%s\r\n" % (len(piece), piece))
    talk.send("0\r\n\r\n")


@oddity
def stream_count(talk, request):
    n = sum(len(piece) for piece in talk.pieces(request))
    talk.answer(str(n).encode())


@oddity
def stream_late(talk, request):
    """Takes nothing of the body until the test opens the gate."""
    talk.server.gate.wait(120)
    stream_count(talk, request)


@oddity
def trailers(talk, request):
    talk.send("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1f\r\n"
              "Content-Length: 9\r\nX-More: yes\r\n\r\n")


@oddity
def early_hints(talk, request):
    talk.send("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: close\r\n\r\n")
    talk.send("HTTP/1.1 102 Processing\r\n\r\n")
    talk.answer(b"after")


@oddity
def continue_first(talk, request):
    talk.send("HTTP/1.1 100 Continue\r\n\r\n")
    talk.answer(b"".join(talk.pieces(request)))


@oddity
def continue_never(talk, request):
    talk.answer(b"no", status="417 Expectation Failed", fields="Connection: close\r\n")
    return CLOSE


@oddity
def until_close(talk, request):
    talk.send("HTTP/1.1 200 OK\r\nX-Kind: close\r\n\r\nall that comes")
    return CLOSE


@oddity
def old_version(talk, request):
    talk.send("HTTP/1.0 200 Fine\r\nContent-Length: 3\r\n\r\nold")
    return CLOSE


@oddity
def no_reason(talk, request):
    talk.send("HTTP/1.1 299\r\nContent-Length: 0\r\n\r\n")


@oddity
def hop_by_hop(talk, request):
    talk.answer(b"ok", fields="Connection: keep-alive, X-Private\r\nKeep-Alive: timeout=5\r\nX-Private: mine\r\nX-Public: all\r\n"
                              "Proxy-Connection: x\r\nUpgrade: h2c\r\n")


@oddity
def head_length(talk, request):
    talk.send("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nX-Head: 1\r\n\r\n")


@oddity
def no_content(talk, request):
    talk.send("HTTP/1.1 204 No Content\r\nX-Empty: 1\r\n\r\n")


@oddity
def not_modified(talk, request):
    talk.send('HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 77\r\n\r\n')


@oddity
def latin(talk, request):
    talk.answer(b"", fields="X-Name: caf\xe9\r\n")


@oddity
def large_head(talk, request):
    talk.answer(b"", fields="".join(f"X-{i}: {'v' * 100}\r\n" for i in range(400)))


@oddity
def big(talk, request):
    n = int(request.query)
    talk.send(f"HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n")
    piece = bytes(65536)
    while n > 0:
        talk.send(piece[:min(n, 65536)])
        n -= min(n, 65536)


def counted_bytes(n):
    """Bytes that say where they stand."""
    return b"".join(b"%07d\n" % i for i in range(n // 8 + 1))[:n]


@oddity
def counted(talk, request):
    talk.answer(counted_bytes(int(request.query)))


@oddity
def counted_half(talk, request):
    """Half of what it announces."""
    n = int(request.query)
    talk.send(f"HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n".encode() + counted_bytes(n)[:n // 2])
    return CLOSE


@oddity
def counted_slowly(talk, request):
    """The second half when the test opens the gate."""
    counted_half(talk, request)
    talk.server.gate.wait(120)
    talk.send(counted_bytes(int(request.query))[int(request.query) // 2:])


@oddity
def websocket(talk, request):
    talk.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello ")
    while talk.more():
        talk.send(talk.kept[::-1])
        talk.kept = b""
    talk.send("bye")
    return CLOSE


@oddity
def slowly(talk, request):
    """Nothing until the test opens the gate."""
    talk.server.gate.wait(120)
    talk.answer(b"at last")


@oddity
def half_slowly(talk, request):
    talk.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
    talk.server.gate.wait(120)
    talk.send("half")


@oddity
def refuse_early(talk, request):
    """Answers before it has read the body, and closes."""
    talk.answer(b"too much", status="413 Content Too Large", fields="Connection: close\r\n")
    return CLOSE


ODDITIES["/stream-refuse-early"] = ODDITIES["/refuse-early"]


# --- broken ---------------------------------------------------------------------------------------------------------

@oddity
def truncate_length(talk, request):
    talk.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    return CLOSE


@oddity
def truncate_chunks(talk, request):
    talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nonly this")
    return CLOSE


@oddity
def no_last_chunk(talk, request):
    talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n")
    return CLOSE


@oddity
def bad_chunk(talk, request):
    talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n-1\r\n\r\n")
    return CLOSE


@oddity
def truncate_head(talk, request):
    talk.send("HTTP/1.1 200 OK\r\nContent-Le")
    return CLOSE


@oddity
def silent_close(talk, request):
    return CLOSE


@oddity
def reset_at_once(talk, request):
    return talk.reset()


@oddity
def reset_in_body(talk, request):
    talk.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
    return talk.reset()


@oddity
def never_ending(talk, request):
    talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        talk.send(b"4000\r\n" + bytes(0x4000) + b"\r\n")


@oddity
def storm(talk, request):
    for _ in range(100):
        talk.send("HTTP/1.1 102 Processing\r\n\r\n")
    talk.answer(b"never seen")


@oddity
def splitting(talk, request):
    """One answer too many: the next client must not get it."""
    talk.answer(b"yours")
    talk.answer(b"not yours", fields="X-Stolen: 1\r\n")
    while talk.more():
        pass
    return CLOSE


@oddity
def late_body(talk, request):
    """A body behind the head that answers HEAD, when the next request is there already."""
    talk.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    if request.method == "HEAD" and not talk.kept:
        talk.more()
    talk.send("late body")


MALFORMED = {
    "two-lengths": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "equal-lengths": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "list-length": "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
    "negative-length": "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "plus-length": "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "hex-length": "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
    "vast-length": "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
    "length-and-chunks": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown-coding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "odd-coding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two-codings": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks-in-1.0": "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space-before-colon": "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
    "folded": "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "bare-lf": "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare-cr": "HTTP/1.1 200 OK\r\nX-A: b\rContent-Length: 5\r\n\r\n",
    "nul": "HTTP/1.1 200 OK\r\nX-A: b\0c\r\nContent-Length: 0\r\n\r\n",
    "no-name": "HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 0\r\n\r\n",
    "no-colon": "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 0\r\n\r\n",
    "other-protocol": "SSH-2.0-OpenSSH_9.2\r\n",
    "version-2": "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version-1.2": "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status-2-digits": "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status-4-digits": "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status-sign": "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n",
    "status-099": "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "switch-unasked": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "empty-head": "\r\n\r\n",
    "huge-head": "HTTP/1.1 200 OK\r\n" + "X-A: " + "a" * 70000 + "\r\nContent-Length: 0\r\n\r\n",
}


def malformed(text):
    def run(talk, request):
        talk.send(text)
        return CLOSE
    return run


for name, text in MALFORMED.items():
    ODDITIES["/malformed/" + name] = malformed(text)
