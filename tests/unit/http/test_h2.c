/*
 * test_h2.c - HTTP/2 in the handlers' eyes: bodies, streams, windows, resets, refused allocations.
 *
 * What is right and wrong on the wire is tests/blackbox/test_h2.py's.
 */
#include "h2_client.h"

static const Str NO_BODY = {NULL, 0};

#ifdef USHER_VALGRIND
enum { ALLOCATIONS = 150, STEP = 11 }; /* each is a server of its own, which takes its time there */
#else
enum { ALLOCATIONS = 150, STEP = 1 };
#endif

static Wire start(const HttpLimits *limits) {
    wire_http2 = true;
    Wire wire = wire_start(limits);
    wire_http2 = false;
    return wire;
}

static const struct {
    const char *label, *method, *path;
    const char *send; /* NULL: no body */
    int status;
    const char *want;
} asks[] = {
    {"a text", "GET", "/hello", NULL, 200, "hello"},
    {"HEAD", "HEAD", "/hello", NULL, 200, ""},
    {"nothing", "GET", "/empty", NULL, 204, ""},
    {"a handler that says nothing", "GET", "/silent", NULL, 500, ""},
    {"an answer over its limit", "GET", "/overfull", NULL, 503, ""},
    {"no length wanted", "GET", "/chunky", NULL, 200, "chunky"},
    {"close means nothing", "GET", "/close", NULL, 200, "bye"},
    {"a body", "POST", "/echo", "hello", 200, "hello"},
    {"an empty body", "POST", "/echo", "", 200, ""},
    {"no body", "POST", "/echo", NULL, 200, ""},
    {"over the handler's limit", "POST", "/echo4", "hello", 413, ""},
    {"by pieces", "POST", "/pieces", "abc", 200, "3 294"},
    {"a body nobody reads", "POST", "/hello", "12345", 200, "hello"},
    {"a stream", "GET", "/stream", NULL, 200, "onetwothree"},
    {"a stream for HEAD", "HEAD", "/stream", NULL, 200, ""},
    {"the path as handlers see it", "GET", "/a/../%62%20c?q", NULL, 404, ""},
};

static void answers(void **state) {
    (void)state;
    Wire wire = start(&HTTP_LIMITS_DEFAULT);
    H2Client *client = h2_connect(wire_connect(&wire), false, 65535);
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        int32_t id = h2_ask(client, asks[i].method, asks[i].path, str_c(asks[i].send), NULL);
        const H2Answer *answer = h2_await(client, id);
        if (!answer->ended || answer->status != asks[i].status || !str_eq_c(buf_str(&answer->body), asks[i].want))
            fail_msg("%s: %d '%.*s', ended %d, code %u", asks[i].label, answer->status, STR_ARG(buf_str(&answer->body)),
                     answer->ended, answer->code);
    }
    h2_close(client);
    wire_stop(&wire);
}

static void streams_overtake(void **state) {
    (void)state;
    Wire wire = start(&HTTP_LIMITS_DEFAULT);
    H2Client *client = h2_connect(wire_connect(&wire), false, 65535);
    int32_t slow = h2_ask(client, "GET", "/wait", NO_BODY, NULL), fast = h2_ask(client, "GET", "/hello", NO_BODY, NULL);
    assert_int_equal(h2_await(client, fast)->status, 200);
    assert_false(client->answers[slow].ended);
    (void)h2_await(client, h2_ask(client, "GET", "/go", NO_BODY, NULL));
    assert_true(str_eq_c(buf_str(&h2_await(client, slow)->body), "waited"));
    h2_close(client);
    wire_stop(&wire);
}

static void a_cut_stream_is_reset(void **state) {
    (void)state;
    Wire wire = start(&HTTP_LIMITS_DEFAULT);
    H2Client *client = h2_connect(wire_connect(&wire), false, 65535);
    const H2Answer *answer = h2_await(client, h2_ask(client, "GET", "/stream-cut", NO_BODY, NULL));
    assert_int_equal(answer->status, 200);
    assert_false(answer->ended);
    assert_int_equal(answer->code, NGHTTP2_INTERNAL_ERROR);
    assert_int_equal(h2_await(client, h2_ask(client, "GET", "/hello", NO_BODY, NULL))->status, 200);
    h2_close(client);
    wire_stop(&wire);
}

static void continue_when_asked_for(void **state) {
    (void)state;
    Wire wire = start(&HTTP_LIMITS_DEFAULT);
    H2Client *client = h2_connect(wire_connect(&wire), false, 65535);
    const H2Answer *answer = h2_await(client, h2_ask(client, "POST", "/echo", STR("hello"), "100-continue"));
    assert_int_equal(answer->status, 200);
    assert_true(str_eq_c(buf_str(&answer->body), "hello"));
    h2_close(client);
    wire_stop(&wire);
}

