/*
 * test_reader.c - why the reader refuses, where it says that it stopped, and what its tokens are. What it takes and
 * what not: test_rfc8259.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "json/json.h"

/** Reads to the end of the document or to the first error. */
static Err read_all(JsonReader *r, Str input, int depth_max) {
    json_reader_init(r, input, depth_max);
    do {
        Err err = json_next(r);
        if (err != ERR_OK)
            return err;
    } while (r->token != JSON_END);
    return ERR_OK;
}

/* --- errors ------------------------------------------------------------------------------------------------------- */

#define DEEP_32 "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["

static const struct {
    const char *input;
    JsonError error;
    int64_t line, column;
    unsigned char bad;
} refused[] = {
    {"", JSON_ERR_NO_TOKENS, 0, 0, 0},
    {"   ", JSON_ERR_NO_TOKENS, 0, 3, 0},
    {"\n\n ", JSON_ERR_NO_TOKENS, 2, 1, 0},
    {"{", JSON_ERR_OPEN_AT_END, 0, 1, 0},
    {"[1 ", JSON_ERR_OPEN_AT_END, 0, 3, 0},
    {"{\"EventName\":", JSON_ERR_OPEN_AT_END, 0, 13, 0},
    {"{\"EventName\":\"A\"", JSON_ERR_OPEN_AT_END, 0, 16, 0},
    {"{\"a\"", JSON_ERR_NAME_OPEN, 0, 4, 0},
    {"{\"a\"  ", JSON_ERR_NAME_OPEN, 0, 6, 0},
    {"{\"a\":1,", JSON_ERR_COMMA_OPEN, 0, 6, ','}, /* the very last byte: reported at the comma */
    {"{\"a\":1, ", JSON_ERR_COMMA_OPEN, 0, 8, 0},
    {"[1,", JSON_ERR_COMMA_OPEN, 0, 2, ','},
    {"[1,\n", JSON_ERR_COMMA_OPEN, 1, 0, 0},
    {"<xml/>", JSON_ERR_VALUE_START, 0, 0, '<'},
    {"/* c */{}", JSON_ERR_VALUE_START, 0, 0, '/'},
    {"{\"Price\":.5}", JSON_ERR_VALUE_START, 0, 9, '.'},
    {"{\"Price\":+5}", JSON_ERR_VALUE_START, 0, 9, '+'},
    {"{\"Price\":NaN}", JSON_ERR_VALUE_START, 0, 9, 'N'},
    {"[,1]", JSON_ERR_VALUE_START, 0, 1, ','},
    {"{\"a\":}", JSON_ERR_VALUE_START, 0, 5, '}'},
    {"{'a':1}", JSON_ERR_NAME_START, 0, 1, '\''},
    {"{a:1}", JSON_ERR_NAME_START, 0, 1, 'a'},
    {"{\n 1", JSON_ERR_NAME_START, 1, 1, '1'},
    {"{\"a\":1,b", JSON_ERR_NAME_START, 0, 7, 'b'},
    {"{\"a\" 1}", JSON_ERR_NAME_END, 0, 5, '1'},
    {"{\"a\",", JSON_ERR_NAME_END, 0, 4, ','},
    {"{\"Price\":1 // c\n }", JSON_ERR_AFTER_VALUE, 0, 11, '/'},
    {"{/**/}", JSON_ERR_AFTER_VALUE, 0, 1, '/'}, /* so words it the old reader, too */
    {"[1 2]", JSON_ERR_AFTER_VALUE, 0, 3, '2'},
    {"[nullx]", JSON_ERR_AFTER_VALUE, 0, 5, 'x'},
    {"{} x", JSON_ERR_AFTER_DOCUMENT, 0, 3, 'x'},
    {"{}{", JSON_ERR_AFTER_DOCUMENT, 0, 2, '{'},
    {"1 ]", JSON_ERR_AFTER_DOCUMENT, 0, 2, ']'},
    {"nullx", JSON_ERR_AFTER_DOCUMENT, 0, 4, 'x'},
    {"{\"EventName\":\"A\",}", JSON_ERR_TRAILING_COMMA_OBJECT, 0, 17, '}'},
    {"[1,\n ]", JSON_ERR_TRAILING_COMMA_ARRAY, 1, 1, ']'},
    {"nul", JSON_ERR_LITERAL, 0, 3, 0},
    {"[nulL]", JSON_ERR_LITERAL, 0, 4, 'L'},
    {"tRUE", JSON_ERR_LITERAL, 0, 1, 'R'},
    {"f", JSON_ERR_LITERAL, 0, 1, 0},
    {"{\"Price\":01}", JSON_ERR_LEADING_ZERO, 0, 10, '1'},
    {"-00", JSON_ERR_LEADING_ZERO, 0, 2, '0'},
    {"[1_000]", JSON_ERR_NUMBER_END, 0, 2, '_'},
    {"[0x10]", JSON_ERR_NUMBER_END, 0, 2, 'x'},
    {"[1e5x]", JSON_ERR_NUMBER_END, 0, 4, 'x'},
    {"[12", JSON_ERR_NUMBER_END, 0, 3, '2'}, /* names the last byte, stands behind it */
    {"[1.5x]", JSON_ERR_NUMBER_END_EXPONENT, 0, 4, 'x'},
    {"1.5.2", JSON_ERR_NUMBER_END_EXPONENT, 0, 3, '.'},
    {"{\"Price\":5.}", JSON_ERR_NUMBER_AFTER_POINT, 0, 11, '}'},
    {"5.e1", JSON_ERR_NUMBER_AFTER_POINT, 0, 2, 'e'},
    {"{\"Price\":1e}", JSON_ERR_NUMBER_AFTER_SIGN, 0, 11, '}'},
    {"[--1]", JSON_ERR_NUMBER_AFTER_SIGN, 0, 2, '-'},
    {"1e+x", JSON_ERR_NUMBER_AFTER_SIGN, 0, 3, 'x'},
    {"-", JSON_ERR_NUMBER_OPEN, 0, 1, 0},
    {"1.", JSON_ERR_NUMBER_OPEN, 0, 2, 0},
    {"1e", JSON_ERR_NUMBER_OPEN, 0, 2, 0},
    {"1e-", JSON_ERR_NUMBER_OPEN, 0, 3, 0},
    {"{\"EventName\":\"A\nB\"}", JSON_ERR_STRING_CONTROL, 0, 15, '\n'},
    {"\"0123456\x1F", JSON_ERR_STRING_CONTROL, 0, 8, 0x1F},
    {"\"01234567\t", JSON_ERR_STRING_CONTROL, 0, 9, '\t'},
    {"{\"EventName\":\"\\x\"}", JSON_ERR_STRING_ESCAPE, 0, 15, 'x'},
    {"\"\\u12g4\"", JSON_ERR_STRING_HEX, 0, 5, 'g'},
    {"\"\\u", JSON_ERR_STRING_OPEN, 0, 3, 0},
    {"\"\\u12", JSON_ERR_STRING_OPEN, 0, 5, 0},
    {"\"\\", JSON_ERR_STRING_OPEN, 0, 2, 0},
    {"\"abc", JSON_ERR_STRING_OPEN, 0, 4, 0},
    {"\"abc\\\"", JSON_ERR_STRING_OPEN, 0, 6, 0},
    {DEEP_32 "[", JSON_ERR_DEPTH_ARRAY, 0, 32, '['},
    {DEEP_32 "{", JSON_ERR_DEPTH_OBJECT, 0, 32, '{'},
    {"[}", JSON_ERR_VALUE_START, 0, 1, '}'},
    {"[1}", JSON_ERR_MISMATCH, 0, 2, '}'},
    {"{\"a\":1]", JSON_ERR_MISMATCH, 0, 6, ']'},
    {"\xEF\xBB\xBF{", JSON_ERR_OPEN_AT_END, 0, 1, 0}, /* a byte order mark is not counted */
    {"\xEF\xBB\xBF", JSON_ERR_NO_TOKENS, 0, 0, 0},
    {" \xEF\xBB\xBF{}", JSON_ERR_VALUE_START, 0, 1, 0xEF},
};

