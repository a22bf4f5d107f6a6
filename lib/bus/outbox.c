/*
 * outbox.c - what is to be published is found by snapshots; what was published goes by TRUNCATE.
 *
 * A queue in a table dies of its own dead rows: while any session holds an old snapshot, no vacuum may remove what was
 * deleted, and every read walks over it. So nothing is deleted or updated here, and the cost of a batch does not depend
 * on what lies behind it. The idea is PgQ's, with a cursor within each tick:
 *
 * - A *mark* says of a bucket: all that snapshot F sees is published (its transaction had committed by then). The next
 *   *tick* is what a later snapshot T sees and F does not. It is published in order of position, batch by batch, each
 *   ending with a mark (F, T, after = last position); the last one's mark is (T). Marks are appended; the newest
 *   counts.
 * - Commits become visible in another order than positions were drawn in. That does no harm: a row belongs to the tick
 *   whose T is the first to see it. Within an aggregate the orders agree: an action writes its entity's row before its
 *   outbox row, so the next change of the entity draws its position after this one has committed. What T sees of an
 *   aggregate therefore is a beginning of it, in order of position.
 * - Rows F does not see are found by index. Transactions that were under way when F was taken are listed in F, or have
 *   numbers from F's xmax up to the reader's own (from_xid): looked up by xid. All later ones drew their positions
 *   after the tick's rows were written, so they lie behind the last position of that tick (from_position): a range of
 *   the key. Neither depends on how long some other transaction stays open, as a range from F's xmin would.
 *
 * Rows lie in slots by position, 2^17 in a row, then comes the next partition. A slot whose rows are all published is
 * emptied by TRUNCATE; writers are in another by then and do not wait for its lock. Where the lock cannot be had
 * (pg_dump reads the table for an hour), rows are added to a slot that still has old ones: that costs space, not time.
 */
#include "bus/outbox.h"

/* Statistics of a table that was empty a moment ago say that a scan of all of it is cheap. Order and range are in the
 * index: never otherwise. JIT would compile the statement for longer than it runs. */
const Statement OUTBOX_PLAN = {.name = "outbox_plan",
                               .sql = "SELECT set_config('enable_seqscan', 'off', true),"
                                      " set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true)"};

/* A bucket of others is taken when it has had no mark for so long. */
#define ORPHANED_AFTER "interval '3 seconds'"

#define NEWEST_MARK(bucket_)                                                                                           \
    "SELECT * FROM {schema}.outbox_marks WHERE bucket = " bucket_ " ORDER BY position DESC LIMIT 1"

/* The lock of earlier versions, which published one outbox at a time, is held shared: beside one of them, we wait. */
static const char LOCK_SQL[] =
    "SELECT pg_try_advisory_xact_lock_shared($1)"
    "   AND pg_try_advisory_xact_lock_shared(hashtextextended('usher relay {schema}', 0)), b.bucket,"
    " pg_try_advisory_xact_lock(hashtextextended('usher relay {schema} ' || b.bucket, 0))"
    "  FROM (SELECT unnest($2::smallint[]) AS bucket"
    "        UNION ALL"
    "        SELECT o.bucket FROM unnest($3::smallint[]) AS o (bucket)"
    "         WHERE NOT EXISTS (SELECT FROM (" NEWEST_MARK(
        "o.bucket") ") AS m"
                    "                            WHERE m.marked_at > clock_timestamp() - " ORPHANED_AFTER ")) AS b";

#define ROW_COLUMNS                                                                                                    \
    "position, message_id, type, aggregate, payload, traceparent, tracestate, baggage, appended_at, xid, bucket"
/* What tick t takes of rows o, whichever way they were found. */
#define IN_TICK                                                                                                        \
    " o.position > t.after AND txid_visible_in_snapshot(o.xid, t.to_s) AND NOT txid_visible_in_snapshot(o.xid,"        \
    " t.from_s) ORDER BY o.position LIMIT $2::integer"
