/*
 * pg_conn.c - one connection's life: away, connecting, up, lost, away ….
 *
 * Everything is driven by libuv: PQconnectPoll while connecting, PQconsumeInput and PQflush when up. Losing the server
 * is an ordinary event; it ends nobody but the answers that were under way. The only step of libpq that may block is
 * the lookup of a host name, so give addresses (hostaddr=) or a socket folder where that matters.
 */
#include "base/heap.h"
#include "pg/pg_private.h"
#include "runtime/log.h"

struct PgPoll {
    uv_poll_t handle;
    PgConn *conn; /* NULL once closing */
};

static void conn_connect(PgConn *conn);
static void conn_up(PgConn *conn);

/* --- watching the socket --- */

static void poll_closed(uv_handle_t *handle) {
    heap_free(handle->data);
}

static void unwatch(PgConn *conn) {
    if (conn->poll == NULL)
        return;
    conn->poll->conn = NULL;
    uv_poll_stop(&conn->poll->handle);
    uv_close((uv_handle_t *)&conn->poll->handle, poll_closed);
    conn->poll = NULL;
}

static void connect_step(PgConn *conn);

static void on_poll(uv_poll_t *handle, int status, int events) {
    PgPoll *poll = handle->data;
    PgConn *conn = poll->conn;
    if (conn == NULL)
        return;
    if (conn->state == CONN_CONNECTING) {
        connect_step(conn);
        return;
    }
    if ((status < 0 || (events & UV_READABLE)) && !pipeline_take(conn)) {
        conn_lost(conn, PQerrorMessage(conn->raw));
        return;
    }
    if (!pipeline_flush(conn)) {
        conn_lost(conn, PQerrorMessage(conn->raw));
        return;
    }
    conn_watch(conn);
    switch (conn->kind) {
    case CONN_READER:
        if (conn->pool->waiting_first != NULL)
            reader_arm(conn->pool);
        break;
    case CONN_WRITER:
        writer_recover_step(conn);
        break;
    case CONN_LISTENER:
        listener_take(conn);
        break;
    }
}

static bool watch(PgConn *conn, int events) {
    if (conn->poll == NULL) {
        PgPoll *poll = HEAP_NEW(PgPoll);
        if (poll == NULL)
            return false;
        if (uv_poll_init(loop_uv(conn->pool->loop), &poll->handle, PQsocket(conn->raw)) != 0) {
            heap_free(poll);
            return false;
        }
        poll->handle.data = poll;
        poll->conn = conn;
        conn->poll = poll;
    }
    return uv_poll_start(&conn->poll->handle, events, on_poll) == 0;
}

void conn_watch(PgConn *conn) {
    if (!watch(conn, UV_READABLE | (conn->blocked ? UV_WRITABLE : 0)))
        conn_lost(conn, "the socket cannot be watched");
}

/* --- connecting --- */

static void on_notice(void *arg, const PGresult *notice) {
    (void)arg;
    LOG_D(NULL, "postgres notice", F_C("message", PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY)),
          F_C("sqlstate", PQresultErrorField(notice, PG_DIAG_SQLSTATE)));
}

static void conn_connect(PgConn *conn) {
    const PgPool *pool = conn->pool;
    /* Before dbname: defaults that the URL may override. A peer that vanishes without a word is noticed within 30 s.
     * Behind it: what is ours to say. */
    const char *const names[] = {"keepalives_idle",
                                 "keepalives_interval",
                                 "keepalives_count",
                                 "tcp_user_timeout",
                                 "dbname",
                                 "application_name",
                                 "client_encoding",
                                 "options",
                                 NULL};
    const char *const values[] = {"10",   "5",           "3", "30000", pool->url, pool->application_name,
                                  "UTF8", pool->options, NULL};
    conn->raw = PQconnectStartParams(names, values, 1);
    if (conn->raw == NULL) {
        conn_lost(conn, "out of memory");
        return;
    }
    conn->state = CONN_CONNECTING;
    if (PQstatus(conn->raw) == CONNECTION_BAD) {
        conn_lost(conn, PQerrorMessage(conn->raw));
        return;
    }
    PQsetNoticeReceiver(conn->raw, on_notice, NULL);
    if (timer_arm(pool->loop, &conn->timer, clock_mono_ms() + pool->connect_timeout_ms) != ERR_OK ||
        !watch(conn, UV_WRITABLE))
        conn_lost(conn, "out of memory");
}

static void connect_step(PgConn *conn) {
    /* libpq may close the socket and open another under the same number: libuv must not hold on to the old one. */
    unwatch(conn);
    switch (PQconnectPoll(conn->raw)) {
    case PGRES_POLLING_READING:
        if (!watch(conn, UV_READABLE))
            conn_lost(conn, "the socket cannot be watched");
        return;
    case PGRES_POLLING_WRITING:
        if (!watch(conn, UV_WRITABLE))
            conn_lost(conn, "the socket cannot be watched");
        return;
    case PGRES_POLLING_OK:
        conn_up(conn);
        return;
    default:
        conn_lost(conn, PQerrorMessage(conn->raw));
        return;
    }
}

