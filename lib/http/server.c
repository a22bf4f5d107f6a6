/*
 * server.c - listening, accepting, draining.
 *
 * Each worker listens for itself (SO_REUSEPORT: the kernel deals connections out, no thundering herd, no lock). At the
 * limit of connections accepting stops, so that further clients wait in the kernel's backlog instead of being answered
 * badly; so it does for a moment when the process has no descriptors left.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/heap.h"
#include "http/connection.h"
#include "runtime/log.h"

enum { ACCEPTS_PER_TURN = 64, ACCEPT_PAUSE_MS = 100 };

typedef struct Listener {
    uv_poll_t poll;
    HttpServer *server;
    int fd;
    bool closed, secure;
} Listener;

const HttpLimits HTTP_LIMITS_DEFAULT = {
    .request_line_max = 8192,
    .headers_total_max = 32768,
    .headers_count_max = 100,
    .body_max = 30000000,
    .connections_max = 10000,
    .pipeline_max = 32,
    .streams_max = 100, /* RFC 9113 §6.5.2: no fewer */
    .head_timeout_ms = 10000,
    .body_timeout_ms = 30000,
    .body_rate_min = 240,
    .idle_timeout_ms = 120000,
    .write_timeout_ms = 30000,
    .request_timeout_ms = 30000,
    .arena_bytes = CO_ARENA_DEFAULT,
};

/* --- accepting
 * --------------------------------------------------------------------------------------------------------- */

static void on_connection(uv_poll_t *handle, int status, int events);

static void accepting_set(HttpServer *server, bool on) {
    if (server->accepting == on)
        return;
    server->accepting = on;
    for (size_t i = 0; i < server->n_listeners; i++) {
        Listener *listener = &server->listeners[i];
        if (listener->closed)
            continue;
        if (!on)
            uv_poll_stop(&listener->poll);
        else if (uv_poll_start(&listener->poll, UV_READABLE, on_connection) != 0)
            server->accepting = false;
    }
}

static void touch_all(HttpServer *server) {
    for (HttpConnection *conn = server->connections; conn != NULL; conn = conn->next)
        connection_touch(conn);
}

/* Accepting may go on; or, when draining, patience with idle connections is over. */
static void on_accept_timer(Timer *timer) {
    HttpServer *server = (HttpServer *)((char *)timer - offsetof(HttpServer, accept_timer));
    if (server->patient) {
        server->patient = false;
        touch_all(server);
    }
    if (!server->draining && server->stats.connections < server->options.limits.connections_max)
        accepting_set(server, true);
}

static void accept_pause(HttpServer *server, int error) {
    LOG_W(NULL, "http.accept_paused", F_C("error", strerror(error)), F_INT("connections", server->stats.connections));
    accepting_set(server, false);
    if (timer_arm(server->loop, &server->accept_timer, clock_mono_ms() + ACCEPT_PAUSE_MS) != ERR_OK)
        accepting_set(server, true); /* better busy than deaf */
}

static void peer_format(const struct sockaddr_storage *address, char out[48]) {
    memset(out, 0, 48);
    if (address->ss_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, out, 48);
    else if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&((const struct sockaddr_in6 *)address)->sin6_addr))
        inet_ntop(AF_INET, &((const struct sockaddr_in6 *)address)->sin6_addr.s6_addr[12], out, 48);
    else if (address->ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, out, 48);
    else
        memcpy(out, "unix", 5);
}

/* false: nothing more to accept now. */
static bool accept_one(Listener *listener) {
    HttpServer *server = listener->server;
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof(address);
    int fd = accept4(listener->fd, (struct sockaddr *)&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            accept_pause(server, errno);
        return errno == ECONNABORTED || errno == EINTR;
    }
    int on = 1;
    if (address.ss_family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
                         sizeof(on)); /* answers leave whole; waiting gains nothing */
    char peer[48];
    peer_format(&address, peer);
    connection_open(server, fd, peer, listener->secure);
    return true;
}

static void on_connection(uv_poll_t *handle, int status, int events) {
    Listener *listener = handle->data;
    HttpServer *server = listener->server;
    (void)events;
    if (status < 0)
        return;
    for (int i = 0; i < ACCEPTS_PER_TURN && server->accepting; i++) {
        if (server->stats.connections >= server->options.limits.connections_max)
            accepting_set(server, false);
        else if (!accept_one(listener))
            return;
    }
}

/* --- turns
 * ------------------------------------------------------------------------------------------------------------- */

static void on_turn_end(TurnHook *hook) {
    HttpServer *server = (HttpServer *)((char *)hook - offsetof(HttpServer, hook));
    HttpConnection *conn = server->dirty;
    server->dirty = NULL;
    server->refs++; /* the last connection may end in here */
    while (conn != NULL) {
        HttpConnection *next = conn->next_dirty;
        connection_settle(conn);
        connection_unref(conn);
        conn = next;
    }
    http_server_unref(server);
}

void http_server_connection_gone(HttpServer *server) {
    if (!server->draining && !server->accepting && server->accept_timer.heap_index == 0)
        accepting_set(server, true);
    if (server->draining && server->stats.connections == 0 && server->drained != NULL) {
        void (*done)(void *data) = server->drained;
        server->drained = NULL;
        done(server->drained_data);
    }
}

