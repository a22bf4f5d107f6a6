"""Routes, limits, who is trusted, logs, traces: what an operator tells the gateway."""
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess

import pytest

from conftest import BINARY, Usher, free_port, wait_for
from gatewaylib import Gateway
from oddserver import OddServer
from otel import Collector
from test_gateway import get


@pytest.fixture(scope="module")
def old():
    with OddServer() as server:
        yield server


@pytest.fixture(scope="module")
def new():
    with OddServer() as server:
        yield server


def check(routes, *args, legacy="http://127.0.0.1:1", env=None):
    path = pathlib.Path(os.environ.get("PYTEST_TMP", "/tmp")) / f"usher-routes-{os.getpid()}.json"
    path.write_text(routes if isinstance(routes, str) else json.dumps(routes))
    try:
        return subprocess.run([BINARY, "gateway", "check", "--routes", str(path), *args], capture_output=True, text=True,
                              env={**os.environ, "LEGACY_URL": legacy, **(env or {})})
    finally:
        path.unlink()


# --- check ------------------------------------------------------------------------------------------------------------

def test_without_a_file_everything_goes_to_the_old_side():
    done = subprocess.run([BINARY, "gateway", "check"], capture_output=True, text=True,
                          env={**os.environ, "LEGACY_URL": "http://10.0.0.5:5000"})
    assert done.returncode == 0
    assert "upstream old: http://10.0.0.5:5000" in done.stdout and "everything else: old" in done.stdout
    assert "route events.get: GET /events/{id:id}: old; nothing to switch to: set NEW_URL" in done.stdout


def test_check_explains_each_route():
    done = check({"routes": [
        {"name": "files", "path": "/files/**", "always": "old", "rate_limit": {"requests": 10, "per": "1m"}},
        {"name": "hidden", "path": "/files/{id}", "methods": ["GET"]},
        {"name": "seats", "path": "/seats", "methods": ["PUT"], "context": "tickets", "group": "writes"},
    ], "without_contexts": True}, env={"NEW_URL": "http://127.0.0.1:2"})
    assert done.returncode == 0, done.stdout
    assert "route files: any method /files/**: always old; each client 10 requests in 60000 ms" in done.stdout
    assert "route hidden: GET /files/{id}: always old; never reached: files comes first" in done.stdout
    assert "route seats: PUT /seats: old, or new by the stage of tickets writes" in done.stdout


def test_check_in_json():
    done = check({"routes": [{"name": "a", "path": "/a"}]}, "--json")
    answer = json.loads(done.stdout)
    assert answer["routes"][0]["name"] == "a" and answer["otherwise"] == "old"
    assert {"events.get", "tickets.purchase"} <= {r["name"] for r in answer["routes"]}


