"""bus_cases.py - the bus beside others who use the same broker: relay, inbox, delay, a pinned xmin, memory.

A broker of its own (tools/with-rabbitmq) for each case, beside the durable Postgres of bench/run. Peers say themselves how
long they took and what CPU it cost them, from their first row to the last confirm or acknowledgement, without their start. Of
usher the same is seen from outside: it is running and idle when the clock starts, and the clock ends with what the database
says of the last mark (relay) or the last inbox row (consumer).
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import urllib.parse

import measure
from cases import BUILD, Case, Skip, settle
from measure import ROOT, sql

PEER = BUILD / "bus_peer"
# Of all types the one that goes to a single queue.
RELEASE, RELEASE_QUEUE = "Domain.Tickets.Messages:EventUpserted", "event"
USERS_QUEUE = "user"
GATE_LOCK = 7350428811  # BUS_GATE_LOCK in lib/bus/bus.h: no relay takes a batch while somebody holds it alone
PAYLOAD_BYTES = 500
BATCH = 500  # of usher's relay, and of every peer
PATIENCE_S = 3600  # a million messages on a machine that is busy with other things
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def rows_sql(count):
    """Rows of an outbox as SELECT: `count` messages about 5000 aggregates."""
    ident = "md5('a' || n % 5000)::uuid"
    return f"""SELECT md5('m' || n)::uuid AS message_id, '{RELEASE}' AS type, {ident} AS aggregate,
        rpad('{{"id": "' || {ident} || '", "venue": 3, "price": "12.50", "note": "', {PAYLOAD_BYTES - 2}, 'x') || '"}}' AS payload,
        '{TRACEPARENT}' AS traceparent, clock_timestamp() AS appended_at FROM generate_series(1, {count}) AS n"""


# --- programs --------------------------------------------------------------------------------------------------------

class Broker:
    """A throw-away RabbitMQ that lives until stop(); usher and the peers find it by AMQP_URL."""

    def __init__(self):
        if not pathlib.Path(os.environ.get("USHER_RABBITMQ_BIN", "/usr/lib/rabbitmq/bin"), "rabbitmq-server").exists():
            raise Skip("rabbitmq-server is not installed")
        build_peer()
        self.process = subprocess.Popen([str(ROOT / "tools" / "with-rabbitmq"), "sh", "-c", 'echo "$AMQP_URL $RABBITMQ_DIR"; exec cat'],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        words = self.process.stdout.readline().split()
        if len(words) != 2:
            raise RuntimeError("tools/with-rabbitmq does not start")
        self.url, self.directory = words[0], pathlib.Path(words[1])
        os.environ["AMQP_URL"] = self.url

    def cpu(self):
        return measure.cpu_of(int((self.directory / "broker.pid").read_text()))

    def stop(self):
        os.environ.pop("AMQP_URL", None)
        self.process.stdin.close()
        self.process.wait(60)


def build_peer():
    BUILD.mkdir(exist_ok=True)
    if not pathlib.Path("/usr/include/amqp.h").exists():
        raise Skip("librabbitmq-dev is not installed")
    subprocess.run(["gcc", "-std=gnu17", "-O2", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-o", str(PEER), "bench/peers/bus/peer.c", "-lrabbitmq"],
                   cwd=ROOT, check=True)


def run_peer(argv, cwd=None):
    """The one line of JSON that a peer ends with."""
    done = subprocess.run([str(word) for word in argv], cwd=cwd, check=True, stdout=subprocess.PIPE, timeout=PATIENCE_S)
    return json.loads(done.stdout.splitlines()[-1])


def queue(verb, *words):
    """bus_peer's wait, get and purge."""
    return subprocess.run([str(PEER), verb, *(str(word) for word in words)], check=True, stdout=subprocess.PIPE).stdout


def in_queue(name, count):
    queue("wait", name, count, PATIENCE_S)


def node(script, *words):
    return run_peer(["node", script, *words], cwd=ROOT / "bench/peers/amqplib")


def peers():
    """What is on this machine beside the C program: name → True, or how to get it."""
    amqplib = shutil.which("node") and (ROOT / "bench/peers/amqplib/node_modules").is_dir()
    masstransit = shutil.which("dotnet") and (BUILD / "masstransit" / "peer.dll").exists()
    return {"amqplib": bool(amqplib), "MassTransit": bool(masstransit)}


