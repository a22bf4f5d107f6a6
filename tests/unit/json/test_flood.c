/*
 * test_flood.c - documents made to cost more than they are long.
 *
 * A reader that compares each name with those before it needs n²/2 comparisons; one whose hash a stranger can foresee
 * does so too, for the right names. What is counted here is work, not time: the places that maps look at, and bytes of
 * the arena.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/map.h"
#include "json/json.h"

enum {
    NAMES = 1 << 16,
    LOOKS_MAX = 8
}; /* places per name: looked for, put in, moved when the map grows; half are full */

/* "Aa" and "BB" have one sum under h = 31h + c; so have all words of them. The n-th of 16 such pairs. */
static void add_times_31(Buf *out, int n) {
    for (int bit = 15; bit >= 0; bit--)
        buf_add_c(out, n >> bit & 1 ? "Aa" : "BB");
}

/* The same under h = 33h + c (djb2): "Bz" and "CY". */
static void add_times_33(Buf *out, int n) {
    for (int bit = 15; bit >= 0; bit--)
        buf_add_c(out, n >> bit & 1 ? "Bz" : "CY");
}

/* Equal but for their order: one sum, one exclusive or. */
static void add_permuted(Buf *out, int n) {
    for (int bit = 15; bit >= 0; bit--)
        buf_add_c(out, n >> bit & 1 ? "ab" : "ba");
}

/* Long, and different in the last bytes only. */
static void add_long_prefix(Buf *out, int n) {
    for (int i = 0; i < 6; i++)
        buf_add_c(out, "0123456789abcdef");
    buf_printf(out, "%d", n);
}

static void add_counted(Buf *out, int n) {
    buf_printf(out, "%d", n);
}

/* One name for 65,536 escapes of it would be a duplicate; these differ in the code point. */
static void add_escaped(Buf *out, int n) {
    buf_printf(out, "\\u%04x", n < 0xd800 || n > 0xdfff ? n : 0);
    buf_printf(out, "%d", n);
}

static const struct {
    const char *attack;
    void (*add)(Buf *out, int n);
} floods[] = {
    {"names that collide under times 31", add_times_31},
    {"names that collide under times 33", add_times_33},
    {"names of the same letters", add_permuted},
    {"names with a long common beginning", add_long_prefix},
    {"numbers in order", add_counted},
    {"names in escapes", add_escaped},
};

static Str flood(Arena *arena, void (*add)(Buf *out, int n), int names) {
    Buf text = buf_new(arena, (size_t)16 << 20);
    for (int i = 0; i < names; i++) {
        buf_add_c(&text, i == 0 ? "{\"" : ",\"");
        add(&text, i);
        buf_add_c(&text, "\":0");
    }
    buf_add_char(&text, '}');
    assert_int_equal(text.err, ERR_OK);
    return buf_str(&text);
}

static void names_of_one_object(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(floods); i++) {
        for (int duplicates = JSON_DUPLICATES_REJECT; duplicates <= JSON_DUPLICATES_LAST; duplicates++) {
            Arena *arena = arena_new((size_t)64 << 20);
            Json *root;
            Str text = flood(arena, floods[i].add, NAMES);
            uint64_t before = map_looks();
            assert_int_equal(json_parse(text, arena, (JsonDuplicates)duplicates, &root, NULL), ERR_OK);
            uint64_t looks = map_looks() - before;
            if (root->count != NAMES || looks < NAMES || looks > (uint64_t)LOOKS_MAX * NAMES)
                fail_msg("%s: %llu places for %d names", floods[i].attack, (unsigned long long)looks, NAMES);
            arena_free(arena);
        }
    }
}

static Json *keyed_list(Arena *arena, int members, bool backwards) {
    Buf text = buf_new(arena, (size_t)16 << 20);
    Json *root;
    for (int i = 0; i < members; i++) {
        buf_add_c(&text, i == 0 ? "[{\"Id\":\"" : ",{\"Id\":\"");
        add_times_31(&text, backwards ? members - 1 - i : i);
        buf_add_c(&text, "\"}");
    }
    buf_add_char(&text, ']');
    assert_int_equal(json_parse(buf_str(&text), arena, JSON_DUPLICATES_KEEP, &root, NULL), ERR_OK);
    return root;
}

