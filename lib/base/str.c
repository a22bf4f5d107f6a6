/*
 * str.c - looking at borrowed bytes.
 *
 * Letters are compared as ASCII everywhere (HTTP field names, units, keywords); no function here knows a locale.
 */
#include "base/str.h"

#include "base/clock.h"

static inline unsigned char lower(char c) {
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

#define EACH_BYTE(byte) ((uint64_t)(byte)*0x0101010101010101u)

/* Eight bytes, the same but for the case of letters: where they differ, it is by the one bit, of a letter. */
static bool same_word(const char *a, const char *b) {
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    uint64_t differ = x ^ y, small = (x | EACH_BYTE(0x20)) & EACH_BYTE(0x7f);
    /* The top bit of each byte: it is at least 'a'; it is above 'z'; it was no ASCII. */
    uint64_t letter = (small + EACH_BYTE(0x80 - 'a')) & ~(small + EACH_BYTE(0x7f - 'z')) & ~x & EACH_BYTE(0x80);
    return (differ & ~(letter >> 2)) == 0;
}

bool str_eq_nocase(Str a, Str b) {
    if (a.n != b.n)
        return false;
    if (a.n >= 8) {
        for (size_t i = 0; i + 8 < a.n; i += 8)
            if (!same_word(a.p + i, b.p + i))
                return false;
        return same_word(a.p + a.n - 8, b.p + b.n - 8);
    }
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

bool str_starts_with(Str s, Str prefix) {
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool str_ends_with(Str s, Str suffix) {
    return s.n >= suffix.n && (suffix.n == 0 || memcmp(s.p + (s.n - suffix.n), suffix.p, suffix.n) == 0);
}

ptrdiff_t str_index(Str s, char c) {
    const char *at = s.n == 0 ? NULL : memchr(s.p, c, s.n);
    return at == NULL ? -1 : at - s.p;
}

ptrdiff_t str_find(Str s, Str needle) {
    if (needle.n == 0)
        return 0;
    const char *at = s.n < needle.n ? NULL : memmem(s.p, s.n, needle.p, needle.n);
    return at == NULL ? -1 : at - s.p;
}

Str str_slice(Str s, size_t from, size_t to) {
    if (s.p == NULL)
        return s;
    from = MIN_OF(from, s.n);
    to = MIN_OF(to, s.n);
    return (Str){s.p + from, to > from ? to - from : 0};
}

static bool in_set(char c, const char *set) {
    for (; *set != '\0'; set++)
        if (*set == c)
            return true;
    return false;
}

Str str_trim(Str s, const char *set) {
    while (s.n > 0 && in_set(s.p[0], set)) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && in_set(s.p[s.n - 1], set))
        s.n--;
    return s;
}

Str str_cut(Str *rest, char separator) {
    Str whole = *rest;
    ptrdiff_t at = str_index(whole, separator);
    if (at < 0) {
        *rest = (Str){NULL, 0};
        return whole;
    }
    *rest = (Str){whole.p + at + 1, whole.n - (size_t)at - 1};
    return (Str){whole.p, (size_t)at};
}

int str_compare(Str a, Str b) {
    size_t n = MIN_OF(a.n, b.n);
    int order = n == 0 ? 0 : memcmp(a.p, b.p, n);
    if (order != 0)
        return order;
    return a.n < b.n ? -1 : a.n > b.n;
}

Err str_to_u64(Str s, uint64_t max, uint64_t *ret) {
    if (s.n == 0)
        return ERR_SYNTAX;
    uint64_t value = 0;
    bool over = false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned char)s.p[i] - (unsigned)'0';
        if (digit > 9)
            return ERR_SYNTAX; /* looked for to the end: "12x" is malformed however long */
        over = over || __builtin_mul_overflow(value, (uint64_t)10, &value) ||
               __builtin_add_overflow(value, (uint64_t)digit, &value);
    }
    if (over || value > max)
        return ERR_LIMIT;
    *ret = value;
    return ERR_OK;
}

/* SipHash-1-3 (Aumasson, Bernstein). FNV with a secret start was tempting and is not enough: its low bits depend on the
 * low bits of the start alone, so a stranger needs only a few hundred guesses to fill one bucket. */
#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define SIP_ROUND                                                                                                      \
    do {                                                                                                               \
        v0 += v1, v1 = ROTL(v1, 13), v1 ^= v0, v0 = ROTL(v0, 32);                                                      \
        v2 += v3, v3 = ROTL(v3, 16), v3 ^= v2;                                                                         \
        v0 += v3, v3 = ROTL(v3, 21), v3 ^= v0;                                                                         \
        v2 += v1, v1 = ROTL(v1, 17), v1 ^= v2, v2 = ROTL(v2, 32);                                                      \
    } while (0)

uint64_t str_hash(Str s) {
    static uint64_t key[2];
    static bool keyed;
    if (!keyed) { /* not seedable: order never shows, Map walks in insertion order */
        random_bytes(key, sizeof key);
        keyed = true;
    }
    uint64_t v0 = 0x736f6d6570736575 ^ key[0], v1 = 0x646f72616e646f6d ^ key[1];
    uint64_t v2 = 0x6c7967656e657261 ^ key[0], v3 = 0x7465646279746573 ^ key[1];
    size_t whole = s.n / 8 * 8;
    uint64_t m;
    for (size_t i = 0; i < whole; i += 8) {
        memcpy(&m, s.p + i, 8);
        v3 ^= m;
        SIP_ROUND;
        v0 ^= m;
    }
    m = (uint64_t)s.n << 56;
    for (size_t i = whole; i < s.n; i++)
        m |= (uint64_t)(unsigned char)s.p[i] << (8 * (i - whole));
    v3 ^= m;
    SIP_ROUND;
    v0 ^= m;
    v2 ^= 0xff;
    SIP_ROUND;
    SIP_ROUND;
    SIP_ROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}