class Usher:
    """usher without HTTP: ready when it does what it is there for."""

    def __init__(self, role, env=None):
        self.log = open(BUILD / f"usher-{role}.log", "w+b")
        self.process = subprocess.Popen([str(ROOT / "build" / "usher"), "serve", "--roles", role], stdout=self.log, stderr=self.log,
                                        env={**os.environ, "LOG_FORMAT": "json", **(env or {})}, start_new_session=True)

    def signal(self, number):
        for pid in measure.tree_of(self.process.pid):
            os.kill(pid, number)

    def peak_mb(self):
        """The largest that any of its processes has been."""
        status = [pathlib.Path(f"/proc/{pid}/status").read_text() for pid in measure.tree_of(self.process.pid)]
        return max(int(text.split("VmHWM:")[1].split()[0]) for text in status) / 1024

    def now_mb(self):
        return max(measure.rss_mb(pid) for pid in measure.tree_of(self.process.pid))

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


class Session:
    """A psql that stays: for locks and snapshots that are held."""

    def __init__(self):
        self.process = subprocess.Popen([str(measure.PG_BIN / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, text):
        self.process.stdin.write(f"{text};\n\\echo done\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line == "done\n":
                return
        raise RuntimeError(f"psql ended at: {text}")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Meter:
    """CPU of database, broker and usher from here on."""

    def __init__(self, broker, usher=None):
        self.broker, self.usher, self.machine = broker, usher, measure.machine_cpu()
        self.began = self.now()

    def now(self):
        return (measure.cpu_of(measure.postmaster()), self.broker.cpu(), measure.cpu_of(self.usher.process.pid) if self.usher else 0.0)

    def read(self, n, seconds, cpu_s=None, rss_mb=None, share=1.0):
        """`share`: how much of what the peer published is counted, the rest was its warm-up."""
        database, broker, usher = (now - began for now, began in zip(self.now(), self.began))
        own = usher if cpu_s is None else cpu_s
        result = {"requests": n, "seconds": seconds, "rps": n / seconds, "server_us": own / n * 1e6, "database_us": database / n * 1e6,
                  "broker_us": broker * share / n * 1e6, "others_percent": measure.others_percent(self.machine, database + broker + own)}
        return {**result, "rss_mb": rss_mb} if rss_mb is not None else result


# --- the relay -------------------------------------------------------------------------------------------------------

def fill_outbox(count):
    sql("INSERT INTO events.outbox (message_id, type, aggregate, payload, traceparent, appended_at) " + rows_sql(count))


def empty_outbox():
    sql("TRUNCATE events.outbox, events.outbox_marks")


def check_published(expected):
    """All rows are published by what the marks say, and the queue has as many messages."""
    in_queue(RELEASE_QUEUE, expected)
    left = """SELECT count(*) FROM events.outbox AS o LEFT JOIN LATERAL (SELECT * FROM events.outbox_marks AS m WHERE m.bucket = o.bucket
        ORDER BY m.position DESC LIMIT 1) AS m ON true
        WHERE NOT coalesce(txid_visible_in_snapshot(o.xid, m.from_snapshot::txid_snapshot)
              OR (o.position <= m.after AND txid_visible_in_snapshot(o.xid, m.to_snapshot::txid_snapshot)), false)"""
    until = time.monotonic() + 60
    while int(sql(left)[0]) != 0:
        assert time.monotonic() < until, "rows are in the queue, and not marked"
        time.sleep(0.05)


# A row o is published with the first mark of its bucket that says so; lib/bus/outbox.c says how marks do.
MARKED_AT = """(SELECT m.marked_at FROM events.outbox_marks AS m WHERE m.bucket = o.bucket
    AND (txid_visible_in_snapshot(o.xid, m.from_snapshot::txid_snapshot) OR
         (o.position <= m.after AND coalesce(txid_visible_in_snapshot(o.xid, m.to_snapshot::txid_snapshot), false)))
    ORDER BY m.position LIMIT 1)"""


def all_published_at():
    """Of each bucket's last row."""
    return float(sql(f"""SELECT extract(epoch FROM max({MARKED_AT})) FROM
        (SELECT DISTINCT ON (bucket) bucket, position, xid FROM events.outbox ORDER BY bucket, position DESC) AS o""")[0])


class BusCase(Case):
    counted = True

    def sides(self):
        self.broker = Broker()
        self.servers.append(self.broker)  # the first: stopped last
        return self.bus_sides()

    def stop(self):
        for server in reversed(self.servers):
            server.stop()

    def start_relay(self, env=None):
        """Running, connected, and its topology declared; the body of one of its messages is kept for the peers."""
        empty_outbox()
        subprocess.run([str(PEER), "purge", RELEASE_QUEUE], stderr=subprocess.DEVNULL, check=False)  # at first there is none
        usher = self.serve(Usher("relay", env))
        fill_outbox(1)
        until = time.monotonic() + 60
        asking = [str(PEER), "wait", RELEASE_QUEUE, "1", str(PATIENCE_S)]  # fails until usher has declared the queue
        while subprocess.run(asking, stderr=subprocess.DEVNULL, check=False).returncode != 0:
            assert time.monotonic() < until and usher.process.poll() is None, "no topology"
            time.sleep(0.1)
        body = queue("get", RELEASE_QUEUE)
        assert b"############" not in body
        (self.directory / "body").write_bytes(body)
        (self.directory / "payload").write_bytes(b"x" * PAYLOAD_BYTES)
        return usher

    def done_with(self, usher):
        usher.stop()
        self.servers.remove(usher)

    def relay_run(self, usher, keep=False):
        """Fills the outbox while the relay is held, lets it go, and waits for the last mark."""
        gate = Session()
        gate.ask(f"SELECT pg_advisory_lock({GATE_LOCK})")
        if not keep:
            empty_outbox()
        queue("purge", RELEASE_QUEUE)
        fill_outbox(self.count)
        settle("events.outbox", "events.outbox_marks")
        meter, began = Meter(self.broker, usher), time.time()
        gate.ask(f"SELECT pg_advisory_unlock({GATE_LOCK})")
        gate.close()
        check_published(self.count)
        return meter.read(self.count, all_published_at() - began, rss_mb=usher.peak_mb())

    def c_run(self, body, batches):
        queue("purge", RELEASE_QUEUE)
        sql("CHECKPOINT")
        meter = Meter(self.broker)
        done = run_peer([PEER, "publish", RELEASE, "", self.count, self.directory / body, BATCH, batches])
        in_queue(RELEASE_QUEUE, self.count)
        return meter.read(self.count, done["seconds"], done["cpu_s"])


class Relay(BusCase):
    name = "relay"
    title = "Relay: outbox rows of 500 bytes to a durable queue, confirmed"
    bars = (("against a C publisher", "usher", "C, a batch at a time", 0.9), ("against a C publisher", "usher", "C, two batches under way", 0.9),
            ("two relays against a C publisher", "usher, 2 relays", "C, two batches under way", 0.9),
            ("against amqplib", "usher", "amqplib", 1.0), ("CPU against amqplib", "usher", "amqplib", 0.33, "server_us", True),
            ("against MassTransit", "usher", "MassTransit", 3.0), ("CPU against MassTransit", "usher", "MassTransit", 0.33, "server_us", True))
    telling = "Every side but the last publishes messages of the size that usher's have in MassTransit's envelope, persistent, to the " \
              "same exchange and queue, in batches of 500. The C publisher and MassTransit read no rows. " \
              "2 relays: RELAY_WORKERS=2. RSS of usher is its largest process's peak."

    def bus_sides(self):
        self.done_with(self.start_relay())  # topology and body

        def relays(count):
            def run(_seconds):
                usher = self.start_relay({"RELAY_WORKERS": str(count)})
                result = self.relay_run(usher)
                self.done_with(usher)
                return result
            return run
        sides = {"usher": relays(1), "usher, 2 relays": relays(2),
                 "C, a batch at a time": lambda _s: self.c_run("body", 1),
                 "C, two batches under way": lambda _s: self.c_run("body", 2)}
        here = peers()
        if here["amqplib"]:
            sides["amqplib"] = lambda _s: self.amqplib_run()
        if here["MassTransit"]:
            sides["MassTransit"] = lambda _s: self.masstransit_run()
        sides["C, two batches of bare 500 bytes"] = lambda _s: self.c_run("payload", 2)
        return sides

    def amqplib_run(self):
        sql("CREATE SCHEMA IF NOT EXISTS bench")
        sql("DROP TABLE IF EXISTS bench.outbox")
        sql("CREATE TABLE bench.outbox (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, message_id uuid, type text, aggregate uuid, "
            "payload text, traceparent text, appended_at timestamptz)")
        sql("INSERT INTO bench.outbox (message_id, type, aggregate, payload, traceparent, appended_at) " + rows_sql(self.count))
        settle("bench.outbox")
        queue("purge", RELEASE_QUEUE)
        meter = Meter(self.broker)
        done = node("relay.js", RELEASE, self.count)
        in_queue(RELEASE_QUEUE, self.count)
        return meter.read(self.count, done["seconds"], done["cpu_s"], done["rss_mb"])

    def masstransit_run(self):
        queue("purge", RELEASE_QUEUE)
        sql("CHECKPOINT")
        url, meter = urllib.parse.urlsplit(self.broker.url), Meter(self.broker)
        done = run_peer(["dotnet", BUILD / "masstransit" / "peer.dll", url.hostname, url.port, self.count])
        in_queue(RELEASE_QUEUE, self.count + done["warm_up"])
        return meter.read(self.count, done["seconds"], done["cpu_s"], done["rss_mb"], self.count / (self.count + done["warm_up"]))


class RelayPinned(BusCase):
    name = "relay-pinned"
    title = "Relay while another session pins xmin"
    bars = (("throughput", "usher, xmin pinned", "usher", 0.95),)
    telling = "The session takes its snapshot before the tables are filled; both sides publish as many rows before those that are measured, " \
              "so that what was published and marked lies where no vacuum may take it."

    def bus_sides(self):
        usher = self.start_relay()

        def free(_seconds):
            self.relay_run(usher)
            return self.relay_run(usher, keep=True)

        def pinned(seconds):
            session = Session()
            session.ask("BEGIN ISOLATION LEVEL REPEATABLE READ")
            session.ask("SELECT txid_current()")
            result = free(seconds)
            session.ask("ROLLBACK")
            session.close()
            return result
        return {"usher": free, "usher, xmin pinned": pinned}


class RelayDelay(BusCase):
    name = "relay-delay"
    counted = False
    title = "Commit to confirmed publish, 50 messages a second"
    bars = (("p99", "usher", None, 10, "p99_ms", True),)
    telling = "From just before the insert that carries the commit (its fsync counts) to the mark behind the confirm. Bar in ms."
    # chr(58): pgbench takes a colon before a letter for a variable of its own.
    script = f"""WITH told AS (INSERT INTO events.outbox (message_id, type, aggregate, payload, traceparent, appended_at)
VALUES (gen_random_uuid(), replace('{RELEASE.replace(":", ";")}', ';', chr(58)), gen_random_uuid(),
'{{"id": "00000000-0000-4000-8000-000000000000", "venue": 3, "price": "12.50"}}',
'{TRACEPARENT}', clock_timestamp()) RETURNING 1)
SELECT pg_notify('events_outbox', '') FROM told;
"""
    delays = f"SELECT extract(epoch FROM {MARKED_AT} - o.appended_at) * 1000 FROM events.outbox AS o ORDER BY 1"

    def bus_sides(self):
        usher = self.start_relay()

        def run(seconds):
            empty_outbox()
            queue("purge", RELEASE_QUEUE)
            settle("events.outbox", "events.outbox_marks")
            script = self.directory / "script.sql"
            script.write_text(self.script)
            seconds, meter = min(seconds, 20), Meter(self.broker, usher)  # no mark is forgotten in so short a time
            subprocess.run([str(measure.PG_BIN / "pgbench"), "-n", "-M", "prepared", "-c1", "-R50", "-T", str(max(1, round(seconds))),
                            "-f", str(script)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            sent = int(sql("SELECT count(*) FROM events.outbox")[0])
            result = meter.read(sent, seconds, rss_mb=usher.peak_mb())
            check_published(sent)
            delays = [float(line) for line in sql(self.delays)]
            assert len(delays) == sent and sent > 0, (len(delays), sent)
            return {**result, "p50_ms": delays[sent // 2], "p99_ms": delays[sent * 99 // 100], "max_ms": delays[-1]}
        return {"usher": run}


# --- the inbox -------------------------------------------------------------------------------------------------------

def user_body():
    """As a user's message arrives from .NET; its ids are numbered by the publisher."""
    ident = "11111111-0000-4000-8000-############"
    return json.dumps({
        "messageId": ident, "requestId": None, "correlationId": None, "conversationId": ident, "initiatorId": None,
        "sourceAddress": "rabbitmq://127.0.0.1/bench", "destinationAddress": "rabbitmq://127.0.0.1/" + USERS_QUEUE,
        "responseAddress": None, "faultAddress": None, "messageType": ["urn:message:Integration.Users.Messaging.Messages:UserUpserted"],
        "message": {"id": ident.replace("1111", "2222"), "fullName": "Jo Bloggs", "email": "jo############@example.com"},
        "expirationTime": None, "sentTime": "2026-11-26T10:00:00.0000000Z",
        "headers": {"MT-Activity-Id": TRACEPARENT},
        "host": {"machineName": "bench", "processName": "bench", "processId": 1, "assembly": "bench", "assemblyVersion": "1.0.0.0",
                 "frameworkVersion": "10.0.0", "massTransitVersion": "8.5.12.0", "operatingSystemVersion": "Unix"}}, indent=2)


def empty_inbox():
    sql("TRUNCATE tickets.inbox, tickets.users")


def check_stored(count):
    stored = sql("SELECT (SELECT count(*) FROM tickets.inbox), (SELECT count(*) FROM tickets.users)")
    assert stored == [f"{count}|{count}"], (stored, count)


class InboxCase(BusCase):
    def start_consumer(self):
        """Running and its topology declared: one message has had its effect."""
        (self.directory / "body").write_text(user_body())
        empty_inbox()
        usher = self.serve(Usher("consume"))
        until = time.monotonic() + 60
        while int(sql("SELECT count(*) FROM tickets.inbox")[0]) == 0:
            assert time.monotonic() < until and usher.process.poll() is None, "no message has had its effect"
            subprocess.run([str(PEER), "publish", "", USERS_QUEUE, "1", str(self.directory / "body"), "1", "1"], check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.2)
        return usher

    def fill_queue(self):
        empty_inbox()
        run_peer([PEER, "publish", "", USERS_QUEUE, self.count, self.directory / "body", BATCH, 4])
        settle("tickets.inbox", "tickets.users")

    def consumer_run(self, usher):
        """The consumer stands still (stopped, between batches) while its queue is filled."""
        in_queue(USERS_QUEUE, 0)
        time.sleep(0.5)  # what the warm-up sent once too often is done with
        usher.signal(signal.SIGSTOP)
        try:
            self.fill_queue()
        finally:
            meter, began = Meter(self.broker, usher), time.time()
            usher.signal(signal.SIGCONT)
        in_queue(USERS_QUEUE, 0)
        until = time.monotonic() + 60
        while int(sql("SELECT count(*) FROM tickets.inbox")[0]) < self.count and time.monotonic() < until:
            time.sleep(0.02)
        check_stored(self.count)
        ended = float(sql("SELECT extract(epoch FROM max(received_at)) FROM tickets.inbox")[0])
        return meter.read(self.count, ended - began, rss_mb=usher.peak_mb())


class Inbox(InboxCase):
    name = "inbox"
    title = "Inbox: messages to an inbox row and an upsert, durable"
    bars = (("against bare consuming", "usher", "C, acks of 100", 0.8), ("against amqplib and pg", "usher", "amqplib and pg", 1.2))
    telling = "Each message is about another user. The C program consumes and acknowledges, and stores nothing; amqplib and pg store the same " \
              "rows in the same tables, 500 in one statement. RSS of usher is its peak."

    def bus_sides(self):
        usher = self.start_consumer()
        sides = {"usher": lambda _s: self.consumer_run(usher)}

        def beside(run):
            """A peer has the queue to itself: usher starts anew when its turn comes."""
            def side(_seconds):
                nonlocal usher
                self.done_with(usher)
                try:
                    self.fill_queue()
                    return run(Meter(self.broker))
                finally:
                    usher = self.start_consumer()
            return side

        def consume(meter, prefetch, ack_every):
            done = run_peer([PEER, "consume", USERS_QUEUE, self.count, prefetch, ack_every])
            return meter.read(self.count, done["seconds"], done["cpu_s"])

        def amqplib(meter):
            done = node("inbox.js", USERS_QUEUE, self.count)
            check_stored(self.count)
            return meter.read(self.count, done["seconds"], done["cpu_s"], done["rss_mb"])
        sides["C, acks of 100"] = beside(lambda meter: consume(meter, 1000, 100))
        sides["C, each acknowledged"] = beside(lambda meter: consume(meter, 1000, 1))
        if peers()["amqplib"]:
            sides["amqplib and pg"] = beside(amqplib)
        return sides


class BusMemory(InboxCase):
    name = "bus-memory"
    title = "Memory of relay and consumer while a million messages wait"
    count = 1000000  # --count does not lower it, --quick does
    long = True
    telling = "The largest that any process of usher has been from its start until all were handled; `before` is at rest, with nothing waiting. " \
              "Runs only when asked for (`--only bus-memory`): it takes minutes."

    def bus_sides(self):
        def relay(_seconds):
            usher = self.start_relay()
            before = usher.now_mb()
            result = self.relay_run(usher)
            self.done_with(usher)
            empty_outbox()
            queue("purge", RELEASE_QUEUE)
            return {**result, "rest_mb": before}

        def consumer(_seconds):
            usher = self.start_consumer()
            before = usher.now_mb()
            result = self.consumer_run(usher)
            self.done_with(usher)
            return {**result, "rest_mb": before}
        return {"relay": relay, "consumer": consumer}


CASES = {case.name: case for case in (Relay, RelayPinned, RelayDelay, Inbox, BusMemory)}
