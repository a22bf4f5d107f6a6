/*
 * test_server.c - what a server does with many, slow, hasty and vanishing clients.
 *
 * Time-outs are set short and their outcome is awaited; nothing here depends on how long anything took.
 */
#include <sys/resource.h>

#include "wire.h"

#define GET(path)       "GET " path " HTTP/1.1\r\nHost: t\r\n\r\n"
#define GET_CLOSE(path) "GET " path " HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"

/* Sends, then reads all until the server closes. */
static void expect_until_close(const Wire *wire, const char *send_text, const char *want) {
    Buf got = buf_new(NULL, 1 << 20);
    int fd = wire_connect(wire);
    wire_send(fd, str_c(send_text), SIZE_MAX);
    wire_read_all(fd, &got);
    close(fd);
    if (!str_eq_c(buf_str(&got), want))
        fail_msg("'%s': want '%s', got '%.*s'", send_text, want, STR_ARG(buf_str(&got)));
    buf_done(&got);
}

static void time_outs(void **state) {
    (void)state;
    HttpLimits limits = HTTP_LIMITS_DEFAULT;
    limits.head_timeout_ms = limits.body_timeout_ms = limits.idle_timeout_ms = 30;
    limits.request_timeout_ms = 60;
    Wire wire = wire_start(&limits);
    const char *late = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const char *post = "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhel";
    const char *hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    expect_until_close(&wire, "", "");                          /* idle from the start */
    expect_until_close(&wire, GET("/hello"), hello);            /* idle after a request */
    expect_until_close(&wire, "\r\n\r\n", "");                  /* empty lines are no beginning */
    expect_until_close(&wire, "GET /hello HTTP/1.1\r\n", late); /* a head that stops */
    expect_until_close(&wire, post, late);                      /* a body that stops */
    expect_until_close(&wire, GET_CLOSE("/late"),
                       "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\ntimeout"); /* ctx's deadline */
    wire_stop(&wire);
}

