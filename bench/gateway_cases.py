"""gateway_cases.py - the gateway beside other proxies, all before the same back end (nginx, static files, one worker).

Each proxy has one worker (YARP what it takes for itself), keeps its connections to the back end, and writes no access log.
usher adds Forwarded, X-Forwarded-* and Via and counts its metrics, as it always does; nginx and HAProxy pass requests on bare.
"""
import json
import os
import pathlib
import resource
import shutil
import socket
import subprocess
import time

import measure
from cases import BUILD, Case, Skip
from measure import ROOT, load

USHER = str(ROOT / "build" / "usher")
BODY_MB, SMALL_BODY_MB = 1024, 64  # of the large body; the smaller for rounds under SHORT_S
SHORT_S = 2
HELD = 10000
EVENT_PATH = "/events/11111111-2222-4333-8444-555555555555"
EVENT = {"Id": EVENT_PATH[8:], "EventName": "Gig", "StartDate": "2095-01-02T10:00:00+00:00",
         "EndDate": "2095-01-02T12:00:00+00:00", "Venue": "FirstDirectArenaLeeds", "Price": 12.5}


# --- servers ---------------------------------------------------------------------------------------------------------

NGINX = """
daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 20000; pid {at}/nginx.pid; error_log {at}/error.log;
events {{ worker_connections 12000; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 600s; default_type application/json;
    open_file_cache max=100; open_file_cache_valid 60s;
    client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at}; uwsgi_temp_path {at}; scgi_temp_path {at};
    {more}
}}
"""
HAPROXY = """
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 60s
    http-reuse always
frontend front
    bind 127.0.0.1:{port}
    default_backend back
backend back
    server one 127.0.0.1:{back}
"""


def nginx(directory, more, path, own_session=True):
    """An nginx of its own below the directory; {port} in `more` is where it serves."""
    port = measure.free_port()
    at = pathlib.Path(directory) / f"nginx-{port}"
    at.mkdir(mode=0o755)
    conf = at / "nginx.conf"
    conf.write_text(NGINX.format(at=at, more=more.replace("{port}", str(port))))
    return measure.Server("nginx", ["nginx", "-p", str(at), "-c", str(conf)], path, port=port, own_session=own_session)


def backend(case, root, path, own_session=True):
    return case.serve(nginx(case.directory, f"server {{ listen 127.0.0.1:{{port}}; root {root}; }}", path, own_session))


def nginx_proxy(case, back, path):
    return case.serve(nginx(case.directory, f"""
    proxy_max_temp_file_size 0; proxy_buffer_size 16k; proxy_buffers 16 64k; proxy_busy_buffers_size 128k;
    upstream back {{ server 127.0.0.1:{back.port}; keepalive 512; keepalive_requests 1000000000; }}
    server {{ listen 127.0.0.1:{{port}};
        location / {{ proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}""", path))


def haproxy(case, back, path):
    port = measure.free_port()
    conf = case.directory / "haproxy.cfg"
    conf.write_text(HAPROXY.format(port=port, back=back.port))
    return case.serve(measure.Server("haproxy", ["haproxy", "-db", "-f", str(conf)], path, port=port))


def yarp(case, back, path):
    return case.serve(measure.Server("yarp", ["dotnet", str(BUILD / "yarp" / "peer.dll")], path,
                                     {"BACKEND": f"http://127.0.0.1:{back.port}", "DOTNET_gcServer": "0", "DOTNET_TieredPGO": "1"}))


def gateway(case, back, path, database=False, env=None, own_session=True):
    """One worker; without a database there are no stages to follow and no shadow worker."""
    port = measure.free_port()
    argv = ([] if database else ["env", "-u", "DATABASE_URL"]) + [USHER, "gateway", "--listen", f"127.0.0.1:{port}"]
    return case.serve(measure.Server("usher", argv, path, {"LOG_FORMAT": "json", "LEGACY_URL": f"http://127.0.0.1:{back.port}",
                                                           "CONNECTIONS_MAX": "12000", "IDLE_TIMEOUT": "600s", **(env or {})}, port,
                                     own_session=own_session))


def peers():
    """Other proxies, and whether they are on this machine."""
    return {"nginx": shutil.which("nginx") is not None, "HAProxy": shutil.which("haproxy") is not None,
            "YARP": shutil.which("dotnet") is not None and (BUILD / "yarp" / "peer.dll").exists()}


def worker_of(server, role="gateway"):
    """The process of one role; a server that is one process is that itself."""
    pids = server.pids()
    for pid in pids:
        if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == f"usher:{role}":
            return pid
    if len(pids) > 1:
        raise RuntimeError(f"{server.name} has no worker {role}")
    return pids[0]


def need_nginx():
    if not peers()["nginx"]:
        raise Skip("nginx is not installed")


# --- plain proxying --------------------------------------------------------------------------------------------------

def proxy_bars(at_least):
    return tuple((f"{clients} clients", f"usher, {clients}", f"{peer}, {clients}", wanted)
                 for clients in (64, 256) for peer, wanted in (("nginx", at_least), ("HAProxy", 0.9), ("YARP", 3.0)))


