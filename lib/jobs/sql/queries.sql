-- Statements of the job engine. {schema} stands for that of the context whose jobs they are (engine_statement). All
-- times are the database's: a node's own clock decides nothing.

-- --- inserting -----------------------------------------------------------------------------------------------------

-- Jobs that are not unique, and the queues to wake: nothing to look for before each row (ON CONFLICT asks every unique
-- index first, and then says a second time that the row stays), and nothing to tell afterwards.
-- name: jobs_insert_plain :exec
WITH new AS (
  INSERT INTO {schema}.jobs (id, kind, queue, priority, state, args, attempt, attempts_max, run_at, inserted_at,
                             unique_states, traceparent, tracestate, baggage)
  SELECT id, kind, queue, priority, 1, args, 0, attempts_max,
         coalesce(at, statement_timestamp() + coalesce(delay_ms, 0) * interval '1 millisecond'), statement_timestamp(), 0,
         traceparent, tracestate, baggage
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int2[], $5::text[], $6::int2[], $7::int8[], $8::timestamptz[],
                $9::text[], $10::text[], $11::text[])
           AS g (id, kind, queue, priority, args, attempts_max, delay_ms, at, traceparent, tracestate, baggage))
SELECT pg_notify('{schema}_jobs', 'q ' || queue) FROM unnest($12::text[]) AS q (queue);

-- One row per job, numbered as given. Unique ones in order of key, so that two inserters wait for each other in one
-- order; the second waits for the first's commit and then sees its job. Wakes those who serve the queues.
-- name: jobs_insert :many
WITH given AS MATERIALIZED (
  SELECT g.*,
         coalesce(g.at, statement_timestamp() + coalesce(g.delay_ms, 0) * interval '1 millisecond') AS run_at,
         CASE WHEN g.period_ms > 0
              THEN g.unique_by || '/' || floor(extract(epoch FROM statement_timestamp()) * 1000 / g.period_ms)
              ELSE g.unique_by END AS key
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int2[], $5::text[], $6::int2[], $7::int8[], $8::timestamptz[],
                $9::text[], $10::text[], $11::text[], $12::text[], $13::int8[], $14::int2[])
         WITH ORDINALITY AS g (id, kind, queue, priority, args, attempts_max, delay_ms, at,
                               traceparent, tracestate, baggage, unique_by, period_ms, unique_states, n)),
new AS (
  INSERT INTO {schema}.jobs (id, kind, queue, priority, state, args, attempt, attempts_max, run_at, inserted_at,
                             unique_key, unique_states, traceparent, tracestate, baggage)
  SELECT id, kind, queue, priority, 1, args, 0, attempts_max, run_at, statement_timestamp(), key, unique_states,
         traceparent, tracestate, baggage
    FROM given
   ORDER BY key NULLS FIRST, n
      ON CONFLICT DO NOTHING
  RETURNING id, queue, run_at),
woken AS (
  SELECT pg_notify('{schema}_jobs', 'q ' || queue) AS told
    FROM new
   WHERE run_at <= statement_timestamp()
   GROUP BY queue)
SELECT g.n, new.id IS NOT NULL AS inserted,
       CASE WHEN new.id IS NULL
            THEN (SELECT j.id
                    FROM {schema}.jobs AS j
                   WHERE j.unique_key = g.key AND j.unique_states >> j.state::integer & 1 = 1) END AS other,
       g.key, (SELECT count(*) FROM woken) AS woken
  FROM given AS g
  LEFT JOIN new ON new.id = g.id;

-- Who holds these keys: for those that the insert waited for and whose commit its snapshot did not see.
-- name: jobs_holders :many
SELECT a.n, j.id
  FROM unnest($1::text[]) WITH ORDINALITY AS a (key, n)
  JOIN {schema}.jobs AS j ON j.unique_key = a.key AND j.unique_states >> j.state::integer & 1 = 1;

-- --- claiming ------------------------------------------------------------------------------------------------------

