/*
 * message.c - what is read as a message is written as one that reads the same and is written the same; what is refused
 * is refused with words.
 */
#include "messaging/messages.h"

#include "base/arena.h"
#include "bus/bus.h"
#include "fuzz.h"
#include "pg/pg.h"
#include "resource/resource.h"
#include "runtime/ctx.h"
#include "json/json.h"

#define ARENA_BYTES ((size_t)4 * 1024 * 1024)

static void check(const MessageType *type, Arena *arena, Str payload) {
    Ctx ctx, again;
    ctx_init(&ctx, arena, 0);
    ctx_init(&again, arena, 0);
    void *message = arena_alloc(arena, type->size), *back = arena_alloc(arena, type->size);
    FUZZ_CHECK(message != NULL && back != NULL);
    Err err = message_decode(type, &ctx, payload, message);
    FUZZ_CHECK(err == ERR_OK || err == ERR_SYNTAX || err == ERR_INVALID);
    if (err != ERR_OK) {
        FUZZ_CHECK(ctx.problem.code == err && ctx.problem.message.n > 0);
        return;
    }
    Str written, rewritten;
    FUZZ_CHECK(message_encode(type, message, arena, &written) == ERR_OK);
    FUZZ_CHECK(message_decode(type, &again, written, back) == ERR_OK);
    FUZZ_CHECK(message_encode(type, back, arena, &rewritten) == ERR_OK);
    FUZZ_CHECK(str_eq(written, rewritten));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Arena *arena = arena_new(ARENA_BYTES);
    FUZZ_CHECK(arena != NULL);
    for (const MessageType *const *type = MESSAGES; *type != NULL; type++)
        check(*type, arena, (Str){(const char *)data, size});
    arena_free(arena);
    return 0;
}
