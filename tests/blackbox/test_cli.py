"""The command line as its users meet it."""
import json
import os
import subprocess

import pytest

from conftest import BINARY, ROOT


def run(*args, env=None):
    return subprocess.run([BINARY, *args], capture_output=True, text=True, cwd=ROOT, env={**os.environ, **(env or {})})


def test_help_lists_every_command_and_each_has_its_own():
    listed = run("help")
    assert listed.returncode == 0
    names = [line.split()[0] for line in listed.stdout.splitlines() if line.startswith("  ")]
    assert {"serve", "dev", "reset", "seed", "migrate", "routes", "replay", "quirks", "doctor", "config", "version",
            "help"} <= set(names)
    for name in names:
        one = run("help", name)
        assert one.returncode == 0 and one.stdout.startswith(f"use: usher {name}")
        assert run(name, "--help").stdout == one.stdout


@pytest.mark.parametrize("args, status, words", [
    ([], 2, ""),
    (["nonsense"], 2, "there is no command"),
    (["routes", "--nonsense"], 2, "has no option --nonsense"),
    (["replay"], 2, "use: usher replay"),
    (["replay", "--against"], 2, "needs a value"),
    (["replay", "nowhere.json"], 2, "nowhere.json"),
    (["replay", "README.md"], 2, "is no recording"),
    (["reset"], 2, "--yes"),
    (["reset", "--yes", "--data", "nowhere"], 2, "usher dev --data nowhere"),
    (["migrate", "sideways"], 2, "up, down, status, verify or generate"),
    (["migrate", "generate", "--context", "nope"], 2, "there is no context"),
    (["help", "nonsense"], 2, "there is no command"),
    (["serve"], 2, "set DATABASE_URL"),
])
def test_wrong_use_is_explained(args, status, words):
    done = run(*args, env={"DATABASE_URL": ""})
    assert done.returncode == status
    assert words in done.stdout + done.stderr


@pytest.mark.parametrize("name, value", [("REQUEST_TIMEOUT", "soon"), ("HTTP_WORKERS", "0"), ("BODY_MAX", "lots"),
                                         ("QUIRKS_OFF", "no-such-quirk"), ("LOG_LEVEL", "loud"), ("ROLES", "http,cook")])
def test_a_bad_setting_is_named(name, value):
    done = run("config", env={name: value})
    assert done.returncode == 2
    assert name in done.stderr


def test_all_bad_settings_are_told_at_once():
    done = run("config", env={"REQUEST_TIMEOUT": "soon", "HTTP_WORKERS": "x"})
    assert "REQUEST_TIMEOUT" in done.stderr and "HTTP_WORKERS" in done.stderr


def test_config_masks_passwords():
    done = run("config", "--json", env={"DATABASE_URL": "postgresql://joe:hunter2@db/x"})
    assert done.returncode == 0
    assert "hunter2" not in done.stdout
    assert json.loads(done.stdout)["LISTEN"] == "127.0.0.1:5000"


def test_routes_are_an_inventory():
    rows = json.loads(run("routes", "--json").stdout)
    assert {(r["method"], r["path"].lower()) for r in rows} >= {("GET", "/events"), ("POST", "/users")}
    old = [r for r in rows if r["surface"] == "compat"]
    assert len(old) == 12
    assert all(sum(r["recordings"].values()) > 0 for r in old), "a route that no recording covers"


def test_quirks_can_be_switched_off():
    rows = {r["name"]: r["on"] for r in json.loads(run("quirks", "--json").stdout)}
    assert rows and all(rows.values())
    off = {r["name"]: r["on"] for r in json.loads(run("quirks", "--json", env={"QUIRKS_OFF": "cors-any"}).stdout)}
    assert not off["cors-any"] and off["methods-any-case"]
    assert not any(r["on"] for r in json.loads(run("quirks", "--json", env={"QUIRKS_OFF": "all"}).stdout))


def test_version():
    done = run("version", "--json")
    assert json.loads(done.stdout)["usher"]


def test_man_page_and_completion_are_fresh():
    assert run("help", "--man").stdout == (ROOT / "docs/usher.1").read_text(), "run `make docs`"
    assert run("help", "--completion").stdout == (ROOT / "deploy/usher.bash-completion").read_text(), "run `make docs`"


def test_man_page_is_clean_roff():
    done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(ROOT / "docs/usher.1")],
                          capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""


def test_completion_completes():
    script = f"source {ROOT}/deploy/usher.bash-completion; COMP_WORDS=(usher mi); COMP_CWORD=1; _usher; echo ${{COMPREPLY[@]}}"
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True).stdout.strip() == "migrate"


def test_a_broker_that_is_gone_is_said_so_at_once():
    done = run("bus", "dead", "list", env={"AMQP_URL": "amqp://127.0.0.1:1/", "DATABASE_URL": "postgresql:///x"})
    assert done.returncode == 2 and "connection refused" in done.stderr.lower(), done.stderr
