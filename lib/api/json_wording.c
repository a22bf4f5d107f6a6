/*
 * json_wording.c - what the old JSON reader said about each kind of mistake.
 *
 * The texts are those of System.Text.Json (.NET 10), of which clients of the old system have seen many: contracts/http.
 * How to add one: a kind in json.h, a row here.
 */
#include "api/bind.h"

enum { QUOTED_MAX = 1024 }; /* the old reader quotes the rest of its buffer; a stranger's megabytes are not sent back */

typedef enum Blank { NONE, BYTE, TEXT, DEPTH } Blank;

/* In `text`, %.*s stands for the blank: the offending byte, the bad text, or the limit. */
static const struct {
    Blank blank;
    const char *before, *after;
} WORDINGS[] = {
    [JSON_ERR_NO_TOKENS] = {NONE,
                            "The input does not contain any JSON tokens. Expected the input to start with a valid JSON "
                            "token, when isFinalBlock is true.",
                            ""},
    [JSON_ERR_OPEN_AT_END] = {NONE,
                              "Expected depth to be zero at the end of the JSON payload. There is an open JSON object "
                              "or array that should be closed.",
                              ""},
    [JSON_ERR_NAME_OPEN] = {NONE, "Expected a value, but instead reached end of data.", ""},
    [JSON_ERR_COMMA_OPEN] = {NONE, "Expected start of a property name or value, but instead reached end of data.", ""},
    [JSON_ERR_VALUE_START] = {BYTE, "'", "' is an invalid start of a value."},
    [JSON_ERR_NAME_START] = {BYTE, "'", "' is an invalid start of a property name. Expected a '\"'."},
    [JSON_ERR_NAME_END] = {BYTE, "'", "' is invalid after a property name. Expected a ':'."},
    [JSON_ERR_AFTER_VALUE] = {BYTE, "'", "' is invalid after a value. Expected either ',', '}', or ']'."},
    [JSON_ERR_AFTER_DOCUMENT] = {BYTE, "'", "' is invalid after a single JSON value. Expected end of data."},
    [JSON_ERR_TRAILING_COMMA_OBJECT] =
        {NONE,
         "The JSON object contains a trailing comma at the end which is not supported in "
         "this mode. Change the reader options.",
         ""},
    [JSON_ERR_TRAILING_COMMA_ARRAY] = {NONE,
                                       "The JSON array contains a trailing comma at the end which is not supported in "
                                       "this mode. Change the reader options.",
                                       ""},
    [JSON_ERR_LITERAL] = {TEXT, "'", "' is an invalid JSON literal. Expected the literal '"},
    [JSON_ERR_LEADING_ZERO] = {BYTE, "Invalid leading zero before '", "'."},
    [JSON_ERR_NUMBER_END] = {BYTE, "'", "' is an invalid end of a number. Expected a delimiter."},
    [JSON_ERR_NUMBER_END_EXPONENT] = {BYTE, "'", "' is an invalid end of a number. Expected 'E' or 'e'."},
    [JSON_ERR_NUMBER_AFTER_POINT] =
        {BYTE, "'",
         "' is invalid within a number, immediately after a decimal point ('.'). Expected a "
         "digit ('0'-'9')."},
    [JSON_ERR_NUMBER_AFTER_SIGN] = {BYTE, "'",
                                    "' is invalid within a number, immediately after a sign character ('+' or '-'). "
                                    "Expected a digit ('0'-'9')."},
    [JSON_ERR_NUMBER_OPEN] = {NONE, "Expected a digit ('0'-'9'), but instead reached end of data.", ""},
    [JSON_ERR_STRING_CONTROL] = {BYTE, "'",
                                 "' is invalid within a JSON string. The string should be correctly escaped."},
    [JSON_ERR_STRING_ESCAPE] = {BYTE, "'",
                                "' is an invalid escapable character within a JSON string. The string should be "
                                "correctly escaped."},
    [JSON_ERR_STRING_HEX] =
        {BYTE, "'",
         "' is not a hex digit following '\\u' within a JSON string. The string should be correctly "
         "escaped."},
    [JSON_ERR_STRING_OPEN] = {NONE, "Expected end of string, but instead reached end of data.", ""},
    [JSON_ERR_DEPTH_OBJECT] = {DEPTH, "The maximum configured depth of ",
                               " has been exceeded. Cannot read next JSON object."},
    [JSON_ERR_DEPTH_ARRAY] = {DEPTH, "The maximum configured depth of ",
                              " has been exceeded. Cannot read next JSON array."},
    [JSON_ERR_MISMATCH] = {BYTE, "'", "' is invalid without a matching open."},
};

Str compat_printable(Arena *arena, Str text, size_t max) {
    Buf out = buf_new(arena, 3 * MIN_OF(max, text.n) + 4);
    for (size_t at = 0; at < text.n && out.n < max;) {
        int32_t c = utf8_next(text, &at);
        buf_add_utf8(&out, c < 0 ? 0xFFFD : (uint32_t)c);
    }
    return out.err == ERR_OK ? buf_str(&out) : (Str){0};
}

Str compat_json_wording(Arena *arena, const JsonReader *r) {
    ASSERT(r->error > JSON_OK && r->error < ARRAY_LEN(WORDINGS));
    const char *before = WORDINGS[r->error].before, *after = WORDINGS[r->error].after;
    switch (WORDINGS[r->error].blank) {
    case BYTE:
        if (r->bad >= 0x20 && r->bad < 0x7F)
            return arena_printf(arena, "%s%c%s", before, r->bad, after);
        return arena_printf(arena, "%s0x%02X%s", before, r->bad, after);
    case TEXT: {
        Str text = compat_printable(arena, r->bad_text, QUOTED_MAX);
        if (text.p == NULL)
            return text;
        return arena_printf(arena, "%s%.*s%s%s'.", before, STR_ARG(text), after, r->expected);
    }
    case DEPTH:
        return arena_printf(arena, "%s%d%s", before, r->depth_max, after);
    case NONE:
        break;
    }
    return str_c(before);
}
