/*
 * load_file.c - any file as a load: refused in words, or every request of it can stand in a request's head, and none
 * writes unless writes are wanted.
 */
#include "usher/rehearse.h"

#include "fuzz.h"

#define ARENA_BYTES ((size_t)32 << 20)

static void check_text(Str text, const char *forbidden) {
    for (size_t i = 0; i < text.n; i++)
        FUZZ_CHECK((unsigned char)text.p[i] >= ' ' && (unsigned char)text.p[i] < 0x7f &&
                   strchr(forbidden, text.p[i]) == NULL);
}

static size_t read_file(Arena *arena, Str text, bool writes) {
    LoadPlan plan = {.notes = buf_new(arena, 1 << 20)};
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    Err err = load_plan_file(&ctx, text, writes, &plan);
    FUZZ_CHECK(err == ERR_OK || err == ERR_SYNTAX || err == ERR_LIMIT || err == ERR_NO_MEMORY);
    FUZZ_CHECK(err == ERR_OK || err == ERR_NO_MEMORY || ctx.problem.message.n > 0);
    if (err != ERR_OK)
        return 0;
    FUZZ_CHECK(plan.n > 0 && plan.group_n == 1 && plan.groups[0].first == 0 && plan.groups[0].n == plan.n);
    for (size_t i = 0; i < plan.n; i++) {
        const LoadRequest *request = &plan.requests[i];
        FUZZ_CHECK(request->method.n > 0 && load_target_fits(request->target));
        check_text(request->method, " ");
        check_text(request->target, " ");
        check_text(request->content_type, "");
        FUZZ_CHECK(writes || !request->writes);
        FUZZ_CHECK(request->writes || request->body.n == 0);
    }
    return plan.n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Str text = {(const char *)data, size};
    Arena *arena = arena_new(ARENA_BYTES);
    size_t reads = read_file(arena, text, false), all = read_file(arena, text, true);
    FUZZ_CHECK(reads == 0 || all >= reads);
    arena_free(arena);
    return 0;
}
