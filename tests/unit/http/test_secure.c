/*
 * test_secure.c - conversations over TLS, byte for byte those of plain connections; slow, broken and vanishing clients.
 */
#include "../tls/certs.h"
#include "h2_client.h"

#include <fcntl.h>

#define GET(path)         "GET " path " HTTP/1.1\r\nHost: t\r\n\r\n"
#define GET_CLOSE(path)   "GET " path " HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
#define POST(path, n)     "POST " path " HTTP/1.1\r\nHost: t\r\nContent-Length: " #n "\r\n\r\n"
#define OK(n, body)       "HTTP/1.1 200 OK\r\nContent-Length: " #n "\r\n\r\n" body
#define OK_CLOSE(n, body) "HTTP/1.1 200 OK\r\nContent-Length: " #n "\r\nConnection: close\r\n\r\n" body

#ifdef USHER_VALGRIND
enum { STEP = 7 };
#else
enum { STEP = 1 };
#endif

static char folder[64];
static SSL_CTX *client_context;

static int set_up(void **state) {
    (void)state;
    folder_make(folder);
    certs_usual(folder);
    client_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(client_context, SSL_VERIFY_NONE, NULL);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    SSL_CTX_free(client_context);
    folder_remove(folder);
    return 0;
}

static Wire start(const HttpLimits *limits) {
    static TlsTickets tickets;
    Arena *arena = arena_new(1 << 20); /* gone before the fork: the child would be blamed for it */
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    tls_tickets_init(&tickets);
    TlsCertificateFiles files = {arena_printf(arena, "%s/server.crt", folder),
                                 arena_printf(arena, "%s/server.key", folder)};
    TlsServerOptions options = {.certificates = &files, .n_certificates = 1, .http2 = true, .tickets = &tickets};
    assert_int_equal(tls_server_new(&ctx, &options, &wire_tls), ERR_OK);
    arena_free(arena);
    Wire wire = wire_start(limits);
    tls_context_unref(wire_tls);
    wire_tls = NULL;
    return wire;
}

static SSL *connect_tls(const Wire *wire) {
    SSL *ssl = SSL_new(client_context);
    SSL_set_fd(ssl, wire_connect_port(wire->tls_port));
    assert_int_equal(SSL_connect(ssl), 1);
    return ssl;
}

static void close_tls(SSL *ssl) {
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
}

static void write_tls(SSL *ssl, Str bytes, size_t step) {
    for (size_t at = 0; at < bytes.n; at += step)
        if (SSL_write(ssl, bytes.p + at, (int)MIN_OF(step, bytes.n - at)) <= 0)
            return;
}

/* All until the end; true: it was said (close_notify). */
static bool read_tls(SSL *ssl, Buf *got) {
    for (;;) {
        char *room = buf_reserve(got, 65536);
        int n = SSL_read(ssl, room, 65536);
        if (n <= 0)
            return SSL_get_error(ssl, n) == SSL_ERROR_ZERO_RETURN;
        got->n += (size_t)n;
    }
}

