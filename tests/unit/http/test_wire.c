/*
 * test_wire.c - whole conversations, byte for byte: each sent at once and byte by byte, with the same outcome.
 */
#include "wire.h"

#define GET(path)          "GET " path " HTTP/1.1\r\nHost: t\r\n\r\n"
#define GET_CLOSE(path)    "GET " path " HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
#define POST(path, n)      "POST " path " HTTP/1.1\r\nHost: t\r\nContent-Length: " #n "\r\n\r\n"
#define POST_CHUNKED(path) "POST " path " HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
#define OK(n, body)        "HTTP/1.1 200 OK\r\nContent-Length: " #n "\r\n\r\n" body
#define OK_CLOSE(n, body)  "HTTP/1.1 200 OK\r\nContent-Length: " #n "\r\nConnection: close\r\n\r\n" body
#define REFUSED(words)     "HTTP/1.1 " words "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

static const struct {
    const char *label;
    const char *send;
    const char *want;
    bool half_close; /* the client says "end" behind its bytes; else the server must close by itself */
} scripts[] = {
    {"close asked for", GET_CLOSE("/hello"), OK_CLOSE(5, "hello"), false},
    {"keep-alive", GET("/hello") GET("/hello") GET_CLOSE("/hello"), OK(5, "hello") OK(5, "hello") OK_CLOSE(5, "hello"),
     false},
    {"half-closed clients get their answers", GET("/hello") GET("/empty"),
     OK(5, "hello") "HTTP/1.1 204 No Content\r\n\r\n", true},
    {"a request cut short gets none", "GET /hello HTTP/1.1\r\nHost: t\r\n", "", true},
    {"empty lines between requests", GET("/hello") "\r\n\r\n" GET_CLOSE("/hello") "\r\n",
     OK(5, "hello") OK_CLOSE(5, "hello"), false},
    {"HTTP/1.0 is answered and closed", "GET /hello HTTP/1.0\r\n\r\n", OK_CLOSE(5, "hello"), false},
    {"HTTP/1.0 keep-alive is not honoured", "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
     OK_CLOSE(5, "hello"), false},
    {"nothing behind close is read", GET_CLOSE("/hello") GET("/empty"), OK_CLOSE(5, "hello"), false},
    {"the handler closes", GET("/close") GET("/hello"), OK_CLOSE(3, "bye"), false},
    {"nothing is answered to the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", false},
    {"HEAD has the length and no body", "HEAD /hello HTTP/1.1\r\nHost: t\r\n\r\n" GET_CLOSE("/hello"),
     OK(5, "") OK_CLOSE(5, "hello"), false},
    {"a handler that says nothing", GET("/silent"), "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
     true},
    {"an arena that is used up", GET("/greedy"), "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", true},
    {"a body over its limit", GET("/overfull"), "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", true},

    {"a body", POST("/echo", 5) "hello" GET_CLOSE("/hello"), OK(5, "hello") OK_CLOSE(5, "hello"), false},
    {"an empty body", POST("/echo", 0) GET_CLOSE("/hello"), OK(0, "") OK_CLOSE(5, "hello"), false},
    {"a chunked body", POST_CHUNKED("/echo") "2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: r\r\n\r\n" GET_CLOSE("/hello"),
     OK(5, "hello") OK_CLOSE(5, "hello"), false},
    {"an empty chunked body", POST_CHUNKED("/echo") "0\r\n\r\n" GET_CLOSE("/hello"), OK(0, "") OK_CLOSE(5, "hello"),
     false},
    {"piece by piece", POST_CHUNKED("/pieces") "1\r\na\r\n1\r\nb\r\n0\r\n\r\n" POST("/pieces", 3) "abc",
     OK(5, "2 195") OK(5, "3 294"), true},
    {"a body nobody reads", POST("/hello", 5) "12345" GET_CLOSE("/hello"), OK(5, "hello") OK_CLOSE(5, "hello"), false},
    {"a chunked body nobody reads", POST_CHUNKED("/hello") "3\r\nabc\r\n0\r\n\r\n" GET_CLOSE("/hello"),
     OK(5, "hello") OK_CLOSE(5, "hello"), false},
    {"a long body nobody reads ends the connection", POST("/hello", 999999) "12345", OK_CLOSE(5, "hello"), false},
    {"a body over the handler's limit", POST("/echo4", 5) "hello" GET("/hello"), REFUSED("413 Content Too Large"),
     false},
    {"a body over the server's limit", POST("/echo", 30000001) "{", REFUSED("413 Content Too Large"), false},
    {"a body cut short", POST("/echo", 5) "hel", REFUSED("400 Bad Request"), true},
    {"a bad chunk", POST_CHUNKED("/echo") "zz\r\n", REFUSED("400 Bad Request"), false},
    {"a bad chunk nobody reads", POST_CHUNKED("/hello") "zz\r\n", OK(5, "hello"), false},

    {"100-continue when the body is asked for",
     "POST /echo HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
     "HTTP/1.1 100 Continue\r\n\r\n" REFUSED("400 Bad Request"), true},
    {"no 100 when it is not, and then no guessing",
     "POST /hello HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", OK_CLOSE(5, "hello"),
     false},
    {"no 100 for a body that is too long",
     "POST /echo4 HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
     REFUSED("413 Content Too Large"), false},
    {"another expectation", "POST /echo HTTP/1.1\r\nHost: t\r\nExpect: x\r\nContent-Length: 5\r\n\r\nhello",
     REFUSED("417 Expectation Failed"), false},

    {"a stream", GET("/stream") GET_CLOSE("/hello"),
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n8\r\ntwothree\r\n0\r\n\r\n" OK_CLOSE(5, "hello"),
     false},
    {"a stream for HTTP/1.0", "GET /stream HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nonetwothree",
     false},
    {"a stream for HEAD", "HEAD /stream HTTP/1.1\r\nHost: t\r\n\r\n" GET_CLOSE("/hello"),
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" OK_CLOSE(5, "hello"), false},
    {"no length wanted", GET("/chunky") GET_CLOSE("/hello"),
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nchunky\r\n0\r\n\r\n" OK_CLOSE(5, "hello"), false},
    {"no length wanted, HTTP/1.0", "GET /chunky HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nchunky",
     false},

    {"the path as handlers see it", "GET /a/../%62%20c?q HTTP/1.1\r\nHost: t\r\n\r\n",
     "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nX-Path: /b c\r\nX-Method: GET\r\n\r\n", true},
    {"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n",
     "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nX-Path: *\r\nX-Method: OPTIONS\r\n\r\n", true},
    {"an upgrade is ignored",
     "GET /hello HTTP/1.1\r\nHost: t\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: "
     "AAMA\r\n\r\n",
     OK(5, "hello"), true},
    {"traceparent is taken up",
     "GET /trace HTTP/1.1\r\nHost: t\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
     "tracestate: a=b\r\n\r\n",
     OK(39, "00-0af7651916cd43dd8448eb211c80319c-a=b"), true},
    {"tracestate in several fields is one list",
     "GET /trace HTTP/1.1\r\nHost: t\r\ntracestate: a=b\r\ntraceparent: "
     "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nTracestate: c=d\r\n\r\n",
     OK(43, "00-0af7651916cd43dd8448eb211c80319c-a=b,c=d"), true},
    {"a tracestate that is none is left out",
     "GET /trace HTTP/1.1\r\nHost: t\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
     "tracestate: a=b,A=b\r\n\r\n",
     OK(36, "00-0af7651916cd43dd8448eb211c80319c-"), true},

    {"refusals come after the answers before them", GET("/hello") "GET /x HTTP/3.0\r\n\r\n",
     OK(5, "hello") REFUSED("505 HTTP Version Not Supported"), false},
    {"a refusal ends all", "GET /x\r\n\r\n" GET("/hello"), REFUSED("400 Bad Request"), false},
    {"no slash", "GET events HTTP/1.1\r\nHost: t\r\n\r\n",
     "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\nAllow: CONNECT\r\n\r\n", false},
    {"CL.TE is refused before anything of it counts",
     "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" GET("/hello"),
     REFUSED("400 Bad Request"), false},
};

static void run(const Wire *wire, size_t i, size_t step) {
    Buf got = buf_new(NULL, 1 << 20);
    int fd = wire_connect(wire);
    wire_send(fd, str_c(scripts[i].send), step);
    if (scripts[i].half_close)
        shutdown(fd, SHUT_WR);
    wire_read_all(fd, &got);
    close(fd);
    if (!str_eq_c(buf_str(&got), scripts[i].want))
        fail_msg("%s (in steps of %zu):\n--- want\n%s\n--- got\n%.*s\n---", scripts[i].label, step, scripts[i].want,
                 STR_ARG(buf_str(&got)));
    buf_done(&got);
}

static void conversations(void **state) {
    (void)state;
    Wire wire = wire_start(&HTTP_LIMITS_DEFAULT);
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        run(&wire, i, SIZE_MAX);
        run(&wire, i, 1);
        run(&wire, i, 7);
    }
    wire_stop(&wire);
}

/* The client sends its body only when told to. */
static void expect_continue(void **state) {
    (void)state;
    Wire wire = wire_start(&HTTP_LIMITS_DEFAULT);
    Buf got = buf_new(NULL, 1 << 20);
    int fd = wire_connect(&wire);
    wire_send(fd, STR("POST /echo HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"), SIZE_MAX);
    wire_read_until(fd, &got, "HTTP/1.1 100 Continue\r\n\r\n");
    wire_send(fd, STR("hello" GET_CLOSE("/hello")), SIZE_MAX);
    wire_read_all(fd, &got);
    assert_true(str_eq_c(buf_str(&got), "HTTP/1.1 100 Continue\r\n\r\n" OK(5, "hello") OK_CLOSE(5, "hello")));
    close(fd);
    buf_done(&got);
    wire_stop(&wire);
}

/* A stream that breaks off must not look whole. */
static void cut_stream(void **state) {
    (void)state;
    Wire wire = wire_start(&HTTP_LIMITS_DEFAULT);
    Arena *arena = arena_new(1 << 20);
    HttpAnswer answer;
    Str request = STR("GET /stream-cut HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_int_equal(http_client_exchange(arena, &(HttpTarget){.host = "127.0.0.1", .port = wire.port}, request, false,
                                          60000, &answer),
                     ERR_EOF);
    arena_free(arena);
    wire_stop(&wire);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(conversations), cmocka_unit_test(expect_continue),
                                       cmocka_unit_test(cut_stream)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
