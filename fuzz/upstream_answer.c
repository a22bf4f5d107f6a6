/*
 * upstream_answer.c - fuzzes the reader of upstreams' answers: how the bytes are cut may not matter, and where it says
 * that an answer ends there is no second opinion.
 *
 * Input: 1 byte of flags (bit 0: to a HEAD, bit 1: a switch was asked for) that seeds the cuts too, then the bytes of a
 * connection.
 */
#include "http/answer_parse.h"
#include "http/chars.h"

#include "fuzz.h"

enum { HEAD_MAX = 16384 };

static AnswerResult scan_cut(AnswerScan *scan, const char *p, size_t n, uint32_t seed) {
    size_t at = 0;
    AnswerResult result = ANSWER_MORE;
    while (at < n && result == ANSWER_MORE) {
        seed = seed * 1664525 + 1013904223;
        at = MIN_OF(n, at + 1 + (seed >> 24) % 37);
        result = answer_scan(scan, p, at, HEAD_MAX);
    }
    return result;
}

static bool is_clean(Str s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == '\0')
            return false;
    return true;
}

static void check(const UpstreamAnswer *answer, bool head_only, bool upgrade, bool keeps) {
    size_t lengths = 0, codings = 0;
    FUZZ_CHECK(answer->status >= 100 && answer->status <= 999 && is_clean(answer->reason));
    for (size_t i = 0; i < answer->header_count; i++) {
        Str name = answer->headers[i].name, value = answer->headers[i].value;
        FUZZ_CHECK(name.n > 0 && chars_all(name, CHAR_TOKEN) && is_clean(value));
        FUZZ_CHECK(name.p >= answer->lines.p && value.p + value.n <= answer->lines.p + answer->lines.n);
        lengths += str_eq_nocase(name, STR("content-length"));
        codings += str_eq_nocase(name, STR("transfer-encoding"));
    }
    FUZZ_CHECK(lengths + codings <= 1);
    FUZZ_CHECK(answer->body_kind != BODY_TUNNEL || (upgrade && answer->status == 101));
    FUZZ_CHECK(answer->body_kind != BODY_UNTIL_CLOSE || !keeps);
    FUZZ_CHECK(!head_only || answer->body_kind == BODY_NONE || answer->body_kind == BODY_TUNNEL);
    FUZZ_CHECK(answer->body_kind != BODY_CHUNKED || (codings == 1 && answer->minor == 1));
    FUZZ_CHECK(answer->body_kind != BODY_LENGTH || lengths == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > 60000)
        return 0;
    const char *p = (const char *)data + 1;
    size_t n = size - 1;
    AnswerScan whole = {0}, split = {0};
    AnswerResult a = answer_scan(&whole, p, n, HEAD_MAX), b = scan_cut(&split, p, n, data[0]);
    FUZZ_CHECK(a == b);
    if (a != ANSWER_DONE)
        return 0;
    FUZZ_CHECK(whole.end == split.end && whole.end <= n && memcmp(p + whole.end - 4, "\r\n\r\n", 4) == 0);
    Arena *arena = arena_new(1 << 20);
    UpstreamAnswer answer;
    bool keeps, head_only = (data[0] & 1) != 0, upgrade = (data[0] & 2) != 0;
    AnswerAsked asked = {.head_only = head_only, .upgrade = upgrade};
    if (arena != NULL && answer_parse(&whole, p, asked, arena, &answer, &keeps) == ERR_OK)
        check(&answer, head_only, upgrade, keeps);
    arena_free(arena);
    return 0;
}
