-- The Postgres transport's statements (transport_pg.c). Table: bus.messages, in order of position.

-- One consumer of a queue at a time, and none while a reset has the gate. $1 gate, $2 queue.
-- name: bus_consume_locks :one
SELECT pg_try_advisory_xact_lock_shared($1), pg_try_advisory_xact_lock(hashtextextended('usher consume ' || $2::text, 0));

-- The oldest that are due: up to $2, and up to $3 bytes of payload but at least one. A message that waits for its retry holds back
-- those behind it that are of its key: its aggregate ($4 = 0), the queue (1), nobody (2). One time for the whole statement: with clock_timestamp() a message could
-- become due between its own row's look and that of one behind it, and be overtaken.
-- name: bus_consume :many
SELECT position, message_id, type, aggregate, payload, traceparent, tracestate, baggage, attempt
  FROM (SELECT d.*, sum(octet_length(d.payload)::bigint) OVER (ORDER BY d.position) - octet_length(d.payload) AS before
          FROM (SELECT *
                  FROM bus.messages AS m
                 WHERE m.queue = $1
                   AND (m.not_before IS NULL OR m.not_before <= statement_timestamp())
                   AND NOT EXISTS (SELECT 1
                                     FROM bus.messages AS w
                                    WHERE w.queue = m.queue AND (w.aggregate = m.aggregate OR $4::smallint = 1)
                                      AND $4::smallint <> 2
                                      AND w.position < m.position AND w.attempt > 0
                                      AND w.not_before > statement_timestamp())
                 ORDER BY m.position
                 LIMIT $2::integer) AS d) AS b
 WHERE before < $3::bigint
 ORDER BY position;

-- How long until a waiting one is due, in milliseconds; NULL: none waits.
-- name: bus_consume_next_due :one
SELECT ceil(extract(epoch FROM min(not_before) - clock_timestamp()) * 1000)::bigint
  FROM bus.messages
 WHERE queue = $1 AND attempt > 0;

-- name: bus_acknowledge :exec
DELETE FROM bus.messages WHERE position = ANY ($1::bigint[]);

-- name: bus_retry :exec
UPDATE bus.messages AS m
   SET attempt = m.attempt + 1, not_before = clock_timestamp() + r.delay_ms * interval '1 millisecond'
  FROM unnest($1::bigint[], $2::bigint[]) AS r (position, delay_ms)
 WHERE m.position = r.position;

-- $3: where their pipeline lays them; NULL: under their queue's name.
-- name: bus_bury :exec
WITH gone AS (DELETE FROM bus.messages AS m USING unnest($1::bigint[], $2::text[], $3::text[]) AS r (position, reason, dead_letter)
               WHERE m.position = r.position
              RETURNING m.*, r.reason, r.dead_letter)
INSERT INTO bus.dead (queue, message_id, type, aggregate, payload, traceparent, tracestate, baggage, attempt, enqueued_at,
                      reason, died_at, dead_letter)
SELECT queue, message_id, type, aggregate, payload, traceparent, tracestate, baggage, attempt + 1, enqueued_at, reason,
       clock_timestamp(), dead_letter
  FROM gone
 ORDER BY position
    ON CONFLICT DO NOTHING;

-- Published again after a crash: what is still there is left as it is.
-- name: bus_publish :exec
INSERT INTO bus.messages (queue, message_id, type, aggregate, payload, traceparent, tracestate, baggage, attempt, enqueued_at)
SELECT queue, message_id, type, aggregate, payload, traceparent, tracestate, baggage, 0, clock_timestamp()
  FROM unnest($1::text[], $2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[])
       WITH ORDINALITY AS p (queue, message_id, type, aggregate, payload, traceparent, tracestate, baggage, ord)
 ORDER BY ord
    ON CONFLICT (queue, message_id) DO NOTHING;

-- name: bus_publish_notify :exec
SELECT pg_notify('bus_' || queue, '') FROM unnest($1::text[]) AS q (queue);

-- Dead letters (dead_pg.c), oldest first. $1 queue, of theirs or where they lie, $2 position, $3 reason (NULL: any), $4 at most, $5 payloads too.
-- name: bus_dead_list :many
SELECT position::text, coalesce(dead_letter, queue), message_id::text, type, reason, to_char(died_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
       CASE WHEN $5 THEN json_strip_nulls(json_build_object('aggregate', aggregate, 'attempts', attempt, 'traceparent', traceparent,
         'tracestate', tracestate, 'baggage', baggage,
         'published', to_char(enqueued_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')))::text END,
       CASE WHEN $5 THEN payload END
  FROM bus.dead
 WHERE ($1::text IS NULL OR queue = $1 OR dead_letter = $1) AND ($2::text IS NULL OR position::text = $2) AND ($3::text IS NULL OR reason = $3)
 ORDER BY bus.dead.position
 LIMIT $4::bigint;

-- Behind whatever is in the queue now: its place among the others was given up when it died.
-- name: bus_dead_retry :one
WITH gone AS (DELETE FROM bus.dead WHERE position = ANY ($1::text[]::bigint[]) RETURNING *),
     back AS (INSERT INTO bus.messages (queue, message_id, type, aggregate, payload, traceparent, tracestate, baggage, attempt, enqueued_at)
              SELECT queue, message_id, type, aggregate, payload, traceparent, tracestate, baggage, 0, clock_timestamp()
                FROM gone ORDER BY position
                  ON CONFLICT (queue, message_id) DO NOTHING),
     woken AS (SELECT count(pg_notify('bus_' || queue, '')) AS n FROM (SELECT DISTINCT queue FROM gone) AS q)
SELECT (SELECT count(*) FROM gone) + 0 * (SELECT n FROM woken);

-- name: bus_dead_discard :one
WITH gone AS (DELETE FROM bus.dead WHERE position = ANY ($1::text[]::bigint[]) RETURNING 1) SELECT count(*) FROM gone;

-- name: bus_status :many
SELECT coalesce(m.queue, d.queue), coalesce(m.waiting, 0), coalesce(m.retrying, 0), coalesce(d.dead, 0), coalesce(m.oldest_ms, -1)
  FROM (SELECT queue, count(*) AS waiting, count(*) FILTER (WHERE attempt > 0) AS retrying,
               (extract(epoch FROM clock_timestamp() - min(enqueued_at)) * 1000)::bigint AS oldest_ms
          FROM bus.messages GROUP BY queue) AS m
  FULL JOIN (SELECT queue, count(*) AS dead FROM bus.dead GROUP BY queue) AS d ON d.queue = m.queue
 ORDER BY 1;
