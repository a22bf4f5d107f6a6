// graphile-worker: `node graphile.mjs insert|run N`, as its "Performance" page advises: bulk add_jobs, a local queue, batched
// completion and failure, no listening for single jobs while the queue is full.
import { run, runMigrations } from "graphile-worker";
import pg from "pg";

const [what, count] = [process.argv[2], Number(process.argv[3])];
const pool = new pg.Pool({ max: 12 });
const preset = {
  worker: {
    pgPool: pool,
    concurrentJobs: 24,
    pollInterval: 1000,
    localQueue: { size: 500, refetchDelay: { durationMs: 10 } },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  },
};
const quiet = { error: console.error, warn() {}, info() {}, debug() {} };

async function insert() {
  for (let at = 0; at < count; at += 10000)
    await pool.query(
      `SELECT count(*) FROM graphile_worker.add_jobs(ARRAY(
         SELECT json_populate_record(NULL::graphile_worker.job_spec,
                  json_build_object('identifier', 'nothing', 'payload', json_build_object('n', n)))
           FROM generate_series($1::int, $2::int) AS n), false)`,
      [at, Math.min(at + 10000, count) - 1],
    );
}

const { Logger } = await import("graphile-worker");
preset.worker.logger = new Logger(() => (level, message) => level === "error" && console.error(message));
await runMigrations({ preset });
await pool.query("TRUNCATE graphile_worker._private_jobs");
let began = process.hrtime.bigint(), cpu = process.cpuUsage();
await insert();
if (what === "run") {
  await pool.query("VACUUM ANALYZE graphile_worker._private_jobs");
  let ran = 0, all;
  const done = new Promise((resolve) => (all = resolve));
  began = process.hrtime.bigint();
  cpu = process.cpuUsage();
  const runner = await run({ preset, taskList: { nothing: () => { if (++ran === count) all(); } } });
  await done;
  for (;;) {
    const { rows } = await pool.query("SELECT 1 FROM graphile_worker._private_jobs LIMIT 1");
    if (rows.length === 0) break;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  report();
  await runner.stop();
} else {
  report();
}
await pool.end();

function report() {
  const seconds = Number(process.hrtime.bigint() - began) / 1e9, used = process.cpuUsage(cpu);
  console.log(JSON.stringify({ requests: count, seconds, cpu_s: (used.user + used.system) / 1e6, rss_mb: process.memoryUsage.rss() / 1048576 }));
}
