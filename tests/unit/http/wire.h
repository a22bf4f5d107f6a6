/*
 * wire.h - a server in a child process and raw sockets to it: what the tests of lib/http talk with.
 *
 * Answers carry no Date and no Server, so that whole conversations can be compared byte by byte. The child ends by
 * draining (GET /quit) and its exit status is checked, so that a leak, a sanitizer's complaint or a failed ASSERT in it
 * fails the test.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/heap.h"
#include "http/client.h"
#include "http/http.h"

/* The n-th allocation of the next server, once it listens, fails; 0: none. */
static uint64_t wire_fail_nth;
/* What the next server speaks besides: TLS on a second port, HTTP/2 without TLS. */
static UNUSED TlsContext *wire_tls;
static UNUSED bool wire_http2;

typedef struct Wire {
    pid_t pid;
    int port, tls_port; /* 0: none */
} Wire;

/* --- the child
 * ----------------------------------------------------------------------------------------------------------- */

typedef struct WireApp {
    HttpServer *server;
    Wait gate; /* "/wait" stands here until "/go" */
    bool waiting;
    int cancelled, committed;
} WireApp;

static void wire_drained(void *data) {
    (void)data;
    loop_stop(loop_current());
}

static bool path_is(const Request *req, const char *path) {
    return str_eq_c(req->path, path);
}

static void wire_text(Response *res, const char *text) {
    res->status = 200;
    buf_add_c(&res->body, text);
}

static CO_FN void serve_echo(Request *req, Response *res) {
    Str body;
    if (request_body(req, path_is(req, "/echo4") ? 4 : 40 * 1000 * 1000, &body) != ERR_OK)
        return; /* the server says what it was */
    res->status = 200;
    buf_add(&res->body, body);
}

static CO_FN void serve_pieces(Request *req, Response *res) {
    uint64_t n = 0, sum = 0;
    for (;;) {
        Str piece;
        if (request_body_next(req, &piece) != ERR_OK)
            return;
        if (piece.n == 0)
            break;
        n += piece.n;
        for (size_t i = 0; i < piece.n; i++)
            sum += (uint8_t)piece.p[i];
    }
    res->status = 200;
    buf_printf(&res->body, "%lu %lu", n, sum);
}

static CO_FN void serve_stream(Request *req, Response *res) {
    res->status = 200;
    bool cut = path_is(req, "/stream-cut");
    if (response_stream_begin(req, res) != ERR_OK)
        return;
    if (response_stream_write(req, res, STR("one")) != ERR_OK || response_stream_write(req, res, STR("")) != ERR_OK ||
        response_stream_write(req, res, STR("twothree")) != ERR_OK)
        return;
    if (!cut && response_stream_end(req, res) != ERR_OK)
        return;
}

static CO_FN void serve_stream_empty(Request *req, Response *res) {
    res->status = 200;
    if (response_stream_begin(req, res) != ERR_OK || response_stream_end(req, res) != ERR_OK)
        return;
}

static CO_FN void serve_stream_big(Request *req, Response *res) {
    static char block[100000];
    memset(block, 'b', sizeof(block));
    res->status = 200;
    if (response_stream_begin(req, res) != ERR_OK)
        return;
    for (int i = 0; i < 50; i++) {
        if (response_stream_write(req, res, (Str){block, sizeof(block)}) != ERR_OK)
            return;
    }
    if (response_stream_end(req, res) != ERR_OK)
        return;
}

static CO_FN void serve_wait(Response *res, WireApp *app, bool shielded) {
    bool was = co_shield(shielded);
    app->waiting = true;
    Err err = co_wait(&app->gate, 0);
    app->waiting = false;
    (void)co_shield(was);
    app->cancelled += err == ERR_CANCELLED;
    app->committed += err == ERR_OK;
    wire_text(res, err == ERR_OK ? "waited" : err_name(err));
}

