/*
 * http_request.c - fuzzes the head parser: how the bytes are cut may not matter, and what it accepts must be what it
 * says.
 *
 * Input: 1 byte that seeds the cuts, then the bytes of a connection.
 */
#include "http/chars.h"
#include "http/head.h"

#include "fuzz.h"

static HeadResult parse(HeadParser *parser, const char *p, size_t n, uint32_t seed) {
    head_reset(parser);
    size_t at = 0;
    HeadResult result = HEAD_MORE;
    while (at < n && result == HEAD_MORE) {
        seed = seed * 1664525 + 1013904223;
        at = seed == 0 ? n : MIN_OF(n, at + 1 + (seed >> 24) % 37);
        result = head_parse(parser, &HTTP_LIMITS_DEFAULT, p, at);
    }
    return result;
}

static void check(const HeadParser *parser, const char *p, size_t n) {
    static char scratch[1 << 16];
    FUZZ_CHECK(parser->end <= n && parser->end >= 4 && memcmp(p + parser->end - 4, "\r\n\r\n", 4) == 0);
    for (uint32_t i = 0; i < parser->field_count; i++) {
        const HeadField *f = &parser->fields[i];
        FUZZ_CHECK(f->name_n > 0 && chars_all((Str){p + f->name, f->name_n}, CHAR_TOKEN));
        FUZZ_CHECK(chars_all((Str){p + f->value, f->value_n}, CHAR_VALUE) && f->value + f->value_n < parser->end);
    }
    HeadFacts facts;
    if (head_check(parser, p, scratch, &facts) != 0)
        return;
    FUZZ_CHECK(facts.path.n > 0 && facts.path.n <= facts.target.n + 1);
    FUZZ_CHECK(facts.body_kind != BODY_LENGTH || facts.content_length > 0);
    FUZZ_CHECK(!facts.expect_continue || facts.body_kind != BODY_NONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static HeadParser whole, split;
    if (size < 1 || size > 60000)
        return 0;
    const char *p = (const char *)data + 1;
    size_t n = size - 1;
    head_reset(&whole);
    HeadResult a = head_parse(&whole, &HTTP_LIMITS_DEFAULT, p, n), b = parse(&split, p, n, data[0]);
    FUZZ_CHECK(n == 0 || (a == b && whole.status == split.status));
    if (a == HEAD_DONE) {
        FUZZ_CHECK(whole.end == split.end && whole.field_count == split.field_count);
        check(&whole, p, n);
    }
    return 0;
}
