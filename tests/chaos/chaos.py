#!/usr/bin/python3
"""The whole chain under random faults: HTTP -> outbox -> transport -> inbox -> effect. What must hold is proved after each round.

    tests/chaos/chaos.py [--seed N] [--kills N] [--seconds S] [--round N]

Two ushers share one Postgres through a fault proxy: one serves and carries, the other only carries, with a wall clock that is up to an
hour off. While clients create and change events and users, faults are drawn from the seed: kill -9 of any usher process, of a Postgres
backend, of the postmaster; processes that stand still for a while; connections cut, delayed, stalled in one direction;
messages delivered again. Then all is healed, the chain runs empty, and the books must balance:

  lost        a committed command's message was never published
  order       first publications of an aggregate's messages are not in the order of their commits
  effects     a message had no effect, or more than one; or the effects of an aggregate came in another order
  answers     a command that was answered 2xx was not committed
  dead        a message was put aside, although nothing was wrong with it

Times are the machine's, so a seed repeats the faults and not their exact moments: run it a few times.

How to add a fault: a method of World and a row in FAULTS. How to add a proof: a row in PROOFS (jobs: rows that read the job tables).
"""
import argparse
import datetime
import itertools
import os
import pathlib
import random
import signal
import sys
import threading
import time

import psycopg2

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "blackbox"))
from conftest import wait_for, waiting_in  # noqa: E402
from faultlib import SEATS, Cluster, Serve, family, send_all, wait_gone  # noqa: E402
from faultproxy import FaultProxy  # noqa: E402

SETTLE_LIMIT = 120
QUEUES = {"Integration.Events.Messaging:EventUpserted": "tickets-inbox-events",
          "Integration.Users.Messaging.Messages:UserUpserted": "tickets-inbox-users"}

# What was committed, what reached the transport, what had an effect: noted in the transaction that did it. What the harness itself
# delivers again says so and is not noted as published.
NOTES = """
CREATE SCHEMA chaos;
CREATE TABLE chaos.said (n bigserial, message_id uuid PRIMARY KEY, aggregate uuid, position bigint, type text, payload text);
CREATE TABLE chaos.published (n bigserial, message_id uuid, queue text);
CREATE TABLE chaos.effects (n bigserial, aggregate uuid, value text);
CREATE FUNCTION chaos.say() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos.said (message_id, aggregate, position, type, payload)
    VALUES (NEW.message_id, NEW.aggregate, NEW.position, NEW.type, NEW.payload);
    RETURN NEW;
END $$;
CREATE FUNCTION chaos.publish() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
    IF coalesce(current_setting('chaos.again', true), '') = '' THEN
        INSERT INTO chaos.published (message_id, queue) VALUES (NEW.message_id, NEW.queue);
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION chaos.event() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos.effects (aggregate, value) VALUES (NEW.id, NEW.price::text);
    RETURN NEW;
END $$;
CREATE FUNCTION chaos.person() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos.effects (aggregate, value) VALUES (NEW.id, NEW.full_name);
    RETURN NEW;
END $$;
CREATE TRIGGER say AFTER INSERT ON events.outbox FOR EACH ROW EXECUTE FUNCTION chaos.say();
CREATE TRIGGER say AFTER INSERT ON users.outbox FOR EACH ROW EXECUTE FUNCTION chaos.say();
CREATE TRIGGER publish AFTER INSERT ON bus.messages FOR EACH ROW EXECUTE FUNCTION chaos.publish();
CREATE TRIGGER effect AFTER INSERT OR UPDATE ON tickets.events FOR EACH ROW EXECUTE FUNCTION chaos.event();
CREATE TRIGGER effect AFTER INSERT OR UPDATE ON tickets.users FOR EACH ROW EXECUTE FUNCTION chaos.person();
"""
VALUE = "CASE WHEN right(s.type, 13) = 'EventUpserted' THEN s.payload::json->>'price' ELSE s.payload::json->>'fullName' END"
SAID = f"SELECT s.message_id, s.aggregate, s.position, {VALUE} AS value FROM chaos.said s"

