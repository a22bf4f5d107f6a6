// pg-boss: `node pgboss.mjs insert|run N`: bulk insert, four workers that take 500 at a time.
import PgBoss from "pg-boss";
import pg from "pg";

const [what, count] = [process.argv[2], Number(process.argv[3])];
const client = new pg.Client();
await client.connect();
const boss = new PgBoss({ connectionString: process.env.DATABASE_URL, max: 12, supervise: false, schedule: false });
boss.on("error", console.error);
await boss.start();
await boss.createQueue("nothing");
await client.query("DELETE FROM pgboss.job");
await client.query("VACUUM pgboss.job"); // by itself: two in one string are a transaction
let began = process.hrtime.bigint(), cpu = process.cpuUsage();
for (let at = 0; at < count; at += 10000) {
  const jobs = [];
  for (let n = at; n < Math.min(at + 10000, count); n++) jobs.push({ name: "nothing", data: { n } });
  await boss.insert(jobs);
}
if (what === "run") {
  await client.query("VACUUM ANALYZE pgboss.job");
  let ran = 0, all;
  const done = new Promise((resolve) => (all = resolve));
  began = process.hrtime.bigint();
  cpu = process.cpuUsage();
  for (let i = 0; i < 4; i++)
    await boss.work("nothing", { batchSize: 500, pollingIntervalSeconds: 0.5 }, async (jobs) => {
      if ((ran += jobs.length) === count) all();
    });
  await done;
  for (;;) {
    const { rows } = await client.query("SELECT 1 FROM pgboss.job WHERE state < 'completed' LIMIT 1");
    if (rows.length === 0) break;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
const seconds = Number(process.hrtime.bigint() - began) / 1e9, used = process.cpuUsage(cpu);
console.log(JSON.stringify({ requests: count, seconds, cpu_s: (used.user + used.system) / 1e6, rss_mb: process.memoryUsage.rss() / 1048576 }));
await boss.stop({ graceful: false, wait: false });
await client.end();
process.exit(0);
