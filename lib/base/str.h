/*
 * str.h - borrowed views of bytes.
 *
 * A Str owns nothing and is never assumed to end in NUL. A Str with p == NULL is "absent" (SQL NULL, header not sent),
 * which is not the same as empty.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

typedef struct Str {
    const char *p;
    size_t n;
} Str;

SLICE_OF(Str);

/** A Str of a string literal. */
#define STR(literal) ((Str){"" literal, sizeof(literal) - 1})
/** The same as an initializer in const tables, where ISO C takes no compound literal. */
#define STR_INIT(literal)                                                                                              \
    { "" literal, sizeof(literal) - 1 }
/** Arguments for printf's "%.*s". */
#define STR_ARG(s) (int)(s).n, (s).p

/** A view of a NUL-terminated string; NULL gives the absent Str. */
static inline Str str_c(const char *c) {
    return c == NULL ? (Str){NULL, 0} : (Str){c, strlen(c)};
}

static inline bool str_eq(Str a, Str b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_eq_c(Str a, const char *b) {
    return str_eq(a, str_c(b));
}

/** Equal when ASCII letters' case is ignored. */
bool str_eq_nocase(Str a, Str b);
bool str_starts_with(Str s, Str prefix);
bool str_ends_with(Str s, Str suffix);
/** Index of the first occurrence, or -1. */
ptrdiff_t str_index(Str s, char c);
ptrdiff_t str_find(Str s, Str needle);
/** Bytes [from, to); both are clamped to the length. */
Str str_slice(Str s, size_t from, size_t to);
/** Without leading and trailing bytes of `set` (a NUL-terminated list of bytes). */
Str str_trim(Str s, const char *set);
/** Cuts at the first `separator`: returns what stands before it and moves *rest behind it. The last piece leaves *rest
 *  absent. */
Str str_cut(Str *rest, char separator);
/** Orders by bytes, shorter first on a common prefix; as memcmp. */
int str_compare(Str a, Str b);
/** Unsigned decimal digits only, whole string. ERR_SYNTAX: empty or another byte; ERR_LIMIT: over max. */
MUST_USE Err str_to_u64(Str s, uint64_t max, uint64_t *ret);
/** SipHash-1-3 with a per-process random key: for hash tables fed by strangers. Not stable between processes. */
uint64_t str_hash(Str s);
