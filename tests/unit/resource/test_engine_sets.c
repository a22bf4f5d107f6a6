/*
 * test_engine_sets.c - what was asked in one turn is one set and one commit, and each member still has its own outcome.
 */
#include "engine_things.h"

/* --- sets --------------------------------------------------------------------------------------------------------- */

static void a_turns_requests_are_one_commit(void **state) {
    (void)state;
    NEED_POSTGRES();
    static const char *const kinds[] = {"create", "make"};
    for (size_t kind = 0; kind < ARRAY_LEN(kinds); kind++) {
        enum { N = 100 };
        static Call calls[N];
        static char names[N][16];
        EngineStats before = engine_stats(engine);
        test_sql("TRUNCATE unit_engine.things, unit_engine.outbox");
        for (int i = 0; i < N; i++) {
            snprintf(names[i], sizeof names[i], "n%d", i);
            calls[i] = (Call){.action = kinds[kind], .id = N - i, .name = names[i], .value = i * 2};
        }
        run_calls(calls, N);
        CASE(kinds[kind]);
        assert_int_equal(engine_stats(engine).sets - before.sets, 1);
        assert_int_equal(engine_stats(engine).members - before.members, N);
        assert_int_equal(count_things(), N);
        assert_int_equal(count_outbox(), N);
        assert_int_equal(count_commits(), 1);
        for (int i = 0; i < N; i++)
            assert_true(calls[i].has_result);
        /* Messages stand in order of arrival (ids fall, values rise). */
        assert_int_equal(
            test_sql("SELECT count(*) FROM (SELECT t.value, lag(t.value) OVER (ORDER BY o.position) AS before"
                     " FROM unit_engine.outbox o JOIN unit_engine.things t ON t.id = o.aggregate) AS s"
                     " WHERE value < before"),
            0);
        /* Payloads are kept to the byte, and the trace goes with them. */
        assert_int_equal(test_sql("SELECT count(*) FROM unit_engine.outbox WHERE payload = '{\"a\": 1.50, \"a\": 2}'"
                                  " AND traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$'"),
                         N);
    }
}

static void an_identity_refuses_one_and_not_the_others(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call calls[] = {
        FINE("create", 0, "a", 2),
        FINE("create", 0, "b", 2),
        BAD("create", 0, "a", 4, ERR_CONFLICT, "The name is taken"),
        FINE("create", 7, "c", 2),
        BAD("create", 7, "d", 2, ERR_CONFLICT, "The name is taken"), /* the same key: the first has it */
    };
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(engine_stats(engine).sets, 2); /* the last two clash by their key */
    assert_int_equal(engine_stats(engine).reruns, 0);
    assert_int_equal(count_things(), 3);
    assert_int_equal(count_outbox(), 3);
    assert_int_equal(test_sql("SELECT value FROM unit_engine.things WHERE name = 'a'"), 2);
    assert_true(!id_is_zero(calls[0].thing.id));
    Call again[] = {BAD("create", 0, "a", 2, ERR_CONFLICT, "The name is taken")};
    run_calls(again, 1);
    assert_int_equal(count_outbox(), 3);
}

static void an_update_of_what_is_not_there_is_its_own_refusal(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call make[] = {FINE("create", 1, "a", 0), FINE("create", 2, "b", 0), FINE("create", 3, "c", 0)};
    run_calls(make, ARRAY_LEN(make));
    Call calls[] = {
        FINE("update", 1, "aa", 1),
        BAD("update", 9, "x", 1, ERR_NOT_FOUND, "This thing does not exist."),
        FINE("update", 2, "bb", 1),
    };
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(engine_stats(engine).sets, 2);
    assert_int_equal(count_outbox(), 5);
    /* A name that is taken: the statement fails as a whole, and each is run by itself. */
    Call collide[] = {
        FINE("update", 1, "aaa", 2),
        BAD("update", 2, "c", 2, ERR_CONFLICT, "The name is taken"),
        FINE("update", 3, "cc", 2),
    };
    run_calls(collide, ARRAY_LEN(collide));
    assert_int_equal(engine_stats(engine).reruns, 3);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_engine.things WHERE value = 2"), 2);
    assert_int_equal(count_outbox(), 7);
    Call destroy[] = {FINE("destroy", 1, "", 0), BAD("destroy", 8, "", 0, ERR_NOT_FOUND, NULL)};
    run_calls(destroy, ARRAY_LEN(destroy));
    assert_int_equal(count_things(), 2);
}

