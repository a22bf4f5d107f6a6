-- Statements of the Events context. Parameters that belong together are arrays: one element per member of the set.
-- Written (SELECT $1) where rows are looked up by them: one plan for sets of every size (lib/resource/sql.c).

-- Upcoming, as the old system listed them: $1 is the request's now.
-- name: events_upcoming :many Event
SELECT id, event_name, start_date, start_date_fine, end_date, end_date_fine, venue, price
FROM events.events
WHERE start_date > $1::timestamptz
ORDER BY start_date, id

-- name: events_all :many Event
SELECT id, event_name, start_date, start_date_fine, end_date, end_date_fine, venue, price
FROM events.events
ORDER BY start_date, id

-- name: venues_lock :many
SELECT number
FROM events.event_venues
WHERE number = ANY ((SELECT $1::int4[])::int4[])
ORDER BY number
FOR UPDATE

-- An event's venue never changes, so it may be read before the lock is held.
-- name: venues_of_events_lock :many
SELECT v.number
FROM events.event_venues v
WHERE v.number IN (SELECT e.venue FROM events.events e WHERE e.id = ANY ((SELECT $1::uuid[])::uuid[]))
ORDER BY v.number
FOR UPDATE OF v

-- Slots in the way of new events: $1 venue, $2 from, $3 to, $4 what began before it is forgotten (NULL: nothing is).
-- The limit is far above what a set can move or touch, so that a slot cut off could not have changed an answer: where a
-- thousand events meet one window, it is taken.
-- name: slots_of_venues :many
SELECT DISTINCT e.id, e.venue, e.start_date, e.start_date_fine, e.end_date, e.end_date_fine
FROM unnest((SELECT $1::int4[]), (SELECT $2::timestamptz[]), (SELECT $3::timestamptz[])) AS m (venue, from_at, to_at)
CROSS JOIN LATERAL (
    SELECT *
    FROM events.events o
    WHERE o.venue = m.venue
      AND tstzrange(o.start_date, o.end_date, '[]') && tstzrange(m.from_at, m.to_at, '[]')
      AND ($4::timestamptz IS NULL OR o.start_date >= $4::timestamptz)
    LIMIT 1000
) e

-- The events to be changed ($1), begun or not, and the slots in their way as above.
-- name: slots_of_events :many
SELECT x.id, x.venue, x.start_date, x.start_date_fine, x.end_date, x.end_date_fine
FROM events.events x
WHERE x.id = ANY ((SELECT $1::uuid[])::uuid[])
UNION
SELECT e.id, e.venue, e.start_date, e.start_date_fine, e.end_date, e.end_date_fine
FROM unnest((SELECT $1::uuid[]), (SELECT $2::timestamptz[]), (SELECT $3::timestamptz[])) AS m (id, from_at, to_at)
JOIN events.events x ON x.id = m.id
CROSS JOIN LATERAL (
    SELECT *
    FROM events.events o
    WHERE o.venue = x.venue
      AND tstzrange(o.start_date, o.end_date, '[]') && tstzrange(m.from_at, m.to_at, '[]')
      AND ($4::timestamptz IS NULL OR o.start_date >= $4::timestamptz)
    LIMIT 1000
) e

-- name: events_insert :exec
INSERT INTO events.events (id, event_name, start_date, start_date_fine, end_date, end_date_fine, venue, price)
SELECT *
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::int2[], $5::timestamptz[], $6::int2[], $7::int4[], $8::numeric[])

-- name: events_update :exec
UPDATE events.events e
SET event_name = w.event_name,
    start_date = w.start_date,
    start_date_fine = w.start_date_fine,
    end_date = w.end_date,
    end_date_fine = w.end_date_fine,
    price = w.price
FROM unnest((SELECT $1::uuid[]), (SELECT $2::text[]), (SELECT $3::timestamptz[]), (SELECT $4::int2[]),
            (SELECT $5::timestamptz[]), (SELECT $6::int2[]), (SELECT $7::numeric[]))
    AS w (id, event_name, start_date, start_date_fine, end_date, end_date_fine, price)
WHERE e.id = w.id
