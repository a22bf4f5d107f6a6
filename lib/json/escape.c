/*
 * escape.c - which characters of a string go out as themselves.
 *
 * Minimal escaping is RFC 8259 §7. Relaxed escaping reproduces .NET's UnsafeRelaxedJsonEscaping, which also escapes
 * every code point it does not know as a printable one; the ranges are generated (tools/gen-json-escapes) because the
 * rule is a property of Unicode's tables, not of ours. Runs of plain ASCII are copied whole.
 */
#include "json/json.h"

#include "json/escape_ranges.h"
#include "json/scan.h"

static const char SHORT_ESCAPES[128] = {
    ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r', ['"'] = '"', ['\\'] = '\\',
};

static bool code_point_escaped(uint32_t c) {
    if (c > 0xFFFF)
        return true;
    size_t low = 0, high = ARRAY_LEN(ESCAPED);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c > ESCAPED[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < ARRAY_LEN(ESCAPED) && c >= ESCAPED[low].first;
}

static void add_unit(Buf *out, uint32_t unit) {
    static const char digits[] = "0123456789ABCDEF";
    char text[6] = {
        '\\', 'u', digits[unit >> 12 & 15], digits[unit >> 8 & 15], digits[unit >> 4 & 15], digits[unit & 15]};
    buf_add_bytes(out, text, sizeof text);
}

static void add_escape(Buf *out, uint32_t c) {
    if (c < 128 && SHORT_ESCAPES[c] != 0) {
        char text[2] = {'\\', SHORT_ESCAPES[c]};
        buf_add_bytes(out, text, 2);
    } else if (c > 0xFFFF) {
        add_unit(out, 0xD800 + ((c - 0x10000) >> 10));
        add_unit(out, 0xDC00 + ((c - 0x10000) & 0x3FF));
    } else {
        add_unit(out, c);
    }
}

/** The character at *at, which is not plain ASCII: escaped or as it stands. Bytes that are no UTF-8 become U+FFFD. */
static void add_character(Buf *out, Str value, size_t *at) {
    if ((unsigned char)value.p[*at] < 0x80) {
        add_escape(out, (unsigned char)value.p[(*at)++]);
        return;
    }
    size_t from = *at;
    int32_t c = utf8_next(value, at);
    if (c < 0)
        add_unit(out, 0xFFFD);
    else if (code_point_escaped((uint32_t)c))
        add_escape(out, (uint32_t)c);
    else
        buf_add_bytes(out, value.p + from, *at - from);
}

void json_escape(Buf *out, Str value, JsonEscaping escaping) {
    bool relaxed = escaping == JSON_ESCAPE_RELAXED;
    buf_add_char(out, '"');
    for (size_t at = 0; at < value.n && out->err == ERR_OK;) {
        size_t from = at;
        at = json_plain_end(value.p, at, value.n, relaxed);
        buf_add_bytes(out, value.p + from, at - from);
        if (at < value.n)
            add_character(out, value, &at);
    }
    buf_add_char(out, '"');
}