/* --- beginning and end
 * ------------------------------------------------------------------------------------------------- */

static void server_release(HttpServer *server) {
    while (server->free_connections != NULL) {
        HttpConnection *next = server->free_connections->next;
        heap_free(server->free_connections);
        server->free_connections = next;
    }
    while (server->free_exchanges != NULL) {
        Exchange *next = server->free_exchanges->next;
        heap_free(server->free_exchanges);
        server->free_exchanges = next;
    }
    block_give(&server->blocks, server->scratch);
    blocks_done(&server->blocks);
    if (server->error_arena != NULL)
        arena_free(server->error_arena);
    tls_context_unref(server->options.tls);
    heap_free(server->stream_parser);
    heap_free(server->path_scratch);
    heap_free(server->listeners);
    heap_free(server);
}

void http_server_unref(HttpServer *server) {
    if (--server->refs == 0)
        server_release(server);
}

static void on_listener_closed(uv_handle_t *handle) {
    http_server_unref(((Listener *)handle->data)->server);
}

static void listeners_close(HttpServer *server) {
    for (size_t i = 0; i < server->n_listeners; i++) {
        ASSERT(server->listeners != NULL);
        Listener *listener = &server->listeners[i];
        if (listener->closed)
            continue;
        listener->closed = true;
        uv_close((uv_handle_t *)&listener->poll, on_listener_closed);
        close(listener->fd);
    }
    server->accepting = false;
    timer_disarm(server->loop, &server->accept_timer);
}

static Err listeners_open(HttpServer *server, const int *fds, size_t n) {
    for (size_t i = 0; i < n; i++) {
        Listener *listener = &server->listeners[i];
        listener->server = server;
        listener->fd = fds[i];
        listener->secure = i < 64 && (server->options.tls_listeners >> i & 1) != 0;
        if (uv_poll_init(loop_uv(server->loop), &listener->poll, fds[i]) != 0)
            return ERR_IO;
        listener->poll.data = listener;
        server->n_listeners++;
        server->refs++;
    }
    accepting_set(server, true);
    return server->accepting ? ERR_OK : ERR_IO;
}

Err http_server_new(Loop *loop, const int *fds, size_t n_fds, const HttpServerOptions *options, HttpServer **ret) {
    const HttpLimits *limits = &options->limits;
    /* A partial head must fit into a block, and two bytes more show that it is over a limit. */
    if (limits->request_line_max + limits->headers_total_max + 8 > BLOCK_BIG ||
        limits->headers_count_max > HEAD_FIELDS_MAX || limits->connections_max < 1 || limits->pipeline_max < 1 ||
        limits->streams_max < 1 || (options->tls_listeners != 0 && options->tls == NULL))
        return ERR_INVALID;
    HttpServer *server = HEAP_NEW(HttpServer);
    if (server == NULL)
        return ERR_NO_MEMORY;
    server->loop = loop;
    server->options = *options;
    if (options->tls != NULL)
        (void)tls_context_ref(options->tls);
    server->refs = 1;
    server->hook = (TurnHook){.fn = on_turn_end, .rank = TURN_WRITE};
    server->accept_timer.fn = on_accept_timer;
    server->path_scratch = heap_alloc(limits->request_line_max + 1);
    server->error_arena = arena_new(256 * 1024);
    server->listeners = heap_alloc_array(n_fds, sizeof(Listener));
    Err err = server->path_scratch == NULL || server->error_arena == NULL || server->listeners == NULL
                  ? ERR_NO_MEMORY
                  : listeners_open(server, fds, n_fds);
    if (err != ERR_OK) {
        http_server_free(server);
        return err;
    }
    *ret = server;
    return ERR_OK;
}

static void drain(HttpServer *server, void (*done)(void *data), void *data) {
    /* Who stands in the backlog has been promised a server; closing the socket would reset it. */
    for (size_t i = 0; i < server->n_listeners; i++) {
        while (server->accepting && server->stats.connections < server->options.limits.connections_max &&
               accept_one(&server->listeners[i])) {
        }
    }
    server->draining = true;
    server->drained = done;
    server->drained_data = data;
    listeners_close(server);
    touch_all(server);
    if (server->stats.connections == 0)
        http_server_connection_gone(server);
}

void http_server_drain(HttpServer *server, void (*done)(void *data), void *data) {
    if (!server->draining)
        drain(server, done, data);
}

void http_server_retire(HttpServer *server, int64_t idle_ms, void (*done)(void *data), void *data) {
    if (server->draining)
        return;
    server->patient = true;
    drain(server, done, data);
    /* listeners_close has disarmed it; without a timer nobody is waited for */
    if (server->stats.connections > 0 && timer_arm(server->loop, &server->accept_timer, idle_ms) != ERR_OK)
        server->patient = false;
}

void http_server_free(HttpServer *server) {
    if (server == NULL || server->freed)
        return;
    server->freed = server->draining = true;
    server->drained = NULL;
    listeners_close(server);
    while (server->connections != NULL)
        connection_abort(server->connections);
    http_server_unref(server);
}

void http_server_set_tls(HttpServer *server, TlsContext *tls) {
    TlsContext *before = server->options.tls;
    server->options.tls = tls_context_ref(tls);
    tls_context_unref(before);
}

HttpStats http_server_stats(const HttpServer *server) {
    return server->stats;
}
