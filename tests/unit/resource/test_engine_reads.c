/*
 * test_engine_reads.c - gets of one turn are one statement; each asker has its own row, and may leave at any moment.
 */
#include "engine_test.h"

static Engine *engine;

static const Attribute thing_attributes[] = {
    ATTR(Thing, id, .key = true, .generated = true, .required = true),
    ATTR(Thing, name, .required = true),
    ATTR(Thing, value, .required = true),
    {0},
};
static const Action thing_actions[] = {{.name = "read", .kind = ACTION_READ}, {0}};
static bool not_ninety(const Ctx *ctx, const Action *action, const void *input) {
    (void)ctx;
    (void)action;
    return ((const Id *)input)->bytes[15] != 90;
}
static const Policy thing_policies[] = {{"read", "all but one", not_ninety}, {0}};
static const Resource things = {
    .name = "thing",
    .plural = "things",
    .schema = "unit_reads",
    .size = sizeof(Thing),
    .attributes = thing_attributes,
    .actions = thing_actions,
    .policies = thing_policies,
};
static const Resource *const resources[] = {&things, NULL};
static const Context context = {.name = "unit_reads", .schema = "unit_reads", .resources = resources};

static int set_up_all(void **state) {
    (void)state;
    if (test_skipped())
        return 0;
    test_schema(&context);
    test_sql("INSERT INTO unit_reads.things SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,"
             " 'name of ' || n, n FROM generate_series(1, 99) AS n");
    return 0;
}

static int set_up(void **state) {
    if (test_open(state) != 0)
        return 1;
    return test_skipped() ? 0 : engine_new(test.loop, &context, test.pool, &engine) != ERR_OK;
}

static int tear_down(void **state) {
    if (!test_skipped())
        engine_free(engine);
    engine = NULL;
    return test_close(state);
}

typedef struct Ask {
    int id;
    Err err;
    int32_t value;
    char name[32];
    const void *row, *text;
    bool own; /* row and text lie in the asker's arena */
} Ask;

static void ask(Ctx *ctx, void *arg) {
    Ask *a = arg;
    void *row = NULL;
    size_t before = arena_used(ctx->arena);
    a->err = resource_get(engine, &things, ctx, test_id(a->id), &row);
    if (a->err != ERR_OK)
        return;
    const Thing *thing = row;
    a->value = thing->value;
    a->row = row;
    a->text = thing->name.p;
    a->own = arena_used(ctx->arena) >= before + sizeof *thing + thing->name.n;
    snprintf(a->name, sizeof a->name, "%.*s", STR_ARG(thing->name));
}

static void gets_of_a_turn_are_one_statement(void **state) {
    (void)state;
    NEED_POSTGRES();
    enum { N = 100, KEYS = 10 };
    static Ask asks[N];
    for (int i = 0; i < N; i++)
        asks[i] = (Ask){.id = 1 + i % KEYS};
    asks[N - 1].id = 500; /* not there */
    test_run_many(ask, asks, sizeof *asks, N);
    assert_int_equal(engine_stats(engine).reads, 1);
    assert_int_equal(engine_stats(engine).gets, N);
    assert_int_equal(asks[N - 1].err, ERR_NOT_FOUND);
    for (int i = 0; i < N - 1; i++) {
        char name[32];
        snprintf(name, sizeof name, "name of %d", asks[i].id);
        assert_int_equal(asks[i].err, ERR_OK);
        assert_int_equal(asks[i].value, asks[i].id);
        assert_string_equal(asks[i].name, name);
        assert_true(asks[i].own);
        for (int j = 0; j < i; j++)
            assert_true(asks[i].row != asks[j].row && asks[i].text != asks[j].text);
    }
}

static void more_than_one_statement_holds(void **state) {
    (void)state;
    NEED_POSTGRES();
    enum { N = KEYED_MAX * 2 + 10 };
    static Ask asks[N];
    for (int i = 0; i < N; i++)
        asks[i] = (Ask){.id = 1 + i % 50};
    test_run_many(ask, asks, sizeof *asks, N);
    assert_int_equal(engine_stats(engine).reads, 3);
    for (int i = 0; i < N; i++)
        assert_int_equal(asks[i].value, asks[i].id);
}

static void a_policy_may_refuse_a_read(void **state) {
    (void)state;
    NEED_POSTGRES();
    Ask a = {.id = 90};
    test_run(ask, &a);
    assert_int_equal(a.err, ERR_REFUSED);
    assert_int_equal(engine_stats(engine).reads, 0);
}

/* Half of the askers leave while the batch is out; what comes back must not look for them. */
static void leavers(Ctx *ctx, void *arg) {
    (void)ctx;
    enum { N = 20 };
    static Ask asks[N];
    static TestJob jobs[N];
    Co *cos[N];
    for (int i = 0; i < N; i++) {
        asks[i] = (Ask){.id = 1 + i % 5};
        jobs[i] = (TestJob){ask, &asks[i]};
        cos[i] = test_spawn(&jobs[i]);
    }
    if (arg != NULL) { /* let the batch go out first */
        CHECK_ERR(co_yield (), ERR_OK);
        CHECK_ERR(co_yield (), ERR_OK);
    }
    for (int i = 0; i < N; i += 2)
        co_cancel(cos[i]);
    while (asks[N - 1].value == 0)
        CHECK_ERR(co_yield (), ERR_OK);
    for (int i = 0; i < N; i++) {
        bool answered = asks[i].err == ERR_OK && asks[i].value == asks[i].id;
        bool quick = arg != NULL && answered; /* the answer came before we could cancel */
        CHECK(i % 2 == 1 || asks[i].err == ERR_CANCELLED || quick);
        CHECK(i % 2 == 0 || answered);
    }
}

