/*
 * test_tx.c - transactions: what commits, what rolls back, who tries again, and how each of them ends early.
 */
#include "pg_test.h"

static const Statement INSERT = {.name = "insert", .sql = "INSERT INTO unit_tx VALUES ($1, $2)", .writes = true};
static const Statement UPDATE = {
    .name = "update", .sql = "UPDATE unit_tx SET n = n + $2 WHERE id = $1 RETURNING n", .writes = true};
static const Statement SUM = {.name = "sum", .sql = "SELECT coalesce(sum(n), 0)::int8 FROM unit_tx"};
static const Statement SLEEP = {.name = "sleep", .sql = "SELECT pg_sleep(20), $1::int4, $2::int4"};
static const Statement DIE = {.name = "die",
                              .sql = "SELECT pg_terminate_backend(pg_backend_pid()), $1::int4, $2::int4"};

static void two(PgParams *params, int a, int b) {
    pg_params_init(params, co_ctx(co_self())->arena);
    pg_add_i32(params, a);
    pg_add_i32(params, b);
}

static void tables(void) {
    test_sql("DROP TABLE IF EXISTS unit_tx; CREATE TABLE unit_tx (id int PRIMARY KEY, n int NOT NULL, "
             "g int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO unit_tx VALUES (1, 10), (2, 20)");
}

static long long total(void) {
    return test_sql("SELECT sum(n) FROM unit_tx");
}

/* --- the plain ways through --- */

typedef enum Act { SEND, QUERY, QUERY_COMMIT, FAIL, STOP } Act;

static const struct {
    const char *label;
    struct {
        Act act;
        const Statement *statement;
        int a, b;
        Err want;
    } steps[6];
    Err want;
    int total;
} ways[] = {
    {"nothing at all", {{.act = STOP}}, ERR_OK, 30},
    {"sends alone are committed",
     {{SEND, &INSERT, 3, 1, ERR_OK}, {SEND, &INSERT, 4, 2, ERR_OK}, {.act = STOP}},
     ERR_OK,
     33},
    {"send, query", {{SEND, &INSERT, 3, 1, ERR_OK}, {QUERY, &UPDATE, 3, 5, ERR_OK}, {.act = STOP}}, ERR_OK, 36},
    {"query, commit in one flush", {{QUERY_COMMIT, &UPDATE, 1, 1, ERR_OK}, {.act = STOP}}, ERR_OK, 31},
    {"several round trips",
     {{QUERY, &UPDATE, 1, 1, ERR_OK},
      {QUERY, &UPDATE, 2, 1, ERR_OK},
      {QUERY_COMMIT, &INSERT, 5, 5, ERR_OK},
      {.act = STOP}},
     ERR_OK,
     37},
    {"the body's error rolls back", {{QUERY, &UPDATE, 1, 100, ERR_OK}, {.act = FAIL}}, ERR_REFUSED, 30},
    {"also what was sent and never waited for", {{SEND, &INSERT, 3, 1, ERR_OK}, {.act = FAIL}}, ERR_REFUSED, 30},
    {"a failed statement fails the transaction", {{SEND, &INSERT, 1, 1, ERR_OK}, {.act = STOP}}, ERR_CONFLICT, 30},
    {"a failed send fails the query behind it, and all is undone",
     {{SEND, &INSERT, 9, 9, ERR_OK},
      {SEND, &INSERT, 1, 1, ERR_OK},
      {QUERY, &UPDATE, 2, 5, ERR_CONFLICT},
      {.act = STOP}},
     ERR_CONFLICT,
     30},
    {"after an error nothing more is asked",
     {{QUERY, &INSERT, 1, 1, ERR_CONFLICT}, {QUERY, &UPDATE, 2, 5, ERR_CONFLICT}, {.act = STOP}},
     ERR_CONFLICT,
     30},
    {"a failed query takes its COMMIT with it",
     {{SEND, &INSERT, 9, 9, ERR_OK}, {QUERY_COMMIT, &INSERT, 1, 1, ERR_CONFLICT}, {.act = STOP}},
     ERR_CONFLICT,
     30},
};

static Err way_body(PgTx *tx, void *arg) {
    size_t way = *(const size_t *)arg;
    for (size_t i = 0; i < ARRAY_LEN(ways[way].steps); i++) {
        if (ways[way].steps[i].act == STOP)
            return ERR_OK;
        if (ways[way].steps[i].act == FAIL)
            return ERR_REFUSED;
        PgParams params;
        PgResult r;
        two(&params, ways[way].steps[i].a, ways[way].steps[i].b);
        if (ways[way].steps[i].act == SEND) {
            pg_tx_send(tx, ways[way].steps[i].statement, &params);
            continue;
        }
        Err err = ways[way].steps[i].act == QUERY ? pg_tx_query(tx, ways[way].steps[i].statement, &params, &r)
                                                  : pg_tx_query_commit(tx, ways[way].steps[i].statement, &params, &r);
        if (err != ways[way].steps[i].want)
            test_note_err(__FILE__, __LINE__, ways[way].label, "step", err);
    }
    return ERR_OK;
}

