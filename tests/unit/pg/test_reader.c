/*
 * test_reader.c - queries that stand alone: their company, their errors, their deadlines.
 */
#include "pg_test.h"

static const Statement DIVIDE = {.name = "divide", .sql = "SELECT 100 / $1::int4"};
static const Statement SLEEP = {.name = "sleep", .sql = "SELECT pg_sleep($1::text::float8 / 1000)"};

typedef struct Divide {
    int by;
    Err err;
    int32_t answer;
    char state[6];
} Divide;

static void divide(Ctx *ctx, void *arg) {
    Divide *d = arg;
    PgParams params;
    pg_params_init(&params, ctx->arena);
    pg_add_i32(&params, d->by);
    PgResult r;
    d->err = pg_query(test.pool, &DIVIDE, &params, &r);
    snprintf(d->state, sizeof d->state, "%s", pg_sqlstate());
    if (d->err == ERR_OK)
        d->answer = pg_i32(&r, 0, 0);
}

static void one_of_a_hundred_fails(void **state) {
    (void)state;
    NEED_POSTGRES();
    Divide all[100];
    for (int cold = 1; cold >= 0; cold--) { /* the statement being prepared meanwhile, and prepared before */
        for (int i = 0; i < 100; i++)
            all[i] = (Divide){.by = i - 37};
        test_run_many(divide, all, sizeof all[0], 100);
        for (int i = 0; i < 100; i++) {
            int by = i - 37;
            assert_int_equal(all[i].err, by == 0 ? ERR_INVALID : ERR_OK);
            if (by != 0)
                assert_int_equal(all[i].answer, 100 / by);
            assert_string_equal(all[i].state, by == 0 ? "22012" : "");
        }
    }
}

static void ten_thousand_in_a_turn(void **state) {
    (void)state;
    NEED_POSTGRES();
    enum { N = 10000 };
    test_arena_bytes = 64 * 1024;
    static Divide all[N];
    for (int i = 0; i < N; i++)
        all[i] = (Divide){.by = i + 1};
    test_run_many(divide, all, sizeof all[0], N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(all[i].err, ERR_OK);
        assert_int_equal(all[i].answer, 100 / (i + 1));
    }
    test_arena_bytes = 0;
}

/* Far more in both directions than the sockets hold: neither side may wait for the other for ever. */
static void echo_body(Ctx *ctx, void *arg) {
    static const Statement ECHO_TEXT = {.name = "echo", .sql = "SELECT $1::text"};
    enum { N = 200000 };
    char *text = arena_alloc_raw(ctx->arena, N);
    CHECK(text != NULL);
    memset(text, *(const char *)arg, N);
    PgParams params;
    PgResult r;
    pg_params_init(&params, ctx->arena);
    pg_add_text(&params, (Str){text, N});
    CHECK_ERR(pg_query(test.pool, &ECHO_TEXT, &params, &r), ERR_OK);
    CHECK(str_eq(pg_text(&r, 0, 0), (Str){text, N}));
}

static void sockets_fill_up(void **state) {
    (void)state;
    NEED_POSTGRES();
    char letters[100];
    for (size_t i = 0; i < sizeof letters; i++)
        letters[i] = (char)('A' + i % 26);
    test_run_many(echo_body, letters, 1, (int)sizeof letters);
}

/* --- errors --- */

#define RAISE(state) "DO $$ BEGIN RAISE EXCEPTION 'told to' USING ERRCODE = '" state "'; END $$"
static const struct {
    Statement statement;
    Err want;
    const char *state;
} errors[] = {
    {{"e1", "INSERT INTO unit_t VALUES (1, 1)", true}, ERR_CONFLICT, "23505"},
    {{"e2", "INSERT INTO unit_t VALUES (NULL, 1)", true}, ERR_CONFLICT, "23502"},
    {{"e3", "INSERT INTO unit_t VALUES (9, -1)", true}, ERR_CONFLICT, "23514"},
    {{"e4", "SELECT 'x'::text::int4", false}, ERR_INVALID, "22P02"},
    {{"e5", RAISE("40001"), true}, ERR_RETRY, "40001"},
    {{"e6", RAISE("40P01"), true}, ERR_RETRY, "40P01"},
    {{"e7", RAISE("53100"), true}, ERR_LIMIT, "53100"},
    {{"e8", RAISE("54000"), true}, ERR_LIMIT, "54000"},
    {{"e9", RAISE("57014"), true}, ERR_TIMEOUT, "57014"},
    {{"e10", RAISE("25006"), true}, ERR_UNAVAILABLE, "25006"},
    {{"e11", "SELECT * FROM unit_nowhere", false}, ERR_INTERNAL, "42P01"},
    {{"e12", "SELEKT 1", false}, ERR_INTERNAL, "42601"},
    {{"e13", "COPY unit_t TO STDOUT", false}, ERR_UNAVAILABLE, ""}, /* not for pipelines: the connection is given up */
    {{"e14", "INSERT INTO unit_deferred VALUES (1), (1)", true}, ERR_CONFLICT, "23505"},
};

