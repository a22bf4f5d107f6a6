/*
 * chars.c - which byte may stand where, as one table.
 *
 * Made from RFC 9110 §5.6.2 (token), §5.5 (field-value without obs-text: bytes over 0x7F are refused, as the old system
 * did) and RFC 3986 §3.2.2 (reg-name). One load per byte; a chain of comparisons costs more and reads worse.
 */
#include "http/chars.h"

/* clang-format off */
const uint8_t HTTP_CHARS[256] = {
     0,  0,  0,  0,  0,  0,  0,  0,  0,  2,  0,  0,  0,  0,  0,  0, /* 0_ */
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0, /* 1_ */
     2, 15,  6,  7, 15, 15, 15, 15, 14, 14, 15, 15, 14, 15, 15,  6, /* 2_ */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  6, 14,  6, 14,  6,  6, /* 3_ */
     6, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, /* 4_ */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  6,  6,  6,  7, 15, /* 5_ */
     7, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, /* 6_ */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  6,  7,  6, 15,  0, /* 7_ */
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0, /* 8_ */
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0, /* 9_ */
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0, /* a_ */
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0, /* b_ */
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0, /* c_ */
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0, /* d_ */
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0, /* e_ */
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0, /* f_ */
};
/* clang-format on */

#define EACH_BYTE(byte) ((uint64_t)(byte)*0x0101010101010101u)

/* Eight bytes at a time: a control (under 0x20, a tab among them) or DEL in it sends us back to the table. */
static bool has_control(const char *p) {
    uint64_t word, del;
    memcpy(&word, p, sizeof word);
    del = word ^ EACH_BYTE(0x7f);
    return (((word - EACH_BYTE(0x20)) & ~word) | ((del - EACH_BYTE(1)) & ~del)) & EACH_BYTE(0x80);
}

bool chars_all_text(Str s) {
    size_t i = 0;
    while (i + 8 <= s.n && !has_control(s.p + i))
        i += 8;
    if (i > 0 && s.n - i < 8 && !has_control(s.p + s.n - 8)) /* the rest, and some of it over again */
        return true;
    for (; i < s.n; i++)
        if (!char_is(s.p[i], CHAR_VALUE) && (uint8_t)s.p[i] < 0x80)
            return false;
    return true;
}
