/*
 * table.c - field tables and arrays, both ways.
 *
 * A table is checked once as a whole when its frame is read; walking it afterwards cannot fail. It is kept as the bytes
 * it came in: what is passed on (a dead letter's headers) goes out as it came, whatever types are in it.
 */
#include "amqp/wire.h"
#include "amqp/wire_read.h"

/* Bytes of a value of fixed size; 0: of another kind. */
static size_t fixed_size(char kind) {
    switch (kind) {
    case 't':
    case 'b':
    case 'B':
        return 1;
    case 's':
    case 'u':
        return 2;
    case 'I':
    case 'i':
    case 'f':
        return 4;
    case 'D':
        return 5;
    case 'l':
    case 'L':
    case 'd':
    case 'T':
        return 8;
    default:
        return 0;
    }
}

/* Two's complement of that many bytes. */
static int64_t sign_extended(uint64_t value, size_t bytes) {
    unsigned shift = 64 - 8 * (unsigned)bytes;
    return (int64_t)(value << shift) >> shift;
}

static AmqpField read_field(WireReader *r) {
    AmqpField field = {.kind = (char)wire_number(r, 1)};
    size_t size = fixed_size(field.kind);
    if (field.kind == 'S' || field.kind == 'x' || field.kind == 'A' || field.kind == 'F') {
        field.bytes = wire_long_string(r);
    } else if (field.kind == 'f' || field.kind == 'd' || field.kind == 'D') {
        field.bytes = wire_bytes(r, size);
    } else if (size > 0) {
        uint64_t value = wire_number(r, size);
        bool is_signed = field.kind == 'b' || field.kind == 's' || field.kind == 'I' || field.kind == 'l';
        field.number = is_signed ? sign_extended(value, size) : (int64_t)value;
    } else if (field.kind != 'V') {
        r->bad = true;
    }
    return field;
}

static Err check(Str entries, bool named, int depth) {
    if (depth > AMQP_TABLE_DEPTH_MAX)
        return ERR_LIMIT;
    WireReader r = {.rest = entries};
    while (!r.bad && r.rest.n > 0) {
        if (named)
            (void)wire_short_string(&r);
        AmqpField field = read_field(&r);
        if (!r.bad && (field.kind == 'A' || field.kind == 'F'))
            TRY(check(field.bytes, field.kind == 'F', depth + 1));
    }
    return r.bad ? ERR_SYNTAX : ERR_OK;
}

Err amqp_table_check(Str table) {
    return check(table, true, 1);
}

bool amqp_table_next(Str *rest, Str *ret_name, AmqpField *ret) {
    if (rest->n == 0)
        return false;
    WireReader r = {.rest = *rest};
    *ret_name = wire_short_string(&r);
    *ret = read_field(&r);
    *rest = r.rest;
    return !r.bad;
}

bool amqp_array_next(Str *rest, AmqpField *ret) {
    if (rest->n == 0)
        return false;
    WireReader r = {.rest = *rest};
    *ret = read_field(&r);
    *rest = r.rest;
    return !r.bad;
}

bool amqp_table_find(Str table, const char *name, AmqpField *ret) {
    Str entry;
    while (amqp_table_next(&table, &entry, ret))
        if (str_eq_c(entry, name))
            return true;
    return false;
}

Str amqp_table_text(Str table, const char *name) {
    AmqpField field;
    return amqp_table_find(table, name, &field) && field.kind == 'S' ? field.bytes : (Str){NULL, 0};
}

/* --- building ----------------------------------------------------------------------------------------------------- */

void amqp_table_add_field(Buf *table, Str name, const AmqpField *field) {
    ASSERT(name.n <= 255);
    buf_add_char(table, (char)name.n);
    buf_add(table, name);
    buf_add_char(table, field->kind);
    size_t size = fixed_size(field->kind);
    if (field->kind == 'S' || field->kind == 'x' || field->kind == 'A' || field->kind == 'F') {
        buf_add_be32(table, (uint32_t)field->bytes.n);
        buf_add(table, field->bytes);
    } else if (field->kind == 'f' || field->kind == 'd' || field->kind == 'D') {
        buf_add(table, field->bytes);
    } else {
        for (size_t i = 0; i < size; i++)
            buf_add_char(table, (char)((uint64_t)field->number >> 8 * (size - 1 - i)));
    }
}

void amqp_table_add_text(Buf *table, Str name, Str value) {
    amqp_table_add_field(table, name, &(AmqpField){.kind = 'S', .bytes = value});
}

void amqp_table_add_i64(Buf *table, Str name, int64_t value) {
    amqp_table_add_field(table, name, &(AmqpField){.kind = 'l', .number = value});
}

void amqp_table_add_i32(Buf *table, Str name, int32_t value) {
    amqp_table_add_field(table, name, &(AmqpField){.kind = 'I', .number = value});
}

void amqp_table_add_bool(Buf *table, Str name, bool value) {
    amqp_table_add_field(table, name, &(AmqpField){.kind = 't', .number = value});
}

void amqp_table_add_table(Buf *table, Str name, Str value) {
    amqp_table_add_field(table, name, &(AmqpField){.kind = 'F', .bytes = value});
}