/* Lists that are compared as sets find their members by key, in whatever order these come. */
static void members_of_compared_sets(void **state) {
    (void)state;
    enum { MEMBERS = 4096 };
    Arena *arena = arena_new((size_t)64 << 20);
    Buf out = buf_new(arena, 1 << 20);
    JsonDiffOptions by_id = {.list_key = STR("Id")};
    Json *one = keyed_list(arena, MEMBERS, false), *other = keyed_list(arena, MEMBERS, true);
    uint64_t before = map_looks();
    assert_int_equal(json_diff(one, other, &by_id, 10, &out), 0);
    uint64_t looks = map_looks() - before;
    if (looks < MEMBERS || looks > 2ull * LOOKS_MAX * MEMBERS)
        fail_msg("%llu places for %d members", (unsigned long long)looks, MEMBERS);
    arena_free(arena);
}

/* What a tree may cost its arena: a node for two bytes of text at worst. */
static void bytes_of_a_tree(void **state) {
    (void)state;
    static const struct {
        const char *attack, *open, *piece, *close;
    } bombs[] = {
        {"one-digit elements", "[0", ",0", "]"}, {"empty arrays", "[[]", ",[]", "]"},
        {"empty objects", "[{}", ",{}", "]"},    {"empty strings", "[\"\"", ",\"\"", "]"},
        {"escapes", "[\"", "\\u0041", "\"]"},    {"objects of one member", "[0", ",{\"\":0}", "]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bombs); i++) {
        Arena *input = arena_new((size_t)8 << 20), *arena = arena_new((size_t)256 << 20);
        Buf text = buf_new(input, (size_t)2 << 20);
        buf_add_c(&text, bombs[i].open);
        while (text.n < (size_t)1 << 20)
            buf_add_c(&text, bombs[i].piece);
        buf_add_c(&text, bombs[i].close);
        Json *root;
        assert_int_equal(json_parse(buf_str(&text), arena, JSON_DUPLICATES_REJECT, &root, NULL), ERR_OK);
        if (arena_used(arena) > 48 * text.n)
            fail_msg("%s: %zu bytes for %zu", bombs[i].attack, arena_used(arena), text.n);
        arena_free(arena);
        arena_free(input);
    }
}

/* A number's digits are read once, however many, and its exponent is no loop. */
static void numbers_without_measure(void **state) {
    (void)state;
    static const struct {
        const char *attack, *before, *behind;
        int digits;
        Err want;
    } bombs[] = {
        {"a hundred thousand digits", "", "", 100000, ERR_LIMIT},
        {"a hundred thousand zeros in front of a digit", "0.", "1", 0, ERR_OK},
        {"a huge exponent", "1e999999999", "", 0, ERR_LIMIT},
        {"an exponent beyond 64 bits", "1e99999999999999999999999", "", 0, ERR_LIMIT},
        {"a huge negative exponent", "1e-999999999", "", 0, ERR_OK},
        {"zero with a huge exponent", "0e999999999", "", 0, ERR_OK},
        {"zeros that an exponent takes back", "0.", "1e100000", -1, ERR_OK},
        {"digits that an exponent takes back", "", "e-100000", 100000, ERR_OK},
    };
    Arena *arena = arena_new((size_t)4 << 20);
    for (size_t i = 0; i < ARRAY_LEN(bombs); i++) {
        Buf text = buf_new(arena, 1 << 20);
        Decimal d;
        buf_add_c(&text, bombs[i].before);
        for (int n = 0; n < 100000 - (bombs[i].digits < 0) && (bombs[i].digits > 0 || bombs[i].before[1] == '.'); n++)
            buf_add_char(&text, bombs[i].digits > 0 ? '9' : '0');
        buf_add_c(&text, bombs[i].behind);
        Err err = decimal_parse(buf_str(&text), &d);
        if (err != bombs[i].want)
            fail_msg("%s: want %s, got %s", bombs[i].attack, err_name(bombs[i].want), err_name(err));
        JsonReader r; /* the reader keeps the lexeme, whatever it is worth */
        json_reader_init(&r, buf_str(&text), 1);
        assert_int_equal(json_next(&r), ERR_OK);
        assert_true(str_eq(r.lexeme, buf_str(&text)));
    }
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_of_one_object),
                                       cmocka_unit_test(members_of_compared_sets), cmocka_unit_test(bytes_of_a_tree),
                                       cmocka_unit_test(numbers_without_measure)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
