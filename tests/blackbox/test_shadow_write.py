"""`usher shadow-write`: recorded writes are run, compared with the old side, and nothing of them stays."""
import json
import os
import signal
import subprocess

import psycopg2
import pytest

from conftest import BINARY, ROOT, wait_for
from shadowlib import CONTEXTS, everything, kept_user

RECORDINGS = [ROOT / f"contracts/http/{name}.json" for name in ("07-events-update", "08-users-crud", "12-tickets-purchase")]
EXCEPTIONS = ROOT / "contracts/exceptions.json"
USERS = ROOT / "contracts/http/08-users-crud.json"
USER_MESSAGES = ROOT / "contracts/messages/08-users-crud.json"


def shadow_write(server, recording, *args):
    return server.cli("shadow-write", str(recording), "--data", server.data, "--json", *args)


def advanced(server, recording, *args):
    server.reset()
    return shadow_write(server, recording, "--advance", server.base, "--expect", str(EXCEPTIONS), *args)


def sequences(server):
    return dict(server.sql("SELECT schemaname || '.' || sequencename, coalesce(last_value, 0) FROM pg_sequences WHERE schemaname = ANY(%s)",
                           list(CONTEXTS)))


def changed(tmp_path, source, change):
    """A copy of a document under tests' own folder, after change(document)."""
    document = json.loads(source.read_text())
    change(document)
    path = tmp_path / source.parent.name / source.name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def first_message(document, kind="Integration.Users"):
    return next(m for m in document["messages"] if m["exchange"].startswith(kind))


def differing(report):
    return [line for row in report["writes"] if not row["expected"] for line in row["differences"]]


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda p: p.stem)
def test_the_new_side_would_do_what_the_old_side_did(server, recording):
    done = advanced(server, recording)
    report = json.loads(done.stdout)
    assert done.returncode == 0, [w for w in report["writes"] if w["differences"] and not w["expected"]]
    assert report["tried"] > 0 and report["failed"] == 0


def test_nothing_stays(server):
    kept_user(server)
    before, counters = everything(server), sequences(server)
    assert "users.users" in before
    report = json.loads(shadow_write(server, USERS).stdout)
    made = [row for row in report["writes"] if row["status"] == 201]
    assert made and all(row["actions"][0]["tables"] for row in made)
    assert everything(server) == before
    assert server.sql("SELECT count(*) FROM users.outbox WHERE payload LIKE '%%Ann Able%%'") == [(0,)]
    moved = {name for name, value in sequences(server).items() if value != counters[name]}
    assert all("outbox" in name or "job" in name for name in moved), "positions may have gaps; nothing else may move"


def test_what_would_be_written_and_published_is_told(server):
    report = json.loads(advanced(server, USERS).stdout)
    action = next(row for row in report["writes"] if row["status"] == 201)["actions"][0]
    tables = {t["table"]: t for t in action["tables"]}
    assert (action["resource"], action["action"]) == ("user", "create")
    assert tables["users.users"]["inserted"] == 1 and tables["users.users"]["rows"][0]["email"] == "ann@example.com"
    assert action["messages"][0]["type"] == "Integration.Users.Messaging.Messages:UserUpserted"
    assert action["messages"][0]["message"]["id"] == tables["users.users"]["rows"][0]["id"]


def test_another_answer_is_a_difference(server, tmp_path):
    def change(document):
        exchange = next(e for e in document["exchanges"] if e["response"]["status"] == 201)
        exchange["response"]["status"] = 200
    done = advanced(server, changed(tmp_path, USERS, change), "--messages", str(USER_MESSAGES))
    assert done.returncode == 1 and differing(json.loads(done.stdout)) == ["status: want 200, got 201"]


def test_another_message_is_a_difference(server, tmp_path):
    def change(document):
        message = first_message(document)
        message["body"] = message["body"].replace("Ann Able", "Ann Other")
    done = advanced(server, USERS, "--messages", str(changed(tmp_path, USER_MESSAGES, change)))
    lines = differing(json.loads(done.stdout))
    assert done.returncode == 1 and len(lines) == 1 and "/fullName" in lines[0] and "Ann Other" in lines[0]


def test_a_message_that_did_not_come_is_said_so(server, tmp_path):
    def change(document):
        document["messages"].remove(first_message(document))
    done = advanced(server, USERS, "--messages", str(changed(tmp_path, USER_MESSAGES, change)))
    lines = differing(json.loads(done.stdout))
    assert done.returncode == 1 and "message Integration.Users.Messaging.Messages:UserUpserted: no message seen" in lines


def test_a_message_that_nobody_would_publish_is_a_difference(server, tmp_path):
    def change(document):
        extra = dict(first_message(document))
        extra["body"] = extra["body"].replace("Ann Able", "Ann Extra")
        document["messages"].append(extra)
    done = advanced(server, USERS, "--messages", str(changed(tmp_path, USER_MESSAGES, change)))
    assert done.returncode == 1 and differing(json.loads(done.stdout)) == [
        "message Integration.Users.Messaging.Messages:UserUpserted: seen, and would not be published"]


def test_a_huge_body_is_skipped_and_counted(server, tmp_path):
    def change(document):
        post = next(e for e in document["exchanges"] if e["request"]["method"] == "POST")
        post["request"]["body"] = json.dumps({"FullName": "x" * 70000})
        document["exchanges"] = [post]
    report = json.loads(shadow_write(server, changed(tmp_path, USERS, change)).stdout)
    assert (report["skipped"], report["tried"]) == (1, 0)


def test_without_postgres_it_says_so(server, tmp_path):
    def change(document):
        document["exchanges"] = [next(e for e in document["exchanges"] if e["response"]["status"] == 201)]
    done = server.cli("shadow-write", str(changed(tmp_path, USERS, change)), "--json",
                      env={"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})
    assert done.returncode == 2 and json.loads(done.stdout)["failed"] == 1


def test_a_trial_process_that_is_killed_ends_the_command(server, tmp_path):
    """The trial waits for a lock that this test holds; meanwhile its process dies."""
    connection = psycopg2.connect(server.url())
    with connection.cursor() as cursor:
        cursor.execute("LOCK users.users IN ACCESS EXCLUSIVE MODE")
        running = subprocess.Popen([BINARY, "shadow-write", str(USERS), "--data", server.data], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        children = f"/proc/{running.pid}/task/{running.pid}/children"
        child = wait_for(lambda: open(children).read().split(), what="the trial's process")
        os.kill(int(child[0]), signal.SIGKILL)
        _, said = running.communicate(timeout=60)
    connection.close()
    assert running.returncode == 2 and "gave no answer" in said
    assert server.get("/users").json() == []


def test_a_lock_that_is_not_had_is_no_difference(server, tmp_path):
    def change(document):
        document["exchanges"] = [next(e for e in document["exchanges"] if e["response"]["status"] == 201)]
    connection = psycopg2.connect(server.url())
    try:
        connection.cursor().execute("LOCK users.users IN ACCESS EXCLUSIVE MODE")
        done = shadow_write(server, changed(tmp_path, USERS, change))
    finally:
        connection.close()
    report = json.loads(done.stdout)
    assert (done.returncode, report["failed"], report["unexpected"]) == (2, 1, 0), done.stdout


@pytest.mark.parametrize("args", [["/nowhere.json"], [str(USERS), "--messages", str(EXCEPTIONS)], [str(USERS), "--advance", "ftp://x"]])
def test_wrong_use(server, args):
    assert server.cli("shadow-write", *args, "--data", server.data).returncode == 2
