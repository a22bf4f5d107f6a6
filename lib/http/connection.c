/*
 * connection.c - the life of a connection: readiness, deadlines, endings.
 *
 * Whatever changes a connection marks it (connection_touch); once per turn, in the write hook, connection_settle looks
 * at the whole: it writes, goes on reading what was held back, ends what is over, and only then tells epoll and the
 * timer what to watch. So a request costs no epoll_ctl and no timer operation, however often its state changed within
 * the turn.
 */
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/heap.h"
#include "http/h2.h"
#include "http/proxy_protocol.h"

typedef enum Deadline {
    DEADLINE_NONE,
    DEADLINE_IDLE,
    DEADLINE_PROXY,
    DEADLINE_HANDSHAKE,
    DEADLINE_HEAD,
    DEADLINE_WRITE,
    DEADLINE_DISCARD,
    DEADLINE_LINGER
} Deadline;

void connection_touch(HttpConnection *conn) {
    if (conn->dirty || conn->dead)
        return;
    HttpServer *server = conn->server;
    conn->dirty = true;
    conn->refs++;
    conn->next_dirty = server->dirty;
    server->dirty = conn;
    turn_hook_arm(server->loop, &server->hook);
}

/* --- ending
 * ------------------------------------------------------------------------------------------------------------ */

void connection_unref(HttpConnection *conn) {
    if (--conn->refs > 0)
        return;
    HttpServer *server = conn->server;
    block_give(&server->blocks, conn->in);
    block_give(&server->blocks, conn->out);
    h2_end(conn);
    if (server->pooled_connections < POOLED_MAX && !server->freed) {
        conn->next = server->free_connections;
        server->free_connections = conn;
        server->pooled_connections++;
    } else {
        heap_free(conn);
    }
    http_server_unref(server);
}

static void on_closed(uv_handle_t *handle) {
    connection_unref(handle->data);
}

void connection_abort(HttpConnection *conn) {
    if (conn->dead)
        return;
    HttpServer *server = conn->server;
    conn->dead = true;
    timer_disarm(server->loop, &conn->timer);
    uv_close((uv_handle_t *)&conn->poll, on_closed);
    tls_stream_free(conn->tls);
    conn->tls = NULL;
    close(conn->fd);
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        server->connections = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    for (Exchange *ex = conn->first; ex != NULL; ex = ex->next) {
        if (ex->body_wait != NULL)
            wait_wake(ex->body_wait, ERR_EOF);
        if (ex->out_wait != NULL)
            wait_wake(ex->out_wait, ERR_EOF);
        ex->body_wait = ex->out_wait = NULL;
        /* What only reads is of no use to anybody now. What writes goes on: it may be in the midst of a commit. */
        if (ex->safe && ex->body_ended)
            co_cancel(ex->co);
    }
    server->stats.connections--;
    http_server_connection_gone(server);
}

/* All answers are out. A client that may still be sending must be able to read the last one before a reset destroys it
 * (RFC 9112 §9.6): say "end" and drop what it sends, for a while. */
static void connection_finish(HttpConnection *conn) {
    if (conn->tls != NULL)
        (void)tls_shutdown_step(conn->tls);
    if (!conn->unread || conn->eof || shutdown(conn->fd, SHUT_WR) != 0) {
        connection_abort(conn);
        return;
    }
    conn->input = IN_LINGER;
    conn->linger_at = clock_mono_ms() + LINGER_MS;
    input_process(conn);
}

/* --- deadlines
 * --------------------------------------------------------------------------------------------------------- */

