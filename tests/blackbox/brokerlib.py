"""A RabbitMQ of its own for tests, and an independent client (pika) that says and hears what the old services would.

The broker of `broker` lives for the whole run; each test gets a vhost of its own, so that nothing of another test is in its way.
"""
import json
import os
import pathlib
import socket
import subprocess
import uuid

import pika

from conftest import ROOT, wait_for

CONTENT_TYPE = "application/vnd.masstransit+json"
EVENT = "Integration.Events.Messaging:EventUpserted"
RELEASE = "Domain.Tickets.Messages:EventUpserted"
USER = "Integration.Users.Messaging.Messages:UserUpserted"


class Broker:
    """tools/with-rabbitmq, held open until close()."""

    def __init__(self):
        self.process = subprocess.Popen([str(ROOT / "tools" / "with-rabbitmq"), "sh", "-c",
                                         'echo "$AMQP_URL $RABBITMQ_DIR"; cat >/dev/null'],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().split()
        assert len(line) == 2, "with-rabbitmq did not start a broker"
        self.root_url, self.dir = line[0].rstrip("/"), pathlib.Path(line[1])

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)

    def ctl(self, *args, check=True):
        done = subprocess.run([str(self.dir / "ctl"), *args], capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def revive(self):
        """One test's dead broker is not the next test's failure."""
        try:
            socket.create_connection(("127.0.0.1", int(self.root_url.rsplit(":", 1)[1])), 10).close()
        except ConnectionRefusedError:
            self.kill()
            self.start()

    def kill(self):
        subprocess.run([str(self.dir / "kill")], check=True)

    def start(self):
        """A node that was killed a moment ago may still be known to epmd, and a new one of its name then ends at once."""
        for attempt in range(5):
            if subprocess.run([str(self.dir / "start")], check=attempt == 4).returncode == 0:
                return
            self.kill()


class Vhost:
    """One test's part of the broker."""

    def __init__(self, broker):
        self.broker, self.name = broker, "t" + uuid.uuid4().hex[:12]
        broker.revive()
        broker.ctl("add_vhost", self.name)
        broker.ctl("set_permissions", "-p", self.name, "guest", ".*", ".*", ".*")
        self.url = f"{broker.root_url}/{self.name}"
        self.connection = None

    def channel(self):
        """A fresh channel, on a new connection when the old one has died."""
        try:
            if self.connection is not None and self.connection.is_open:
                return self.connection.channel()
        except pika.exceptions.AMQPError:
            pass  # cut, or the broker was killed
        self.connection = pika.BlockingConnection(pika.URLParameters(self.url + "?heartbeat=0"))
        return self.connection.channel()

    def close(self):
        try:
            if self.connection is not None and self.connection.is_open:
                self.connection.close()
        except pika.exceptions.AMQPError:
            pass
        self.broker.ctl("delete_vhost", self.name)

    def listing(self, what, *columns):
        rows = json.loads(self.broker.ctl("list_" + what, "-p", self.name, *columns, "--formatter", "json"))
        return [r for r in rows if not str(r.get("name", "x")).startswith("amq.")]

    def exists(self, queue):
        try:
            self.channel().queue_declare(queue, passive=True)
            return True
        except pika.exceptions.ChannelClosedByBroker:
            return False

    def depth(self, queue):
        return self.channel().queue_declare(queue, passive=True).method.message_count

    def tap(self, exchange):
        """A queue that hears what goes to a type's exchange from now on."""
        channel = self.channel()
        channel.exchange_declare(exchange, "fanout", durable=True)
        queue = "tap-" + uuid.uuid4().hex
        channel.queue_declare(queue)
        channel.queue_bind(queue, exchange)
        return queue

    def take(self, queue, limit=30):
        """The next message of a queue: (properties, body text)."""
        def look():
            channel = self.channel()
            try:
                method, properties, body = channel.basic_get(queue, auto_ack=True)
            except pika.exceptions.ChannelClosedByBroker:
                return None
            channel.close()
            return (properties, body.decode()) if method else None
        return wait_for(look, limit, f"a message in {queue}")

    def put(self, exchange, body, content_type=CONTENT_TYPE, headers=None, message_id=None):
        channel = self.channel()
        channel.confirm_delivery()
        channel.basic_publish(exchange, "", body if isinstance(body, (bytes, str)) else json.dumps(body),
                              pika.BasicProperties(content_type=content_type, delivery_mode=2, headers=headers, message_id=message_id))
        channel.close()


def envelope(type, message, **changed):
    return {"messageId": str(uuid.uuid4()), "conversationId": str(uuid.uuid4()), "sourceAddress": "rabbitmq://localhost/test",
            "destinationAddress": f"rabbitmq://localhost/{type}", "messageType": [f"urn:message:{type}"], "message": message,
            "sentTime": "2026-11-23T04:00:00Z", "headers": {}, "host": {}, **changed}


def event_message(id=None, **changed):
    return {"id": id or str(uuid.uuid4()), "eventName": "Msg", "startDate": "2095-05-05T10:00:00Z", "endDate": "2095-05-05T12:00:00Z",
            "venue": 3, "price": "7.5", **changed}
