/*
 * bench_server.c - the smallest server there is: 200 bytes for everybody. What lib/http/README.md's figures are
 * measured with.
 *
 *   bench_server ADDRESS [SECONDS [CERTIFICATE KEY]]
 *
 * With a certificate it speaks TLS and HTTP/2; without one it takes HTTP/2 from clients that begin with it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "http/http.h"

static void answer(Request *req, Response *res, void *data) {
    (void)req;
    (void)data;
    res->status = 200;
    response_header(res, "Content-Type", STR("application/json; charset=utf-8"));
    static const char body[201] = {[0 ... 199] = 'x'};
    buf_add_bytes(&res->body, body, 200);
}

static void stop(Timer *timer) {
    (void)timer;
    loop_stop(loop_current());
}

int main(int argc, char **argv) {
    Arena *arena = arena_new(1 << 20);
    Loop *loop;
    HttpServer *server;
    int fd;
    Str why = {NULL, 0};
    TlsContext *tls = NULL;
    static TlsTickets tickets;
    if (argc < 2 || loop_new(&loop) != ERR_OK)
        return 2;
    if (http_listen_socket(str_c(argv[1]), &fd, &why, arena) != ERR_OK) {
        fprintf(stderr, "%.*s\n", STR_ARG(why));
        return 1;
    }
    HttpServerOptions options = {
        .limits = HTTP_LIMITS_DEFAULT, .handler = answer, .server_name = STR("usher"), .http2_cleartext = true};
    if (argc > 4) {
        Ctx ctx;
        ctx_init(&ctx, arena, 0);
        tls_tickets_init(&tickets);
        TlsCertificateFiles files = {str_c(argv[3]), str_c(argv[4])};
        TlsServerOptions how = {.certificates = &files, .n_certificates = 1, .http2 = true, .tickets = &tickets};
        if (tls_server_new(&ctx, &how, &tls) != ERR_OK) {
            fprintf(stderr, "%.*s\n", STR_ARG(ctx.problem.message));
            return 1;
        }
        options.tls = tls;
        options.tls_listeners = 1;
    }
    Timer timer = {.fn = stop};
    if (http_server_new(loop, &fd, 1, &options, &server) != ERR_OK)
        return 1;
    if (argc > 2 && timer_arm(loop, &timer, clock_mono_ms() + 1000 * strtol(argv[2], NULL, 10)) != ERR_OK)
        return 1;
    loop_run(loop);
    http_server_free(server);
    tls_context_unref(tls);
    loop_free(loop);
    arena_free(arena);
    return 0;
}
