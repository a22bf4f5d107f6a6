/*
 * test_words.c - what the conventions call a request's method, status, version and scheme.
 */
#include "telemetry/instrument_words.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void a_request_has_its_words(void **state) {
    (void)state;
    static const struct {
        const char *label;
        Request req;
        const char *method, *version, *scheme;
    } cases[] = {
        {"1.0", {.method = METHOD_GET, .major = 1, .minor = 0}, "GET", "1.0", "http"},
        {"1.1", {.method = METHOD_POST, .major = 1, .minor = 1}, "POST", "1.1", "http"},
        {"1.1 over TLS", {.method = METHOD_PUT, .major = 1, .minor = 1, .secure = true}, "PUT", "1.1", "https"},
        {"2 over TLS", {.method = METHOD_GET, .major = 2, .minor = 1, .secure = true}, "GET", "2", "https"},
        {"unknown method", {.method = METHOD_OTHER, .major = 1, .minor = 1}, "_OTHER", "1.1", "http"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].label);
        assert_string_equal(method_name(&cases[i].req), cases[i].method);
        assert_string_equal(protocol_version(&cases[i].req), cases[i].version);
        assert_string_equal(url_scheme(&cases[i].req), cases[i].scheme);
    }
}

static void a_status_is_three_digits_or_nothing(void **state) {
    (void)state;
    assert_string_equal(status_text(100), "100");
    assert_string_equal(status_text(404), "404");
    assert_string_equal(status_text(999), "999");
    assert_null(status_text(99));
    assert_null(status_text(1000));
    assert_null(status_text(-1));
    assert_ptr_equal(status_text(503), status_text(503));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_has_its_words),
        cmocka_unit_test(a_status_is_three_digits_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
