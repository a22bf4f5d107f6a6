"""All recorded conversations of the old system, replayed by usher and by an independent replayer. Both must agree."""
import http.server
import json
import subprocess
import sys
import threading

import pytest

from conftest import BINARY, ROOT

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
