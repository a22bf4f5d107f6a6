/*
 * amqp_envelope.c - whatever arrives as an envelope is read or refused with words and a kind; what is read can be
 * written again and reads the same.
 */
#include "bus/masstransit.h"

#include "amqp/wire.h"
#include "base/arena.h"
#include "fuzz.h"
#include "pg/pg.h"
#include "resource/resource.h"
#include "runtime/ctx.h"
#include "json/json.h"

#define ARENA_BYTES ((size_t)8 * 1024 * 1024)

static bool id_eq_opt(OptId a, OptId b) {
    return a.present == b.present && (!a.present || id_eq(a.value, b.value));
}

static void write_again(Arena *arena, const MtReceived *received) {
    MtHost host = {.machine_name = STR("m")};
    MtReceived back;
    MtUnreadable why;
    Ctx ctx;
    Str written;
    ctx_init(&ctx, arena, 0);
    MtEnvelope envelope = {.message_id = received->message_id,
                           .conversation_id = received->conversation_id,
                           .fault_address = received->fault_address,
                           .types = received->types,
                           .n_types = received->n_types,
                           .message = received->message,
                           .host = &host};
    Err err = mt_write(&envelope, arena, &written);
    FUZZ_CHECK(err == ERR_OK || err == ERR_SYNTAX || err == ERR_NO_MEMORY || err == ERR_LIMIT);
    if (err != ERR_OK)
        return;
    FUZZ_CHECK(mt_read(&ctx, written, &back, &why) == ERR_OK);
    FUZZ_CHECK(id_eq_opt(back.message_id, received->message_id));
    FUZZ_CHECK(back.n_types == received->n_types);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Arena *arena = arena_new(ARENA_BYTES);
    Str body = {(const char *)data, size};
    MtReceived received;
    MtUnreadable why;
    Ctx ctx;
    FUZZ_CHECK(arena != NULL);
    ctx_init(&ctx, arena, 0);
    Err err = mt_read(&ctx, body, &received, &why);
    FUZZ_CHECK(err == ERR_OK || err == ERR_SYNTAX || err == ERR_INVALID || err == ERR_NO_MEMORY);
    FUZZ_CHECK((err == ERR_OK) == (why == MT_READABLE) || err == ERR_NO_MEMORY);
    if (err == ERR_SYNTAX || err == ERR_INVALID)
        FUZZ_CHECK(ctx.problem.message.n > 0);
    if (err == ERR_OK) {
        FUZZ_CHECK(received.message.p >= body.p && received.message.p + received.message.n <= body.p + body.n);
        write_again(arena, &received);
    }
    Str json = mt_baggage_json(body, arena), baggage = {NULL, 0};
    JsonReader r;
    if (json.p != NULL) {
        json_reader_init(&r, json, JSON_DEPTH_MAX);
        FUZZ_CHECK(json_next(&r) == ERR_OK);
        err = mt_baggage_read(&r, arena, &baggage);
        FUZZ_CHECK(err == ERR_OK || err == ERR_NO_MEMORY);
    }
    arena_free(arena);
    return 0;
}
