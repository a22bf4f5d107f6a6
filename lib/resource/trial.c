/*
 * trial.c - which rows a transaction wrote, asked of the transaction itself.
 *
 * Counts come from the server's statistics of this transaction's tables, before and after: they lie in the session's
 * memory and cost no scan. They also hold what earlier transactions of the session have not reported yet, therefore
 * the difference. The rows themselves are those whose xmin is ours: a scan, hence only of small tables.
 *
 * Rejected: triggers with transition tables (making one locks the table against writers), logical decoding (knows
 * commits only).
 */
#include "resource/engine_internal.h"

#define TEXT(x)  TEXT_(x)
#define TEXT_(x) #x

static const Statement LIMITS = {.name = "usher_trial_limits",
                                 .sql = "SELECT set_config('lock_timeout', '" TEXT(TRIAL_LOCK_MS) "', true)"};
static const Statement COUNTS = {
    .name = "usher_trial_counts",
    .sql = "SELECT schemaname || '.' || relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_xact_user_tables"
           " WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 ORDER BY 1"};
/* What a commit would have checked. */
static const Statement CONSTRAINTS = {.name = "usher_trial_constraints", .sql = "SET CONSTRAINTS ALL IMMEDIATE"};

void engine_try(Engine *engine, TrialTold told, void *data) {
    ASSERT(told != NULL && pg_pool_rolls_back(engine->pool));
    engine->trial_told = told;
    engine->trial_data = data;
}

static CO_FN Err count(PgTx *tx, Arena *arena, TrialCounts *ret) {
    PgResult result;
    TRY(pg_tx_query(tx, &COUNTS, NULL, &result));
    TrialTable *tables = ARENA_ARRAY(arena, TrialTable, (size_t)result.rows + 1);
    if (tables == NULL)
        return ERR_NO_MEMORY;
    for (int row = 0; row < result.rows; row++) {
        tables[row] = (TrialTable){.name = arena_str(arena, pg_text(&result, row, 0)),
                                   .inserted = pg_i64(&result, row, 1),
                                   .updated = pg_i64(&result, row, 2),
                                   .deleted = pg_i64(&result, row, 3)};
        if (tables[row].name.p == NULL)
            return ERR_NO_MEMORY;
    }
    *ret = (TrialCounts){.tables = tables, .n = (size_t)result.rows};
    return ERR_OK;
}

CO_FN Err trial_begin(PgTx *tx, const Set *set, TrialCounts *ret) {
    ASSERT(set->n == 1);
    pg_tx_send(tx, &LIMITS, NULL);
    return count(tx, set->ctx->arena, ret);
}

/* Drops what was there before; keeps the order. */
static void subtract(TrialCounts *after, const TrialCounts *before) {
    size_t kept = 0;
    for (size_t i = 0; i < after->n; i++) {
        TrialTable table = after->tables[i];
        for (size_t j = 0; j < before->n; j++) {
            if (!str_eq(before->tables[j].name, table.name))
                continue;
            table.inserted -= before->tables[j].inserted;
            table.updated -= before->tables[j].updated;
            table.deleted -= before->tables[j].deleted;
        }
        if (table.inserted + table.updated + table.deleted > 0)
            after->tables[kept++] = table;
    }
    after->n = kept;
}

static CO_FN Err read_rows(Engine *engine, PgTx *tx, Arena *arena, const Resource *resource, Str *ret) {
    const Statement *statement;
    PgResult result;
    Str name = arena_printf(arena, "usher_trial_%s", resource->plural);
    Str sql = arena_printf(arena,
                           "SELECT CASE WHEN pg_relation_size('{schema}.%s'::regclass) <= %d THEN (SELECT "
                           "coalesce(jsonb_agg(to_jsonb(t)), '[]')::text FROM (SELECT * FROM {schema}.%s WHERE xmin = "
                           "pg_current_xact_id()::xid LIMIT %d) AS t) END",
                           resource->plural, TRIAL_TABLE_BYTES_MAX, resource->plural, TRIAL_ROWS_MAX);
    if (name.p == NULL || sql.p == NULL)
        return ERR_NO_MEMORY;
    TRY(engine_statement(engine, name.p, sql.p, false, &statement));
    TRY(pg_tx_query(tx, statement, NULL, &result));
    Str rows = pg_text(&result, 0, 0);
    *ret = rows.p == NULL ? rows : arena_str(arena, rows);
    return rows.p != NULL && ret->p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static const Resource *resource_of(const Engine *engine, Str table) {
    Str schema = str_cut(&table, '.');
    for (const Resource *const *at = engine->context->resources; *at != NULL; at++)
        if (!(*at)->internal && str_eq_c(schema, (*at)->schema) && str_eq_c(table, (*at)->plural))
            return *at;
    return NULL;
}

CO_FN Err trial_end(Engine *engine, PgTx *tx, const Set *set, const TrialCounts *before) {
    Member *member = set->members[0];
    Arena *arena = member->ctx->arena;
    TrialCounts after;
    pg_tx_send(tx, &CONSTRAINTS, NULL);
    TRY(count(tx, arena, &after));
    subtract(&after, before);
    for (size_t i = 0; i < after.n; i++) {
        const Resource *resource = resource_of(engine, after.tables[i].name);
        if (resource != NULL)
            TRY(read_rows(engine, tx, arena, resource, &after.tables[i].rows));
    }
    Trial trial = {.resource = set->resource,
                   .action = set->action,
                   .tables = after.tables,
                   .table_n = after.n,
                   .messages = member->outcome == ERR_OK ? member->outgoing : NULL};
    engine->trial_told(member->ctx, &trial, engine->trial_data);
    return ERR_OK;
}