static const struct {
    const char *label, *send, *want;
    bool half_close;
} scripts[] = {
    {"close asked for", GET_CLOSE("/hello"), OK_CLOSE(5, "hello"), false},
    {"pipelined", GET("/hello") GET("/hello") GET_CLOSE("/hello"), OK(5, "hello") OK(5, "hello") OK_CLOSE(5, "hello"),
     false},
    {"close_notify is no leaving", GET("/hello") GET("/empty"), OK(5, "hello") "HTTP/1.1 204 No Content\r\n\r\n", true},
    {"a body", POST("/echo", 5) "hello" GET_CLOSE("/hello"), OK(5, "hello") OK_CLOSE(5, "hello"), false},
    {"a body cut short", POST("/echo", 5) "hel",
     "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", true},
    {"chunks",
     "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n" GET_CLOSE(
         "/hello"),
     OK(5, "hello") OK_CLOSE(5, "hello"), false},
    {"a stream", GET("/stream") GET_CLOSE("/hello"),
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n8\r\ntwothree\r\n0\r\n\r\n" OK_CLOSE(5, "hello"),
     false},
    {"a refusal", "GET /x\r\n\r\n" GET("/hello"),
     "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false},
};

static void conversations(void **state) {
    (void)state;
    static const size_t steps[] = {SIZE_MAX / 2, 1, 7};
    Wire wire = start(&HTTP_LIMITS_DEFAULT);
    for (size_t i = 0; i < ARRAY_LEN(scripts) * ARRAY_LEN(steps); i++) {
        size_t at = i / ARRAY_LEN(steps);
        Buf got = buf_new(NULL, 1 << 20);
        SSL *ssl = connect_tls(&wire);
        write_tls(ssl, str_c(scripts[at].send), steps[i % ARRAY_LEN(steps)]);
        if (scripts[at].half_close)
            assert_int_equal(SSL_shutdown(ssl), 0);
        if (!read_tls(ssl, &got) || !str_eq_c(buf_str(&got), scripts[at].want))
            fail_msg("%s:\n--- want\n%s\n--- got\n%.*s\n---", scripts[at].label, scripts[at].want,
                     STR_ARG(buf_str(&got)));
        close_tls(ssl);
        buf_done(&got);
    }
    wire_stop(&wire);
}

/* More than any buffer holds, both ways at once, in records of odd lengths; the client begins to read late. */
static void large_bodies(void **state) {
    (void)state;
    enum { MANY = 1500 * 1000 };
    char *many = heap_alloc(MANY);
    memset(many, 'u', MANY);
    Wire wire = start(&HTTP_LIMITS_DEFAULT);
    SSL *ssl = connect_tls(&wire);
    Buf got = buf_new(NULL, 64 << 20);
    write_tls(ssl, STR(GET("/big?3000000") GET("/stream-big")), SIZE_MAX / 2);
    wire_await_stats(&wire, "in_flight=2 "); /* the server is blocked */
    write_tls(ssl, STR("POST /pieces HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 1500000\r\n\r\n"),
              SIZE_MAX / 2);
    size_t sent = 0;
    (void)fcntl(SSL_get_fd(ssl), F_SETFL, O_NONBLOCK);
    SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    for (bool open = true; open;) {
        struct pollfd ready = {.fd = SSL_get_fd(ssl), .events = (short)(POLLIN | (sent < MANY ? POLLOUT : 0))};
        assert_true(poll(&ready, 1, 20000) > 0);
        int n = sent < MANY ? SSL_write(ssl, many + sent, (int)MIN_OF(MANY - sent, (size_t)10007)) : 0;
        sent += n > 0 ? (size_t)n : 0;
        n = SSL_read(ssl, buf_reserve(&got, 65536), 65536);
        got.n += n > 0 ? (size_t)n : 0;
        open = n > 0 || SSL_get_error(ssl, n) != SSL_ERROR_ZERO_RETURN;
    }
    assert_true(got.n > 3000000 + 5000000);
    assert_true(str_ends_with(buf_str(&got), STR("1500000 175500000")));
    close_tls(ssl);
    buf_done(&got);
    heap_free(many);
    wire_stop(&wire);
}

static void await_close(int fd) {
    Buf got = buf_new(NULL, 1 << 20);
    wire_read_all(fd, &got);
    close(fd);
    buf_done(&got);
}

static void slow_handshakes_end(void **state) {
    (void)state;
    HttpLimits limits = HTTP_LIMITS_DEFAULT;
    limits.head_timeout_ms = 50;
    limits.idle_timeout_ms = 60000;
    Wire wire = start(&limits);
    await_close(wire_connect_port(wire.tls_port)); /* not a byte */
    int fd = wire_connect_port(wire.tls_port);
    wire_send(fd, (Str){"\x16\x03\x01\x01\x00\x01\x00", 7}, SIZE_MAX); /* not the whole ClientHello */
    await_close(fd);
    wire_await_stats(&wire, "connections=1 in_flight=1 timeouts=2 ");
    wire_stop(&wire);
}

static void idle_connections_are_told(void **state) {
    (void)state;
    HttpLimits limits = HTTP_LIMITS_DEFAULT;
    limits.idle_timeout_ms = 50;
    Wire wire = start(&limits);
    Buf got = buf_new(NULL, 1 << 20);
    SSL *ssl = connect_tls(&wire);
    write_tls(ssl, STR(GET("/hello")), SIZE_MAX / 2);
    assert_true(read_tls(ssl, &got)); /* close_notify: not cut off */
    assert_true(str_eq_c(buf_str(&got), OK(5, "hello")));
    close_tls(ssl);
    buf_done(&got);
    wire_stop(&wire);
}

static void vanished_clients(void **state) {
    (void)state;
    static const char *const paths[] = {GET("/wait"), GET("/big?3000000"), GET("/stream-big"), POST("/echo", 999)};
    Wire wire = start(&HTTP_LIMITS_DEFAULT);
    for (size_t i = 0; i < 2 * ARRAY_LEN(paths); i++) {
        SSL *ssl = connect_tls(&wire);
        write_tls(ssl, str_c(paths[i / 2]), SIZE_MAX / 2);
        wire_await_stats(&wire, "connections=2 ");
        struct linger reset = {.l_onoff = i % 2 == 0};
        (void)setsockopt(SSL_get_fd(ssl), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close_tls(ssl); /* without close_notify */
        wire_await_stats(&wire, "connections=1 in_flight=1 ");
    }
    wire_stop(&wire);
}

static void http2_by_alpn(void **state) {
    (void)state;
    Wire wire = start(&HTTP_LIMITS_DEFAULT);
    SSL *ssl = SSL_new(client_context);
    SSL_set_alpn_protos(ssl, (const uint8_t *)"\x02h2", 3);
    SSL_set_fd(ssl, wire_connect_port(wire.tls_port));
    assert_int_equal(SSL_connect(ssl), 1);
    /* preface, SETTINGS, GET / with an authority of one letter */
    static const char bytes[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
                                "\0\0\6\1\5\0\0\0\1\x82\x86\x84\x41\1t";
    write_tls(ssl, (Str){bytes, sizeof(bytes) - 1}, 5);
    Buf got = buf_new(NULL, 1 << 20);
    while (str_find(buf_str(&got), (Str){"\1\5\0\0\0\1", 6}) < 0) { /* HEADERS, its end and the stream's, of stream 1 */
        int n = SSL_read(ssl, buf_reserve(&got, 4096), 4096);
        assert_true(n > 0);
        got.n += (size_t)n;
    }
    buf_done(&got);
    close_tls(ssl);
    wire_stop(&wire);
}

/* Who has begun a handshake may end it; who has said nothing is not waited for. */
static void a_drain_lets_handshakes_end(void **state) {
    (void)state;
    Wire wire = start(&HTTP_LIMITS_DEFAULT);
    int silent = wire_connect_port(wire.tls_port), begun = wire_connect_port(wire.tls_port);
    SSL *idle = connect_tls(&wire), *ssl = SSL_new(client_context);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    assert_int_equal(SSL_connect(ssl), -1);
    char hello[4096];
    int n = BIO_read(SSL_get_wbio(ssl), hello, sizeof(hello));
    wire_send(begun, (Str){hello, 50}, SIZE_MAX);
    wire_await_stats(&wire, "connections=4 ");
    Arena *arena = arena_new(1 << 20);
    (void)wire_get(&wire, arena, "/quit");
    arena_free(arena);
    await_close(silent);
    Buf got = buf_new(NULL, 1 << 20);
    assert_true(read_tls(idle, &got));
    wire_send(begun, (Str){hello + 50, (size_t)n - 50}, SIZE_MAX);
    assert_int_equal(recv(begun, hello, 1, 0), 1);
    assert_int_equal(hello[0], 22); /* a record of the handshake */
    close(begun);
    close_tls(idle);
    SSL_free(ssl);
    buf_done(&got);
    wire_join(&wire);
}

/* Ours, not OpenSSL's: the connection may be lost, the server is not. */
static void every_allocation_fails_once(void **state) {
    (void)state;
    for (uint64_t n = 1; n <= 20; n += STEP) {
        wire_fail_nth = n;
        Wire wire = start(&HTTP_LIMITS_DEFAULT);
        wire_fail_nth = 0;
        Buf got = buf_new(NULL, 1 << 20);
        for (int tries = 0; tries < 4; tries++) {
            SSL *ssl = SSL_new(client_context);
            SSL_set_fd(ssl, wire_connect_port(wire.tls_port));
            buf_clear(&got);
            if (SSL_connect(ssl) == 1) {
                write_tls(ssl, STR(GET_CLOSE("/hello")), SIZE_MAX / 2);
                (void)read_tls(ssl, &got);
            }
            close_tls(ssl);
        }
        if (!str_eq_c(buf_str(&got), OK_CLOSE(5, "hello")))
            fail_msg("allocation %lu: '%.*s'", n, STR_ARG(buf_str(&got)));
        buf_done(&got);
        wire_stop(&wire);
    }
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversations),
        cmocka_unit_test(large_bodies),
        cmocka_unit_test(slow_handshakes_end),
        cmocka_unit_test(idle_connections_are_told),
        cmocka_unit_test(vanished_clients),
        cmocka_unit_test(http2_by_alpn),
        cmocka_unit_test(a_drain_lets_handshakes_end),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
