/*
 * wire_read.h - taking numbers and strings off a view. Internal to lib/amqp.
 */
#pragma once
#include "base/str.h"

/** What is left of an input; bad once something was asked for that is not there, and then everything reads as zero. */
typedef struct WireReader {
    Str rest;
    bool bad;
} WireReader;

uint64_t wire_number(WireReader *r, size_t bytes);
Str wire_bytes(WireReader *r, size_t n);
static inline Str wire_short_string(WireReader *r) {
    return wire_bytes(r, (size_t)wire_number(r, 1));
}
static inline Str wire_long_string(WireReader *r) {
    return wire_bytes(r, (size_t)wire_number(r, 4));
}
