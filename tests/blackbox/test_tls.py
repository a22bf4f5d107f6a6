"""TLS: who gets which certificate, who is let in, what is refused, and new certificates without a dropped request."""
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import threading

import pytest

from certs import Authority, openssl
from conftest import BINARY, ROOT, Usher, free_port, wait_for
from h2lib import Client


class TlsUsher(Usher):
    """Plain HTTP on port, TLS on tls_port; certificates in the folder `certs`, settings in a file that SIGHUP reads again."""

    def __init__(self, tmp, env=None, **settings):
        self.tls_port = free_port()
        self.certs = pathlib.Path(tmp) / "certs"
        self.certs.mkdir()
        self.ca = Authority(tmp)
        self.ca.issue("server", to=self.certs)
        self.config = pathlib.Path(tmp) / "usher.conf"
        self.defaults = {"TLS_CERT": f"{self.certs}/server.crt", "TLS_KEY": f"{self.certs}/server.key", **settings}
        self.settings = dict(self.defaults)
        self.write()
        super().__init__(seed=True, env={"USHER_CONFIG": str(self.config), **(env or {})})
        at = self.command.index("--listen") + 1
        self.command[at] += f",https://127.0.0.1:{self.tls_port}"

    def write(self):
        self.config.write_text("".join(f"{k}={v}\n" for k, v in self.settings.items()))

    def reload(self, words='"reloaded"'):
        before = sum(words in line for line in self.log)
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: sum(words in line for line in self.log) > before, what=words)

    def renew(self):
        """As certbot does: new files are renamed over the old ones."""
        self.ca.issue("next")
        for end in ("key", "crt"):
            os.replace(self.ca.folder / f"next.{end}", self.certs / f"server.{end}")
        return openssl("x509", "-in", self.certs / "server.crt", "-noout", "-serial").strip().split("=")[1]

    def configure(self, **settings):
        """Settings and a new certificate, and SIGHUP; back when the (one) worker serves by them."""
        self.settings = {**self.defaults, **settings}
        self.write()
        serial = self.renew()
        self.reload()
        wait_for(lambda: self.serial() == serial, what="the new settings")

    def serial(self):
        with socket.create_connection(("127.0.0.1", self.tls_port), timeout=30) as raw:
            with self.context().wrap_socket(raw, server_hostname="localhost") as tls:
                return tls.getpeercert()["serialNumber"]

    def context(self, **kw):
        context = ssl.create_default_context(cafile=str(self.ca.crt))
        for name, value in kw.items():
            setattr(context, name, value)
        return context

    def ask(self, context=None, host="localhost", path="/events", timeout=30):
        """(status, body, the server's certificate) of one request on a new connection."""
        with socket.create_connection(("127.0.0.1", self.tls_port), timeout=timeout) as raw:
            with (context or self.context()).wrap_socket(raw, server_hostname=host) as tls:
                tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                answer = http.client.HTTPResponse(tls)
                answer.begin()
                return answer.status, answer.read().decode(), tls.getpeercert()

    def client_context(self, name, issuer=None):
        crt, key = (issuer or self.ca).issue(name)
        context = self.context()
        context.load_cert_chain(crt, key)
        return context


def name_of(certificate):
    return dict(field[0] for field in certificate["subject"])["commonName"]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with TlsUsher(tmp_path_factory.mktemp("tls")) as usher:
        yield usher


@pytest.fixture
def tls(running):
    yield running
    if running.settings != running.defaults:
        running.configure()


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    with TlsUsher(tmp_path_factory.mktemp("two"), HTTP_WORKERS=2) as usher:
        yield usher


def curl(usher, *args):
    return subprocess.run(["curl", "-s", "--max-time", "60", "--cacert", str(usher.ca.crt), *args], capture_output=True, text=True)