static void way_run(Ctx *ctx, void *arg) {
    (void)ctx;
    size_t way = *(const size_t *)arg;
    CASE(ways[way].label);
    CHECK_ERR(pg_transaction(test.pool, way_body, arg), ways[way].want);
}

static void ways_through(void **state) {
    (void)state;
    NEED_POSTGRES();
    for (size_t way = 0; way < ARRAY_LEN(ways); way++) {
        tables();
        test_run(way_run, &way);
        CASE(ways[way].label);
        assert_int_equal(total(), ways[way].total);
    }
}

/* --- who collides tries again --- */

static int attempts;

static Wait met[2];
static int met_n;

/* The first two to come here wait for each other; later attempts pass. */
static CO_FN Err meet(int mine) {
    if (met_n == 2)
        return ERR_OK;
    met_n++;
    wait_wake(&met[2 - mine], ERR_OK); /* the other's */
    return co_wait(&met[mine - 1], 0);
}

/* Both read, then both write: without the retry one of them would end with 40001. */
static Err raise_by_sum(PgTx *tx, void *arg) {
    attempts++;
    PgResult r;
    PgParams params;
    TRY(pg_tx_query(tx, &SUM, NULL, &r));
    int64_t sum = pg_i64(&r, 0, 0);
    TRY(meet(*(const int *)arg));
    two(&params, *(const int *)arg, (int)sum);
    return pg_tx_query(tx, &UPDATE, &params, &r);
}

/* Update one row, meet, update the other: a deadlock as long as both are in their first attempt. */
static Err crossing(PgTx *tx, void *arg) {
    attempts++;
    int mine = *(const int *)arg;
    PgResult r;
    PgParams params;
    two(&params, mine, 1);
    TRY(pg_tx_query(tx, &UPDATE, &params, &r));
    TRY(meet(mine));
    two(&params, 3 - mine, 1);
    return pg_tx_query_commit(tx, &UPDATE, &params, &r);
}

typedef struct Contender {
    PgTxBody body;
    int row;
} Contender;

static void contend(Ctx *ctx, void *arg) {
    Contender *c = arg;
    CHECK_ERR(pg_transaction(test.pool, c->body, &c->row), ERR_OK);
    CHECK(ctx->problem.code == ERR_OK); /* what a repeated attempt ran into is nobody's problem */
}

static int open_serializable(void **state) {
    (void)state;
    if (test_skipped())
        return 0;
    static char url[1000];
    snprintf(url, sizeof url,
             "%s&options=-c%%20default_transaction_isolation%%3Dserializable%%20-c%%20deadlock_timeout%%3D20ms",
             getenv("DATABASE_URL"));
    PgConfig config = test_config();
    config.url = str_c(url);
    return test_open_with(config);
}

static void serialization_failures_are_repeated(void **state) {
    (void)state;
    NEED_POSTGRES();
    tables();
    attempts = met_n = 0;
    memset(met, 0, sizeof met);
    Contender both[] = {{raise_by_sum, 1}, {raise_by_sum, 2}};
    test_run_many(contend, both, sizeof both[0], 2);
    assert_int_equal(total(), 120); /* 30 + 30, then + 60: one after the other, in either order */
    assert_int_equal(attempts, 3);
}

static int open_quick_deadlock(void **state) {
    (void)state;
    if (test_skipped())
        return 0;
    static char url[1000];
    snprintf(url, sizeof url, "%s&options=-c%%20deadlock_timeout%%3D20ms", getenv("DATABASE_URL"));
    PgConfig config = test_config();
    config.url = str_c(url);
    return test_open_with(config);
}

static void deadlocks_are_repeated(void **state) {
    (void)state;
    NEED_POSTGRES();
    tables();
    attempts = met_n = 0;
    memset(met, 0, sizeof met);
    Contender both[] = {{crossing, 1}, {crossing, 2}};
    test_run_many(contend, both, sizeof both[0], 2);
    assert_int_equal(total(), 34);
    assert_true(attempts > 2); /* the server may pick both as victims */
}

static Err always_retry(PgTx *tx, void *arg) {
    (void)tx;
    (void)arg;
    attempts++;
    return ERR_RETRY;
}

