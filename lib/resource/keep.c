/*
 * keep.c - idempotency keys inside a set's transaction.
 *
 * Before the action: one statement tries an advisory lock per key, which says "in flight" without waiting, and reads
 * what is stored. After it: one statement stores the answers. Should two requests slip past each other (the lock is
 * taken after the other's commit, the snapshot before it), the key's uniqueness decides: fewer rows are written than
 * were meant, and the set is run again and finds the answer. Waiting for the other's insert instead would let one stuck
 * client hold up a whole set.
 */
#include "resource/keep.h"

#include "base/sha256.h"
#include "resource/engine_internal.h"

const Attribute KEEP_ATTRIBUTES[] = {
    ATTR(KeepRow, key, .key = true, .required = true, .doc = "As the client chose it."),
    ATTR(KeepRow, request, .required = true, .doc = "Digest of method, target and body."),
    ATTR(KeepRow, status, .required = true, .doc = "Of the answer."),
    ATTR(KeepRow, head, .required = true, .doc = "Header lines of the answer."),
    ATTR(KeepRow, body, .required = true, .doc = "Body of the answer."),
    ATTR(KeepRow, kept_at, .required = true, .coarse = true, .doc = "When; forgotten a day later."),
    {0},
};
const Index KEEP_INDEXES[] = {
    {.name = "idempotency_keys_kept_at", .columns = "kept_at"},
    {0},
};

static const char READ_SQL[] = "SELECT request, status, head, body FROM {schema}.idempotency_keys "
                               "WHERE key = $1 AND kept_at >= $2";

static const char LOOK_SQL[] =
    "SELECT a.n, pg_try_advisory_xact_lock(hashtextextended('{schema}.' || a.key, 0)) AS free, k.request, k.status, "
    "k.head, k.body "
    "FROM unnest($1::text[]) WITH ORDINALITY AS a (key, n) "
    "LEFT JOIN {schema}.idempotency_keys k ON k.key = a.key AND k.kept_at >= $2";

/* What has run out goes, a hundred at a time, as often as something comes. */
static const char STORE_SQL[] =
    "WITH gone AS (DELETE FROM {schema}.idempotency_keys WHERE key IN (SELECT key FROM {schema}.idempotency_keys "
    "WHERE kept_at < $7 AND key <> ALL($1::text[]) ORDER BY kept_at LIMIT 100 FOR UPDATE SKIP LOCKED)) "
    "INSERT INTO {schema}.idempotency_keys AS k (key, request, status, head, body, kept_at) "
    "SELECT a.key, a.request, a.status, a.head, a.body, $6 "
    "FROM unnest($1::text[], $2::text[], $3::int4[], $4::text[], $5::text[]) AS a (key, request, status, head, body) "
    "ORDER BY a.key ON CONFLICT (key) DO UPDATE SET request = excluded.request, status = excluded.status, "
    "head = excluded.head, body = excluded.body, kept_at = excluded.kept_at WHERE k.kept_at < $7";

static Keep *keep_of(const Member *member) {
    return member->conditions == NULL ? NULL : member->conditions->keep;
}

static Instant oldest(const Ctx *ctx) {
    Instant t = ctx->now;
    t.ticks -= (int64_t)KEEP_SECONDS * TICKS_PER_SECOND;
    return t;
}

