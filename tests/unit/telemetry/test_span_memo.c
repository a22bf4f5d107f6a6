/*
 * test_span_memo.c - lines are found again, and never another's.
 */
#include "telemetry/span_memo.h"

#include "telemetry/metrics.h"
#include "telemetry/region.h"
#include "unit.h"

static void a_kind_is_found_again(void **state) {
    (void)state;
    uint64_t key[MEMO_WORDS] = {1, 2, 3};
    SpanMemo *memo = span_memo(key);
    assert_int_equal(memo->n, 0);
    span_memo_keep(STR("encoded"), memo->bytes, sizeof memo->bytes, &memo->n);
    assert_ptr_equal(span_memo(key), memo);
    assert_int_equal(memo->n, 7);
    for (size_t i = 0; i < MEMO_WORDS; i++) { /* each word counts */
        uint64_t other[MEMO_WORDS];
        memcpy(other, key, sizeof key);
        other[i] += 100;
        assert_int_equal(span_memo(other)->n, 0);
    }
    memo = span_memo(key);
    span_memo_keep(STR("again"), memo->bytes, sizeof memo->bytes, &memo->n);
    metrics_forget(); /* its series is another worker's now */
    assert_int_equal(span_memo(key)->n, 0);
}

/* More kinds than lines: each line is the last one's that came, and no other's. */
static void lines_are_replaced(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        const uint64_t key[MEMO_WORDS] = {7, i};
        SpanMemo *memo = span_memo(key);
        assert_int_equal(memo->n, 0);
        memo->active = NULL;
        span_memo_keep(STR("x"), memo->bytes, sizeof memo->bytes, &memo->n);
        assert_int_equal(span_memo(key)->n, 1);
    }
}

static void absent_is_not_empty(void **state) {
    (void)state;
    const Str none = {NULL, 0}, peer = STR("127.0.0.1"), host = STR("localhost:5000");
    AskerMemo *memo = span_memo_asker(peer, none, host);
    span_memo_keep(STR("no agent"), memo->bytes, sizeof memo->bytes, &memo->n);
    assert_int_equal(span_memo_asker(peer, none, host)->n, 8);
    memo = span_memo_asker(peer, STR(""), host);
    assert_int_equal(memo->n, 0);
    span_memo_keep(STR("empty"), memo->bytes, sizeof memo->bytes, &memo->n);
    assert_int_equal(span_memo_asker(peer, STR(""), host)->n, 5);
    /* The same bytes, cut elsewhere. */
    memo = span_memo_asker(STR("ab"), STR("c"), none);
    span_memo_keep(STR("x"), memo->bytes, sizeof memo->bytes, &memo->n);
    assert_int_equal(span_memo_asker(STR("a"), STR("bc"), none)->n, 0);
}

static void what_is_too_long_has_no_line(void **state) {
    (void)state;
    static char text[ASKER_TEXT_MAX + 1], bytes[8];
    memset(text, 'x', sizeof text);
    const Str none = {NULL, 0};
    assert_null(span_memo_asker(none, (Str){text, sizeof text}, none));
    assert_non_null(span_memo_asker(none, (Str){text, sizeof text - 1}, none));
    size_t n = 0;
    span_memo_keep(STR("nine byte"), bytes, sizeof bytes, &n);
    assert_int_equal(n, 0);
    span_memo_keep(none, bytes, sizeof bytes, &n);
    assert_int_equal(n, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kind_is_found_again),
        cmocka_unit_test(lines_are_replaced),
        cmocka_unit_test(absent_is_not_empty),
        cmocka_unit_test(what_is_too_long_has_no_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
