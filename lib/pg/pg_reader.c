/*
 * pg_reader.c - queries that stand alone, on the one reader connection.
 *
 * A query joins a queue; the TURN_FLUSH hook sends what has gathered during the turn. While the server is away the queue simply
 * grows, to a bound. Each query has its own Sync, so an error touches nobody else and each is a transaction of its own.
 */
#include "pg/pg_private.h"

/* Slots that one query may need: DEALLOCATE and its Sync, Parse, the query, Sync. */
enum { SLOTS_PER_QUERY = 5 };

static void queue_put(PgPool *pool, PgRound *round, bool in_front) {
    round->queued = true;
    round->prev = in_front ? NULL : pool->waiting_last;
    round->next = in_front ? pool->waiting_first : NULL;
    *(round->prev == NULL ? &pool->waiting_first : &round->prev->next) = round;
    *(round->next == NULL ? &pool->waiting_last : &round->next->prev) = round;
    pool->waiting_n++;
}

static void queue_remove(PgPool *pool, PgRound *round) {
    *(round->prev == NULL ? &pool->waiting_first : &round->prev->next) = round->next;
    *(round->next == NULL ? &pool->waiting_last : &round->next->prev) = round->prev;
    round->prev = round->next = NULL;
    round->queued = false;
    pool->waiting_n--;
}

void reader_arm(PgPool *pool) {
    turn_hook_arm(pool->loop, &pool->flush);
}

void reader_requeue(PgPool *pool, PgRound *round) {
    round->repeated = true;
    queue_put(pool, round, true);
    reader_arm(pool);
}

void reader_close(PgPool *pool) {
    while (pool->waiting_first != NULL) {
        PgRound *round = pool->waiting_first;
        queue_remove(pool, round);
        wait_wake(&round->wait, ERR_CANCELLED);
    }
}

static void reader_pump(PgConn *conn) {
    PgPool *pool = conn->pool;
    /* One query past a full socket at most: what libpq buffers stays bounded by the largest statement. */
    while (pool->waiting_first != NULL && !conn->blocked && conn->syncs_owed < PG_WINDOW &&
           pipeline_has_room(conn, SLOTS_PER_QUERY)) {
        PgRound *round = pool->waiting_first;
        queue_remove(pool, round);
        if (!pipeline_statement(conn, SLOT_KEEP, round->statement, round->params, round) ||
            !pipeline_sync(conn, round) || !pipeline_flush(conn)) {
            conn_lost(conn, PQerrorMessage(conn->raw));
            return;
        }
    }
    conn_watch(conn);
}

void reader_flush_hook(TurnHook *hook) {
    PgPool *pool = (PgPool *)((char *)hook - offsetof(PgPool, flush));
    if (pool->closed) {
        pool_leave(pool); /* the hook was the last to know the pool */
        return;
    }
    if (pool->reader->state == CONN_UP)
        reader_pump(pool->reader);
    else
        conn_retry(pool->reader);
}

static void result_free(void *raw) {
    PQclear(raw);
}

Err result_keep(Ctx *ctx, PGresult **raw, PgResult *ret) {
    ASSERT(*raw != NULL);
    if (!arena_on_reset(ctx->arena, result_free, *raw))
        return ERR_NO_MEMORY;
    uint64_t affected = 0;
    if (str_to_u64(str_c(PQcmdTuples(*raw)), INT64_MAX, &affected) != ERR_OK)
        affected = 0; /* a command that counts nothing */
    *ret = (PgResult){.raw = *raw, .rows = PQntuples(*raw), .columns = PQnfields(*raw), .affected = (int64_t)affected};
    *raw = NULL;
    return ERR_OK;
}

/* Queues the round and waits until it is answered or given up. */
static CO_FN Err round_wait(PgPool *pool, PgRound *round, bool *ret_sent) {
    pool_enter(pool);
    queue_put(pool, round, false);
    reader_arm(pool);
    Err err = co_wait(&round->wait, 0);
    *ret_sent = !round->queued;
    if (round->queued)
        queue_remove(pool, round);
    else
        pipeline_abandon(round);
    if (err == ERR_UNAVAILABLE || (err == ERR_TIMEOUT && !*ret_sent))
        err = error_plain(co_ctx(co_self()), ERR_UNAVAILABLE, pool->last_error);
    pool_leave(pool);
    return err;
}

CO_FN Err pg_query(PgPool *pool, const Statement *statement, const PgParams *params, PgResult *ret) {
    Ctx *ctx = co_ctx(co_self());
    sqlstate_reset();
    if (params != NULL && params->data.err != ERR_OK)
        return params->data.err;
    if (pool->closed)
        return ERR_CANCELLED;
    if (pool->waiting_n >= PG_WAITING_MAX)
        return error_plain(ctx, ERR_UNAVAILABLE, "too many queries wait for Postgres");

    PgRound round = {.statement = statement, .params = params};
    bool sent;
    Err err = round_wait(pool, &round, &sent);
    if (err == ERR_OK)
        err = round.error != NULL ? error_from_result(ctx, round.error) : result_keep(ctx, &round.kept, ret);
    round_clear(&round);
    return err;
}
