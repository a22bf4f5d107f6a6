/*
 * test_ear.c - what was heard of the old side's messages, and whether that was all there was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api_gateway/ear.h"
#include "base/clock.h"
#include "base/heap.h"

#define A "aaaaaaaa-0000-4000-8000-000000000001"
#define B "bbbbbbbb-0000-4000-8000-000000000002"

static Ear *ear;

static int setup(void **state) {
    (void)state;
    return ear_new_deaf(&ear) != ERR_OK;
}

static int teardown(void **state) {
    (void)state;
    ear_free(ear);
    return 0;
}

static Id id_of(const char *text) {
    Id id = {{0}};
    assert_int_equal(id_parse(str_c(text), ID_FORM_D, &id), ERR_OK);
    return id;
}

static int64_t now_us(void) {
    return instant_to_unix_us(clock_now());
}

static Heard *next(const char *type, const char *about, int64_t since_us, uint64_t *at) {
    return ear_next(ear, str_c(type), id_of(about), since_us, at);
}

static void messages_are_found_by_type_thing_and_time(void **state) {
    (void)state;
    uint64_t at = 0;
    ear_opened(ear);
    ear_hear(ear, STR("T"), STR("{\"message\":{\"id\":\"" A "\",\"n\":1}}"));
    ear_hear(ear, STR("U"), STR("{\"message\":{\"id\":\"" A "\",\"n\":2}}"));
    ear_hear(ear, STR("T"), STR("{\"message\":{\"id\":\"" B "\",\"n\":3}}"));
    ear_hear(ear, STR("T"), STR("{\"message\":{\"id\":\"" A "\",\"n\":4}}"));
    Heard *first = next("T", A, 0, &at), *second = next("T", A, 0, &at);
    assert_non_null(first);
    assert_non_null(second);
    assert_true(str_find(first->body, STR("\"n\":1")) > 0 && str_find(second->body, STR("\"n\":4")) > 0);
    assert_null(next("T", A, 0, &at));
    ear_hear(ear, STR("T"), STR("{\"message\":{\"id\":\"" A "\",\"n\":5}}"));
    assert_non_null(next("T", A, 0, &at)); /* and goes on with what came since */
    first->taken = true;
    at = 0;
    assert_ptr_equal(next("T", A, 0, &at), second);
    at = 0;
    assert_null(next("T", A, now_us() + 1000000, &at));
    at = 0;
    assert_null(next("V", A, 0, &at));
}

static void what_is_no_envelope_is_about_nothing(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "", "{", "[]", "{\"message\":7}", "{\"message\":{\"id\":7}}", "{\"message\":{}}"};
    uint64_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        ear_hear(ear, STR("T"), str_c(bodies[i]));
    assert_null(next("T", A, 0, &at));
    at = 0;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        assert_non_null(ear_next(ear, STR("T"), (Id){{0}}, 0, &at));
}

static void deaf_times_are_known(void **state) {
    (void)state;
    int64_t before = now_us();
    assert_false(ear_has_all(ear, before)); /* never opened */
    ear_opened(ear);
    assert_false(ear_has_all(ear, before)); /* not all that came since then */
    assert_true(ear_has_all(ear, now_us() + 1000));
    ear_closed(ear);
    assert_false(ear_has_all(ear, now_us() + 1000));
}

static void what_is_dropped_is_remembered_as_missing(void **state) {
    (void)state;
    uint64_t at = 0;
    ear_opened(ear);
    int64_t since = now_us() + 1000;
    while (now_us() < since) {
    }
    ear_hear(ear, STR("T"), STR("{\"message\":{\"id\":\"" A "\"}}"));
    assert_true(ear_has_all(ear, since));
    for (int i = 0; i < 4096; i++)
        ear_hear(ear, STR("T"), STR("{\"message\":{\"id\":\"" B "\"}}"));
    assert_null(next("T", A, 0, &at));
    assert_false(ear_has_all(ear, since));
    size_t n = 0;
    for (at = 0; next("T", B, 0, &at) != NULL;)
        n++;
    assert_int_equal(n, 4096);
}

static void one_too_large_is_missing_too(void **state) {
    (void)state;
    ear_opened(ear);
    int64_t since = now_us() + 1000;
    while (now_us() < since) {
    }
    size_t n = 1 << 20;
    char *large = heap_alloc(n);
    memset(large, ' ', n);
    ear_hear(ear, STR("T"), (Str){large, n});
    heap_free(large);
    assert_false(ear_has_all(ear, since));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_are_found_by_type_thing_and_time, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_envelope_is_about_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(deaf_times_are_known, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_dropped_is_remembered_as_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(one_too_large_is_missing_too, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
