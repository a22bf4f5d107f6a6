-- What the shadow worker writes and the gateway workers read. The command line has its statements beside it (apps/usher).

-- One row per cause. What comes later opens again what was said to be mended.
-- name: gateway_clusters_add :many
INSERT INTO gateway.clusters AS c (route, pointer, kind, class, count, first_seen, last_seen, old_value, new_value)
SELECT route, pointer, kind, class, count, seen_at, seen_at, old_value, new_value
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::timestamptz[])
       AS n (route, pointer, kind, class, count, old_value, new_value, seen_at)
 ORDER BY route, pointer, kind, class
    ON CONFLICT (route, pointer, kind, class) DO UPDATE
   SET count = c.count + excluded.count, last_seen = greatest(c.last_seen, excluded.last_seen),
       old_value = excluded.old_value, new_value = excluded.new_value, resolved_at = NULL
RETURNING id, route, pointer, kind, class;

-- A few of each: what is over $13 is not kept.
-- name: gateway_sample_add :exec
INSERT INTO gateway.samples (cluster_id, taken_at, method, target, request_headers, request_body, old_status, old_headers,
                             old_body, new_status, new_headers, new_body, differences, effects)
SELECT $1, statement_timestamp(), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $14
 WHERE (SELECT count(*) FROM gateway.samples WHERE cluster_id = $1) < $13::bigint;

-- name: gateway_tallies_add :exec
INSERT INTO gateway.tallies AS t (route, source, minute, context, part, compared, equal, real, lag, expected, noisy, skipped)
SELECT route, source, date_trunc('minute', seen_at), context, part, compared, equal, real, lag, expected, noisy, skipped
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[], $7::bigint[], $8::bigint[],
              $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[])
       AS n (route, source, context, part, seen_at, compared, equal, real, lag, expected, noisy, skipped)
 ORDER BY route, source
    ON CONFLICT (route, source, minute) DO UPDATE
   SET compared = t.compared + excluded.compared, equal = t.equal + excluded.equal, real = t.real + excluded.real,
       lag = t.lag + excluded.lag, expected = t.expected + excluded.expected, noisy = t.noisy + excluded.noisy,
       skipped = t.skipped + excluded.skipped;

-- Totals of a minute so far: written over, not added, so that a repetition counts nothing twice.
-- name: gateway_traffic_put :exec
INSERT INTO gateway.traffic AS t (gateway, route, side, minute, context, part, requests, errors, slow_ns_sum, buckets)
SELECT $1::uuid, route, side, minute, context, part, requests, errors, slow_ns_sum, buckets
  FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bigint[], $8::bigint[], $9::bigint[],
              $10::text[])
       AS n (route, side, context, part, minute, requests, errors, slow_ns_sum, buckets)
 ORDER BY route, side, minute
    ON CONFLICT (gateway, route, side, minute) DO UPDATE
   SET requests = excluded.requests, errors = excluded.errors, slow_ns_sum = excluded.slow_ns_sum, buckets = excluded.buckets;

-- name: gateway_effects_add :exec
INSERT INTO gateway.effects AS e (route, what, inserted, updated, deleted, published)
SELECT route, what, inserted, updated, deleted, published
  FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
       AS n (route, what, inserted, updated, deleted, published)
 ORDER BY route, what
    ON CONFLICT (route, what) DO UPDATE
   SET inserted = e.inserted + excluded.inserted, updated = e.updated + excluded.updated,
       deleted = e.deleted + excluded.deleted, published = e.published + excluded.published;

-- name: gateway_pairs_add :exec
INSERT INTO gateway.id_pairs (kind, old_id, new_id, learnt_at)
SELECT kind, old_id, new_id, statement_timestamp()
  FROM unnest($1::text[], $2::uuid[], $3::uuid[]) AS n (kind, old_id, new_id)
    ON CONFLICT DO NOTHING;

-- name: gateway_pairs :many
SELECT kind, old_id, new_id FROM gateway.id_pairs ORDER BY learnt_at DESC LIMIT $1::bigint;

-- name: gateway_expected :many
SELECT id, route, pointer, kind, reason, owner, expires_at FROM gateway.expected_differences ORDER BY id LIMIT 1000;

-- name: gateway_stages :many
SELECT context, part, route, stage, canary_percent, epoch, paused_until, deprecated_at, gone_at
  FROM gateway.stages
 ORDER BY context, part, route
 LIMIT 1000;

