"""`usher rehearse`: the whole way and back under load, and that the stage is as it was whatever happens on the way."""
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse

import psycopg2
import pytest

from certs import Authority
from conftest import BINARY, ROOT, Usher, free_port, wait_for
from shadowlib import EVENT, Backend, Gateway, event

sys.path.append(str(ROOT / "tests/chaos"))
from faultproxy import FaultProxy  # noqa: E402

QUICK = ("--phase", "300ms", "--gates-within", "60s", "--samples", "30", "--limit", "20", "--among-clients")
FORCE = ("--force", "a test", "--slack", "60")  # no test asks how long anything took

# Too little for any gate to know. It stays in stage shadow for a minute, hoping; BRIEF does not, and --force overrides.
SLOW = ("--phase", "300ms", "--gates-within", "60s", "--samples", "1000000", "--among-clients", *FORCE)
BRIEF = (*SLOW, "--gates-within", "0s")


class Rehearsal:
    """One running in the background."""

    def __init__(self, gateway, *args, context="events", url=None, env=None):
        self.gateway = gateway
        url = url or f"http://127.0.0.1:{gateway.port}"
        self.process = subprocess.Popen([BINARY, "rehearse", context, *args, "--json", "--url", url], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**gateway.env, **(env or {})})

    def stage(self, wanted, part="reads"):
        """Waits until the stage is that."""
        def look():
            assert self.process.poll() is None, self.process.communicate()
            return self.gateway.sql("SELECT stage FROM gateway.stages WHERE part = %s", part) == [(wanted,)]
        wait_for(look, 120, f"stage {wanted}")

    def load(self):
        """Its other process."""
        child, = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout.split()
        return int(child)

    def end(self, status):
        out, err = self.process.communicate(timeout=180)
        assert self.process.returncode == status, out + err
        return json.loads(out) if out else err


@pytest.fixture
def old():
    backend = Backend("old", lambda h, body: listing(h))
    yield backend
    backend.close()


@pytest.fixture
def new():
    backend = Backend("new", lambda h, body: listing(h))
    yield backend
    backend.close()


def listing(handler):
    return Backend.json([event()] if handler.path == "/events" else event())


@pytest.fixture
def gateway(shared_server, old, new):
    with Gateway(shared_server.url(), old.url, new.url, env={"CANARY_KEY": "cookie:user", "SHADOW_RECHECK": "20ms"}, workers=2) as made:
        made.clear()
        made.sql("DELETE FROM gateway.rehearsals")
        yield made
        made.clear()


def put_back(gateway, part="reads"):
    assert gateway.sql("SELECT stage, paused_until FROM gateway.stages WHERE context = 'events' AND part = %s", part) in (
        [("legacy", None)], [])
    assert gateway.sql("SELECT * FROM gateway.rehearsals") == []


def test_the_whole_way_between_two_real_sides(server):
    """Both sides are usher: what answers one request must answer the other."""
    server.new_event()
    with Gateway(server.url(), server.base, server.base, env={"CANARY_KEY": "cookie:user"}, workers=2) as gateway:
        gateway.clear()
        report = Rehearsal(gateway, *QUICK, *FORCE, "--rate", "400").end(0)
        assert report["outcome"] == "passed" and report["problems"] == [] and report["restored"] is True
        phases = {p["name"]: p for p in report["phases"]}
        assert list(phases) == ["before", "shadow", "canary", "promote", "rollback"]
        assert all(p["requests"] > 0 and p["failed"] == 0 and 0 < p["p50_us"] <= p["p99_us"] <= p["longest_us"] for p in phases.values())
        assert phases["before"]["acted_ms"] is None
        assert all(phases[n]["acted_ms"] >= 0 for n in ("shadow", "canary", "promote", "rollback"))
        gates = {g["name"]: g["state"] for g in phases["shadow"]["gates"]}
        assert gates["comparisons"] == gates["differences"] == gates["errors"] == "holds"
        assert gates["parity"] == gates["sync lag"] == "not available"
        changes = gateway.sql("SELECT from_stage, to_stage, forced, why FROM gateway.stage_changes ORDER BY id")
        assert changes == [("legacy", "shadow", False, "rehearsal: shadow; a test"),
                           ("shadow", "canary", True, "rehearsal: canary; a test"),
                           ("canary", "new", True, "rehearsal: promote; a test"),
                           ("new", "shadow", False, "rehearsal: rollback; a test"),
                           ("shadow", "legacy", False, "rehearsal: put back as it was")]
        put_back(gateway)
        gateway.clear()


