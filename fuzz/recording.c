/*
 * recording.c - any file as a recording: refused in words, or its requests become bytes within bounds, and what it
 * expects differs from itself in nothing and from anything else in something.
 */
#include "usher/replay.h"

#include "fuzz.h"

#define ARENA_BYTES   ((size_t)2 << 20) /* small: a generator may fill all of it */
#define OTHER_ID      "5e0c1c5e-1c2d-4b5f-8f0e-7a9b0c3d2e1f"
#define EXCHANGES_MAX 8 /* one is like another */

static size_t differences(Arena *arena, const Expected *want, const HttpAnswer *got) {
    Buf lines = buf_new(arena, 1 << 20);
    size_t n = 0;
    Err err = replay_compare(arena, want, got, &lines, &n);
    FUZZ_CHECK(err == ERR_OK || err == ERR_NO_MEMORY || err == ERR_LIMIT);
    FUZZ_CHECK(err != ERR_OK || (n == 0) == (lines.n == 0));
    return err == ERR_OK ? n : SIZE_MAX;
}

static void check_comparison(Arena *arena, const Expected *want) {
    HttpAnswer got = {
        .status = want->status, .headers = want->headers, .header_count = want->header_count, .body = want->body};
    size_t n = differences(arena, want, &got);
    FUZZ_CHECK(n == 0 || n == SIZE_MAX);
    got.status = want->status == 599 ? 200 : 599;
    FUZZ_CHECK(differences(arena, want, &got) > 0);
    got.status = want->status;
    got.body = arena_printf(arena, "%.*sx", STR_ARG(want->body));
    FUZZ_CHECK(got.body.p == NULL || memchr(want->body.p, 0, want->body.n) != NULL ||
               differences(arena, want, &got) > 0);
}

/* Each id in the place of another, and back. */
static void check_ids(Arena *arena, Str text, const Json *capture) {
    Id id;
    Ids forth = {0}, back = {0};
    Str from = json_text(json_member(capture, "value")), once, twice;
    if (id_parse(from, ID_FORM_D, &id) != ERR_OK || str_find(text, STR("5e0c1c5e")) >= 0 ||
        str_find(text, STR("5E0C1C5E")) >= 0)
        return;
    FUZZ_CHECK(ids_put(&forth, arena, from, STR(OTHER_ID)) == ERR_OK);
    FUZZ_CHECK(ids_put(&back, arena, STR(OTHER_ID), from) == ERR_OK);
    FUZZ_CHECK(ids_swap(&forth, arena, text, &once) == ERR_OK && once.n == text.n);
    FUZZ_CHECK(str_find(once, from) < 0);
    FUZZ_CHECK(ids_swap(&back, arena, once, &twice) == ERR_OK && str_eq(twice, text));
}

static void check_exchange(Arena *arena, const Json *recording, const Json *exchange) {
    Ids none = {0};
    Str bytes;
    Expected want;
    Err err = replay_request_bytes(arena, &none, json_member(exchange, "request"), &bytes);
    FUZZ_CHECK(err == ERR_OK || err == ERR_SYNTAX || err == ERR_LIMIT || err == ERR_NO_MEMORY);
    err = replay_expected(arena, &none, exchange, &want);
    FUZZ_CHECK(err == ERR_OK || err == ERR_LIMIT || err == ERR_NO_MEMORY);
    if (err != ERR_OK)
        return;
    check_comparison(arena, &want);
    HttpAnswer got = {
        .status = want.status, .headers = want.headers, .header_count = want.header_count, .body = want.body};
    const Json *captures = json_member(recording, "captures");
    for (const Json *c = captures == NULL ? NULL : captures->first; c != NULL; c = c->next) {
        Str value = capture_value(arena, c, &got);
        FUZZ_CHECK(value.p != NULL || value.n == 0);
        check_ids(arena, want.body, c);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Arena *arena = arena_new(ARENA_BYTES);
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    const Json *recording;
    Err err = replay_parse(&ctx, "fuzz.json", (Str){(const char *)data, size}, &recording);
    FUZZ_CHECK(err == ERR_OK || ((err == ERR_SYNTAX || err == ERR_NO_MEMORY) && ctx.problem.message.n > 0));
    size_t n = 0;
    const Json *exchange = err != ERR_OK ? NULL : json_member(recording, "exchanges")->first;
    for (; exchange != NULL && n < EXCHANGES_MAX; exchange = exchange->next, n++)
        check_exchange(arena, recording, exchange);
    arena_free(arena);
    return 0;
}
