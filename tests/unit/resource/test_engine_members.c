/*
 * test_engine_members.c - members that leave, sets that run out of time or memory, and sets with something to do
 * before.
 */
#include "engine_things.h"

/* --- leaving early ------------------------------------------------------------------------------------------------ */

static const Statement TAKE = {"unit_take", "SELECT pg_advisory_xact_lock(4711)", true};
static const Statement WAITERS = {"unit_waiters",
                                  "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", false};

static Call slow, behind;
static TestJob slow_job = {call, &slow}, behind_job = {call, &behind};

static CO_FN Err wait_until_blocked(Ctx *ctx) {
    PgParams params;
    PgResult result;
    pg_params_init(&params, ctx->arena);
    do {
        TRY(pg_query(test.pool, &WAITERS, &params, &result));
    } while (pg_i64(&result, 0, 0) == 0);
    return ERR_OK;
}

/* Holds the lock that the set of `slow` waits for, meanwhile cancels it and one that waits behind. */
static CO_FN Err holder_body(PgTx *tx, void *arg) {
    Ctx *ctx = arg;
    PgResult result;
    TRY(pg_tx_query(tx, &TAKE, NULL, &result));
    Co *in_set = test_spawn(&slow_job);
    TRY(wait_until_blocked(ctx));
    Co *in_queue = test_spawn(&behind_job);
    TRY(co_yield ());
    TRY(co_yield ());
    co_cancel(in_set);
    co_cancel(in_queue);
    TRY(co_yield ());
    TRY(co_yield ());
    if (behind.err != ERR_CANCELLED)
        return ctx_problem(ctx, ERR_INTERNAL, NULL, "who waits in the queue must leave at once");
    if (slow.err != ERR_EOF)
        return ctx_problem(ctx, ERR_INTERNAL, NULL, "who is in the set must stay until it is decided");
    return ERR_OK;
}

static void hold_and_cancel(Ctx *ctx, void *arg) {
    (void)arg;
    CHECK_ERR(pg_transaction(test.pool, holder_body, ctx), ERR_OK);
}

static void a_cancelled_member_stays_until_its_set_is_decided(void **state) {
    (void)state;
    NEED_POSTGRES();
    slow = (Call){.action = "make", .id = 1, .name = "waits", .err = ERR_EOF};
    behind = (Call){.action = "make", .id = 2, .name = "behind", .err = ERR_EOF};
    test_run(hold_and_cancel, NULL);
    assert_int_equal(slow.err, ERR_OK); /* it was committed, and says so */
    assert_int_equal(behind.err, ERR_CANCELLED);
    assert_int_equal(count_things(), 1);
    assert_int_equal(count_outbox(), 1);
}

static void impatient(Ctx *ctx, void *arg) {
    ctx->deadline_ms = clock_mono_ms() + 1;
    call(ctx, arg);
}

/* The set's own deadline is the latest of its members': two with a millisecond, and a lock that nobody gives. */
static CO_FN Err keeper_body(PgTx *tx, void *arg) {
    Call *calls = arg;
    PgResult result;
    TRY(pg_tx_query(tx, &TAKE, NULL, &result));
    static TestJob jobs[2];
    for (int i = 0; i < 2; i++) {
        jobs[i] = (TestJob){impatient, &calls[i]};
        test_spawn(&jobs[i]);
    }
    while (calls[0].err == ERR_EOF || calls[1].err == ERR_EOF)
        TRY(co_yield ());
    return ERR_OK;
}

static void keep_lock(Ctx *ctx, void *arg) {
    (void)ctx;
    CHECK_ERR(pg_transaction(test.pool, keeper_body, arg), ERR_OK);
}

static void deadlines_end_sets(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call calls[] = {{.action = "make", .id = 1, .name = "waits", .err = ERR_EOF},
                    {.action = "make", .id = 2, .name = "two", .err = ERR_EOF}};
    test_run(keep_lock, calls);
    for (int i = 0; i < 2; i++) /* by the deadline itself, or by never having got a connection until then */
        assert_true(calls[i].err == ERR_TIMEOUT || calls[i].err == ERR_UNAVAILABLE);
    assert_int_equal(count_things() + count_outbox(), 0);
}

