/*
 * test_documents.c - trees, writing and comparing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "json/json.h"

static Arena *arena;

static int setup(void **state) {
    (void)state;
    arena = arena_new(8 << 20);
    return arena == NULL;
}

static int teardown(void **state) {
    (void)state;
    arena_free(arena);
    return 0;
}

static Json *parse(const char *text) {
    Json *root = NULL;
    assert_int_equal(json_parse(str_c(text), arena, JSON_DUPLICATES_KEEP, &root, NULL), ERR_OK);
    return root;
}

static Str written(const Json *value, JsonEscaping escaping, int indent) {
    Buf out = buf_new(arena, 4 << 20);
    JsonWriter w;
    json_writer_init(&w, &out, escaping, indent);
    json_write_value(&w, value);
    Str text;
    assert_int_equal(buf_finish(&out, &text), ERR_OK);
    return text;
}

static void assert_text(Str got, const char *want) {
    if (!str_eq_c(got, want))
        fail_msg("want %s, got %.*s", want, STR_ARG(got));
}

/* --- trees -------------------------------------------------------------------------------------------------------- */

static void test_tree_round_trip(void **state) {
    (void)state;
    static const char *const documents[] = {
        "null",
        "12.50",
        "\"\\u0000\"",
        "[]",
        "{}",
        "[[],{},[{}]]",
        "{\"a\":[1,2,{\"b\":null}],\"c\":{\"d\":true}}",
        "[1e400,-0,0.000]",
        "{\"a\":1,\"a\":2}",
        "{\"\":{\"\":[]}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(documents); i++)
        assert_text(written(parse(documents[i]), JSON_ESCAPE_MINIMAL, 0), documents[i]);
}

static void test_lookups(void **state) {
    (void)state;
    const Json *root = parse("{\"a\":[10,{\"b/c\":\"x\",\"~\":-5}],\"n\":9223372036854775807,\"t\":true,\"\":null}");
    assert_int_equal(json_i64(json_element(json_member(root, "a"), 0), -1), 10);
    assert_text(json_text(json_pointer(root, STR("/a/1/b~1c"))), "x");
    assert_int_equal(json_i64(json_pointer(root, STR("/a/1/~0")), 0), -5);
    assert_true(json_pointer(root, STR("")) == root);
    assert_true(json_pointer(root, STR("/"))->kind == JSON_NULL);
    static const char *const nowhere[] = {"a", "/a/2", "/a/-", "/a/01", "/a/1/b/c", "/n/0", "/a/1/~2", "/zz", "/a/x"};
    for (size_t i = 0; i < ARRAY_LEN(nowhere); i++)
        assert_null(json_pointer(root, str_c(nowhere[i])));
    assert_int_equal(json_i64(json_member(root, "n"), 0), INT64_MAX);
    assert_int_equal(json_i64(json_member(root, "t"), 7), 7);
    assert_int_equal(json_i64(parse("1.5"), 7), 7);
    assert_int_equal(json_i64(parse("9223372036854775808"), 7), 7);
    assert_int_equal(json_i64(parse("-9223372036854775808"), 7), INT64_MIN);
    assert_true(json_bool(json_member(root, "t"), false));
    assert_true(json_bool(json_member(root, "zz"), true));
    assert_true(json_is_null(json_member(json_member(json_member(root, "x"), "y"), "z")));
    assert_null(json_element(root, 0));
    assert_null(json_text(json_member(root, "n")).p);
}

static void test_duplicates(void **state) {
    (void)state;
    Json *root;
    JsonProblem problem;
    Str twice = STR("{\"a\":1,\"b\":2,\n\"a\":[3]}");
    assert_int_equal(json_parse(twice, arena, JSON_DUPLICATES_REJECT, &root, &problem), ERR_SYNTAX);
    assert_int_equal(problem.error, JSON_ERR_DUPLICATE_NAME);
    assert_text(problem.message, "line 2, column 1: the object has this name already");
    assert_int_equal(json_parse(twice, arena, JSON_DUPLICATES_LAST, &root, NULL), ERR_OK);
    assert_text(written(root, JSON_ESCAPE_MINIMAL, 0), "{\"a\":[3],\"b\":2}");
    assert_int_equal(json_parse(STR("{\"a\":1,\"\\u0061\":2}"), arena, JSON_DUPLICATES_REJECT, &root, NULL),
                     ERR_SYNTAX);
    assert_int_equal(json_parse(STR("{\"a\":1,\"A\":2}"), arena, JSON_DUPLICATES_REJECT, &root, NULL), ERR_OK);
}

/** Over SCAN_MAX members the names are found by hash. */
static void test_duplicates_among_many(void **state) {
    (void)state;
    for (int twin = 0; twin < 100; twin += 9) {
        Buf text = buf_new(arena, 1 << 16);
        buf_add_char(&text, '{');
        for (int i = 0; i < 100; i++)
            buf_printf(&text, "\"m%d\":%d,", i, i);
        buf_printf(&text, "\"m%d\":-1}", twin);
        Json *root;
        assert_int_equal(json_parse(buf_str(&text), arena, JSON_DUPLICATES_REJECT, &root, NULL), ERR_SYNTAX);
        assert_int_equal(json_parse(buf_str(&text), arena, JSON_DUPLICATES_LAST, &root, NULL), ERR_OK);
        assert_int_equal(root->count, 100);
        assert_int_equal(json_i64(json_element(root, 0), 0), 0); /* an object has no elements */
        char name[16];
        snprintf(name, sizeof name, "m%d", twin);
        assert_int_equal(json_i64(json_member(root, name), 0), -1);
    }
}

static void test_tree_refusals(void **state) {
    (void)state;
    Json *root = NULL;
    JsonProblem problem;
    assert_int_equal(json_parse(STR("[1,\n  tru]"), arena, JSON_DUPLICATES_KEEP, &root, &problem), ERR_SYNTAX);
    assert_text(problem.message, "line 2, column 6: only true, false and null are written without quotes");
    assert_int_equal(json_parse(STR("[\"a\", \"\xFF\"]"), arena, JSON_DUPLICATES_KEEP, &root, &problem), ERR_SYNTAX);
    assert_int_equal(problem.error, JSON_ERR_STRING_ENCODING);
    assert_int_equal(problem.position.column, 6);
    assert_int_equal(json_parse(STR("{\"\\ud800\":1}"), arena, JSON_DUPLICATES_KEEP, &root, &problem), ERR_SYNTAX);
    char deep[2 * JSON_DEPTH_MAX + 3];
    memset(deep, '[', JSON_DEPTH_MAX + 1);
    memset(deep + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    Str text = {deep, 2 * JSON_DEPTH_MAX + 2};
    assert_int_equal(json_parse(text, arena, JSON_DUPLICATES_KEEP, &root, &problem), ERR_LIMIT);
    assert_int_equal(problem.error, JSON_ERR_DEPTH_ARRAY);
    assert_int_equal(json_parse(str_slice(text, 1, text.n - 1), arena, JSON_DUPLICATES_KEEP, &root, NULL), ERR_OK);
    assert_int_equal(written(root, JSON_ESCAPE_MINIMAL, 0).n, 2 * JSON_DEPTH_MAX);
}

/** The n-th allocation fails, for every n until none does. */
static void test_tree_without_memory(void **state) {
    (void)state;
    Buf text = buf_new(arena, 1 << 16);
    buf_add(&text, STR("[{\"a\\n\":\"b\\t\",\"c\":[1,2,{}]},{"));
    for (int i = 0; i < 20; i++)
        buf_printf(&text, "\"m%d\":%d,", i, i);
    buf_add(&text, STR("\"z\":0}]"));
    Err err = ERR_NO_MEMORY;
    uint64_t n = 0;
    while (err != ERR_OK) {
        Arena *small = arena_new(1 << 20);
        Json *root = NULL;
        arena_fail_nth(++n);
        err = json_parse(buf_str(&text), small, JSON_DUPLICATES_REJECT, &root, NULL);
        arena_fail_nth(0);
        assert_true(err == ERR_OK || (err == ERR_NO_MEMORY && root == NULL));
        arena_free(small);
        assert_true(n < 1000);
    }
    assert_true(n > 20);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *input, *minimal, *relaxed;
} escapes[] = {
    {"plain <>&'+/", "\"plain <>&'+/\"", "\"plain <>&'+/\""},
    {"\"q\"\\", "\"\\\"q\\\"\\\\\"", "\"\\\"q\\\"\\\\\""},
    {"\b\f\n\r\t\x01\x1F\x7F", "\"\\b\\f\\n\\r\\t\\u0001\\u001F\x7F\"", "\"\\b\\f\\n\\r\\t\\u0001\\u001F\\u007F\""},
    {"nbsp\xC2\xA0x", "\"nbsp\xC2\xA0x\"", "\"nbsp\\u00A0x\""},               /* 02-events-names, 35 */
    {"em\xE2\x80\x83space", "\"em\xE2\x80\x83space\"", "\"em\\u2003space\""}, /* 37 */
    {"\xE2\x80\xA8sep\xE2\x80\xA9", "\"\xE2\x80\xA8sep\xE2\x80\xA9\"", "\"\\u2028sep\\u2029\""}, /* 46 */
    {"x\xC2\x85nel", "\"x\xC2\x85nel\"", "\"x\\u0085nel\""},                                     /* 48 */
    {"a\xE1\x9A\x80\x62", "\"a\xE1\x9A\x80\x62\"", "\"a\\u1680b\""},                             /* 50 */
    {"\xC3\xA9\xE2\x84\xAA\xE4\xB8\xAD", "\"\xC3\xA9\xE2\x84\xAA\xE4\xB8\xAD\"",
     "\"\xC3\xA9\xE2\x84\xAA\xE4\xB8\xAD\""},
    {"\xF0\x9F\x98\x80", "\"\xF0\x9F\x98\x80\"", "\"\\uD83D\\uDE00\""}, /* beyond the BMP: always escaped */
    {"\xE2\x80\x8B", "\"\xE2\x80\x8B\"", "\"\xE2\x80\x8B\""},           /* Cf passes */
    {"\xEE\x80\x80\xEF\xBF\xBF", "\"\xEE\x80\x80\xEF\xBF\xBF\"",
     "\"\\uE000\\uFFFF\""},                                                          /* private use, not a character */
    {"\xCD\xB8\xE0\xB3\xB3", "\"\xCD\xB8\xE0\xB3\xB3\"", "\"\\u0378\xE0\xB3\xB3\""}, /* unassigned; new in Unicode 15 */
    {"\xFFok", "\"\xFFok\"", "\"\\uFFFDok\""},                                       /* never sent by us: not UTF-8 */
    {"", "\"\"", "\"\""},
};

static void test_escaping(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(escapes); i++) {
        Buf minimal = buf_new(arena, 1000), relaxed = buf_new(arena, 1000);
        json_escape(&minimal, str_c(escapes[i].input), JSON_ESCAPE_MINIMAL);
        json_escape(&relaxed, str_c(escapes[i].input), JSON_ESCAPE_RELAXED);
        assert_text(buf_str(&minimal), escapes[i].minimal);
        assert_text(buf_str(&relaxed), escapes[i].relaxed);
    }
}

/** Every code point survives being written and read again, at every alignment of the eight-byte scan. */
static void test_escaping_round_trip(void **state) {
    (void)state;
    for (uint32_t c = 0; c <= 0x10FFFF; c += c < 0x3000 ? 1 : 61) {
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        Arena *own = arena;
        arena_reset(own);
        Buf text = buf_new(own, 64), out = buf_new(own, 200);
        for (uint32_t pad = c % 9; pad > 0; pad--)
            buf_add_char(&text, 'p');
        buf_add_utf8(&text, c);
        buf_add(&text, STR("tail of it"));
        json_escape(&out, buf_str(&text), c & 1 ? JSON_ESCAPE_RELAXED : JSON_ESCAPE_MINIMAL);
        JsonReader r;
        Str back;
        json_reader_init(&r, buf_str(&out), 1);
        assert_int_equal(json_next(&r), ERR_OK);
        assert_int_equal(json_string(&r, own, &back), ERR_OK);
        assert_true(str_eq(back, buf_str(&text)));
    }
}

static void test_writer(void **state) {
    (void)state;
    Buf out = buf_new(arena, 4096);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_RELAXED, 2);
    Id id;
    Decimal price;
    Instant start;
    assert_int_equal(id_parse(STR("c3086f78-6003-4144-9614-e2e4c8adc6e8"), ID_FORM_D, &id), ERR_OK);
    assert_int_equal(decimal_parse(STR("12.50"), &price), ERR_OK);
    assert_int_equal(instant_parse(STR("2095-01-25T10:00:00.5Z"), &start), ERR_OK);
    json_object(&w);
    json_name(&w, STR("Id"));
    json_write_id(&w, id);
    json_name(&w, STR("Price"));
    json_write_decimal(&w, price);
    json_name(&w, STR("List"));
    json_array(&w);
    json_write_instant(&w, start);
    json_write_i64(&w, -7);
    json_write_bool(&w, true);
    json_write_null(&w);
    json_write_string(&w, (Str){0});
    json_object(&w);
    json_object_end(&w);
    json_array_end(&w);
    json_name(&w, STR("None"));
    json_array(&w);
    json_array_end(&w);
    json_name(&w, STR("Raw"));
    json_write_raw(&w, STR("1e2"));
    json_object_end(&w);
    assert_text(buf_str(&out), "{\n"
                               "  \"Id\": \"c3086f78-6003-4144-9614-e2e4c8adc6e8\",\n"
                               "  \"Price\": 12.50,\n"
                               "  \"List\": [\n"
                               "    \"2095-01-25T10:00:00.5+00:00\",\n"
                               "    -7,\n"
                               "    true,\n"
                               "    null,\n"
                               "    null,\n"
                               "    {}\n"
                               "  ],\n"
                               "  \"None\": [],\n"
                               "  \"Raw\": 1e2\n"
                               "}");
    assert_int_equal(w.depth, 0);
}

