/*
 * scan.h - running over the plain part of a string, eight bytes at a time. Shared by the reader and the writer.
 */
#pragma once
#include "base/str.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first match is taken from the lowest byte");

/** Index of the first quote, backslash or control byte (ascii: or byte from 0x7F up) at or behind `at`; n if none.
 *  Zero bytes of a word are found by the borrow of subtracting one ("Bit Twiddling Hacks", haszero): bits above the
 *  first match may be wrong, the first never is. */
static inline size_t json_plain_end(const char *p, size_t at, size_t n, bool ascii) {
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    for (; n - at >= 8; at += 8) {
        uint64_t x;
        memcpy(&x, p + at, 8);
        uint64_t quote = x ^ (ones * '"'), slash = x ^ (ones * '\\'), del = x ^ (ones * 0x7F);
        uint64_t hit = ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((x - ones * ' ') & ~x);
        if (ascii)
            hit |= ((del - ones) & ~del) | x;
        hit &= highs;
        if (hit != 0)
            return at + (size_t)(__builtin_ctzll(hit) >> 3);
    }
    for (; at < n; at++) {
        unsigned char c = (unsigned char)p[at];
        if (c < ' ' || c == '"' || c == '\\' || (ascii && c >= 0x7F))
            break;
    }
    return at;
}
