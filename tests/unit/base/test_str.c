/*
 * test_str.c - views, the map that is keyed by them, error names.
 */
#include "base/map.h"
#include "base/str.h"

#include "unit.h"

static const Str ABSENT = {NULL, 0};

static void looking(void **state) {
    (void)state;
    assert_true(str_eq(STR(""), ABSENT) && str_c(NULL).p == NULL);
    assert_true(str_eq_nocase(STR("Content-TYPE"), STR("content-type")));
    assert_true(!str_eq_nocase(STR("a@"), STR("a`")) && !str_eq_nocase(STR("["), STR("{")));
    assert_true(!str_eq_nocase(STR("a"), STR("ab")));
    assert_true(str_eq_nocase(STR(""), STR("")));
    /* Every pair of bytes, at every place of texts of every length up to three words. */
    char a[24], b[24];
    for (int x = 0; x < 256; x++)
        for (int y = 0; y < 256; y++) {
            bool same = (x >= 'A' && x <= 'Z' ? x + 32 : x) == (y >= 'A' && y <= 'Z' ? y + 32 : y);
            memset(a, 'k', sizeof a);
            memset(b, 'K', sizeof b);
            for (size_t n = 1; n <= sizeof a; n += 1 + (size_t)(x % 3))
                for (size_t at = 0; at < n; at++) {
                    a[at] = (char)x;
                    b[at] = (char)y;
                    if (str_eq_nocase((Str){a, n}, (Str){b, n}) != same)
                        fail_msg("bytes %d and %d at %zu of %zu", x, y, at, n);
                    a[at] = 'k';
                    b[at] = 'K';
                }
        }
    assert_true(str_starts_with(STR("abc"), STR("ab")) && !str_starts_with(STR("a"), STR("ab")));
    assert_true(str_ends_with(STR("abc"), STR("bc")) && !str_ends_with(STR("c"), STR("bc")));
    assert_true(str_starts_with(ABSENT, STR("")) && str_ends_with(ABSENT, ABSENT));
    assert_int_equal(str_index(STR("abc"), 'c'), 2);
    assert_int_equal(str_index(STR("abc"), 'x'), -1);
    assert_int_equal(str_index(ABSENT, 'x'), -1);
    assert_int_equal(str_find(STR("hay needle"), STR("needle")), 4);
    assert_int_equal(str_find(STR("need"), STR("needle")), -1);
    assert_int_equal(str_find(ABSENT, STR("")), 0);
    assert_int_equal(str_find(ABSENT, STR("x")), -1);
}

static void cutting(void **state) {
    (void)state;
    assert_true(str_eq_c(str_slice(STR("abcdef"), 2, 4), "cd"));
    assert_true(str_eq_c(str_slice(STR("abc"), 1, 99), "bc"));
    assert_true(str_slice(STR("abc"), 9, 12).n == 0 && str_slice(STR("abc"), 2, 1).n == 0);
    assert_true(str_slice(ABSENT, 0, 5).p == NULL);
    assert_true(str_eq_c(str_trim(STR(" \ta b "), " \t"), "a b"));
    assert_true(str_trim(STR("   "), " ").n == 0 && str_trim(ABSENT, " ").n == 0);
    Str rest = STR("a,,b"), want[] = {STR("a"), STR(""), STR("b")};
    for (size_t i = 0; i < 3; i++)
        assert_true(str_eq(str_cut(&rest, ','), want[i]) && (rest.p == NULL) == (i == 2));
    rest = STR("a,");
    assert_true(str_eq_c(str_cut(&rest, ','), "a") && rest.p != NULL && rest.n == 0);
}

static void ordering(void **state) {
    (void)state;
    assert_true(str_compare(STR("a"), STR("b")) < 0 && str_compare(STR("b"), STR("a")) > 0);
    assert_true(str_compare(STR("a"), STR("ab")) < 0 && str_compare(STR("ab"), STR("ab")) == 0);
    assert_true(str_compare(STR("\xff"), STR("a")) > 0 && str_compare(ABSENT, STR("")) == 0);
}

