"""A proxy on loopback that spoils connections: cuts them, delays every byte, stalls all, or one direction of one of them.

    proxy = FaultProxy(target)       target: the path of a unix socket, or (host, port)
    proxy.port                       where to connect
    proxy.cut(), proxy.cut_one(random), proxy.delay(seconds), proxy.stall(), proxy.stall_one(random), proxy.heal(), proxy.close()

One thread runs an event loop; every method may be called from any thread and returns when it is done.
"""
import asyncio
import threading

CHUNK = 65536


class Pair:
    """One connection: what the client has with us, and what we have with the target."""

    def __init__(self, writers):
        self.writers = writers
        self.flowing = [asyncio.Event(), asyncio.Event()]  # to the target, to the client
        for direction in self.flowing:
            direction.set()

    def cut(self):
        for writer in self.writers:
            writer.transport.abort()

    def stall(self):
        for direction in self.flowing:
            direction.clear()


class FaultProxy:
    def __init__(self, target):
        self.target = target
        self.pairs = set()
        self.pause, self.stalled = 0.0, False
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = self.ask(asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]

    def ask(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    async def serve(self, reader, writer):
        try:
            if isinstance(self.target, str):
                their_reader, their_writer = await asyncio.open_unix_connection(self.target)
            else:
                their_reader, their_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = Pair((writer, their_writer))
        self.pairs.add(pair)
        if self.stalled:
            pair.stall()
        try:
            await asyncio.gather(self.carry(pair, 0, reader, their_writer), self.carry(pair, 1, their_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self.pairs.discard(pair)
            pair.cut()

    async def carry(self, pair, direction, reader, writer):
        """An end of either side ends both: neither Postgres nor AMQP goes on half open. What is kept back by a stall when its sender
        goes is lost, as in a network; it does not arrive long after everybody has given it up."""
        flowing, held = pair.flowing[direction], b""
        read = asyncio.ensure_future(reader.read(CHUNK))
        try:
            while True:
                if held and flowing.is_set():
                    writer.write(held)
                    held = b""
                    await writer.drain()
                if held:
                    freed = asyncio.ensure_future(flowing.wait())
                    await asyncio.wait({read, freed}, return_when=asyncio.FIRST_COMPLETED)
                    freed.cancel()
                    if not read.done():
                        continue
                piece = await read
                if not piece:
                    return
                if self.pause:
                    await asyncio.sleep(self.pause)
                held += piece
                read = asyncio.ensure_future(reader.read(CHUNK))
        finally:
            read.cancel()
            pair.cut()

    async def each(self, what):
        for pair in list(self.pairs):
            what(pair)

    def cut(self):
        self.ask(self.each(Pair.cut))

    def one(self, rng, what):
        async def do():
            if self.pairs:
                what(rng.choice(sorted(self.pairs, key=id)))
        self.ask(do())

    def cut_one(self, rng):
        self.one(rng, Pair.cut)

    def stall(self):
        """Every connection, those to come too: taken, and nothing goes either way until heal()."""
        self.stalled = True
        self.ask(self.each(Pair.stall))

    def stall_one(self, rng):
        """What goes one way is kept until heal(): requests that were sent and are never answered, or answers to nobody."""
        self.one(rng, lambda pair: pair.flowing[rng.randrange(2)].clear())

    def delay(self, seconds):
        self.pause = seconds

    def heal(self):
        self.pause, self.stalled = 0.0, False
        self.ask(self.each(lambda pair: [direction.set() for direction in pair.flowing]))

    def close(self):
        async def end():
            self.server.close()
            await self.each(Pair.cut)
            for _ in range(500):
                if not self.pairs:
                    break
                await asyncio.sleep(0.01)
        self.ask(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(20)
