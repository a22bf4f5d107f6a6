/*
 * string.c - what a string says: escapes read, encoding checked.
 *
 * Kept apart from the reader, which only finds where strings end: most strings of a document are never looked at, and
 * the old system, too, complains about bad UTF-8 only when a value is converted.
 */
#include "json/json.h"

static uint32_t hex4(const char *p) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t c = (unsigned char)p[i];
        value = value << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

static char simple_escape(char c) {
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return c; /* " \ / */
    }
}

/** The code point of the \uXXXX (or pair of them) behind p; 0 length on half a pair. Returns bytes read behind the
 *  'u'. */
static size_t unicode_escape(const char *p, size_t n, uint32_t *ret) {
    uint32_t high = hex4(p);
    if (high < 0xD800 || high > 0xDFFF) {
        *ret = high;
        return 4;
    }
    if (high > 0xDBFF || n < 10 || p[4] != '\\' || p[5] != 'u')
        return 0;
    uint32_t low = hex4(p + 6);
    if (low < 0xDC00 || low > 0xDFFF)
        return 0;
    *ret = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    return 10;
}

static size_t utf8_put(char *out, uint32_t c) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

Err json_string(const JsonReader *r, Arena *arena, Str *ret) {
    Str s = r->lexeme;
    if (!utf8_valid(s))
        return ERR_SYNTAX;
    if (!r->escaped) {
        *ret = s;
        return ERR_OK;
    }
    char *out = arena_alloc_raw(arena, s.n); /* an escape is never shorter than what it stands for */
    if (out == NULL)
        return ERR_NO_MEMORY;
    size_t n = 0, at = 0;
    while (at < s.n) {
        const char *slash = memchr(s.p + at, '\\', s.n - at);
        size_t run = slash == NULL ? s.n - at : (size_t)(slash - (s.p + at));
        memcpy(out + n, s.p + at, run);
        n += run;
        at += run;
        if (slash == NULL)
            break;
        if (s.p[at + 1] != 'u') {
            out[n++] = simple_escape(s.p[at + 1]);
            at += 2;
            continue;
        }
        uint32_t c;
        size_t read = unicode_escape(s.p + at + 2, s.n - at - 2, &c);
        if (read == 0)
            return ERR_SYNTAX;
        n += utf8_put(out + n, c);
        at += 2 + read;
    }
    *ret = (Str){out, n};
    return ERR_OK;
}
