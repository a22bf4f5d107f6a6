/*
 * chars.h - byte classes of RFC 9110 and 3986. Private to lib/http.
 */
#pragma once
#include "base/str.h"

enum {
    CHAR_TOKEN = 1,  /* tchar */
    CHAR_VALUE = 2,  /* HTAB, SP, VCHAR */
    CHAR_TARGET = 4, /* VCHAR: what may stand in a request-target */
    CHAR_HOST = 8    /* unreserved, sub-delims, '%' */
};
extern const uint8_t HTTP_CHARS[256];

/** True when every byte of s is CHAR_VALUE or over 0x7F (obs-text). */
bool chars_all_text(Str s);

static inline bool char_is(char c, int classes) {
    return (HTTP_CHARS[(uint8_t)c] & classes) != 0;
}

/** True when every byte of s is of the class; true for the empty Str. */
static inline bool chars_all(Str s, int classes) {
    for (size_t i = 0; i < s.n; i++) {
        if (!char_is(s.p[i], classes))
            return false;
    }
    return true;
}

/** Without spaces and tabs around it (OWS, RFC 9110 §5.6.3). */
static inline Str ows_trim(Str s) {
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = (Str){s.p + 1, s.n - 1};
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/** 0..15, or -1. */
static inline int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}