/* The answer is out; the rest of a body that nobody wants does not come. */
static void unread_body_times_out(void **state) {
    (void)state;
    HttpLimits limits = HTTP_LIMITS_DEFAULT;
    limits.body_timeout_ms = 30;
    Wire wire = wire_start(&limits);
    expect_until_close(&wire, "POST /hello HTTP/1.1\r\nHost: t\r\nContent-Length: 50\r\n\r\nhel",
                       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    wire_stop(&wire);
}

/* The first answer is held back; the two behind it are ready, and must not overtake. */
static void pipelined_answers_keep_their_order(void **state) {
    (void)state;
    Wire wire = wire_start(&HTTP_LIMITS_DEFAULT);
    Buf got = buf_new(NULL, 1 << 20);
    Arena *arena = arena_new(1 << 20);
    int fd = wire_connect(&wire);
    wire_send(fd, STR(GET("/wait") GET("/hello") GET_CLOSE("/none")), SIZE_MAX);
    wire_await_stats(&wire, "in_flight=4 "); /* all three, and the one that asks */
    char byte;
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    (void)wire_get(&wire, arena, "/go");
    wire_read_all(fd, &got);
    assert_true(str_starts_with(buf_str(&got), STR("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nwaited"
                                                   "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
                                                   "HTTP/1.1 404 Not Found\r\n")));
    close(fd);
    buf_done(&got);
    arena_free(arena);
    wire_stop(&wire);
}

/* What writes is not run beside what stands before it. */
static void unsafe_requests_wait_for_their_turn(void **state) {
    (void)state;
    Wire wire = wire_start(&HTTP_LIMITS_DEFAULT);
    Buf got = buf_new(NULL, 1 << 20);
    Arena *arena = arena_new(1 << 20);
    int fd = wire_connect(&wire);
    wire_send(fd, STR(GET("/wait") "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi" GET_CLOSE("/hello")),
              SIZE_MAX);
    wire_await_stats(&wire, "waiting=1 ");
    wire_await_stats(&wire, "in_flight=2 ");
    (void)wire_get(&wire, arena, "/go");
    wire_read_all(fd, &got);
    assert_true(str_eq_c(buf_str(&got), "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nwaited"
                                        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
                                        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"));
    close(fd);
    buf_done(&got);
    arena_free(arena);
    wire_stop(&wire);
}

static void pipelining_is_bounded(void **state) {
    (void)state;
    HttpLimits limits = HTTP_LIMITS_DEFAULT;
    limits.pipeline_max = 4;
    Wire wire = wire_start(&limits);
    Buf got = buf_new(NULL, 1 << 22), many = buf_new(NULL, 1 << 22);
    Arena *arena = arena_new(1 << 20);
    buf_add_c(&many, GET("/wait"));
    for (int i = 0; i < 3000; i++)
        buf_add_c(&many, GET("/hello"));
    int fd = wire_connect(&wire);
    wire_send(fd, buf_str(&many), SIZE_MAX);
    shutdown(fd, SHUT_WR);
    wire_await_stats(&wire, "in_flight=5 ");
    (void)wire_get(&wire, arena, "/go");
    wire_read_all(fd, &got);
    size_t each = sizeof("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") - 1;
    assert_int_equal(got.n, each + 1 + 3000 * each); /* "waited" is one longer */
    close(fd);
    buf_done(&got);
    buf_done(&many);
    arena_free(arena);
    wire_stop(&wire);
}

/* Reset by the client: a reader is cancelled, a writer is not. */
static void vanished_clients(void **state) {
    (void)state;
    static const struct {
        const char *request, *before, *after;
        bool go;
    } rows[] = {
        {GET("/wait"), "waiting=1 ", "cancelled=1 committed=0 waiting=0 ", false},
        {"POST /wait HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n", "cancelled=1 committed=0 waiting=1 ",
         "cancelled=1 committed=1 waiting=0 ", true},
        {GET("/commit"), "cancelled=1 committed=1 waiting=1 ", "cancelled=1 committed=2 waiting=0 ", true},
    };
    Wire wire = wire_start(&HTTP_LIMITS_DEFAULT);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Arena *arena = arena_new(1 << 20);
        int fd = wire_connect(&wire);
        wire_send(fd, str_c(rows[i].request), SIZE_MAX);
        wire_await_stats(&wire, rows[i].before);
        struct linger reset = {.l_onoff = 1};
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close(fd);
        wire_await_stats(&wire, "connections=1 ");
        if (rows[i].go)
            (void)wire_get(&wire, arena, "/go");
        wire_await_stats(&wire, rows[i].after);
        arena_free(arena);
    }
    wire_stop(&wire);
}

/* At the limit further clients wait unanswered in the backlog, and are served when there is room. */
static void connections_are_bounded(void **state) {
    (void)state;
    HttpLimits limits = HTTP_LIMITS_DEFAULT;
    limits.connections_max = 2;
    Wire wire = wire_start(&limits);
    Buf got = buf_new(NULL, 1 << 20);
    int first = wire_connect(&wire), second = wire_connect(&wire), third = wire_connect(&wire);
    wire_send(first, STR(GET("/hello")), SIZE_MAX);
    wire_read_until(first, &got, "hello");
    buf_clear(&got);
    wire_send(third, STR(GET_CLOSE("/hello")), SIZE_MAX);
    wire_send(second, STR(GET("/stats")), SIZE_MAX);
    wire_read_until(second, &got, "waiting=0 ");
    assert_true(str_find(buf_str(&got), STR("connections=2 ")) > 0);
    buf_clear(&got);
    close(first);
    wire_read_all(third, &got);
    assert_true(str_ends_with(buf_str(&got), STR("hello")));
    close(second);
    close(third);
    buf_done(&got);
    wire_stop(&wire);
}

static void a_thousand_connections(void **state) {
    (void)state;
    enum { N = 1000 };
    struct rlimit files;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_max < N + 100)
        skip();
    Wire wire = wire_start(&HTTP_LIMITS_DEFAULT);
    static int fds[N];
    Buf got = buf_new(NULL, 1 << 20);
    for (int i = 0; i < N; i++)
        fds[i] = wire_connect(&wire);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++)
            wire_send(fds[i], STR(GET("/hello")), SIZE_MAX);
        for (int i = 0; i < N; i++) {
            buf_clear(&got);
            wire_read_until(fds[i], &got, "\r\n\r\nhello");
        }
    }
    wire_await_stats(&wire, "connections=1001 ");
    for (int i = 0; i < N; i++)
        close(fds[i]);
    buf_done(&got);
    wire_stop(&wire);
}