static void errors_body(Ctx *ctx, void *arg) {
    (void)arg;
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        CASE(errors[i].statement.sql);
        PgResult r;
        ctx->problem = (Problem){0};
        CHECK_ERR(pg_query(test.pool, &errors[i].statement, NULL, &r), errors[i].want);
        CHECK(strcmp(pg_sqlstate(), errors[i].state) == 0);
        CHECK(ctx->problem.code == errors[i].want && ctx->problem.message.n > 0);
        if (strcmp(errors[i].statement.name, "e1") == 0)
            CHECK(str_eq_c(ctx->problem.field, "unit_t_pkey"));
    }
}

static void errors_have_codes(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_sql(
        "DROP TABLE IF EXISTS unit_t, unit_deferred; CREATE TABLE unit_t (id int PRIMARY KEY, n int CHECK (n > 0));"
        "INSERT INTO unit_t VALUES (1, 1); CREATE TABLE unit_deferred (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)");
    test_run(errors_body, NULL);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_deferred"), 0);
}

/* --- plans --- */

static const Statement LATE = {.name = "late", .sql = "SELECT * FROM unit_late"};
static const Statement SIDE_CREATE = {.name = "side1", .sql = "CREATE TABLE unit_late (a int4)", .writes = true};
static const Statement SIDE_ALTER = {.name = "side2", .sql = "ALTER TABLE unit_late ADD b text", .writes = true};
static const Statement FORGET = {.name = "forget", .sql = "DEALLOCATE ALL", .writes = true};
static const Statement INSERT = {.name = "late_insert", .sql = "INSERT INTO unit_late VALUES (1)", .writes = true};

static void plans_body(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    PgResult r;
    CASE("a table that is missing is an error of that query, and looked for again next time");
    CHECK_ERR(pg_query(test.pool, &LATE, NULL, &r), ERR_INTERNAL);
    CHECK_ERR(pg_query(test.pool, &LATE, NULL, &r), ERR_INTERNAL);
    CHECK_ERR(pg_query(test.pool, &SIDE_CREATE, NULL, &r), ERR_OK);
    CHECK_ERR(pg_query(test.pool, &LATE, NULL, &r), ERR_OK);
    CHECK(r.columns == 1);
    CASE("a changed result type is prepared again unseen");
    CHECK_ERR(pg_query(test.pool, &SIDE_ALTER, NULL, &r), ERR_OK);
    CHECK_ERR(pg_query(test.pool, &LATE, NULL, &r), ERR_OK);
    CHECK(r.columns == 2);
    CASE("a server that forgot its statements is told again, once, also for writes, which had not run");
    CHECK_ERR(pg_query(test.pool, &INSERT, NULL, &r), ERR_OK);
    CHECK_ERR(pg_query(test.pool, &FORGET, NULL, &r), ERR_OK);
    CHECK_ERR(pg_query(test.pool, &INSERT, NULL, &r), ERR_OK);
    CHECK(r.affected == 1);
    CHECK_ERR(pg_query(test.pool, &LATE, NULL, &r), ERR_OK);
    CHECK(r.rows == 2);
}

static void plans_come_and_go(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_sql("DROP TABLE IF EXISTS unit_late");
    test_run(plans_body, NULL);
}

/* Many at once find their plan changed: each is repeated, none is lost. */
static void late_body(Ctx *ctx, void *arg) {
    (void)ctx;
    PgResult r;
    CHECK_ERR(pg_query(test.pool, &LATE, NULL, &r), ERR_OK);
    CHECK(r.columns == *(const int *)arg);
}

static void a_hundred_find_their_plan_changed(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_sql("DROP TABLE IF EXISTS unit_late; CREATE TABLE unit_late (a int)");
    int columns = 1;
    test_run_many(late_body, &columns, 0, 100);
    test_sql("ALTER TABLE unit_late ADD b int");
    columns = 2;
    test_run_many(late_body, &columns, 0, 100);
    test_run_many(late_body, &columns, 0, 100);
}

/* --- deadlines --- */

static int64_t abandoned_backend;
static const Statement PID = {.name = "pid", .sql = "SELECT pg_backend_pid()"};

static void sleeper(Ctx *ctx, void *arg) {
    (void)arg;
    PgParams params;
    pg_params_init(&params, ctx->arena);
    pg_add_text(&params, STR("300"));
    PgResult r;
    ctx->deadline_ms = clock_mono_ms() + 50;
    CHECK_ERR(pg_query(test.pool, &SLEEP, &params, &r), ERR_TIMEOUT);
    /* The pipeline goes on behind it, on the same connection. */
    ctx->deadline_ms = clock_mono_ms() + 20000;
    CHECK_ERR(pg_query(test.pool, &PID, NULL, &r), ERR_OK);
    CHECK(pg_i32(&r, 0, 0) == abandoned_backend);
}

