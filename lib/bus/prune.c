/*
 * prune.c - what is done with is given back, in bounded steps that a relay, a job or an operator may call.
 *
 * A slot of the outbox is emptied when every row in it is published by what the marks say. That is asked twice: once
 * without a lock, because mostly the answer is no, and once under the lock that keeps writers out, because a late one
 * may have come in between. TRUNCATE's own commit is flushed, and with it the marks before it, although those were
 * committed without waiting for the disk: a crash cannot keep the emptying and lose the reason for it.
 *
 * Old marks and inbox rows are deleted, not truncated: nobody reads where they lie (marks are read from the newest end,
 * inbox ids by key), so their dead rows cost space until a vacuum, but no time.
 */
#include "bus/loops.h"
#include "bus/outbox.h"

/* How long others wait behind our request for a slot's lock, at most. */
#define LOCK_TIMEOUT "SELECT set_config('lock_timeout', '50ms', true)"
/* The slot that is written to is left alone while it is young: emptying it for a few rows costs more than they do. */
#define YOUNG             "interval '10 minutes'"
#define MARKS_KEPT        "1000"
#define PRUNE_ROWS        "5000"
#define STATE_ROWS        "100000"
#define PRUNE_DEADLINE_MS 30000

/* A row o is published when its bucket's newest mark m says so. */
#define NEWEST_MARKS                                                                                                   \
    "(SELECT b.bucket, m.* FROM generate_series(0, 15) AS b (bucket) CROSS JOIN LATERAL"                               \
    " (SELECT from_snapshot::txid_snapshot AS from_s, to_snapshot::txid_snapshot AS to_s, after, from_xid,"            \
    "   from_position, to_xid FROM {schema}.outbox_marks WHERE bucket = b.bucket ORDER BY position DESC LIMIT 1) AS "  \
    "m)"
#define PUBLISHED                                                                                                      \
    "coalesce(txid_visible_in_snapshot(o.xid, m.from_s)"                                                               \
    " OR (o.position <= m.after AND txid_visible_in_snapshot(o.xid, m.to_s)), false)"

/* Of one slot: are there rows worth giving back, and are all of them published? */
#define FULL_SQL                                                                                                       \
    "SELECT EXISTS (SELECT FROM {schema}.outbox_%1$d AS o"                                                             \
    "    WHERE %1$d <> (SELECT max(greatest(n.from_position, n.after)) >> 17 & 3 FROM " NEWEST_MARKS " AS n)"          \
    "       OR o.appended_at < clock_timestamp() - " YOUNG ")"                                                         \
    " AND NOT EXISTS (SELECT FROM {schema}.outbox_%1$d AS o LEFT JOIN " NEWEST_MARKS " AS m ON m.bucket = o.bucket"    \
    "    WHERE NOT " PUBLISHED ")"
#define LOCK_SQL  "LOCK TABLE {schema}.outbox_%1$d IN ACCESS EXCLUSIVE MODE"
#define EMPTY_SQL "TRUNCATE {schema}.outbox_%1$d"

static const Statement LOCK_TIMEOUT_STATEMENT = {.name = "outbox_lock_timeout", .sql = LOCK_TIMEOUT};

typedef struct Rotation {
    Engine *engine;
    Ctx *ctx;
    const Statement *full, *lock, *empty;
    bool emptied;
} Rotation;

static Err slot_statement(Rotation *r, const char *name, int slot, const char *sql, bool writes,
                          const Statement **ret) {
    Str own_name = arena_printf(r->ctx->arena, "outbox_%s_%d", name, slot);
    Buf text = buf_new(r->ctx->arena, 16384);
    const Str mark = STR("%1$d");
    Str rest = str_c(sql), whole;
    for (ptrdiff_t at; (at = str_find(rest, mark)) >= 0; rest = str_slice(rest, (size_t)at + mark.n, rest.n))
        buf_printf(&text, "%.*s%d", (int)at, rest.p, slot);
    buf_add(&text, rest);
    buf_add_char(&text, '\0');
    TRY(buf_finish(&text, &whole));
    return own_name.p == NULL ? ERR_NO_MEMORY : engine_statement(r->engine, own_name.p, whole.p, writes, ret);
}

