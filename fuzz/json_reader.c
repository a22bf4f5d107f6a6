/*
 * json_reader.c - what is accepted, written and read again is equal; what is refused is refused at a place within the
 * input.
 *
 * The input is copied to the very end of an allocation, so that ASan sees a read of one byte too many.
 */
#include <stdlib.h>

#include "json/json.h"

#include "fuzz.h"

static void check_tokens(Str input) {
    JsonReader r;
    json_reader_init(&r, input, 32);
    size_t last = 0, tokens = 0;
    while (json_next(&r) == ERR_OK && r.token != JSON_END) {
        FUZZ_CHECK(r.at > last && r.at <= input.n && r.token_at < r.at);
        FUZZ_CHECK(r.depth >= 0 && r.depth <= 32);
        FUZZ_CHECK(json_position(&r).column >= json_token_position(&r).column || r.line > 0);
        last = r.at;
        tokens++;
    }
    JsonPosition at = json_position(&r);
    FUZZ_CHECK(r.at <= input.n && at.line >= 0 && at.column >= 0 && tokens <= input.n);
    FUZZ_CHECK(r.error == JSON_OK || json_next(&r) == ERR_SYNTAX);
}

/** json_skip goes where reading token by token goes. */
static void check_skip(Str input) {
    JsonReader step, skip;
    json_reader_init(&step, input, JSON_DEPTH_MAX);
    json_reader_init(&skip, input, JSON_DEPTH_MAX);
    Err skipped = json_next(&skip);
    if (skipped == ERR_OK)
        skipped = json_skip(&skip);
    Err stepped = json_next(&step);
    while (stepped == ERR_OK && step.depth > 0)
        stepped = json_next(&step);
    FUZZ_CHECK(skipped == stepped && skip.at == step.at && skip.error == step.error);
}

static void check_round_trip(Str input, JsonDuplicates duplicates, JsonEscaping escaping, int indent) {
    Arena *arena = arena_new(64 << 20);
    Json *first, *second;
    JsonProblem problem = {0};
    Err err = json_parse(input, arena, duplicates, &first, &problem);
    FUZZ_CHECK(err == ERR_OK || err == ERR_SYNTAX || err == ERR_LIMIT);
    FUZZ_CHECK(err == ERR_OK || (problem.error != JSON_OK && problem.message.n > 0));
    if (err == ERR_OK) {
        Buf out = buf_new(arena, 16 << 20), diff = buf_new(arena, 1 << 20);
        JsonWriter w;
        json_writer_init(&w, &out, escaping, indent);
        json_write_value(&w, first);
        Str text;
        FUZZ_CHECK(buf_finish(&out, &text) == ERR_OK && utf8_valid(text));
        FUZZ_CHECK(json_parse(text, arena, duplicates, &second, NULL) == ERR_OK);
        JsonDiffOptions exact = {.object_order = true};
        FUZZ_CHECK(json_diff(first, second, &exact, 10, &diff) == 0);
    }
    arena_free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *copy = malloc(size == 0 ? 1 : size);
    if (copy == NULL)
        return 0;
    memcpy(copy, data, size);
    Str input = {copy, size};
    check_tokens(input);
    check_skip(input);
    check_round_trip(input, JSON_DUPLICATES_KEEP, JSON_ESCAPE_MINIMAL, 0);
    check_round_trip(input, JSON_DUPLICATES_REJECT, JSON_ESCAPE_RELAXED, 2);
    check_round_trip(input, JSON_DUPLICATES_LAST, JSON_ESCAPE_RELAXED, 0);
    free(copy);
    return 0;
}
