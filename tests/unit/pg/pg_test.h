/*
 * pg_test.h - a loop and a pool per test, and coroutines to run in them.
 *
 * cmocka's assertions jump to main's stack, which a coroutine must not do: inside one, CHECK notes the first failure,
 * and test_run reports it afterwards. Every coroutine has a deadline, so that what would hang fails.
 */
#pragma once
#include <inttypes.h>
#include <stdlib.h>

#include "../base/unit.h"
#include "pg/pg_private.h"

typedef struct TestPg {
    Loop *loop;
    PgPool *pool;
    int left;
} TestPg;

UNUSED static TestPg test;
UNUSED static char test_failure[400];
UNUSED static int64_t test_deadline_ms = 30000;
UNUSED static size_t test_arena_bytes;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            test_note(__FILE__, __LINE__, unit_row, #condition);                                                       \
            return;                                                                                                    \
        }                                                                                                              \
    } while (0)
#define CHECK_ERR(expression, want)                                                                                    \
    do {                                                                                                               \
        Err got_err_ = (expression);                                                                                   \
        if (got_err_ != (want)) {                                                                                      \
            test_note_err(__FILE__, __LINE__, unit_row, #expression, got_err_);                                        \
            return;                                                                                                    \
        }                                                                                                              \
    } while (0)

UNUSED static void test_note(const char *file, int line, const char *row, const char *what) {
    if (test_failure[0] == '\0')
        snprintf(test_failure, sizeof test_failure, "%s:%d: [%s] %s", file, line, row, what);
}

UNUSED static void test_note_err(const char *file, int line, const char *row, const char *what, Err err) {
    char text[300];
    Str message = co_self() == NULL ? STR("") : co_ctx(co_self())->problem.message;
    snprintf(text, sizeof text, "%s gave %s (%.*s)", what, err_name(err), message.p == NULL ? 0 : (int)message.n,
             message.p == NULL ? "" : message.p);
    test_note(file, line, row, text);
}

UNUSED static bool test_skipped(void) {
    return getenv("DATABASE_URL") == NULL;
}
#define NEED_POSTGRES()                                                                                                \
    do {                                                                                                               \
        if (test_skipped()) {                                                                                          \
            print_message("skipped: DATABASE_URL is not set (tools/with-postgres make unit-pg)\n");                    \
            skip();                                                                                                    \
        }                                                                                                              \
    } while (0)

UNUSED static PgConfig test_config(void) {
    return (PgConfig){.url = str_c(getenv("DATABASE_URL")),
                      .application_name = STR("unit"),
                      .writers = 2,
                      .connect_timeout_ms = 5000,
                      .statement_timeout_ms = 25000};
}

UNUSED static int test_open_with(PgConfig config) {
    test_failure[0] = '\0';
    unit_row = "";
    if (test_skipped())
        return 0;
    return loop_new(&test.loop) != ERR_OK || pg_pool_new(test.loop, &config, &test.pool) != ERR_OK;
}

UNUSED static int test_open(void **state) {
    (void)state;
    return test_open_with(test_config());
}

UNUSED static int test_close(void **state) {
    (void)state;
    if (test_skipped())
        return 0;
    pg_pool_free(test.pool);
    loop_run(test.loop); /* until everything has closed */
    loop_free(test.loop);
    test.loop = NULL;
    return 0;
}

typedef struct TestJob {
    CoFn fn;
    void *arg;
} TestJob;

/* A transaction's caller does not wait for its rollback; a test that looks from the side must. */
UNUSED static bool test_recovering(void) {
    bool any = false;
    for (int i = 0; test.pool != NULL && i < test.pool->writers_n; i++)
        any = any || test.pool->writers[i]->recovering;
    return any;
}

UNUSED static void test_job(Ctx *ctx, void *arg) {
    const TestJob *job = arg;
    job->fn(ctx, job->arg);
    co_shield(true);
    while (test_recovering() && co_yield () == ERR_OK) {
    }
    if (--test.left == 0)
        loop_stop(test.loop);
}

UNUSED static Co *test_spawn(const TestJob *job) {
    CoOptions options = {
        .name = "test", .deadline_ms = clock_mono_ms() + test_deadline_ms, .arena_limit_bytes = test_arena_bytes};
    Co *co = NULL;
    test.left++;
    assert_int_equal(co_spawn(test.loop, test_job, (void *)(uintptr_t)job, &options, &co), ERR_OK);
    return co;
}

UNUSED static void test_verdict(void) {
    if (test_failure[0] != '\0')
        fail_msg("%s", test_failure);
    assert_int_equal(test.left, 0);
}

/* Runs n coroutines fn(args + i × size) to their end. */
UNUSED static void test_run_many(CoFn fn, void *args, size_t size, int n) {
    TestJob *jobs = calloc((size_t)n, sizeof *jobs);
    for (int i = 0; i < n; i++) {
        jobs[i] = (TestJob){fn, args == NULL ? NULL : (char *)args + size * (size_t)i};
        test_spawn(&jobs[i]);
    }
    loop_run(test.loop);
    free(jobs);
    test_verdict();
}

UNUSED static void test_run(CoFn fn, void *arg) {
    test_run_many(fn, arg, 0, 1);
}

/* One statement from the side, blocking; for schema and sabotage. Returns the first value as a number, or 0. */
UNUSED static long long test_sql(const char *sql) {
    PGconn *conn = PQconnectdb(getenv("DATABASE_URL"));
    PGresult *answer = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(answer);
    long long value = 0;
    if (status == PGRES_TUPLES_OK && PQntuples(answer) > 0)
        value = strtoll(PQgetvalue(answer, 0, 0), NULL, 10);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        test_note(__FILE__, __LINE__, sql, PQerrorMessage(conn));
    PQclear(answer);
    PQfinish(conn);
    return value;
}