@pytest.mark.parametrize("version,want", [("--http1.1", "1.1"), ("--http2", "2")])
def test_curl_over_both_versions(tls, version, want):
    done = curl(tls, version, "-w", "\n%{http_version}", f"https://localhost:{tls.tls_port}/events")
    body, got = done.stdout.rsplit("\n", 1)
    assert got == want and body == tls.get("/events").body


def test_s_client_sees_1_3_only_and_alpn(tls):
    def s_client(*args):
        return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{tls.tls_port}", "-servername", "localhost",
                               "-CAfile", str(tls.ca.crt), *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, errors="replace")
    done = s_client("-alpn", "h2,http/1.1")
    assert "TLSv1.3" in done.stdout and "ALPN protocol: h2" in done.stdout and "Verify return code: 0 (ok)" in done.stdout
    assert "ALPN protocol: http/1.1" in s_client("-alpn", "http/1.1").stdout
    assert "no application protocol" in s_client("-alpn", "nonsense").stderr
    assert "protocol version" in s_client("-tls1_2").stderr
    assert "Compression: NONE" in done.stdout


def test_plain_http_on_the_tls_port_is_told(tls):
    for method in ("GET", "DELETE"):
        done = subprocess.run(["curl", "-s", "-i", "-X", method, f"http://127.0.0.1:{tls.tls_port}/"], capture_output=True, text=True)
        assert done.stdout.startswith("HTTP/1.1 400 Bad Request") and "https://" in done.stdout, done


def test_garbage_and_half_handshakes_leave_no_trace(tls):
    for data in (b"\x00" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 300, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"\x80\x2e\x01\x03\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", tls.tls_port), timeout=30) as raw:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(4096):
                pass
    for cut in range(0, 250, 25):  # a ClientHello that ends in its middle
        hello = client_hello()
        with socket.create_connection(("127.0.0.1", tls.tls_port), timeout=30) as raw:
            raw.sendall(hello[:cut])
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(4096):
                pass
    assert tls.ask()[0] == 200
    assert all("worker died" not in line for line in tls.log)


