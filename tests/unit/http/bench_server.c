/*
 * bench_server.c - the smallest server there is: 200 bytes for everybody. What lib/http/README.md's figures are
 * measured with.
 *
 *   bench_server ADDRESS [SECONDS]
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
    if (argc < 2 || loop_new(&loop) != ERR_OK)
        return 2;
    if (http_listen_socket(str_c(argv[1]), &fd, &why, arena) != ERR_OK) {
        fprintf(stderr, "%.*s\n", STR_ARG(why));
        return 1;
    }
    HttpServerOptions options = {.limits = HTTP_LIMITS_DEFAULT, .handler = answer, .server_name = STR("usher")};
    Timer timer = {.fn = stop};
    if (http_server_new(loop, &fd, 1, &options, &server) != ERR_OK)
        return 1;
    if (argc > 2 && timer_arm(loop, &timer, clock_mono_ms() + 1000 * strtol(argv[2], NULL, 10)) != ERR_OK)
        return 1;
    loop_run(loop);
    http_server_free(server);
    loop_free(loop);
    arena_free(arena);
    return 0;
}