static void askers_may_leave(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(leavers, NULL);
    test_run(leavers, &engine);
}

/* One key a turn while the table is locked: two statements go out, and all other keys are in the third. */
static void slow_reads(Ctx *ctx, void *arg) {
    (void)ctx;
    enum { N = 60 };
    static Ask asks[N];
    static TestJob jobs[N];
    PGconn *locker = arg;
    for (int i = 0; i < N; i++) {
        asks[i] = (Ask){.id = 1 + i % 50};
        jobs[i] = (TestJob){ask, &asks[i]};
        (void)test_spawn(&jobs[i]);
        CHECK_ERR(co_yield (), ERR_OK);
    }
    CHECK(engine_stats(engine).reads == READS_AHEAD);
    PQclear(PQexec(locker, "COMMIT"));
    for (int i = 0; i < N; i++) {
        while (asks[i].value == 0 && asks[i].err == ERR_OK)
            CHECK_ERR(co_yield (), ERR_OK);
        CHECK(asks[i].value == asks[i].id);
    }
    CHECK(engine_stats(engine).reads == READS_AHEAD + 1);
}

static void what_is_asked_while_reads_are_out_is_the_next_read(void **state) {
    (void)state;
    NEED_POSTGRES();
    PGconn *locker = PQconnectdb(getenv("DATABASE_URL"));
    PGresult *locked = PQexec(locker, "BEGIN; LOCK TABLE unit_reads.things IN ACCESS EXCLUSIVE MODE");
    assert_int_equal(PQresultStatus(locked), PGRES_COMMAND_OK);
    PQclear(locked);
    test_run(slow_reads, locker);
    PQfinish(locker);
}

static const Statement LIST = {"unit_list",
                               "SELECT value, id, name, 1 AS other FROM unit_reads.things"
                               " WHERE value <= $1::int4 ORDER BY value DESC",
                               false};

static void list(Ctx *ctx, void *arg) {
    (void)arg;
    PgParams params;
    void *rows;
    size_t n;
    pg_params_init(&params, ctx->arena);
    pg_add_i32(&params, 3);
    CHECK_ERR(resource_list(engine, &things, ctx, &LIST, &params, &rows, &n), ERR_OK);
    const Thing *all = rows;
    CHECK(n == 3 && all[0].value == 3 && all[2].value == 1 && str_eq(all[1].name, STR("name of 2")));
}

static void a_list_is_read_by_column_names(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(list, NULL);
}

/* Things belong to owner value % 10. */
#define OWNER "('00000000-0000-4000-8000-' || lpad(to_hex(value % 10), 12, '0'))::uuid"
static const Statement OF_OWNERS = {"unit_of_owners",
                                    "SELECT value, " OWNER " AS owner FROM unit_reads.things"
                                    " WHERE " OWNER " = ANY ($1::uuid[]) ORDER BY owner, value",
                                    false};

typedef struct Owned {
    int owner;
    Err err;
    int calls, n, sum;
} Owned;

static Err take_owned(Ctx *ctx, const PgResult *result, int first, int n, void *arg) {
    (void)ctx;
    Owned *owned = arg;
    owned->calls++;
    owned->n = n;
    for (int i = 0; i < n; i++)
        owned->sum += pg_i32(result, first + i, 0);
    return owned->owner == 7 ? ERR_LIMIT : ERR_OK;
}

static void ask_owned(Ctx *ctx, void *arg) {
    static const GroupRead of_owners = {&OF_OWNERS, "owner", take_owned};
    Owned *owned = arg;
    owned->err = resource_group(engine, &of_owners, ctx, test_id(owned->owner), owned);
}

static void each_asker_has_its_group(void **state) {
    (void)state;
    NEED_POSTGRES();
    enum { N = GROUPED_MAX * 2 + 1 };
    static Owned asks[N];
    for (int i = 0; i < N; i++)
        asks[i] = (Owned){.owner = i % 11}; /* nothing belongs to owner 10 */
    test_run_many(ask_owned, asks, sizeof *asks, N);
    assert_int_equal(engine_stats(engine).reads, 3);
    assert_int_equal(engine_stats(engine).gets, N);
    for (int i = 0; i < N; i++) {
        int owner = asks[i].owner, n = owner == 0 ? 9 : owner == 10 ? 0 : 10; /* 1 … 99 */
        assert_int_equal(asks[i].err, owner == 7 ? ERR_LIMIT : ERR_OK);
        assert_int_equal(asks[i].calls, 1);
        assert_int_equal(asks[i].n, n);
        assert_int_equal(asks[i].sum, n == 0 ? 0 : owner == 0 ? 450 : 450 + 10 * owner);
    }
}

/* A read that was sent when its server died is asked again by lib/pg; the askers never learn of it. */
static void a_lost_server_is_asked_again(void **state) {
    (void)state;
    NEED_POSTGRES();
    Ask a = {.id = 1};
    test_run(ask, &a);
    test_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'unit'");
    a = (Ask){.id = 2};
    test_run(ask, &a);
    assert_int_equal(a.err, ERR_OK);
    assert_int_equal(a.value, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(gets_of_a_turn_are_one_statement),
        TEST(more_than_one_statement_holds),
        TEST(what_is_asked_while_reads_are_out_is_the_next_read),
        TEST(a_policy_may_refuse_a_read),
        TEST(askers_may_leave),
        TEST(a_list_is_read_by_column_names),
        TEST(each_asker_has_its_group),
        TEST(a_lost_server_is_asked_again),
    };
    return cmocka_run_group_tests(tests, set_up_all, NULL);
}