static void giving_up_body(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    CHECK_ERR(pg_transaction(test.pool, always_retry, NULL), ERR_RETRY);
    CHECK(attempts == 5);
}

static void five_attempts_are_enough(void **state) {
    (void)state;
    NEED_POSTGRES();
    attempts = 0;
    test_run(giving_up_body, NULL);
}

/* --- ended early --- */

static Err slow_body(PgTx *tx, void *arg) {
    PgParams params;
    PgResult r;
    two(&params, 1, 1000);
    pg_tx_send(tx, &UPDATE, &params);
    return *(const bool *)arg ? pg_tx_query_commit(tx, &SLEEP, &params, &r) : pg_tx_query(tx, &SLEEP, &params, &r);
}

static void late_body(Ctx *ctx, void *arg) {
    ctx->deadline_ms = clock_mono_ms() + 100;
    CHECK_ERR(pg_transaction(test.pool, slow_body, arg), ERR_TIMEOUT);
}

static Err row_body(PgTx *tx, void *arg) {
    (void)arg;
    PgParams params;
    PgResult r;
    two(&params, 1, 1);
    return pg_tx_query_commit(tx, &UPDATE, &params, &r);
}

static void row_run(Ctx *ctx, void *arg) {
    (void)ctx;
    CHECK_ERR(pg_transaction(test.pool, row_body, arg), ERR_OK);
}

static void a_deadline_stops_the_server_too(void **state) {
    (void)state;
    NEED_POSTGRES();
    for (int commit = 0; commit < 2; commit++) {
        tables();
        bool with_commit = commit == 1;
        for (int i = 0; i < 3; i++) /* more than there are writers: they come back clean */
            test_run(late_body, &with_commit);
        /* The row's lock is free long before 20 s are over, or this would run into its own deadline. */
        test_deadline_ms = 10000;
        test_run(row_run, NULL);
        test_deadline_ms = 30000;
        assert_int_equal(total(), 31);
        assert_int_equal(test_sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20)%' AND state = "
                                  "'active' AND pid <> pg_backend_pid()"),
                         0);
    }
}

static Co *victim;
static Err victim_err;

static void victim_body(Ctx *ctx, void *arg) {
    (void)ctx;
    victim_err = pg_transaction(test.pool, slow_body, arg);
}

