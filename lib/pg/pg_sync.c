/*
 * pg_sync.c - plain blocking Postgres for the command line and migrations, where there is no loop and nobody else to
 * serve.
 */
#include "pg/pg_private.h"

static void notice_ignore(void *arg, const PGresult *notice) {
    (void)arg;
    (void)notice; /* "relation exists, skipping" is no news to whoever wrote IF NOT EXISTS */
}

/* Takes the answer or turns it into an error that says what and, where the server knows it, where. */
static Err sync_answer(Ctx *ctx, PGconn *conn, PGresult *answer, PGresult **ret) {
    ExecStatusType status = PQresultStatus(answer);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY) {
        if (ret != NULL)
            *ret = answer;
        else
            PQclear(answer);
        return ERR_OK;
    }
    Err err;
    const char *position = answer == NULL ? NULL : PQresultErrorField(answer, PG_DIAG_STATEMENT_POSITION);
    if (answer == NULL || PQresultErrorField(answer, PG_DIAG_SQLSTATE) == NULL) {
        err = error_plain(ctx, ERR_UNAVAILABLE, PQerrorMessage(conn));
    } else if (position != NULL) {
        err = ctx_problem(ctx, sqlstate_to_err(PQresultErrorField(answer, PG_DIAG_SQLSTATE)), NULL,
                          "%s (at character %s)", PQresultErrorField(answer, PG_DIAG_MESSAGE_PRIMARY), position);
    } else {
        err = error_from_result(ctx, answer);
    }
    PQclear(answer);
    return err;
}

Err pg_sync_connect(Ctx *ctx, Str url, Str role, PGconn **ret) {
    Str text = arena_str(ctx->arena, url);
    if (text.p == NULL)
        return ERR_NO_MEMORY;
    const char *const names[] = {"connect_timeout", "dbname", "client_encoding", "fallback_application_name", NULL};
    const char *const values[] = {"10", text.p, "UTF8", "usher", NULL};
    PGconn *conn = PQconnectdbParams(names, values, 1);
    if (PQstatus(conn) != CONNECTION_OK) {
        Err err = error_plain(ctx, ERR_UNAVAILABLE, PQerrorMessage(conn));
        PQfinish(conn);
        return err;
    }
    PQsetNoticeReceiver(conn, notice_ignore, NULL);
    if (role.p != NULL) {
        Str name = arena_str(ctx->arena, role);
        const char *value = name.p;
        Err err = value == NULL
                      ? ERR_NO_MEMORY
                      : pg_sync_exec_params(ctx, conn, "SELECT set_config('role', $1, false)", 1, &value, NULL);
        if (err != ERR_OK) {
            PQfinish(conn);
            return err;
        }
    }
    *ret = conn;
    return ERR_OK;
}

Err pg_sync_exec(Ctx *ctx, PGconn *conn, const char *sql, PGresult **ret) {
    return sync_answer(ctx, conn, PQexec(conn, sql), ret);
}

Err pg_sync_exec_params(Ctx *ctx, PGconn *conn, const char *sql, int n, const char *const *values, PGresult **ret) {
    return sync_answer(ctx, conn, PQexecParams(conn, sql, n, NULL, values, NULL, NULL, 0), ret);
}