static Err take_row(Arena *arena, const PgResult *rows, int row, int column, Keep *keep) {
    if (pg_is_null(rows, row, column)) {
        keep->state = KEEP_NEW;
        return ERR_OK;
    }
    char hex[2 * sizeof keep->request.bytes];
    hex_format(keep->request.bytes, sizeof keep->request.bytes, hex);
    if (!str_eq(pg_text(rows, row, column), (Str){hex, sizeof hex})) {
        keep->state = KEEP_OTHER;
        return ERR_OK;
    }
    keep->state = KEEP_ANSWERED;
    keep->status = pg_i32(rows, row, column + 1);
    keep->head = arena_str(arena, pg_text(rows, row, column + 2)); /* rows end with the set's coroutine */
    keep->body = arena_str(arena, pg_text(rows, row, column + 3));
    return keep->head.p == NULL || keep->body.p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

CO_FN Err keep_read(Engine *engine, Ctx *ctx, Keep *keep) {
    const Statement *statement;
    TRY(engine_statement(engine, "keep_read", READ_SQL, false, &statement));
    PgParams params;
    PgResult rows;
    pg_params_init(&params, ctx->arena);
    pg_add_text(&params, keep->key);
    pg_add_instant(&params, oldest(ctx));
    TRY(pg_query(engine->pool, statement, &params, &rows));
    keep->state = KEEP_NEW;
    return rows.rows == 0 ? ERR_OK : take_row(ctx->arena, &rows, 0, 0, keep);
}

bool keeps_any(const Set *set) {
    for (size_t i = 0; i < set->n; i++)
        if (keep_of(set->members[i]) != NULL)
            return true;
    return false;
}

/* Our own session holds the lock for all of its members, so that equal keys within a set must be seen here. */
static bool is_repeated(const Set *set, size_t at) {
    for (size_t i = 0; i < at; i++) {
        const Keep *keep = keep_of(set->members[i]);
        if (keep != NULL && str_eq(keep->key, keep_of(set->members[at])->key))
            return true;
    }
    return false;
}

CO_FN static Err look_query(Engine *engine, PgTx *tx, const Set *set, PgResult *ret) {
    const Statement *statement;
    TRY(engine_statement(engine, "keep_look", LOOK_SQL, true, &statement));
    PgParams params;
    pg_params_init(&params, set->ctx->arena);
    pg_array_begin(&params, OID_TEXT_ARRAY);
    for (size_t i = 0; i < set->n; i++)
        pg_array_text(&params, keep_of(set->members[i]) == NULL ? STR("") : keep_of(set->members[i])->key);
    pg_array_end(&params);
    pg_add_instant(&params, oldest(set->ctx));
    return pg_tx_query(tx, statement, &params, ret);
}

CO_FN Err keeps_look(Engine *engine, PgTx *tx, Set *set) {
    if (!keeps_any(set))
        return ERR_OK;
    PgResult rows;
    TRY(look_query(engine, tx, set, &rows));
    for (int row = 0; row < rows.rows; row++) {
        size_t i = (size_t)pg_i64(&rows, row, 0) - 1;
        Keep *keep = keep_of(set->members[i]);
        if (keep == NULL)
            continue;
        TRY(take_row(set->members[i]->ctx->arena, &rows, row, 2, keep));
        if (keep->state == KEEP_NEW && (!pg_bool(&rows, row, 1) || is_repeated(set, i)))
            keep->state = KEEP_IN_FLIGHT;
    }
    size_t kept = 0;
    for (size_t i = 0; i < set->n; i++) {
        Member *member = set->members[i];
        const Keep *keep = keep_of(member);
        if (keep == NULL || keep->state == KEEP_NEW)
            set->members[kept++] = member;
        else
            (void)member_refuse(member, ERR_CONFLICT, NULL, "This idempotency key has been used.");
    }
    set->n = kept;
    return ERR_OK;
}

static bool is_to_store(const Member *member) {
    return keep_of(member) != NULL && member->outcome == ERR_OK;
}

static void bind_column(PgParams *params, const Set *set, int column) {
    pg_array_begin(params, column == 2 ? OID_INT4_ARRAY : OID_TEXT_ARRAY);
    for (size_t i = 0; i < set->n; i++) {
        if (!is_to_store(set->members[i]))
            continue;
        const Keep *keep = keep_of(set->members[i]);
        char hex[2 * sizeof keep->request.bytes];
        hex_format(keep->request.bytes, sizeof keep->request.bytes, hex);
        if (column == 2)
            pg_array_i32(params, keep->status);
        else
            pg_array_text(params, column == 0   ? keep->key
                                  : column == 1 ? (Str){hex, sizeof hex}
                                  : column == 3 ? keep->head
                                                : keep->body);
    }
    pg_array_end(params);
}

CO_FN Err keeps_store(Engine *engine, PgTx *tx, Set *set) {
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++)
        n += is_to_store(set->members[i]);
    if (n == 0)
        return ERR_OK;
    const Statement *statement;
    TRY(engine_statement(engine, "keep_store", STORE_SQL, true, &statement));
    PgParams params;
    PgResult result;
    pg_params_init(&params, set->ctx->arena);
    for (int column = 0; column < 5; column++)
        bind_column(&params, set, column);
    pg_add_instant(&params, set->ctx->now);
    pg_add_instant(&params, oldest(set->ctx));
    TRY(pg_tx_query(tx, statement, &params, &result));
    return (size_t)result.affected == n ? ERR_OK : ERR_RETRY;
}