class ProxySmall(Case):
    name = "gateway-small"
    title = "Gateway: plain proxying of 300-byte answers"
    bytes = 300
    bars = proxy_bars(1.0)
    telling = "Back end: nginx, a static file, one worker. Each proxy has one worker, YARP as many threads as it likes. nginx and HAProxy " \
              "add no fields to the request; usher adds Forwarded, X-Forwarded-* and Via."

    def sides(self):
        need_nginx()
        (self.directory / "answer").write_text("x" * self.bytes)
        lines = self.lines("lines", ["GET /answer"])
        back = backend(self, self.directory, "/answer")
        here, makers = peers(), {"nginx": nginx_proxy, "HAProxy": haproxy, "YARP": yarp}
        servers = {"usher": gateway(self, back, "/answer")}
        servers.update({name: make(self, back, "/answer") for name, make in makers.items() if here[name]})

        def side(server, clients):
            def run(seconds):
                result = load(server, clients, seconds, lines)
                assert result["errors"] == 0 and list(result["status"]) == ["200"], result
                return result
            return run
        return {f"{name}, {clients}": side(server, clients) for clients in (64, 256) for name, server in servers.items()}


class ProxyLarge(ProxySmall):
    name = "gateway-large"
    title = "Gateway: plain proxying of 20 kB answers"
    bytes = 20480
    bars = proxy_bars(1.15)


# --- shadow ----------------------------------------------------------------------------------------------------------