-- Up to $2 due jobs of queue $1 for node $3, up to $4 bytes of arguments but at least one. One probe of the index per
-- priority, so that what is scheduled for later is never walked over. Nothing for a paused queue or a node that has been
-- buried.
-- name: jobs_claim :many
WITH taken AS (
  UPDATE {schema}.jobs AS j
     SET state = 2, attempt = attempt + 1, node = $3, claimed_at = clock_timestamp(), reason = NULL
   WHERE j.id = ANY (ARRAY (
           SELECT d.id
             FROM (SELECT l.id, sum(l.bytes) OVER (ORDER BY l.priority, l.run_at, l.id) - l.bytes AS before
                     FROM (SELECT due.*
                             FROM generate_series(-1, 2) AS p (priority)
                            CROSS JOIN LATERAL (
                                  SELECT w.id, w.priority, w.run_at, octet_length(w.args)::bigint AS bytes
                                    FROM {schema}.jobs AS w
                                   WHERE w.state = 1 AND w.queue = $1 AND w.priority = p.priority
                                     AND w.run_at <= statement_timestamp()
                                   ORDER BY w.run_at, w.id
                                   LIMIT $2::integer
                                     FOR NO KEY UPDATE SKIP LOCKED) AS due
                            LIMIT $2::integer) AS l) AS d
            WHERE d.before < $4::bigint))
     AND NOT EXISTS (SELECT FROM {schema}.job_queues WHERE name = $1 AND paused)
     AND EXISTS (SELECT FROM {schema}.job_nodes WHERE id = $3)
  RETURNING j.id, j.kind, j.args, j.attempt, j.attempts_max, j.priority, j.run_at, j.claimed_at, j.traceparent,
            j.tracestate, j.baggage)
SELECT id, kind, args, attempt, attempts_max, traceparent, tracestate, baggage,
       (extract(epoch FROM claimed_at - run_at) * 1000000)::bigint AS delay_us
  FROM taken
 ORDER BY priority, run_at, id;

-- The queue's row, for a claim under limits that count everywhere. A statement of its own: the next one's snapshot then
-- sees what the last holder committed.
-- name: jobs_queue_lock :one
SELECT name FROM {schema}.job_queues WHERE name = $1 FOR NO KEY UPDATE;

-- As jobs_claim, under the row's lock: $5 declared global limit (0: none), $6 declared rate (0: none) per $7 ms.
-- name: jobs_claim_limited :many
WITH room AS MATERIALIZED (
  SELECT least($2::bigint,
               CASE WHEN q.most > 0
                    THEN q.most - (SELECT count(*) FROM {schema}.jobs WHERE state = 2 AND queue = $1) END,
               CASE WHEN $6::integer > 0 THEN $6::integer - CASE WHEN spans THEN 0 ELSE q.rate_used END END) AS n,
         q.spans
    FROM (SELECT *, CASE WHEN limit_global >= 0 THEN limit_global ELSE $5::integer END AS most,
                 rate_from IS NULL
                    OR rate_from + $7::bigint * interval '1 millisecond' <= clock_timestamp() AS spans
            FROM {schema}.job_queues) AS q
   WHERE q.name = $1),
taken AS (
  UPDATE {schema}.jobs AS j
     SET state = 2, attempt = attempt + 1, node = $3, claimed_at = clock_timestamp(), reason = NULL
   WHERE j.id = ANY (ARRAY (
           SELECT d.id
             FROM (SELECT l.id, sum(l.bytes) OVER (ORDER BY l.priority, l.run_at, l.id) - l.bytes AS before
                     FROM (SELECT due.*
                             FROM generate_series(-1, 2) AS p (priority)
                            CROSS JOIN LATERAL (
                                  SELECT w.id, w.priority, w.run_at, octet_length(w.args)::bigint AS bytes
                                    FROM {schema}.jobs AS w
                                   WHERE w.state = 1 AND w.queue = $1 AND w.priority = p.priority
                                     AND w.run_at <= statement_timestamp()
                                   ORDER BY w.run_at, w.id
                                   LIMIT (SELECT greatest(n, 0) FROM room)
                                     FOR NO KEY UPDATE SKIP LOCKED) AS due
                            LIMIT (SELECT greatest(n, 0) FROM room)) AS l) AS d
            WHERE d.before < $4::bigint))
     AND NOT EXISTS (SELECT FROM {schema}.job_queues WHERE name = $1 AND paused)
     AND EXISTS (SELECT FROM {schema}.job_nodes WHERE id = $3)
  RETURNING j.id, j.kind, j.args, j.attempt, j.attempts_max, j.priority, j.run_at, j.claimed_at, j.traceparent,
            j.tracestate, j.baggage),