static CO_FN void wire_serve(Request *req, Response *res, void *data) {
    WireApp *app = data;
    if (path_is(req, "/hello")) {
        wire_text(res, "hello");
    } else if (path_is(req, "/echo") || path_is(req, "/echo4")) {
        serve_echo(req, res);
    } else if (path_is(req, "/pieces")) {
        serve_pieces(req, res);
    } else if (path_is(req, "/stream") || path_is(req, "/stream-cut")) {
        serve_stream(req, res);
    } else if (path_is(req, "/stream-empty")) {
        serve_stream_empty(req, res);
    } else if (path_is(req, "/stream-big")) {
        serve_stream_big(req, res);
    } else if (path_is(req, "/wait") || path_is(req, "/commit")) {
        serve_wait(res, app, path_is(req, "/commit"));
    } else if (path_is(req, "/go")) {
        if (app->waiting)
            wait_wake(&app->gate, ERR_OK);
        wire_text(res, "gone");
    } else if (path_is(req, "/stats")) {
        HttpStats stats = http_server_stats(app->server);
        res->status = 200;
        buf_printf(&res->body, "connections=%d in_flight=%d timeouts=%lu cancelled=%d committed=%d waiting=%d ",
                   stats.connections, stats.in_flight, stats.timeouts, app->cancelled, app->committed, app->waiting);
    } else if (path_is(req, "/empty")) {
        res->status = 204;
    } else if (path_is(req, "/close")) {
        wire_text(res, "bye");
        res->close = true;
    } else if (path_is(req, "/chunky")) {
        wire_text(res, "chunky");
        res->no_content_length = true;
    } else if (path_is(req, "/big")) {
        uint64_t n = 0;
        (void)!str_to_u64(req->query, 64 << 20, &n);
        char *room = buf_reserve(&res->body, n);
        res->status = 200;
        if (room != NULL) { /* else the Buf remembers it, and the server answers 503 */
            memset(room, 'B', n);
            res->body.n += n;
        }
    } else if (path_is(req, "/overfull")) {
        wire_text(res, "x");
        (void)buf_reserve(&res->body, (size_t)1 << 40);
    } else if (path_is(req, "/greedy")) {
        while (arena_alloc_raw(req->ctx->arena, 1024) != NULL || arena_alloc_raw(req->ctx->arena, 1) != NULL)
            ;
        res->status = 503;
    } else if (path_is(req, "/trace")) {
        char text[TRACEPARENT_LEN];
        trace_format(&req->ctx->trace, text);
        res->status = 200;
        buf_add(&res->body, (Str){text, 36});
        buf_add(&res->body, req->ctx->trace.state);
    } else if (path_is(req, "/late")) {
        Err err = co_sleep(1000 * 1000);
        wire_text(res, err_name(err));
    } else if (path_is(req, "/quit")) {
        wire_text(res, "quitting");
        http_server_drain(app->server, wire_drained, NULL);
    } else if (path_is(req, "/retire")) { /* ?MS of patience */
        uint64_t patience_ms = 0;
        ASSERT(str_to_u64(req->query, 1000000, &patience_ms) == ERR_OK);
        wire_text(res, "quitting");
        http_server_retire(app->server, clock_mono_ms() + (int64_t)patience_ms, wire_drained, NULL);
    } else if (path_is(req, "/abort")) {
        loop_stop(loop_current());
    } else if (path_is(req, "/silent")) {
        return;
    } else {
        res->status = 404;
        response_header(res, "X-Path", req->path);
        response_header(res, "X-Method", req->method_text);
    }
}

static void wire_child(const int fds[2], const HttpLimits *limits) {
    WireApp app = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves no server behind */
    Loop *loop;
    HttpServerOptions options = {.limits = *limits, .handler = wire_serve, .data = &app, .hide_date = true};
    ASSERT(loop_new(&loop) == ERR_OK);
    options.tls = wire_tls;
    options.tls_listeners = wire_tls == NULL ? 0 : 2;
    options.http2_cleartext = wire_http2;
    ASSERT(http_server_new(loop, fds, wire_tls == NULL ? 1 : 2, &options, &app.server) == ERR_OK);
    tls_context_unref(wire_tls);
    heap_fail_nth(wire_fail_nth);
    loop_run(loop);
    heap_fail_nth(0);
    http_server_free(app.server);
    ASSERT(co_drain(loop, clock_mono_ms() + 60000) == ERR_OK); /* what was aborted ends */
    loop_free(loop);
    exit(0);
}

