/*
 * uuid.c - reading and writing identifiers.
 *
 * ID_FORM_D is System.Text.Json's reader (Utf8Parser, "D"): 36 characters, nothing else. ID_FORM_ANY is Guid.Parse,
 * which the old system's paths go through, with its compatibility forms: inside D and X a group may spell its digits
 * "+12" or "0x12".
 */
#include "base/uuid.h"

#include "base/utf8.h"

#define NOT_HEX 0xff

/* Without a branch: in a random id none could be foretold, and 32 of them had 3 % of the time of a GET by id. */
static inline uint8_t hex_value(char c) {
    unsigned digit = (unsigned char)c - (unsigned)'0', letter = ((unsigned char)c | 0x20u) - (unsigned)'a';
    unsigned value = letter < 6 ? letter + 10 : NOT_HEX;
    return (uint8_t)(digit < 10 ? digit : value);
}

static bool hex_bytes(const char *text, uint8_t *out, size_t n) {
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
        bad |= (high | low) & 0xf0;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return bad == 0;
}

static bool has_dashes(Str s) {
    return s.n == 36 && s.p[8] == '-' && s.p[13] == '-' && s.p[18] == '-' && s.p[23] == '-';
}

static bool parse_d(Str s, Id *id) {
    return has_dashes(s) && hex_bytes(s.p, id->bytes, 4) && hex_bytes(s.p + 9, id->bytes + 4, 2) &&
           hex_bytes(s.p + 14, id->bytes + 6, 2) && hex_bytes(s.p + 19, id->bytes + 8, 2) &&
           hex_bytes(s.p + 24, id->bytes + 10, 6);
}

/* Guid's TryParseHex: [+][0x]digits, leading zeros free, at most 32 bits. No digits at all is 0, as there. */
static bool parse_group(Str s, uint32_t *ret) {
    if (s.n > 0 && s.p[0] == '+')
        s = str_slice(s, 1, s.n);
    if (s.n > 1 && s.p[0] == '0' && (s.p[1] | 0x20) == 'x')
        s = str_slice(s, 2, s.n);
    uint64_t value = 0;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t digit = hex_value(s.p[i]);
        if (digit == NOT_HEX)
            return false;
        value = value << 4 | digit;
        if (value > UINT32_MAX)
            return false;
    }
    *ret = (uint32_t)value;
    return true;
}

static void put_be(uint8_t *out, uint32_t value, int n) {
    for (int i = n - 1; i >= 0; i--) {
        out[i] = (uint8_t)value;
        value >>= 8;
    }
}

/* D with the compatibility spellings; the last eight digits are always plain there. */
static bool parse_d_loose(Str s, Id *id) {
    static const struct {
        uint8_t from, digits, to;
    } groups[] = {{0, 8, 0}, {9, 4, 4}, {14, 4, 6}, {19, 4, 8}, {24, 4, 10}};
    if (!has_dashes(s))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        uint32_t value;
        if (!parse_group(str_slice(s, groups[i].from, (size_t)groups[i].from + groups[i].digits), &value))
            return false;
        put_be(id->bytes + groups[i].to, value, groups[i].digits / 2);
    }
    return hex_bytes(s.p + 28, id->bytes + 12, 4);
}

/* Takes "0x" and a group up to `stop`, moving *rest behind it. */
static bool take_group(Str *rest, char stop, uint32_t *ret) {
    if (rest->n < 2 || rest->p[0] != '0' || (rest->p[1] | 0x20) != 'x')
        return false;
    Str s = str_slice(*rest, 2, rest->n);
    ptrdiff_t n = str_index(s, stop);
    if (n <= 0 || !parse_group(str_slice(s, 0, (size_t)n), ret))
        return false;
    *rest = str_slice(s, (size_t)n + 1, s.n);
    return true;
}

/* {0x00112233,0x4455,0x6677,{0x88,0x99,…}}, white space already gone. The 16-bit groups are cut to 16 bits, as
 * there. */
