/*
 * pg_pipeline.c - commands go into libpq, answers come out in the same order.
 *
 * libpq in pipeline mode answers each command with its results and then NULL, and each Sync with PGRES_PIPELINE_SYNC
 * alone. The ring of slots remembers what each answer is for. A round is finished by its Sync, never earlier: a
 * statement outside a transaction commits when the server reaches the Sync, so an error may still come behind "INSERT 0
 * 1".
 */
#include "pg/pg_private.h"

bool pipeline_has_room(const PgConn *conn, uint64_t slots) {
    return PG_SLOTS - (conn->tail - conn->head) >= slots;
}

bool pipeline_is_empty(const PgConn *conn) {
    return conn->head == conn->tail;
}

bool pipeline_is_open(const PgConn *conn) {
    return conn->head != conn->tail && conn->slots[(conn->tail - 1) % PG_SLOTS].kind != SLOT_SYNC;
}

static void slot_push(PgConn *conn, PgSlotKind kind, const Statement *statement, PgRound *round) {
    ASSERT(pipeline_has_room(conn, 1));
    if (round != NULL && round->conn == NULL) {
        round->conn = conn;
        round->first = conn->tail;
    }
    conn->slots[conn->tail++ % PG_SLOTS] = (PgSlot){kind, statement, round};
}

void round_clear(PgRound *round) {
    PQclear(round->kept);
    PQclear(round->error);
    round->kept = NULL;
    round->error = NULL;
    round->replan = false;
}

void pipeline_abandon(PgRound *round) {
    PgConn *conn = round->conn;
    if (conn == NULL)
        return;
    round->conn = NULL;
    for (uint64_t at = MAX_OF(round->first, conn->head); at != conn->tail; at++) {
        PgSlot *slot = &conn->slots[at % PG_SLOTS];
        if (slot->round != round)
            continue;
        slot->round = NULL;
        if (slot->kind == SLOT_SYNC)
            return;
    }
}

/* --- sending --- */

static const int ALL_BINARY[PG_PARAMS_MAX] = {
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
};
static const PgParams NO_PARAMS;

bool pipeline_text(PgConn *conn, PgSlotKind kind, const char *sql, PgRound *round) {
    if (PQsendQueryParams(conn->raw, sql, 0, NULL, NULL, NULL, NULL, 1) == 0)
        return false;
    slot_push(conn, kind, NULL, round);
    return true;
}

bool pipeline_sync(PgConn *conn, PgRound *round) {
#ifdef LIBPQ_HAS_SEND_PIPELINE_SYNC
    if (PQsendPipelineSync(conn->raw) == 0) /* libpq 17: without the send() that PQpipelineSync does each time */
        return false;
#else
    if (PQpipelineSync(conn->raw) == 0)
        return false;
#endif
    slot_push(conn, SLOT_SYNC, NULL, round);
    conn->syncs_owed++;
    return true;
}

bool pipeline_flush(PgConn *conn) {
    int more = PQflush(conn->raw);
    conn->blocked = more > 0;
    return more >= 0;
}

/* A statement whose result type changed cannot be replaced under its name; DEALLOCATE has no binary message of its own
 * in libpq 15. For a reader it stands in a Sync of its own, so that it cannot touch the query behind it. */
static bool statement_deallocate(PgConn *conn, const Statement *statement, PgRound *round) {
    char sql[128];
    int n = snprintf(sql, sizeof sql, "DEALLOCATE \"%s\"", statement->name);
    ASSERT(n > 0 && (size_t)n < sizeof sql);
    if (conn->kind == CONN_WRITER)
        return pipeline_text(conn, SLOT_DROP, sql, round);
    return pipeline_text(conn, SLOT_DROP, sql, NULL) && pipeline_sync(conn, NULL);
}

static bool statement_prepare(PgConn *conn, const Statement *statement, const PgParams *params, PgRound *round) {
    if (PQsendPrepare(conn->raw, statement->name, statement->sql, params->n, params->oids) == 0)
        return false;
    slot_push(conn, SLOT_PREPARE, statement, round);
    prepared_set(conn->prepared, statement, PREPARED_SENT);
    return true;
}