class ProxyShadow(Case):
    name = "gateway-shadow"
    title = "Gateway: shadow of every request beside plain proxying"
    bars = (("rate to plain, 64 clients", "shadow, 64", None, 0.9, "of_plain", False),
            ("p99 added beyond the noise, ms, 4 clients", "shadow, 4", None, 0.05, "beyond_ms", True))
    # All in one session: Linux gives sessions equal shares of each core (autogroup), and one whose shadow worker is busy on the other core has half
    # of its share left on the first. So measured, the gateway had a rate of 0.5 to 0.6 while its CPU for a request had grown by a tenth.
    telling = "Plain, shadow, plain in each round: what shadow adds is held against the mean of the two plain runs, and their " \
              "difference is the noise. Load, back end and gateway worker share one core; candidate (nginx), shadow worker and " \
              "Postgres have the other. What the queue (SHADOW_QUEUE) does not hold is skipped and counted; it is compared or skipped, never waited for."

    def __init__(self):
        super().__init__()
        self.cores = sorted(os.sched_getaffinity(0))

    def stop(self):
        os.sched_setaffinity(0, self.cores)
        super().stop()

    def place(self, pids, core):
        for pid in pids:
            os.sched_setaffinity(pid, {self.cores[core]})

    def command(self, *words):
        done = subprocess.run([USHER, *words], env=self.env, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    def tally(self):
        rows = json.loads(self.command("diffs", "list", "--json"))["routes"]
        return {key: sum(row[key] for row in rows) for key in ("compared", "skipped")}

    def sides(self):
        need_nginx()
        if len(self.cores) < 2:
            raise Skip("needs two cores")
        path = self.directory / EVENT_PATH[1:]
        path.parent.mkdir(mode=0o755)
        path.write_text(json.dumps(EVENT))
        lines = self.lines("lines", [f"GET {EVENT_PATH}"])
        back, candidate = (backend(self, self.directory, EVENT_PATH, own_session=False) for _ in range(2))
        new = {"NEW_URL": f"http://127.0.0.1:{candidate.port}", "SHADOW_SAMPLE": "100"}
        self.env = {**os.environ, **new, "LEGACY_URL": f"http://127.0.0.1:{back.port}"}
        plain, shadow = (gateway(self, back, EVENT_PATH, database, env, own_session=False) for database, env in ((False, None), (True, new)))
        self.command("cutover", "shadow", "events", "reads", "--reason", "bench/run")
        deadline = time.monotonic() + 30
        while self.tally()["compared"] == 0:
            shadow.get(EVENT_PATH)
            if time.monotonic() > deadline:
                raise RuntimeError("nothing is compared")
            time.sleep(0.1)
        self.place([os.getpid(), *back.pids(), worker_of(plain), worker_of(shadow)], 0)
        self.place([*candidate.pids(), worker_of(shadow, "shadow"), *measure.tree_of(measure.postmaster())], 1)

        def side(clients):
            def run(seconds):
                before = load(plain, clients, seconds, lines)
                counted = self.tally()
                result = load(shadow, clients, seconds, lines)
                after = load(plain, clients, seconds, lines)
                assert before["errors"] + result["errors"] + after["errors"] == 0, (before, result, after)
                time.sleep(2.5)  # the shadow worker writes its counts each second
                now = self.tally()
                result.update({key: now[key] - counted[key] for key in now})
                assert result["compared"] > 0, result
                result["of_plain"] = 2 * result["rps"] / (before["rps"] + after["rps"])
                result["added_ms"] = result["p99_ms"] - (before["p99_ms"] + after["p99_ms"]) / 2
                result["noise_ms"] = abs(before["p99_ms"] - after["p99_ms"])
                result["beyond_ms"] = max(0.0, result["added_ms"] - result["noise_ms"])
                result["words"] = (f"{result['of_plain']:.2f} of plain's rate, p99 {result['added_ms']:+.3f} ms (noise {result['noise_ms']:.3f}), "
                                   f"{result['compared']} compared, {result['skipped']} skipped")
                return result
            return run
        return {"shadow, 64": side(64), "shadow, 4": side(4)}


# --- memory ----------------------------------------------------------------------------------------------------------

def ask(sock, path):
    """One answer with a Content-Length, and the connection stays."""
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    got = b""
    while b"\r\n\r\n" not in got:
        got += sock.recv(65536) or exit_on_close()
    head, body = got.split(b"\r\n\r\n", 1)
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += sock.recv(65536) or exit_on_close()
    assert head.startswith(b"HTTP/1.1 200"), head


def exit_on_close():
    raise RuntimeError("the server closed the connection")


class IdleConnections(Case):
    name = "gateway-idle"
    title = "Gateway: memory of an idle keep-alive client connection, 10,000 held"
    bars = (("kB each", "usher", None, 4.0, "each_kb", True),)
    telling = "Each connection has had one answer of 300 bytes and waits. Resident memory of the worker, without the kernel's " \
              "sockets, from before the first was opened (after 500 had come and gone) to all being held."

    def sides(self):
        need_nginx()
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        if most < HELD + 1000:
            raise Skip(f"needs {HELD + 1000} descriptors a process")
        (self.directory / "answer").write_text("x" * 300)
        back = backend(self, self.directory, "/answer")

        def hold(server, n):
            held = []
            try:
                for _ in range(n):
                    held.append(socket.create_connection(("127.0.0.1", server.port)))
                    ask(held[-1], "/answer")
                return measure.rss_mb(worker_of(server))
            finally:
                for sock in held:
                    sock.close()

        def side(make):
            def run(_seconds):
                server = make(self, back, "/answer")
                hold(server, 500)
                began, rest = time.monotonic(), measure.rss_mb(worker_of(server))
                held = hold(server, HELD)
                took = time.monotonic() - began
                server.stop()
                each = (held - rest) * 1024 / HELD
                return {"each_kb": each, "rest_mb": rest, "rss_mb": held, "words": f"{each:.2f} kB each of {HELD} ({took:.1f} s)"}
            return run
        return {"usher": side(gateway), "nginx": side(nginx_proxy)}


class LargeBody(Case):
    name = "gateway-body"
    title = "Gateway: a body of 1 GB through"
    bars = (("MB per second", "usher", "nginx", 0.9, "mb_s", False), ("grown by, MB", "usher", None, 2.0, "grown_mb", True))
    telling = "From the back end to one client. `grown` is the worker's highest resident memory (VmHWM) over what it had before. nginx " \
              "has 16 buffers of 64 kB and no file to buffer in."

    def sides(self):
        need_nginx()
        for size in (BODY_MB, SMALL_BODY_MB):
            with open(self.directory / f"body-{size}", "w+b") as body:
                body.truncate(size << 20)
                while body.read(1 << 20):  # into the page cache, which the first side would fill
                    pass
        (self.directory / "answer").write_text("x")
        back = backend(self, self.directory, "/answer")

        def read_all(server, size):
            left, room = None, bytearray(1 << 20)
            with socket.create_connection(("127.0.0.1", server.port)) as sock:
                sock.sendall(f"GET /body-{size} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
                n = sock.recv_into(room)
                assert room.startswith(b"HTTP/1.1 200"), bytes(room[:n])
                left = (size << 20) - (n - room.index(b"\r\n\r\n") - 4)
                while left > 0:
                    n = sock.recv_into(room)
                    if n == 0:
                        exit_on_close()
                    left -= n

        def side(server):
            def run(seconds):
                size, pid = SMALL_BODY_MB if seconds < SHORT_S else BODY_MB, worker_of(server)
                pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")  # VmHWM begins anew
                rest, cpu, began = measure.rss_mb(pid), measure.cpu_of(pid), time.monotonic()
                read_all(server, size)
                took, cpu = time.monotonic() - began, measure.cpu_of(pid) - cpu
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
                highest = int(status.split("VmHWM:")[1].split()[0]) / 1024
                return {"mb_s": size / took, "grown_mb": highest - rest, "rest_mb": rest, "rss_mb": highest,
                        "words": f"{size / took:,.0f} MB/s, grown by {highest - rest:.1f} MB, CPU {cpu:.2f} s"}
            return run
        return {"usher": side(gateway(self, back, "/answer")), "nginx": side(nginx_proxy(self, back, "/answer"))}


CASES = {case.name: case for case in (ProxySmall, ProxyLarge, ProxyShadow, IdleConnections, LargeBody)}
