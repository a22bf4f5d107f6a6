-- 0001_messages_create_table: made by `usher migrate generate`; read it before it runs.

-- messages: create table
CREATE TABLE bus.messages (
    position bigint GENERATED ALWAYS AS IDENTITY,
    queue text COLLATE "C" NOT NULL,
    message_id uuid NOT NULL,
    type text COLLATE "C" NOT NULL,
    aggregate uuid NOT NULL,
    payload text COLLATE "C" NOT NULL,
    traceparent text COLLATE "C",
    tracestate text COLLATE "C",
    baggage text COLLATE "C",
    attempt integer NOT NULL,
    not_before timestamp with time zone,
    enqueued_at timestamp with time zone NOT NULL,
    CONSTRAINT messages_pkey PRIMARY KEY (position),
    CONSTRAINT messages_once UNIQUE (queue, message_id)
) WITH (fillfactor=80);
CREATE INDEX messages_queue ON bus.messages USING btree (queue, position);
CREATE INDEX messages_waiting ON bus.messages USING btree (queue, aggregate, position) WHERE (attempt > 0);

-- dead: create table
CREATE TABLE bus.dead (
    position bigint GENERATED ALWAYS AS IDENTITY,
    queue text COLLATE "C" NOT NULL,
    message_id uuid NOT NULL,
    type text COLLATE "C" NOT NULL,
    aggregate uuid NOT NULL,
    payload text COLLATE "C" NOT NULL,
    traceparent text COLLATE "C",
    tracestate text COLLATE "C",
    baggage text COLLATE "C",
    attempt integer NOT NULL,
    enqueued_at timestamp with time zone NOT NULL,
    reason text COLLATE "C" NOT NULL,
    died_at timestamp with time zone NOT NULL,
    CONSTRAINT dead_pkey PRIMARY KEY (position),
    CONSTRAINT dead_once UNIQUE (queue, message_id)
);
