/*
 * amqp_frame.c - whatever a broker sends is read or refused; what is read as a method, header or table is written as
 * bytes that read the same.
 */
#include "amqp/wire.h"
#include "base/arena.h"
#include "fuzz.h"

#define ARENA_BYTES ((size_t)4 * 1024 * 1024)

static void check_table(Arena *arena, Str table) {
    Str rest = table, name;
    AmqpField field;
    Buf copy = buf_new(arena, ARENA_BYTES);
    if (amqp_table_check(table) != ERR_OK)
        return;
    while (amqp_table_next(&rest, &name, &field)) {
        Str elements = field.bytes;
        AmqpField element;
        while (field.kind == 'A' && amqp_array_next(&elements, &element)) {
        }
        amqp_table_add_field(&copy, name, &field);
    }
    FUZZ_CHECK(rest.n == 0);
    FUZZ_CHECK(str_eq(buf_str(&copy), table));
}

static void check_method(Arena *arena, Str payload) {
    AmqpMethod method, again;
    Err err = amqp_method_read(payload, &method);
    FUZZ_CHECK(err == ERR_OK || err == ERR_SYNTAX || err == ERR_NOT_FOUND || err == ERR_LIMIT);
    if (err != ERR_OK)
        return;
    Buf out = buf_new(arena, ARENA_BYTES), second = buf_new(arena, ARENA_BYTES);
    amqp_method_write(&out, &method);
    FUZZ_CHECK(amqp_method_read(buf_str(&out), &again) == ERR_OK && again.id == method.id);
    amqp_method_write(&second, &again);
    FUZZ_CHECK(str_eq(buf_str(&out), buf_str(&second)));
}

static void check_header(Arena *arena, Str payload) {
    AmqpProperties properties, again;
    uint64_t size, size_again;
    Err err = amqp_header_read(payload, &properties, &size);
    FUZZ_CHECK(err == ERR_OK || err == ERR_SYNTAX || err == ERR_LIMIT);
    if (err != ERR_OK)
        return;
    Buf out = buf_new(arena, ARENA_BYTES), second = buf_new(arena, ARENA_BYTES);
    amqp_header_write(&out, &properties, size);
    FUZZ_CHECK(amqp_header_read(buf_str(&out), &again, &size_again) == ERR_OK && size == size_again);
    amqp_header_write(&second, &again, size);
    FUZZ_CHECK(str_eq(buf_str(&out), buf_str(&second)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Arena *arena = arena_new(ARENA_BYTES);
    FUZZ_CHECK(arena != NULL);
    Str in = {(const char *)data, size};
    check_table(arena, in);
    check_method(arena, in);
    check_header(arena, in);
    AmqpFrame frame;
    for (size_t n = 0; amqp_frame_read(in, 4096, &frame, &n) == ERR_OK; in = str_slice(in, n, in.n)) {
        FUZZ_CHECK(n >= AMQP_FRAME_OVERHEAD && n <= 4096 && n <= in.n);
        if (frame.kind == AMQP_FRAME_METHOD)
            check_method(arena, frame.payload);
        if (frame.kind == AMQP_FRAME_HEADER)
            check_header(arena, frame.payload);
    }
    arena_free(arena);
    return 0;
}