-- name: gateway_alive :exec
INSERT INTO gateway.gateways AS g (id, name, seen_at, holding_epoch, workers, followed_epochs)
VALUES ($1, $2, clock_timestamp(), $3, $4, $5)
    ON CONFLICT (id) DO UPDATE
   SET seen_at = excluded.seen_at, holding_epoch = excluded.holding_epoch, workers = excluded.workers,
       followed_epochs = excluded.followed_epochs;

-- name: gateway_gone :exec
DELETE FROM gateway.gateways WHERE id = $1;

-- Steps back: from canary or new to legacy, unless somebody has changed it meanwhile. $1 context, $2 part, $3 route, $4 epoch, $5 why.
-- name: gateway_step_back :many
WITH changed AS (UPDATE gateway.stages AS s
                    SET stage = 'shadow', canary_percent = 0, epoch = s.epoch + 1, paused_until = NULL,
                        changed_at = clock_timestamp()
                   FROM (SELECT context, part, route, stage FROM gateway.stages
                          WHERE context = $1 AND part = $2 AND route = $3 FOR UPDATE) AS was
                  WHERE s.context = was.context AND s.part = was.part AND s.route = was.route AND s.epoch = $4::bigint
                    AND s.stage IN ('canary', 'new', 'retired')
                 RETURNING s.context, s.part, s.route, was.stage AS from_stage, s.epoch),
     noted AS (INSERT INTO gateway.stage_changes (context, part, route, from_stage, to_stage, canary_percent, forced, who, why,
                                                  changed_at)
               SELECT context, part, route, from_stage, 'shadow', 0, false, 'usher', $5::text, clock_timestamp() FROM changed)
SELECT epoch, pg_notify('gateway_stages', '') IS NULL FROM changed;

-- name: gateway_callers_add :exec
INSERT INTO gateway.callers AS c (route, caller, count, first_seen, last_seen)
SELECT route, caller, count, statement_timestamp(), statement_timestamp()
  FROM unnest($1::text[], $2::text[], $3::bigint[]) AS n (route, caller, count)
 ORDER BY route, caller
    ON CONFLICT (route, caller) DO UPDATE SET count = c.count + excluded.count, last_seen = excluded.last_seen;

-- What is forgotten, $1 rows at a time. Gates look back a week at most; callers and causes are named by whoever comes and answers, so
-- that their number is bounded too: $2 of them stay, those that were seen last.
-- name: gateway_callers_prune :exec
DELETE FROM gateway.callers AS c
 USING (SELECT route, caller
          FROM gateway.callers
         WHERE last_seen < statement_timestamp() - interval '90 days'
            OR last_seen < (SELECT last_seen FROM gateway.callers ORDER BY last_seen DESC OFFSET $2::bigint - 1 LIMIT 1)
         LIMIT $1::bigint FOR UPDATE SKIP LOCKED) AS old
 WHERE c.route = old.route AND c.caller = old.caller;

-- name: gateway_clusters_prune :exec
WITH gone AS (DELETE FROM gateway.clusters AS c
               USING (SELECT id
                        FROM gateway.clusters
                       WHERE last_seen < statement_timestamp() - interval '90 days'
                          OR last_seen < (SELECT last_seen FROM gateway.clusters ORDER BY last_seen DESC OFFSET $2::bigint - 1 LIMIT 1)
                       LIMIT $1::bigint FOR UPDATE SKIP LOCKED) AS old
               WHERE c.id = old.id
              RETURNING c.id),
     shown AS (DELETE FROM gateway.samples WHERE cluster_id IN (SELECT id FROM gone))
SELECT id FROM gone;

-- name: gateway_tallies_prune :exec
DELETE FROM gateway.tallies AS t
 USING (SELECT route, source, minute FROM gateway.tallies WHERE minute < statement_timestamp() - interval '30 days'
         LIMIT $1::bigint FOR UPDATE SKIP LOCKED) AS old
 WHERE t.route = old.route AND t.source = old.source AND t.minute = old.minute;

-- name: gateway_traffic_prune :exec
DELETE FROM gateway.traffic AS t
 USING (SELECT gateway, route, side, minute FROM gateway.traffic WHERE minute < statement_timestamp() - interval '30 days'
         LIMIT $1::bigint FOR UPDATE SKIP LOCKED) AS old
 WHERE t.gateway = old.gateway AND t.route = old.route AND t.side = old.side AND t.minute = old.minute;
