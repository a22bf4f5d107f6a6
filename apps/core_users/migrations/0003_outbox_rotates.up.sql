-- 0003_outbox_rotates: made by `usher migrate generate`, then by hand: a table cannot become partitioned in place.
--
-- Rows that wait are moved, in their order. Writers and relays wait meanwhile (about 10 us a row). Usher of the version before
-- goes on working on the new table; its relay then deletes what it has published, which does no harm.

-- outbox_marks: create table
CREATE TABLE users.outbox_marks (
    bucket smallint NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    from_snapshot text COLLATE "C" NOT NULL,
    from_xid bigint NOT NULL,
    from_position bigint NOT NULL,
    to_snapshot text COLLATE "C",
    to_xid bigint NOT NULL,
    after bigint NOT NULL,
    marked_at timestamp with time zone NOT NULL,
    CONSTRAINT outbox_marks_pkey PRIMARY KEY (bucket, position)
);

-- outbox: the table before steps aside; its names are needed
ALTER TABLE users.outbox RENAME TO outbox_before;
ALTER TABLE users.outbox_before RENAME CONSTRAINT outbox_pkey TO outbox_before_pkey;
ALTER SEQUENCE users.outbox_position_seq RENAME TO outbox_before_position_seq;

-- outbox: create table. The order of the first four columns matters (lib/bus/tables.c).
CREATE TABLE users.outbox (
    xid bigint NOT NULL DEFAULT txid_current(),
    bucket smallint GENERATED ALWAYS AS (((get_byte(uuid_send(aggregate), 15) # get_byte(uuid_send(aggregate), 3)) & 15)::smallint) STORED NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    slot smallint NOT NULL DEFAULT ((lastval() >> 17) & 3)::smallint,
    message_id uuid NOT NULL,
    type text COLLATE "C" NOT NULL,
    aggregate uuid NOT NULL,
    payload text COLLATE "C" NOT NULL,
    traceparent text COLLATE "C",
    tracestate text COLLATE "C",
    baggage text COLLATE "C",
    appended_at timestamp with time zone NOT NULL,
    CONSTRAINT outbox_pkey PRIMARY KEY (bucket, position, slot)
) PARTITION BY LIST (slot);
CREATE TABLE users.outbox_0 PARTITION OF users.outbox FOR VALUES IN (0);
CREATE TABLE users.outbox_1 PARTITION OF users.outbox FOR VALUES IN (1);
CREATE TABLE users.outbox_2 PARTITION OF users.outbox FOR VALUES IN (2);
CREATE TABLE users.outbox_3 PARTITION OF users.outbox FOR VALUES IN (3);
CREATE INDEX outbox_xid ON users.outbox USING btree (xid);

-- outbox: its rows keep their positions; new ones come behind them
INSERT INTO users.outbox (position, slot, message_id, type, aggregate, payload, traceparent, tracestate, baggage, appended_at)
    OVERRIDING SYSTEM VALUE
    SELECT position, (position >> 17 & 3)::smallint, message_id, type, aggregate, payload, traceparent, tracestate, baggage, appended_at
      FROM users.outbox_before ORDER BY position;
SELECT setval('users.outbox_position_seq', last_value, is_called) FROM users.outbox_before_position_seq;
DROP TABLE users.outbox_before;
