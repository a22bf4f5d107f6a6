/*
 * protobuf.c - varints, fixed numbers, lengths.
 *
 * A library (nanopb, protobuf-c) would bring generated code for some forty messages of which nine are written and none
 * is read.
 */
#include "telemetry/protobuf.h"

#include <endian.h>

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
    if (value < 0x80 && !pb->full && pb->n < pb->capacity) {
        pb->p[pb->n++] = (uint8_t)value;
        return;
    }
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

void pb_fixed32(Pb *pb, int field, uint32_t value) {
    tag(pb, field, WIRE_FIXED32);
    value = htole32(value);
    pb_raw(pb, &value, sizeof value);
}

void pb_fixed64(Pb *pb, int field, uint64_t value) {
    tag(pb, field, WIRE_FIXED64);
    value = htole64(value);
    pb_raw(pb, &value, sizeof value);
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

static bool is_ascii(const uint8_t *p, size_t n) {
    uint64_t any = 0, word;
    for (; n >= sizeof word; p += sizeof word, n -= sizeof word) {
        memcpy(&word, p, sizeof word);
        any |= word;
    }
    for (; n > 0; p++, n--)
        any |= *p;
    return (any & 0x8080808080808080u) == 0;
}

static void make_utf8(uint8_t *p, size_t n) {
    if (is_ascii(p, n) || utf8_valid((Str){(const char *)p, n}))
        return;
    for (size_t i = 0; i < n; i++)
        if (p[i] >= 0x80)
            p[i] = '?';
}

void pb_text(Pb *pb, int field, Str text) {
    text = cut(text);
    tag(pb, field, WIRE_LENGTH);
    pb_varint(pb, text.n);
    pb_raw(pb, text.p, text.n);
    if (!pb->full)
        make_utf8(pb->p + pb->n - text.n, text.n);
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

/* KeyValue: key = 1, value = 2; AnyValue: string_value = 1, int_value = 3. Attributes are most of a span: room is asked
 * for once, and all but the value's length fits one byte. */

static uint8_t *put_varint(uint8_t *p, uint64_t value) {
    for (; value >= 0x80; value >>= 7)
        *p++ = (uint8_t)(value | 0x80);
    *p++ = (uint8_t)value;
    return p;
}

/* Up to where AnyValue begins, or NULL: no room for it and the `any` bytes of it. */
static uint8_t *key_begin(Pb *pb, int field, Str key, size_t any) {
    ASSERT(key.n < 64 && field < 16);
    size_t any_size = varint_size(any), inner = 2 + key.n + 1 + any_size + any;
    size_t all = 1 + varint_size(inner) + inner;
    if (pb->full || all > pb->capacity - pb->n) {
        pb->full = true;
        return NULL;
    }
    uint8_t *p = pb->p + pb->n;
    pb->n += all;
    *p++ = (uint8_t)(field << 3 | WIRE_LENGTH);
    p = put_varint(p, inner);
    *p++ = 1 << 3 | WIRE_LENGTH;
    *p++ = (uint8_t)key.n;
    memcpy(p, key.p, key.n);
    p += key.n;
    *p++ = 2 << 3 | WIRE_LENGTH;
    return put_varint(p, any);
}

void pb_key_text(Pb *pb, int field, Str key, Str value) {
    value = cut(value);
    uint8_t *p = key_begin(pb, field, key, 1 + varint_size(value.n) + value.n);
    if (p == NULL)
        return;
    *p++ = 1 << 3 | WIRE_LENGTH;
    p = put_varint(p, value.n);
    if (value.n > 0)
        memcpy(p, value.p, value.n);
    make_utf8(p, value.n);
}

void pb_key_int(Pb *pb, int field, Str key, int64_t value) {
    uint8_t *p = key_begin(pb, field, key, 1 + varint_size((uint64_t)value));
    if (p == NULL)
        return;
    *p++ = 3 << 3 | WIRE_VARINT;
    put_varint(p, (uint64_t)value);
}
