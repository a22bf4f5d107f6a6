/*
 * pg_reader.c - queries that stand alone, on the one reader connection.
 *
 * A query joins a queue; the TURN_FLUSH hook sends what has gathered during the turn. While the server is away the
 * queue simply grows, to a bound. Each query has its own Sync, so an error touches nobody else and each is a
 * transaction of its own.
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

/* Sending failed half-way: the connection cannot find this round in its slots, so it is settled here. */
static void reader_unsent(PgPool *pool, PgRound *round) {
    pipeline_abandon(round);
    if (round->statement->writes || round->repeated)
        wait_wake(&round->wait, ERR_UNAVAILABLE);
    else
        reader_requeue(pool, round);
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
            reader_unsent(pool, round);
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

static void result_free(void *home) {
    PQclear(*(PGresult **)home);
}

PGresult **result_home(Ctx *ctx) {
    PGresult **home = ARENA_NEW(ctx->arena, PGresult *);
    return home != NULL && arena_on_reset(ctx->arena, result_free, home) ? home : NULL;
}

void result_keep(PGresult **home, PgRound *round, PgResult *ret) {
    PGresult *raw = round->kept;
    ASSERT(raw != NULL);
    *home = raw;
    round->kept = NULL;
    uint64_t affected = 0;
    if (str_to_u64(str_c(PQcmdTuples(raw)), INT64_MAX, &affected) != ERR_OK)
        affected = 0; /* a command that counts nothing */
    *ret = (PgResult){.raw = raw, .rows = PQntuples(raw), .columns = PQnfields(raw), .affected = (int64_t)affected};
}

/* Queues the round and waits until it is answered or given up. */
static CO_FN Err round_wait(PgPool *pool, PgRound *round) {
    pool_enter(pool);
    queue_put(pool, round, false);
    reader_arm(pool);
    Err err = co_wait(&round->wait, 0);
    bool sent = !round->queued;
    if (sent)
        pipeline_abandon(round);
    else
        queue_remove(pool, round);
    bool away = pool->reader == NULL || pool->reader->state != CONN_UP;
    if (err == ERR_UNAVAILABLE || (err == ERR_TIMEOUT && !sent && away))
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
    PGresult **home = result_home(ctx);
    if (home == NULL)
        return ERR_NO_MEMORY;

    pool_enter(pool); /* whoever frees it meanwhile leaves it to us for as long as we look */
    int64_t began_ns = pool_observe_begin(pool);
    PgRound round = {.statement = statement, .params = params};
    Err err = round_wait(pool, &round);
    if (err == ERR_OK && round.error != NULL)
        err = error_from_result(ctx, round.error);
    else if (err == ERR_OK)
        result_keep(home, &round, ret);
    round_clear(&round);
    pool_observe_end(pool, ctx, statement, began_ns, err);
    pool_leave(pool);
    return err;
}