def client_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def test_a_handshake_byte_by_byte(tls):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", tls.tls_port), timeout=30) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def drive(step):
            while True:
                try:
                    got = step()
                except ssl.SSLWantReadError:
                    got = None
                for byte in outgoing.read():
                    raw.sendall(bytes([byte]))
                if got is not None:
                    return got
                incoming.write(raw.recv(65536))

        drive(lambda: client.do_handshake() or True)
        drive(lambda: client.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
        assert drive(lambda: client.read(12)) == b"HTTP/1.1 200"


def test_without_close_notify_nothing_is_answered(tls):
    """A request that may have been cut off is none: a body that the end of the stream would complete is never taken for whole."""
    with socket.create_connection(("127.0.0.1", tls.tls_port), timeout=30) as raw:
        with tls.context().wrap_socket(raw, server_hostname="localhost") as s:
            s.sendall(b"POST /users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
            socket.socket.shutdown(s, socket.SHUT_WR)  # under TLS: no close_notify
            with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                assert s.recv(4096)
    assert tls.ask()[0] == 200


def session_of(usher, context, session=None):
    """(was resumed, the next session, whether there was an answer) of a connection."""
    with socket.create_connection(("127.0.0.1", usher.tls_port), timeout=30) as raw:
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as s:
            s.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b""
            while got := s.recv(65536):
                answer += got
            return s.session_reused, s.session, answer.startswith(b"HTTP/1.1 200")


def test_sessions_are_resumed_by_every_worker(two_workers):
    context = two_workers.context()
    _, session, _ = session_of(two_workers, context)
    for _ in range(12):
        resumed, session, answered = session_of(two_workers, context, session)
        assert resumed and answered


def test_names_choose_certificates_from_a_folder(tls):
    tls.ca.issue("zebra", "DNS:zebra.example", to=tls.certs)
    tls.ca.issue("wild", "DNS:*.wild.example", to=tls.certs)
    tls.configure(TLS_CERT=tls.certs, TLS_KEY="")
    assert name_of(tls.ask(host="zebra.example")[2]) == "zebra"
    assert name_of(tls.ask(host="localhost")[2]) == "next"
    assert name_of(tls.ask(host="a.wild.example")[2]) == "wild"
    for host in ("unknown.example", "a.b.wild.example"):
        with pytest.raises(ssl.SSLCertVerificationError):
            tls.ask(host=host)


REFUSED = (ssl.SSLError, ConnectionError, http.client.BadStatusLine)


def test_clients_show_certificates(tls, tmp_path):
    tls.configure(TLS_CLIENT_CA=tls.ca.crt)
    assert tls.ask(tls.client_context("friend"))[0] == 200
    stranger = tls.client_context("stranger", Authority(tmp_path, "other"))
    for context in (tls.context(), stranger):
        with pytest.raises(REFUSED):
            tls.ask(context)
    tls.configure(TLS_CLIENT_CA=tls.ca.crt, TLS_CLIENT_AUTH="optional")
    assert tls.ask()[0] == 200
    with pytest.raises(REFUSED):
        tls.ask(stranger)


def test_tickets_do_not_outlive_the_authorities(tls, tmp_path):
    """A session that began under one authority for clients is not resumed under another."""
    tls.configure(TLS_CLIENT_CA=tls.ca.crt)
    context = tls.client_context("friend")
    _, session, answered = session_of(tls, context)
    assert answered and session_of(tls, context, session)[0], "under the same one it is"
    tls.configure(TLS_CLIENT_CA=Authority(tmp_path, "other").crt)
    try:
        assert not session_of(tls, context, session)[2]
    except REFUSED:
        pass


def test_new_certificates_under_load_drop_nothing(two_workers):
    usher = two_workers
    stop, failures, done, seen = threading.Event(), [], [0, 0], set()

    def short():
        while not stop.is_set():
            try:
                status, _, certificate = usher.ask()
                assert status == 200
                seen.add(certificate["serialNumber"])
                done[0] += 1
            except Exception as e:  # noqa: BLE001 - each is a failure that a client would see
                failures.append(repr(e))

    def long():
        connection = http.client.HTTPSConnection("localhost", usher.tls_port, timeout=30, context=usher.context())
        while not stop.is_set():
            try:
                connection.request("GET", "/events")
                answer = connection.getresponse()
                assert answer.status == 200 and answer.read()
                done[1] += 1
            except Exception as e:  # noqa: BLE001
                failures.append(repr(e))

    threads = [threading.Thread(target=t) for t in (short, short, long)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            serial = usher.renew()
            usher.reload()
            wait_for(lambda: serial in seen, limit=60, what="the new certificate")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures, failures[:5]
    assert done[0] > 5 and done[1] > 5


@pytest.mark.parametrize("what,words", [("key", "does not belong to the certificate"), ("gone", "cannot be opened"),
                                        ("garbage", "there is no certificate (PEM)")])
def test_bad_files_leave_the_old_ones(tls, what, words):
    before = tls.ask()[2]["serialNumber"]
    kept = {end: (tls.certs / f"server.{end}").read_bytes() for end in ("crt", "key")}
    try:
        if what == "key":
            tls.ca.issue("wrong")
            os.replace(tls.ca.folder / "wrong.key", tls.certs / "server.key")
        elif what == "gone":
            (tls.certs / "server.crt").unlink()
        else:
            (tls.certs / "server.crt").write_text("nothing")
        tls.reload(words)
        assert any("not reloaded" in line and words in line and "server." in line for line in tls.log)
        assert tls.ask()[2]["serialNumber"] == before
    finally:
        for end, data in kept.items():
            (tls.certs / f"server.{end}").write_bytes(data)


def run(tmp_path, command="serve", **settings):
    env = {**os.environ, "DATABASE_URL": "postgresql://127.0.0.1:1/x", "LISTEN": f"https://127.0.0.1:{free_port()}",
           **{k: str(v) for k, v in settings.items()}}
    return subprocess.run([BINARY, command], capture_output=True, text=True, env=env, cwd=ROOT, timeout=120)


def test_mistakes_stop_the_start_with_a_sentence(tmp_path):
    ca = Authority(tmp_path)
    crt, key = ca.issue("server")
    _, other = ca.issue("other")
    for settings, words in (({}, "TLS_CERT names no certificate"),
                            ({"TLS_CERT": crt, "TLS_KEY": other}, f"the key in {other} does not belong to the certificate in {crt}"),
                            ({"TLS_CERT": tmp_path / "none.crt"}, "none.crt cannot be opened"),
                            ({"TLS_CERT": f"{crt},{crt}", "TLS_KEY": key}, "TLS_KEY names fewer files"),
                            ({"TLS_CERT": crt, "TLS_KEY": f"{key},{key}"}, "TLS_KEY names more files"),
                            ({"TLS_CERT": crt, "TLS_KEY": key, "TLS_CLIENT_CA": key}, "authorities cannot be read from")):
        done = run(tmp_path, **settings)
        assert done.returncode == 1 and words in done.stderr, (settings, done.stderr)
    done = run(tmp_path, TLS_CERT=crt, TLS_KEY=key, TLS_MIN_VERSION="1.1")
    assert done.returncode == 2 and "it is 1.3 or 1.2" in done.stderr


def test_doctor_looks_at_certificates(tmp_path):
    ca = Authority(tmp_path)
    folder = tmp_path / "tls"
    folder.mkdir()
    ca.issue("fine", to=folder, days=200)
    _, key = ca.issue("open", to=folder, days=5)
    key.chmod(0o644)
    ca.issue("old", to=folder, days=-1)
    said = run(tmp_path, "doctor", TLS_CERT=folder).stdout
    for words in (r"ok +tls +\S+fine.crt: /CN=fine \(localhost, 127.0.0.1\), \d+ days left, its key fits",
                  r"warning +tls +\S+open.crt expires in \d days", r"wrong +tls +anybody may read or write \S+open.key",
                  r"wrong +tls +\S+old.crt expired \d+ days ago", r"warning +tls +\S+fine.crt is not believed by this machine"):
        assert re.search(words, said), (words, said)
    said = run(tmp_path, "doctor", TLS_CERT=ca.crt, TLS_KEY=key).stdout
    assert re.search(r"wrong +tls +the key in \S+open.key does not belong", said), said


def test_1_2_where_it_is_wanted(tls):
    tls.configure(TLS_MIN_VERSION="1.2")
    assert tls.ask(tls.context(maximum_version=ssl.TLSVersion.TLSv1_2))[0] == 200
    assert tls.ask()[0] == 200
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{tls.tls_port}", "-tls1_1", "-cipher", "ALL@SECLEVEL=0"],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, errors="replace")
    assert "protocol version" in done.stderr, done.stderr


def test_http2_can_be_left_off(tls):
    tls.configure(HTTP2="false")
    done = curl(tls, "--http2", "-w", "\n%{http_version}", f"https://localhost:{tls.tls_port}/events")
    assert done.stdout.endswith("\n1.1")
    with Client(tls.port) as client:  # nor without TLS, where HTTP2_CLEARTEXT does not say so
        client.ask()
        assert not client.until(lambda c: c.of(0)) and client.closed


def test_many_streams_over_tls(tls):
    context = tls.context()
    context.set_alpn_protocols(["h2"])
    raw = socket.create_connection(("127.0.0.1", tls.tls_port), timeout=30)
    with Client(0, sock=context.wrap_socket(raw, server_hostname="localhost")) as client:
        for stream in range(1, 41, 2):
            client.ask(stream)
        assert client.until(lambda c: all(c.ended(s) for s in range(1, 41, 2)))
        assert {client.status(s) for s in range(1, 41, 2)} == {200}
        assert json.loads(client.body(39))
