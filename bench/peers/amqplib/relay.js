// An outbox poller on pg and amqplib, for bench/bus_cases.py: node relay.js EXCHANGE COUNT
//
// In batches: lock and read 500 rows, publish them, wait for all confirms, delete them, commit. Tuned as amqplib's and pg's
// guides say: a confirm channel, waitForConfirms once a batch, named (prepared) statements, and, like usher's relay, a commit
// that does not wait for the disk (what a crash takes back is published again). The body is composed as text: JSON.parse and
// JSON.stringify of each row would cost more and say the same.
import amqp from 'amqplib';
import pg from 'pg';

const [exchange, count] = [process.argv[2], Number(process.argv[3])];
const BATCH = 500;
const db = new pg.Client();
await db.connect();
const connection = await amqp.connect(process.env.AMQP_URL, { noDelay: true });
const channel = await connection.createConfirmChannel();

const host = JSON.stringify({ machineName: 'bench', processName: 'node', processId: process.pid, assembly: 'relay',
    assemblyVersion: '1.0.0.0', frameworkVersion: process.version, massTransitVersion: '8.5.12.0', operatingSystemVersion: 'Unix' });
const address = `rabbitmq://127.0.0.1/${exchange}`;

function envelope(row) {
    return `{"messageId":"${row.message_id}","requestId":null,"correlationId":null,"conversationId":"${row.message_id}",` +
        `"initiatorId":null,"sourceAddress":"rabbitmq://127.0.0.1/bench","destinationAddress":"${address}","responseAddress":null,` +
        `"faultAddress":null,"messageType":["urn:message:${row.type}"],"message":${row.payload},"expirationTime":null,` +
        `"sentTime":"${new Date().toISOString()}","headers":{"MT-Activity-Id":"${row.traceparent}"},"host":${host}}`;
}

async function step() {
    await db.query('BEGIN; SET LOCAL synchronous_commit = off');
    const { rows } = await db.query({ name: 'read', values: [BATCH],
        text: `SELECT position, message_id, type, payload, traceparent FROM bench.outbox ORDER BY position LIMIT $1
               FOR UPDATE SKIP LOCKED` });
    for (const row of rows)
        channel.publish(exchange, '', Buffer.from(envelope(row)), { persistent: true, mandatory: true, messageId: row.message_id,
            contentType: 'application/vnd.masstransit+json', headers: { traceparent: row.traceparent } });
    await channel.waitForConfirms();
    await db.query({ name: 'delete', text: 'DELETE FROM bench.outbox WHERE position = ANY($1)', values: [rows.map(r => r.position)] });
    await db.query('COMMIT');
    return rows.length;
}

const began = process.hrtime.bigint(), cpu = process.cpuUsage();
let done = 0;
while (done < count)
    done += await step();
const used = process.cpuUsage(cpu);
console.log(JSON.stringify({ messages: done, seconds: Number(process.hrtime.bigint() - began) / 1e9,
    cpu_s: (used.user + used.system) / 1e6, rss_mb: process.memoryUsage().rss / 1048576 }));
await connection.close();
await db.end();
