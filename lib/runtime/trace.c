/*
 * trace.c - W3C trace context, traceparent and tracestate (https://www.w3.org/TR/trace-context/ §3.2, §3.3).
 *
 * Strict where the text is strict: lower-case hex only, all-zero ids and version ff refused, version 00 of exactly 55
 * bytes. A higher version may have more behind a further dash (§4.3), of which only the sampled bit is understood. A
 * header that is refused starts a new trace, as §4.2 asks.
 */
#include "runtime/ctx.h"

static bool all_zero(const uint8_t *bytes, size_t n) {
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= bytes[i];
    return any == 0;
}

static void random_nonzero(uint8_t *bytes, size_t n) {
    do
        random_bytes(bytes, n);
    while (all_zero(bytes, n));
}

void trace_new(Trace *ret) {
    *ret = (Trace){.flags = TRACE_SAMPLED};
    random_nonzero(ret->trace_id, sizeof ret->trace_id);
    random_nonzero(ret->span_id, sizeof ret->span_id);
}

static int nibble(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

static bool hex(const char *text, uint8_t *out, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int high = nibble(text[2 * i]);
        int low = nibble(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

Err trace_parse(Str traceparent, Trace *ret) {
    trace_new(ret);
    const char *p = traceparent.p;
    uint8_t version;
    if (traceparent.n < TRACEPARENT_LEN || !hex(p, &version, 1) || version == 0xff)
        return ERR_SYNTAX;
    if (version == 0 ? traceparent.n != TRACEPARENT_LEN : traceparent.n > TRACEPARENT_LEN && p[TRACEPARENT_LEN] != '-')
        return ERR_SYNTAX;
    if (p[2] != '-' || p[35] != '-' || p[52] != '-')
        return ERR_SYNTAX;
    uint8_t trace_id[16];
    uint8_t parent_id[8];
    uint8_t flags;
    if (!hex(p + 3, trace_id, 16) || !hex(p + 36, parent_id, 8) || !hex(p + 53, &flags, 1))
        return ERR_SYNTAX;
    if (all_zero(trace_id, 16) || all_zero(parent_id, 8))
        return ERR_SYNTAX;
    memcpy(ret->trace_id, trace_id, 16);
    memcpy(ret->parent_id, parent_id, 8);
    ret->flags = flags & TRACE_SAMPLED;
    return ERR_OK;
}

static char *put_hex(char *out, const uint8_t *bytes, size_t n) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    return out;
}

void trace_format(const Trace *trace, char out[TRACEPARENT_LEN]) {
    *out++ = '0';
    *out++ = '0';
    *out++ = '-';
    out = put_hex(out, trace->trace_id, 16);
    *out++ = '-';
    out = put_hex(out, trace->span_id, 8);
    *out++ = '-';
    put_hex(out, &trace->flags, 1);
}

/* --- tracestate --------------------------------------------------------------------------------------------------- */

enum { STATE_MEMBERS_MAX = 32, STATE_PART_MAX = 256 };

/* §3.3.1.3.1, the simpler key of level 2, of which level 1's are some. */
static bool key_is_valid(Str key) {
    for (size_t i = 0; i < key.n; i++) {
        char c = key.p[i];
        bool first = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!first && (i == 0 || c == '\0' || strchr("_-*/@", c) == NULL))
            return false;
    }
    return key.n > 0 && key.n <= STATE_PART_MAX;
}

static bool value_is_valid(Str value) {
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < 0x20 || value.p[i] > 0x7e || value.p[i] == ',' || value.p[i] == '=')
            return false;
    return value.n > 0 && value.n <= STATE_PART_MAX && value.p[value.n - 1] != ' ';
}

bool trace_state_is_valid(Str state) {
    Str keys[STATE_MEMBERS_MAX];
    size_t n = 0;
    while (state.p != NULL) {
        Str value = str_trim(str_cut(&state, ','), " \t");
        if (value.n == 0) /* empty members are allowed */
            continue;
        Str key = str_cut(&value, '=');
        if (n == STATE_MEMBERS_MAX || !key_is_valid(key) || !value_is_valid(value))
            return false;
        for (size_t i = 0; i < n; i++)
            if (str_eq(keys[i], key))
                return false;
        keys[n++] = key;
    }
    return n > 0;
}