/* Idle connections end, requests in work are finished and say "close", then the server is done. */
static void draining(void **state) {
    (void)state;
    Wire wire = wire_start(&HTTP_LIMITS_DEFAULT);
    Buf got = buf_new(NULL, 1 << 20);
    Arena *arena = arena_new(1 << 20);
    int idle = wire_connect(&wire), busy = wire_connect(&wire), half = wire_connect(&wire);
    wire_send(busy, STR(GET("/wait")), SIZE_MAX);
    wire_send(half, STR(GET("/hello") "GET /go HTTP/1.1\r\n"), SIZE_MAX); /* a second head has begun */
    wire_read_until(half, &got, "hello");
    buf_clear(&got);
    wire_await_stats(&wire, "waiting=1 ");
    (void)wire_get(&wire, arena, "/quit");
    wire_read_all(idle, &got);
    assert_int_equal(got.n, 0);
    wire_send(half, STR("Host: t\r\n\r\n"), SIZE_MAX);
    wire_read_all(half, &got);
    assert_true(str_eq_c(buf_str(&got), "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngone"));
    buf_clear(&got);
    wire_read_all(busy, &got);
    assert_true(str_eq_c(buf_str(&got), "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nwaited"));
    close(idle);
    close(busy);
    close(half);
    buf_done(&got);
    arena_free(arena);
    wire_join(&wire);
}