spent AS (
  UPDATE {schema}.job_queues AS q
     SET rate_from = CASE WHEN room.spans THEN clock_timestamp() ELSE q.rate_from END,
         rate_used = CASE WHEN room.spans THEN 0 ELSE q.rate_used END + (SELECT count(*) FROM taken)
    FROM room
   WHERE q.name = $1 AND $6::integer > 0 AND (SELECT count(*) FROM taken) > 0)
SELECT id, kind, args, attempt, attempts_max, traceparent, tracestate, baggage,
       (extract(epoch FROM claimed_at - run_at) * 1000000)::bigint AS delay_us
  FROM taken
 ORDER BY priority, run_at, id;

-- Milliseconds until a waiting job of queue $1 is due (negative: one is), and until the present span of its rate is over
-- ($2 rate, $3 ms; NULL: there is room).
-- name: jobs_next_due :one
SELECT ceil(extract(epoch FROM (SELECT min(due.run_at)
                                  FROM generate_series(-1, 2) AS p (priority)
                                 CROSS JOIN LATERAL (SELECT w.run_at
                                                       FROM {schema}.jobs AS w
                                                      WHERE w.state = 1 AND w.queue = $1 AND w.priority = p.priority
                                                      ORDER BY w.run_at
                                                      LIMIT 1) AS due) - clock_timestamp()) * 1000)::bigint,
       (SELECT ceil(extract(epoch FROM q.rate_from + $3::bigint * interval '1 millisecond' - clock_timestamp()) * 1000)
               ::bigint
          FROM {schema}.job_queues AS q
         WHERE q.name = $1 AND $2::integer > 0 AND q.rate_used >= $2::integer);

-- --- ending --------------------------------------------------------------------------------------------------------

-- Ends of node $1's attempts. What another has taken over meanwhile is left alone, and missing in the answer. A job that
-- goes back to waiting while another holds its unique key is cancelled instead. `back`: it was no attempt.
-- state + 0: the way to a job is its key. The index over what runs holds an entry of each that has run until a vacuum,
-- and statistics from before the queue filled would make it look like the cheap way (300 µs a job instead of 35, measured).
-- name: jobs_end :many
WITH given AS MATERIALIZED (
  SELECT * FROM unnest($2::uuid[], $3::int2[], $4::int2[], $5::int8[], $6::text[], $7::text[], $8::int2[])
           AS g (id, attempt, state, delay_ms, result, reason, back)),
was AS MATERIALIZED (
  SELECT j.id, g.delay_ms, g.result, g.back,
         CASE WHEN o.superseded THEN 4 WHEN g.state = 1 AND j.cancel_asked IS NOT NULL THEN 4 ELSE g.state END AS state,
         CASE WHEN o.superseded THEN 'a job with the same unique values is there already; before: '
              ELSE '' END || coalesce(g.reason, CASE WHEN o.superseded THEN '-' END) AS reason
    FROM given AS g
    JOIN {schema}.jobs AS j ON j.id = g.id AND j.state + 0 = 2 AND j.node = $1 AND j.attempt = g.attempt
   CROSS JOIN LATERAL (
         SELECT g.state = 1 AND j.unique_key IS NOT NULL AND j.unique_states >> 1 & 1 = 1
                AND EXISTS (SELECT
                              FROM {schema}.jobs AS o
                             WHERE o.unique_key = j.unique_key AND o.unique_states >> o.state::integer & 1 = 1
                               AND o.id <> j.id) AS superseded) AS o),
ended AS (
  UPDATE {schema}.jobs AS j
     SET state = w.state, node = 0, attempt = j.attempt - w.back, result = w.result, reason = w.reason,
         run_at = CASE WHEN w.state = 1 THEN clock_timestamp() + w.delay_ms * interval '1 millisecond' ELSE j.run_at END,
         finished_at = CASE WHEN w.state >= 3 THEN clock_timestamp() END
    FROM was AS w
   WHERE j.id = w.id AND j.state + 0 = 2 AND j.node = $1
  RETURNING j.id)
SELECT id FROM ended;

-- Completed ones that are not kept.
-- name: jobs_forget :many
DELETE FROM {schema}.jobs AS j
 USING unnest($2::uuid[], $3::int2[]) AS g (id, attempt)
 WHERE j.id = g.id AND j.state + 0 = 2 AND j.node = $1 AND j.attempt = g.attempt
RETURNING j.id;

