/*
 * pg_cancel.c - asking the server to stop, without stopping ourselves.
 *
 * PQcancel opens a second connection and blocks until the server has closed it, so it runs in libuv's thread pool. It
 * touches only the PGcancel copy, never the connection. While a request is under way the connection is not given to
 * anybody else: a late cancel would hit the wrong statement.
 */
#include "base/heap.h"
#include "pg/pg_private.h"

typedef struct PgCancel {
    uv_work_t work;
    PGcancel *copy;
    PgConn *conn; /* NULL: the connection has gone meanwhile */
} PgCancel;

static void cancel_run(uv_work_t *work) {
    PgCancel *cancel = work->data;
    char message[256];
    /* A failure is not an error of anybody's: statement_timeout and PG_RECOVER_MS still stand behind. */
    PQcancel(cancel->copy, message, sizeof message);
}

static void cancel_done(uv_work_t *work, int status) {
    (void)status;
    PgCancel *cancel = work->data;
    PgConn *conn = cancel->conn;
    PQfreeCancel(cancel->copy);
    heap_free(cancel);
    if (conn == NULL)
        return;
    conn->cancel = NULL;
    writer_recover_step(conn);
}

void conn_cancel(PgConn *conn) {
    if (conn->cancel != NULL || conn->raw == NULL)
        return;
    PgCancel *cancel = HEAP_NEW(PgCancel);
    if (cancel == NULL)
        return;
    cancel->work.data = cancel;
    cancel->conn = conn;
    cancel->copy = PQgetCancel(conn->raw);
    if (cancel->copy == NULL || uv_queue_work(loop_uv(conn->pool->loop), &cancel->work, cancel_run, cancel_done) != 0) {
        PQfreeCancel(cancel->copy);
        heap_free(cancel);
        return;
    }
    conn->cancel = cancel;
}

void conn_cancel_forget(PgConn *conn) {
    if (conn->cancel == NULL)
        return;
    conn->cancel->conn = NULL;
    uv_cancel((uv_req_t *)&conn->cancel->work); /* only helps if no thread has taken it yet */
    conn->cancel = NULL;
}