MISTAKES = [
    ('{"rutes": []}', 'json:1:2: the routes file has no member "rutes"; it has upstreams, routes, old, new'),
    ('{\n  "routes": [\n    {"name": "x", "path": "x"}\n  ]\n}', 'json:3:5: route "x": path "x": a path begins with /'),
    ('{"routes": [{"path": "/x"}]}', 'this route wants a name'),
    ('{"routes": [{"name": "x", "path": "/a/**/b"}]}', "** stands only at the end"),
    ('{"routes": [{"name": "x", "path": "/a//b"}]}', "no empty segments"),
    ('{"routes": [{"name": "x", "path": "/a{b}"}]}', "a segment is a word, {name}, or **"),
    ('{"routes": [{"name": "x", "path": "/x"}, {"name": "x", "path": "/y"}]}', 'route "x" is there twice'),
    ('{"routes": [{"name": "x", "path": "/x", "old": "nobody"}]}', 'old is "nobody", but no upstream has that name'),
    ('{"routes": [{"name": "x", "path": "/x", "group": "reads"}]}', "context and group go together"),
    ('{"routes": [{"name": "x", "path": "/x", "context": "c", "group": "red"}]}', 'group is "reads" or "writes"'),
    ('{"routes": [{"name": "x", "path": "/x", "always": "newest"}]}', 'always is "old" or "new"'),
    ('{"routes": [{"name": "x", "path": "/x", "always": "new"}]}', "there is no new side"),
    ('{"routes": [{"name": "x", "path": "/x", "methods": ["get"]}]}', '"get" is no method'),
    ('{"routes": {}}', "routes is a list"),
    ('{"upstreams": {"a": {"urls": ["ftp://x"]}}}', '"ftp://x": write http://host'),
    ('{"upstreams": {"a": {"urls": []}}}', "wants 1 to 32 urls"),
    ('{"upstreams": {"a": {"urls": ["http://x"], "check": "health"}}}', "check is a path that begins with /"),
    ('{"upstreams": {"a": {"urls": ["http://x"], "queue_max": -1}}}', "queue_max is a whole number from 0 to 65536"),
    ('{"upstreams": {"a": {"urls": ["http://x"], "idle_timeout": 5}}}', "idle_timeout is a duration in quotes"),
    ('{"upstreams": {"a": {"urls": ["http://x"], "idle_timeout": "5 parsecs"}}}', "idle_timeout is a duration from"),
    ('{"old": "nobody"}', 'old is "nobody", but no upstream has that name'),
    ('{"trusted_proxies": ["10.0.0.1/8"]}', '"10.0.0.1/8" is no network'),
    ('{"upgrades": ["h2c"]}', "would let clients speak HTTP past the gateway"),
    ('{"forwarded": ["y"]}', 'forwarded: "y" is none of'),
    ('{"rate_limit": {"requests": 0}}', "requests is a whole number from 1"),
    ('{"routes": [', "this is not JSON"),
    ('{"old": "x"} {}', "this is not JSON"),
    ('[]', "the routes file is an object"),
    ('', "this is not JSON"),
]


