/*
 * test_http_memo.c - lines are found again, and never another's.
 */
#include "telemetry/http_memo.h"

#include "telemetry/metrics.h"
#include "telemetry/region.h"
#include "unit.h"

static void a_kind_is_found_again(void **state) {
    (void)state;
    static const char method[] = "GET", route[] = "/a";
    HttpKind kind = {.method = method, .scheme = "http", .route = route, .version = "1.1", .status = 200}, other = kind;
    KindMemo *memo = memo_of_kind(&kind);
    assert_int_equal(memo->n, 0);
    memo_keep(STR("encoded"), memo->bytes, sizeof memo->bytes, &memo->n);
    assert_ptr_equal(memo_of_kind(&kind), memo);
    assert_int_equal(memo->n, 7);
    other.status = 404;
    assert_int_equal(memo_of_kind(&other)->n, 0);
    other = kind;
    other.backend = "new";
    assert_int_equal(memo_of_kind(&other)->n, 0);
    assert_int_equal(memo_of_kind(&kind)->n, 0); /* the line was the other's */
    metrics_forget();
    memo_keep(STR("encoded"), memo_of_kind(&kind)->bytes, KIND_BYTES_MAX, &memo->n);
    metrics_forget(); /* its series is another's now */
    assert_int_equal(memo_of_kind(&kind)->n, 0);
}

static void absent_is_not_empty(void **state) {
    (void)state;
    const Str none = {NULL, 0}, peer = STR("127.0.0.1"), host = STR("localhost:5000");
    AskerMemo *memo = memo_of_asker(peer, none, host);
    memo_keep(STR("no agent"), memo->bytes, sizeof memo->bytes, &memo->n);
    assert_int_equal(memo_of_asker(peer, none, host)->n, 8);
    memo = memo_of_asker(peer, STR(""), host);
    assert_int_equal(memo->n, 0);
    memo_keep(STR("empty"), memo->bytes, sizeof memo->bytes, &memo->n);
    assert_int_equal(memo_of_asker(peer, STR(""), host)->n, 5);
    /* The same bytes, cut elsewhere. */
    memo = memo_of_asker(STR("ab"), STR("c"), none);
    memo_keep(STR("x"), memo->bytes, sizeof memo->bytes, &memo->n);
    assert_int_equal(memo_of_asker(STR("a"), STR("bc"), none)->n, 0);
}

static void what_is_too_long_has_no_line(void **state) {
    (void)state;
    static char text[ASKER_TEXT_MAX + 1], bytes[8];
    memset(text, 'x', sizeof text);
    const Str none = {NULL, 0};
    assert_null(memo_of_asker(none, (Str){text, sizeof text}, none));
    assert_non_null(memo_of_asker(none, (Str){text, sizeof text - 1}, none));
    size_t n = 0;
    memo_keep(STR("nine byte"), bytes, sizeof bytes, &n);
    assert_int_equal(n, 0);
    memo_keep(none, bytes, sizeof bytes, &n);
    assert_int_equal(n, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kind_is_found_again),
        cmocka_unit_test(absent_is_not_empty),
        cmocka_unit_test(what_is_too_long_has_no_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
