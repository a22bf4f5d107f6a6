"""What a chaos run runs: two ushers, a Postgres, whatever carries messages, fault proxies between them; and the faults.

How to add a fault: a method of World that does it and returns what it did, and a row in FAULTS.
"""
import os
import signal
import subprocess
import time

import pika
import psycopg2

import books
from carriers import CARRIERS
from clients import Broken, Clients
from conftest import wait_for, waiting_in
from faultlib import Cluster, Serve, family, send_all, wait_gone
from faultproxy import FaultProxy

SETTLE_LIMIT = 180
UP_LIMIT = 90
# What our own connections meet because of the faults that we ourselves cause.
EXPLAINED = (psycopg2.OperationalError, psycopg2.InterfaceError, pika.exceptions.AMQPError, ConnectionError, ProcessLookupError)


class ChaosServe(Serve):
    """As Serve, but what it serves is judged by the books; and that it starts, and goes on, whatever happens around it."""

    def start(self):
        try:
            return super().start()
        except AssertionError as error:
            raise Broken("start", str(error)[-3000:]) from error

    def look(self):
        if self.process.poll() is not None:
            raise Broken("ended", f"a supervisor ended with {self.process.returncode}:\n" + "".join(self.log[-20:]))

    def close(self):
        if self.process is None:
            return
        processes = family(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            pass
        finally:
            send_all(processes, signal.SIGKILL)


class World:
    def __init__(self, rng, transport):
        self.rng = rng
        self.kills = 0
        self.table = {}
        self.frozen = []
        self.to_close = []
        self.settled = ""
        self.last_job = 0
        self.cluster = self.kept(Cluster(settings="max_connections = 300\n")).start()
        books.install(self.cluster)
        self.carrier = self.kept(CARRIERS[transport](self.cluster))
        self.proxies = [self.kept(FaultProxy(f"{self.cluster.run}/.s.PGSQL.5432")), *self.carrier.proxies]
        env = {"DATABASE_URL": f"postgresql://usher@127.0.0.1:{self.proxies[0].port}/usher?sslmode=disable&gssencmode=disable",
               "RELAY_WORKERS": "2", "RESTART_INTENSITY": "100000", "JOBS_RESCUE_AFTER": "2s", "JOBS_HEARTBEAT": "200ms",
               "JOBS_POLL": "500ms", **self.carrier.env}
        # The second one's wall clock is up to an hour off, so that nothing may rest on clocks being equal.
        skew = rng.randrange(-3600_000, 3600_000)
        self.server = ChaosServe(self.cluster, env={**env, "ROLES": "http,relay,consume,jobs"})
        self.other = ChaosServe(self.cluster, env={**env, "ROLES": "relay,consume,jobs", "USHER_CLOCK_SKEW_MS": str(skew)})
        self.serves = [self.server, self.other]
        for serve in self.serves:
            self.kept(serve).start()
        # As declared, one job of upkeep runs at a time, and unique ones would be alone whatever their rule did.
        self.server.cli("jobs", "scale", "upkeep", "--context", "tickets", "--limit", "10", "--global", "0", check=0)

    def kept(self, thing):
        self.to_close.append(thing)
        return thing

    def close(self):
        for frozen in self.frozen:
            send_all(frozen, signal.SIGCONT)
        for thing in reversed(self.to_close):
            thing.close()

    # --- faults: each returns what it did; kills count ---

    def kill_worker(self):
        workers = self.rng.choice(self.serves).workers()
        role = self.rng.choice(sorted(workers) or ["none"])
        if role == "none":
            return "no worker to kill"
        os.kill(self.rng.choice(sorted(workers[role])), signal.SIGKILL)
        self.kills += 1
        return f"kill -9 {role}"

    def kill_supervisor(self):
        serve = self.rng.choice(self.serves)
        all_of_it = family(serve.process.pid)
        serve.look()
        serve.process.kill()
        self.kills += 1
        serve.process.wait(30)
        wait_gone(all_of_it, "the workers of a dead supervisor")
        serve.start()
        return "kill -9 supervisor"

    def kill_backend(self):
        """Whichever process of Postgres: it throws all out and recovers."""
        backends = [p for p in family(self.cluster.process.pid) if p != self.cluster.process.pid]
        if not backends:
            return "no backend to kill"
        os.kill(self.rng.choice(sorted(backends)), signal.SIGKILL)
        self.kills += 1
        self.wait_for_postgres()
        return "kill -9 backend"

    def terminate_backend(self):
        self.cluster.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'usher%%' "
                         "ORDER BY md5(pid::text || %s) LIMIT 1", str(self.rng.random()))
        return "terminate backend"

    def kill_postmaster(self):
        self.cluster.stop(signal.SIGKILL)
        self.kills += 1
        self.cluster.start()
        return "kill -9 postmaster"

    def kill_broker(self):
        self.carrier.kill()
        self.kills += 1
        return "kill -9 broker"

    def freeze(self):
        """Stands still while others go on, perhaps until they take it for dead; then wakes up believing that nothing happened."""
        workers = self.rng.choice(self.serves).workers()
        role = self.rng.choice(sorted(workers) or ["none"])
        if role == "none":
            return "no worker to freeze"
        pid = self.rng.choice(sorted(workers[role]))
        frozen = {pid: family(pid).get(pid)}
        self.frozen.append(frozen)
        send_all(frozen, signal.SIGSTOP)
        self.pass_time(4.0)
        send_all(frozen, signal.SIGCONT)
        return f"freeze {role}"

    def cut(self):
        return self.spoil("cut all", lambda proxy: proxy.cut())

    def cut_one(self):
        return self.spoil("cut one", lambda proxy: proxy.cut_one(self.rng))

    def stall(self):
        return self.spoil("stall one", lambda proxy: proxy.stall_one(self.rng))

    def delay(self):
        def slow(proxy):
            proxy.delay(self.rng.uniform(0.001, 0.1))
            self.pass_time(1.0)
            proxy.delay(0)
        return self.spoil("delay", slow)

    def spoil(self, name, what):
        proxy = self.rng.choice(self.proxies)
        what(proxy)
        return f"{name}, {'Postgres' if proxy is self.proxies[0] else 'broker'}"

    def again(self):
        self.carrier.again(self.rng)
        return "deliver again"

    def pass_time(self, most):
        time.sleep(self.rng.uniform(0, most))

    # (fault, weight, weight over RabbitMQ)
    FAULTS = [(kill_worker, 14, 14), (kill_supervisor, 2, 2), (kill_backend, 6, 6), (kill_postmaster, 2, 2), (kill_broker, 0, 3),
              (terminate_backend, 2, 2), (freeze, 2, 2), (cut, 1, 2), (cut_one, 2, 4), (stall, 2, 3), (delay, 1, 2), (again, 3, 3)]

    def one_fault(self):
        column = 2 if self.carrier.name == "amqp" else 1
        fault = self.rng.choices([f[0] for f in self.FAULTS], [f[column] for f in self.FAULTS])[0]
        try:
            name = fault(self)
        except EXPLAINED:  # our own connection was among those thrown out, or the victim was gone before we came
            self.wait_for_postgres()
            name = f"{fault.__name__}, half done"
        self.table[name] = self.table.get(name, 0) + 1

    # --- rounds ---

    def wait_for_postgres(self):
        """A postmaster gives up when what died is what recovers it from the death before: then the fault is ours to mend."""
        def answers():
            if self.cluster.process.poll() is not None:
                self.cluster.start()
            return self.cluster.answers()
        wait_for(answers, UP_LIMIT, "Postgres to answer")

    def ask(self, text, *values):
        """A statement of our own, again where the last kill has thrown us out: a dying postmaster may still have let us in."""
        for _ in range(20):
            try:
                return self.cluster.sql(text, *values)
            except EXPLAINED:
                self.wait_for_postgres()
                time.sleep(0.1)
        return self.cluster.sql(text, *values)

    def heal(self):
        for proxy in self.proxies:
            proxy.heal()
        for frozen in self.frozen:
            send_all(frozen, signal.SIGCONT)
        self.frozen = []
        self.wait_for_postgres()
        self.carrier.heal()
        for serve in self.serves:
            serve.look()

    def left(self):
        """What is still under way, by name: none of it when the chain has run empty."""
        found = {"outbox": self.ask(f"SELECT {waiting_in('events')} + {waiting_in('users')}")[0][0],
                 "carried": self.carrier.left(self.ask),
                 "effects": self.ask(books.MISSING_EFFECTS)[0][0],
                 "jobs": self.ask(books.JOBS_OPEN, self.last_job)[0][0]}
        return {name: n for name, n in found.items() if n}

    def settle(self):
        """[] or the violation that it does not."""
        began, self.settled = time.monotonic(), "settled at once"
        while left := self.left():
            self.settled = f"settled after {time.monotonic() - began:.0f} s, {' and '.join(left)} last"
            if time.monotonic() - began > SETTLE_LIMIT:
                return [("settle", [f"after {SETTLE_LIMIT} s there are still {left}"])]
            time.sleep(0.1)
        return []

    def round(self, faults):
        """[(rule, what breaks it)]"""
        try:
            with Clients(self) as self.clients:
                for _ in range(faults):
                    before = self.clients.asked + self.rng.randrange(1, 40)
                    deadline = time.monotonic() + self.rng.uniform(0.05, 0.5)
                    while self.clients.asked < before and time.monotonic() < deadline:
                        time.sleep(0.005)
                    self.one_fault()
                self.heal()
        except Broken as broken:
            return [(broken.rule, [broken.detail])]
        self.last_job = self.ask("SELECT coalesce(max(n), 0) FROM chaos.jobs")[0][0]
        found = self.settle()
        dead = self.carrier.dead(self.ask)
        return found + books.prove(self.ask, self.last_job, self.clients.answered) + [("dead", dead)] * bool(dead)
