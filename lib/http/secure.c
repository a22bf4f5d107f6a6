/*
 * secure.c - a connection over TLS: the handshake, and what stands in for read(2) and send(2).
 *
 * Above this file nobody knows of TLS: blocks, deadlines and back-pressure are those of plain connections, which pay
 * one test of a pointer for each read and each write. The handshake's time counts as that of a head: a client that
 * takes longer is slow. Nothing of TLS exists for a connection until its first byte has come.
 */
#include <errno.h>

#include "http/h2.h"
#include "runtime/log.h"

static const char plain_answer[] = "HTTP/1.1 400 Bad Request\r\n"
                                   "Content-Type: text/plain\r\n"
                                   "Content-Length: 57\r\n"
                                   "Connection: close\r\n\r\n"
                                   "This port speaks TLS. Ask again with https:// in the URL\n";

/* A person with http:// in the address bar. What was sent is lost in OpenSSL, and is not needed. */
static void answer_plain(HttpConnection *conn) {
    tls_stream_free(conn->tls);
    conn->tls = NULL;
    conn->secure = false;
    conn->server->stats.protocol_errors++;
    if (conn->server->options.observer != NULL)
        conn->server->options.observer->refused(400);
    conn->input = IN_STOP;
    conn->unread = conn->sealed = true;
    if (!output_add(conn, (Str){plain_answer, sizeof plain_answer - 1}, (Str){NULL, 0}))
        connection_abort(conn);
}

/* The alert has left; what still comes is dropped for a while, so that it can be read. */
static void shake_failed(HttpConnection *conn) {
    conn->server->stats.handshakes_failed++;
    LOG_D(NULL, "tls.handshake_failed", F_C("peer", conn->peer), F_C("why", tls_why(conn->tls)));
    if (tls_was_plain_http(conn->tls)) {
        answer_plain(conn);
        return;
    }
    conn->input = IN_STOP;
    conn->unread = true;
}

static void shaken(HttpConnection *conn) {
    HttpServer *server = conn->server;
    server->stats.handshakes++;
    server->stats.handshakes_resumed += tls_resumed(conn->tls);
    conn->head_at = 0;
    conn->idle_at = clock_mono_ms() + server->options.limits.idle_timeout_ms;
    conn->input = IN_HEAD;
    if (str_eq_c(tls_protocol(conn->tls), "h2") && !h2_begin(conn)) {
        connection_abort(conn);
        return;
    }
    input_read(conn); /* a request that came with the handshake's end is in OpenSSL already */
}

void secure_handshake(HttpConnection *conn) {
    if (conn->tls == NULL && tls_server_stream(conn->server->options.tls, conn->fd, &conn->tls) != ERR_OK) {
        connection_abort(conn);
        return;
    }
    if (tls_flush(conn->tls) == TLS_WAIT)
        return;
    switch (tls_handshake_step(conn->tls)) {
    case TLS_DONE:
        shaken(conn);
        return;
    case TLS_WAIT:
        return;
    case TLS_END:
    case TLS_BROKEN:
    default:
        shake_failed(conn);
    }
}

ssize_t secure_read(HttpConnection *conn, char *p, size_t n) {
    size_t all = 0;
    for (;;) {
        size_t got = 0;
        TlsStep step = tls_read_some(conn->tls, p + all, n - all, &got);
        if (step == TLS_DONE) {
            all += got;
            if (all < n && tls_read_pending(conn->tls))
                continue;
            return (ssize_t)all;
        }
        if (all > 0) /* an end or a failure is told again by the next call */
            return (ssize_t)all;
        if (step == TLS_END)
            return 0;
        errno = step == TLS_WAIT ? EAGAIN : ECONNRESET;
        return -1;
    }
}

size_t secure_write(HttpConnection *conn, const char *p, size_t n) {
    size_t all = 0;
    while (all < n) {
        size_t taken = 0;
        TlsStep step = tls_write_some(conn->tls, p + all, n - all, &taken);
        all += taken;
        if (step == TLS_BROKEN) {
            conn->server->stats.aborted++;
            connection_abort(conn);
            return all;
        }
        if (step != TLS_DONE || tls_unsent(conn->tls) > 0)
            break;
    }
    if (all > 0)
        conn->write_at = 0;
    return all;
}

bool secure_flush(HttpConnection *conn) {
    if (conn->tls == NULL)
        return true;
    size_t before = tls_unsent(conn->tls);
    TlsStep step = tls_flush(conn->tls);
    if (step == TLS_BROKEN) {
        conn->server->stats.aborted++;
        connection_abort(conn);
        return false;
    }
    if (tls_unsent(conn->tls) < before)
        conn->write_at = 0;
    return step == TLS_DONE;
}
