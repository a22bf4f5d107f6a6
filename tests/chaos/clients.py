"""Those who ask usher for things while it suffers: clients of the API, and people who hand in jobs."""
import datetime
import itertools
import random
import threading

import psycopg2

ONE_SHOTS = """INSERT INTO tickets.jobs (id, kind, queue, priority, state, args, attempt, attempts_max, run_at, inserted_at, unique_states)
    SELECT gen_random_uuid(), 'inbox_prune', 'upkeep', 1, 1, '{}', 0, 3, now() + random() * interval '1 second', now(), 0
    FROM generate_series(1, %s); NOTIFY tickets_jobs, 'q upkeep'"""
OLD_HOLDS = """INSERT INTO tickets.reservations SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), now() - interval '2 hours'
    FROM generate_series(1, %s)"""
GIVEN_UP = 60  # seconds after which an unanswered request counts as one that is never answered


class Broken(Exception):
    """Usher broke a rule in a way that no book tells."""

    def __init__(self, rule, detail):
        super().__init__(f"{rule}: {detail}")
        self.rule, self.detail = rule, detail


class Clients:
    """Each thread has events and users of its own, gives each change a value of its own, and notes what was answered."""

    numbers = itertools.count(1)

    def __init__(self, world, threads=3):
        self.world = world
        self.ended = threading.Event()
        self.answered = []  # (aggregate, value) of 2xx
        self.asked = 0
        self.failure = None
        works = [self.ask_things] * threads + [self.hand_in_jobs]
        self.threads = [threading.Thread(target=self.guarded, args=(work, random.Random(world.rng.random())), daemon=True)
                        for work in works]

    def guarded(self, work, rng):
        try:
            work(rng)
        except BaseException as error:  # noqa: BLE001 - told by __exit__
            self.failure = error

    def ask_things(self, rng):
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
            answer = self.ask(self.world.server.put, f"/{kind}/{known[1]}", body) if known else \
                self.ask(self.world.server.post, f"/{kind}", body)
            self.asked += 1
            if answer is not None and answer.status in (200, 201, 204):
                id = known[1] if known else answer.json()
                self.answered.append((id, value))
                if not known:
                    mine.append((kind, id, number))
            else:
                self.ended.wait(0.03)

    def ask(self, method, path, body):
        """The answer; None: the connection died under it."""
        try:
            return method(path, body)
        except OSError:
            return None
        except Exception as error:  # noqa: BLE001 - http.client's errors: a connection that died in the middle
            if type(error).__module__ != "http.client":
                raise
            return None

    def hand_in_jobs(self, rng):
        """One-shot jobs by an insert in a transaction of one's own, unique ones by `usher jobs run`, with work for both. What was
        committed is noted by triggers; what was not, nobody was promised."""
        while not self.ended.is_set():
            try:
                if rng.random() < 0.6:
                    self.world.cluster.sql(ONE_SHOTS, rng.randrange(1, 5))
                else:
                    self.world.cluster.sql(OLD_HOLDS, rng.randrange(1, 1500))
                    self.world.server.cli("jobs", "run", "reservations_prune", "--context", "tickets")
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                pass  # our own connection was among those thrown out
            self.ended.wait(rng.uniform(0.1, 0.5))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join(GIVEN_UP)
        if kind is not None:
            return
        if self.failure is not None:
            raise self.failure
        if any(t.is_alive() for t in self.threads):
            raise Broken("answers", "a request that is never answered")