/* xid + 0: the key's range is the way in, not the index over xid, and the other way round. */
static const char READ_SQL[] =
    "WITH tick AS MATERIALIZED"
    " (SELECT b.bucket, m.to_snapshot IS NOT NULL AS open, coalesce(m.from_snapshot, '1:1:')::txid_snapshot AS from_s,"
    "         coalesce(m.from_xid, 0) AS from_x, coalesce(m.from_position, 0) AS from_p,"
    "         coalesce(m.to_snapshot::txid_snapshot, txid_current_snapshot()) AS to_s,"
    "         CASE WHEN m.to_snapshot IS NULL THEN txid_current() ELSE m.to_xid END AS to_x,"
    "         coalesce(m.after, 0) AS after"
    "    FROM unnest($1::smallint[]) AS b (bucket)"
    "    LEFT JOIN LATERAL (" NEWEST_MARK(
        "b.bucket") ") AS m ON true),"
                    " found AS"
                    " (SELECT t.*, r.*, row_number() OVER w AS nth, count(r.position) OVER (PARTITION BY t.bucket) AS "
                    "n,"
                    "         coalesce(sum(octet_length(r.payload)::bigint) OVER (ORDER BY r.position) - "
                    "octet_length(r.payload), 0)"
                    "           AS before"
                    "    FROM tick AS t LEFT JOIN LATERAL"
                    "     (SELECT position, message_id, type, aggregate, payload, traceparent, tracestate, baggage, "
                    "appended_at FROM"
                    "       ((SELECT " ROW_COLUMNS " FROM {schema}.outbox AS o"
                    "          WHERE o.bucket = t.bucket AND o.position > t.from_p AND o.xid + 0 > t.from_x AND" IN_TICK
                    ")"
                    "        UNION ALL"
                    "        (SELECT " ROW_COLUMNS " FROM {schema}.outbox AS o"
                    "          WHERE o.xid = ANY (ARRAY(SELECT txid_snapshot_xip(t.from_s))) AND o.bucket + 0 = "
                    "t.bucket AND" IN_TICK ")"
                    "        UNION ALL"
                    "        (SELECT " ROW_COLUMNS " FROM {schema}.outbox AS o"
                    "          WHERE o.xid BETWEEN txid_snapshot_xmax(t.from_s) AND t.from_x AND o.bucket + 0 = "
                    "t.bucket"
                    "            AND" IN_TICK ")) AS u"
                    "      ORDER BY position LIMIT $2::integer) AS r ON true"
                    "  WINDOW w AS (PARTITION BY t.bucket ORDER BY r.position))"
                    " SELECT bucket, n, CASE WHEN nth = 1 THEN open END, CASE WHEN nth = 1 THEN from_s::text END, "
                    "from_x, from_p,"
                    "        CASE WHEN nth = 1 THEN to_s::text END, to_x, after,"
                    "        CASE WHEN before < $3::bigint THEN position END, message_id, type, aggregate,"
                    "        CASE WHEN before < $3::bigint THEN payload END, traceparent, tracestate, baggage, "
                    "appended_at"
                    "   FROM found WHERE nth = 1 OR before < $3::bigint"
                    "  ORDER BY found.position";

static const char MARK_SQL[] =
    "INSERT INTO {schema}.outbox_marks"
    " (bucket, from_snapshot, from_xid, from_position, to_snapshot, to_xid, after, marked_at)"
    " SELECT bucket, from_s, from_x, from_p, to_s, to_x, after, clock_timestamp()"
    "   FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[])"
    "     AS m (bucket, from_s, from_x, from_p, to_s, to_x, after)";

