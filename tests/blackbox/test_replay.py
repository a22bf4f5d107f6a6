"""All recorded conversations of the old system, replayed by usher and by an independent replayer. Both must agree."""
import http.server
import json
import subprocess
import sys
import threading
from unittest import mock

import pytest

from certs import Authority
from conftest import BINARY, ROOT
from oddserver import OddServer

RECORDINGS = sorted((ROOT / "contracts" / "http").glob("*.json"))
EXCEPTIONS = ROOT / "contracts" / "exceptions.json"


# Effects of messages come within milliseconds here; a GET that differs is asked again anyway.
PAUSE_MS = 40
WANTED = {(e["scenario"], e["exchange"]) for e in json.loads(EXCEPTIONS.read_text())}


def independent(server, recording, *args):
    reset = f"{BINARY} reset --data {server.data} --yes"
    return subprocess.run([sys.executable, str(ROOT / "tests/contract/replay.py"), "--base", server.base, "--reset", reset,
                           "--pause", str(PAUSE_MS / 1000), "--json", *args, str(recording)], capture_output=True, text=True)


def own(server, recording, *args):
    return server.cli("replay", str(recording), "--against", server.base, "--reset", "--data", server.data, "--json",
                      "--pause", f"{PAUSE_MS}ms", *args)


def places(text):
    return {(row["scenario"], row["exchange"]) for row in json.loads(text)["unexpected"]}


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda p: p.stem)
def test_only_the_wanted_differences(server, recording):
    done = own(server, recording)
    assert places(done.stdout) == {p for p in WANTED if p[0] == recording.stem}, done.stdout + done.stderr


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda p: p.stem)
def test_the_independent_replayer_agrees(server, recording):
    done = independent(server, recording)
    assert places(done.stdout) == {p for p in WANTED if p[0] == recording.stem}, done.stdout + done.stderr


def test_wanted_differences_are_forgiven_and_idle_ones_told(server, tmp_path):
    recording = ROOT / "contracts/http/17-http-protocol.json"
    done = own(server, recording, "--expect", str(EXCEPTIONS))
    assert done.returncode == 0, done.stdout
    idle = tmp_path / "idle.json"
    idle.write_text(json.dumps([{"scenario": "08-users-crud", "exchange": 0, "reason": "nothing differs there"}]))
    done = own(server, ROOT / "contracts/http/08-users-crud.json", "--expect", str(idle))
    assert done.returncode == 0 and json.loads(done.stdout)["expected_but_equal"]
    done = own(server, ROOT / "contracts/http/08-users-crud.json", "--expect", str(EXCEPTIONS))
    assert done.returncode == 0 and json.loads(done.stdout)["expected_but_equal"] == [], "nothing is known of what was not replayed"


def test_exceptions_are_few_and_reasoned():
    rows = json.loads(EXCEPTIONS.read_text())
    assert len(rows) <= 40
    assert all(row["reason"] and isinstance(row["exchange"], int) for row in rows)


def test_a_difference_is_found(server, tmp_path):
    """The replayer itself can fail: one recorded answer is changed and must be reported."""
    recording = json.loads((ROOT / "contracts/http/08-users-crud.json").read_text())
    changed = next(i for i, e in enumerate(recording["exchanges"]) if "Ann Able" in (e["response"]["body"] or ""))
    exchange = recording["exchanges"][changed]
    exchange["response"]["body"] = exchange["response"]["body"].replace("Ann Able", "Ann Other")
    altered = tmp_path / "08-users-crud.json"
    altered.write_text(json.dumps(recording))
    done = own(server, altered)
    assert done.returncode == 1
    assert places(done.stdout) == {("08-users-crud", changed)}
    assert "Ann Other" in done.stdout


class Says(http.server.BaseHTTPRequestHandler):
    """Answers everything with the server's one body."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_):
        pass


def test_an_answer_that_speaks_of_redaction_equals_itself(server, tmp_path):
    """Found by fuzzing: where the recorded text holds the sign of a redacted sample, what came was redacted and what was recorded not."""
    body = '{"bytes redacted]traceId"~:"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}'
    recording = tmp_path / "sign.json"
    recording.write_text(json.dumps({"name": "sign", "exchanges": [
        {"request": {"method": "GET", "path": "/", "headers": []}, "response": {"status": 200, "headers": [], "body": body}}]}))
    odd = http.server.HTTPServer(("127.0.0.1", 0), Says)
    threading.Thread(target=odd.serve_forever, daemon=True).start()
    try:
        for said, code in ((body, 0), (body.replace("trace", "other"), 1)):
            odd.body = said.encode()
            done = server.cli("replay", str(recording), "--against", f"http://127.0.0.1:{odd.server_port}")
            assert done.returncode == code, done.stdout + done.stderr
    finally:
        odd.shutdown()
        odd.server_close()


# --- over TLS -------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("replay"))


def replayed(tmp_path, url, method, target, answer, body=None):
    """One exchange, recorded with that answer and replayed against url: exit status, what was said."""
    request = {"method": method, "path": target, "headers": [["Host", "odd"]]}
    if body is not None:
        request["headers"].append(["Content-Length", "0"])
        request["body"] = body
    response = {"status": 200, "reason": "OK", "version": "HTTP/1.1", "headers": [], "body": answer} if answer is not None else None
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"name": "one", "exchanges": [{"request": request, "response": response}]}))
    done = subprocess.run([BINARY, "replay", str(path), "--against", url], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_a_server_behind_tls_is_asked_too(ca, tmp_path):
    large = "".join(f"{i:09d} " for i in range(300_000))
    with OddServer(tls=ca.server_context("well")) as server:
        url = f"{server.url}/?cacertfile={ca.crt}"
        assert replayed(tmp_path, url, "GET", "/until-close", "all that comes") == (0, mock.ANY)
        # More than a socket holds, answered while it is sent.
        status, said = replayed(tmp_path, url, "POST", "/stream-echo", large, large)
        assert status == 0, said[-500:]
        status, said = replayed(tmp_path, url, "POST", "/stream-echo", large + "x", large)
        assert status == 1 and "1 unexpected" in said
        status, said = replayed(tmp_path, url, "GET", "/reset-in-body", "some")
        assert status == 1, said


def test_who_is_not_believed_is_told_with_its_mend(ca, tmp_path):
    with OddServer(tls=ca.server_context("named", names="DNS:other.example")) as server:
        status, said = replayed(tmp_path, server.url, "GET", "/plain", "fine")
        assert status == 2 and "unable to get local issuer certificate" in said and "cacertfile=FILE" in said, said
        status, said = replayed(tmp_path, f"{server.url}?cacertfile={ca.crt}", "GET", "/plain", "fine")
        assert status == 2 and "server_name_indication=NAME" in said, said
        assert replayed(tmp_path, f"{server.url}?cacertfile={ca.crt}&server_name_indication=other.example", "GET", "/plain", "fine")[0] == 0
        status, said = replayed(tmp_path, f"{server.url}?cacertfile=/nowhere", "GET", "/plain", "fine")
        assert status == 2 and "/nowhere" in said, said
    status, said = replayed(tmp_path, "ftp://x", "GET", "/plain", "fine")
    assert status == 2 and 'ftp://x": write http://host' in said, said
