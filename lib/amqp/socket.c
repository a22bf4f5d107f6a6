/*
 * socket.c - connecting, reading and writing.
 */
#include "amqp/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/lookup.h"
#include "tls/tls.h"

/* --- connecting --------------------------------------------------------------------------------------------------- */

CO_FN static Err connect_to(const struct addrinfo *address, int64_t deadline_ms, int *ret, int *ret_errno) {
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        *ret_errno = errno;
        return ERR_IO;
    }
    Err err = ERR_OK;
    int failed = connect(fd, address->ai_addr, address->ai_addrlen) == 0 ? 0 : errno;
    if (failed == EINPROGRESS) {
        err = co_wait_fd(fd, CO_WRITABLE, deadline_ms);
        socklen_t length = sizeof failed;
        if (err == ERR_OK && getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &length) != 0)
            failed = errno;
    }
    if (err == ERR_OK && failed != 0)
        err = ERR_UNAVAILABLE;
    *ret_errno = failed;
    if (err != ERR_OK) {
        (void)close(fd);
        return err;
    }
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* a turn's bytes leave together anyway */
    *ret = fd;
    return ERR_OK;
}

CO_FN static Err tcp_connect(AmqpSocket *s, const AmqpUrl *url, int64_t deadline_ms, char *why, size_t room) {
    struct addrinfo *list = NULL;
    const char *unknown = NULL;
    int failed = 0;
    char port[8];
    snprintf(port, sizeof port, "%d", url->port);
    Err err = lookup_host(url->host.p, port, deadline_ms, &list, &unknown);
    if (err != ERR_OK) {
        snprintf(why, room, "host %.*s: %s", STR_ARG(url->host), unknown != NULL ? unknown : err_name(err));
        return err;
    }
    err = ERR_UNAVAILABLE;
    for (const struct addrinfo *at = list; at != NULL && err != ERR_OK && err != ERR_CANCELLED; at = at->ai_next)
        err = connect_to(at, deadline_ms, &s->fd, &failed);
    lookup_free(list);
    if (err != ERR_OK)
        snprintf(why, room, "%.*s:%d: %s", STR_ARG(url->host), url->port,
                 err == ERR_TIMEOUT ? "no answer in time" : strerror(failed));
    return err;
}

/* Files are read anew for each connection: a renewed certificate needs no restart. */
CO_FN static Err tls_connect(AmqpSocket *s, const AmqpUrl *url, int64_t deadline_ms, char *why, size_t room) {
    Ctx *ctx = co_ctx(co_self());
    TlsClientOptions options = {.ca = url->ca,
                                .certificate = url->certificate,
                                .key = url->key,
                                .version_min = TLS_1_2,
                                .believe_it = !url->verify};
    TlsContext *context = NULL;
    Err err = tls_client_new(ctx, &options, &context);
    if (err != ERR_OK) {
        snprintf(why, room, "%.*s", STR_ARG(ctx->problem.message));
        return err;
    }
    err = tls_client_stream(context, s->fd, url->server_name, &s->tls);
    tls_context_unref(context);
    if (err == ERR_OK && (err = tls_handshake(s->tls, deadline_ms)) != ERR_OK)
        snprintf(why, room, "%.*s:%d: TLS: %s", STR_ARG(url->host), url->port,
                 err == ERR_TIMEOUT ? "no answer in time" : tls_why(s->tls));
    return err;
}

CO_FN Err socket_connect(AmqpSocket *s, const AmqpUrl *url, int64_t deadline_ms, char *why, size_t room) {
    *s = (AmqpSocket){.fd = -1};
    TRY(tcp_connect(s, url, deadline_ms, why, room));
    return url->tls ? tls_connect(s, url, deadline_ms, why, room) : ERR_OK;
}

/* --- bytes -------------------------------------------------------------------------------------------------------- */

CO_FN Err socket_read(AmqpSocket *s, char *p, size_t n, int64_t deadline_ms, size_t *ret) {
    if (s->tls != NULL) {
        TRY(tls_read(s->tls, p, n, deadline_ms, ret));
        return *ret == 0 ? ERR_EOF : ERR_OK;
    }
    for (;;) {
        ssize_t got = recv(s->fd, p, n, 0);
        if (got > 0) {
            *ret = (size_t)got;
            return ERR_OK;
        }
        if (got == 0)
            return ERR_EOF;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return ERR_IO;
        TRY(co_wait_fd(s->fd, CO_READABLE, deadline_ms));
    }
}

CO_FN Err socket_write(AmqpSocket *s, Str bytes) {
    if (s->tls != NULL)
        return tls_write(s->tls, bytes, 0);
    while (bytes.n > 0) {
        ssize_t sent = send(s->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (sent >= 0)
            bytes = str_slice(bytes, (size_t)sent, bytes.n);
        else if (errno == EAGAIN)
            TRY(co_wait_fd(s->fd, CO_WRITABLE, 0));
        else if (errno != EINTR)
            return ERR_IO;
    }
    return ERR_OK;
}

void socket_write_last(AmqpSocket *s, Str bytes) {
    while (s->tls != NULL && bytes.n > 0) {
        size_t taken = 0;
        if (tls_write_some(s->tls, bytes.p, bytes.n, &taken) != TLS_DONE)
            return;
        bytes = str_slice(bytes, taken, bytes.n);
    }
    while (bytes.n > 0) {
        ssize_t sent = send(s->fd, bytes.p, bytes.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent <= 0)
            return;
        bytes = str_slice(bytes, (size_t)sent, bytes.n);
    }
}

void socket_abort(AmqpSocket *s) {
    if (s->fd >= 0)
        (void)shutdown(s->fd, SHUT_RDWR);
}

void socket_close(AmqpSocket *s) {
    tls_stream_free(s->tls);
    s->tls = NULL;
    if (s->fd >= 0)
        (void)close(s->fd);
    s->fd = -1;
}
