/*
 * amqp_test.h - a loop and coroutines for tests of lib/amqp, beside a real broker (AMQP_URL, tools/with-rabbitmq) or a
 * scripted one.
 *
 * As in pg_test.h: inside a coroutine CHECK notes the first failure, and test_run reports it afterwards.
 */
#pragma once
#include <stdlib.h>

#include "../base/unit.h"
#include "amqp/client.h"

typedef struct TestAmqp {
    Loop *loop;
    AmqpClient *client;
} TestAmqp;

UNUSED static TestAmqp test;
UNUSED static char test_failure[600];

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            test_note(__FILE__, __LINE__, #condition, ERR_OK);                                                         \
            return;                                                                                                    \
        }                                                                                                              \
    } while (0)
#define CHECK_ERR(expression, want)                                                                                    \
    do {                                                                                                               \
        Err got_err_ = (expression);                                                                                   \
        if (got_err_ != (want)) {                                                                                      \
            test_note(__FILE__, __LINE__, #expression, got_err_);                                                      \
            return;                                                                                                    \
        }                                                                                                              \
    } while (0)

UNUSED static void test_note(const char *file, int line, const char *what, Err err) {
    Str words = co_self() == NULL ? STR("") : co_ctx(co_self())->problem.message;
    if (test_failure[0] == '\0')
        snprintf(test_failure, sizeof test_failure, "%s:%d: [%s] %s: %s (%.*s)", file, line, unit_row, what,
                 err_name(err), words.p == NULL ? 0 : (int)words.n, words.p == NULL ? "" : words.p);
}

#define NEED_BROKER()                                                                                                  \
    do {                                                                                                               \
        if (getenv("AMQP_URL") == NULL) {                                                                              \
            print_message("skipped: AMQP_URL is not set (tools/with-rabbitmq make unit-amqp)\n");                      \
            skip();                                                                                                    \
        }                                                                                                              \
    } while (0)

/* A client of that URL; the loop is test.loop. */
UNUSED static AmqpClient *test_client(const char *url) {
    Arena *arena CLEANUP(arena_freep) = arena_new(64 * 1024);
    Ctx ctx;
    AmqpClient *client = NULL;
    ctx_init(&ctx, arena, 0);
    AmqpConfig config = {.url = str_c(url), .name = STR("usher unit test")};
    assert_int_equal(amqp_client_new(&ctx, test.loop, &config, &client), ERR_OK);
    return client;
}

UNUSED static int test_open(void **state) {
    (void)state;
    test_failure[0] = '\0';
    unit_row = "";
    return loop_new(&test.loop) != ERR_OK;
}

UNUSED static int test_close(void **state) {
    (void)state;
    loop_free(test.loop);
    test.loop = NULL;
    return 0;
}

/* The test's coroutine ends the client when it has ended, and with it the loop has nothing left to do. */
typedef struct TestJob {
    CoFn fn;
    void *arg;
} TestJob;

UNUSED static void test_job(Ctx *ctx, void *arg) {
    const TestJob *job = arg;
    job->fn(ctx, job->arg);
    loop_stop(test.loop);
}

UNUSED static void test_run(const char *url, CoFn fn, void *arg) {
    TestJob job = {fn, arg};
    test.client = url == NULL ? NULL : test_client(url);
    CoOptions options = {.name = "test", .deadline_ms = clock_mono_ms() + 60000};
    assert_int_equal(co_spawn(test.loop, test_job, &job, &options, NULL), ERR_OK);
    loop_run(test.loop);
    assert_int_equal(co_drain(test.loop, clock_mono_ms() + 20000), ERR_OK);
    amqp_client_free(test.client);
    if (test_failure[0] != '\0')
        fail_msg("%s", test_failure);
}
