/*
 * protobuf.c - varints, fixed numbers, lengths.
 *
 * A library (nanopb, protobuf-c) would bring generated code for some forty messages of which nine are written and none
 * is read.
 */
#include "telemetry/protobuf.h"

#include "base/utf8.h"

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LENGTH = 2, WIRE_FIXED32 = 5, LENGTH_BYTES = 4 };

void pb_raw(Pb *pb, const void *bytes, size_t n) {
    if (pb->full || n > pb->capacity - pb->n) {
        pb->full = true;
        return;
    }
    if (n > 0)
        memcpy(pb->p + pb->n, bytes, n);
    pb->n += n;
}

void pb_varint(Pb *pb, uint64_t value) {
    uint8_t out[10];
    size_t n = 0;
    while (value >= 0x80) {
        out[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out[n++] = (uint8_t)value;
    pb_raw(pb, out, n);
}

static size_t varint_size(uint64_t value) {
    size_t n = 1;
    while (value >= 0x80) {
        value >>= 7;
        n++;
    }
    return n;
}

static void tag(Pb *pb, int field, int wire) {
    pb_varint(pb, (uint64_t)field << 3 | (uint64_t)wire);
}

void pb_uint(Pb *pb, int field, uint64_t value) {
    tag(pb, field, WIRE_VARINT);
    pb_varint(pb, value);
}

static void little_endian(Pb *pb, uint64_t value, size_t bytes) {
    uint8_t out[8];
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * i));
    pb_raw(pb, out, bytes);
}

void pb_fixed32(Pb *pb, int field, uint32_t value) {
    tag(pb, field, WIRE_FIXED32);
    little_endian(pb, value, 4);
}

void pb_fixed64(Pb *pb, int field, uint64_t value) {
    tag(pb, field, WIRE_FIXED64);
    little_endian(pb, value, 8);
}

void pb_double(Pb *pb, int field, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    pb_fixed64(pb, field, bits);
}

void pb_bytes(Pb *pb, int field, const void *bytes, size_t n) {
    tag(pb, field, WIRE_LENGTH);
    pb_varint(pb, n);
    pb_raw(pb, bytes, n);
}

/* At most PB_TEXT_MAX bytes, not through the middle of a character. */
static Str cut(Str text) {
    if (text.n <= PB_TEXT_MAX)
        return text;
    size_t n = PB_TEXT_MAX;
    while (n > PB_TEXT_MAX - 4 && ((uint8_t)text.p[n] & 0xC0) == 0x80)
        n--;
    return (Str){text.p, n};
}

static void text_bytes(Pb *pb, Str text) {
    size_t from = pb->n;
    pb_raw(pb, text.p, text.n);
    if (pb->full || utf8_valid(text))
        return;
    for (size_t i = from; i < pb->n; i++)
        if (pb->p[i] >= 0x80)
            pb->p[i] = '?';
}

void pb_text(Pb *pb, int field, Str text) {
    text = cut(text);
    tag(pb, field, WIRE_LENGTH);
    pb_varint(pb, text.n);
    text_bytes(pb, text);
}

size_t pb_begin(Pb *pb, int field) {
    tag(pb, field, WIRE_LENGTH);
    pb_raw(pb, "\0\0\0", LENGTH_BYTES);
    return pb->n;
}

void pb_end(Pb *pb, size_t begun) {
    if (pb->full)
        return;
    size_t length = pb->n - begun;
    ASSERT(length < (size_t)1 << 7 * LENGTH_BYTES);
    for (size_t i = 0; i < LENGTH_BYTES; i++)
        pb->p[begun - LENGTH_BYTES + i] = (uint8_t)((length >> (7 * i) & 0x7F) | (i < LENGTH_BYTES - 1 ? 0x80 : 0));
}

/* KeyValue: key = 1, value = 2; AnyValue: string_value = 1, int_value = 3. */
static void key_value_head(Pb *pb, int field, Str key, size_t any) {
    tag(pb, field, WIRE_LENGTH);
    pb_varint(pb, 1 + varint_size(key.n) + key.n + 1 + varint_size(any) + any);
    pb_bytes(pb, 1, key.p, key.n);
    tag(pb, 2, WIRE_LENGTH);
    pb_varint(pb, any);
}

void pb_attribute_text(Pb *pb, int field, const char *key, Str value) {
    if (value.p == NULL)
        return;
    value = cut(value);
    key_value_head(pb, field, str_c(key), 1 + varint_size(value.n) + value.n);
    tag(pb, 1, WIRE_LENGTH);
    pb_varint(pb, value.n);
    text_bytes(pb, value);
}

void pb_attribute_int(Pb *pb, int field, const char *key, int64_t value) {
    key_value_head(pb, field, str_c(key), 1 + varint_size((uint64_t)value));
    pb_uint(pb, 3, (uint64_t)value);
}
