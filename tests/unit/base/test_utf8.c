/*
 * test_utf8.c - well-formedness by RFC 3629, exhaustively; UTF-16; white space as .NET sees it.
 */
#include "base/utf8.h"

#include "unit.h"

static const struct {
    const char *label;
    Str text;
    bool want;
} forms[] = {
    {"empty", {"", 0}, true},
    {"ASCII with NUL", STR_INIT("a\0b"), true},
    {"two bytes", STR_INIT("\xc3\xa9"), true},
    {"three bytes", STR_INIT("\xe2\x82\xac"), true},
    {"four bytes", STR_INIT("\xf0\x9f\x8e\xab"), true},
    {"the last code point", STR_INIT("\xf4\x8f\xbf\xbf"), true},
    {"beyond it", STR_INIT("\xf4\x90\x80\x80"), false},
    {"overlong NUL", STR_INIT("\xc0\x80"), false},
    {"overlong slash", STR_INIT("\xe0\x80\xaf"), false},
    {"overlong in four", STR_INIT("\xf0\x8f\xbf\xbf"), false},
    {"high surrogate", STR_INIT("\xed\xa0\x80"), false},
    {"low surrogate", STR_INIT("\xed\xbf\xbf"), false},
    {"just before the surrogates", STR_INIT("\xed\x9f\xbf"), true},
    {"lone continuation", STR_INIT("\x80"), false},
    {"cut short after ASCII", STR_INIT("12345678\xe2\x82"), false},
    {"second byte is ASCII", STR_INIT("\xc3("), false},
    {"third byte is ASCII", STR_INIT("\xe2\x82("), false},
    {"five bytes", STR_INIT("\xf8\x88\x80\x80\x80"), false},
    {"0xff", STR_INIT("\xff"), false},
    {"bad byte in the middle of ASCII", STR_INIT("12345678901\xfe"), false},
};

static void well_formed_or_not(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        CASE(forms[i].label);
        assert_int_equal(utf8_valid(forms[i].text), forms[i].want);
    }
}

static void every_code_point_goes_and_returns(void **state) {
    (void)state;
    Buf buf = buf_new(NULL, 16);
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        if (c == 0xd800)
            c = 0xe000;
        buf_clear(&buf);
        buf_add_utf8(&buf, c);
        size_t at = 0;
        assert_int_equal(utf8_next(buf_str(&buf), &at), c);
        assert_int_equal(at, buf.n);
        assert_int_equal(buf.n, c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
    }
    buf_done(&buf);
}

/* All sequences of two bytes and of three that begin with E0-EF: exactly as many are well formed as code points
 * exist. */
static void as_many_as_there_are(void **state) {
    (void)state;
    int two = 0, three = 0;
    for (int a = 0xc0; a < 0xf0; a++)
        for (int b = 0; b < 256; b++) {
            char text[3] = {(char)a, (char)b};
            two += a < 0xe0 && utf8_valid((Str){text, 2});
            for (int c = 0; a >= 0xe0 && c < 256; c++) {
                text[2] = (char)c;
                three += utf8_valid((Str){text, 3});
            }
        }
    assert_int_equal(two, 0x800 - 0x80);
    assert_int_equal(three, 0x10000 - 0x800 - 0x800);
}

static void malformed_bytes_are_passed_one_by_one(void **state) {
    (void)state;
    Str s = STR("\xe2\x82(\xff");
    const int32_t want[] = {-1, -1, '(', -1};
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_int_equal(utf8_next(s, &at), want[i]);
        assert_int_equal(at, i + 1);
    }
}

static const struct {
    const char *label;
    Str bytes;
    Err want;
    const char *text;
} utf16[] = {
    {"little-endian without mark", STR_INIT("a\0\xac\x20"), ERR_OK, "a€"},
    {"little-endian with mark",
     STR_INIT("\xff\xfe"
              "a\0"),
     ERR_OK, "a"},
    {"big-endian", STR_INIT("\xfe\xff\0a\x20\xac"), ERR_OK, "a€"},
    {"a pair", STR_INIT("\x3c\xd8\xab\xdf"), ERR_OK, "\xf0\x9f\x8e\xab"},
    {"only a mark", STR_INIT("\xff\xfe"), ERR_OK, ""},
    {"nothing", STR_INIT(""), ERR_OK, ""},
    {"odd length", STR_INIT("a\0b"), ERR_SYNTAX, NULL},
    {"lone high", STR_INIT("\x3c\xd8"), ERR_SYNTAX, NULL},
    {"high before a letter",
     STR_INIT("\x3c\xd8"
              "a\0"),
     ERR_SYNTAX, NULL},
    {"high before high", STR_INIT("\x3c\xd8\x3c\xd8"), ERR_SYNTAX, NULL},
    {"lone low", STR_INIT("\xab\xdf"), ERR_SYNTAX, NULL},
};

static void from_utf16(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(utf16); i++) {
        CASE(utf16[i].label);
        Buf buf = buf_new(NULL, 100);
        assert_int_equal(utf8_from_utf16(utf16[i].bytes, &buf), utf16[i].want);
        if (utf16[i].want == ERR_OK)
            assert_true(str_eq_c(buf_str(&buf), utf16[i].text));
        buf_done(&buf);
    }
    Buf small = buf_new(NULL, 1);
    assert_int_equal(utf8_from_utf16(STR("a\0b\0"), &small), ERR_LIMIT);
    buf_done(&small);
}

static void white_space(void **state) {
    (void)state;
    int n = 0;
    for (uint32_t c = 0; c <= 0x10ffff; c++)
        n += unicode_is_space(c);
    assert_int_equal(n, 25); /* as many as char.IsWhiteSpace knows */
    static const uint32_t not [] = {0x08, 0x0e, 0x1c, 0x1f, 0x84, 0x180e, 0x200b, 0x2060, 0xfeff, 'a'};
    for (size_t i = 0; i < ARRAY_LEN(not ); i++)
        assert_true(!unicode_is_space(not [i]));
    assert_true(unicode_is_space(0x85) && unicode_is_space(0xa0) && unicode_is_space(0x3000));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed_or_not),   cmocka_unit_test(every_code_point_goes_and_returns),
        cmocka_unit_test(as_many_as_there_are), cmocka_unit_test(malformed_bytes_are_passed_one_by_one),
        cmocka_unit_test(from_utf16),           cmocka_unit_test(white_space),
    };
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
