"""The two transports as chaos sees them: what is special about settings, faults and books of each.

    carrier.proxies         fault proxies between usher and whatever carries
    carrier.env             settings of usher
    carrier.again(rng)      delivers messages once more that were delivered before
    carrier.kill(), heal()  of what carries, where that is a process of its own
    carrier.left(sql)       messages under way
    carrier.note(sql)       brings chaos.published up to date
    carrier.dead(sql)       messages that were put aside
"""
import threading
import uuid

import pika
import psycopg2.extras

from brokerlib import Broker
from faultproxy import FaultProxy

EXCHANGES = {"Integration.Events.Messaging:EventUpserted": "event", "Integration.Users.Messaging.Messages:UserUpserted": "user"}
TAP = "chaos-tap"


class OverPostgres:
    name = "postgres"
    proxies = ()
    env = {}

    def __init__(self, cluster):
        self.cluster = cluster

    def again(self, rng):
        """Under their ids, behind whatever is there."""
        connection = self.cluster.connect()
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SET LOCAL chaos.again = 'yes'")
                cursor.execute("""WITH again AS (SELECT s.*, p.queue FROM chaos.said s JOIN chaos.published p USING (message_id)
                    ORDER BY md5(s.n::text || %s) LIMIT 20), put AS (INSERT INTO bus.messages (queue, message_id, type, aggregate,
                    payload, attempt, enqueued_at) SELECT queue, message_id, type, aggregate, payload, 0, now() FROM again
                    ON CONFLICT DO NOTHING RETURNING queue) SELECT count(pg_notify('bus_' || queue, '')) FROM put""",
                               (str(rng.random()),))
        finally:
            connection.close()

    def heal(self):
        pass

    def left(self, sql):
        return sql("SELECT count(*) FROM bus.messages")[0][0]

    def note(self, sql):
        pass

    def dead(self, sql):
        return []

    def close(self):
        pass


class Tap(threading.Thread):
    """The recording consumer: a durable queue of its own behind every type's exchange, read in order over connections that no proxy
    spoils. What it has not acknowledged when the broker dies comes again, where it stood."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url = url
        self.ended = threading.Event()
        self.ready = threading.Event()
        self.heard = []  # message ids in order, repetitions too
        self.kept = {}  # id: (exchange, properties, body)
        self.failure = None

    def run(self):
        try:
            while not self.ended.is_set():
                try:
                    self.listen()
                except (pika.exceptions.AMQPError, OSError):
                    self.ended.wait(0.1)
        except BaseException as error:  # noqa: BLE001 - told by heal()
            self.failure = error

    def listen(self):
        connection = pika.BlockingConnection(pika.URLParameters(self.url + "?heartbeat=0&socket_timeout=5"))
        channel = connection.channel()
        channel.queue_declare(TAP, durable=True)
        for exchange in EXCHANGES:
            channel.exchange_declare(exchange, "fanout", durable=True)
            channel.queue_bind(TAP, exchange)
        channel.basic_qos(prefetch_count=500)
        self.ready.set()
        for method, properties, body in channel.consume(TAP, inactivity_timeout=0.2):
            if self.ended.is_set():
                break
            if method is not None:
                self.heard.append(properties.message_id)
                self.kept[properties.message_id] = (method.exchange, properties, body)
                channel.basic_ack(method.delivery_tag)
        connection.close()


class OverRabbitMQ:
    name = "amqp"

    def __init__(self, cluster):
        self.broker = Broker()
        self.starting = None
        self.noted = 0
        host, port = self.broker.root_url.rsplit("@", 1)[1].split(":")
        self.url = self.broker.root_url + "/"
        self.proxies = (FaultProxy((host, int(port))),)
        self.tap = Tap(self.url)
        self.tap.start()
        assert self.tap.ready.wait(60), "the recording consumer does not get to its queue"
        # One consumer of a queue at a time: that is what keeps the order where several ushers consume.
        self.env = {"AMQP_URL": f"amqp://guest:guest@127.0.0.1:{self.proxies[0].port}/", "AMQP_QUEUES": "event,user",
                    "AMQP_EXCLUSIVE": "true"}

    def connect(self):
        return pika.BlockingConnection(pika.URLParameters(self.url + "?heartbeat=0&socket_timeout=5"))

    def again(self, rng):
        """Under their ids, behind whatever is there; straight into the queues, so that the recording consumer does not hear it."""
        known = sorted(self.tap.kept)
        connection = self.connect()
        channel = connection.channel()
        channel.confirm_delivery()
        for id in rng.sample(known, min(20, len(known))):
            exchange, properties, body = self.tap.kept[id]
            channel.basic_publish("", EXCHANGES[exchange], body, properties)
        connection.close()

    def kill(self):
        """It starts again while other faults go on; heal() waits for that."""
        self.heal()
        self.broker.kill()
        self.starting = threading.Thread(target=self.broker.start, daemon=True)
        self.starting.start()

    def heal(self):
        if self.tap.failure is not None:
            raise self.tap.failure
        if self.starting is not None:
            self.starting.join(200)
            self.connect().close()
            self.starting = None

    def depth(self, connection, queue):
        channel = connection.channel()
        try:
            return channel.queue_declare(queue, passive=True).method.message_count
        except pika.exceptions.ChannelClosedByBroker:
            return 0  # not there (yet)

    def left(self, sql):
        """What is in hand is not counted, and has no effect yet."""
        self.note(sql)
        connection = self.connect()
        try:
            waiting = sum(self.depth(connection, queue) for queue in [*EXCHANGES.values(), TAP])
        finally:
            connection.close()
        return waiting + sql("SELECT count(*) FROM chaos.said s WHERE NOT EXISTS "
                             "(SELECT FROM chaos.published p WHERE p.message_id = s.message_id)")[0][0]

    def note(self, sql):
        """A note that fails half way is made again from the start: the row numbers are ours."""
        heard = self.tap.heard[self.noted:]
        if heard:
            values = psycopg2.extras.Json([[self.noted + i, str(uuid.UUID(id))] for i, id in enumerate(heard)])
            sql("""DELETE FROM chaos.published WHERE n >= %s;
                   INSERT INTO chaos.published (n, message_id) SELECT (v->>0)::bigint, (v->>1)::uuid FROM json_array_elements(%s) v""",
                self.noted, values)
            self.noted += len(heard)

    def dead(self, sql):
        connection = self.connect()
        try:
            found = {q: self.depth(connection, q) for name in EXCHANGES.values() for q in (f"{name}_error", f"{name}_skipped")}
        finally:
            connection.close()
        return [(queue, n) for queue, n in found.items() if n]

    def close(self):
        self.tap.ended.set()
        self.tap.join(20)
        if self.starting is not None:
            self.starting.join(200)
        self.proxies[0].close()
        self.broker.close()


CARRIERS = {c.name: c for c in (OverRabbitMQ, OverPostgres)}