-- name: jobs_tally :exec
INSERT INTO {schema}.job_tallies AS t (minute, node, kind, outcome, n, duration_us, longest_us, delay_us)
SELECT date_trunc('minute', clock_timestamp()), $1, g.kind, g.outcome, g.n, g.duration_us, g.longest_us, g.delay_us
  FROM unnest($2::text[], $3::text[], $4::int8[], $5::int8[], $6::int8[], $7::int8[])
         AS g (kind, outcome, n, duration_us, longest_us, delay_us)
    ON CONFLICT (minute, node, kind, outcome) DO UPDATE
   SET n = t.n + excluded.n, duration_us = t.duration_us + excluded.duration_us,
       longest_us = greatest(t.longest_us, excluded.longest_us), delay_us = t.delay_us + excluded.delay_us;

-- Wakes the nodes that wait for room in these queues.
-- name: jobs_wake :exec
SELECT pg_notify('{schema}_jobs', 'q ' || queue) FROM unnest($1::text[]) AS q (queue);

-- Inside the transaction of the job's own effect.
-- name: jobs_finish :exec
UPDATE {schema}.jobs
   SET state = 3, node = 0, finished_at = clock_timestamp(), result = $4, reason = NULL
 WHERE id = $1 AND state = 2 AND node = $2 AND attempt = $3;

-- First in a transaction of a job that must not run twice at once: while it is open nobody takes the job over (they skip
-- what is locked), and a statement that comes too late finds no row.
-- name: jobs_hold :many
SELECT id FROM {schema}.jobs WHERE id = $1 AND state + 0 = 2 AND node = $2 AND attempt = $3 FOR SHARE;

-- --- nodes ---------------------------------------------------------------------------------------------------------

-- name: jobs_sign_on :one
INSERT INTO {schema}.job_nodes (name, queues, draining, started_at, seen_at)
VALUES ($1, $2, false, clock_timestamp(), clock_timestamp())
RETURNING id;

-- name: jobs_sign_off :exec
DELETE FROM {schema}.job_nodes WHERE id = $1;

-- name: jobs_queues_make :exec
INSERT INTO {schema}.job_queues (name, paused, rate_used)
SELECT name, false, 0 FROM unnest($1::text[]) AS q (name)
    ON CONFLICT DO NOTHING;

-- Nothing changed: the node has been buried.
-- name: jobs_beat :exec
UPDATE {schema}.job_nodes SET seen_at = clock_timestamp(), draining = $2 WHERE id = $1;

-- What the database says that node $1 runs.
-- name: jobs_of_node :many
SELECT id, attempt, cancel_asked IS NOT NULL, cancel_asked FROM {schema}.jobs WHERE state = 2 AND node = $1;

-- What node $1 does not know of: the answer to its claim was lost.
-- name: jobs_give_back :exec
UPDATE {schema}.jobs AS j
   SET state = 1, node = 0, attempt = j.attempt - 1
  FROM unnest($2::uuid[], $3::int2[]) AS g (id, attempt)
 WHERE j.id = g.id AND j.state + 0 = 2 AND j.node = $1 AND j.attempt = g.attempt;

-- name: jobs_queue_settings :many
SELECT name, paused, limit_local, limit_global FROM {schema}.job_queues;

-- What waits, for metrics, counted up to 100,000 per queue.
-- name: jobs_depths :many
SELECT q.name, d.n, coalesce((extract(epoch FROM clock_timestamp() - d.oldest) * 1000000000)::bigint, 0)
  FROM unnest($1::text[]) AS q (name)
 CROSS JOIN LATERAL (
       SELECT count(*) AS n, min(w.run_at) AS oldest
         FROM (SELECT run_at
                 FROM {schema}.jobs
                WHERE state = 1 AND queue = q.name AND run_at <= clock_timestamp()
                LIMIT 100000) AS w) AS d;

-- --- leading -------------------------------------------------------------------------------------------------------

-- Takes or renews the lease: $1 node, $2 ms, $3 the epoch under which this node holds it (0: it does not). No row:
-- somebody else has it.
-- name: jobs_lead :many
INSERT INTO {schema}.job_leases AS l (name, epoch, node, until_at)
VALUES ('leader', 1, $1, clock_timestamp() + $2::bigint * interval '1 millisecond')
    ON CONFLICT (name) DO UPDATE
   SET epoch = CASE WHEN l.node = $1 AND l.epoch = $3 THEN l.epoch ELSE l.epoch + 1 END,
       node = $1, until_at = excluded.until_at
 WHERE l.until_at < clock_timestamp() OR (l.node = $1 AND l.epoch = $3)
