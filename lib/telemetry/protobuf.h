/*
 * protobuf.h - the little of protobuf's wire format that OTLP needs (protobuf.dev/programming-guides/encoding).
 *
 * Writes into memory of a fixed size. What does not fit sets `full` and nothing more is written: the caller drops the
 * whole message. A nested message begins with a length of four bytes, filled in at its end as a padded varint, which
 * every decoder takes; computing lengths first would walk everything twice.
 */
#pragma once
#include "base/str.h"

typedef struct Pb {
    uint8_t *p;
    size_t n, capacity;
    bool full;
} Pb;

void pb_raw(Pb *pb, const void *bytes, size_t n);
void pb_varint(Pb *pb, uint64_t value);
void pb_uint(Pb *pb, int field, uint64_t value);
void pb_fixed32(Pb *pb, int field, uint32_t value);
void pb_fixed64(Pb *pb, int field, uint64_t value);
void pb_double(Pb *pb, int field, double value);
void pb_bytes(Pb *pb, int field, const void *bytes, size_t n);

/* Longer texts are cut at a character's border. */
#define PB_TEXT_MAX 2048
/** A string, which protobuf wants in UTF-8: bytes of 0x80 and above become '?' when the text is not. */
void pb_text(Pb *pb, int field, Str text);

/** Begins a nested message; returns what pb_end wants. */
size_t pb_begin(Pb *pb, int field);
void pb_end(Pb *pb, size_t begun);

/** OTLP's KeyValue with a string or an integer; key under 64 bytes, field under 16. An absent text writes nothing. */
void pb_key_text(Pb *pb, int field, Str key, Str value);
void pb_key_int(Pb *pb, int field, Str key, int64_t value);
/* Inline, so that a literal's length is known when it is compiled. */
static inline void pb_attribute_text(Pb *pb, int field, const char *key, Str value) {
    if (value.p != NULL)
        pb_key_text(pb, field, str_c(key), value);
}
static inline void pb_attribute_int(Pb *pb, int field, const char *key, int64_t value) {
    pb_key_int(pb, field, str_c(key), value);
}
