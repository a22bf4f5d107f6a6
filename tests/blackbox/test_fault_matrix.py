"""The fault matrix: each fault in each stage, under load, and what clients see of it. docs/faults.md shows the same table.

A client whose side answers must see nothing of any fault. Who is with the side that is broken gets 5xx, never half an answer for the whole; and
it ends by itself (usher steps back) or with the fault.

How to add a fault: a row in FAULTS, and what is to be seen of it in docs/faults.md.
"""
import os
import re
import signal
import socket
import threading
import time

import pytest

from conftest import ROOT, wait_for
from faultlib import Cluster
from gatewaylib import Wire
from shadowlib import EVENT, Backend, Gateway, event

STAGES = ("shadow", "canary", "new")
ASIDE_MS = 25
# A side is aside for up to eight times that, and for as long again one request tries it while the others are refused.
CIRCUITS_CLOSED_S = 2 * 8 * ASIDE_MS / 1000 + 0.1
NOTHING = "–"


class Side:
    """A back end that is well, or not, at one port."""

    def __init__(self, name):
        self.name, self.gate, self.backend = name, threading.Event(), None
        self.port = 0
        self.well()

    def well(self):
        self.gate.set()
        if self.backend is None:
            self.backend = Backend(self.name, port=self.port)
            self.port = self.backend.port
        self.backend.answer = lambda h, body: Backend.json(event(), headers={"X-Side": self.name})

    def dead(self):
        self.backend.answer = lambda h, body: None
        self.backend.close()
        self.backend = None

    def hangs(self):
        self.gate.clear()
        self.backend.answer = lambda h, body: self.gate.wait(60) and None

    def babbles(self):
        self.backend.answer = lambda h, body: h.wfile.write(b"\0 is no HTTP\r\n\r\n") and None

    def lies(self):
        self.backend.answer = lambda h, body: Backend.json(event(price=1), headers={"X-Side": self.name})


class World:
    def __init__(self, folder):
        self.cluster = Cluster().start()
        self.sides = {name: Side(name) for name in ("old", "new")}
        self.routes = folder / "routes.json"
        self.route(30)
        env = {"CANARY_KEY": "cookie:user", "GATEWAY_ROUTES": str(self.routes), "RESTART_INTENSITY": "1000"}
        self.gateway = Gateway(self.cluster.url, f"http://127.0.0.1:{self.sides['old'].port}", f"http://127.0.0.1:{self.sides['new'].port}",
                               env=env, workers=2)

    def route(self, keep_s):
        limits = {"first_byte_timeout": "2s", "keep_alive": f"{keep_s}s", "aside": f"{ASIDE_MS}ms"}
        urls = {name: f"http://127.0.0.1:{side.port}" for name, side in self.sides.items()}
        beside = self.routes.with_suffix(".new")
        beside.write_text(str({"upstreams": {n: {"urls": [url], **limits} for n, url in urls.items()}}).replace("'", '"'))
        beside.rename(self.routes)

    def stage(self, stage):
        """All clients go by it when this returns."""
        g = self.gateway
        if self.stage_now() != "legacy":
            g.stage("events", "reads", "rollback", "--legacy")
        g.stage("events", "reads", *{"shadow": ("shadow",), "canary": ("canary", "--percent", "50", "--force"), "new": ("promote", "--force")}[stage])
        wait_for(lambda: g.sql("SELECT count(*) FROM gateway.gateways WHERE seen_at > clock_timestamp() - interval '5 seconds' AND followed_epochs = "
                               "(SELECT coalesce(sum(epoch), 0) FROM gateway.stages)") == [(1,)], 60, "stages followed")

    def stage_now(self):
        rows = self.gateway.sql("SELECT stage FROM gateway.stages WHERE context = 'events'")
        return rows[0][0] if rows else "legacy"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("matrix"))
    try:
        with made.gateway:
            yield made
    finally:
        made.cluster.close()


# --- clients ------------------------------------------------------------------------------------------------------------

class Client:
    """One caller, on a connection that is kept; what it saw: its side's name, a status, or "cut"."""

    def __init__(self, port, user):
        self.port, self.user, self.wire, self.saw = port, user, None, []
        self.primary = None
        self.request = f"GET /events/{EVENT} HTTP/1.1\r\nHost: x\r\nCookie: user={user}\r\n\r\n".encode()

    def ask(self):
        try:
            if self.wire is None:
                self.wire = Wire(socket.create_connection(("127.0.0.1", self.port), timeout=60))
            self.wire.send(self.request)
            reply = self.wire.answer()
            if reply is None or not reply.whole:
                raise ConnectionError("no whole answer")
            if "close" in reply.get("connection"):
                self.wire = None
            self.saw.append(reply.get("x-side")[0] if reply.status == 200 else reply.status)
        except OSError:
            self.wire = None
            self.saw.append("cut")

    def failures(self):
        return [what for what in self.saw if what not in ("old", "new")]