RETURNING epoch;

-- name: jobs_resign :exec
UPDATE {schema}.job_leases SET until_at = clock_timestamp() WHERE node = $1 AND epoch = $2;

-- Each thing that a leader does begins with the lease's row, locked and compared: $1 node, $2 epoch.
-- Nodes silent for $3 ms.
-- name: jobs_bury :many
WITH lease AS (
  SELECT 1 FROM {schema}.job_leases
   WHERE name = 'leader' AND node = $1 AND epoch = $2 AND until_at > clock_timestamp() FOR SHARE)
DELETE FROM {schema}.job_nodes
 WHERE seen_at < clock_timestamp() - $3::bigint * interval '1 millisecond' AND EXISTS (SELECT FROM lease)
RETURNING id, name;

-- Jobs of nodes that are no more, up to 1000. Their attempt counts: it may be what killed the node.
-- name: jobs_rescue :many
WITH lease AS (
  SELECT 1 FROM {schema}.job_leases
   WHERE name = 'leader' AND node = $1 AND epoch = $2 AND until_at > clock_timestamp() FOR SHARE),
orphans AS MATERIALIZED (
  SELECT j.id, j.unique_key,
         CASE WHEN j.cancel_asked IS NOT NULL THEN 4
              WHEN j.attempt >= j.attempts_max THEN 5
              WHEN j.unique_key IS NOT NULL AND j.unique_states >> 1 & 1 = 1
                   AND EXISTS (SELECT
                                 FROM {schema}.jobs AS o
                                WHERE o.unique_key = j.unique_key AND o.unique_states >> o.state::integer & 1 = 1
                                  AND o.id <> j.id) THEN 4
              ELSE 1 END AS state
    FROM {schema}.jobs AS j
   WHERE j.state = 2 AND NOT EXISTS (SELECT FROM {schema}.job_nodes AS n WHERE n.id = j.node)
     AND EXISTS (SELECT FROM lease)
   LIMIT 1000
     FOR NO KEY UPDATE OF j SKIP LOCKED)
UPDATE {schema}.jobs AS j
   SET state = o.state, node = 0, reason = 'its worker died',
       finished_at = CASE WHEN o.state >= 3 THEN clock_timestamp() END
  FROM orphans AS o
 WHERE j.id = o.id
RETURNING j.id, j.kind, j.queue, j.state;

-- A line that is new, or reads otherwise than before, begins now: it makes up for nothing.
-- name: jobs_crons_make :exec
INSERT INTO {schema}.job_crons AS c (name, expression, zone, last_at)
SELECT name, expression, zone, clock_timestamp() FROM unnest($1::text[], $2::text[], $3::text[]) AS g (name, expression, zone)
    ON CONFLICT (name) DO UPDATE
   SET expression = excluded.expression, zone = excluded.zone, last_at = excluded.last_at
 WHERE c.expression <> excluded.expression OR c.zone <> excluded.zone;

-- name: jobs_crons :many
SELECT name, last_at, clock_timestamp() FROM {schema}.job_crons;

-- The job of one moment ($4) of one line ($3): under the lease, once, and in one commit with the line's moving on.
-- name: jobs_cron_fire :many
WITH lease AS (
  SELECT 1 FROM {schema}.job_leases
   WHERE name = 'leader' AND node = $1 AND epoch = $2 AND until_at > clock_timestamp() FOR SHARE),
moved AS (
  UPDATE {schema}.job_crons AS c SET last_at = $4::timestamptz
   WHERE c.name = $3 AND c.last_at < $4::timestamptz AND EXISTS (SELECT FROM lease)
  RETURNING c.name),
new AS (
  INSERT INTO {schema}.jobs (id, kind, queue, priority, state, args, attempt, attempts_max, run_at, inserted_at,
                             unique_key, unique_states, cron, moment)
  SELECT $5::uuid, $6, $7, $8::int2, 1, $9, 0, $10::int2, clock_timestamp(), clock_timestamp(),
         $11::text || CASE WHEN $12::bigint > 0
                           THEN '/' || floor(extract(epoch FROM statement_timestamp()) * 1000 / $12::bigint)
                           ELSE '' END,
         $13::int2, m.name, $4::timestamptz
    FROM moved AS m
      ON CONFLICT DO NOTHING
  RETURNING id, queue)
