-- 0002_idempotency_keys: made by `usher migrate generate`; read it before it runs.

-- idempotency_keys: create table
CREATE TABLE events.idempotency_keys (
    key text COLLATE "C" NOT NULL,
    request text COLLATE "C" NOT NULL,
    status integer NOT NULL,
    head text COLLATE "C" NOT NULL,
    body text COLLATE "C" NOT NULL,
    kept_at timestamp with time zone NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (key)
);
CREATE INDEX idempotency_keys_kept_at ON events.idempotency_keys USING btree (kept_at);
