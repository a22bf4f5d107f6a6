"""`usher dev`: one command from nothing to a serving system, and nothing left behind."""
import json
import os
import pathlib
import signal
import socket
import subprocess

from conftest import BINARY, Usher, wait_for


def pids_with(text):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if text in line:
            found.append(int(entry.name))
    return found


def test_seeded_served_stopped_and_started_again_on_the_same_data():
    usher = Usher(seed=True)
    try:
        usher.start()
        events = usher.get("/events").json()
        assert len(events) == 6
        usher.tickets(events[0]["Id"], {"O2ArenaLondon": 10}.get(events[0]["Venue"], 15))
        assert len(usher.get("/users").json()) == 3
        assert usher.stop() == 0
        assert pids_with(usher.data) == []
        usher.start()
        assert usher.get("/events").json() == events
        assert usher.stop(signal.SIGINT) == 0
    finally:
        usher.close()


def test_killed_it_leaves_nothing_running_and_recovers():
    usher = Usher()
    try:
        usher.start()
        user = usher.new_user()
        usher.process.kill()
        usher.process.wait()
        wait_for(lambda: pids_with(usher.data) == [], what="everything to end with its parent")
        usher.start()
        assert usher.get(f"/users/{user}").status == 200
    finally:
        usher.close()


def test_an_interrupt_from_the_terminal_drains():
    """It goes to the whole process group. A request that is half sent is still answered."""
    usher = Usher(own_group=True)
    try:
        usher.start()
        body = b'{"FullName": "Ada", "Email": "ada@example.com", "UserType": "Customer"}'
        with socket.create_connection(("127.0.0.1", usher.port), timeout=60) as half:
            half.sendall(b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
            half.sendall(body[:10])
            wait_for(lambda: usher.get("/events").status == 200, what="an answer")
            os.killpg(usher.process.pid, signal.SIGINT)
            wait_for(lambda: any("worker drains" in line for line in usher.log), what="the drain")
            half.sendall(body[10:])
            assert half.recv(4096).startswith(b"HTTP/1.1 201 ")
        assert usher.process.wait(30) == 0
        usher.stop()
        assert not any("killing workers" in line for line in usher.log)
    finally:
        usher.close()


def test_two_cannot_share_a_folder(shared_server):
    second = subprocess.run([BINARY, "dev", "--data", shared_server.data, "--listen", "127.0.0.1:1"], capture_output=True,
                            text=True)
    assert second.returncode == 2
    assert "another `usher dev` runs on" in second.stderr


def test_a_taken_port_is_explained(shared_server, tmp_path):
    tmp_path.chmod(0o755)
    second = subprocess.run([BINARY, "dev", "--data", str(tmp_path), "--listen", f"127.0.0.1:{shared_server.port}"],
                            capture_output=True, text=True)
    assert second.returncode != 0
    assert "in use" in second.stdout + second.stderr
    assert pids_with(str(tmp_path)) == []


def test_reset_empties_and_is_final(server):
    event = server.new_event()
    server.tickets(event)
    user = server.new_user()
    done = server.cli("reset", "--data", server.data, "--yes", check=0)
    assert "emptied" in done.stdout
    assert server.get("/events").json() == [] and server.get("/users").json() == []
    assert server.get(f"/events/{event}").status == 404 and server.get(f"/users/{user}").status == 404
    assert server.sql("SELECT count(*) FROM tickets.tickets")[0][0] == 0
    assert server.sql("SELECT count(*) FROM events.event_venues")[0][0] == 10


def test_nothing_asked_before_a_reset_has_an_effect_after_it(server):
    """Twenty rounds of: create, reset at once; then no ticket may ever appear."""
    for day in range(1, 21):
        server.new_event(day=day)
        server.reset()
        assert server.sql("SELECT count(*) FROM tickets.tickets")[0][0] == 0
    marker = server.new_event()
    server.tickets(marker)  # the pipeline has been through: whatever was older would have come first
    assert server.sql("SELECT count(DISTINCT event_id) FROM tickets.tickets")[0][0] == 1


def test_doctor_is_content_with_a_dev_database(server):
    done = server.cli("doctor", "--json", env={"LISTEN": "127.0.0.1:0"})
    rows = json.loads(done.stdout)
    assert done.returncode == 0, [r for r in rows if r["finding"] == "wrong"]
    assert {"events", "users", "tickets", "bus", "listen"} <= {r["subject"] for r in rows}


def test_doctor_says_how_to_mend():
    done = subprocess.run([BINARY, "doctor"], capture_output=True, text=True,
                          env={**os.environ, "DATABASE_URL": "postgresql:///x?host=/nowhere"})
    assert done.returncode == 1
    assert "-> is Postgres running" in done.stdout


def test_migrations_agree_with_declarations_and_catalogue(server):
    server.cli("migrate", "verify", check=0)
    server.cli("migrate", "generate", "--check", check=0)
    rows = [json.loads(line) for line in server.cli("migrate", "status", "--json", check=0).stdout.splitlines()]
    assert rows and all(r["applied"] and not r["checksum_differs"] for r in rows)


def test_drift_is_found(server):
    server.sql("ALTER TABLE users.users ADD COLUMN sneaked_in integer")
    try:
        done = server.cli("migrate", "verify")
        assert done.returncode == 1 and "sneaked_in" in done.stdout
    finally:
        server.sql("ALTER TABLE users.users DROP COLUMN sneaked_in")
    server.cli("migrate", "verify", check=0)


def test_contexts_have_their_own_roles_and_no_more(server):
    for role, foreign in (("usher_events", "users.users"), ("usher_users", "tickets.tickets"), ("usher_tickets", "events.events")):
        assert server.sql("SELECT has_table_privilege(%s, %s, 'SELECT')", role, foreign)[0][0] is False
        assert server.sql("SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = %s", role)[0][0] is False
