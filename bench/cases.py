"""cases.py - what is measured: each case fills the tables, starts its servers, and names its sides and bars.

How to add one: 1. a class with name, title, sides() and bars; 2. a row in CASES at the end. A side is a function of the
seconds to run; a bar is (title, side, the side it is held against, what the ratio must reach).
"""
import hashlib
import pathlib
import shutil
import uuid

import measure
from measure import ROOT, load, pgbench, sql

EVENT_ID = "md5('e' || :n)::uuid"
BUILD = ROOT / "build" / "bench"


def made_id(kind, n):
    """The id that md5(kind || n)::uuid is in SQL: lets pgbench and the lines of a request file name the same rows."""
    return str(uuid.UUID(hashlib.md5(f"{kind}{n}".encode()).hexdigest()))


def fill_events(n, upcoming=50):
    """n events, all but `upcoming` long over, as in a system that has run for years."""
    sql(f"""TRUNCATE events.events;
        INSERT INTO events.events (id, event_name, start_date, end_date, venue, price)
        SELECT md5('e' || n)::uuid, 'Evening number ' || n, t.at, t.at + interval '2 hours', n % 10, 10 + n % 90
        FROM generate_series(1, {n}) AS n,
             LATERAL (SELECT CASE WHEN n <= {upcoming} THEN now() + n * interval '1 day'
                             ELSE now() - n * interval '3 hours' - interval '1 day' END AS at) AS t""")
    settle("events.events")


def fill_tickets(events, seats):
    sql(f"""TRUNCATE tickets.tickets, tickets.reservations;
        INSERT INTO tickets.tickets (id, event_id, price, seat_number)
        SELECT md5('t' || ((e - 1) * {seats} + s))::uuid, md5('e' || e)::uuid, 12.50, s
        FROM generate_series(1, {events}) AS e, generate_series(1, {seats}) AS s""")
    settle("tickets.tickets", "tickets.reservations")


def settle(*tables):
    """Like after a quiet night: each side begins with the same vacuumed tables and nothing to checkpoint."""
    for table in tables:
        sql(f"VACUUM ANALYZE {table}")
    sql("CHECKPOINT")


class Skip(Exception):
    """Raised by sides(): what the case needs is not on this machine."""


class Case:
    bars = ()
    count = 200000  # rows or messages, where a case is about so many; --count
    counted = False  # a round is so many, not so many seconds
    long = False  # True: only where --only names it
    telling = ""  # what the figures do not say themselves

    def __init__(self):
        self.directory = BUILD / self.name
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.directory.chmod(0o755)
        self.servers = []

    def serve(self, server):
        self.servers.append(server)
        return server

    def lines(self, name, lines):
        path = self.directory / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def stop(self):
        for server in self.servers:
            server.stop()


class GetById(Case):
    name = "get-by-id"
    title = "GET one event by id, 10,000 rows, all asked for"
    bars = (("64 connections", "usher, 64", "pgbench", 1.2), ("64 connections", "usher, 64", "nginx, 64", 0.9))
    telling = "nginx serves a static file of the size of one answer, one worker. pgbench selects the same rows by the same key."
    script = "\\set n random(1, 10000)\nSELECT id, event_name, start_date, start_date_fine, end_date, end_date_fine, venue, price " \
             "FROM events.events WHERE id = md5('e' || (:n)::int)::uuid;\n"

    def sides(self):
        fill_events(10000)
        usher = self.serve(measure.usher())
        body = usher.get(f"/events/{made_id('e', 1)}")
        (self.directory / "event.json").write_bytes(body)
        nginx = self.serve(measure.nginx(self.directory, "/event.json"))
        ids = self.lines("ids", (f"GET /events/{made_id('e', n)}" for n in range(1, 10001)))
        static = self.lines("static", ["GET /event.json"])
        return {
            "usher, 64": lambda s: load(usher, 64, s, ids),
            "pgbench": lambda s: pgbench(self.script, s),
            "nginx, 64": lambda s: load(nginx, 64, s, static),
        }


