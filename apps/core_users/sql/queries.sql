-- Statements of the Users context. Create and read by id are derived. Arrays are written (SELECT $1) where
-- rows are looked up by them: one plan for sets of every size (lib/resource/sql.c).

-- The old system gave no order; this one is stable.
-- name: users_all :many User
SELECT id, full_name, email, user_type
FROM users.users
ORDER BY id

-- Who has an address; the digest is the unique index's expression.
-- name: users_by_email :many
SELECT u.id
FROM users.users u
WHERE sha256(decode(replace(u.email, '\', '\\'), 'escape')) = sha256(decode(replace($1::text, '\', '\\'), 'escape'))

-- Users asked for ($1), and whoever has an asked address ($2). The digest is the unique index's expression.
-- name: users_concerned_lock :many User
SELECT u.id, u.full_name, u.email, u.user_type
FROM users.users u
WHERE u.id = ANY ((SELECT $1::uuid[])::uuid[])
   OR sha256(decode(replace(u.email, '\', '\\'), 'escape')) = ANY (ARRAY(
          SELECT sha256(decode(replace(a, '\', '\\'), 'escape')) FROM unnest((SELECT $2::text[])) AS w (a)))
ORDER BY u.id
FOR UPDATE

-- name: users_update :exec
UPDATE users.users u
SET full_name = w.full_name, email = w.email
FROM unnest((SELECT $1::uuid[]), (SELECT $2::text[]), (SELECT $3::text[])) AS w (id, full_name, email)
WHERE u.id = w.id