static void large_bodies_both_ways(void **state) {
    (void)state;
    enum { MANY = 1500 * 1000 };
    char *many = heap_alloc(MANY);
    memset(many, 1, MANY);
    Wire wire = start(&HTTP_LIMITS_DEFAULT);
    H2Client *client = h2_connect(wire_connect(&wire), false, 20000);
    int32_t up = h2_ask(client, "POST", "/pieces", (Str){many, MANY}, NULL);
    int32_t echo = h2_ask(client, "POST", "/echo", (Str){many, MANY}, NULL);
    int32_t down = h2_ask(client, "GET", "/big?3000000", NO_BODY, NULL);
    int32_t stream = h2_ask(client, "GET", "/stream-big", NO_BODY, NULL);
    assert_true(str_eq_c(buf_str(&h2_await(client, up)->body), "1500000 1500000"));
    assert_int_equal(h2_await(client, down)->body.n, 3000000);
    assert_int_equal(h2_await(client, stream)->body.n, 5000000);
    const H2Answer *answer = h2_await(client, echo);
    assert_true(answer->ended && answer->body.n == MANY);
    assert_memory_equal(answer->body.p, many, MANY);
    h2_close(client);
    heap_free(many);
    wire_stop(&wire);
}

static void windows_hold_answers_back(void **state) {
    (void)state;
    Wire wire = start(&HTTP_LIMITS_DEFAULT);
    H2Client *client = h2_connect(wire_connect(&wire), true, 1000);
    int32_t id = h2_ask(client, "GET", "/big?3000", NO_BODY, NULL);
    for (size_t wanted = 1000; wanted <= 3000; wanted += 1000) {
        while (client->answers[id].body.n < wanted && h2_turn(client, 10)) {
        }
        h2_settled(client);
        assert_int_equal(client->answers[id].body.n, wanted);
        assert_int_equal(nghttp2_session_consume(client->ng, id, 1000), 0);
    }
    assert_true(h2_await(client, id)->ended);
    h2_close(client);
    wire_stop(&wire);
}

static void a_client_that_opens_no_window_is_given_up(void **state) {
    (void)state;
    HttpLimits limits = HTTP_LIMITS_DEFAULT;
    limits.write_timeout_ms = 50;
    Wire wire = start(&limits);
    H2Client *client = h2_connect(wire_connect(&wire), true, 10);
    int32_t whole = h2_ask(client, "GET", "/hello", NO_BODY, NULL);
    const H2Answer *answer = h2_await(client, h2_ask(client, "GET", "/big?3000", NO_BODY, NULL));
    assert_true(answer->closed && !answer->ended && answer->code != NGHTTP2_NO_ERROR);
    answer = h2_await(client, h2_ask(client, "GET", "/stream-big", NO_BODY, NULL));
    assert_true(answer->closed && !answer->ended);
    assert_true(h2_await(client, whole)->ended);
    wire_await_stats(&wire, "timeouts=2 ");
    h2_close(client);
    wire_stop(&wire);
}

/* A window that is shut when the client has said its last word stays shut: nobody waits for it. */
static void a_client_that_ends_opens_no_window(void **state) {
    (void)state;
    static const char *const paths[] = {"/big?3000", "/big?1000000", "/stream-big"};
    HttpLimits limits = HTTP_LIMITS_DEFAULT;
    limits.write_timeout_ms = limits.idle_timeout_ms = 1000 * 1000;
    for (int late = 0; late < 2; late++) { /* the end comes when they are stuck, or before their answers begin */
        Wire wire = start(&limits);
        for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
            H2Client *client = h2_connect(wire_connect(&wire), true, late ? 1000 * 1000 : 10);
            int32_t stuck = h2_ask(client, "GET", paths[i], NO_BODY, NULL);
            int32_t whole = h2_ask(client, "GET", "/hello", NO_BODY, NULL);
            if (!late)
                assert_true(h2_await(client, whole)->ended);
            else
                (void)h2_turn(client, 0);
            shutdown(client->fd, SHUT_WR);
            while (h2_turn(client, 1000)) {
            }
            const H2Answer *answer = &client->answers[stuck];
            if (answer->ended && !(late && i == 0))
                fail_msg("%s, late %d: status %d, %zu bytes", paths[i], late, answer->status, answer->body.n);
            h2_close(client);
        }
        wire_await_stats(&wire, "connections=1 in_flight=1 timeouts=0 ");
        wire_stop(&wire);
    }
}

