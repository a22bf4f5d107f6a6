/*
 * pg_sync.c - plain blocking Postgres for the command line and migrations, where there is no loop and nobody else to
 * serve.
 *
 * A statement is sent and its answer waited for with poll(2), not with PQexec: that one waits for ever for a server
 * that hangs but does not die. With ctx's deadline over, the connection is closed, since an answer still to come would
 * be taken for that of the next statement; PQcancel is no way out, as it waits for the same server without a limit.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "pg/pg_private.h"

enum { POLL_MS_MAX = 60000 };

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

/* Waits until the socket is ready. ERR_TIMEOUT: ctx's deadline is over. */
static Err socket_wait(const Ctx *ctx, const PGconn *conn, short events) {
    for (;;) {
        int64_t left_ms = ctx->deadline_ms == 0 ? POLL_MS_MAX : ctx->deadline_ms - clock_mono_ms();
        struct pollfd p = {.fd = PQsocket(conn), .events = events};
        if (left_ms <= 0)
            return ERR_TIMEOUT;
        int n = poll(&p, 1, (int)MIN_OF(left_ms, POLL_MS_MAX));
        if (n > 0 || (n < 0 && errno != EINTR))
            return ERR_OK; /* what is wrong with it, libpq will say */
    }
}

/* While it can be sent, what comes is taken too: a server that is not listened to stops listening. */
static Err statement_flush(const Ctx *ctx, PGconn *conn) {
    int left;
    while ((left = PQflush(conn)) == 1) {
        TRY(socket_wait(ctx, conn, POLLIN | POLLOUT));
        if (PQconsumeInput(conn) == 0)
            return ERR_OK;
    }
    return ERR_OK;
}

static Err answer_wait(const Ctx *ctx, PGconn *conn) {
    while (PQisBusy(conn) != 0) {
        TRY(socket_wait(ctx, conn, POLLIN));
        if (PQconsumeInput(conn) == 0)
            return ERR_OK; /* PQgetResult tells it */
    }
    return ERR_OK;
}

/* The last answer of what was sent, as PQexec gives it: an error ends the rest. */
static Err answers_take(const Ctx *ctx, PGconn *conn, PGresult **ret) {
    for (;;) {
        TRY(answer_wait(ctx, conn));
        PGresult *answer = PQgetResult(conn);
        if (answer == NULL)
            return ERR_OK;
        PQclear(*ret);
        *ret = answer;
        ExecStatusType status = PQresultStatus(answer);
        if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || PQstatus(conn) == CONNECTION_BAD)
            return ERR_OK;
    }
}

/* is_sent: what PQsend… said. */
static Err sync_finish(Ctx *ctx, PGconn *conn, bool is_sent, PGresult **ret) {
    PGresult *answer = NULL;
    Err err = is_sent ? statement_flush(ctx, conn) : ERR_OK;
    if (is_sent && err == ERR_OK)
        err = answers_take(ctx, conn, &answer);
    if (err == ERR_OK) {
        (void)PQsetnonblocking(conn, 0);
        return sync_answer(ctx, conn, answer, ret);
    }
    PQclear(answer);
    (void)shutdown(PQsocket(conn), SHUT_RDWR);
    while (PQstatus(conn) == CONNECTION_OK && PQconsumeInput(conn) != 0)
        ; /* what lies in the socket, then its end */
    return ctx_problem(ctx, err, NULL,
                       "Postgres has not answered in time: it hangs, or something between does. Whether the statement "
                       "had its effect is not known");
}

Err pg_sync_exec(Ctx *ctx, PGconn *conn, const char *sql, PGresult **ret) {
    bool is_sent = PQsetnonblocking(conn, 1) == 0 && PQsendQuery(conn, sql) == 1;
    return sync_finish(ctx, conn, is_sent, ret);
}

Err pg_sync_exec_params(Ctx *ctx, PGconn *conn, const char *sql, int n, const char *const *values, PGresult **ret) {
    bool is_sent = PQsetnonblocking(conn, 1) == 0 && PQsendQueryParams(conn, sql, n, NULL, values, NULL, NULL, 0) == 1;
    return sync_finish(ctx, conn, is_sent, ret);
}
