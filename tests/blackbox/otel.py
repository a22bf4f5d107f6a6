"""A collector for tests, and what it received as OpenTelemetry's own decoder reads it (tests/node)."""
import base64
import http.server
import json
import subprocess
import threading

from judges import NODE, install


def decode(kind, bodies):
    install()
    text = "".join(f"{kind} {base64.b64encode(body).decode()}\n" for body in bodies)
    done = subprocess.run(["node", "otlp-decode.cjs"], cwd=NODE, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def attributes(pairs):
    """[{key, value}] as a dict; every value must be of a known kind."""
    out = {}
    for pair in pairs:
        value = pair["value"]
        assert pair["key"] not in out, pair
        assert len(value) == 1, pair
        out[pair["key"]] = int(value["intValue"]) if "intValue" in value else value["stringValue"]
    return out


class Collector:
    """Answers as told: "ok", "500" (for ever refused), "503 then ok", "silent" (takes, never answers), "garbage"."""

    def __init__(self, mode="ok"):
        self.mode = mode
        self.bodies = {"traces": [], "metrics": [], "logs": []}
        self.requests = 0
        self.headers = []
        self.gone = threading.Event()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                collector.requests += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.headers.append(dict(self.headers))
                if collector.mode == "silent":
                    collector.gone.wait()
                    self.close_connection = True
                    return
                if collector.mode == "garbage":
                    self.wfile.write(b"\x00\xff" * 40000)
                    self.close_connection = True
                    return
                status = 200
                if collector.mode == "500":
                    status = 500
                elif collector.mode == "503 then ok" and collector.requests == 1:
                    status = 503
                if status == 200:
                    assert self.headers["Content-Type"] == "application/x-protobuf"
                    collector.bodies[self.path.removeprefix("/v1/")].append(body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.gone.set()
        self.server.shutdown()
        self.server.server_close()

    def spans(self):
        found = []
        for message in decode("traces", list(self.bodies["traces"])):
            for resource in message["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    for span in scope["spans"]:
                        span["resource"] = attributes(resource["resource"]["attributes"])
                        span["attributes"] = attributes(span["attributes"])
                        found.append(span)
        return found

    def metrics(self):
        """Name → metric, of the last report."""
        message = decode("metrics", self.bodies["metrics"][-1:])[0]
        return {m["name"]: m for r in message["resourceMetrics"] for s in r["scopeMetrics"] for m in s["metrics"]}

    def log_records(self):
        return [record for message in decode("logs", list(self.bodies["logs"])) for r in message["resourceLogs"]
                for s in r["scopeLogs"] for record in s["logRecords"]]


def points(metric):
    """(kind, data points) of a decoded metric."""
    for kind in ("sum", "gauge", "histogram"):
        if metric.get(kind):
            return kind, metric[kind]["dataPoints"]
    raise AssertionError(metric)
