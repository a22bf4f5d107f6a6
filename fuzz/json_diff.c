/*
 * json_diff.c - a document differs from itself in nothing, and two documents differ both ways or neither.
 *
 * The input is two documents with a line feed between them (one alone is compared with itself).
 */
#include "json/json.h"

#include "fuzz.h"

static bool parsed(Str text, Arena *arena, Json **ret) {
    return json_parse(text, arena, JSON_DUPLICATES_REJECT, ret, NULL) == ERR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const JsonDiffOptions all[] = {{0},
                                          {.numbers_by_value = true},
                                          {.object_order = true},
                                          {.list_key = STR_INIT("Id"), .numbers_by_value = true}};
    Str rest = {(const char *)data, size};
    Str left = str_cut(&rest, '\n');
    Arena *arena = arena_new(64 << 20);
    Json *a, *b;
    if (parsed(left, arena, &a) && parsed(rest.p == NULL ? left : rest, arena, &b)) {
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
            Buf out = buf_new(arena, 4 << 20);
            FUZZ_CHECK(json_diff(a, a, &all[i], 100, &out) == 0 && out.n == 0);
            size_t forth = json_diff(a, b, &all[i], 100, &out);
            FUZZ_CHECK(forth <= 100 && (forth == 0) == (out.n == 0));
            FUZZ_CHECK((json_diff(b, a, &all[i], 100, &out) == 0) == (forth == 0));
        }
        Buf out = buf_new(arena, 4 << 20); /* what is equal as written is equal by value */
        if (json_diff(a, b, &all[0], 1, &out) == 0)
            FUZZ_CHECK(json_diff(a, b, &all[1], 1, &out) == 0);
    }
    arena_free(arena);
    return 0;
}