/* --- the test's side
 * ----------------------------------------------------------------------------------------------------- */

static inline int wire_listen(int *ret_port) {
    Arena *arena = arena_new(64 * 1024);
    int fd;
    Str why;
    assert_int_equal(http_listen_socket(STR("127.0.0.1:0"), &fd, &why, arena), ERR_OK);
    arena_free(arena);
    struct sockaddr_in address;
    socklen_t length = sizeof(address);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static inline Wire wire_start(const HttpLimits *limits) {
    Wire wire = {0};
    int fds[2] = {wire_listen(&wire.port), -1};
    if (wire_tls != NULL)
        fds[1] = wire_listen(&wire.tls_port);
    fflush(NULL);
    wire.pid = fork();
    assert_true(wire.pid >= 0);
    if (wire.pid == 0)
        wire_child(fds, limits);
    close(fds[0]);
    if (fds[1] >= 0)
        close(fds[1]);
    return wire;
}

static inline int wire_connect_port(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static inline int wire_connect(const Wire *wire) {
    return wire_connect_port(wire->port);
}

/* Sends; a server that answers early may close meanwhile. */
static inline void wire_send(int fd, Str bytes, size_t step) {
    while (bytes.n > 0) {
        ssize_t n = send(fd, bytes.p, MIN_OF(step, bytes.n), MSG_NOSIGNAL);
        if (n <= 0)
            return;
        bytes = str_slice(bytes, (size_t)n, bytes.n);
    }
}

static inline void wire_ready(int fd, short events) {
    struct pollfd p = {.fd = fd, .events = events};
    if (poll(&p, 1, 20000) <= 0)
        fail_msg("nothing came for 20 s");
}

/* Everything until the server closes. */
static inline void wire_read_all(int fd, Buf *out) {
    for (;;) {
        wire_ready(fd, POLLIN);
        char *room = buf_reserve(out, 65536);
        assert_non_null(room);
        ssize_t n = recv(fd, room, 65536, 0);
        if (n <= 0)
            return;
        out->n += (size_t)n;
    }
}

/* Until the output ends in `text`. */
static inline void wire_read_until(int fd, Buf *out, const char *text) {
    while (!str_ends_with(buf_str(out), str_c(text))) {
        wire_ready(fd, POLLIN);
        char *room = buf_reserve(out, 65536);
        assert_non_null(room);
        ssize_t n = recv(fd, room, 65536, 0);
        if (n <= 0)
            fail_msg("closed after '%.*s', awaited '%s'", STR_ARG(buf_str(out)), text);
        out->n += (size_t)n;
    }
}

static inline HttpAnswer wire_get(const Wire *wire, Arena *arena, const char *path) {
    HttpAnswer answer;
    Str request = arena_printf(arena, "GET %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", path);
    assert_int_equal(http_client_exchange(arena, &(HttpTarget){.host = "127.0.0.1", .port = wire->port}, request, false,
                                          60000, &answer),
                     ERR_OK);
    return answer;
}

/* Asks for the statistics until they say `text` (a minute at most). */
static inline void wire_await_stats(const Wire *wire, const char *text) {
    for (int i = 0;; i++) {
        Arena *arena = arena_new(1 << 20);
        HttpAnswer answer = wire_get(wire, arena, "/stats");
        bool found = str_find(answer.body, str_c(text)) >= 0;
        if (!found && i == 20000)
            fail_msg("'%.*s', awaited '%s'", STR_ARG(answer.body), text);
        arena_free(arena);
        if (found)
            return;
    }
}

static inline void wire_join(const Wire *wire) {
    int status = -1;
    assert_int_equal(waitpid(wire->pid, &status, 0), wire->pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static inline void wire_stop(const Wire *wire) {
    Arena *arena = arena_new(1 << 20);
    HttpAnswer answer = wire_get(wire, arena, "/quit");
    assert_true(str_eq_c(answer.body, "quitting"));
    arena_free(arena);
    wire_join(wire);
}
