/*
 * dead_pg.c - bus.dead for operators: what lies there, back into its queue, or away.
 *
 * Each batch is one statement, so a command that is killed has done all of it or nothing, and can be repeated: a letter
 * that was put back is no longer there to be put back again.
 */
#include "bus/transport_pg.h"
#include "bus_queries.h"

#define MOVED_AT_ONCE 500

static Err read_letters(Ctx *ctx, const PgResult *rows, DeadLetter **ret) {
    DeadLetter *letters = ARENA_ARRAY(ctx->arena, DeadLetter, (size_t)rows->rows);
    if (letters == NULL)
        return ERR_NO_MEMORY;
    for (int i = 0; i < rows->rows; i++)
        letters[i] = (DeadLetter){.handle = pg_text(rows, i, 0),
                                  .queue = pg_text(rows, i, 1),
                                  .message_id = pg_text(rows, i, 2),
                                  .type = pg_text(rows, i, 3),
                                  .reason = pg_text(rows, i, 4),
                                  .died_at = pg_text(rows, i, 5),
                                  .headers = pg_text(rows, i, 6),
                                  .payload = pg_text(rows, i, 7)};
    *ret = letters;
    return ERR_OK;
}

CO_FN static Err list(Transport *transport, const DeadFilter *filter, DeadLetter **ret, size_t *ret_n) {
    Ctx *ctx = co_ctx(co_self());
    int64_t most = filter->most == 0 ? DEAD_LIST_DEFAULT : (int64_t)filter->most;
    PgParams params;
    PgResult rows;
    pg_params_init(&params, ctx->arena);
    pg_add_text(&params, filter->queue);
    pg_add_text(&params, filter->handle);
    pg_add_text(&params, filter->reason);
    pg_add_i64(&params, most);
    pg_add_bool(&params, filter->payloads);
    TRY(pg_query(transport_pg_pool(transport), SQL_BUS_DEAD_LIST, &params, &rows));
    TRY(read_letters(ctx, &rows, ret));
    *ret_n = (size_t)rows.rows;
    if (filter->ret_more != NULL && rows.rows == most)
        *filter->ret_more = true;
    return ERR_OK;
}

CO_FN static Err move_some(Transport *transport, const Statement *statement, const DeadLetter *letters, size_t n,
                           size_t *ret_n) {
    PgParams params;
    PgResult result;
    pg_params_init(&params, co_ctx(co_self())->arena);
    pg_array_begin(&params, OID_TEXT_ARRAY);
    for (size_t i = 0; i < n; i++)
        pg_array_text(&params, letters[i].handle);
    pg_array_end(&params);
    TRY(pg_query(transport_pg_pool(transport), statement, &params, &result));
    *ret_n = (size_t)pg_i64(&result, 0, 0);
    return ERR_OK;
}

CO_FN static Err move(Transport *transport, const Statement *statement, const DeadLetter *letters, size_t n,
                      size_t *ret_n) {
    size_t moved = 0, some;
    for (size_t at = 0; at < n; at += MOVED_AT_ONCE, moved += some)
        TRY(move_some(transport, statement, letters + at, MIN_OF((size_t)MOVED_AT_ONCE, n - at), &some));
    *ret_n = moved;
    return ERR_OK;
}

CO_FN static Err retry(Transport *transport, const DeadLetter *letters, size_t n, size_t *ret_n) {
    return move(transport, SQL_BUS_DEAD_RETRY, letters, n, ret_n);
}

CO_FN static Err discard(Transport *transport, const DeadLetter *letters, size_t n, size_t *ret_n) {
    return move(transport, SQL_BUS_DEAD_DISCARD, letters, n, ret_n);
}

const DeadOps DEAD_PG_OPS = {.list = list, .retry = retry, .discard = discard};

CO_FN Err dead_pg_status(Transport *transport, QueueState **ret, size_t *ret_n) {
    PgResult rows;
    TRY(pg_query(transport_pg_pool(transport), SQL_BUS_STATUS, NULL, &rows));
    QueueState *states = ARENA_ARRAY(co_ctx(co_self())->arena, QueueState, (size_t)rows.rows);
    if (states == NULL)
        return ERR_NO_MEMORY;
    for (int i = 0; i < rows.rows; i++)
        states[i] = (QueueState){.name = pg_text(&rows, i, 0),
                                 .waiting = pg_i64(&rows, i, 1),
                                 .retrying = pg_i64(&rows, i, 2),
                                 .dead = pg_i64(&rows, i, 3),
                                 .oldest_ms = pg_i64(&rows, i, 4)};
    *ret = states;
    *ret_n = (size_t)rows.rows;
    return ERR_OK;
}