/* The same of an answer of which only the end is left. */
static void a_client_that_ends_takes_no_end(void **state) {
    (void)state;
    HttpLimits limits = HTTP_LIMITS_DEFAULT;
    limits.write_timeout_ms = limits.idle_timeout_ms = 1000 * 1000;
    Wire wire = start(&limits);
    H2Client *client = h2_connect(wire_connect(&wire), true, 0);
    int32_t empty = h2_ask(client, "GET", "/stream-empty", NO_BODY, NULL);
    while (client->answers[empty].status == 0)
        assert_true(h2_turn(client, 20000));
    shutdown(client->fd, SHUT_WR);
    while (h2_turn(client, 1000)) {
    }
    assert_false(client->answers[empty].ended);
    h2_close(client);
    wire_await_stats(&wire, "connections=1 in_flight=1 timeouts=0 ");
    wire_stop(&wire);
}

static void resets_reach_handlers(void **state) {
    (void)state;
    Wire wire = start(&HTTP_LIMITS_DEFAULT);
    H2Client *client = h2_connect(wire_connect(&wire), false, 65535);
    int32_t reading = h2_ask(client, "GET", "/wait", NO_BODY, NULL);
    (void)h2_turn(client, 0);
    wire_await_stats(&wire, "waiting=1 ");
    nghttp2_submit_rst_stream(client->ng, NGHTTP2_FLAG_NONE, reading, NGHTTP2_CANCEL);
    (void)h2_turn(client, 0);
    wire_await_stats(&wire, "cancelled=1 "); /* what only reads ends */
    int32_t writing = h2_ask(client, "GET", "/commit", NO_BODY, NULL);
    (void)h2_turn(client, 0);
    wire_await_stats(&wire, "waiting=1 ");
    nghttp2_submit_rst_stream(client->ng, NGHTTP2_FLAG_NONE, writing, NGHTTP2_CANCEL);
    (void)h2_await(client, h2_ask(client, "GET", "/go", NO_BODY, NULL));
    wire_await_stats(&wire, "committed=1 "); /* what commits goes on */
    int32_t half = h2_ask(client, "POST", "/echo", STR("x"), "100-continue");
    client->answers[half].stalls = true;
    nghttp2_submit_rst_stream(client->ng, NGHTTP2_FLAG_NONE, half, NGHTTP2_CANCEL);
    assert_int_equal(h2_await(client, h2_ask(client, "GET", "/hello", NO_BODY, NULL))->status, 200);
    wire_await_stats(&wire, "in_flight=1 ");
    h2_close(client);
    wire_stop(&wire);
}

/* A handler that goes on behind a reset counts: at most streams_max run, however fast streams are opened and reset. */
static void reset_handlers_count_as_streams(void **state) {
    (void)state;
    HttpLimits limits = HTTP_LIMITS_DEFAULT;
    limits.streams_max = 3;
    Wire wire = start(&limits);
    H2Client *client = h2_connect(wire_connect(&wire), false, 65535);
    h2_settled(client);
    int32_t last = 0;
    for (int i = 0; i < 20; i++) {
        last = h2_ask(client, "POST", "/late", NO_BODY, NULL);
        (void)h2_turn(client, 0);
        if (i < 19)
            nghttp2_submit_rst_stream(client->ng, NGHTTP2_FLAG_NONE, last, NGHTTP2_CANCEL);
    }
    assert_int_equal(h2_await(client, last)->code, NGHTTP2_REFUSED_STREAM);
    wire_await_stats(&wire, "in_flight=4 "); /* three, and the one that asks */
    h2_close(client);
    kill(wire.pid, SIGKILL); /* they sleep for long */
    waitpid(wire.pid, NULL, 0);
}

static void vanished_clients(void **state) {
    (void)state;
    Wire wire = start(&HTTP_LIMITS_DEFAULT);
    for (int i = 0; i < 4; i++) {
        H2Client *client = h2_connect(wire_connect(&wire), true, 1000);
        (void)h2_ask(client, "GET",
                     i == 0   ? "/wait"
                     : i == 1 ? "/big?100000"
                     : i == 2 ? "/stream-big"
                              : "/late",
                     NO_BODY, NULL);
        (void)h2_ask(client, "POST", "/echo", STR("never read to the end"), NULL);
        (void)h2_turn(client, 0);
        wire_await_stats(&wire, "connections=2 ");
        struct linger reset = {.l_onoff = 1};
        if (i % 2 == 0)
            (void)setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        h2_close(client);
        wire_await_stats(&wire, "connections=1 in_flight=1 ");
    }
    wire_stop(&wire);
}