static void test_errors_and_positions(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        JsonReader r;
        print_message("  %s\n", refused[i].input);
        assert_int_equal(read_all(&r, str_c(refused[i].input), 32), ERR_SYNTAX);
        JsonPosition p = json_position(&r);
        assert_int_equal(r.error, refused[i].error);
        assert_int_equal(p.line, refused[i].line);
        assert_int_equal(p.column, refused[i].column);
        assert_int_equal(r.bad, refused[i].bad);
        assert_int_equal(json_next(&r), ERR_SYNTAX); /* it stays so */
        assert_int_equal(r.error, refused[i].error);
        assert_int_equal(json_position(&r).column, refused[i].column);
    }
}

static void test_invalid_literal_keeps_the_rest(void **state) {
    (void)state;
    JsonReader r;
    assert_int_equal(read_all(&r, STR("{\"a\":nul}"), 32), ERR_SYNTAX);
    assert_true(str_eq_c(r.bad_text, "nul}"));
    assert_string_equal(r.expected, "null");
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static void test_tokens_and_positions(void **state) {
    (void)state;
    static const struct {
        JsonToken token;
        const char *lexeme;
        int64_t line, from, to; /* of the token, behind it */
    } want[] = {
        {JSON_OBJECT_START, "{", 0, 1, 2}, {JSON_NAME, "Price", 0, 2, 11},   {JSON_NUMBER, "12.50", 0, 11, 16},
        {JSON_NAME, "x", 1, 1, 5},         {JSON_ARRAY_START, "[", 1, 6, 7}, {JSON_TRUE, "true", 1, 7, 11},
        {JSON_STRING, "a\\n", 1, 13, 18},  {JSON_ARRAY_END, "]", 1, 18, 19}, {JSON_OBJECT_END, "}", 1, 19, 20},
        {JSON_END, "", 1, 21, 21},
    };
    JsonReader r;
    json_reader_init(&r, STR(" {\"Price\" :12.50,\n \"x\": [true, \"a\\n\"]} "), 32);
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_int_equal(json_next(&r), ERR_OK);
        assert_int_equal(r.token, want[i].token);
        assert_true(str_eq_c(r.lexeme, want[i].lexeme));
        assert_int_equal(json_position(&r).line, want[i].line);
        assert_int_equal(json_token_position(&r).column, want[i].from);
        assert_int_equal(json_position(&r).column, want[i].to);
    }
}