/* The one deadline that counts now. A handler at work has its own, in ctx. */
static Deadline deadline_of(const HttpConnection *conn, int64_t *ret_at) {
    Deadline which = DEADLINE_NONE;
    *ret_at = 0;
    if (conn->awaits_proxy) {
        *ret_at = conn->head_at;
        which = DEADLINE_PROXY;
    } else if (conn->input == IN_LINGER) {
        *ret_at = conn->linger_at;
        which = DEADLINE_LINGER;
    } else if (conn->out_blocked) {
        *ret_at = conn->write_at;
        which = DEADLINE_WRITE;
    } else if (conn->input == IN_DISCARD) {
        *ret_at = conn->discard_at;
        which = DEADLINE_DISCARD;
    } else if (conn->input == IN_HANDSHAKE) {
        *ret_at = conn->head_at;
        which = DEADLINE_HANDSHAKE;
    } else if ((conn->input == IN_HEAD || conn->input == IN_H2) && conn->head_at != 0 && !conn->blocked) {
        *ret_at = conn->head_at;
        which = DEADLINE_HEAD;
    } else if (conn->count == 0) {
        *ret_at = conn->idle_at;
        which = DEADLINE_IDLE;
    }
    return which;
}

/* The timer is only ever moved forward; one that rings too early is set again when it rings. */
static void timer_watch(HttpConnection *conn) {
    int64_t at;
    if (deadline_of(conn, &at) == DEADLINE_NONE || (conn->timer.heap_index != 0 && conn->timer.at_ms <= at))
        return;
    if (timer_arm(conn->server->loop, &conn->timer, at) != ERR_OK)
        connection_abort(conn);
}

static void on_timer(Timer *timer) {
    HttpConnection *conn = (HttpConnection *)((char *)timer - offsetof(HttpConnection, timer));
    int64_t at;
    Deadline which = deadline_of(conn, &at);
    if (which == DEADLINE_NONE)
        return;
    if (clock_mono_ms() < at) {
        timer_watch(conn);
        return;
    }
    if (which == DEADLINE_HEAD && conn->h2 == NULL) {
        conn->server->stats.timeouts++;
        conn->input = IN_STOP;
        conn->final = conn->unread = true;
        conn->refusal = 408;
        conn->head_at = 0;
        connection_touch(conn);
        return;
    }
    if (which != DEADLINE_IDLE && which != DEADLINE_LINGER)
        conn->server->stats.timeouts++;
    if (which == DEADLINE_IDLE && conn->h2 != NULL)
        h2_goodbye(conn);
    if (which == DEADLINE_IDLE && conn->tls != NULL && !conn->dead)
        (void)tls_shutdown_step(conn->tls);
    connection_abort(conn);
}

/* --- readiness
 * --------------------------------------------------------------------------------------------------------- */

static void on_ready(uv_poll_t *handle, int status, int events) {
    HttpConnection *conn = handle->data;
    if (conn->dead)
        return;
    if (status < 0) { /* reset: libuv has stopped the handle */
        conn->server->stats.aborted++;
        connection_abort(conn);
        return;
    }
    if (conn->awaits_proxy) {
        proxy_header_read(conn);
        if (conn->input == IN_HANDSHAKE && !conn->awaits_proxy) /* its time begins now */
            conn->head_at = clock_mono_ms() + conn->server->options.limits.head_timeout_ms;
    } else if (conn->input == IN_HANDSHAKE)
        secure_handshake(conn);
    else if ((events & UV_READABLE) != 0 || secure_pending(conn))
        input_read(conn);
    if ((events & UV_WRITABLE) != 0)
        output_writable(conn);
    connection_touch(conn); /* writes what became writable */
}

/* UV_PRIORITIZED is never ready; it keeps the socket registered, so that a reset is seen while nothing else is
 * wanted. */
static void readiness_watch(HttpConnection *conn) {
    bool wanted = input_wanted(conn);
    int events = UV_PRIORITIZED | (wanted ? UV_READABLE : 0) | (conn->out_blocked ? UV_WRITABLE : 0);
    /* Input that has left the socket makes nothing ready; that the socket can be written to brings us back next
     * turn. */
    if (conn->tls != NULL && (secure_unsent(conn) || (wanted && secure_pending(conn))))
        events |= UV_WRITABLE;
    if (events == conn->events)
        return;
    conn->events = events;
    if (uv_poll_start(&conn->poll, events, on_ready) != 0)
        connection_abort(conn);
}