static void idle_and_slow_connections_end(void **state) {
    (void)state;
    HttpLimits limits = HTTP_LIMITS_DEFAULT;
    limits.idle_timeout_ms = limits.head_timeout_ms = limits.body_timeout_ms = 50;
    Wire wire = start(&limits);
    H2Client *client = h2_connect(wire_connect(&wire), false, 65535);
    assert_int_equal(h2_await(client, h2_ask(client, "GET", "/hello", NO_BODY, NULL))->status, 200);
    while (h2_turn(client, 1000)) {
    }
    assert_int_equal(client->goaway, NGHTTP2_NO_ERROR); /* idle */
    h2_close(client);

    Buf got = buf_new(NULL, 1 << 20);
    int fd = wire_connect(&wire); /* a head that stops in its middle */
    wire_send(fd, (Str){"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0\0\0\1\1\0\0\0\0\1\x82", 24 + 9 + 10},
              SIZE_MAX);
    wire_read_all(fd, &got);
    close(fd);
    buf_done(&got);

    client = h2_connect(wire_connect(&wire), false, 65535); /* a body that does not come */
    int32_t id = h2_ask(client, "POST", "/echo", STR("x"), "100-continue");
    client->answers[id].stalls = true;
    nghttp2_session_set_local_window_size(client->ng, NGHTTP2_FLAG_NONE, 0, 65535);
    (void)h2_turn(client, 0);
    h2_close(client);
    wire_await_stats(&wire, "in_flight=1 ");
    wire_stop(&wire);
}

/* Each allocation fails once: nghttp2's too. A stream or a connection may be lost, the server is not. */
static void every_allocation_fails_once(void **state) {
    (void)state;
    for (uint64_t n = 1; n <= ALLOCATIONS; n += STEP) {
        wire_fail_nth = n;
        Wire wire = start(&HTTP_LIMITS_DEFAULT);
        wire_fail_nth = 0;
        H2Client *client = h2_connect(wire_connect(&wire), false, 65535);
        int32_t ids[] = {h2_ask(client, "POST", "/echo", STR("hello"), NULL),
                         h2_ask(client, "GET", "/stream", NO_BODY, NULL), h2_ask(client, "GET", "/%zz", NO_BODY, NULL),
                         h2_ask(client, "GET", "/big?100000", NO_BODY, NULL)};
        for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
            int64_t t0 = clock_mono_ms();
            (void)h2_await(client, ids[i]);
            if (clock_mono_ms() - t0 > 2000)
                fprintf(stderr, "n=%lu i=%zu status %d dead %d\n", n, i, client->answers[ids[i]].status, client->dead);
        }
        h2_close(client);
        bool answered = false;
        for (int tries = 0; tries < 4; tries++) { /* the failure may be still to come */
            client = h2_connect(wire_connect(&wire), false, 65535);
            const H2Answer *answer = h2_await(client, h2_ask(client, "GET", "/hello", NO_BODY, NULL));
            answered = answer->ended && str_eq_c(buf_str(&answer->body), "hello");
            h2_close(client);
        }
        if (!answered)
            fail_msg("allocation %lu", n);
        wire_stop(&wire);
    }
}

static void drain_waits_for_streams(void **state) {
    (void)state;
    HttpLimits limits = HTTP_LIMITS_DEFAULT;
    limits.request_timeout_ms = 300;
    Wire wire = start(&limits);
    H2Client *client = h2_connect(wire_connect(&wire), false, 65535),
             *idle = h2_connect(wire_connect(&wire), false, 65535);
    int32_t slow = h2_ask(client, "GET", "/late", NO_BODY, NULL);
    h2_settled(client);
    h2_settled(idle);
    (void)h2_ask(client, "GET", "/quit", NO_BODY, NULL);
    while (client->goaway == UINT32_MAX && h2_turn(client, 1000)) {
    }
    assert_true(str_eq_c(buf_str(&h2_await(client, slow)->body), "timeout"));
    while (h2_turn(idle, 1000)) {
    }
    while (h2_turn(client, 1000)) {
    }
    assert_int_equal(idle->goaway, NGHTTP2_NO_ERROR);
    h2_close(client);
    h2_close(idle);
    wire_join(&wire);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(streams_overtake),
        cmocka_unit_test(a_cut_stream_is_reset),
        cmocka_unit_test(continue_when_asked_for),
        cmocka_unit_test(large_bodies_both_ways),
        cmocka_unit_test(windows_hold_answers_back),
        cmocka_unit_test(a_client_that_opens_no_window_is_given_up),
        cmocka_unit_test(a_client_that_ends_opens_no_window),
        cmocka_unit_test(a_client_that_ends_takes_no_end),
        cmocka_unit_test(resets_reach_handlers),
        cmocka_unit_test(reset_handlers_count_as_streams),
        cmocka_unit_test(vanished_clients),
        cmocka_unit_test(idle_and_slow_connections_end),
        cmocka_unit_test(drain_waits_for_streams),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