static void pid_body(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    PgResult r;
    CHECK_ERR(pg_query(test.pool, &PID, NULL, &r), ERR_OK);
    abandoned_backend = pg_i32(&r, 0, 0);
}

static void a_deadline_abandons_only_its_query(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(pid_body, NULL);
    test_run(sleeper, NULL);
}

static Co *victim;
static Err victim_err;

static void cancelled_body(Ctx *ctx, void *arg) {
    (void)arg;
    PgParams params;
    pg_params_init(&params, ctx->arena);
    pg_add_text(&params, STR("200"));
    PgResult r;
    victim_err = pg_query(test.pool, &SLEEP, &params, &r);
}

static void canceller_body(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    PgResult r;
    CHECK_ERR(co_yield (), ERR_OK); /* the victim's query is sent */
    CHECK_ERR(co_yield (), ERR_OK);
    co_cancel(victim);
    CHECK_ERR(pg_query(test.pool, &PID, NULL, &r), ERR_OK);
    CHECK(pg_i32(&r, 0, 0) == abandoned_backend);
}

static void cancellation_reaches_a_query(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(pid_body, NULL);
    TestJob jobs[] = {{cancelled_body, NULL}, {canceller_body, NULL}};
    victim = test_spawn(&jobs[0]);
    test_spawn(&jobs[1]);
    loop_run(test.loop);
    test_verdict();
    assert_int_equal(victim_err, ERR_CANCELLED);
}

/* --- memory --- */

static void starved_body(Ctx *ctx, void *arg) {
    (void)arg;
    bool served = false;
    for (uint64_t n = 1; n < 40 && !served; n++) {
        PgParams params;
        arena_fail_nth(n);
        pg_params_init(&params, ctx->arena);
        pg_add_i32(&params, 7);
        PgResult r;
        Err err = pg_query(test.pool, &DIVIDE, &params, &r);
        arena_fail_nth(0);
        served = err == ERR_OK;
        CHECK(err == ERR_OK || err == ERR_NO_MEMORY);
        if (served)
            CHECK(pg_i32(&r, 0, 0) == 14);
    }
    CHECK(served);
}

static void the_nth_allocation_fails(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(pid_body, NULL);
    test_run(starved_body, NULL);
}

/* --- settings --- */

static const Statement SETTINGS = {
    .name = "settings",
    .sql = "SELECT current_user::text, current_setting('search_path'), current_setting('application_name'), "
           "current_setting('statement_timeout'), current_setting('work_mem'), current_setting('client_encoding')"};

static void settings_body(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    static const char *const want[] = {"unit role", "events, public", "unit two", "1234ms", "5MB", "UTF8"};
    PgResult r;
    CHECK_ERR(pg_query(test.pool, &SETTINGS, NULL, &r), ERR_OK);
    for (int i = 0; i < 6; i++) {
        CASE(want[i]);
        CHECK(str_eq_c(pg_text(&r, 0, i), want[i]));
    }
}

static int open_with_settings(void **state) {
    (void)state;
    if (test_skipped())
        return 0;
    test_sql("DROP ROLE IF EXISTS \"unit role\"");
    test_sql("CREATE ROLE \"unit role\"");
    static char url[1000];
    snprintf(url, sizeof url, "%s&options=-c%%20work_mem%%3D5MB", getenv("DATABASE_URL"));
    PgConfig config = test_config();
    config.url = str_c(url);
    config.role = STR("unit role");
    config.search_path = STR("events, public");
    config.application_name = STR("unit two");
    config.statement_timeout_ms = 1234;
    return test_open_with(config);
}

static void settings_travel_with_the_connection(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(settings_body, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_of_a_hundred_fails, test_open, test_close),
        cmocka_unit_test_setup_teardown(ten_thousand_in_a_turn, test_open, test_close),
        cmocka_unit_test_setup_teardown(sockets_fill_up, test_open, test_close),
        cmocka_unit_test_setup_teardown(errors_have_codes, test_open, test_close),
        cmocka_unit_test_setup_teardown(plans_come_and_go, test_open, test_close),
        cmocka_unit_test_setup_teardown(a_hundred_find_their_plan_changed, test_open, test_close),
        cmocka_unit_test_setup_teardown(a_deadline_abandons_only_its_query, test_open, test_close),
        cmocka_unit_test_setup_teardown(cancellation_reaches_a_query, test_open, test_close),
        cmocka_unit_test_setup_teardown(the_nth_allocation_fails, test_open, test_close),
        cmocka_unit_test_setup_teardown(settings_travel_with_the_connection, open_with_settings, test_close),
    };
    return cmocka_run_group_tests_name("pg: the reader", tests, NULL, NULL);
}