static const struct {
    const char *text;
    uint64_t max;
    Err want;
    uint64_t value;
} numbers[] = {
    {"0", 10, ERR_OK, 0},
    {"10", 10, ERR_OK, 10},
    {"0010", 10, ERR_OK, 10},
    {"11", 10, ERR_LIMIT, 0},
    {"18446744073709551615", UINT64_MAX, ERR_OK, UINT64_MAX},
    {"18446744073709551616", UINT64_MAX, ERR_LIMIT, 0},
    {"99999999999999999999999999", UINT64_MAX, ERR_LIMIT, 0},
    {"99999999999999999999999999x", UINT64_MAX, ERR_SYNTAX, 0},
    {"", 10, ERR_SYNTAX, 0},
    {"-1", 10, ERR_SYNTAX, 0},
    {"+1", 10, ERR_SYNTAX, 0},
    {" 1", 10, ERR_SYNTAX, 0},
    {"1 ", 10, ERR_SYNTAX, 0},
    {"1\xd9\xa1", 100, ERR_SYNTAX, 0},
};

static void numbers_from_text(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        CASE(numbers[i].text);
        uint64_t value = 77;
        assert_int_equal(str_to_u64(str_c(numbers[i].text), numbers[i].max, &value), numbers[i].want);
        assert_true(value == (numbers[i].want == ERR_OK ? numbers[i].value : 77));
    }
}

static void hashing(void **state) {
    (void)state;
    char text[64];
    uint64_t seen[64];
    for (size_t n = 0; n < ARRAY_LEN(seen); n++) { /* every length: each has its own tail */
        memset(text, 'a', sizeof text);
        seen[n] = str_hash((Str){text, n});
        assert_true(seen[n] == str_hash((Str){text, n}));
        for (size_t i = 0; i < n; i++) {
            assert_true(seen[i] != seen[n]);
            text[i] = 'b';
            assert_true(str_hash((Str){text, n}) != seen[n]);
            text[i] = 'a';
        }
    }
}

static void a_map_of_many(void **state) {
    (void)state;
    CLEANUP(arena_freep) Arena *arena = arena_new(8 << 20);
    Map *map = map_new(arena, 0);
    enum { N = 5000 };
    static int values[N];
    for (int i = 0; i < N; i++) {
        void *old = &values[0];
        assert_int_equal(map_put(map, arena_printf(arena, "key-%d", i), &values[i], &old), ERR_OK);
        assert_true(old == NULL);
    }
    assert_int_equal(map_count(map), N);
    void *old;
    assert_int_equal(map_put(map, STR("key-7"), &values[8], &old), ERR_OK);
    assert_true(old == &values[7] && map_get(map, STR("key-7")) == &values[8]);
    assert_int_equal(map_put(map, STR("key-7"), &values[7], NULL), ERR_OK);
    assert_int_equal(map_count(map), N);
    assert_true(map_get(map, STR("key-5000")) == NULL && map_get(map, STR("")) == NULL);
    size_t at = 0;
    Str key;
    void *value;
    for (int i = 0; i < N; i++) { /* in insertion order */
        assert_true(map_next(map, &at, &key, &value) && value == &values[i] && map_get(map, key) == value);
    }
    assert_true(!map_next(map, &at, &key, &value));
}

static void a_map_refused_memory_stays_whole(void **state) {
    (void)state;
    Arena *arena = arena_new(1200);
    Map *map = map_new(arena, 4);
    assert_true(map != NULL && map_new(arena, 1000) == NULL);
    static int value;
    static const char keys[] = "abcdefghijklmnopqrstuvwxyz";
    size_t n = 0;
    while (n < 26 && map_put(map, (Str){keys + n, 1}, &value, NULL) == ERR_OK)
        n++;
    assert_true(n >= 8 && n < 26);
    assert_int_equal(map_count(map), n);
    for (size_t i = 0; i < 26; i++)
        assert_true((map_get(map, (Str){keys + i, 1}) != NULL) == (i < n));
    arena_free(arena);
}

static void error_names(void **state) {
    (void)state;
    assert_string_equal(err_name(ERR_OK), "ok");
    assert_string_equal(err_name(ERR_NOT_FOUND), "not_found");
    assert_string_equal(err_name(ERR_INTERNAL), "internal");
    assert_string_equal(err_name((Err)999), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(looking),
        cmocka_unit_test(cutting),
        cmocka_unit_test(ordering),
        cmocka_unit_test(numbers_from_text),
        cmocka_unit_test(hashing),
        cmocka_unit_test(a_map_of_many),
        cmocka_unit_test(a_map_refused_memory_stays_whole),
        cmocka_unit_test(error_names),
    };
    return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
