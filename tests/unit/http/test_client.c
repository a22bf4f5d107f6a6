/*
 * test_client.c - how the replaying client reads answers, good and bad. The server is the other end of a socket pair.
 */
#include "wire.h"

static const struct {
    const char *label, *answer;
    bool is_head;
    Err want;
    int status;
    const char *body;
    bool closed;
} cases[] = {
    {"a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, ERR_OK, 200, "hello", true},
    {"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\nT: r\r\n\r\n", false,
     ERR_OK, 200, "hello", true},
    {"until the end", "HTTP/1.1 200 OK\r\n\r\nhello", false, ERR_OK, 200, "hello", true},
    {"interim answers are skipped", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx",
     false, ERR_OK, 201, "x", true},
    {"204 has no body", "HTTP/1.1 204 No Content\r\n\r\nrest", false, ERR_OK, 204, "", true},
    {"HEAD has no body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, ERR_OK, 200, "", true},
    {"close is announced", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\nrest", false, ERR_OK, 200,
     "", true},
    {"nothing", "", false, ERR_EOF, 0, NULL, true},
    {"not HTTP", "\x01\x02\r\n", false, ERR_EOF, 0, NULL, false},
    {"no end of the head", "HTTP/1.1 200 OK\r\nX: y\r\n", false, ERR_EOF, 0, NULL, true},
    {"a body cut short", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", false, ERR_EOF, 0, NULL, true},
    {"chunks cut short", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", false, ERR_EOF, 0, NULL,
     true},
    {"no chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", false, ERR_EOF, 0, NULL, false},
};

static void answers(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        wire_send(pair[1], str_c(cases[i].answer), SIZE_MAX);
        shutdown(pair[1], SHUT_WR);
        Arena *arena = arena_new(1 << 20);
        HttpAnswer answer;
        Err err =
            http_client_exchange_fd(arena, pair[0], STR("GET / HTTP/1.1\r\n\r\n"), cases[i].is_head, 60000, &answer);
        if (err != cases[i].want || answer.status != cases[i].status)
            fail_msg("%s: %s, status %d", cases[i].label, err_name(err), answer.status);
        if (cases[i].body != NULL && !str_eq_c(answer.body, cases[i].body))
            fail_msg("%s: body '%.*s'", cases[i].label, STR_ARG(answer.body));
        if (answer.closed != cases[i].closed)
            fail_msg("%s: closed %d", cases[i].label, answer.closed);
        arena_free(arena);
        close(pair[0]);
        close(pair[1]);
    }
}

static void headers_keep_their_order(void **state) {
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    wire_send(pair[1], STR("HTTP/1.1 200 OK\r\nB: 1\r\na:  2 \r\nB: 3\r\nContent-Length: 0\r\n\r\n"), SIZE_MAX);
    Arena *arena = arena_new(1 << 20);
    HttpAnswer answer;
    assert_int_equal(http_client_exchange_fd(arena, pair[0], STR("x"), false, 60000, &answer), ERR_OK);
    assert_int_equal(answer.header_count, 4);
    assert_true(str_eq_c(answer.headers[0].name, "B") && str_eq_c(answer.headers[0].value, "1"));
    assert_true(str_eq_c(answer.headers[1].name, "a") && str_eq_c(answer.headers[1].value, "2"));
    assert_true(str_eq_c(answer.headers[2].value, "3"));
    assert_false(answer.closed);
    arena_free(arena);
    close(pair[0]);
    close(pair[1]);
}

static void no_answer(void **state) {
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    Arena *arena = arena_new(1 << 20);
    HttpAnswer answer;
    assert_int_equal(http_client_exchange_fd(arena, pair[0], STR("x"), false, 20, &answer), ERR_TIMEOUT);
    assert_int_equal(
        http_client_exchange(arena, &(HttpTarget){.host = "127.0.0.1", .port = 1}, STR("x"), false, 20000, &answer),
        ERR_UNAVAILABLE);
    arena_free(arena);
    close(pair[0]);
    close(pair[1]);
}

/* Addresses to listen on: what works, and the words when it does not. */
static void listening(void **state) {
    (void)state;
    static const struct {
        const char *address;
        Err want;
        const char *words;
    } rows[] = {
        {"127.0.0.1:0", ERR_OK, NULL},
        {":0", ERR_OK, NULL},
        {"127.0.0.1", ERR_INVALID, "is no address; write 127.0.0.1:5000"},
        {"127.0.0.1:x", ERR_INVALID, "is no address"},
        {"127.0.0.1:70000", ERR_INVALID, "is no address"},
        {"::1:5000", ERR_INVALID, "is no address"},
        {"unix:", ERR_INVALID, "the path of a unix socket"},
        {"192.0.2.1:5000", ERR_IO, "is no address of this machine"},
    };
    Arena *arena = arena_new(1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int fd = -1;
        Str why = {NULL, 0};
        Err err = http_listen_socket(str_c(rows[i].address), &fd, &why, arena);
        if (err != rows[i].want || (rows[i].words != NULL && str_find(why, str_c(rows[i].words)) < 0))
            fail_msg("%s: %s, '%.*s'", rows[i].address, err_name(err), STR_ARG(why));
        if (fd >= 0)
            close(fd);
    }
    arena_free(arena);
}

static void a_port_in_use(void **state) {
    (void)state;
    Wire wire = wire_start(&HTTP_LIMITS_DEFAULT); /* another process that allows SO_REUSEPORT */
    Arena *arena = arena_new(1 << 20);
    wire_await_stats(&wire, "connections=1 ");
    int fd;
    Str why = {NULL, 0}, address = arena_printf(arena, "127.0.0.1:%d", wire.port);
    assert_int_equal(http_listen_socket(address, &fd, &why, arena), ERR_CONFLICT);
    assert_true(str_starts_with(why, STR("address already in use: another program listens on 127.0.0.1:")));
    wire_stop(&wire);
    /* and of one process several sockets may share a port: one for each worker */
    int second;
    assert_int_equal(http_listen_socket(address, &fd, &why, arena), ERR_OK);
    assert_int_equal(http_listen_socket(address, &second, &why, arena), ERR_OK);
    close(fd);
    close(second);
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),       cmocka_unit_test(headers_keep_their_order),
        cmocka_unit_test(no_answer),     cmocka_unit_test(listening),
        cmocka_unit_test(a_port_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