# Each lists the first few who break the rule.
PROOFS = [
    ("lost", f"SELECT s.* FROM ({SAID}) s WHERE NOT EXISTS (SELECT FROM chaos.published p WHERE p.message_id = s.message_id)"),
    ("order", f"""SELECT * FROM (SELECT s.aggregate, s.value, p.n, lag(p.n) OVER (PARTITION BY s.aggregate ORDER BY s.position) AS before
        FROM ({SAID}) s JOIN (SELECT message_id, min(n) AS n FROM chaos.published GROUP BY 1) p USING (message_id)) o WHERE n < before"""),
    ("effects", f"""SELECT s.aggregate, s.value, count(e.n) FROM ({SAID}) s LEFT JOIN chaos.effects e
        ON e.aggregate = s.aggregate AND e.value = s.value GROUP BY s.message_id, s.aggregate, s.value HAVING count(e.n) <> 1"""),
    ("effects", f"""SELECT * FROM (SELECT s.aggregate, s.value, e.n, lag(e.n) OVER (PARTITION BY s.aggregate ORDER BY s.position) AS before
        FROM ({SAID}) s JOIN chaos.effects e ON e.aggregate = s.aggregate AND e.value = s.value) o WHERE n < before"""),
    ("effects", f"SELECT e.* FROM chaos.effects e WHERE NOT EXISTS (SELECT FROM ({SAID}) s WHERE s.aggregate = e.aggregate AND s.value = e.value)"),
    ("effects", f"""SELECT e.id, (SELECT count(*) FROM tickets.tickets t WHERE t.event_id = e.id) FROM events.events e
        WHERE (SELECT count(*) FROM tickets.tickets t WHERE t.event_id = e.id) <> {SEATS}"""),
    ("dead", "SELECT queue, type, reason FROM bus.dead"),
]


class Clients:
    """Each thread has events and users of its own, gives each change a value of its own, and notes what was answered."""

    numbers = itertools.count(1)

    def __init__(self, world, threads=4):
        self.world = world
        self.ended = threading.Event()
        self.answered = []  # (aggregate, value) of 2xx
        self.asked = 0
        self.failure = None
        self.threads = [threading.Thread(target=self.guarded, args=(random.Random(world.rng.random()),), daemon=True)
                        for _ in range(threads)]

    def guarded(self, rng):
        try:
            self.run(rng)
        except BaseException as error:  # noqa: BLE001 - told by __exit__
            self.failure = error

    def run(self, rng):
        mine = []
        while not self.ended.is_set():
            number = next(self.numbers)
            known = rng.choice(mine) if len(mine) > 3 and rng.random() < 0.8 else None
            kind = known[0] if known else rng.choice(["events", "users"])
            if kind == "events":
                start = datetime.datetime(2090, 1, 1) + datetime.timedelta(minutes=2 * (known[2] if known else number))
                value = str(number)
                body = {"EventName": f"Gig {number}", "StartDate": start.isoformat() + "Z", "Price": number, "Venue": 5,
                        "EndDate": (start + datetime.timedelta(minutes=1)).isoformat() + "Z"}
            else:
                value = f"Ann {number}"
                body = {"FullName": value, "Email": f"ann{known[2] if known else number}@chaos.io", "UserType": "Customer"}
            try:
                answer = self.world.server.put(f"/{kind}/{known[1]}", body) if known else self.world.server.post(f"/{kind}", body)
            except OSError:
                answer = None
            except Exception as error:  # noqa: BLE001 - http.client's errors: a connection that died in the middle
                if type(error).__module__ != "http.client":
                    raise
                answer = None
            self.asked += 1
            if answer is not None and answer.status in (200, 201, 204):
                id = known[1] if known else answer.json()
                self.answered.append((id, value))
                if not known:
                    mine.append((kind, id, number))
            else:
                self.ended.wait(0.03)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join(60)
        assert not any(t.is_alive() for t in self.threads), "a request that is never answered"
        if self.failure is not None:
            raise self.failure


