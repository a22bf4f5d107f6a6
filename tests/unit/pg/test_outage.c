/*
 * test_outage.c - the server dies, is stopped, is not there, or never answers: callers are told, and service comes
 * back.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/heap.h"
#include "pg_test.h"

static const Statement SLEEP = {.name = "sleep", .sql = "SELECT 1 FROM pg_sleep(0.1)"};
static const Statement SLOW_WRITE = {
    .name = "slow_write", .sql = "INSERT INTO unit_out SELECT 1 FROM pg_sleep(20)", .writes = true};
static const Statement PID = {.name = "pid", .sql = "SELECT pg_backend_pid()"};
static const Statement ONE = {.name = "one", .sql = "SELECT 1"};
static const Statement WRITE = {.name = "write", .sql = "INSERT INTO unit_out VALUES (1) RETURNING a", .writes = true};

static void pid_body(Ctx *ctx, void *arg) {
    (void)ctx;
    PgResult r;
    CHECK_ERR(pg_query(test.pool, &PID, NULL, &r), ERR_OK);
    *(int32_t *)arg = pg_i32(&r, 0, 0);
}

typedef struct Asked {
    const Statement *statement;
    Err err;
} Asked;

static void ask(Ctx *ctx, void *arg) {
    (void)ctx;
    Asked *asked = arg;
    PgResult r;
    asked->err = pg_query(test.pool, asked->statement, NULL, &r);
}

/* From a writer, so that the reader's backend can be shot in mid query without blocking this process. */
static int32_t target;
static Err shoot(PgTx *tx, void *arg) {
    (void)arg;
    static const Statement KILL = {
        .name = "kill", .sql = "SELECT pg_terminate_backend($1) FROM (SELECT pg_sleep(0.05)) AS after_a_while"};
    PgParams params;
    PgResult r;
    pg_params_init(&params, co_ctx(co_self())->arena);
    pg_add_i32(&params, target);
    return pg_tx_query_commit(tx, &KILL, &params, &r);
}

static void shoot_body(Ctx *ctx, void *arg) {
    (void)ctx;
    CHECK_ERR(pg_transaction(test.pool, shoot, arg), ERR_OK);
}

static void a_backend_killed_in_mid_query(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_sql("DROP TABLE IF EXISTS unit_out; CREATE TABLE unit_out (a int)");
    test_run(pid_body, &target);
    Asked asked[5] = {{&SLEEP, 0}, {&SLEEP, 0}, {&SLOW_WRITE, 0}, {&SLEEP, 0}, {&WRITE, 0}};
    TestJob jobs[6] = {{shoot_body, NULL}};
    test_spawn(&jobs[0]);
    for (int i = 0; i < 5; i++) {
        jobs[i + 1] = (TestJob){ask, &asked[i]};
        test_spawn(&jobs[i + 1]);
    }
    loop_run(test.loop);
    test_verdict();
    /* Reads are asked again by themselves; writes never, whether they had begun or not. */
    static const Err want[] = {ERR_OK, ERR_OK, ERR_UNAVAILABLE, ERR_OK, ERR_UNAVAILABLE};
    for (int i = 0; i < 5; i++)
        assert_int_equal(asked[i].err, want[i]);
    int32_t now;
    test_run(pid_body, &now);
    assert_true(now != target);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_out"), 0);
}

/* --- stop and start --- */

static void pg_ctl(const char *arguments) {
    char command[1000];
    snprintf(command, sizeof command,
             "cd / && bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1) && as= && "
             "if [ $(id -u) = 0 ]; then as='setpriv --reuid=postgres --regid=postgres --init-groups'; fi && "
             "$as ${USHER_PG_BIN:-$bin}/pg_ctl -D \"$PG_CTL_DIR\" -l \"$PG_CTL_DIR/server.log\" -w %s >/dev/null",
             arguments);
    int status = system(command); /* NOLINT: a test's own text */
    if (status != 0)
        test_note(__FILE__, __LINE__, arguments, "pg_ctl failed");
}

static void no_patience(Ctx *ctx, void *arg) {
    Asked *asked = arg;
    PgResult r;
    ctx->deadline_ms = clock_mono_ms() + 150;
    asked->err = pg_query(test.pool, asked->statement, NULL, &r);
    CHECK(ctx->problem.message.n > 0);
}

static Err write_body(PgTx *tx, void *arg) {
    (void)arg;
    PgResult r;
    return pg_tx_query_commit(tx, &WRITE, NULL, &r);
}

static void no_patience_tx(Ctx *ctx, void *arg) {
    ctx->deadline_ms = clock_mono_ms() + 150;
    ((Asked *)arg)->err = pg_transaction(test.pool, write_body, NULL);
}

static void patient_tx(Ctx *ctx, void *arg) {
    (void)ctx;
    ((Asked *)arg)->err = pg_transaction(test.pool, write_body, NULL);
}

