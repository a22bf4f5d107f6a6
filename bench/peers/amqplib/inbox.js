// A batched consumer on amqplib and pg, for bench/bus_cases.py: node inbox.js QUEUE COUNT
//
// Gathers up to 500 deliveries or for 5 ms, writes inbox rows and upserts of those that were new in one statement (one durable
// commit, one round trip), then acknowledges all of them at once. The next batch gathers while one is with Postgres.
import amqp from 'amqplib';
import pg from 'pg';

const [queue, count] = [process.argv[2], Number(process.argv[3])];
const BATCH = 500, WAIT_MS = 5;
const db = new pg.Client();
await db.connect();
const connection = await amqp.connect(process.env.AMQP_URL, { noDelay: true });
const channel = await connection.createChannel();
await channel.prefetch(2 * BATCH);

const STORE = `WITH told AS (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS t (message_id, id, full_name, email)),
    fresh AS (INSERT INTO tickets.inbox (message_id, consumer, received_at)
              SELECT message_id, 'peer', clock_timestamp() FROM told ON CONFLICT DO NOTHING RETURNING message_id)
    INSERT INTO tickets.users (id, full_name, email)
    SELECT DISTINCT ON (id) id, full_name, email FROM told JOIN fresh USING (message_id)
    ON CONFLICT (id) DO UPDATE SET full_name = excluded.full_name, email = excluded.email`;

let waiting = [], busy = false, done = 0, timer = null;
const began = process.hrtime.bigint(), cpu = process.cpuUsage();

// A timer that has fired while a batch was with Postgres must not look like one that is still to fire.
function later() {
    timer ??= setTimeout(() => { timer = null; store(); }, WAIT_MS);
}

async function store() {
    if (busy || waiting.length === 0)
        return;
    busy = true;
    clearTimeout(timer);
    timer = null;
    const batch = waiting.splice(0, BATCH);
    const read = batch.map(delivery => JSON.parse(delivery.content));
    await db.query({ name: 'store', text: STORE, values: [read.map(e => e.messageId), read.map(e => e.message.id),
        read.map(e => e.message.fullName), read.map(e => e.message.email)] });
    channel.ack(batch[batch.length - 1], true);
    done += batch.length;
    busy = false;
    if (done >= count)
        await finish();
    else if (waiting.length >= BATCH)
        await store();
    else if (waiting.length > 0)
        later();
}

async function finish() {
    const used = process.cpuUsage(cpu);
    console.log(JSON.stringify({ messages: done, seconds: Number(process.hrtime.bigint() - began) / 1e9,
        cpu_s: (used.user + used.system) / 1e6, rss_mb: process.memoryUsage().rss / 1048576 }));
    await channel.close();
    await connection.close();
    await db.end();
}

await channel.consume(queue, delivery => {
    waiting.push(delivery);
    if (waiting.length >= BATCH)
        store();
    else
        later();
});