class World:
    def __init__(self, rng):
        self.rng = rng
        self.kills = 0
        self.table = {}
        self.frozen = []
        self.cluster = Cluster(settings="max_connections = 200\n").start()
        self.cluster.sql(NOTES)
        self.proxies = [FaultProxy(f"{self.cluster.run}/.s.PGSQL.5432")]
        env = {"DATABASE_URL": f"postgresql://usher@127.0.0.1:{self.proxies[0].port}/usher?sslmode=disable&gssencmode=disable",
               "RELAY_WORKERS": "2", "RESTART_INTENSITY": "100000"}
        skew = rng.randrange(-3600_000, 3600_000)
        self.server = ChaosServe(self.cluster, env={**env, "ROLES": "http,relay,consume"})
        self.carrier = ChaosServe(self.cluster, env={**env, "ROLES": "relay,consume", "USHER_CLOCK_SKEW_MS": str(skew)})
        for serve in (self.server, self.carrier):
            serve.start()

    def close(self):
        for pid in self.frozen:
            send_all(pid, signal.SIGCONT)
        for serve in (self.server, self.carrier):
            serve.close()
        for proxy in self.proxies:
            proxy.close()
        self.cluster.close()

    # --- faults: each returns what it did ---

    def kill_worker(self):
        serve = self.rng.choice([self.server, self.carrier])
        workers = serve.workers()
        role = self.rng.choice([r for r in sorted(workers) if r != "telemetry"] or ["none"])
        if role == "none":
            return "no worker"
        os.kill(self.rng.choice(sorted(workers[role])), signal.SIGKILL)
        self.kills += 1
        return f"kill {role}"

    def kill_supervisor(self):
        serve = self.rng.choice([self.server, self.carrier])
        all_of_it = family(serve.process.pid)
        serve.process.kill()
        serve.process.wait(30)
        wait_gone(all_of_it, "the workers of a dead supervisor")
        serve.start()
        self.kills += 1
        return "kill supervisor"

    def kill_backend(self):
        backends = [p for p in family(self.cluster.process.pid) if p != self.cluster.process.pid]
        if self.rng.random() < 0.5 or not backends:  # one client's connection
            self.cluster.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'usher/%%' "
                             "ORDER BY md5(pid::text || %s) LIMIT 1", str(self.rng.random()))
            self.kills += 1
            return "terminate backend"
        os.kill(self.rng.choice(sorted(backends)), signal.SIGKILL)  # whichever: Postgres throws all out and recovers
        self.kills += 1
        wait_for(self.cluster.answers, 60, "Postgres to recover")
        return "kill -9 backend"

    def kill_postmaster(self):
        self.cluster.stop(signal.SIGKILL)
        self.cluster.start()
        self.kills += 1
        return "kill postmaster"

    def freeze(self):
        """Stands still while others go on, then wakes up believing that nothing happened."""
        serve = self.rng.choice([self.server, self.carrier])
        workers = serve.workers()
        role = self.rng.choice(sorted(workers) or ["none"])
        if role == "none":
            return "no worker"
        pid = self.rng.choice(sorted(workers[role]))
        frozen = {pid: family(pid).get(pid)}
        self.frozen.append(frozen)
        send_all(frozen, signal.SIGSTOP)
        self.pass_time(1.5)
        send_all(frozen, signal.SIGCONT)
        return f"freeze {role}"

    def cut(self):
        self.rng.choice(self.proxies).cut()
        return "cut all"

    def cut_one(self):
        self.rng.choice(self.proxies).cut_one(self.rng)
        return "cut one"

    def stall(self):
        self.rng.choice(self.proxies).stall_one(self.rng)
        return "stall one"

    def delay(self):
        proxy = self.rng.choice(self.proxies)
        proxy.delay(self.rng.uniform(0.001, 0.1))
        self.pass_time(1.0)
        proxy.delay(0)
        return "delay"

    def again(self):
        """Messages that were delivered before come once more, under their ids, behind whatever is there."""
        connection = self.cluster.connect()
        with connection, connection.cursor() as cursor:
            cursor.execute("SET LOCAL chaos.again = 'yes'")
            cursor.execute("""WITH again AS (SELECT s.*, p.queue FROM chaos.said s JOIN chaos.published p USING (message_id)
                ORDER BY md5(s.n::text || %s) LIMIT 20), put AS (INSERT INTO bus.messages (queue, message_id, type, aggregate, payload,
                attempt, enqueued_at) SELECT queue, message_id, type, aggregate, payload, 0, now() FROM again
                ON CONFLICT DO NOTHING RETURNING queue) SELECT count(pg_notify('bus_' || queue, '')) FROM put""",
                           (str(self.rng.random()),))
        connection.close()
        return "deliver again"

    def pass_time(self, most):
        self.clients.ended.wait(self.rng.uniform(0, most))

    # --- rounds ---

    FAULTS = [(kill_worker, 8), (kill_supervisor, 1), (kill_backend, 4), (kill_postmaster, 1), (freeze, 2), (cut, 1),
              (cut_one, 3), (stall, 2), (delay, 2), (again, 3)]

    def one_fault(self):
        fault = self.rng.choices([f for f, _ in self.FAULTS], [w for _, w in self.FAULTS])[0]
        try:
            name = fault(self)
        # Our own connection was among those thrown out, or the victim was gone before we came.
        except (ProcessLookupError, psycopg2.OperationalError, psycopg2.InterfaceError):
            wait_for(self.cluster.answers, 60, "Postgres to answer")
            name = f"{fault.__name__}, half done"
        self.table[name] = self.table.get(name, 0) + 1

    def heal(self):
        for proxy in self.proxies:
            proxy.heal()
        for frozen in self.frozen:
            send_all(frozen, signal.SIGCONT)
        self.frozen = []
        wait_for(self.cluster.answers, 60, "Postgres to answer")

    def is_settled(self):
        left = self.cluster.sql(f"SELECT {waiting_in('events')} + {waiting_in('users')} + (SELECT count(*) FROM bus.messages)")[0][0]
        missing = self.cluster.sql(f"""SELECT count(*) FROM ({SAID}) s WHERE NOT EXISTS (SELECT FROM chaos.effects e
            WHERE e.aggregate = s.aggregate AND e.value = s.value)""")[0][0]
        return left == 0 and missing == 0

    def prove(self, answered):
        """[(rule, what breaks it)]"""
        found = []
        for rule, sql in PROOFS:
            rows = self.cluster.sql(sql + " LIMIT 5")
            if rows:
                found.append((rule, rows))
        stored = set(self.cluster.sql(f"SELECT s.aggregate::text, s.value FROM ({SAID}) s"))
        lost = [a for a in answered if a not in stored]
        if lost:
            found.append(("answers", lost[:5]))
        return found

    def round(self, faults):
        with Clients(self) as self.clients:
            for _ in range(faults):
                before = self.clients.asked + self.rng.randrange(1, 60)
                deadline = time.monotonic() + self.rng.uniform(0.1, 1.0)
                while self.clients.asked < before and time.monotonic() < deadline:
                    time.sleep(0.005)
                self.one_fault()
            self.heal()
        try:
            wait_for(self.is_settled, SETTLE_LIMIT, "the chain to run empty")
        except AssertionError as error:
            return [("settle", [str(error)])] + self.prove(self.clients.answered)
        return self.prove(self.clients.answered)