static void updates_of_one_row_keep_their_order(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call make[] = {FINE("create", 1, "a", 0)};
    run_calls(make, 1);
    Call calls[] = {FINE("update", 1, "a1", 1), FINE("update", 1, "a2", 2), FINE("update", 1, "a3", 3),
                    FINE("update", 1, "a4", 4)};
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(engine_stats(engine).sets, 1 + 4);
    assert_int_equal(test_sql("SELECT value FROM unit_engine.things"), 4);
    Call apart[] = {FINE("make_apart", 2, "b", 1), FINE("make_apart", 3, "c", 1),
                    BAD("make_apart", 2, "b", 1, ERR_CONFLICT, NULL)};
    uint64_t sets = engine_stats(engine).sets;
    run_calls(apart, ARRAY_LEN(apart));
    assert_int_equal(engine_stats(engine).sets - sets, 2);
}

static void sets_are_capped_and_queues_take_turns(void **state) {
    (void)state;
    NEED_POSTGRES();
    enum { MANY = SET_MEMBERS_MAX + 100, FEW = 5 };
    static Call calls[MANY + FEW];
    static char names[MANY + FEW][16];
    for (int i = 0; i < MANY + FEW; i++) {
        snprintf(names[i], sizeof names[i], "n%d", i);
        calls[i] = (Call){.action = i < MANY ? "create" : "make", .id = i + 1, .name = names[i]};
    }
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(engine_stats(engine).sets, 3);
    /* The second set is the other action's, not the rest of the first. */
    assert_int_equal(test_sql("SELECT count(DISTINCT type) FROM (SELECT type FROM unit_engine.outbox ORDER BY position"
                              " LIMIT 517) AS t"),
                     2);
}

/* --- failures ----------------------------------------------------------------------------------------------------- */

static void one_bad_member_among_many(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call calls[] = {
        FINE("make", 1, "one", 0),   BAD("make", 2, "divides by zero", 0, ERR_INVALID, "A value does not fit."),
        FINE("make", 3, "three", 0), BAD("make", 4, "refused", 0, ERR_CONFLICT, "Not refused."),
        FINE("make", 5, "five", 0),
    };
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(engine_stats(engine).reruns, 5);
    assert_int_equal(count_things(), 3);
    assert_int_equal(count_outbox(), 3);
}

static void a_refusal_leaves_the_set_whole(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call calls[] = {FINE("make", 1, "one", 0), BAD("make", 2, "refused", 0, ERR_CONFLICT, NULL),
                    FINE("make", 3, "three", 0)};
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(runs, 1);
    assert_int_equal(count_commits(), 1);
    assert_int_equal(count_outbox(), 2);
}

static void a_serialization_failure_is_run_again(void **state) {
    (void)state;
    NEED_POSTGRES();
    retries_left = 2;
    Call calls[] = {FINE("make", 1, "one", 0), FINE("make", 2, "refused at first", 0), FINE("make", 3, "collides", 0)};
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(runs, 3);
    assert_int_equal(engine_stats(engine).reruns, 0);
    assert_int_equal(count_things(), 3); /* so is what they decided */
    assert_int_equal(count_outbox(), 3); /* what the first runs announced is forgotten */
    assert_int_equal(count_commits(), 1);
}

static void a_lost_server_is_everybodys_outcome(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call calls[] = {
        BAD("make", 1, "one", 0, ERR_UNAVAILABLE, NULL),
        BAD("make", 2, "kills", 0, ERR_UNAVAILABLE, NULL),
        BAD("make", 3, "three", 0, ERR_UNAVAILABLE, NULL),
    };
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(runs, 1);
    assert_int_equal(count_things() + count_outbox(), 0);
    Call after[] = {FINE("make", 1, "one", 0)}; /* and the connection comes back by itself */
    run_calls(after, 1);
}

static void a_missing_table_is_not_tried_for_each(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call calls[] = {BAD("make", 1, "one", 0, ERR_INTERNAL, "An unexpected error occurred."),
                    BAD("make", 2, "lost table", 0, ERR_INTERNAL, "An unexpected error occurred.")};
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(runs, 1);
}

static void checks_come_before_the_set(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call calls[] = {
        BAD("create", 0, "both rules", -1, ERR_INVALID, "The value is negative."),
        BAD("create", 0, "second rule", 1, ERR_INVALID, "The value is odd."),
        BAD("secret", 0, "policy", 0, ERR_REFUSED, "No policy allows secret of thing (asked: anyone but for secrets)."),
    };
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(engine_stats(engine).sets, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_turns_requests_are_one_commit),
        TEST(an_identity_refuses_one_and_not_the_others),
        TEST(an_update_of_what_is_not_there_is_its_own_refusal),
        TEST(updates_of_one_row_keep_their_order),
        TEST(sets_are_capped_and_queues_take_turns),
        TEST(one_bad_member_among_many),
        TEST(a_refusal_leaves_the_set_whole),
        TEST(a_serialization_failure_is_run_again),
        TEST(a_lost_server_is_everybodys_outcome),
        TEST(a_missing_table_is_not_tried_for_each),
        TEST(checks_come_before_the_set),
    };
    return cmocka_run_group_tests(tests, set_up_all, NULL);
}