static void start_server(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    pg_ctl("start"); /* blocks the loop; the others wait the longer */
}

static void stopped_and_started_as(const char *how) {
    Asked asked[4] = {{&ONE, 0}, {&ONE, 0}, {&ONE, 0}, {&ONE, 0}};
    pg_ctl(how);
    test_run(no_patience, &asked[0]);
    test_run(no_patience_tx, &asked[1]);
    CASE(how);
    assert_int_equal(asked[0].err, ERR_UNAVAILABLE);
    assert_int_equal(asked[1].err, ERR_UNAVAILABLE);
    assert_true(!pg_pool_ready(test.pool));
    assert_true(pg_pool_last_error(test.pool).n > 0);

    TestJob jobs[] = {{ask, &asked[2]}, {patient_tx, &asked[3]}, {start_server, NULL}};
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
        test_spawn(&jobs[i]);
    loop_run(test.loop);
    test_verdict();
    assert_int_equal(asked[2].err, ERR_OK);
    assert_int_equal(asked[3].err, ERR_OK);
}

static void the_server_is_stopped_and_started(void **state) {
    (void)state;
    NEED_POSTGRES();
    if (getenv("PG_CTL_DIR") == NULL)
        skip();
    test_sql("DROP TABLE IF EXISTS unit_out; CREATE TABLE unit_out (a int)");
    int32_t pid;
    test_run(pid_body, &pid);
    stopped_and_started_as("-m fast stop");
    stopped_and_started_as("-m immediate stop");
}

/* --- nobody there, and nobody speaking --- */

static int mute = -1;

/* A socket that accepts (in its backlog) and never says a word. */
static int open_mute(void **state) {
    (void)state;
    if (test_skipped())
        return 0;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "/tmp/usher-mute-%d/.s.PGSQL.5432", (int)getpid());
    char folder[64];
    snprintf(folder, sizeof folder, "mkdir -p /tmp/usher-mute-%d", (int)getpid());
    mute = socket(AF_UNIX, SOCK_STREAM, 0);
    if (system(folder) != 0 || bind(mute, (struct sockaddr *)&at, sizeof at) != 0 ||
        listen(mute, 100) != 0) /* NOLINT */
        return 1;
    static char url[200];
    snprintf(url, sizeof url, "postgresql:///x?host=/tmp/usher-mute-%d&user=x", (int)getpid());
    PgConfig config = test_config();
    config.url = str_c(url);
    config.connect_timeout_ms = 60;
    return test_open_with(config);
}

static int close_mute(void **state) {
    if (test_skipped())
        return 0;
    char folder[64];
    snprintf(folder, sizeof folder, "rm -rf /tmp/usher-mute-%d", (int)getpid());
    close(mute);
    return system(folder) != 0 || test_close(state) != 0; /* NOLINT */
}

static void a_server_that_says_nothing_is_given_up(void **state) {
    (void)state;
    NEED_POSTGRES();
    Asked asked = {&ONE, 0};
    test_run(no_patience, &asked);
    assert_int_equal(asked.err, ERR_UNAVAILABLE);
    assert_string_equal(pg_pool_last_error(test.pool).p, "connecting took too long");
}

static void the_queue_has_an_end(void **state) {
    (void)state;
    NEED_POSTGRES();
    static Asked asked[PG_WAITING_MAX + 10];
    test_deadline_ms = 1500;
    test_arena_bytes = 16 * 1024;
    for (size_t i = 0; i < ARRAY_LEN(asked); i++)
        asked[i].statement = &ONE;
    test_run_many(ask, asked, sizeof asked[0], (int)ARRAY_LEN(asked));
    for (size_t i = 0; i < ARRAY_LEN(asked); i++)
        assert_int_equal(asked[i].err, ERR_UNAVAILABLE);
    test_deadline_ms = 30000;
    test_arena_bytes = 0;
}

/* --- the end of a pool --- */

static void free_pool(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    if (co_yield () == ERR_OK && co_yield () == ERR_OK)
        pg_pool_free(test.pool);
    test.pool = NULL;
}

static Err sleep_body(PgTx *tx, void *arg) {
    PgResult r;
    (void)arg;
    Err err = pg_tx_query(tx, &SLEEP, NULL, &r);
    return err != ERR_OK ? err : pg_tx_query(tx, &ONE, NULL, &r);
}

static void in_transaction(Ctx *ctx, void *arg) {
    (void)ctx;
    ((Asked *)arg)->err = pg_transaction(test.pool, sleep_body, NULL);
}

static void closing_wakes_everybody(void **state) {
    (void)state;
    NEED_POSTGRES();
    int32_t pid;
    test_run(pid_body, &pid);
    Asked asked[6] = {{&SLEEP, 0}, {&SLEEP, 0}, {&ONE, 0}, {&ONE, 0}, {&ONE, 0}, {&ONE, 0}};
    TestJob jobs[7];
    for (int i = 0; i < 6; i++) {
        jobs[i] = (TestJob){i < 3 ? ask : in_transaction, &asked[i]};
        test_spawn(&jobs[i]);
    }
    jobs[6] = (TestJob){free_pool, NULL};
    test_spawn(&jobs[6]);
    loop_run(test.loop);
    test_verdict();
    for (int i = 0; i < 6; i++)
        assert_int_equal(asked[i].err, ERR_CANCELLED);
}

