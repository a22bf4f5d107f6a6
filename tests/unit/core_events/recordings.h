/*
 * recordings.h - what the tests of the contexts share: quirks in both positions, and the recorded conversations as
 * tables.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/heap.h"
#include "legacy/quirks.h"
#include "runtime/ctx.h"
#include "json/json.h"

#define RECORDINGS_ARENA (256u << 20)

/** A ctx with memory of its own; test_ctx_done frees it. */
static inline Ctx test_ctx(void) {
    Ctx ctx;
    Arena *arena = arena_new(RECORDINGS_ARENA);
    assert_non_null(arena);
    ctx_init(&ctx, arena, 0);
    return ctx;
}

static inline void test_ctx_done(Ctx *ctx) {
    arena_free(ctx->arena);
}

/** Switches quirks off by name ("" = all on). Every test sets what it needs: none relies on another. */
static inline void quirks_off(Ctx *ctx, const char *names) {
    assert_int_equal(quirks_configure(ctx, str_c(names)), ERR_OK);
}

/** An instant from its text. */
static inline Instant at(const char *text) {
    Instant t;
    assert_int_equal(instant_parse(str_c(text), &t), ERR_OK);
    return t;
}

static inline Decimal money(const char *text) {
    Decimal d;
    assert_int_equal(decimal_parse(str_c(text), &d), ERR_OK);
    return d;
}

/** An Id that reads as its number. */
static inline Id id_no(int number) {
    Id id = {0};
    id.bytes[14] = (uint8_t)(number >> 8);
    id.bytes[15] = (uint8_t)number;
    return id;
}

/** The exchanges of a recording; tests run in the root of the tree. */
static inline const Json *recorded_exchanges(Arena *arena, const char *path) {
    FILE *file = fopen(path, "re");
    if (file == NULL)
        fail_msg("%s is not there: run tests in the root of the tree", path);
    Buf text = buf_new(arena, 64u << 20);
    char *room;
    while ((room = buf_reserve(&text, 65536)) != NULL) {
        size_t n = fread(room, 1, 65536, file);
        text.n += n;
        if (n == 0)
            break;
    }
    fclose(file);
    Str document;
    assert_int_equal(buf_finish(&text, &document), ERR_OK);
    Json *root;
    JsonProblem problem;
    if (json_parse(document, arena, JSON_DUPLICATES_REJECT, &root, &problem) != ERR_OK)
        fail_msg("%s: %.*s", path, STR_ARG(problem.message));
    const Json *exchanges = json_member(root, "exchanges");
    assert_non_null(exchanges);
    return exchanges->first;
}

/** One recorded request and what it was answered, as far as rules are concerned. */
typedef struct Recorded {
    Str method, path;
    const Json *body; /* parsed; NULL: none, or no JSON */
    int status;
    Str error; /* Errors[0] of form 1; absent: another form */
    Str answer;
} Recorded;

static inline Recorded recorded(Arena *arena, const Json *exchange) {
    const Json *request = json_member(exchange, "request"), *response = json_member(exchange, "response");
    Recorded r = {.method = json_text(json_member(request, "method")),
                  .path = json_text(json_member(request, "path")),
                  .status = (int)json_i64(json_member(response, "status"), 0),
                  .answer = json_text(json_member(response, "body"))};
    Json *body = NULL, *answer = NULL;
    Str text = json_text(json_member(request, "body"));
    if (text.p != NULL && json_parse(text, arena, JSON_DUPLICATES_LAST, &body, NULL) == ERR_OK)
        r.body = body;
    if (r.answer.p != NULL && json_parse(r.answer, arena, JSON_DUPLICATES_LAST, &answer, NULL) == ERR_OK)
        r.error = json_text(json_element(json_member(answer, "Errors"), 0));
    return r;
}

static inline bool is_put_or_post(const Recorded *r, const char *under) {
    return (str_eq_c(r->method, "POST") || str_eq_c(r->method, "PUT")) && str_starts_with(r->path, str_c(under)) &&
           r->body != NULL;
}

/** The id at the end of a path such as /events/<id>. */
static inline Id path_end_id(Str path) {
    Id id;
    assert_true(path.n > ID_TEXT_LEN);
    assert_int_equal(id_parse(str_slice(path, path.n - ID_TEXT_LEN, path.n), ID_FORM_D, &id), ERR_OK);
    return id;
}