static void test_skip(void **state) {
    (void)state;
    JsonReader r;
    json_reader_init(&r, STR("{\"a\":[1,{\"b\":[2]}],\"c\":3}"), 32);
    assert_int_equal(json_next(&r), ERR_OK);
    assert_int_equal(json_next(&r), ERR_OK);
    assert_int_equal(r.token, JSON_NAME);
    assert_int_equal(json_skip(&r), ERR_OK); /* on a name: its value */
    assert_int_equal(r.token, JSON_ARRAY_END);
    assert_int_equal(json_next(&r), ERR_OK);
    assert_true(str_eq_c(r.lexeme, "c"));
    assert_int_equal(json_next(&r), ERR_OK);
    assert_int_equal(json_skip(&r), ERR_OK); /* a scalar is its own end */
    assert_int_equal(r.token, JSON_NUMBER);
    json_reader_init(&r, STR("[1,}"), 32);
    assert_int_equal(json_next(&r), ERR_OK);
    assert_int_equal(json_skip(&r), ERR_SYNTAX);
}

static const struct {
    const char *input, *want; /* NULL: refused */
} strings[] = {
    {"\"plain\"", "plain"},
    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
    {"\"\\u0041\\u00e9\\u20AC\\uD83D\\uDE00!\"", "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80!"},
    {"\"\xC3\xA9\"", "\xC3\xA9"},
    {"\"\\ud800\"", NULL},        /* half a pair */
    {"\"\\udc00\\ud800\"", NULL}, /* the wrong way round */
    {"\"\\ud83dx\"", NULL},
    {"\"\\ud83d\\n\"", NULL},
    {"\"\\ud83d\\u0041\"", NULL},
    {"\"\xFF\xFE\"", NULL},
    {"\"\xC0\x80\"", NULL},     /* overlong */
    {"\"\xED\xA0\x80\"", NULL}, /* a surrogate in UTF-8 */
    {"\"\\n\xFF\"", NULL},
};

static void test_strings(void **state) {
    (void)state;
    Arena *arena = arena_new(1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        JsonReader r;
        Str text = {0};
        print_message("  %s\n", strings[i].input);
        json_reader_init(&r, str_c(strings[i].input), 1);
        assert_int_equal(json_next(&r), ERR_OK);
        Err err = json_string(&r, arena, &text);
        assert_int_equal(err, strings[i].want == NULL ? ERR_SYNTAX : ERR_OK);
        if (strings[i].want != NULL)
            assert_true(str_eq_c(text, strings[i].want));
    }
    JsonReader r;
    Str text;
    json_reader_init(&r, STR("\"\\n\""), 1);
    assert_int_equal(json_next(&r), ERR_OK);
    arena_fail_nth(1);
    assert_int_equal(json_string(&r, arena, &text), ERR_NO_MEMORY);
    arena_fail_nth(0);
    arena_free(arena);
}

/** Every byte at every place of a word: the eight-at-a-time scan against the plain rule. */
static void test_string_scan_every_byte(void **state) {
    (void)state;
    for (int c = 0; c < 256; c++) {
        for (size_t at = 0; at < 20; at++) {
            char text[24] = "\"abcdefghijklmnopqrst\"";
            text[1 + at] = (char)c;
            JsonReader r;
            Err err = read_all(&r, (Str){text, 22}, 1);
            bool ends = c == '"', plain = c >= 0x20 && c != '"' && c != '\\';
            if (c == '\\' && strchr("bfnrt", text[at + 2]) != NULL && text[at + 2] != 0)
                assert_int_equal(err, at == 19 ? ERR_SYNTAX : ERR_OK);
            else if (plain)
                assert_int_equal(err, ERR_OK);
            else
                assert_int_equal(err, ERR_SYNTAX);
            if (ends)
                assert_int_equal(r.error, JSON_ERR_AFTER_DOCUMENT);
            if (c < 0x20)
                assert_int_equal(r.at, 1 + at);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_and_positions),
        cmocka_unit_test(test_invalid_literal_keeps_the_rest),
        cmocka_unit_test(test_tokens_and_positions),
        cmocka_unit_test(test_skip),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_string_scan_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