Err outbox_statements(Engine *engine, OutboxStatements *ret) {
    TRY(engine_statement(engine, "relay_lock", LOCK_SQL, false, &ret->lock));
    TRY(engine_statement(engine, "relay_read", READ_SQL, false, &ret->read));
    return engine_statement(engine, "relay_mark", MARK_SQL, true, &ret->mark);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static OutboxBucket *bucket_of(OutboxRead *read, int16_t bucket) {
    for (size_t i = 0; i < read->n_buckets; i++)
        if (read->buckets[i].mark.bucket == bucket)
            return &read->buckets[i];
    ASSERT(read->n_buckets < OUTBOX_BUCKETS);
    OutboxBucket *b = &read->buckets[read->n_buckets++];
    *b = (OutboxBucket){.mark = {.bucket = bucket}};
    return b;
}

/* The first row of a bucket says where its marks stand. */
static void decode_tick(const PgResult *rows, int row, OutboxBucket *b) {
    b->found = pg_i64(rows, row, 1);
    b->open = pg_bool(rows, row, 2);
    b->mark.from_snapshot = pg_text(rows, row, 3);
    b->mark.from_xid = pg_i64(rows, row, 4);
    b->mark.from_position = pg_i64(rows, row, 5);
    b->mark.to_snapshot = pg_text(rows, row, 6);
    b->mark.to_xid = pg_i64(rows, row, 7);
    b->mark.after = pg_i64(rows, row, 8);
}

static Envelope decode_message(const PgResult *rows, int row) {
    return (Envelope){.tag = pg_i64(rows, row, 9),
                      .message_id = pg_id(rows, row, 10),
                      .type = pg_text(rows, row, 11),
                      .aggregate = pg_id(rows, row, 12),
                      .payload = pg_text(rows, row, 13),
                      .traceparent = pg_text(rows, row, 14),
                      .tracestate = pg_text(rows, row, 15),
                      .baggage = pg_text(rows, row, 16)};
}

Err outbox_decode(Arena *arena, const PgResult *rows, OutboxRead *ret) {
    ret->messages = ARENA_ARRAY(arena, Envelope, (size_t)rows->rows);
    ret->appended = ARENA_ARRAY(arena, int64_t, (size_t)rows->rows);
    if (ret->messages == NULL || ret->appended == NULL)
        return ERR_NO_MEMORY;
    for (int row = 0; row < rows->rows; row++) {
        OutboxBucket *b = bucket_of(ret, pg_i16(rows, row, 0));
        if (!pg_is_null(rows, row, 2))
            decode_tick(rows, row, b);
        if (pg_is_null(rows, row, 9))
            continue;
        ret->messages[ret->n] = decode_message(rows, row);
        ret->appended[ret->n] = instant_to_unix_us(pg_instant(rows, row, 17));
        b->last = ret->messages[ret->n++].tag;
        ret->busy += b->n++ == 0;
    }
    return ERR_OK;
}

/* --- marking ------------------------------------------------------------------------------------------------------ */

/* All rows of its tick are in this batch. */
static bool is_complete(const OutboxRead *read, const OutboxBucket *b) {
    return b->n == b->found && (size_t)b->found < read->limit;
}

/* The mark behind this batch; false: there is nothing to say. */
static bool next_mark(const OutboxRead *read, const OutboxBucket *b, OutboxMark *ret) {
    bool complete = is_complete(read, b);
    if (b->n == 0 && !(complete && b->open))
        return false;
    *ret = b->mark;
    ret->after = MAX_OF(b->mark.after, b->last);
    if (complete)
        *ret = (OutboxMark){.bucket = b->mark.bucket,
                            .from_snapshot = b->mark.to_snapshot,
                            .from_xid = b->mark.to_xid,
                            .from_position = MAX_OF(b->mark.from_position, ret->after)};
    return true;
}

static void bind_column(PgParams *params, const OutboxMark *mark, int column) {
    switch (column) {
    case 0:
        pg_array_i16(params, mark->bucket);
        break;
    case 1:
        pg_array_text(params, mark->from_snapshot);
        break;
    case 2:
        pg_array_i64(params, mark->from_xid);
        break;
    case 3:
        pg_array_i64(params, mark->from_position);
        break;
    case 4:
        pg_array_text(params, mark->to_snapshot);
        break;
    case 5:
        pg_array_i64(params, mark->to_xid);
        break;
    default:
        pg_array_i64(params, mark->after);
        break;
    }
}

size_t outbox_mark(const OutboxRead *read, PgParams *params) {
    static const Oid OIDS[] = {OID_INT2_ARRAY, OID_TEXT_ARRAY, OID_INT8_ARRAY, OID_INT8_ARRAY,
                               OID_TEXT_ARRAY, OID_INT8_ARRAY, OID_INT8_ARRAY};
    size_t n = 0;
    for (int column = 0; column < (int)ARRAY_LEN(OIDS); column++) {
        n = 0;
        pg_array_begin(params, OIDS[column]);
        for (size_t i = 0; i < read->n_buckets; i++) {
            OutboxMark mark;
            if (!next_mark(read, &read->buckets[i], &mark))
                continue;
            bind_column(params, &mark, column);
            n++;
        }
        pg_array_end(params);
    }
    return n;
}

bool outbox_has_more(const OutboxRead *read) {
    for (size_t i = 0; i < read->n_buckets; i++)
        if (!is_complete(read, &read->buckets[i]))
            return true;
    return false;
}