SELECT (SELECT count(*) FROM moved), (SELECT count(*) FROM new),
       (SELECT count(pg_notify('{schema}_jobs', 'q ' || queue)) FROM new);

-- --- pruning -------------------------------------------------------------------------------------------------------

-- Ended jobs of a kind past its time ($1 kinds, $2 ms each), and of undeclared kinds past $3 ms, up to $4. Cancelled and
-- discarded ones stay seven times as long: somebody may want to look.
-- name: jobs_prune :exec
DELETE FROM {schema}.jobs
 WHERE id = ANY (ARRAY (
         SELECT j.id
           FROM {schema}.jobs AS j
           LEFT JOIN unnest($1::text[], $2::int8[]) AS k (kind, keep_ms) ON k.kind = j.kind
          WHERE j.state >= 3
            AND j.finished_at < clock_timestamp() - coalesce(k.keep_ms, $3::bigint)
                                * CASE WHEN j.state = 3 THEN 1 ELSE 7 END * interval '1 millisecond'
          LIMIT $4::integer
            FOR UPDATE OF j SKIP LOCKED));

-- name: jobs_prune_tallies :exec
DELETE FROM {schema}.job_tallies WHERE minute < clock_timestamp() - $1::bigint * interval '1 millisecond';

-- --- operators (desk.c, why.c): blocking connections, parameters as text -------------------------------------------

-- The newest first: $1 state's name or '', $2 kind or '', $3 queue or '', $4 most.
-- name: jobs_desk_list :many
SELECT id, kind, queue, shown AS state, attempt, attempts_max, priority, run_at, claimed_at, finished_at, reason
  FROM (SELECT j.*,
               CASE state WHEN 1 THEN CASE WHEN run_at <= clock_timestamp() THEN 'available'
                                           WHEN attempt > 0 THEN 'retryable' ELSE 'scheduled' END
                          WHEN 2 THEN 'running' WHEN 3 THEN 'completed' WHEN 4 THEN 'cancelled' ELSE 'discarded' END
               AS shown
          FROM {schema}.jobs AS j) AS s
 WHERE ($1::text IN ('', shown) OR ($1 = 'waiting' AND state = 1))
   AND $2::text IN ('', kind) AND $3::text IN ('', queue)
 ORDER BY id DESC
 LIMIT $4::integer;

-- name: jobs_desk_show :many
SELECT j.id, j.kind, j.queue,
       CASE state WHEN 1 THEN CASE WHEN run_at <= clock_timestamp() THEN 'available'
                                   WHEN attempt > 0 THEN 'retryable' ELSE 'scheduled' END
                  WHEN 2 THEN 'running' WHEN 3 THEN 'completed' WHEN 4 THEN 'cancelled' ELSE 'discarded' END AS state,
       j.priority, j.attempt, j.attempts_max, j.args, j.inserted_at, j.run_at, j.claimed_at, j.finished_at,
       n.name AS node, j.cancel_asked, j.result, j.reason, j.unique_key, j.cron, j.moment, j.traceparent
  FROM {schema}.jobs AS j
  LEFT JOIN {schema}.job_nodes AS n ON n.id = j.node
 WHERE j.id = $1::uuid;

-- $1: ms of silence after which a node counts as dead.
-- name: jobs_desk_queues :many
SELECT q.name AS queue, q.paused, q.limit_local, q.limit_global, q.rate_used,
       (SELECT count(*) FROM {schema}.jobs AS j
         WHERE j.state = 1 AND j.queue = q.name AND j.run_at <= clock_timestamp()) AS available,
       (SELECT count(*) FROM {schema}.jobs AS j
         WHERE j.state = 1 AND j.queue = q.name AND j.run_at > clock_timestamp()) AS scheduled,
       (SELECT count(*) FROM {schema}.jobs AS j WHERE j.state = 2 AND j.queue = q.name) AS running,
       (SELECT count(*) FROM {schema}.job_nodes AS n
         WHERE q.name = ANY (string_to_array(n.queues, ',')) AND NOT n.draining
           AND n.seen_at > clock_timestamp() - $1::bigint * interval '1 millisecond') AS workers
  FROM {schema}.job_queues AS q
 ORDER BY q.name;

-- name: jobs_desk_audit :many
SELECT at, who, action, target, detail FROM {schema}.job_audits ORDER BY id DESC LIMIT $1::integer;

