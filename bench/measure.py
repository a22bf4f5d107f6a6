"""measure.py - processes, their CPU and memory, and the two load generators (bench/load.c and pgbench)."""
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
LOAD = ROOT / "build" / "bench_load"
TICK = os.sysconf("SC_CLK_TCK")
PG_BIN = pathlib.Path(os.environ.get("USHER_PG_BIN") or sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1])


# --- /proc -----------------------------------------------------------------------------------------------------------

def stat_of(pid):
    """(parent, own CPU seconds, CPU seconds of reaped children), or None when it is gone."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    own, reaped = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    return int(fields[1]), own / TICK, reaped / TICK


def tree_of(pid):
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            stat = stat_of(entry.name)
            if stat is not None:
                parents.setdefault(stat[0], []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        at = todo.pop()
        found.append(at)
        todo += parents.get(at, [])
    return found


def cpu_of(pid):
    """utime + stime of a process, its living descendants and the children it has reaped, in seconds."""
    total = 0.0
    for member in tree_of(pid):
        stat = stat_of(member)
        if stat is not None:
            total += stat[1] + (stat[2] if member == pid else 0)
    return total


def machine_cpu():
    """Seconds that all processors together have worked, and been, since the machine started."""
    ticks = [int(n) for n in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / TICK, sum(ticks) / TICK


def others_percent(before, ours_s):
    """How much of the machine went to what is not being measured: the larger, the less the figures mean."""
    worked, been = (now - then for now, then in zip(machine_cpu(), before))
    return max(0.0, (worked - ours_s) / been * 100)


def rss_mb(pid):
    match = re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) / 1024


def postmaster():
    return int(pathlib.Path(os.environ["PG_CTL_DIR"], "postmaster.pid").read_text().split()[0])


# --- servers ---------------------------------------------------------------------------------------------------------

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A process that answers HTTP on self.port; ready when `path` is answered with 200."""

    def __init__(self, name, argv, path, env=None, port=None, cwd=None, own_session=True):
        self.name, self.port = name, port or free_port()
        self.log = tempfile.TemporaryFile()
        started = time.monotonic()
        self.process = subprocess.Popen(argv, cwd=cwd or ROOT, stdout=self.log, stderr=self.log,
                                        env={**os.environ, **(env or {}), "PORT": str(self.port)}, start_new_session=own_session)
        while not self.answers(path):
            if self.process.poll() is not None or time.monotonic() - started > 60:
                self.log.seek(0)
                raise RuntimeError(f"{name} does not answer {path}: {self.log.read().decode(errors='replace')[-2000:]}")
            time.sleep(0.001)
        self.start_ms = (time.monotonic() - started) * 1000

    def answers(self, path):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return answer.status == 200
        except OSError:
            return False

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return body

    def pids(self):
        return tree_of(self.process.pid)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def usher(roles="http", env=None):
    port = free_port()
    return Server("usher", [str(ROOT / "build" / "usher"), "serve", "--roles", roles, "--listen", f"127.0.0.1:{port}"],
                  "/events", {"LOG_FORMAT": "json", **(env or {})}, port)


def nginx(directory, path):
    port = free_port()
    conf = pathlib.Path(directory, "nginx.conf")
    conf.write_text(f"""
daemon off; master_process off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 2048; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; default_type application/json;
    open_file_cache max=100; open_file_cache_valid 60s;
    client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
    uwsgi_temp_path {directory}; scgi_temp_path {directory};
    server {{ listen 127.0.0.1:{port}; root {directory}; }}
}}
""")
    return Server("nginx", ["nginx", "-p", str(directory), "-c", str(conf)], path, port=port)


# --- load ------------------------------------------------------------------------------------------------------------

def load(server, connections, seconds, lines_file, once=False, first=0, count=0):
    """One run of bench/load.c against a server, with what it cost the server and Postgres."""
    database, before, database_before = postmaster(), cpu_of(server.process.pid), cpu_of(postmaster())
    machine = machine_cpu()
    argv = [str(LOAD), f"127.0.0.1:{server.port}", str(connections), str(seconds), str(lines_file)]
    argv += (["--once"] if once else []) + ["--from", str(first), "--count", str(count)]
    result = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)
    done = max(result["requests"], 1)
    result["server_us"] = (cpu_of(server.process.pid) - before) / done * 1e6
    result["database_us"] = (cpu_of(database) - database_before) / done * 1e6
    ours = (result["server_us"] + result["database_us"]) * done / 1e6 + result["load_cpu_s"]
    result["others_percent"] = others_percent(machine, ours)
    result["rss_mb"] = max(rss_mb(pid) for pid in server.pids())
    return result


def pgbench(script, seconds, variables=None):
    """pgbench -M prepared -c8 -j2 with a script; its own CPU is the client side, as usher's is."""
    database, before = postmaster(), cpu_of(postmaster())
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "script.sql")
        path.write_text(script)
        argv = [str(PG_BIN / "pgbench"), "-n", "-M", "prepared", "-c8", "-j2", "-T", str(max(1, round(seconds))), "-f", str(path), "-l",
                "--log-prefix", f"{directory}/log", "--sampling-rate", "0.05"]
        for name, value in (variables or {}).items():
            argv += ["-D", f"{name}={value}"]
        times, machine = os.times(), machine_cpu()
        ran = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        after = os.times()
        if ran.returncode != 0:
            raise RuntimeError(f"pgbench: {ran.stderr[-1000:]}")
        latencies = sorted(int(line.split()[2]) for log in pathlib.Path(directory).glob("log.*") for line in open(log))
    done = int(re.search(r"actually processed: (\d+)", ran.stdout)[1])
    tps = float(re.search(r"^tps = ([\d.]+)", ran.stdout, re.M)[1])
    client = after.children_user + after.children_system - times.children_user - times.children_system
    database = cpu_of(database) - before
    return {"requests": done, "rps": tps, "others_percent": others_percent(machine, client + database), "p50_ms": latencies[len(latencies) // 2] / 1000,
            "p99_ms": latencies[len(latencies) * 99 // 100] / 1000, "max_ms": latencies[-1] / 1000,
            "server_us": client / done * 1e6, "database_us": database / done * 1e6}


def sql(text):
    """Runs SQL; returns the rows, unaligned."""
    done = subprocess.run([str(PG_BIN / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", text], check=True,
                          stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()


def migrate():
    subprocess.run([str(ROOT / "build" / "usher"), "migrate", "up"], check=True, stdout=subprocess.DEVNULL)