class TicketsOfEvent(Case):
    name = "tickets-of-event"
    title = "GET tickets of an event, 15 seats, 2,000 events"
    bars = (("64 connections", "usher, 64", "pgbench", 1.0),)
    script = """\\set n random(1, 2000)
SELECT t.id, t.event_id, t.price, t.seat_number, t.user_id, r.ticket_id IS NOT NULL AS held
FROM tickets.tickets t
LEFT JOIN tickets.reservations r ON r.event_id = t.event_id AND r.ticket_id = t.id AND r.until_at > now()
WHERE t.event_id = md5('e' || (:n)::int)::uuid
ORDER BY t.seat_number;
"""

    def sides(self):
        fill_tickets(2000, 15)
        usher = self.serve(measure.usher())
        lines = self.lines("lines", (f"GET /events/{made_id('e', n)}/tickets" for n in range(1, 2001)))
        return {
            "usher, 64": lambda s: load(usher, 64, s, lines),
            "pgbench": lambda s: pgbench(self.script, s),
        }


USER = 'POST /users\t{"FullName":"Jo Bloggs","Email":"jo00000000@example.com","UserType":"Customer"}'


def empty_users():
    sql("TRUNCATE users.users, users.outbox")
    settle("users.users", "users.outbox")


class PostUser(Case):
    name = "post-user"
    title = "POST user: insert and outbox row, durable"
    bars = (("32 connections", "usher, 32", "pgbench", 2.5), ("256 connections", "usher, 256", "pgbench", 4.0))
    telling = "pgbench: BEGIN, insert, insert into the outbox, COMMIT, without the NOTIFY that usher's transaction has besides."
    script = """\\set i :i + 1
\\set n :client_id * 10000000 + :i
BEGIN;
INSERT INTO users.users (id, full_name, email, user_type) VALUES (gen_random_uuid(), 'Jo Bloggs', 'jo' || (:n)::int || '@example.com', 0);
INSERT INTO users.outbox (message_id, type, aggregate, payload, traceparent, appended_at)
VALUES (gen_random_uuid(), 'UserUpserted', gen_random_uuid(),
        '{"id": "00000000-0000-4000-8000-000000000000", "fullName": "Jo Bloggs", "email": "jo00000000@example.com"}',
        '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', now());
COMMIT;
"""

    def sides(self):
        usher = self.serve(measure.usher())
        lines = self.lines("lines", [USER])

        def usher_side(connections):
            def run(seconds):
                empty_users()
                result = load(usher, connections, seconds, lines)
                stored = int(sql("SELECT count(*) FROM users.users u, users.outbox o WHERE o.aggregate = u.id")[0])
                assert stored == result["status"].get("201", 0), (stored, result)
                return result
            return run

        def pgbench_side(seconds):
            empty_users()
            return pgbench(self.script, seconds, {"i": 0})
        return {"usher, 32": usher_side(32), "pgbench": pgbench_side, "usher, 256": usher_side(256)}


def wish(event, seat, buyer):
    return (f"POST /events/{made_id('e', event)}/tickets/purchase\t"
            f'{{"userId":"{made_id("u", buyer)}","ticketIds":["{made_id("t", seat)}"]}}')


PURCHASE = """BEGIN;
SELECT t.user_id IS NOT NULL AS sold, r.user_id AS holder, clock_timestamp()
FROM tickets.tickets t
LEFT JOIN tickets.reservations r ON r.event_id = t.event_id AND r.ticket_id = t.id AND r.until_at > now()
WHERE t.id = md5('t' || (:n)::int)::uuid
FOR NO KEY UPDATE OF t;
UPDATE tickets.tickets SET user_id = md5('u' || (:n)::int)::uuid, purchased_at = now()
WHERE id = md5('t' || (:n)::int)::uuid AND user_id IS NULL;
COMMIT;
"""


def check_sold(result):
    """As many seats sold as buyers were told so."""
    sold = int(sql("SELECT count(*) FROM tickets.tickets WHERE user_id IS NOT NULL")[0])
    assert sold == result["status"].get("204", 0), (sold, result)


