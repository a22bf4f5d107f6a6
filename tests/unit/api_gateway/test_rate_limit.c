/*
 * test_rate_limit.c - so many in so long, at times that the test says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "api_gateway/rate_limit.h"

#define SECOND 1000000000LL
static const RateRule three = {.requests = 3, .per_ms = 3000, .name = STR_INIT("three")};

static void a_burst_is_allowed_then_one_each_step(void **state) {
    RateTable *table = rate_table_new(64);
    (void)state;
    for (int left = 2; left >= 0; left--) {
        RateAnswer answer = rate_take(table, &three, STR("a"), 10 * SECOND);
        assert_false(answer.refused);
        assert_int_equal(answer.remaining, left);
    }
    RateAnswer over = rate_take(table, &three, STR("a"), 10 * SECOND);
    assert_true(over.refused);
    assert_int_equal(over.reset_s, 1);
    assert_true(rate_take(table, &three, STR("a"), 11 * SECOND - 1).refused);
    assert_false(rate_take(table, &three, STR("a"), 11 * SECOND).refused);
    assert_true(rate_take(table, &three, STR("a"), 11 * SECOND).refused);
    assert_int_equal(rate_take(table, &three, STR("a"), 60 * SECOND).remaining, 2); /* all are back, and no more */
    rate_table_free(table);
}

static void clients_and_rules_count_apart(void **state) {
    static const RateRule other = {.requests = 1, .per_ms = 1000, .name = STR_INIT("other")};
    RateTable *table = rate_table_new(64);
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_false(rate_take(table, &three, STR("a"), SECOND).refused);
    assert_true(rate_take(table, &three, STR("a"), SECOND).refused);
    assert_false(rate_take(table, &three, STR("b"), SECOND).refused);
    assert_false(rate_take(table, &other, STR("a"), SECOND).refused);
    rate_table_free(table);
}

/* Ten thousand clients in a table of 64: nobody is refused who has not asked too often. */
static void a_full_table_refuses_nobody_new(void **state) {
    RateTable *table = rate_table_new(64);
    (void)state;
    for (int i = 0; i < 10000; i++) {
        char name[16];
        int n = snprintf(name, sizeof name, "%d", i);
        assert_false(rate_take(table, &three, (Str){name, (size_t)n}, SECOND + i).refused);
    }
    rate_table_free(table);
}

static void the_fields_say_it(void **state) {
    Buf out CLEANUP(buf_done) = buf_new(NULL, 1024);
    (void)state;
    rate_headers(&three, &(RateAnswer){.refused = true, .remaining = 0, .reset_s = 2}, &out);
    assert_true(str_eq(buf_str(&out), STR("RateLimit-Policy: \"three\";q=3;w=3\r\nRateLimit: \"three\";r=0;t=2\r\n"
                                          "Retry-After: 2\r\n")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_is_allowed_then_one_each_step), cmocka_unit_test(clients_and_rules_count_apart),
        cmocka_unit_test(a_full_table_refuses_nobody_new), cmocka_unit_test(the_fields_say_it)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