static bool parse_x(Str s, Id *id) {
    uint32_t value;
    Str rest = str_slice(s, 1, s.n);
    if (!take_group(&rest, ',', &value))
        return false;
    put_be(id->bytes, value, 4);
    for (int i = 4; i < 8; i += 2) {
        if (!take_group(&rest, ',', &value))
            return false;
        put_be(id->bytes + i, value, 2);
    }
    if (rest.n == 0 || rest.p[0] != '{')
        return false;
    rest = str_slice(rest, 1, rest.n);
    for (int i = 8; i < 16; i++) {
        if (!take_group(&rest, i < 15 ? ',' : '}', &value) || value > UINT8_MAX)
            return false;
        id->bytes[i] = (uint8_t)value;
    }
    return str_eq(rest, STR("}"));
}

/* Copies s without white space; false when more than `max` bytes remain (leading zeros without end are refused). */
static bool without_space(Str s, char *out, size_t max, size_t *ret_n) {
    size_t n = 0;
    for (size_t at = 0, from = 0; at < s.n; from = at) {
        int32_t c = utf8_next(s, &at);
        if (c >= 0 && unicode_is_space((uint32_t)c))
            continue;
        if (c < 0 || c > 0x7f || n == max)
            return false;
        out[n++] = s.p[from];
    }
    *ret_n = n;
    return true;
}

static Str trim_space(Str s) {
    for (size_t at = 0; s.n > 0; at = 0) {
        int32_t c = utf8_next(s, &at);
        if (c < 0 || !unicode_is_space((uint32_t)c))
            break;
        s = str_slice(s, at, s.n);
    }
    while (s.n > 0) {
        size_t from = s.n - 1;
        while (from > 0 && s.n - from < 4 && ((unsigned char)s.p[from] & 0xc0) == 0x80)
            from--;
        size_t at = from;
        int32_t c = utf8_next(s, &at);
        if (c < 0 || at != s.n || !unicode_is_space((uint32_t)c))
            break;
        s.n = from;
    }
    return s;
}

static bool parse_any(Str s, Id *id) {
    s = trim_space(s);
    if (s.n == 0)
        return false;
    bool dashed = str_index(s, '-') >= 0;
    char open = s.p[0];
    if (open == '{' && !dashed) {
        char text[256];
        size_t n;
        return without_space(s, text, sizeof text, &n) && parse_x((Str){text, n}, id);
    }
    if (open == '{' || open == '(') {
        if (s.n != 38 || s.p[37] != (open == '{' ? '}' : ')'))
            return false;
        s = str_slice(s, 1, 37);
        dashed = true;
    }
    if (dashed)
        return parse_d(s, id) || parse_d_loose(s, id);
    return s.n == 32 && hex_bytes(s.p, id->bytes, 16);
}

Err id_parse(Str text, IdForms forms, Id *ret) {
    Id id;
    if (!(forms == ID_FORM_D ? parse_d(text, &id) : parse_any(text, &id)))
        return ERR_SYNTAX;
    *ret = id;
    return ERR_OK;
}

void id_format(const Id *id, char out[ID_TEXT_LEN]) {
    static const char hex[] = "0123456789abcdef";
    /* Where each byte's two characters go: a dash stands before bytes 4, 6, 8 and 10. */
    static const uint8_t at[16] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};
    for (int i = 0; i < 16; i++) {
        out[at[i]] = hex[id->bytes[i] >> 4];
        out[at[i] + 1] = hex[id->bytes[i] & 15];
    }
    out[8] = out[13] = out[18] = out[23] = '-';
}

void buf_add_id(Buf *buf, Id id) {
    char *p = buf_reserve(buf, ID_TEXT_LEN);
    if (p == NULL)
        return;
    id_format(&id, p);
    buf->n += ID_TEXT_LEN;
}

bool id_is_zero(Id id) {
    static const Id zero;
    return id_eq(id, zero);
}
