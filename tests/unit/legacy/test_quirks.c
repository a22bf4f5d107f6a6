/*
 * test_quirks.c - the table of habits and its switches.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "legacy/quirks.h"

static Arena *arena;
static Ctx ctx;

static int setup(void **state) {
    (void)state;
    arena = arena_new(1 << 16);
    ctx_init(&ctx, arena, 0);
    return arena == NULL;
}

static int teardown(void **state) {
    (void)state;
    Err err = quirks_configure(&ctx, STR(""));
    arena_free(arena);
    return err != ERR_OK;
}

static size_t how_many_on(void) {
    size_t n = 0;
    for (size_t i = 0; i < QUIRK_COUNT; i++)
        n += quirk((QuirkId)i);
    return n;
}

static void test_table(void **state) {
    (void)state;
    for (size_t i = 0; i < QUIRK_COUNT; i++) {
        assert_non_null(QUIRKS[i].name);
        size_t length = strlen(QUIRKS[i].doc);
        assert_true(length > 20 && QUIRKS[i].doc[length - 1] == '.');
        for (const char *c = QUIRKS[i].name; *c != 0; c++)
            assert_true((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '-');
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(QUIRKS[i].name, QUIRKS[j].name);
    }
}

static const struct {
    const char *off;
    size_t on;
} settings[] = {
    {"", QUIRK_COUNT},
    {"all", 0},
    {"cors-any", QUIRK_COUNT - 1},
    {" cors-any , blank-names,", QUIRK_COUNT - 2},
    {"cors-any,cors-any", QUIRK_COUNT - 1},
    {"cors-any,all", 0},
    {"Cors-Any", QUIRK_COUNT - 1},
    {",,", QUIRK_COUNT},
};

static void test_settings(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        assert_int_equal(quirks_configure(&ctx, str_c(settings[i].off)), ERR_OK);
        assert_int_equal(how_many_on(), settings[i].on);
    }
    assert_int_equal(quirks_configure(&ctx, (Str){0}), ERR_OK);
    assert_int_equal(how_many_on(), QUIRK_COUNT);
}

static void test_unknown_name(void **state) {
    (void)state;
    assert_int_equal(quirks_configure(&ctx, STR("blank-names")), ERR_OK);
    assert_int_equal(quirks_configure(&ctx, STR("cors-any,venue-ignored-on-crate")), ERR_INVALID);
    assert_true(str_eq_c(ctx.problem.message,
                         "there is no quirk 'venue-ignored-on-crate'; did you mean 'venue-ignored-on-create'?"));
    assert_true(str_eq_c(ctx.problem.field, "QUIRKS_OFF"));
    assert_int_equal(how_many_on(), QUIRK_COUNT - 1); /* what was set stays */
    assert_true(quirk(QUIRK_CORS_ANY));
    char word[1000];
    memset(word, 'x', sizeof word);
    assert_int_equal(quirks_configure(&ctx, (Str){word, sizeof word}), ERR_INVALID);
}

/** Each flag of the style follows its quirk, in both positions. */
static void test_style(void **state) {
    (void)state;
    CompatStyle style;
    static const struct {
        QuirkId id;
        size_t offset;
    } flags[] = {
        {QUIRK_NAMES_ANY_CASE, offsetof(CompatStyle, names_any_case)},
        {QUIRK_ONE_DOMAIN_ERROR, offsetof(CompatStyle, one_error_only)},
        {QUIRK_DOMAIN_ERRORS_UNTYPED, offsetof(CompatStyle, domain_errors_untyped)},
        {QUIRK_NUMBERS_FROM_STRINGS, offsetof(CompatStyle, numbers_from_strings)},
        {QUIRK_ENUMS_LENIENT, offsetof(CompatStyle, enums_lenient)},
        {QUIRK_INSTANTS_UTC_MICROS, offsetof(CompatStyle, instants_utc_micros)},
        {QUIRK_DUPLICATE_NAMES_LAST, offsetof(CompatStyle, duplicate_names_last)},
        {QUIRK_ACCEPT_IGNORED, offsetof(CompatStyle, accept_ignored)},
        {QUIRK_UNKNOWN_ID_PUT_400, offsetof(CompatStyle, not_found_put_400)},
        {QUIRK_CORS_ANY, offsetof(CompatStyle, cors_any)},
        {QUIRK_METHODS_ANY_CASE, offsetof(CompatStyle, methods_any_case)},
    };
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        assert_int_equal(quirks_configure(&ctx, str_c(QUIRKS[flags[i].id].name)), ERR_OK);
        quirks_style(&style);
        for (size_t j = 0; j < ARRAY_LEN(flags); j++)
            assert_int_equal(*(const bool *)((const char *)&style + flags[j].offset), i != j);
    }
    assert_false(style.body_errors_500); /* a hole, copied by nothing */
}

static void test_document_is_fresh(void **state) {
    (void)state;
    assert_int_equal(system("tools/gen-quirks-doc --check"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_table, setup, teardown),
        cmocka_unit_test_setup_teardown(test_settings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_style, setup, teardown),
        cmocka_unit_test_setup_teardown(test_document_is_fresh, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
