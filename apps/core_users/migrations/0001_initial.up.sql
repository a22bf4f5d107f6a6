-- 0001_initial: made by `usher migrate generate`; read it before it runs.

-- users: create table
CREATE TABLE users.users (
    id uuid NOT NULL,
    full_name text COLLATE "C" NOT NULL,
    email text COLLATE "C" NOT NULL,
    user_type integer NOT NULL,
    CONSTRAINT users_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX users_by_email ON users.users USING btree (sha256(decode(replace(email, '\', '\\'), 'escape')));

-- outbox: create table
CREATE TABLE users.outbox (
    position bigint GENERATED ALWAYS AS IDENTITY,
    message_id uuid NOT NULL,
    type text COLLATE "C" NOT NULL,
    aggregate uuid NOT NULL,
    payload text COLLATE "C" NOT NULL,
    traceparent text COLLATE "C",
    tracestate text COLLATE "C",
    baggage text COLLATE "C",
    appended_at timestamp with time zone NOT NULL,
    CONSTRAINT outbox_pkey PRIMARY KEY (position)
);