def test_it_is_refused_before_anything_is_changed(gateway, tmp_path):
    def refused(words, *args, status=2):
        done = gateway.cli("rehearse", *args, "--url", f"http://127.0.0.1:{gateway.port}", check=status)
        assert words in done.stderr, done.stderr

    refused("gates are not available; nothing was changed", "events", "--among-clients", status=1)
    refused("it is reads or writes", "events", "both")
    refused("which context", "venues")
    refused("needs a reason", "events", "--force", "")
    refused("writes are rehearsed with --requests only", "events", "writes", *FORCE, "--among-clients")
    done = gateway.cli("rehearse", "events", "--url", "http://192.0.2.7:80", check=2)
    assert "--i-mean-it 192.0.2.7" in done.stderr
    for text, words in (("get /events\n", "line 1 begins with no method"), ("# a\nGET events\n", "line 2 has no target"),
                        ("GET /events {}\n", "a GET has no body"), ("POST /events {}\n", "no request that may be asked"),
                        ('{"exchanges": 1}', "it is no recording"), ('{"a', "it is no recording")):
        (tmp_path / "load").write_text(text)
        refused(words, "events", *FORCE, "--among-clients", "--requests", str(tmp_path / "load"))
    gateway.stage("events", "reads", "promote", "--force")
    refused("is in stage new", "events", *FORCE)
    assert gateway.sql("SELECT count(*) FROM gateway.stage_changes") == [(1,)]
    assert gateway.sql("SELECT * FROM gateway.rehearsals") == []


def test_an_old_side_that_errs_is_not_rehearsed(gateway, old):
    """Nothing is changed: what fails already proves nothing."""
    n = [0]

    def erring(handler, body):
        n[0] += 1
        return Backend.json({}, status=500) if n[0] % 20 == 0 else listing(handler)

    old.answer = erring
    report = Rehearsal(gateway, *QUICK, *FORCE, "--phase", "10s").end(1)
    assert report["outcome"] == "failed" and "the old side is not well" in report["problems"][0]
    assert [p["name"] for p in report["phases"]] == ["before"] and "500" in report["failed"][0]
    assert gateway.sql("SELECT * FROM gateway.stage_changes") == []
    put_back(gateway)


def test_an_old_side_that_dies_in_the_middle_ends_it(gateway, old):
    rehearsal = Rehearsal(gateway, *QUICK, *FORCE, "--phase", "30s")
    wait_for(lambda: old.count("GET") > 20, what="load")
    old.answer = lambda h, body: None
    report = rehearsal.end(1)
    assert report["outcome"] == "failed" and report["restored"] is True and report["failed"]
    put_back(gateway)


def test_an_old_side_that_is_slow_is_waited_for(gateway, old):
    old.answer = lambda h, body: time.sleep(0.05) or listing(h)
    report = Rehearsal(gateway, *BRIEF, "--clients", "4").end(0)
    phases = {p["name"]: p for p in report["phases"]}
    assert phases["before"]["p50_us"] >= 50000 and sum(p["failed"] for p in report["phases"]) == 0


def test_the_load_dies(gateway):
    rehearsal = Rehearsal(gateway, *SLOW)
    rehearsal.stage("shadow")
    os.kill(rehearsal.load(), signal.SIGKILL)
    assert "the load's process has died" in rehearsal.end(1)["problems"]
    put_back(gateway)


