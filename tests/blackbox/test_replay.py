"""All recorded conversations of the old system, replayed by usher and by an independent replayer. Both must agree."""
import json
import subprocess
import sys

import pytest

from conftest import BINARY, ROOT

RECORDINGS = sorted((ROOT / "contracts" / "http").glob("*.json"))
EXCEPTIONS = ROOT / "contracts" / "exceptions.json"


def independent(server, recording, *args):
    reset = f"{BINARY} reset --data {server.data} --yes"
    return subprocess.run([sys.executable, str(ROOT / "tests/contract/replay.py"), "--base", server.base, "--reset", reset,
                           "--json", *args, str(recording)], capture_output=True, text=True)


def own(server, recording, *args):
    return server.cli("replay", str(recording), "--against", server.base, "--reset", "--data", server.data, "--json", *args)


def places(text):
    return {(row["scenario"], row["exchange"]) for row in json.loads(text)["unexpected"]}


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda p: p.stem)
def test_no_unexpected_difference(server, recording):
    done = own(server, recording, "--expect", str(EXCEPTIONS))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda p: p.stem)
def test_the_independent_replayer_agrees(server, recording):
    theirs = independent(server, recording)
    ours = own(server, recording)
    assert places(theirs.stdout) == places(ours.stdout)
    wanted = {(e["scenario"], e["exchange"]) for e in json.loads(EXCEPTIONS.read_text())}
    assert places(theirs.stdout) == {p for p in wanted if p[0] == recording.stem}


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
