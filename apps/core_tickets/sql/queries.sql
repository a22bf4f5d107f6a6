-- Statements of the Tickets context. Parameters that belong together are arrays: one element per seat, event or user.
-- Written (SELECT $1) where rows are looked up by them: one plan for sets of every size (lib/resource/sql.c).

-- --- reading -------------------------------------------------------------------------------------------------------

-- A hold counts while it has not run out; those that have are swept much later.
-- Of all events that are asked for in one turn. That the holds are of them too is for the planner, which does not see
-- it from the join.
-- name: tickets_of_events :many TicketView
SELECT t.id, t.event_id, t.price, t.seat_number, t.user_id, r.ticket_id IS NOT NULL AS held
FROM tickets.tickets t
LEFT JOIN tickets.reservations r
       ON r.event_id = ANY ((SELECT $1::uuid[])::uuid[]) AND r.event_id = t.event_id AND r.ticket_id = t.id AND r.until_at > now()
WHERE t.event_id = ANY ((SELECT $1::uuid[])::uuid[])
ORDER BY t.event_id, t.seat_number

-- name: tickets_of_user :many TicketView
SELECT t.id, t.event_id, t.price, t.seat_number, t.user_id, r.ticket_id IS NOT NULL AS held
FROM tickets.tickets t
LEFT JOIN tickets.reservations r ON r.event_id = t.event_id AND r.ticket_id = t.id AND r.until_at > now()
WHERE t.event_id = $1::uuid AND t.user_id = $2::uuid
ORDER BY t.seat_number

-- --- holding and buying --------------------------------------------------------------------------------------------

-- In order of id: two sets that want the same seats queue up, never in a circle.
-- name: tickets_lock :many
SELECT id
FROM tickets.tickets
WHERE id = ANY ((SELECT $1::uuid[])::uuid[])
ORDER BY id
FOR NO KEY UPDATE

-- One row per asked seat ($1 event, $2 ticket), numbered as asked. The moment is taken once, behind the locks.
-- name: seats_as_they_stand :many
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS moment)
SELECT a.n, t.id IS NOT NULL AS exists_here, t.user_id IS NOT NULL AS sold, r.user_id AS holder, clock.moment
FROM clock
CROSS JOIN unnest((SELECT $1::uuid[]), (SELECT $2::uuid[])) WITH ORDINALITY AS a (event_id, ticket_id, n)
LEFT JOIN tickets.tickets t ON t.id = a.ticket_id AND t.event_id = a.event_id
LEFT JOIN tickets.reservations r
       ON r.event_id = a.event_id AND r.ticket_id = a.ticket_id AND r.until_at > clock.moment

-- Numbers, as asked, of users that no message has told of.
-- name: users_unknown :many
SELECT a.n
FROM unnest((SELECT $1::uuid[])) WITH ORDINALITY AS a (user_id, n)
WHERE NOT EXISTS (SELECT 1 FROM tickets.users u WHERE u.id = a.user_id)

-- Takes or extends holds until 15 minutes past $4. A live hold of somebody else is left alone, and missing in the count.
-- In order of key, as above.
-- name: reservations_take :exec
INSERT INTO tickets.reservations AS r (event_id, ticket_id, user_id, until_at)
SELECT w.event_id, w.ticket_id, w.user_id, $4::timestamptz + interval '15 minutes'
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS w (event_id, ticket_id, user_id)
ORDER BY w.event_id, w.ticket_id
ON CONFLICT (event_id, ticket_id) DO UPDATE
SET user_id = excluded.user_id, until_at = excluded.until_at
WHERE r.user_id = excluded.user_id OR r.until_at <= $4::timestamptz

-- A seat that has been sold stays sold, whatever was decided: missing in the count.
-- name: tickets_sell :exec
UPDATE tickets.tickets t
SET user_id = w.user_id, purchased_at = $3::timestamptz, purchased_at_fine = 0
FROM unnest((SELECT $1::uuid[]), (SELECT $2::uuid[])) AS w (id, user_id)
WHERE t.id = w.id AND t.user_id IS NULL

-- What ran out an hour ago, up to $1 (tickets_jobs.c).
-- name: reservations_prune :exec
DELETE FROM tickets.reservations
WHERE (event_id, ticket_id) IN (SELECT event_id, ticket_id
                                FROM tickets.reservations
                                WHERE until_at < now() - interval '1 hour'
                                LIMIT $1::integer
                                FOR UPDATE SKIP LOCKED)

-- --- messages ------------------------------------------------------------------------------------------------------

-- The tickets that a message may re-price, before it is looked at: buyers and consumers queue up in one order.
-- name: tickets_of_events_lock :many
SELECT id
FROM tickets.tickets
WHERE event_id = ANY ((SELECT $1::uuid[])::uuid[])
ORDER BY id
FOR NO KEY UPDATE

-- One row per message ($1 event, $2 venue), numbered as given: is the event known, is the venue?
-- name: events_as_known :many
SELECT a.n, e.id IS NOT NULL AS known, v.number IS NOT NULL AS has_venue
FROM unnest((SELECT $1::uuid[]), (SELECT $2::int4[])) WITH ORDINALITY AS a (event_id, venue, n)
LEFT JOIN tickets.events e ON e.id = a.event_id
LEFT JOIN tickets.event_venues v ON v.number = a.venue

-- name: events_upsert :exec
INSERT INTO tickets.events AS e
    (id, event_name, start_date, start_date_fine, end_date, end_date_fine, venue, price)
SELECT *
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::int2[], $5::timestamptz[], $6::int2[], $7::int4[], $8::numeric[])
ORDER BY 1
ON CONFLICT (id) DO UPDATE
SET event_name = excluded.event_name,
    start_date = excluded.start_date,
    start_date_fine = excluded.start_date_fine,
    end_date = excluded.end_date,
    end_date_fine = excluded.end_date_fine,
    venue = excluded.venue,
    price = excluded.price

-- Every seat of the venue that is not there yet ($1 event, $2 venue, $3 price).
-- name: tickets_release :exec
INSERT INTO tickets.tickets (id, event_id, price, seat_number, purchased_at_fine)
SELECT gen_random_uuid(), w.event_id, w.price, seat.number, 0
FROM unnest((SELECT $1::uuid[]), (SELECT $2::int4[]), (SELECT $3::numeric[])) AS w (event_id, venue, price)
JOIN tickets.event_venues v ON v.number = w.venue
CROSS JOIN LATERAL generate_series(1, v.capacity) AS seat (number)
ON CONFLICT (event_id, seat_number) DO NOTHING

-- Unsold seats only ($1 event, $2 price). 12.5 and 12.50 are equal to numeric but not to who reads them.
-- name: tickets_reprice :exec
UPDATE tickets.tickets t
SET price = w.price
FROM unnest((SELECT $1::uuid[]), (SELECT $2::numeric[])) AS w (event_id, price)
WHERE t.event_id = w.event_id
  AND t.user_id IS NULL
  AND (t.price <> w.price OR scale(t.price) <> scale(w.price))

-- name: users_upsert :exec
INSERT INTO tickets.users AS u (id, full_name, email)
SELECT *
FROM unnest($1::uuid[], $2::text[], $3::text[])
ORDER BY 1
ON CONFLICT (id) DO UPDATE
SET full_name = excluded.full_name, email = excluded.email