bool pipeline_statement(PgConn *conn, PgSlotKind kind, const Statement *statement, const PgParams *params,
                        PgRound *round) {
    if (params == NULL)
        params = &NO_PARAMS;
    /* Without a name there is nothing to prepare under. */
    PgPreparedState state =
        statement->name == NULL || conn->pool->pooled ? PREPARED_FULL : prepared_get(conn->prepared, statement);
    if (state == PREPARED_STALE && !statement_deallocate(conn, statement, round))
        return false;
    if ((state == PREPARED_NO || state == PREPARED_STALE) && !statement_prepare(conn, statement, params, round))
        return false;

    const char *values[PG_PARAMS_MAX];
    for (int i = 0; i < params->n; i++)
        values[i] = params->nulls[i] ? NULL : buf_str(&params->data).p + params->at[i];
    /* A reader's query may not lean on a Parse that another query sent and that may yet fail: it goes by itself. In a
     * transaction it may, because a failed Parse fails all that follows. */
    bool alone = state == PREPARED_FULL || (state == PREPARED_SENT && conn->kind == CONN_READER);
    int sent = alone
                   ? PQsendQueryParams(conn->raw, statement->sql, params->n, params->oids, values, params->lengths,
                                       ALL_BINARY, 1)
                   : PQsendQueryPrepared(conn->raw, statement->name, params->n, values, params->lengths, ALL_BINARY, 1);
    if (sent == 0)
        return false;
    slot_push(conn, kind, alone ? NULL : statement, round);
    return true;
}

/* --- taking --- */

static void round_finish(PgConn *conn, PgRound *round) {
    round->conn = NULL;
    /* The plan was at fault and the query never ran: once more, with a fresh plan. A transaction is repeated as a
     * whole. */
    if (conn->kind == CONN_READER && round->replan && !round->repeated) {
        round_clear(round);
        reader_requeue(conn->pool, round);
        return;
    }
    wait_wake(&round->wait, ERR_OK);
}

/* Takes ownership of error. */
static bool slot_error(PgConn *conn, const PgSlot *slot, PGresult *error) {
    bool stale = false;
    bool of_plan = slot->kind != SLOT_PREPARE && slot->statement != NULL && error_is_of_plan(error, &stale);
    if (slot->kind == SLOT_PREPARE)
        prepared_set(conn->prepared, slot->statement, PREPARED_NO);
    else if (of_plan)
        prepared_set(conn->prepared, slot->statement, stale ? PREPARED_STALE : PREPARED_NO);
    if (slot->kind == SLOT_LISTEN) {
        pool_set_error(conn->pool, PQresultErrorMessage(error));
        PQclear(error);
        return false;
    }
    if (slot->round == NULL || slot->round->error != NULL) {
        PQclear(error);
        return true;
    }
    slot->round->error = error;
    slot->round->replan = of_plan;
    return true;
}

static bool take_at_sync(PgConn *conn, PgSlot slot, PGresult *answer) {
    if (answer == NULL)
        return ++conn->sync_nulls < 3;
    if (PQresultStatus(answer) == PGRES_PIPELINE_SYNC) {
        PQclear(answer);
        conn->head++;
        conn->syncs_owed--;
        conn->sync_nulls = 0;
        if (slot.round != NULL)
            round_finish(conn, slot.round);
        else if (conn->kind == CONN_LISTENER)
            listener_confirmed(conn);
        return true;
    }
    return slot_error(conn, &slot, answer); /* the commit at the Sync failed: a deferred constraint, a serialization */
}

static bool take_answer(PgConn *conn, PGresult *answer) {
    PgSlot slot = conn->slots[conn->head % PG_SLOTS];
    if (slot.kind == SLOT_SYNC)
        return take_at_sync(conn, slot, answer);
    if (answer == NULL) {
        bool complete = conn->head_answered;
        conn->head_answered = false;
        conn->head++;
        return complete;
    }
    conn->head_answered = true;
    switch (PQresultStatus(answer)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
        if (slot.kind == SLOT_PREPARE)
            prepared_set(conn->prepared, slot.statement, PREPARED_YES);
        if (slot.kind == SLOT_KEEP && slot.round != NULL && slot.round->kept == NULL)
            slot.round->kept = answer;
        else
            PQclear(answer);
        return true;
    case PGRES_PIPELINE_ABORTED:
        if (slot.kind == SLOT_PREPARE)
            prepared_set(conn->prepared, slot.statement, PREPARED_NO);
        PQclear(answer);
        return true;
    case PGRES_FATAL_ERROR:
        return slot_error(conn, &slot, answer);
    default: /* COPY cannot be in a pipeline: a bug of the statement's author, who must not do it twice */
        if (slot.round != NULL)
            slot.round->repeated = true;
        PQclear(answer);
        return false;
    }
}

bool pipeline_take(PgConn *conn) {
    if (PQconsumeInput(conn->raw) == 0)
        return false;
    while (!pipeline_is_empty(conn) && PQisBusy(conn->raw) == 0) {
        if (!take_answer(conn, PQgetResult(conn->raw)))
            return false;
    }
    return PQstatus(conn->raw) == CONNECTION_OK;
}