class ChaosServe(Serve):
    """As Serve, but what it serves is judged by the books, not by its own end."""

    def close(self):
        processes = family(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        finally:
            send_all(processes, signal.SIGKILL)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--seed", type=int, default=int(os.environ.get("USHER_SEED", random.randrange(2**32))))
    ap.add_argument("--kills", type=int, default=300, help="go on until so many processes were killed")
    ap.add_argument("--seconds", type=float, default=1e9, help="begin no round after so long")
    ap.add_argument("--round", type=int, default=12, help="faults in a round")
    args = ap.parse_args()
    repeat = f"tests/chaos/chaos.py --seed {args.seed} --kills {args.kills} --round {args.round}"
    print(f"to repeat: {repeat}", flush=True)
    began, rounds, broken = time.monotonic(), 0, []
    world = World(random.Random(args.seed))
    try:
        while world.kills < args.kills and time.monotonic() - began < args.seconds and not broken:
            broken = world.round(args.round)
            rounds += 1
            said = world.cluster.sql("SELECT count(*), count(DISTINCT aggregate) FROM chaos.said")[0]
            print(f"round {rounds}: {world.kills} kills, {said[0]} messages of {said[1]} aggregates, "
                  f"{len(broken)} violations, {time.monotonic() - began:.0f} s", flush=True)
        print("\n" + "\n".join(f"{n:6}  {fault}" for fault, n in sorted(world.table.items(), key=lambda i: -i[1])))
        for rule, rows in broken:
            print(f"VIOLATED {rule}:", *rows, sep="\n    ")
        if broken:
            print("".join(line for line in world.server.log[-60:] + world.carrier.log[-60:]))
            print(f"to repeat: {repeat}")
    finally:
        world.close()
    print(f"{'VIOLATED' if broken else 'held'}: {world.kills} kills, {sum(world.table.values())} faults in {rounds} rounds, "
          f"seed {args.seed}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
