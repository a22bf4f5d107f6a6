/*
 * media_type.c - Content-Type and Accept of both surfaces: case and white space around separators mean nothing, and
 * what a client may send it also may ask for.
 *
 * Input: an Accept, a line feed, a Content-Type.
 */
#include "api/media_type.h"
#include "api/jsonapi_internal.h"
#include "http/chars.h"

#include "fuzz.h"

typedef struct Verdicts {
    bool api_takes, api_reads;
    bool json;
    AnswerType answer;
    BodyType body;
} Verdicts;

static Verdicts judge(Arena *arena, Str accept, Str type) {
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    Header headers[] = {{STR("accept"), accept}, {STR("content-type"), type}};
    Request req = {.ctx = &ctx, .headers = headers, .header_count = 2};
    ApiRoute route = {0};
    ApiCall call = {.req = &req, .ctx = &ctx, .route = &route};
    Err takes = api_check_accept(&call);
    FUZZ_CHECK(takes == ERR_OK ? call.n_errors == 0 : call.n_errors == 1 && call.errors[0].status == 406);
    call.n_errors = 0;
    Err reads = api_check_content_type(&call);
    FUZZ_CHECK(reads == ERR_OK ? call.n_errors == 0 : call.n_errors == 1 && call.errors[0].status == 415);
    return (Verdicts){takes == ERR_OK, reads == ERR_OK, accepts_json(accept), answer_type(accept), body_type(type)};
}

static bool same(Verdicts a, Verdicts b) {
    return a.api_takes == b.api_takes && a.api_reads == b.api_reads && a.json == b.json && a.answer == b.answer &&
           a.body == b.body;
}

/* ASCII letters in the other case. */
static Str swapped(Arena *arena, Str s) {
    Str copy = arena_str(arena, s);
    char *p = (char *)(uintptr_t)copy.p;
    for (size_t i = 0; i < copy.n; i++)
        if ((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'z')
            p[i] ^= 0x20;
    return copy;
}

/* A list of one member more, which matches nothing of ours. */
static Str with_other(Arena *arena, Str accept) {
    return arena_printf(arena, "image/png, %.*s", STR_ARG(accept));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Str rest = {(const char *)data, size};
    Str accept = str_trim(str_cut(&rest, '\n'), " \t"), type = str_trim(rest, " \t");
    if (!chars_all(accept, CHAR_VALUE) || !chars_all(type, CHAR_VALUE) || type.p == NULL)
        return 0;
    Arena *arena = arena_new((size_t)16 << 20);
    Verdicts v = judge(arena, accept, type);
    FUZZ_CHECK(same(v, judge(arena, swapped(arena, accept), swapped(arena, type))));
    if (str_trim(accept, " \t,").n > 0)
        FUZZ_CHECK(judge(arena, with_other(arena, accept), type).api_takes == v.api_takes);
    if (v.api_reads)
        FUZZ_CHECK(judge(arena, type, type).api_takes || str_find(swapped(arena, type), STR("Q")) >= 0 ||
                   str_find(type, STR("Q")) >= 0);
    arena_free(arena);
    return 0;
}