static void canceller_body(Ctx *ctx, void *arg) {
    (void)arg;
    static const Statement ASLEEP = {
        .name = "asleep",
        .sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name = 'unit'"};
    PgResult r;
    do
        CHECK_ERR(pg_query(test.pool, &ASLEEP, NULL, &r), ERR_OK);
    while (pg_i64(&r, 0, 0) == 0 && clock_mono_ms() < ctx->deadline_ms);
    co_cancel(victim);
}

static void a_cancellation_rolls_back(void **state) {
    (void)state;
    NEED_POSTGRES();
    for (int commit = 0; commit < 2; commit++) {
        tables();
        bool with_commit = commit == 1;
        TestJob jobs[] = {{victim_body, &with_commit}, {canceller_body, NULL}};
        victim = test_spawn(&jobs[0]);
        test_spawn(&jobs[1]);
        loop_run(test.loop);
        test_verdict();
        assert_int_equal(victim_err, ERR_CANCELLED);
        test_run(row_run, NULL);
        assert_int_equal(total(), 31);
    }
}

/* --- connections --- */

static Err dying_body(PgTx *tx, void *arg) {
    (void)arg;
    PgParams params;
    PgResult r;
    two(&params, 1, 1000);
    pg_tx_send(tx, &UPDATE, &params);
    Err err = pg_tx_query(tx, &DIE, &params, &r);
    if (pg_tx_query(tx, &UPDATE, &params, &r) != err)
        test_note(__FILE__, __LINE__, "", "a lost transaction goes on failing");
    return ERR_OK; /* a body that does not look: the transaction fails all the same */
}

static void dying_run(Ctx *ctx, void *arg) {
    (void)ctx;
    CHECK_ERR(pg_transaction(test.pool, dying_body, arg), ERR_UNAVAILABLE);
}

static void a_killed_backend_is_replaced(void **state) {
    (void)state;
    NEED_POSTGRES();
    tables();
    for (int i = 0; i < 4; i++) {
        test_run(dying_run, NULL);
        test_run(row_run, NULL);
    }
    assert_int_equal(total(), 34);
}

static Err refused_body(PgTx *tx, void *arg) {
    (void)arg;
    PgParams params;
    PgResult r;
    two(&params, 1, 1000);
    TRY(pg_tx_query(tx, &UPDATE, &params, &r));
    return ERR_REFUSED;
}

/* The transaction has returned and its ROLLBACK is under way: just then the connection goes. */
static void lost_in_recovery(Ctx *ctx, void *arg) {
    (void)ctx;
    CHECK_ERR(pg_transaction(test.pool, refused_body, arg), ERR_REFUSED);
    CHECK(test_recovering());
    for (int i = 0; i < test.pool->writers_n; i++) {
        if (test.pool->writers[i]->recovering)
            conn_lost(test.pool->writers[i], "told to");
    }
}

static void a_connection_lost_in_its_rollback_comes_back(void **state) {
    (void)state;
    NEED_POSTGRES();
    tables();
    for (int i = 0; i < 4; i++) /* more often than there are writers */
        test_run(lost_in_recovery, NULL);
    test_run(row_run, NULL);
    assert_int_equal(total(), 31);
}

static void many_wait_their_turn(void **state) {
    (void)state;
    NEED_POSTGRES();
    tables();
    test_run_many(row_run, NULL, 0, 300);
    assert_int_equal(total(), 330);
}

static Err deferred_body(PgTx *tx, void *arg) {
    static const Statement TWICE = {
        .name = "twice", .sql = "INSERT INTO unit_tx VALUES (3, 0, 7), (4, 0, 7)", .writes = true};
    PgResult r;
    return *(const bool *)arg ? pg_tx_query_commit(tx, &TWICE, NULL, &r) : pg_tx_query(tx, &TWICE, NULL, &r);
}

static void deferred_run(Ctx *ctx, void *arg) {
    CHECK_ERR(pg_transaction(test.pool, deferred_body, arg), ERR_CONFLICT);
    CHECK(str_eq_c(ctx->problem.field, "unit_tx_g_key"));
}

static void a_commit_may_fail(void **state) {
    (void)state;
    NEED_POSTGRES();
    tables();
    for (int commit = 0; commit < 2; commit++) {
        bool with_commit = commit == 1;
        test_run(deferred_run, &with_commit);
        assert_int_equal(test_sql("SELECT count(*) FROM unit_tx"), 2);
        test_run(row_run, NULL);
    }
}

static Err changed_body(PgTx *tx, void *arg) {
    static const Statement ALL = {.name = "all", .sql = "SELECT * FROM unit_tx"};
    attempts++;
    PgResult r;
    TRY(pg_tx_query(tx, &ALL, NULL, &r));
    *(int *)arg = r.columns;
    return ERR_OK;
}

static void changed_run(Ctx *ctx, void *arg) {
    (void)ctx;
    CHECK_ERR(pg_transaction(test.pool, changed_body, arg), ERR_OK);
}

static void a_changed_plan_repeats_the_transaction(void **state) {
    (void)state;
    NEED_POSTGRES();
    tables();
    int columns[2] = {0};
    for (int i = 0; i < 4; i++)
        test_run(changed_run, columns);
    assert_int_equal(columns[0], 3);
    test_sql("ALTER TABLE unit_tx ADD extra int");
    attempts = 0;
    test_run(changed_run, columns);
    assert_int_equal(columns[0], 4);
    /* Each writer that prepared the statement before the change costs one attempt, and which of them run is chance. */
    assert_in_range(attempts, 2, 1 + test.pool->writers_n);
}

static void starved_run(Ctx *ctx, void *arg) {
    (void)arg;
    bool served = false;
    for (uint64_t n = 1; n < 60 && !served; n++) {
        ctx->problem = (Problem){0};
        arena_fail_nth(n);
        Err err = pg_transaction(test.pool, row_body, NULL);
        arena_fail_nth(0);
        served = err == ERR_OK;
        CHECK(err == ERR_OK || err == ERR_NO_MEMORY || err == ERR_UNAVAILABLE);
    }
    CHECK(served);
}

static void the_nth_allocation_fails(void **state) {
    (void)state;
    NEED_POSTGRES();
    tables();
    test_run(row_run, NULL);
    test_run(starved_run, NULL);
    test_run(row_run, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_open, test_close)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(ways_through),
        cmocka_unit_test_setup_teardown(serialization_failures_are_repeated, open_serializable, test_close),
        cmocka_unit_test_setup_teardown(deadlocks_are_repeated, open_quick_deadlock, test_close),
        TEST(five_attempts_are_enough),
        TEST(a_deadline_stops_the_server_too),
        TEST(a_cancellation_rolls_back),
        TEST(a_killed_backend_is_replaced),
        TEST(a_connection_lost_in_its_rollback_comes_back),
        TEST(many_wait_their_turn),
        TEST(a_commit_may_fail),
        TEST(a_changed_plan_repeats_the_transaction),
        TEST(the_nth_allocation_fails),
    };
    return cmocka_run_group_tests_name("pg: transactions", tests, NULL, NULL);
}
