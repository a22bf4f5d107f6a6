-- 0003_outbox_rotates: taken back. What the marks say is published goes; what waits is kept, in its order.

ALTER TABLE users.outbox RENAME TO outbox_after;
ALTER TABLE users.outbox_after RENAME CONSTRAINT outbox_pkey TO outbox_after_pkey;
ALTER SEQUENCE users.outbox_position_seq RENAME TO outbox_after_position_seq;
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
INSERT INTO users.outbox (position, message_id, type, aggregate, payload, traceparent, tracestate, baggage, appended_at)
    OVERRIDING SYSTEM VALUE
    SELECT o.position, o.message_id, o.type, o.aggregate, o.payload, o.traceparent, o.tracestate, o.baggage, o.appended_at
      FROM users.outbox_after AS o
      LEFT JOIN LATERAL (SELECT * FROM users.outbox_marks WHERE bucket = o.bucket ORDER BY position DESC LIMIT 1) AS m ON true
     WHERE NOT coalesce(txid_visible_in_snapshot(o.xid, m.from_snapshot::txid_snapshot)
                        OR (o.position <= m.after AND txid_visible_in_snapshot(o.xid, m.to_snapshot::txid_snapshot)), false)
     ORDER BY o.position;
SELECT setval('users.outbox_position_seq', last_value, is_called) FROM users.outbox_after_position_seq;
DROP TABLE users.outbox_after;

-- outbox_marks: drop table
-- usher: loses data
DROP TABLE users.outbox_marks;
