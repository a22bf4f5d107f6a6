/*
 * pg_writer.c - connections that are checked out for transactions, first come first served, and cleaned before reuse.
 *
 * A connection that comes back with anything open (an error, a cancelled statement, statements without their Sync) is
 * not given on: it is rolled back here, in nobody's time, and only then freed. If that takes longer than PG_RECOVER_MS
 * the connection is dropped, and the server rolls back by itself.
 */
#include "pg/pg_private.h"

static void callers_put(PgPool *pool, PgCaller *caller, bool in_front) {
    caller->prev = in_front ? NULL : pool->callers_last;
    caller->next = in_front ? pool->callers_first : NULL;
    *(caller->prev == NULL ? &pool->callers_first : &caller->prev->next) = caller;
    *(caller->next == NULL ? &pool->callers_last : &caller->next->prev) = caller;
    pool->callers_n++;
}

static void callers_remove(PgPool *pool, PgCaller *caller) {
    *(caller->prev == NULL ? &pool->callers_first : &caller->prev->next) = caller->next;
    *(caller->next == NULL ? &pool->callers_last : &caller->next->prev) = caller->prev;
    caller->prev = caller->next = NULL;
    pool->callers_n--;
}

void writer_free_up(PgConn *conn) {
    PgPool *pool = conn->pool;
    PgCaller *caller = pool->callers_first;
    conn->busy = caller != NULL;
    if (caller == NULL)
        return;
    callers_remove(pool, caller);
    caller->conn = conn;
    wait_wake(&caller->wait, ERR_OK);
}

void writer_close(PgPool *pool) {
    while (pool->callers_first != NULL) {
        PgCaller *caller = pool->callers_first;
        callers_remove(pool, caller);
        caller->conn = NULL;
        wait_wake(&caller->wait, ERR_CANCELLED);
    }
}

static PgConn *writer_idle(PgPool *pool) {
    for (int i = 0; i < pool->writers_n; i++) {
        PgConn *conn = pool->writers[i];
        if (conn->state == CONN_UP && !conn->busy)
            return conn;
        conn_retry(conn);
    }
    return NULL;
}

static bool writers_are_away(const PgPool *pool) {
    for (int i = 0; i < pool->writers_n; i++) {
        if (pool->writers[i]->state == CONN_UP)
            return false;
    }
    return true;
}

/* Waits for one connection to be handed over; it may have been lost again by the time we run. */
static CO_FN Err checkout_wait(PgPool *pool, bool in_front, PgConn **ret) {
    PgCaller caller = {0};
    callers_put(pool, &caller, in_front);
    Err err = co_wait(&caller.wait, 0);
    if (err == ERR_OK) {
        *ret = caller.conn;
        return ERR_OK;
    }
    if (caller.conn == NULL) {
        if (!pool->closed)
            callers_remove(pool, &caller);
    } else if (caller.conn->state == CONN_UP) {
        writer_free_up(caller.conn);
    } else {
        caller.conn->busy = false;
    }
    return err;
}

CO_FN Err writer_checkout(PgPool *pool, Ctx *ctx, PgConn **ret) {
    if (pool->callers_n >= PG_WAITING_MAX)
        return error_plain(ctx, ERR_UNAVAILABLE, "too many transactions wait for Postgres");
    PgConn *conn = pool->callers_first == NULL ? writer_idle(pool) : NULL;
    for (bool again = false; conn == NULL; again = true) {
        Err err = checkout_wait(pool, again, &conn);
        if (pool->closed)
            return ERR_CANCELLED;
        if (err == ERR_TIMEOUT && writers_are_away(pool)) /* otherwise they were busy for too long */
            return error_plain(ctx, ERR_UNAVAILABLE, pool->last_error);
        TRY(err);
        if (conn->state != CONN_UP) {
            conn->busy = false;
            conn = NULL;
        }
    }
    conn->busy = true;
    *ret = conn;
    return ERR_OK;
}

/* --- cleaning up --- */

void writer_recover(PgConn *conn) {
    conn->recovering = true;
    bool fine = timer_arm(conn->pool->loop, &conn->timer, clock_mono_ms() + PG_RECOVER_MS) == ERR_OK;
    if (fine && pipeline_is_open(conn))
        fine = pipeline_sync(conn, NULL) && pipeline_flush(conn);
    if (!fine) {
        conn_lost(conn, PQerrorMessage(conn->raw));
        return;
    }
    conn_watch(conn);
    writer_recover_step(conn);
}

void writer_recover_step(PgConn *conn) {
    /* Not before every answer is here and no cancel request can still arrive. */
    if (!conn->recovering || conn->state != CONN_UP || conn->cancel != NULL || !pipeline_is_empty(conn))
        return;
    if (PQtransactionStatus(conn->raw) == PQTRANS_IDLE) {
        conn->recovering = false;
        timer_disarm(conn->pool->loop, &conn->timer);
        writer_free_up(conn);
        return;
    }
    if (!pipeline_text(conn, SLOT_DROP, "ROLLBACK", NULL) || !pipeline_sync(conn, NULL) || !pipeline_flush(conn)) {
        conn_lost(conn, PQerrorMessage(conn->raw));
        return;
    }
    conn_watch(conn);
}
