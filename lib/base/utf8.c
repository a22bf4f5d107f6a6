/*
 * utf8.c - UTF-8 by RFC 3629, table 3-7 of the Unicode standard spelled as ranges of the second byte.
 */
#include "base/utf8.h"

/* Length of the sequence that `first` begins, and the range its second byte must lie in; 0: not a first byte. */
static size_t sequence(unsigned char first, unsigned char *low, unsigned char *high) {
    *low = 0x80;
    *high = 0xbf;
    if (first >= 0xc2 && first <= 0xdf)
        return 2;
    if (first >= 0xe0 && first <= 0xef) {
        if (first == 0xe0)
            *low = 0xa0; /* shorter forms exist */
        if (first == 0xed)
            *high = 0x9f; /* surrogates */
        return 3;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        if (first == 0xf0)
            *low = 0x90;
        if (first == 0xf4)
            *high = 0x8f; /* over U+10FFFF */
        return 4;
    }
    return 0;
}

int32_t utf8_next(Str s, size_t *at) {
    const unsigned char *p = (const unsigned char *)s.p + *at;
    size_t left = s.n - *at;
    if (p[0] < 0x80) {
        *at += 1;
        return p[0];
    }
    unsigned char low, high;
    size_t n = sequence(p[0], &low, &high);
    bool good = n != 0 && n <= left && p[1] >= low && p[1] <= high;
    int32_t c = n == 0 ? 0 : p[0] & (0x7f >> n);
    for (size_t i = 1; good && i < n; i++) {
        good = (p[i] & 0xc0) == 0x80;
        c = c << 6 | (p[i] & 0x3f);
    }
    *at += good ? n : 1;
    return good ? c : -1;
}

bool utf8_valid(Str s) {
    for (size_t at = 0; at < s.n;) {
        uint64_t eight;
        if (s.n - at >= sizeof eight) { /* plain ASCII is nearly all there is */
            memcpy(&eight, s.p + at, sizeof eight);
            if ((eight & 0x8080808080808080) == 0) {
                at += sizeof eight;
                continue;
            }
        }
        if (utf8_next(s, &at) < 0)
            return false;
    }
    return true;
}

void buf_add_utf8(Buf *buf, uint32_t code_point) {
    ASSERT(code_point <= 0x10ffff && (code_point < 0xd800 || code_point > 0xdfff));
    if (code_point < 0x80) {
        buf_add_char(buf, (char)code_point);
        return;
    }
    char bytes[4];
    size_t n = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--) {
        bytes[i] = (char)(0x80 | (code_point & 0x3f));
        code_point >>= 6;
    }
    bytes[0] = (char)((0xf00 >> n & 0xff) | code_point);
    buf_add_bytes(buf, bytes, n);
}

Err utf8_from_utf16(Str bytes, Buf *out) {
    if (bytes.n % 2 != 0)
        return ERR_SYNTAX;
    const unsigned char *p = (const unsigned char *)bytes.p;
    bool big_endian = bytes.n >= 2 && p[0] == 0xfe && p[1] == 0xff;
    bool marked = big_endian || (bytes.n >= 2 && p[0] == 0xff && p[1] == 0xfe);
    size_t high_at = big_endian ? 0 : 1;
    uint32_t lead = 0; /* a high surrogate waiting for its low one */
    for (size_t i = marked ? 2 : 0; i < bytes.n; i += 2) {
        uint32_t unit = (uint32_t)p[i + high_at] << 8 | p[i + (1 - high_at)];
        bool low = unit >= 0xdc00 && unit <= 0xdfff;
        if (low != (lead != 0))
            return ERR_SYNTAX;
        if (low) {
            buf_add_utf8(out, 0x10000 + ((lead - 0xd800) << 10) + (unit - 0xdc00));
            lead = 0;
        } else if (unit >= 0xd800 && unit <= 0xdbff) {
            lead = unit;
        } else {
            buf_add_utf8(out, unit);
        }
    }
    return lead != 0 ? ERR_SYNTAX : out->err;
}

bool unicode_is_space(uint32_t c) {
    if (c < 0x80)
        return c == ' ' || (c >= 0x09 && c <= 0x0d);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}
