/*
 * keeper_prune.c - what has had its time goes, in small commits, at the start and every ten minutes.
 *
 * By the shadow worker and not by a job: a gateway has a database of its own and need have no jobs beside it. Nothing
 * depends on its running in time: whoever reads these tables compares times itself.
 *
 * How to add a table: a statement in sql/queries.sql that deletes at most $1 rows, and a row in STATEMENTS.
 */
#include "api_gateway/shadow_impl.h"
#include "api_gateway_queries.h"
#include "runtime/log.h"

enum { BATCH = 500, KEPT_MAX = 10000, AGAIN_MS = 1000, LATER_MS = 10000, EVERY_MS = 600000 };

static const struct {
    const Statement *statement;
    bool counted; /* takes KEPT_MAX as $2 */
} STATEMENTS[] = {
    {SQL_GATEWAY_CALLERS_PRUNE, true},
    {SQL_GATEWAY_CLUSTERS_PRUNE, true},
    {SQL_GATEWAY_TALLIES_PRUNE, false},
    {SQL_GATEWAY_TRAFFIC_PRUNE, false},
};

static CO_FN Err prune(Shadow *shadow, Ctx *ctx, size_t at, int64_t *ret_gone) {
    PgParams params;
    PgResult result;
    do {
        begin_work(ctx);
        pg_params_init(&params, ctx->arena);
        pg_add_i64(&params, BATCH);
        if (STATEMENTS[at].counted)
            pg_add_i64(&params, KEPT_MAX);
        TRY(pg_query(shadow->options.pool, STATEMENTS[at].statement, &params, &result));
        *ret_gone += result.affected;
    } while (result.affected == BATCH);
    return ERR_OK;
}

CO_FN void keeper_prune_co(Ctx *ctx, void *arg) {
    Shadow *shadow = arg;
    int64_t wait_ms = AGAIN_MS;
    while (co_sleep(wait_ms) == ERR_OK) {
        int64_t gone = 0;
        Err err = pg_pool_ready(shadow->options.pool) ? ERR_OK : ERR_UNAVAILABLE;
        for (size_t i = 0; err == ERR_OK && i < ARRAY_LEN(STATEMENTS); i++)
            err = prune(shadow, ctx, i, &gone);
        if (gone > 0)
            LOG_I(NULL, "gateway rows pruned", F_INT("rows", gone));
        if (err != ERR_OK && err != ERR_UNAVAILABLE && err != ERR_TIMEOUT && err != ERR_CANCELLED)
            LOG_W(ctx, "gateway rows not pruned", F_ERR(err), F_STR("why", ctx->problem.message));
        end_work(ctx);
        wait_ms = err == ERR_OK ? EVERY_MS : err == ERR_UNAVAILABLE ? AGAIN_MS : LATER_MS;
    }
}