-- $1 job, $2 who. Waiting: at once; running: its worker is told.
-- name: jobs_desk_cancel :many
WITH changed AS (
  UPDATE {schema}.jobs
     SET finished_at = CASE WHEN state = 1 THEN clock_timestamp() END, cancel_asked = $2::text,
         reason = CASE WHEN state = 1 THEN 'cancelled by ' || $2 ELSE reason END,
         state = CASE WHEN state = 1 THEN 4 ELSE state END
   WHERE id = $1::uuid AND state IN (1, 2)
  RETURNING id, state),
told AS (SELECT pg_notify('{schema}_jobs', 'c ' || id) FROM changed WHERE state = 2),
noted AS (
  INSERT INTO {schema}.job_audits (at, who, action, target)
  SELECT clock_timestamp(), session_user || ' ' || $2, 'cancel', id::text FROM changed)
SELECT CASE state WHEN 4 THEN 'cancelled' ELSE 'running: its worker has been told' END AS now,
       (SELECT count(*) FROM told) AS told
  FROM changed;

-- $1 job, $2 who: runs as soon as it may, with one attempt more if it has had all. Refused (23505) while another holds
-- its unique key.
-- name: jobs_desk_retry :many
WITH changed AS (
  UPDATE {schema}.jobs
     SET state = 1, run_at = clock_timestamp(), finished_at = NULL, cancel_asked = NULL,
         attempts_max = greatest(attempts_max, attempt + 1)
   WHERE id = $1::uuid AND state IN (1, 4, 5)
  RETURNING id, queue),
told AS (SELECT pg_notify('{schema}_jobs', 'q ' || queue) FROM changed),
noted AS (
  INSERT INTO {schema}.job_audits (at, who, action, target)
  SELECT clock_timestamp(), session_user || ' ' || $2, 'retry', id::text FROM changed)
SELECT 'available' AS now, (SELECT count(*) FROM told) AS told FROM changed;

-- $1 queue, $2 paused, $3 who.
-- name: jobs_desk_pause :many
WITH changed AS (
  INSERT INTO {schema}.job_queues AS q (name, paused, rate_used)
  VALUES ($1, $2::boolean, 0)
      ON CONFLICT (name) DO UPDATE SET paused = excluded.paused
  RETURNING q.name, q.paused),
noted AS (
  INSERT INTO {schema}.job_audits (at, who, action, target)
  SELECT clock_timestamp(), session_user || ' ' || $3, CASE WHEN paused THEN 'pause' ELSE 'resume' END, name FROM changed)
SELECT CASE WHEN paused THEN 'paused' ELSE 'resumed' END AS now, (SELECT count(pg_notify('{schema}_jobs', 's')) FROM changed)
       AS told
  FROM changed;

-- $1 queue, $2 local and $3 global limit (-1: as declared; NULL: as it is), $4 who, $5 words.
-- name: jobs_desk_scale :many
WITH changed AS (
  INSERT INTO {schema}.job_queues AS q (name, paused, rate_used, limit_local, limit_global)
  VALUES ($1, false, 0, coalesce($2::integer, -1), coalesce($3::integer, -1))
      ON CONFLICT (name) DO UPDATE
     SET limit_local = coalesce($2::integer, q.limit_local), limit_global = coalesce($3::integer, q.limit_global)
  RETURNING q.name, q.limit_local, q.limit_global),
noted AS (
  INSERT INTO {schema}.job_audits (at, who, action, target, detail)
  SELECT clock_timestamp(), session_user || ' ' || $4, 'scale', name, $5 FROM changed)
SELECT limit_local, limit_global, (SELECT count(pg_notify('{schema}_jobs', 's')) FROM changed) AS told FROM changed;

-- $1 id, $2 kind, $3 queue, $4 priority, $5 args, $6 attempts, $7 unique by, $8 period ms, $9 states, $10 who.
-- name: jobs_desk_run :many
WITH new AS (
  INSERT INTO {schema}.jobs (id, kind, queue, priority, state, args, attempt, attempts_max, run_at, inserted_at,
                             unique_key, unique_states)
  VALUES ($1::uuid, $2, $3, $4::int2, 1, $5, 0, $6::int2, clock_timestamp(), clock_timestamp(),
          $7::text || CASE WHEN $8::bigint > 0
                           THEN '/' || floor(extract(epoch FROM statement_timestamp()) * 1000 / $8::bigint)
                           ELSE '' END, $9::int2)
      ON CONFLICT DO NOTHING
  RETURNING id, kind, queue),