def test_a_new_side_that_differs_is_not_promoted(gateway, new):
    new.answer = lambda h, body: Backend.json(event(price=1))
    report = Rehearsal(gateway, *QUICK, *FORCE, "--gates-within", "6s", "--limit", "1").end(1)
    assert [p["name"] for p in report["phases"]] == ["before", "shadow"], "what fails is not overridden"
    assert any("gate differences fails" in p for p in report["problems"])
    assert sum(p["failed"] for p in report["phases"]) == 0
    put_back(gateway)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_stage_is_put_back_when_it_is_ended(gateway, number):
    """By Ctrl-C, or killed: then the load's process does it."""
    rehearsal = Rehearsal(gateway, *SLOW)
    rehearsal.stage("shadow")
    rehearsal.process.send_signal(number)
    if number == signal.SIGINT:
        report = rehearsal.end(1)
        assert report["outcome"] == "interrupted" and report["restored"] is True
    else:
        out, err = rehearsal.process.communicate(timeout=60)
        assert not out and "its process was killed" in err
    put_back(gateway)
    (why,) = gateway.sql("SELECT why FROM gateway.stage_changes ORDER BY id DESC LIMIT 1")[0]
    assert why.startswith("rehearsal: put back as it was")


def test_when_all_of_it_was_killed_undo_puts_it_back(gateway):
    rehearsal = Rehearsal(gateway, *SLOW)
    rehearsal.stage("shadow")
    load = rehearsal.load()
    os.kill(load, signal.SIGSTOP)  # not to be quicker than we are
    rehearsal.process.kill()
    os.kill(load, signal.SIGKILL)
    rehearsal.process.communicate(timeout=60)
    assert gateway.sql("SELECT stage FROM gateway.stages") == [("shadow",)]
    assert "is not over" in gateway.cli("rehearse", "events", *FORCE, "--url", f"http://127.0.0.1:{gateway.port}", check=2).stderr
    gateway.cli("rehearse", "events", "--undo")
    put_back(gateway)
    assert "no rehearsal" in gateway.cli("rehearse", "events", "--undo").stdout


def test_what_somebody_else_decides_meanwhile_stands(gateway):
    rehearsal = Rehearsal(gateway, *SLOW)
    rehearsal.stage("shadow")
    gateway.stage("events", "reads", "rollback", "--legacy")
    report = rehearsal.end(1)
    assert any("although nobody here asked for it" in p for p in report["problems"]) and "somebody else" in report["stages"]
    put_back(gateway)


def test_postgres_goes_away_in_the_middle(old, new):
    """Clients notice nothing, the rehearsal fails, and the stage is put back when Postgres is there again."""
    with Usher() as own:
        with Gateway(own.url(), old.url, new.url) as gateway:
            rehearsal = Rehearsal(gateway, *SLOW)
            rehearsal.stage("shadow")
            own.stop()
            n = old.count("GET") + new.count("GET")
            wait_for(lambda: old.count("GET") + new.count("GET") > n + 50, what="load goes on")
            own.start()
            report = rehearsal.end(1)
            assert report["restored"] is True and any("Postgres could not be asked" in p for p in report["problems"])
            assert sum(p["failed"] for p in report["phases"]) == 0
            put_back(gateway)


def told_of_postgres(rehearsal):
    said = []
    while not said or "Postgres could not be asked" not in said[-1]:
        said.append(rehearsal.process.stderr.readline())
        assert said[-1], f"it ended without a word of Postgres: {said}"


def test_a_postgres_that_hangs_is_given_up(gateway):
    """It takes what is sent and never answers, as a machine that swaps or a network that swallows."""
    parts = urllib.parse.urlsplit(gateway.database)
    options = dict(urllib.parse.parse_qsl(parts.query))
    proxy = FaultProxy(options["host"] + "/.s.PGSQL.5432")
    through = f"postgresql://127.0.0.1:{proxy.port}{parts.path}?user={options['user']}&connect_timeout=2"
    try:
        rehearsal = Rehearsal(gateway, *SLOW, env={"DATABASE_URL": through})
        rehearsal.stage("shadow")
        proxy.stall()
        told_of_postgres(rehearsal)
        gateway.env, before = {**gateway.env, "DATABASE_URL": through}, gateway.env
        for command in (("cutover", "status"), ("diffs", "list"), ("rehearse", "events", "--undo")):
            assert "timeout" in gateway.cli(*command, check=2).stderr
        gateway.env = before
        proxy.heal()
        report = rehearsal.end(1)
        assert any("has not answered in time" in p for p in report["problems"]), report
        assert report["restored"] is True and sum(p["failed"] for p in report["phases"]) == 0
        put_back(gateway)
    finally:
        proxy.close()


