-- 0002_idempotency_keys: taken back.

-- idempotency_keys: drop table
-- usher: loses data
DROP TABLE users.idempotency_keys;
