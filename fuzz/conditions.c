/*
 * conditions.c - If-Match and Idempotency-Key: a list of entity tags that is well-formed (RFC 9110 §8.8.3) names ours
 * exactly when one of its members is ours, and a key that is taken reads the same in both of its spellings.
 *
 * Input: a list of entity tags, in which '$' stands for our own tag; a line feed; a key.
 */
#include "api/jsonapi_internal.h"
#include "http/chars.h"

#include "fuzz.h"

#define OURS "\"00112233445566778899aabbccddeeff\""

static Str with_ours(Arena *arena, Str list) {
    Buf out = buf_new(arena, 1 << 20);
    for (size_t i = 0; i < list.n; i++)
        buf_add(&out, list.p[i] == '$' ? STR(OURS) : str_slice(list, i, i + 1));
    return buf_str(&out);
}

typedef struct Named {
    bool well_formed, weakly, strongly;
} Named;

/* The grammar, from left to right: tags may hold commas, which a look for commas alone would cut at. */
static Named read_list(Str list) {
    Named named = {.well_formed = true};
    for (size_t at = 0; at < list.n;) {
        if (list.p[at] == ',' || list.p[at] == ' ' || list.p[at] == '\t') {
            at++;
            continue;
        }
        bool weak = str_starts_with(str_slice(list, at, list.n), STR("W/"));
        size_t begin = at + (weak ? 2 : 0), end = begin + 1;
        while (end < list.n && list.p[end] != '"' && list.p[end] > ' ')
            end++;
        if (begin >= list.n || list.p[begin] != '"' || end >= list.n || list.p[end] != '"')
            return (Named){0};
        bool ours = str_eq_c(str_slice(list, begin, end + 1), OURS);
        named.weakly = named.weakly || ours;
        named.strongly = named.strongly || (ours && !weak);
        at = end + 1;
        while (at < list.n && (list.p[at] == ' ' || list.p[at] == '\t'))
            at++;
        if (at < list.n && list.p[at] != ',')
            return (Named){0};
    }
    return named;
}

static void check_tags(Str list) {
    bool weakly = etag_matches(list, STR(OURS), false), strongly = etag_matches(list, STR(OURS), true);
    FUZZ_CHECK(!strongly || weakly);
    Named named = read_list(list);
    if (named.well_formed)
        FUZZ_CHECK(named.weakly == weakly && named.strongly == strongly);
}

static Err read_key(Arena *arena, Str text, Str *ret) {
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    Header header = {STR("Idempotency-Key"), text};
    Request req = {.ctx = &ctx, .headers = &header, .header_count = 1};
    ApiRoute route = {0};
    ApiCall call = {.req = &req, .ctx = &ctx, .route = &route};
    Err err = api_read_key(&call, ret);
    FUZZ_CHECK(err == ERR_OK || (call.n_errors == 1 && call.errors[0].status == 400));
    return err;
}

static void check_key(Arena *arena, Str text) {
    Str key, again;
    if (read_key(arena, text, &key) != ERR_OK)
        return;
    FUZZ_CHECK(key.n >= 1 && key.n <= KEEP_KEY_MAX && key.p >= text.p && key.p + key.n <= text.p + text.n);
    FUZZ_CHECK(memchr(key.p, '"', key.n) == NULL);
    FUZZ_CHECK(read_key(arena, arena_printf(arena, "\"%.*s\"", STR_ARG(key)), &again) == ERR_OK && str_eq(key, again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Str rest = {(const char *)data, size};
    Str list = str_trim(str_cut(&rest, '\n'), " \t"), key = str_trim(rest, " \t");
    if (!chars_all(list, CHAR_VALUE) || !chars_all(key, CHAR_VALUE)) /* the head parser lets no others through */
        return 0;
    Arena *arena = arena_new((size_t)4 << 20);
    check_tags(with_ours(arena, list));
    if (key.p != NULL)
        check_key(arena, key);
    arena_free(arena);
    return 0;
}