def test_a_lock_that_is_held_is_postgres_fault(gateway):
    """A statement that ends by its time-out is not taken for writers that did not come to rest."""
    with psycopg2.connect(gateway.database) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE gateway.stages IN EXCLUSIVE MODE")
        done = gateway.cli("cutover", "promote", "events", "writes", "--reason", "test", "--force", check=2)
        assert "timeout" in done.stderr and "called off" not in done.stderr, done.stderr
        rehearsal = Rehearsal(gateway, *SLOW)
        told_of_postgres(rehearsal)
        other.rollback()
        assert rehearsal.end(1)["restored"] is True
    put_back(gateway)


def test_gateways_behind_https(shared_server, old, new, tmp_path):
    ca, port = Authority(tmp_path), free_port()
    crt, key = ca.issue("front")
    env = {"TLS_CERT": str(crt), "TLS_KEY": str(key), "CANARY_KEY": "cookie:user", "SHADOW_RECHECK": "20ms"}
    gateway = Gateway(shared_server.url(), old.url, new.url, env=env)
    gateway.env["GATEWAY_LISTEN"] += f",https://127.0.0.1:{port}"
    with gateway:
        gateway.clear()
        url = f"https://127.0.0.1:{port}"
        assert "tls" in Rehearsal(gateway, *BRIEF, url=url).end(2), "whoever that is, it is not the one who is meant"
        assert "nowhere.crt" in Rehearsal(gateway, *BRIEF, url=url + "?cacertfile=/nowhere.crt").end(2)
        assert gateway.sql("SELECT * FROM gateway.stage_changes") == []
        report = Rehearsal(gateway, *BRIEF, url=url + f"?cacertfile={ca.crt}").end(0)
        assert report["url"] == url and all(p["requests"] > 0 and p["failed"] == 0 for p in report["phases"])
        gateway.env["GATEWAY_LISTEN"] = f"https://127.0.0.1:{port}"
        assert "https:// only" in gateway.cli("rehearse", "events", *BRIEF, check=2).stderr
        put_back(gateway)
        gateway.clear()


def test_an_error_step_is_stepped_back_from(gateway, old, new, tmp_path):
    """Requests that were in work when it began are no failures of the phase before."""
    broken = tmp_path / "broken"

    def answer(handler, body):
        time.sleep(0.1)
        return Backend.json({}, status=500) if broken.exists() else listing(handler)
    new.answer = answer
    report = Rehearsal(gateway, *BRIEF, "--break", f"touch {broken}", "--mend", f"rm {broken}").end(0)
    assert [p["name"] for p in report["phases"]] == ["before", "shadow", "canary", "promote", "step back", "after it"]
    assert report["stepped_back_ms"] > 0 and not broken.exists()
    fault = report["phases"][4]
    assert fault["failed"] > 0 and fault["unanswered"] == 0, "no request is dropped"
    put_back(gateway)


def test_a_canary_by_address_splits_the_load(shared_server, old, new):
    with Gateway(shared_server.url(), old.url, new.url, env={"SHADOW_BACK": "false"}) as gateway:
        gateway.clear()
        rehearsal = Rehearsal(gateway, *SLOW, "--phase", "1s", "--gates-within", "5s")
        rehearsal.stage("canary")
        counts = [b.count("GET", mirrored=False) for b in (old, new)]
        wait_for(lambda: all(b.count("GET", mirrored=False) > n + 5 for b, n in zip((old, new), counts)), what="both sides are asked")
        rehearsal.process.send_signal(signal.SIGINT)
        rehearsal.end(1)
        put_back(gateway)
        gateway.clear()


def test_writes_wait_and_none_fails(gateway, old, new, tmp_path):
    (tmp_path / "load").write_text(f"GET /events\nPUT /events/{EVENT} " + json.dumps(event()) + "\n")
    report = Rehearsal(gateway, "writes", *BRIEF, "--pause", "20s", "--requests", str(tmp_path / "load")).end(0)
    phases = {p["name"]: p for p in report["phases"]}
    assert list(phases) == ["before", "promote", "rollback"] and all(p["failed"] == 0 and p["writes"] > 0 for p in phases.values())
    assert phases["promote"]["pause_ms"] >= 0 and phases["promote"]["longest_write_us"] > 0
    assert new.count("PUT") > 0 and old.count("PUT") > 0
    put_back(gateway, part="writes")