static void test_writer_at_its_limit(void **state) {
    (void)state;
    Buf out = buf_new(arena, 20);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 0);
    json_write_value(&w, parse("[\"0123456789\",\"0123456789\"]"));
    Str text;
    assert_int_equal(buf_finish(&out, &text), ERR_LIMIT);
}

/* --- comparing ---------------------------------------------------------------------------------------------------- */

static const JsonListRule seats_and_sets[] = {
    {STR_INIT("/s"), STR_INIT("n")}, {STR_INIT("/t"), STR_INIT("")}, {{0}, {0}}};
static const JsonListRule nested[] = {{STR_INIT("/*"), STR_INIT("n")}, {{0}, {0}}};
static const JsonListRule nested_sets[] = {{STR_INIT("/*"), STR_INIT("")}, {{0}, {0}}};

static const struct {
    const char *want, *got;
    JsonDiffOptions options;
    const char *lines;
} diffs[] = {
    {"{\"a\":1}", "{\"a\":1}", {0}, ""},
    {"{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", {0}, ""},
    {"{\"a\":1,\"b\":2}",
     "{\"b\":2,\"a\":1}",
     {.object_order = true},
     "/a: want 1, got nothing\n/b: want nothing, got 2\n/b: want 2, got nothing\n/a: want nothing, got 1\n"},
    {"[{\"Price\":12.50}]", "[{\"Price\":12.5}]", {0}, "/0/Price: want 12.50, got 12.5\n"},
    {"[{\"Price\":12.50}]", "[{\"Price\":12.5}]", {.numbers_by_value = true}, ""},
    {"[1e2,0.001,-0,0e9,12.34e1]", "[100.0,1E-3,0.0,0,123.4]", {.numbers_by_value = true}, ""},
    {"[1,-1,1e400,10]",
     "[1.1,1,1e401,1]",
     {.numbers_by_value = true},
     "/0: want 1, got 1.1\n/1: want -1, got 1\n/2: want 1e400, got 1e401\n/3: want 10, got 1\n"},
    {"[1.00000000000000000000000000000000000001]",
     "[1]",
     {.numbers_by_value = true},
     "/0: want 1.00000000000000000000000000000000000001, got 1\n"},
    {"{\"a\":{\"b\":[1,2]}}",
     "{\"a\":{\"b\":[1]},\"c\":null}",
     {0},
     "/a/b/1: want 2, got nothing\n/c: want nothing, got null\n"},
    {"{\"a\":\"x\"}", "{\"a\":[]}", {0}, "/a: want \"x\", got an array of 0\n"},
    {"1", "\"1\"", {0}, "(whole): want 1, got \"1\"\n"},
    {"[{\"Id\":\"a\",\"v\":1},{\"Id\":\"b\"}]",
     "[{\"Id\":\"b\"},{\"Id\":\"a\",\"v\":2}]",
     {.list_key = {"Id", 2}},
     "/a/v: want 1, got 2\n"},
    {"[{\"Id\":\"a\"}]",
     "[{\"Id\":\"c\"}]",
     {.list_key = {"Id", 2}},
     "/a: want an object of 1, got nothing\n/c: want nothing, got an object of 1\n"},
    {"[{\"x\":1}]", "[{\"x\":2}]", {.list_key = {"Id", 2}}, "/0/x: want 1, got 2\n"}, /* no key: in order */
    /* what stands twice is not forgotten */
    {"[{\"Id\":1},{\"Id\":1},{\"Id\":2}]",
     "[{\"Id\":1},{\"Id\":2},{\"Id\":2}]",
     {.list_key = {"Id", 2}},
     "/1/Id: want 1, got 2\n"},
    {"{\"a\":1,\"a\":1}", "{\"a\":1}", {0}, "(whole): want an object of 2, got an object of 1\n"},
    {"[{\"Id\":1}]", "[{\"Id\":1},{\"Id\":1}]", {.list_key = {"Id", 2}}, "/1: want nothing, got an object of 1\n"},
    /* rules by place */
    {"{\"s\":[{\"n\":1},{\"n\":2}],\"t\":[1,2,2,3],\"u\":[1,2]}",
     "{\"s\":[{\"n\":2},{\"n\":1}],\"t\":[2,3,2,4],\"u\":[2,1]}",
     {.lists = seats_and_sets},
     "/t/0: want 1, got 4\n/u/0: want 1, got 2\n/u/1: want 2, got 1\n"},
    {"[[{\"n\":1}]]",
     "[[{\"n\":2}]]",
     {.lists = nested},
     "/0/1: want an object of 1, got nothing\n/0/2: want nothing, got an object of 1\n"},
    {"[[1,1,2],[]]", "[[1,2,2],[]]", {.lists = nested_sets}, "/0/1: want 1, got 2\n"},
    {"{\"a/b~\":1}", "{\"a/b~\":2}", {0}, "/a~1b~0: want 1, got 2\n"},
};