class Clients:
    def __init__(self, port, users):
        self.all = [Client(port, user) for user in users]
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(client,), daemon=True) for client in self.all]

    def run(self, client):
        while not self.stop.is_set():
            client.ask()
            time.sleep(0.002)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.more(5)
        for client in self.all:
            client.primary = client.saw[-1]
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(90)

    def more(self, n=20, of=None):
        """Until each has asked so many times more."""
        until = [(client, len(client.saw) + n) for client in self.all if of is None or client.primary == of]
        wait_for(lambda: all(len(client.saw) >= wanted for client, wanted in until), 120, "answers")

    def well_again(self):
        wait_for(lambda: all(client.saw[-1] in ("old", "new") for client in self.all), 120, "all are answered again")
        self.more(5)
        assert all(set(client.saw[-5:]) <= {"old", "new"} for client in self.all)


# --- faults: how each begins and ends, and whose it is ------------------------------------------------------------------

def new_workers(world, role, kill):
    before = wait_for(lambda: world.gateway.pids(role), what=f"a {role} worker")
    os.kill(before[0], kill)
    wait_for(lambda: before[0] not in (now := world.gateway.pids(role)) and len(now) == len(before), 60, f"another {role} worker")


def postgres_dead(world, clients):
    world.cluster.stop(signal.SIGQUIT)
    clients.more(50)
    world.cluster.start()


def postgres_hangs(world, clients):
    frozen = world.cluster.freeze()
    clients.more(50)
    world.cluster.thaw(frozen)


def shadow_killed(world, clients):
    for _ in range(2):
        new_workers(world, "shadow", signal.SIGKILL)
        clients.more(10)


def worker_killed(world, clients):
    new_workers(world, "gateway", signal.SIGKILL)


def reloads(world, clients):
    for keep_s in (31, 32, 30):
        world.route(keep_s)
        world.gateway.process.send_signal(signal.SIGHUP)
        clients.more(15)


def there_and_back(world, clients):
    stage = world.stage_now()
    for to in ("promote", "rollback", "promote", "rollback"):
        world.gateway.stage("events", "reads", to, *(["--force"] if to == "promote" else []))
        clients.more(20)
    assert stage in STAGES


# name: (whose side is broken, or what is done)
FAULTS = {
    "new side dead": ("new", Side.dead),
    "new side hangs": ("new", Side.hangs),
    "new side babbles": ("new", Side.babbles),
    "new side lies": ("new", Side.lies),
    "old side dead": ("old", Side.dead),
    "old side hangs": ("old", Side.hangs),
    "old side babbles": ("old", Side.babbles),
    "Postgres dead": (None, postgres_dead),
    "Postgres hangs": (None, postgres_hangs),
    "shadow worker killed": (None, shadow_killed),
    "gateway worker killed": (None, worker_killed),
    "reload": (None, reloads),
    "stage changed": (None, there_and_back),
}


def documented():
    """docs/faults.md: fault → stage → what is to be seen."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", (ROOT / "docs/faults.md").read_text(), re.M)
    return {row[0]: dict(zip(STAGES, row[1:])) for row in rows if row[0] in FAULTS}


def test_every_fault_is_documented():
    assert list(documented()) == list(FAULTS)


@pytest.fixture(scope="module")
def table(request):
    """What was counted, printed at the end."""
    seen = {}
    yield seen
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{'fault':24}" + "".join(f"{stage:>40}" for stage in STAGES))
        for fault in FAULTS:
            cells = (seen.get((fault, stage)) for stage in STAGES)
            print(f"{fault:24}" + "".join(f"{c[1]} lost of {c[0]}, {c[2]} without cause".rjust(40) if c else f"{'not run':>40}" for c in cells))


def begin(world, clients, fault, expected):
    """Returns when it has been seen what is to be seen of it."""
    side, act = FAULTS[fault]
    if side is None:
        act(world, clients)
        return
    act(world.sides[side])
    clients.more(15, of="new" if side == "old" else "old")
    if "steps back" in expected:
        wait_for(lambda: world.stage_now() == "shadow", 120, "a step back")
        clients.well_again()  # while the fault is still there
    elif expected != NOTHING:
        wait_for(lambda: all(client.failures() for client in clients.all if client.primary == side), 120, "failures")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("fault", FAULTS)
def test_cell(world, table, fault, stage):
    side, expected = FAULTS[fault][0], documented()[fault][stage]
    world.stage(stage)
    with Clients(world.gateway.port, range(8)) as clients:
        assert {client.primary for client in clients.all} == {"shadow": {"old"}, "canary": {"old", "new"}, "new": {"new"}}[stage]
        clients.more(8)
        try:
            begin(world, clients, fault, expected)
        finally:
            for healed in world.sides.values():
                healed.well()
        clients.well_again()
    if side is not None:
        time.sleep(CIRCUITS_CLOSED_S)  # after a step back nobody has asked that side since
    asked = sum(len(client.saw) for client in clients.all)
    failed = sum(len(client.failures()) for client in clients.all)
    without_cause = sum(len(client.failures()) for client in clients.all if client.primary != side)
    table[fault, stage] = asked, failed, without_cause
    if fault == "gateway worker killed":
        assert all(client.failures() in ([], ["cut"]) for client in clients.all), "at most what it had in hand"
        return
    assert without_cause == 0, [(c.primary, c.failures()[:3]) for c in clients.all]
    assert (failed == 0) == (expected == NOTHING), (expected, [client.failures()[:3] for client in clients.all])
    assert {what for client in clients.all for what in client.failures()} <= {502, 503, 504}, "nobody is cut off"