/* --- set_run with a `before` -------------------------------------------------------------------------------------- */

static const Statement MARK = {"unit_mark",
                               "INSERT INTO unit_engine.things (id, name, value) SELECT gen_random_uuid(),"
                               " 'mark of ' || n, -1 FROM unnest($1::text[]) AS n",
                               true};

/* Writes a row per member, as the inbox does, and leaves out who is called "known". */
static CO_FN Err mark_before(PgTx *tx, Set *set, void *data) {
    (*(int *)data)++;
    PgParams params;
    pg_params_init(&params, set->ctx->arena);
    pg_array_begin(&params, OID_TEXT_ARRAY);
    size_t kept = 0;
    for (size_t i = 0; i < set->n; i++) {
        const Thing *thing = set->members[i]->input;
        if (str_eq_c(thing->name, "known"))
            continue;
        pg_array_text(&params, thing->name);
        set->members[kept++] = set->members[i];
    }
    pg_array_end(&params);
    set->n = kept;
    pg_tx_send(tx, &MARK, &params);
    return ERR_OK;
}

static void run_with_before(Ctx *ctx, void *arg) {
    (void)arg;
    Thing inputs[] = {{test_id(1), STR("one"), 0},
                      {test_id(2), STR("known"), 0},
                      {test_id(3), STR("refused"), 0},
                      {test_id(4), STR("four"), 0}};
    Ctx ctxs[ARRAY_LEN(inputs)];
    Member members[ARRAY_LEN(inputs)], *pointers[ARRAY_LEN(inputs)];
    for (size_t i = 0; i < ARRAY_LEN(inputs); i++) {
        ctxs[i] = *ctx;
        members[i] = (Member){.ctx = &ctxs[i], .input = &inputs[i]};
        pointers[i] = &members[i];
    }
    int calls = 0;
    Set set = {&things, resource_action(&things, "make"), pointers, ARRAY_LEN(inputs), ctx};
    CHECK_ERR(set_run(engine, &set, mark_before, &calls), ERR_OK);
    CHECK(calls == 2);
    CHECK(members[0].outcome == ERR_OK && members[1].outcome == ERR_OK && members[3].outcome == ERR_OK);
    CHECK(members[2].outcome == ERR_CONFLICT && str_eq(ctxs[2].problem.message, STR("Not refused.")));
}

static void with_before_a_refused_member_leaves_nothing(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(run_with_before, NULL);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_engine.things WHERE name IN ('one', 'four', 'mark of one',"
                              " 'mark of four')"),
                     4);
    assert_int_equal(count_things(), 4);
    assert_int_equal(count_outbox(), 2);
    assert_int_equal(count_commits(), 1);
}

/* --- refused memory ----------------------------------------------------------------------------------------------- */

static void any_refused_allocation_is_an_outcome(void **state) {
    (void)state;
    NEED_POSTGRES();
    bool went_through = false;
    for (uint64_t nth = 1; nth < 200 && !went_through; nth++) {
        test_sql("TRUNCATE unit_engine.things, unit_engine.outbox");
        Call calls[] = {FINE("make", 1, "one", 0), FINE("make", 2, "two", 0)};
        fail_nth = nth;
        test_run_many(call, calls, sizeof calls[0], 2);
        arena_fail_nth(0);
        long long well = 0;
        for (int i = 0; i < 2; i++)
            well += calls[i].err == ERR_OK;
        went_through = well == 2 && nth > 60;
        assert_int_equal(count_things(), count_outbox()); /* never the one without the other */
        assert_true(count_things() >= well);
    }
    assert_true(went_through);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_cancelled_member_stays_until_its_set_is_decided),
        TEST(deadlines_end_sets),
        TEST(with_before_a_refused_member_leaves_nothing),
        TEST(any_refused_allocation_is_an_outcome),
    };
    return cmocka_run_group_tests(tests, set_up_all, NULL);
}