CO_FN static Err empty_slot(PgTx *tx, void *arg) {
    Rotation *r = arg;
    PgResult result;
    r->emptied = false;
    pg_tx_send(tx, &LOCK_TIMEOUT_STATEMENT, NULL);
    TRY(pg_tx_query(tx, r->lock, NULL, &result));
    TRY(pg_tx_query(tx, r->full, NULL, &result));
    if (!pg_bool(&result, 0, 0))
        return ERR_OK;
    TRY(pg_tx_query_commit(tx, r->empty, NULL, &result));
    r->emptied = true;
    return ERR_OK;
}

/* A lock that cannot be had is no failure: another time. */
CO_FN static Err rotate_slot(Rotation *r, int slot) {
    PgResult result;
    TRY(slot_statement(r, "full", slot, FULL_SQL, false, &r->full));
    TRY(slot_statement(r, "lock", slot, LOCK_SQL, true, &r->lock));
    TRY(slot_statement(r, "empty", slot, EMPTY_SQL, true, &r->empty));
    TRY(pg_query(engine_pool(r->engine), r->full, NULL, &result));
    if (!pg_bool(&result, 0, 0))
        return ERR_OK;
    Err err = pg_transaction(engine_pool(r->engine), empty_slot, r);
    if (err != ERR_OK && strcmp(pg_sqlstate(), "55P03") == 0) /* lock_not_available */
        return ERR_OK;
    return err;
}

CO_FN static Err forget_marks(Rotation *r) {
    const Statement *statement;
    PgResult result;
    TRY(engine_statement(r->engine, "outbox_forget_marks",
                         "DELETE FROM {schema}.outbox_marks AS m USING generate_series(0, 15) AS b (bucket)"
                         " WHERE m.bucket = b.bucket AND m.position < (SELECT position FROM {schema}.outbox_marks"
                         "   WHERE bucket = b.bucket ORDER BY position DESC OFFSET " MARKS_KEPT " LIMIT 1)",
                         true, &statement));
    return pg_query(engine_pool(r->engine), statement, NULL, &result);
}

/* Gives the coroutine a deadline where it has none, and takes it away again. */
static int64_t bounded(Ctx *ctx) {
    int64_t before = ctx->deadline_ms;
    if (before == 0)
        ctx->deadline_ms = clock_mono_ms() + PRUNE_DEADLINE_MS;
    return before;
}

CO_FN static Err rotate(Rotation *r) {
    TRY(forget_marks(r));
    for (int slot = 0; slot < OUTBOX_SLOTS && !r->emptied; slot++)
        TRY(rotate_slot(r, slot));
    return ERR_OK;
}

CO_FN Err outbox_rotate(Engine *engine, bool *ret_more) {
    Ctx *ctx = co_ctx(co_self());
    Rotation r = {.engine = engine, .ctx = ctx};
    ASSERT(engine_outbox(engine) != NULL);
    int64_t before = bounded(ctx);
    Err err = rotate(&r);
    ctx->deadline_ms = before;
    if (err == ERR_OK)
        *ret_more = r.emptied;
    return err;
}

/* --- whose business it is ----------------------------------------------------------------------------------------- */

/* Buckets are 0 to 15: nobody who looks for what was published sees this one. One row, put anew each time: marks are
 * never updated, and this one least of all, which no lock guards. */
#define KEEPER_BUCKET "-1"

CO_FN Err outbox_keeper_mark(Engine *engine) {
    const Statement *statement;
    PgResult result;
    TRY(engine_statement(engine, "outbox_keeper_mark",
                         "WITH old AS (DELETE FROM {schema}.outbox_marks WHERE bucket = " KEEPER_BUCKET ")"
                         " INSERT INTO {schema}.outbox_marks"
                         " (bucket, from_snapshot, from_xid, from_position, to_xid, after, marked_at)"
                         " VALUES (" KEEPER_BUCKET ", '1:1:', 0, 0, 0, 0, clock_timestamp())",
                         true, &statement));
    return pg_query(engine_pool(engine), statement, NULL, &result);
}