static int open_loop(void **state) {
    (void)state;
    test_failure[0] = '\0';
    return !test_skipped() && loop_new(&test.loop) != ERR_OK;
}

static int close_loop(void **state) {
    (void)state;
    if (!test_skipped())
        loop_free(test.loop);
    test.loop = NULL;
    return 0;
}

/* A pool is refused cleanly, or it works: what is missing when a connection is made is tried again. */
static void a_pool_opened_with_the_nth_allocation_failing(void **state) {
    (void)state;
    NEED_POSTGRES();
    PgConfig config = test_config();
    int refused = 0;
    for (uint64_t n = 1; n <= 40; n++) {
        heap_fail_nth(n);
        Err err = pg_pool_new(test.loop, &config, &test.pool);
        heap_fail_nth(0);
        if (err == ERR_OK) {
            int32_t pid;
            test_run(pid_body, &pid);
            pg_pool_free(test.pool);
        } else {
            assert_int_equal(err, ERR_NO_MEMORY);
            refused++;
        }
        loop_run(test.loop);
    }
    assert_true(refused > 5 && refused < 40);
}

/* --- LISTEN --- */

typedef struct Heard {
    int fresh, told;
    char last[64];
    Wait *wake;
} Heard;

static void hear(Str payload, void *data) {
    Heard *heard = data;
    if (payload.p == NULL) {
        heard->fresh++;
    } else {
        heard->told++;
        snprintf(heard->last, sizeof heard->last, "%.*s", STR_ARG(payload));
    }
    if (heard->wake != NULL)
        wait_wake(heard->wake, ERR_OK);
}

static Heard first, second;

/* Waits until both channels are fresh as often, and the first has been told as much. */
static CO_FN Err until(int fresh, int told) {
    while (first.fresh < fresh || second.fresh < fresh || first.told < told) {
        Wait wait = {0};
        first.wake = second.wake = &wait;
        Err err = co_wait(&wait, 0);
        first.wake = second.wake = NULL;
        TRY(err);
    }
    return ERR_OK;
}

static const Statement TELL = {.name = "tell", .sql = "SELECT pg_notify($1, $2)", .writes = true};

static CO_FN Err tell(const char *channel, const char *payload) {
    PgParams params;
    PgResult r;
    pg_params_init(&params, co_ctx(co_self())->arena);
    pg_add_text(&params, str_c(channel));
    pg_add_text(&params, str_c(payload));
    return pg_query(test.pool, &TELL, &params, &r);
}

static void listen_body(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    static const Statement KILL_ALL = {
        .name = "kill_listeners",
        .sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND pid <> "
               "pg_backend_pid()"};
    first = second = (Heard){0};
    CHECK_ERR(pg_listen(test.pool, "unit one", hear, &first), ERR_OK);
    second.fresh = 1; /* not yet */
    CHECK_ERR(until(1, 0), ERR_OK);
    second.fresh = 0;
    CHECK_ERR(pg_listen(test.pool, "unit_two", hear, &second), ERR_OK);
    CHECK_ERR(until(1, 0), ERR_OK);
    CHECK_ERR(tell("unit one", "hello"), ERR_OK);
    CHECK_ERR(until(1, 1), ERR_OK);
    CHECK(strcmp(first.last, "hello") == 0);
    PgResult r;
    CHECK_ERR(pg_query(test.pool, &KILL_ALL, NULL, &r), ERR_OK);
    CHECK(r.rows == 1);
    CHECK_ERR(until(2, 1), ERR_OK);
    CHECK_ERR(tell("unit one", "again"), ERR_OK);
    CHECK_ERR(until(2, 2), ERR_OK);
    CHECK(strcmp(first.last, "again") == 0);
}

static void listening_survives_its_connection(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(listen_body, NULL);
    assert_int_equal(first.fresh, 2);
    assert_int_equal(second.fresh, 2);
    assert_int_equal(second.told, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_open, test_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_backend_killed_in_mid_query),
        TEST(the_server_is_stopped_and_started),
        cmocka_unit_test_setup_teardown(a_server_that_says_nothing_is_given_up, open_mute, close_mute),
        cmocka_unit_test_setup_teardown(the_queue_has_an_end, open_mute, close_mute),
        TEST(closing_wakes_everybody),
        cmocka_unit_test_setup_teardown(a_pool_opened_with_the_nth_allocation_failing, open_loop, close_loop),
        TEST(listening_survives_its_connection),
    };
    return cmocka_run_group_tests_name("pg: outages", tests, NULL, NULL);
}
