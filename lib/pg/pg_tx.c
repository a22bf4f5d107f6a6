/*
 * pg_tx.c - transactions in as few round trips as they can be.
 *
 * BEGIN travels with the first statement, COMMIT (pg_tx_query_commit) with the last; between two Syncs the server skips
 * everything behind the first error, so nothing has to be checked on the way. Whatever is left open at the end is
 * rolled back by pg_writer.c without anybody waiting for it.
 *
 * Once a COMMIT may have reached the server, its outcome is a fact that must be learnt: cancellation and deadline then
 * no longer end the wait. A deadline during pg_tx_query_commit asks the server to cancel and waits for what came of it.
 */
#include "pg/pg_private.h"

struct PgTx {
    PgPool *pool;
    PgConn *conn; /* NULL once lost */
    Ctx *ctx;
    Err err; /* the first failure: everything after it fails the same way */
    bool begun;
    bool committed;
    PgRound round;
};

static const Statement BEGIN = {.name = "usher_begin", .sql = "BEGIN"};
static const Statement COMMIT = {.name = "usher_commit", .sql = "COMMIT"};
static const Statement BEGIN_TRIAL = {.name = "usher_begin_trial", .sql = "BEGIN READ WRITE"};
static const Statement ROLLBACK = {.name = "usher_rollback", .sql = "ROLLBACK"};

/* A pool that rolls back knows no COMMIT: whatever the layers above want, nothing stays. */
static const Statement *tx_beginning(const PgTx *tx) {
    return tx->pool->rolls_back ? &BEGIN_TRIAL : &BEGIN;
}

static const Statement *tx_ending(const PgTx *tx) {
    return tx->pool->rolls_back ? &ROLLBACK : &COMMIT;
}

void tx_lost(PgTx *tx) {
    tx->conn = NULL;
    if (tx->err == ERR_OK)
        tx->err = error_plain(tx->ctx, ERR_UNAVAILABLE, tx->pool->last_error);
}

/* Puts one statement into the pipeline, BEGIN before the first. Failures land in tx->err. */
static void tx_put(PgTx *tx, PgSlotKind kind, const Statement *statement, const PgParams *params) {
    if (tx->err == ERR_OK && params != NULL)
        tx->err = params->data.err;
    if (tx->err != ERR_OK)
        return;
    /* BEGIN and the statement with a DEALLOCATE and a Parse each, and room for COMMIT and Sync behind. */
    if (!pipeline_has_room(tx->conn, 12)) {
        tx->err = error_plain(tx->ctx, ERR_LIMIT, "too many statements without a wait between them");
        return;
    }
    bool fine = tx->begun || pipeline_statement(tx->conn, SLOT_DROP, tx_beginning(tx), NULL, &tx->round);
    tx->begun = true;
    if (!fine || !pipeline_statement(tx->conn, kind, statement, params, &tx->round))
        conn_lost(tx->conn, PQerrorMessage(tx->conn->raw));
}

/* What is in flight besides statements. */
typedef enum TxCommit {
    COMMITS_NOT,
    COMMITS_WITH, /* behind a statement that may take long: a deadline may still stop both */
    COMMITS_ONLY  /* nothing else: not to be stopped */
} TxCommit;

/* The deadline or a cancellation came while a COMMIT was under way: stop the server, then learn what came of it. */
static CO_FN Err tx_wait_outcome(PgTx *tx, PgConn *conn, Err reason) {
    conn_cancel(conn);
    bool was = co_shield(true);
    Err err = co_wait(&tx->round.wait, clock_mono_ms() + PG_COMMIT_GRACE_MS);
    co_shield(was);
    if (err == ERR_OK)
        return tx->round.error == NULL ? ERR_OK : reason; /* an error: nothing was committed */
    if (tx->conn != NULL)
        conn_lost(conn, "no answer to COMMIT; whether it took place is not known");
    return tx->err;
}

/* Until when a lone COMMIT is waited for: as the deadline says and the grace on top, whoever comes late. */
static int64_t commit_until_ms(const Ctx *ctx) {
    return MAX_OF(clock_mono_ms(), ctx->deadline_ms) + PG_COMMIT_GRACE_MS;
}

/* Sends what is in the pipeline and waits for its Sync. */
static CO_FN Err tx_wait(PgTx *tx, TxCommit commit) {
    PgConn *conn = tx->conn;
    if (!pipeline_sync(conn, &tx->round) || !pipeline_flush(conn)) {
        conn_lost(conn, PQerrorMessage(conn->raw));
        return tx->err;
    }
    conn_watch(conn);
    bool was = commit == COMMITS_ONLY && co_shield(true);
    Err err = co_wait(&tx->round.wait, commit == COMMITS_ONLY ? commit_until_ms(tx->ctx) : 0);
    if (commit == COMMITS_ONLY)
        co_shield(was);
    if (err == ERR_OK)
        return ERR_OK;
    if (tx->conn == NULL) /* lost; with a COMMIT under way the outcome is unknown, whatever else ended the wait */
        return commit == COMMITS_NOT && err != ERR_UNAVAILABLE ? err : tx->err;
    if (commit != COMMITS_NOT)
        return tx_wait_outcome(tx, conn, err);
    conn_cancel(conn);
    return err;
}

