/*
 * test_trial.c - a trial answers as the action would, sees what it wrote, and leaves nothing.
 */
#include "engine_things.h"

static PgPool *trial_pool;
static Engine *trial_engine, *real_engine;
static int told;
static char tables[512], messages[512];

static void note(Ctx *ctx, const Trial *trial, void *data) {
    (void)ctx;
    (void)data;
    told++;
    Buf out = buf_new(ctx->arena, 4096);
    for (size_t i = 0; i < trial->table_n; i++)
        buf_printf(&out, "%.*s +%lld ~%lld -%lld %.*s;", STR_ARG(trial->tables[i].name),
                   (long long)trial->tables[i].inserted, (long long)trial->tables[i].updated,
                   (long long)trial->tables[i].deleted, STR_ARG(trial->tables[i].rows));
    snprintf(tables, sizeof tables, "%.*s", STR_ARG(buf_str(&out)));
    messages[0] = '\0';
    for (const Outgoing *message = trial->messages; message != NULL; message = message->next)
        snprintf(messages + strlen(messages), sizeof messages - strlen(messages), "%.*s;", STR_ARG(message->type));
}

static int set_up_trial(void **state) {
    if (set_up(state) != 0)
        return 1;
    told = 0;
    if (test_skipped())
        return 0;
    PgConfig config = test_config();
    config.rolls_back = true;
    if (pg_pool_new(test.loop, &config, &trial_pool) != ERR_OK ||
        engine_new(test.loop, &context, trial_pool, &trial_engine) != ERR_OK)
        return 1;
    engine_try(trial_engine, note, NULL);
    real_engine = engine;
    engine = trial_engine;
    return 0;
}

static int tear_down_trial(void **state) {
    if (!test_skipped()) {
        engine_free(trial_engine);
        pg_pool_free(trial_pool);
        engine = real_engine;
    }
    return tear_down(state);
}

static void nothing_stays(void **state) {
    (void)state;
    NEED_POSTGRES();
    static const char *const kinds[] = {"create", "make"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        CASE(kinds[i]);
        Call calls[] = {FINE(kinds[i], 1, "a", 2)};
        told = 0;
        run_calls(calls, 1);
        assert_int_equal(told, 1);
        assert_true(calls[0].has_result);
        assert_non_null(strstr(tables, "unit_engine.things +1 ~0 -0 [{"));
        assert_non_null(strstr(tables, "\"name\": \"a\""));
        assert_non_null(strstr(tables, "unit_engine.outbox +1 ~0 -0 ;"));
        assert_string_equal(messages, i == 0 ? "create;" : "make;");
        assert_int_equal(count_things(), 0);
        assert_int_equal(count_outbox(), 0);
    }
}

static void two_at_once_do_not_see_each_other(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call calls[] = {FINE("create", 1, "same", 2), FINE("create", 2, "same", 4), FINE("make", 3, "same", 6)};
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(told, 3);
    assert_int_equal(count_things(), 0);
}

static void the_answer_is_what_the_action_would_say(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_sql("INSERT INTO unit_engine.things (id, name, value) VALUES (gen_random_uuid(), 'taken', 2)");
    Call calls[] = {
        BAD("create", 1, "taken", 2, ERR_CONFLICT, "The name is taken"),
        BAD("create", 2, "odd", 3, ERR_INVALID, "The value is odd."),
        BAD("update", 3, "nobody", 2, ERR_NOT_FOUND, "This thing does not exist."),
        BAD("make", 4, "refused", 2, ERR_CONFLICT, "Not refused."),
        BAD("make", 5, "taken", 2, ERR_CONFLICT, NULL),
        BAD("secret", 6, "s", 2, ERR_REFUSED, NULL),
    };
    run_calls(calls, ARRAY_LEN(calls));
    assert_string_equal(messages, "");
    assert_int_equal(count_things(), 1);
    assert_int_equal(count_outbox(), 0);
}

/* What was written in the same session before, and not reported to the statistics yet, is not counted again. */
static void counts_are_of_this_trial_alone(void **state) {
    (void)state;
    NEED_POSTGRES();
    for (int i = 0; i < 3; i++) {
        Call calls[] = {FINE("create", 1, "a", 2)};
        run_calls(calls, 1);
        assert_non_null(strstr(tables, "unit_engine.things +1 ~0 -0 [{"));
    }
}

static void a_session_that_dies_leaves_nothing(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call calls[] = {BAD("make", 1, "kills", 2, ERR_UNAVAILABLE, NULL)};
    run_calls(calls, 1);
    assert_int_equal(told, 0);
    Call again[] = {FINE("make", 1, "lives", 2)};
    run_calls(again, 1);
    assert_int_equal(told, 1);
    assert_int_equal(count_things(), 0);
}

/* The reader has no transaction to roll back: it may not write at all. */
static void write_outside(Ctx *ctx, void *arg) {
    (void)ctx;
    static const Statement INSERT = {"unit_trial_outside",
                                     "INSERT INTO unit_engine.things VALUES (gen_random_uuid(), 'x', 1)", true};
    PgResult result;
    *(Err *)arg = pg_query(trial_pool, &INSERT, NULL, &result);
}

static void the_reader_may_not_write(void **state) {
    (void)state;
    NEED_POSTGRES();
    Err err = ERR_OK;
    test_run_many(write_outside, &err, sizeof err, 1);
    assert_int_not_equal(err, ERR_OK);
    assert_int_equal(count_things(), 0);
}

#define TRIAL_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_trial, tear_down_trial)

int main(void) {
    const struct CMUnitTest tests[] = {
        TRIAL_TEST(nothing_stays),
        TRIAL_TEST(two_at_once_do_not_see_each_other),
        TRIAL_TEST(the_answer_is_what_the_action_would_say),
        TRIAL_TEST(counts_are_of_this_trial_alone),
        TRIAL_TEST(a_session_that_dies_leaves_nothing),
        TRIAL_TEST(the_reader_may_not_write),
    };
    return cmocka_run_group_tests(tests, set_up_all, NULL);
}