told AS (SELECT pg_notify('{schema}_jobs', 'q ' || queue) FROM new),
noted AS (
  INSERT INTO {schema}.job_audits (at, who, action, target, detail)
  SELECT clock_timestamp(), session_user || ' ' || $10, 'run', id::text, kind FROM new)
SELECT id, (SELECT count(*) FROM told) AS told FROM new;

-- Every fact that keeps job $1 waiting; $2: ms of silence after which a node counts as dead.
-- name: jobs_desk_why :many
SELECT j.kind, j.queue, j.state, j.attempt, j.attempts_max, j.reason, j.cancel_asked,
       j.run_at, ceil(extract(epoch FROM j.run_at - clock_timestamp()))::bigint AS due_in,
       j.claimed_at, j.finished_at, n.name AS node,
       round(extract(epoch FROM clock_timestamp() - n.seen_at))::bigint AS silent,
       n.id IS NOT NULL AND n.seen_at > clock_timestamp() - $2::bigint * interval '1 millisecond' AS node_lives,
       coalesce(q.paused, false) AS paused, coalesce(q.limit_local, -1) AS limit_local,
       coalesce(q.limit_global, -1) AS limit_global, coalesce(q.rate_used, 0) AS rate_used, q.rate_from,
       round(extract(epoch FROM clock_timestamp() - q.rate_from) * 1000)::bigint AS rate_age,
       (SELECT count(*) FROM {schema}.jobs AS r WHERE r.state = 2 AND r.queue = j.queue) AS running,
       (SELECT string_agg(r.id || ' (' || r.kind || ')', ', ')
          FROM (SELECT id, kind FROM {schema}.jobs WHERE state = 2 AND queue = j.queue ORDER BY claimed_at LIMIT 5) AS r)
       AS holders,
       (SELECT count(*) FROM {schema}.job_nodes AS w
         WHERE j.queue = ANY (string_to_array(w.queues, ',')) AND NOT w.draining
           AND w.seen_at > clock_timestamp() - $2::bigint * interval '1 millisecond') AS workers,
       (SELECT string_agg(w.name || CASE WHEN w.draining THEN ' (ending)' ELSE '' END, ', ')
          FROM {schema}.job_nodes AS w WHERE j.queue = ANY (string_to_array(w.queues, ','))) AS known_workers,
       (SELECT count(*)
          FROM (SELECT
                  FROM {schema}.jobs AS a
                 WHERE a.state = 1 AND a.queue = j.queue AND a.run_at <= clock_timestamp()
                   AND (a.priority, a.run_at, a.id) < (j.priority, j.run_at, j.id)
                 LIMIT 10000) AS a) AS ahead,
       (SELECT o.id
          FROM {schema}.jobs AS o
         WHERE o.unique_key = j.unique_key AND o.unique_states >> o.state::integer & 1 = 1 AND o.id <> j.id) AS other,
       j.unique_states >> 1 & 1 = 1 AS unique_waiting,
       l.epoch, l.until_at, coalesce(l.until_at > clock_timestamp(), false) AS led, h.name AS leader
  FROM {schema}.jobs AS j
  LEFT JOIN {schema}.job_nodes AS n ON n.id = j.node
  LEFT JOIN {schema}.job_queues AS q ON q.name = j.queue
  LEFT JOIN {schema}.job_leases AS l ON l.name = 'leader'
  LEFT JOIN {schema}.job_nodes AS h ON h.id = l.node
 WHERE j.id = $1::uuid;

-- Of cron line $1.
-- name: jobs_desk_why_cron :many
SELECT c.last_at, c.expression, c.zone, l.epoch, l.until_at, coalesce(l.until_at > clock_timestamp(), false) AS led,
       h.name AS leader, clock_timestamp() AS now,
       (SELECT j.id || CASE WHEN j.state < 3 THEN ' (not over yet)' ELSE '' END
          FROM {schema}.jobs AS j WHERE j.cron = c.name ORDER BY j.moment DESC LIMIT 1) AS latest
  FROM {schema}.job_crons AS c
  LEFT JOIN {schema}.job_leases AS l ON l.name = 'leader'
  LEFT JOIN {schema}.job_nodes AS h ON h.id = l.node
 WHERE c.name = $1;
