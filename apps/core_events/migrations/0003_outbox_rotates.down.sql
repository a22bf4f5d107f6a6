-- 0003_outbox_rotates: taken back. What the marks say is published goes; what waits is kept, in its order.

ALTER TABLE events.outbox RENAME TO outbox_after;
ALTER TABLE events.outbox_after RENAME CONSTRAINT outbox_pkey TO outbox_after_pkey;
ALTER SEQUENCE events.outbox_position_seq RENAME TO outbox_after_position_seq;
CREATE TABLE events.outbox (
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
INSERT INTO events.outbox (position, message_id, type, aggregate, payload, traceparent, tracestate, baggage, appended_at)
    OVERRIDING SYSTEM VALUE
    SELECT o.position, o.message_id, o.type, o.aggregate, o.payload, o.traceparent, o.tracestate, o.baggage, o.appended_at
      FROM events.outbox_after AS o
      LEFT JOIN LATERAL (SELECT * FROM events.outbox_marks WHERE bucket = o.bucket ORDER BY position DESC LIMIT 1) AS m ON true
     WHERE NOT coalesce(txid_visible_in_snapshot(o.xid, m.from_snapshot::txid_snapshot)
                        OR (o.position <= m.after AND txid_visible_in_snapshot(o.xid, m.to_snapshot::txid_snapshot)), false)
     ORDER BY o.position;
SELECT setval('events.outbox_position_seq', last_value, is_called) FROM events.outbox_after_position_seq;
DROP TABLE events.outbox_after;

-- outbox_marks: drop table
-- usher: loses data
DROP TABLE events.outbox_marks;
