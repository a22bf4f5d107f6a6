/*
 * methods.c - reading and writing any method by its row.
 */
#include "amqp/methods.h"

#include "amqp/wire.h"
#include "amqp/wire_read.h"

typedef struct MethodRow {
    uint16_t class_id, method_id;
    const char *arguments;
    const char *name;
} MethodRow;

static const MethodRow ROWS[] = {
#define AMQP_METHOD_ROW(name, class_id, method_id, arguments) {class_id, method_id, arguments, #name},
    AMQP_METHOD_LIST(AMQP_METHOD_ROW)
#undef AMQP_METHOD_ROW
};

const char *amqp_method_name(AmqpMethodId id) {
    return ROWS[id].name;
}

static const MethodRow *row_of(uint64_t class_id, uint64_t method_id) {
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++)
        if (ROWS[i].class_id == class_id && ROWS[i].method_id == method_id)
            return &ROWS[i];
    return NULL;
}

static size_t number_size(char kind) {
    switch (kind) {
    case 'o':
        return 1;
    case 'w':
        return 2;
    case 'd':
        return 4;
    default:
        return 8;
    }
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

Err amqp_method_read(Str payload, AmqpMethod *ret) {
    WireReader r = {.rest = payload};
    uint64_t class_id = wire_number(&r, 2), method_id = wire_number(&r, 2);
    const MethodRow *row = row_of(class_id, method_id);
    if (r.bad)
        return ERR_SYNTAX;
    if (row == NULL)
        return ERR_NOT_FOUND;
    *ret = (AmqpMethod){.id = (AmqpMethodId)(row - ROWS)};
    AmqpArgument *argument = ret->arguments;
    uint64_t bits = 0;
    int bit = 0;
    for (const char *kind = row->arguments; *kind != '\0'; kind++, argument++) {
        if (*kind != 't')
            bit = 0;
        switch (*kind) {
        case 't':
            if (bit == 0)
                bits = wire_number(&r, 1);
            argument->n = bits >> bit & 1;
            bit = (bit + 1) % 8;
            break;
        case 's':
            argument->s = wire_short_string(&r);
            break;
        case 'S':
            argument->s = wire_long_string(&r);
            break;
        case 'T':
            argument->s = wire_long_string(&r);
            if (!r.bad)
                TRY(amqp_table_check(argument->s));
            break;
        default:
            argument->n = wire_number(&r, number_size(*kind));
        }
    }
    return r.bad || r.rest.n > 0 ? ERR_SYNTAX : ERR_OK;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void write_number(Buf *out, uint64_t value, size_t bytes) {
    char raw[8];
    for (size_t i = 0; i < bytes; i++)
        raw[i] = (char)(value >> 8 * (bytes - 1 - i));
    buf_add_bytes(out, raw, bytes);
}

void amqp_method_write(Buf *out, const AmqpMethod *method) {
    const MethodRow *row = &ROWS[method->id];
    buf_add_be16(out, row->class_id);
    buf_add_be16(out, row->method_id);
    const AmqpArgument *argument = method->arguments;
    unsigned bits = 0;
    int bit = 0;
    for (const char *kind = row->arguments; *kind != '\0'; kind++, argument++) {
        switch (*kind) {
        case 't':
            bits |= argument->n != 0 ? 1u << bit : 0;
            if (++bit == 8 || kind[1] != 't') {
                buf_add_char(out, (char)bits);
                bits = 0;
                bit = 0;
            }
            break;
        case 's':
            ASSERT(argument->s.n <= 255);
            buf_add_char(out, (char)argument->s.n);
            buf_add(out, argument->s);
            break;
        case 'S':
        case 'T':
            buf_add_be32(out, (uint32_t)argument->s.n);
            buf_add(out, argument->s);
            break;
        default:
            write_number(out, argument->n, number_size(*kind));
        }
    }
}