static bool over(const HttpConnection *conn) {
    if (conn->out_blocked || secure_unsent(conn))
        return false;
    if (conn->input == IN_H2)
        return h2_is_over(conn);
    return conn->input == IN_STOP && conn->count == 0 && conn->refusal == 0 && block_length(conn->out) == 0;
}

void connection_settle(HttpConnection *conn) {
    conn->dirty = false;
    if (conn->input == IN_H2)
        h2_output(conn);
    output_flush(conn);
    if (!conn->dead && conn->resume) {
        conn->resume = false;
        input_process(conn);
    }
    if (!conn->dead && conn->count == 0 && conn->refusal != 0) {
        int status = conn->refusal;
        conn->refusal = 0;
        answer_refusal(conn, status, conn->refusal_allow);
        output_flush(conn);
    }
    if (!conn->dead && conn->out_blocked && secure_pending(conn) && input_wanted(conn))
        input_read(conn); /* readiness_watch cannot bring us back while the socket is full */
    if (!conn->dead && conn->server->draining && (!conn->server->patient || conn->h2 != NULL))
        connection_nudge(conn);
    if (!conn->dead && over(conn))
        connection_finish(conn);
    if (!conn->dead)
        readiness_watch(conn);
    if (!conn->dead)
        timer_watch(conn);
}

void connection_nudge(HttpConnection *conn) {
    if (conn->awaits_proxy) {
        connection_abort(conn);
        return;
    }
    if (conn->input == IN_H2) {
        h2_drain(conn);
        return;
    }
    char byte;
    if (conn->input == IN_HANDSHAKE && conn->tls == NULL && recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)
        conn->input = IN_STOP; /* who has begun may go on, up to the handshake's deadline */
    if (conn->input == IN_HEAD && conn->count == 0 && conn->in == NULL)
        input_read(conn); /* a request that is already here is still answered */
    if (!conn->dead && conn->input == IN_HEAD && conn->count == 0 && conn->in == NULL)
        conn->input = IN_STOP;
}

bool connection_ends_with(const HttpConnection *conn, const Exchange *ex) {
    int arrived = 0;
    if (!conn->server->draining || conn->last != ex)
        return false;
    if (!conn->server->patient || conn->input != IN_HEAD)
        return true;
    return block_length(conn->in) == 0 && (ioctl(conn->fd, FIONREAD, &arrived) != 0 || arrived == 0);
}

/* --- beginning
 * --------------------------------------------------------------------------------------------------------- */

static HttpConnection *connection_take(HttpServer *server) {
    HttpConnection *conn = server->free_connections;
    if (conn == NULL)
        return HEAP_NEW(HttpConnection);
    server->free_connections = conn->next;
    server->pooled_connections--;
    memset(conn, 0, sizeof(*conn));
    return conn;
}

void connection_open(HttpServer *server, int fd, const char *peer, bool secure) {
    HttpConnection *conn = connection_take(server);
    if (conn == NULL || uv_poll_init(loop_uv(server->loop), &conn->poll, fd) != 0) {
        heap_free(conn);
        close(fd);
        return;
    }
    conn->server = server;
    conn->poll.data = conn;
    conn->timer.fn = on_timer;
    conn->fd = fd;
    conn->refs = 1;
    conn->secure = secure;
    conn->input = secure ? IN_HANDSHAKE : IN_HEAD;
    conn->head_at = secure ? clock_mono_ms() + server->options.limits.head_timeout_ms : 0;
    conn->idle_at = clock_mono_ms() + server->options.limits.idle_timeout_ms;
    conn->awaits_proxy = server->options.proxy_protocol;
    if (conn->awaits_proxy)
        conn->head_at = clock_mono_ms() + server->options.limits.head_timeout_ms;
    memcpy(conn->peer, peer, sizeof(conn->peer));
    conn->next = server->connections;
    if (conn->next != NULL)
        conn->next->prev = conn;
    server->connections = conn;
    server->refs++;
    server->stats.accepted++;
    server->stats.connections++;
    connection_touch(conn);
}