@pytest.mark.parametrize("text,said", MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_told_with_its_place_and_mend(text, said):
    done = check(text)
    assert done.returncode == 1 and said in done.stdout, done.stdout


def test_all_mistakes_are_told_at_once():
    done = check('{"old": "a", "x": 1, "routes": [{"name": "n", "path": "p", "y": 2}]}')
    assert done.stdout.count("\n") >= 4 and "4 mistakes" in done.stdout


def test_a_gateway_without_a_side_does_not_start():
    done = subprocess.run([BINARY, "gateway", "--listen", f"127.0.0.1:{free_port()}"], capture_output=True, text=True,
                          env={k: v for k, v in os.environ.items() if k != "LEGACY_URL"}, timeout=60)
    assert done.returncode == 1 and "set LEGACY_URL" in done.stderr


# --- routes -------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def split(old, new):
    routes = {"upstreams": {"old": {"urls": [old.url]}, "new": {"urls": [new.url]}},
              "routes": [{"name": "moved", "path": "/moved/**", "always": "new"},
                         {"name": "by-host", "path": "/**", "host": "new.example", "always": "new"},
                         {"name": "by-method", "path": "/echo", "methods": ["PURGE", "PUT"], "always": "new"},
                         {"name": "one", "path": "/plain/{id}", "always": "new"}]}
    with Gateway(routes=routes) as running:
        yield running


@pytest.mark.parametrize("request_bytes,side", [
    (get("/moved/a/b?c"), "new"), (get("/MOVED"), "new"), (get("/moved2"), "old"), (get("/%6doved/x"), "new"),
    (get("/echo"), "old"), (get("/echo", method="PURGE"), "new"), (get("/echo", method="PURGEX"), "old"),
    (get("/plain/1"), "new"), (get("/plain/1/"), "new"), (get("/plain/1/2"), "old"), (get("/plain/"), "old"),
    (b"GET /plain HTTP/1.1\r\nHost: NEW.example:8080\r\n\r\n", "new"), (b"GET /plain HTTP/1.1\r\nHost: new.example.org\r\n\r\n", "old"),
])
def test_who_answers(split, old, new, request_bytes, side):
    before = len(old.seen), len(new.seen)
    split.ask(request_bytes)
    assert (len(old.seen) - before[0], len(new.seen) - before[1]) == ((1, 0) if side == "old" else (0, 1))


# --- limits -------------------------------------------------------------------------------------------------------------

def test_rate_limits(old):
    routes = {"upstreams": {"old": {"urls": [old.url]}}, "trusted_proxies": ["127.0.0.0/8"],
              "routes": [{"name": "few", "path": "/plain", "rate_limit": {"requests": 3, "per": "1h", "name": "few"}}]}
    with Gateway(routes=routes, env={"GATEWAY_WORKERS": "2"}) as gateway:
        replies = [gateway.ask(get("/plain")) for _ in range(5)]
        assert [r.status for r in replies] == [200, 200, 200, 429, 429]  # workers count together
        assert replies[0].get("ratelimit-policy") == ['"few";q=3;w=3600'] and replies[0].get("ratelimit") == ['"few";r=2;t=1200']
        assert replies[3].get("ratelimit")[0].startswith('"few";r=0;t=') and int(replies[3].get("retry-after")[0]) > 0
        assert gateway.ask(get("/echo")).status == 200
        assert gateway.ask(get("/plain", "X-Forwarded-For: 192.0.2.1")).status == 200  # another client


# --- who is asking ------------------------------------------------------------------------------------------------------

def test_a_trusted_proxy_is_believed(old):
    with Gateway(legacy=old.url, env={"GATEWAY_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8", "GATEWAY_ACCESS_LOG": "stdout"}) as gateway:
        gateway.ask(get("/plain", "X-Forwarded-For: 6.6.6.6, 192.0.2.1", "X-Forwarded-For: 10.1.2.3", "X-Forwarded-Proto: https",
                        "X-Forwarded-Host: shop.example", "Forwarded: for=192.0.2.1;proto=https"))
        fields = old.last().fields
        assert fields["x-forwarded-for"] == "6.6.6.6, 192.0.2.1, 10.1.2.3, 127.0.0.1"
        assert (fields["x-forwarded-proto"], fields["x-forwarded-host"]) == ("https", "shop.example")
        assert fields["forwarded"] == 'for=192.0.2.1;proto=https, for=127.0.0.1;host="odd.example:81";proto=http'
        wait_for(lambda: gateway.out, what="the access log")
        assert json.loads(gateway.out[0])["client"] == "192.0.2.1"


V2 = b"\r\n\r\n\x00\r\nQUIT\n"
HEADERS = [
    (b"PROXY TCP4 192.0.2.9 192.0.2.1 56324 443\r\n", "192.0.2.9"),
    (b"PROXY TCP6 2001:db8::9 2001:db8::1 1 2\r\n", "2001:db8::9"),
    (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    (V2 + b"\x21\x11" + struct.pack(">H", 12) + bytes([192, 0, 2, 7, 192, 0, 2, 1]) + struct.pack(">HH", 1, 2), "192.0.2.7"),
    (V2 + b"\x21\x21" + struct.pack(">H", 36 + 5) + socket.inet_pton(socket.AF_INET6, "2001:db8::7") + bytes(16) + bytes(4) +
     b"\x04\0\x02ab", "2001:db8::7"),
    (V2 + b"\x20\x00" + struct.pack(">H", 0), "127.0.0.1"),
]
BAD_HEADERS = [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PROXY TCP4 300.0.2.9 192.0.2.1 1 2\r\n", b"PROXY TCP4 192.0.2.9 192.0.2.1 1\r\n",
               b"PROXY TCP4 192.0.2.9 192.0.2.1 1 2 3\r\n", b"PROXY TCP4 192.0.2.9 192.0.2.1 01 2\r\n", b"PROXY " + b"x" * 200,
               V2 + b"\x11\x11" + struct.pack(">H", 12) + bytes(12), V2 + b"\x21\x11" + struct.pack(">H", 4) + bytes(4),
               V2 + b"\x21\x41" + struct.pack(">H", 12) + bytes(12), V2 + b"\x21\x11" + struct.pack(">H", 60000)]


@pytest.fixture(scope="module")
def proxied(old):
    with Gateway(legacy=old.url, env={"GATEWAY_PROXY_PROTOCOL": "true"}) as running:
        yield running


@pytest.mark.parametrize("header,client", HEADERS, ids=range(len(HEADERS)))
@pytest.mark.parametrize("cut", [False, True])
def test_the_proxy_protocol_says_who(proxied, old, header, client, cut):
    with proxied.connect() as wire:
        if cut:
            for byte in header:
                wire.send(bytes([byte]))
            wire.send(get("/plain"))
        else:
            wire.send(header + get("/plain"))
        assert wire.answer().status == 200
        assert old.last().fields["x-forwarded-for"] == client
        wire.send(get("/plain"))  # once is enough
        assert wire.answer().status == 200


@pytest.mark.parametrize("header", BAD_HEADERS, ids=range(len(BAD_HEADERS)))
def test_without_that_header_nobody_comes_in(proxied, old, header):
    before = len(old.seen)
    with proxied.connect() as wire:
        wire.send(header)
        assert wire.ended()
    assert len(old.seen) == before


# --- logs and traces ------------------------------------------------------------------------------------------------------

def test_the_access_log(old, tmp_path):
    path = tmp_path / "access.log"
    with Gateway(legacy=old.url, env={"GATEWAY_ACCESS_LOG": str(path)}) as gateway:
        gateway.ask(get('/plain?q="\\', 'User-Agent: a "b"\t'))
        gateway.ask(get("/silent-close", method="POST"))
        wait_for(lambda: path.read_text().count("\n") == 2, what="two lines")
        first, second = (json.loads(line) for line in path.read_text().splitlines())
        assert (first["status"], first["target"], first["user_agent"]) == (200, '/plain?q="\\', 'a "b"')
        assert (first["backend"], first["upstream"], first["bytes_out"]) == ("legacy", "old", 4) and len(first["trace_id"]) == 32
        assert (second["status"], second["failure"]) == (502, "reset")
        path.rename(tmp_path / "moved.log")  # as logrotate does
        gateway.reload()
        gateway.ask(get("/plain"))
        wait_for(lambda: path.exists() and path.read_text().count("\n") == 1, what="a line in the new file")


def test_the_combined_format(old):
    with Gateway(legacy=old.url, env={"GATEWAY_ACCESS_LOG": "stdout", "GATEWAY_ACCESS_FORMAT": "combined"}) as gateway:
        gateway.ask(get("/plain", 'User-Agent: x"y', "Referer: http://a/"))
        wait_for(lambda: gateway.out, what="a line")
        import re
        assert re.fullmatch(r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET /plain HTTP/1\.1" 200 4 "http://a/" "x\\x22y"\n',
                            gateway.out[0]), gateway.out[0]


def test_a_full_disk_stops_nobody(old):
    with Gateway(legacy=old.url, env={"GATEWAY_ACCESS_LOG": "/dev/full"}) as gateway:
        for _ in range(300):
            assert gateway.ask(get("/plain?" + "x" * 300)).status == 200


def test_one_trace_shows_the_gateway_and_the_side():
    with Collector() as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "300"}
        with Usher(env=env) as usher, Gateway(legacy=usher.base, env=env) as gateway:
            trace = "0af7651916cd43dd8448eb211c80319c"
            reply = gateway.ask(get("/events", f"traceparent: 00-{trace}-b7ad6b7169203331-01", "tracestate: a=b"))
            assert reply.status == 200
            mine = wait_for(lambda: (lambda s: len(s) >= 3 and s)([x for x in collector.spans() if x["traceId"] == trace and
                                    (x["kind"] in ("SPAN_KIND_CLIENT", "SPAN_KIND_SERVER", 2, 3)) and "url.path" in x["attributes"]]),
                            30, "three spans")
            by_parent = {s["parentSpanId"]: s for s in mine}
            front = by_parent["b7ad6b7169203331"]
            client = by_parent[front["spanId"]]
            back = by_parent[client["spanId"]]
            assert front["attributes"]["usher.backend"] == client["attributes"]["usher.backend"] == "legacy"
            assert front["attributes"]["http.route"] == "/events" and client["attributes"]["server.port"] == usher.port
            assert "usher.backend" not in back["attributes"] and back["attributes"]["http.response.status_code"] == 200