static void test_diff(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(diffs); i++) {
        Buf out = buf_new(arena, 1 << 16);
        size_t n = json_diff(parse(diffs[i].want), parse(diffs[i].got), &diffs[i].options, 100, &out);
        assert_text(buf_str(&out), diffs[i].lines);
        size_t lines = 0;
        for (const char *c = diffs[i].lines; *c != 0; c++)
            lines += *c == '\n';
        assert_int_equal(n, lines);
    }
}

static void test_diff_of_many_shuffled(void **state) {
    (void)state;
    Buf want = buf_new(arena, 1 << 20), got = buf_new(arena, 1 << 20), out = buf_new(arena, 1 << 16);
    for (int i = 0; i < 500; i++) {
        buf_printf(&want, "%c{\"Id\":%d,\"v\":0}", i == 0 ? '[' : ',', i);
        buf_printf(&got, "%c{\"Id\":%d,\"v\":%d}", i == 0 ? '[' : ',', 499 - i, 499 - i == 77);
    }
    buf_add_char(&want, ']');
    buf_add_char(&got, ']');
    Json *w, *g;
    assert_int_equal(json_parse(buf_str(&want), arena, JSON_DUPLICATES_KEEP, &w, NULL), ERR_OK);
    assert_int_equal(json_parse(buf_str(&got), arena, JSON_DUPLICATES_KEEP, &g, NULL), ERR_OK);
    JsonDiffOptions options = {.list_key = STR("Id")};
    assert_int_equal(json_diff(w, g, &options, 100, &out), 1);
    assert_text(buf_str(&out), "/77/v: want 0, got 1\n");
    buf_clear(&out);
    assert_int_equal(json_diff(w, g, &(JsonDiffOptions){0}, 3, &out), 3); /* stops at most */
    arena_fail_nth(1);
    buf_clear(&out);
    size_t n = json_diff(w, g, &options, 100, &out); /* without memory for an index: slower, the same */
    arena_fail_nth(0);
    assert_int_equal(n, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tree_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lookups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_duplicates, setup, teardown),
        cmocka_unit_test_setup_teardown(test_duplicates_among_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tree_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tree_without_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_escaping, setup, teardown),
        cmocka_unit_test_setup_teardown(test_escaping_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writer_at_its_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_diff, setup, teardown),
        cmocka_unit_test_setup_teardown(test_diff_of_many_shuffled, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