/* A successor serves: nobody is closed who may be about to ask, and what was asked in one go is answered whole. */
static void retiring(void **state) {
    (void)state;
    Wire wire = wire_start(&HTTP_LIMITS_DEFAULT);
    Buf got = buf_new(NULL, 1 << 20);
    Arena *arena = arena_new(1 << 20);
    int idle = wire_connect(&wire), busy = wire_connect(&wire), fresh = wire_connect(&wire);
    wire_send(idle, STR(GET("/hello")), SIZE_MAX);
    wire_read_until(idle, &got, "hello");
    buf_clear(&got);
    wire_send(busy, STR(GET("/wait") GET("/hello")), SIZE_MAX);
    wire_await_stats(&wire, "waiting=1 ");
    (void)wire_get(&wire, arena, "/retire?1000000");
    wire_send(idle, STR(GET("/hello") GET("/go")), SIZE_MAX);
    wire_read_all(idle, &got);
    assert_true(str_eq_c(buf_str(&got), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
                                        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngone"));
    buf_clear(&got);
    wire_read_all(busy, &got);
    assert_true(str_eq_c(buf_str(&got), "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nwaited"
                                        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"));
    buf_clear(&got);
    wire_send(fresh, STR(GET("/hello")), SIZE_MAX); /* never asked before */
    wire_read_all(fresh, &got);
    assert_true(str_ends_with(buf_str(&got), STR("Connection: close\r\n\r\nhello")));
    close(idle);
    close(busy);
    close(fresh);
    buf_done(&got);
    arena_free(arena);
    wire_join(&wire);
}

static void patience_has_an_end(void **state) {
    (void)state;
    Wire wire = wire_start(&HTTP_LIMITS_DEFAULT);
    Buf got = buf_new(NULL, 1 << 20);
    Arena *arena = arena_new(1 << 20);
    int idle = wire_connect(&wire);
    (void)wire_get(&wire, arena, "/retire?1");
    wire_read_all(idle, &got);
    assert_int_equal(got.n, 0);
    close(idle);
    buf_done(&got);
    arena_free(arena);
    wire_join(&wire);
}

/* 30 MB out through a client that reads late, and 1 MB in, each way whole. */
static void large_bodies(void **state) {
    (void)state;
    HttpLimits limits = HTTP_LIMITS_DEFAULT;
    limits.arena_bytes = 100 << 20;
    Wire wire = wire_start(&limits);
    Arena *arena = arena_new(200 << 20);
    HttpAnswer answer = wire_get(&wire, arena, "/big?30000000");
    assert_int_equal(answer.body.n, 30000000);
    answer = wire_get(&wire, arena, "/stream-big");
    assert_int_equal(answer.body.n, 5000000);
    Buf post = buf_new(arena, 8 << 20);
    buf_add_c(&post, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 1048576\r\n\r\n");
    for (size_t i = 0; i < 1048576; i++)
        buf_add_char(&post, (char)('a' + i % 26));
    assert_int_equal(http_client_exchange(arena, &(HttpTarget){.host = "127.0.0.1", .port = wire.port}, buf_str(&post),
                                          false, 60000, &answer),
                     ERR_OK);
    assert_true(str_ends_with(buf_str(&post), answer.body));
    assert_int_equal(answer.body.n, 1048576);
    arena_free(arena);
    wire_stop(&wire);
}

/* The answer to a client that goes on sending must reach it: no reset may destroy it. */
static void answers_survive_clients_that_still_send(void **state) {
    (void)state;
    Wire wire = wire_start(&HTTP_LIMITS_DEFAULT);
    Arena *arena = arena_new(64 << 20);
    Buf post = buf_new(arena, 32 << 20);
    buf_add_c(&post, "POST /echo4 HTTP/1.1\r\nHost: t\r\nContent-Length: 4000000\r\n\r\n");
    for (size_t i = 0; i < 4000000; i++)
        buf_add_char(&post, 'x');
    HttpAnswer answer;
    assert_int_equal(http_client_exchange(arena, &(HttpTarget){.host = "127.0.0.1", .port = wire.port}, buf_str(&post),
                                          false, 60000, &answer),
                     ERR_OK);
    assert_int_equal(answer.status, 413);
    assert_true(answer.closed);
    arena_free(arena);
    wire_stop(&wire);
}

static void clients_that_take_nothing(void **state) {
    (void)state;
    HttpLimits limits = HTTP_LIMITS_DEFAULT;
    limits.write_timeout_ms = 50;
    limits.arena_bytes = 100 << 20;
    Wire wire = wire_start(&limits);
    int fd = wire_connect(&wire), stream = wire_connect(&wire);
    wire_send(fd, STR(GET("/big?40000000")), SIZE_MAX);
    wire_send(stream, STR(GET("/stream-big") GET("/stream-big") GET("/stream-big")), SIZE_MAX);
    wire_await_stats(&wire, "connections=1 in_flight=1 timeouts=2 ");
    close(fd);
    close(stream);
    wire_stop(&wire);
}

/* Streamed or whole, a body over the server's bound is refused; chunks hide nothing. */
static void bodies_are_bounded(void **state) {
    (void)state;
    HttpLimits limits = HTTP_LIMITS_DEFAULT;
    limits.body_max = 10;
    Wire wire = wire_start(&limits);
    const char *refused = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
#define CHUNKED(path) "POST " path " HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    expect_until_close(&wire, CHUNKED("/pieces") "6\r\n123456\r\n5\r\n12345\r\n0\r\n\r\n", refused);
    expect_until_close(&wire, CHUNKED("/echo") "b\r\n12345678901\r\n0\r\n\r\n", refused);
    expect_until_close(&wire, CHUNKED("/pieces") "5\r\n12345\r\n5\r\n12345\r\n0\r\n\r\n",
                       "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n10 510");
    expect_until_close(&wire, "POST /pieces HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\n\r\n", refused);
    wire_stop(&wire);
}

/* The server goes while requests wait, bodies are half read and answers half written. */
static void freed_in_the_midst(void **state) {
    (void)state;
    static const char *const sent[] = {
        GET("/wait"),
        GET("/big?40000000"), /* more than the buffers of both sockets may grow to */
        "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhel",
        GET("/late") GET("/hello"),
        "GET /x HTTP/1.1\r\n",
        "POST /commit HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n",
    };
    HttpLimits limits = HTTP_LIMITS_DEFAULT;
    limits.arena_bytes = 100 << 20;
    Wire wire = wire_start(&limits);
    int fds[ARRAY_LEN(sent)];
    for (size_t i = 0; i + 1 < ARRAY_LEN(sent); i++) {
        fds[i] = wire_connect(&wire);
        wire_send(fds[i], str_c(sent[i]), SIZE_MAX);
    }
    wire_await_stats(&wire, "in_flight=6 ");
    int last = wire_connect(&wire);
    wire_send(last, STR(GET("/abort")), SIZE_MAX);
    wire_join(&wire);
    for (size_t i = 0; i + 1 < ARRAY_LEN(sent); i++)
        close(fds[i]);
    close(last);
}

/* One allocation fails: that request may be refused or its connection closed, the next one is served. */
static void every_allocation_fails_once(void **state) {
    (void)state;
    static const char *const sent[] = {
        GET_CLOSE("/big?100000"),
        ("POST /echo HTTP/1.1\r\nHost: t\r\nConnection: close\r\nTransfer-Encoding: "
         "chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        "GET /%61 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
        "GET /x HTTP/3.0\r\n\r\n",
    };
    for (uint64_t n = 1; n <= 24; n++) {
        for (size_t i = 0; i < ARRAY_LEN(sent); i++) {
            wire_fail_nth = n;
            Wire wire = wire_start(&HTTP_LIMITS_DEFAULT);
            wire_fail_nth = 0;
            Buf got = buf_new(NULL, 1 << 20);
            int fd = wire_connect(&wire);
            wire_send(fd, str_c(sent[i]), 40);
            wire_read_all(fd, &got);
            assert_true(got.n == 0 || str_starts_with(buf_str(&got), STR("HTTP/1.1 ")));
            close(fd);
            Arena *arena = arena_new(1 << 20);
            HttpAnswer answer = {0};
            for (int tries = 0; tries < 2 && answer.status != 200; tries++) /* the failure may be still to come */
                (void)!http_client_exchange(arena, &(HttpTarget){.host = "127.0.0.1", .port = wire.port},
                                            STR(GET_CLOSE("/hello")), false, 60000, &answer);
            if (!str_eq_c(answer.body, "hello"))
                fail_msg("allocation %lu, request %zu: got '%.*s', then status %d", n, i, STR_ARG(buf_str(&got)),
                         answer.status);
            for (int tries = 0; tries < 2; tries++)
                (void)!http_client_exchange(arena, &(HttpTarget){.host = "127.0.0.1", .port = wire.port},
                                            STR(GET_CLOSE("/quit")), false, 60000, &answer);
            buf_done(&got);
            arena_free(arena);
            wire_join(&wire);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_outs),
        cmocka_unit_test(unread_body_times_out),
        cmocka_unit_test(pipelined_answers_keep_their_order),
        cmocka_unit_test(unsafe_requests_wait_for_their_turn),
        cmocka_unit_test(pipelining_is_bounded),
        cmocka_unit_test(vanished_clients),
        cmocka_unit_test(connections_are_bounded),
        cmocka_unit_test(a_thousand_connections),
        cmocka_unit_test(draining),
        cmocka_unit_test(retiring),
        cmocka_unit_test(patience_has_an_end),
        cmocka_unit_test(large_bodies),
        cmocka_unit_test(answers_survive_clients_that_still_send),
        cmocka_unit_test(clients_that_take_nothing),
        cmocka_unit_test(bodies_are_bounded),
        cmocka_unit_test(freed_in_the_midst),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
