/*
 * test_chunk.c - chunked bodies, good and bad, cut in every way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "http/chunk.h"

/* Feeds input in steps; the joined body in out. */
static ChunkResult decode(Str input, size_t step, Buf *out, size_t *ret_used) {
    ChunkDecoder decoder = {0};
    size_t at = 0;
    buf_clear(out);
    while (at < input.n) {
        size_t n = MIN_OF(step, input.n - at), used = 0;
        Str piece = {NULL, 0};
        ChunkResult result = chunk_decode(&decoder, str_slice(input, at, at + n), &used, &piece);
        at += used;
        if (result == CHUNK_PIECE)
            buf_add(out, piece);
        *ret_used = at;
        if (result == CHUNK_END || result == CHUNK_BAD)
            return result;
    }
    return CHUNK_MORE;
}

static const struct {
    const char *label, *input;
    ChunkResult want;
    const char *body;
} cases[] = {
    {"one chunk", "5\r\nhello\r\n0\r\n\r\n", CHUNK_END, "hello"},
    {"two chunks", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", CHUNK_END, "hello"},
    {"no body", "0\r\n\r\n", CHUNK_END, ""},
    {"hexadecimal, both cases", "a\r\n0123456789\r\nB\r\n0123456789x\r\n0\r\n\r\n", CHUNK_END, "01234567890123456789x"},
    {"leading zeros", "0005\r\nhello\r\n000\r\n\r\n", CHUNK_END, "hello"},
    {"an extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n", CHUNK_END, "hello"},
    {"white space before an extension", "5 \t;a=\"b;c\"\r\nhello\r\n0\r\n\r\n", CHUNK_END, "hello"},
    {"trailers", "5\r\nhello\r\n0\r\nX: y\r\nZ:\r\n\r\n", CHUNK_END, "hello"},
    {"CRLF as data", "2\r\n\r\n\r\n0\r\n\r\n", CHUNK_END, "\r\n"},
    {"cut off in the size", "5", CHUNK_MORE, ""},
    {"cut off in the data", "5\r\nhel", CHUNK_MORE, "hel"},
    {"no last chunk", "5\r\nhello\r\n", CHUNK_MORE, "hello"},
    {"no end of the trailers", "0\r\nX: y\r\n", CHUNK_MORE, ""},
    {"no size", "\r\nhello\r\n", CHUNK_BAD, ""},
    {"no number", "zz\r\n", CHUNK_BAD, ""},
    {"0x5", "0x5\r\nhello\r\n0\r\n\r\n", CHUNK_BAD, ""},
    {"+5", "+5\r\nhello\r\n0\r\n\r\n", CHUNK_BAD, ""},
    {"-5", "-5\r\nhello\r\n0\r\n\r\n", CHUNK_BAD, ""},
    {"a space in front", " 5\r\nhello\r\n0\r\n\r\n", CHUNK_BAD, ""},
    {"a space behind", "5 \r\nhello\r\n0\r\n\r\n", CHUNK_BAD, ""},
    {"two numbers", "5 5\r\nhello\r\n0\r\n\r\n", CHUNK_BAD, ""},
    {"bare LF behind the size", "5\nhello\r\n0\r\n\r\n", CHUNK_BAD, ""},
    {"bare CR behind the size", "5\rhello\r\n0\r\n\r\n", CHUNK_BAD, ""},
    {"bare LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n", CHUNK_BAD, ""},
    {"bare LF behind the data", "5\r\nhello\n0\r\n\r\n", CHUNK_BAD, "hello"},
    {"nothing behind the data", "5\r\nhello0\r\n\r\n", CHUNK_BAD, "hello"},
    {"more data than announced", "4\r\nhello\r\n0\r\n\r\n", CHUNK_BAD, "hell"},
    {"over 64 bits", "10000000000000005\r\nhello\r\n", CHUNK_BAD, ""},
    {"64 bits", "ffffffffffffffff\r\nhello\r\n", CHUNK_BAD, ""},
    {"very many zeros", "00000000000000005\r\nhello\r\n", CHUNK_BAD, ""},
    {"a bare LF ends trailers", "0\r\n\n", CHUNK_BAD, ""},
    {"a folded trailer", "0\r\nX: y\r\n z\r\n\r\n", CHUNK_BAD, ""},
    {"a trailer without a colon", "0\r\nX\r\n\r\n", CHUNK_BAD, ""},
    {"a trailer with a control byte", "0\r\nX: \x01\r\n\r\n", CHUNK_BAD, ""},
};

static void bodies(void **state) {
    (void)state;
    Buf out = buf_new(NULL, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t step = 1; step <= strlen(cases[i].input); step++) {
            size_t used = 0;
            ChunkResult got = decode(str_c(cases[i].input), step, &out, &used);
            if (got != cases[i].want || !str_eq_c(buf_str(&out), cases[i].body))
                fail_msg("%s in steps of %zu: %d, '%.*s'", cases[i].label, step, (int)got, STR_ARG(buf_str(&out)));
            if (got == CHUNK_END)
                assert_int_equal(used, strlen(cases[i].input));
        }
    }
    buf_done(&out);
}

static void the_end_is_found(void **state) {
    (void)state;
    Buf out = buf_new(NULL, 1 << 20);
    size_t used = 0;
    assert_int_equal(decode(STR("1\r\nx\r\n0\r\n\r\nGET /"), 100, &out, &used), CHUNK_END);
    assert_int_equal(used, sizeof("1\r\nx\r\n0\r\n\r\n") - 1);
    buf_done(&out);
}

static void ornaments_are_bounded(void **state) {
    (void)state;
    Buf in = buf_new(NULL, 1 << 20), out = buf_new(NULL, 1 << 20);
    size_t used = 0;
    buf_add_c(&in, "1;");
    for (size_t i = 0; i <= CHUNK_EXTENSIONS_MAX; i++)
        buf_add_char(&in, 'x');
    assert_int_equal(decode(buf_str(&in), 1000, &out, &used), CHUNK_BAD);
    buf_clear(&in); /* the bound counts all chunks together */
    for (size_t i = 0; i < CHUNK_EXTENSIONS_MAX; i++)
        buf_add_c(&in, "1;x\r\ny\r\n");
    assert_int_equal(decode(buf_str(&in), 1000, &out, &used), CHUNK_BAD);
    buf_clear(&in);
    buf_add_c(&in, "0\r\nX: ");
    for (size_t i = 0; i <= CHUNK_TRAILERS_MAX; i++)
        buf_add_char(&in, 'x');
    assert_int_equal(decode(buf_str(&in), 1000, &out, &used), CHUNK_BAD);
    buf_done(&in);
    buf_done(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bodies), cmocka_unit_test(the_end_is_found),
                                       cmocka_unit_test(ornaments_are_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