class Purchase(Case):
    name = "purchase"
    title = "Purchase of one free seat, durable"
    seats = 195000
    bars = (("32 connections", "usher, 32", "pgbench", 2.5), ("256 connections", "usher, 256", "pgbench", 3.0))
    telling = "pgbench: BEGIN, lock and read the seat with its hold, sell it, COMMIT. Neither side appends a message: the old " \
              "system tells nobody of a purchase. Each seat is asked for once, in order of event."
    script = "\\set i :i + 1\n\\set n :client_id * 24000 + :i\n" + PURCHASE

    def sides(self):
        usher = self.serve(measure.usher())
        lines = self.lines("lines", (wish((n - 1) // 15 + 1, n, n) for n in range(1, self.seats + 1)))

        def usher_side(connections):
            def run(seconds):
                fill_tickets(self.seats // 15, 15)
                result = load(usher, connections, seconds, lines, once=True)
                check_sold(result)
                return result
            return run

        def pgbench_side(seconds):
            fill_tickets(self.seats // 15, 15)
            return pgbench(self.script, seconds, {"i": 0})
        return {"usher, 32": usher_side(32), "pgbench": pgbench_side, "usher, 256": usher_side(256)}


class HotEvent(Case):
    name = "hot-event"
    title = "256 buyers on one hot event, each another seat, then sold out"
    seats = 60000
    bars = (("selling", "usher, 256", "pgbench", 3.0),)
    telling = "`longest pause` is the longest time in which no buyer got an answer. Sold out: every answer is a refusal."
    script = "\\set i :i + 1\n\\set n :client_id + :i * 8\n" + PURCHASE

    def sides(self):
        usher = self.serve(measure.usher())
        lines = self.lines("lines", (wish(1, n, n) for n in range(1, self.seats + 1)))

        def selling(seconds):
            fill_tickets(1, self.seats)
            result = load(usher, 256, seconds, lines, once=True)
            check_sold(result)
            return result

        def pgbench_side(seconds):
            fill_tickets(1, self.seats)
            return pgbench(self.script, seconds, {"i": 0})

        def sold_out(seconds):
            fill_tickets(1, self.seats)
            sql("UPDATE tickets.tickets SET user_id = id, purchased_at = now()")
            settle("tickets.tickets")
            result = load(usher, 256, seconds, lines)
            assert result["status"].get("204", 0) == 0, result
            return result
        return {"usher, 256": selling, "pgbench": pgbench_side, "usher, sold out": sold_out}


def peers():
    """Those that are on this machine: name → how to start one."""
    found = {}
    fastify = ROOT / "bench/peers/fastify"
    if shutil.which("node") and (fastify / "node_modules").is_dir():
        found["Fastify"] = lambda: measure.Server("fastify", ["node", "server.js"], f"/events/{made_id('e', 1)}", cwd=fastify,
                                                  env={"NODE_ENV": "production"})
    aspnet = BUILD / "aspnet" / "peer.dll"
    if shutil.which("dotnet") and aspnet.exists():
        found["ASP.NET"] = lambda: measure.Server("aspnet", ["dotnet", str(aspnet)], f"/events/{made_id('e', 1)}",
                                                  env={"DOTNET_gcServer": "0", "DOTNET_TieredPGO": "1"})
    return found


class Peers(Case):
    name = "peers"
    title = "Beside Fastify with pg and ASP.NET minimal API with Npgsql, 64 connections"
    bars = (("GET by id", "usher, GET", "Fastify, GET", 6.0), ("POST", "usher, POST", "Fastify, POST", 4.0),
            ("GET by id", "usher, GET", "ASP.NET, GET", 6.0), ("POST", "usher, POST", "ASP.NET, POST", 4.0))
    telling = "Sources: bench/peers/. ASP.NET uses both cores, so usher runs two HTTP workers here; in all other cases one."

    def sides(self):
        fill_events(10000)
        ids = self.lines("ids", (f"GET /events/{made_id('e', n)}" for n in range(1, 10001)))
        user = self.lines("user", [USER])
        sides = {}
        for name, start in {"usher": lambda: measure.usher(env={"HTTP_WORKERS": "2"}), **peers()}.items():
            server = self.serve(start())
            load(server, 64, 2, ids)  # what compiles as it runs has had its time

            def get(seconds, at=server):
                return load(at, 64, seconds, ids)

            def post(seconds, at=server):
                empty_users()
                return load(at, 64, seconds, user)
            sides[f"{name}, GET"], sides[f"{name}, POST"] = get, post
        return sides


COLLECTOR = """daemon off; master_process off; worker_processes 1; pid {at}/nginx.pid; error_log {at}/error.log;
events {{ worker_connections 64; }}
http {{ access_log off; client_max_body_size 8m; client_body_buffer_size 2m; client_body_temp_path {at}; proxy_temp_path {at};
  fastcgi_temp_path {at}; uwsgi_temp_path {at}; scgi_temp_path {at}; server {{ listen 127.0.0.1:{port}; location / {{ return 200; }} }} }}
"""


class Telemetry(Case):
    name = "telemetry"
    title = "GET one event by id with everything recorded and exported, against nothing: 64 connections"
    bars = (("all spans, metrics and logs", "everything", "nothing", 0.9), ("one trace in ten", "a tenth", "nothing", 0.9))
    telling = "Exported over OTLP to an nginx that answers 200 as a collector would; the exporting process and it share the two " \
              "cores. CPU each counts the worker and the exporting process."

    def sides(self):
        fill_events(10000)
        ids = self.lines("ids", (f"GET /events/{made_id('e', n)}" for n in range(1, 10001)))
        port = measure.free_port()
        conf = self.directory / "collector.conf"
        conf.write_text(COLLECTOR.format(at=self.directory, port=port))
        self.serve(measure.Server("collector", ["nginx", "-p", str(self.directory), "-c", str(conf)], "/", port=port))
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_LOGS_EXPORTER": "otlp"}
        tenth = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
        servers = {}
        for side, env in (("nothing", {"OTEL_SDK_DISABLED": "true"}), ("everything", on), ("a tenth", {**on, **tenth})):
            servers[side] = self.serve(measure.usher(env=env))
        return {side: lambda s, at=server: load(at, 64, s, ids) for side, server in servers.items()}


class BigTable(Case):
    name = "big-table"
    title = "p99 with a million events against a thousand"
    bars = (("GET by id, p99", "by id, 1 M rows", "by id, 1 k rows", 1.5), ("event list, p99", "list, 1 M rows", "list, 1 k rows", 1.5))
    at_most = "p99_ms"  # the bars are upper bounds on this, not lower ones on requests per second
    telling = "Two databases, two servers, interleaved; 50 events are still to come in both."

    def sides(self):
        url = measure.os.environ["DATABASE_URL"]
        servers, files = {}, {}
        for size, rows in (("1 k", 1000), ("1 M", 1000000)):
            database = f"bench_{rows}"
            if not sql(f"SELECT 1 FROM pg_database WHERE datname = '{database}'"):
                sql(f"CREATE DATABASE {database}")
            measure.os.environ.update(PGDATABASE=database, DATABASE_URL=url.replace("/usher?", f"/{database}?"))
            measure.migrate()
            fill_events(rows)
            servers[size] = self.serve(measure.usher())
            step = max(rows // 100000, 1)
            files[size] = self.lines(f"ids-{rows}", (f"GET /events/{made_id('e', n)}" for n in range(1, rows + 1, step)))
        measure.os.environ.update(PGDATABASE="usher", DATABASE_URL=url)
        listing = self.lines("list", ["GET /events"])
        sides = {}
        for size in servers:
            sides[f"by id, {size} rows"] = lambda s, at=size: load(servers[at], 64, s, files[at])
            sides[f"list, {size} rows"] = lambda s, at=size: load(servers[at], 64, s, listing)
        return sides


class Start(Case):
    name = "start"
    title = "Start to first answer (database up), and memory at rest"
    telling = "The old system: 2,500 ms, 154 MB. Must reach: at most 50 ms, at most 12 MB for an HTTP worker."
    single = True

    def sides(self):
        def run(_seconds):
            server = measure.usher(roles="http,relay,consume")
            members = [(measure.rss_mb(pid), pathlib.Path(f"/proc/{pid}/comm").read_text().strip()) for pid in server.pids()]
            result = {"requests": 1, "start_ms": server.start_ms, "rss_mb": max(m[0] for m in members),
                      "processes": [f"{name} {mb:.1f} MB" for mb, name in members]}
            server.stop()
            return result
        return {"usher": run}


CASES = {case.name: case for case in (GetById, TicketsOfEvent, PostUser, Purchase, HotEvent, Peers, Telemetry, BigTable,
                                  Start)}