static void conn_up(PgConn *conn) {
    timer_disarm(conn->pool->loop, &conn->timer);
    if (PQsetnonblocking(conn->raw, 1) != 0 || PQenterPipelineMode(conn->raw) != 1) {
        conn_lost(conn, PQerrorMessage(conn->raw));
        return;
    }
    conn->state = CONN_UP;
    conn->backoff_ms = 0;
    conn->blocked = false;
    if (conn->outage && --conn->pool->outages == 0)
        LOG_I(NULL, "postgres is back", F_C("for", conn->pool->application_name));
    conn->outage = false;
    memset(conn->prepared, 0, sizeof *conn->prepared);
    conn_watch(conn);
    if (conn->state != CONN_UP)
        return;
    switch (conn->kind) {
    case CONN_READER:
        reader_arm(conn->pool);
        break;
    case CONN_WRITER:
        if (!conn->busy)
            writer_free_up(conn);
        break;
    case CONN_LISTENER:
        listener_start(conn);
        break;
    }
}

/* --- losing --- */

/* Everything in flight, newest first, so that what is repeated ends up in its old order in front of the queue. */
static void slots_fail(PgConn *conn, Err reason) {
    for (uint64_t at = conn->tail; at-- != conn->head;) {
        PgSlot *slot = &conn->slots[at % PG_SLOTS];
        PgRound *round = slot->round;
        if (round == NULL)
            continue;
        round->conn = NULL;
        if (slot->kind != SLOT_SYNC)
            continue;
        round_clear(round);
        if (conn->kind == CONN_READER && reason == ERR_UNAVAILABLE && !round->statement->writes && !round->repeated)
            reader_requeue(conn->pool, round);
        else
            wait_wake(&round->wait, reason);
    }
    conn->head = conn->tail = 0;
    conn->syncs_owed = 0;
    conn->head_answered = false;
    conn->sync_nulls = 0;
}

static void conn_disconnect(PgConn *conn, Err reason) {
    unwatch(conn);
    timer_disarm(conn->pool->loop, &conn->timer);
    conn_cancel_forget(conn);
    PQfinish(conn->raw);
    conn->raw = NULL;
    conn->state = CONN_AWAY;
    if (conn->recovering) /* lost while being rolled back: nobody has it any more, and its next life begins free */
        conn->busy = false;
    conn->recovering = false;
    slots_fail(conn, reason);
    if (conn->tx != NULL) {
        tx_lost(conn->tx);
        conn->tx = NULL;
        conn->busy = false;
    }
}

void conn_retry(PgConn *conn) {
    if (conn->state != CONN_AWAY || conn->timer.heap_index != 0)
        return;
    int64_t full = conn->backoff_ms == 0 ? PG_BACKOFF_MIN_MS : MIN_OF(conn->backoff_ms * 2, PG_BACKOFF_MAX_MS);
    conn->backoff_ms = full;
    int64_t wait_ms = full / 2 + (int64_t)random_below((uint64_t)full / 2 + 1);
    /* Refused memory for the timer: the next caller comes by here again. */
    if (timer_arm(conn->pool->loop, &conn->timer, clock_mono_ms() + wait_ms) != ERR_OK)
        pool_set_error(conn->pool, "out of memory");
}

void conn_lost(PgConn *conn, const char *why) {
    if (why[0] == '\0')
        why = "the connection was lost";
    pool_set_error(conn->pool, why);
    if (!conn->outage && conn->pool->outages++ == 0)
        LOG_W(NULL, "postgres is away", F_C("for", conn->pool->application_name),
              F_C("reason", conn->pool->last_error));
    conn->outage = true;
    conn_disconnect(conn, ERR_UNAVAILABLE);
    conn_retry(conn);
}

static void on_timer(Timer *timer) {
    PgConn *conn = (PgConn *)((char *)timer - offsetof(PgConn, timer));
    switch (conn->state) {
    case CONN_AWAY:
        conn_connect(conn);
        break;
    case CONN_CONNECTING:
        conn_lost(conn, "connecting took too long");
        break;
    case CONN_UP:
        conn_lost(conn, "a transaction could not be rolled back in time");
        break;
    }
}

/* --- birth and end --- */

Err conn_open(PgPool *pool, PgConnKind kind, PgConn **ret) {
    PgConn *conn = HEAP_NEW(PgConn);
    if (conn == NULL)
        return ERR_NO_MEMORY;
    conn->pool = pool;
    conn->kind = kind;
    conn->timer.fn = on_timer;
    conn->slots = HEAP_ARRAY(PgSlot, PG_SLOTS);
    conn->prepared = HEAP_NEW(PgPrepared);
    if (conn->slots == NULL || conn->prepared == NULL) {
        conn_free(conn);
        return ERR_NO_MEMORY;
    }
    *ret = conn;
    conn_connect(conn);
    return ERR_OK;
}

void conn_free(PgConn *conn) {
    if (conn == NULL)
        return;
    conn_disconnect(conn, ERR_CANCELLED);
    heap_free(conn->slots);
    heap_free(conn->prepared);
    heap_free(conn);
}