/* One round trip. Leaves the kept answer in tx->round. */
static CO_FN Err tx_round_trip(PgTx *tx, TxCommit commit) {
    if (tx->err == ERR_OK && commit == COMMITS_WITH && co_is_cancelled())
        tx->err = ERR_CANCELLED; /* while nothing has been sent */
    if (tx->err != ERR_OK)
        return tx->err;
    sqlstate_reset();
    tx->round.wait = (Wait){0};
    Err err = tx_wait(tx, commit);
    if (err == ERR_OK && tx->round.error != NULL) {
        err = error_from_result(tx->ctx, tx->round.error);
        if (tx->round.replan)
            err = ERR_RETRY;
    }
    if (tx->err == ERR_OK)
        tx->err = err;
    return err;
}

void pg_tx_send(PgTx *tx, const Statement *statement, const PgParams *params) {
    tx_put(tx, SLOT_DROP, statement, params);
}

static CO_FN Err tx_query(PgTx *tx, const Statement *statement, const PgParams *params, TxCommit commit,
                          PgResult *ret) {
    /* Before anything is sent: once a commit is done, nothing may be left that can fail. */
    PGresult **home = result_home(tx->ctx);
    if (home == NULL && tx->err == ERR_OK)
        tx->err = ERR_NO_MEMORY;
    int64_t began_ns = pool_observe_begin(tx->pool);
    tx_put(tx, SLOT_KEEP, statement, params);
    if (commit == COMMITS_WITH)
        tx_put(tx, SLOT_DROP, tx_ending(tx), NULL);
    Err err = tx_round_trip(tx, commit);
    if (err == ERR_OK) {
        tx->committed = commit == COMMITS_WITH;
        result_keep(home, &tx->round, ret);
    }
    round_clear(&tx->round);
    pool_observe_end(tx->pool, tx->ctx, statement, began_ns, err);
    return err;
}

CO_FN Err pg_tx_query(PgTx *tx, const Statement *statement, const PgParams *params, PgResult *ret) {
    return tx_query(tx, statement, params, COMMITS_NOT, ret);
}

CO_FN Err pg_tx_query_commit(PgTx *tx, const Statement *statement, const PgParams *params, PgResult *ret) {
    return tx_query(tx, statement, params, COMMITS_WITH, ret);
}

static CO_FN Err tx_commit(PgTx *tx) {
    if (tx->err != ERR_OK || tx->committed || !tx->begun)
        return tx->err;
    int64_t began_ns = pool_observe_begin(tx->pool);
    tx_put(tx, SLOT_DROP, tx_ending(tx), NULL);
    Err err = tx_round_trip(tx, COMMITS_ONLY);
    tx->committed = err == ERR_OK;
    round_clear(&tx->round);
    pool_observe_end(tx->pool, tx->ctx, &COMMIT, began_ns, err);
    return err;
}

static void tx_end(PgTx *tx) {
    PgConn *conn = tx->conn;
    pipeline_abandon(&tx->round);
    round_clear(&tx->round);
    if (conn == NULL)
        return;
    conn->tx = NULL;
    tx->conn = NULL;
    writer_recover(conn); /* at once free when nothing is open */
}

static CO_FN Err transaction_once(PgPool *pool, Ctx *ctx, PgTxBody body, void *arg) {
    PgTx tx = {.pool = pool, .ctx = ctx};
    TRY(writer_checkout(pool, ctx, &tx.conn));
    tx.conn->tx = &tx;
    Err err = body(&tx, arg);
    if (err == ERR_OK)
        err = tx_commit(&tx);
    tx_end(&tx);
    return err;
}

CO_FN Err pg_transaction(PgPool *pool, PgTxBody body, void *arg) {
    Ctx *ctx = co_ctx(co_self());
    const Problem before = ctx->problem;
    if (pool->closed)
        return ERR_CANCELLED;
    pool_enter(pool);
    Err err = ERR_RETRY;
    for (int attempt = 1; attempt <= PG_TX_ATTEMPTS; attempt++) {
        err = transaction_once(pool, ctx, body, arg);
        if (err != ERR_RETRY || attempt == PG_TX_ATTEMPTS)
            break;
        /* 5, 10, 20, 40 ms, jittered: two that collided should not meet again. */
        int64_t full = (int64_t)5 << (attempt - 1);
        Err slept = co_sleep(full / 2 + (int64_t)random_below((uint64_t)full));
        if (slept != ERR_OK)
            break; /* the deadline or a cancellation: the conflict is what to tell */
        ctx->problem = before;
    }
    pool_leave(pool);
    return err;
}