CO_FN Err outbox_is_kept(Engine *engine, bool *ret) {
    const Statement *statement;
    PgParams params;
    PgResult result;
    TRY(engine_statement(engine, "outbox_is_kept",
                         "SELECT EXISTS (SELECT FROM {schema}.outbox_marks WHERE bucket = " KEEPER_BUCKET
                         " AND marked_at > clock_timestamp() - $1::bigint * interval '1 millisecond')",
                         false, &statement));
    pg_params_init(&params, co_ctx(co_self())->arena);
    pg_add_i64(&params, OUTBOX_KEEPER_MS);
    TRY(pg_query(engine_pool(engine), statement, &params, &result));
    *ret = pg_bool(&result, 0, 0);
    return ERR_OK;
}

CO_FN Err inbox_prune(PgTx *tx, Engine *engine, const char *consumer, int64_t keep_ms, int64_t *ret_gone) {
    const Statement *statement;
    PgParams params;
    PgResult result;
    TRY(engine_statement(
        engine, "inbox_prune",
        "DELETE FROM {schema}.inbox WHERE ctid = ANY (ARRAY(SELECT ctid FROM {schema}.inbox"
        " WHERE received_at < statement_timestamp() - $1::bigint * interval '1 millisecond' AND ($2::text "
        "IS NULL OR consumer = $2)"
        " ORDER BY received_at LIMIT " PRUNE_ROWS "))",
        true, &statement));
    pg_params_init(&params, co_ctx(co_self())->arena);
    pg_add_i64(&params, keep_ms);
    pg_add_text(&params, consumer == NULL ? (Str){NULL, 0} : str_c(consumer));
    TRY(pg_tx_query(tx, statement, &params, &result));
    *ret_gone = result.affected;
    return ERR_OK;
}

/* --- what waits --------------------------------------------------------------------------------------------------- */

/* Found as a relay finds it (outbox.c), of all buckets together. */
const char OUTBOX_STATE_SQL[] =
    "WITH m AS MATERIALIZED (SELECT b.bucket, coalesce(n.from_s, '1:1:'::txid_snapshot) AS from_s, n.to_s,"
    "   coalesce(n.after, 0) AS after, coalesce(n.from_xid, 0) AS from_x, coalesce(n.from_position, 0) AS from_p"
    "   FROM generate_series(0, 15) AS b (bucket) LEFT JOIN " NEWEST_MARKS " AS n ON n.bucket = b.bucket)"
    " SELECT count(*), coalesce((extract(epoch FROM clock_timestamp() - min(appended_at)) * 1e9)::bigint, 0) FROM"
    "  (SELECT w.appended_at FROM m CROSS JOIN LATERAL"
    "    (SELECT appended_at FROM {schema}.outbox AS o WHERE o.bucket = m.bucket AND o.position > m.from_p"
    "        AND o.xid + 0 > m.from_x AND NOT " PUBLISHED "     UNION ALL"
    "     SELECT appended_at FROM {schema}.outbox AS o WHERE o.xid = ANY (ARRAY(SELECT txid_snapshot_xip(m.from_s)))"
    "        AND o.bucket + 0 = m.bucket AND NOT " PUBLISHED "     UNION ALL"
    "     SELECT appended_at FROM {schema}.outbox AS o WHERE o.xid BETWEEN txid_snapshot_xmax(m.from_s) AND m.from_x"
    "        AND o.bucket + 0 = m.bucket AND NOT " PUBLISHED ") AS w LIMIT " STATE_ROWS ") AS waiting";

CO_FN Err outbox_state(Engine *engine, OutboxState *ret) {
    const Statement *statement;
    TRY(engine_statement(engine, "outbox_state", OUTBOX_STATE_SQL, false, &statement));
    PgResult result;
    TRY(pg_query(engine_pool(engine), statement, NULL, &result));
    *ret = (OutboxState){.depth = pg_i64(&result, 0, 0), .age_ns = pg_i64(&result, 0, 1)};
    return ERR_OK;
}
