/*
 * reader.c - the pull reader: one call, one token.
 *
 * It is a hand-written state machine rather than a generated one, because the order in which it looks at bytes is part
 * of the contract: the old system's error texts say which rule was broken first and where. The order here is that of
 * Utf8JsonReader (.NET 10) in its final block. White space and string bodies are where the time goes, so those two are
 * scanned eight bytes or one table look-up at a time; nothing is called per byte.
 */
#include "json/json.h"

#include "json/scan.h"

typedef enum State { FIRST, OBJECT_FIRST, ARRAY_FIRST, VALUE, AFTER_VALUE, DONE } State;

enum { SPACE = 1, DIGIT = 2, DELIMITER = 4, HEX = 8, ESCAPE = 16 };

/* A slash delimits because a comment could begin there in other modes of the old reader. */
static const uint8_t CLASS[256] = {
    // clang-format off
    ['\t'] = SPACE | DELIMITER, ['\n'] = SPACE | DELIMITER, ['\r'] = SPACE | DELIMITER, [' '] = SPACE | DELIMITER,
    [','] = DELIMITER, [']'] = DELIMITER, ['}'] = DELIMITER, ['/'] = DELIMITER | ESCAPE,
    ['0'] = DIGIT | HEX, ['1'] = DIGIT | HEX, ['2'] = DIGIT | HEX, ['3'] = DIGIT | HEX, ['4'] = DIGIT | HEX,
    ['5'] = DIGIT | HEX, ['6'] = DIGIT | HEX, ['7'] = DIGIT | HEX, ['8'] = DIGIT | HEX, ['9'] = DIGIT | HEX,
    ['A'] = HEX, ['B'] = HEX, ['C'] = HEX, ['D'] = HEX, ['E'] = HEX, ['F'] = HEX,
    ['a'] = HEX, ['b'] = HEX | ESCAPE, ['c'] = HEX, ['d'] = HEX, ['e'] = HEX, ['f'] = HEX | ESCAPE,
    ['n'] = ESCAPE, ['r'] = ESCAPE, ['t'] = ESCAPE, ['u'] = ESCAPE, ['"'] = ESCAPE, ['\\'] = ESCAPE,
    // clang-format on
};

void json_reader_init(JsonReader *r, Str input, int depth_max) {
    ASSERT(depth_max >= 1 && depth_max <= JSON_DEPTH_MAX);
    *r = (JsonReader){.input = input, .depth_max = depth_max, .state = FIRST};
    if (str_starts_with(input, STR("\xEF\xBB\xBF")))
        r->at = r->line_start = 3;
}

static Err fail(JsonReader *r, JsonError error, size_t at) {
    r->error = error;
    r->bad = at < r->input.n ? (unsigned char)r->input.p[at] : 0;
    r->at = at;
    return ERR_SYNTAX;
}

/** Moves to the next byte that is no white space. False: there is none. */
static bool skip_space(JsonReader *r) {
    const unsigned char *p = (const unsigned char *)r->input.p;
    size_t at = r->at;
    while (at < r->input.n && (CLASS[p[at]] & SPACE)) {
        if (p[at++] == '\n') {
            r->line++;
            r->line_start = at;
        }
    }
    r->at = at;
    return at < r->input.n;
}

/** The escape whose backslash stands at `at`; *ret_next is behind it. */
static Err read_escape(JsonReader *r, size_t at, size_t *ret_next) {
    const unsigned char *p = (const unsigned char *)r->input.p;
    size_t n = r->input.n;
    if (++at >= n)
        return fail(r, JSON_ERR_STRING_OPEN, n);
    if (!(CLASS[p[at]] & ESCAPE))
        return fail(r, JSON_ERR_STRING_ESCAPE, at);
    if (p[at++] == 'u') {
        for (size_t end = at + 4; at < end; at++) {
            if (at >= n)
                return fail(r, JSON_ERR_STRING_OPEN, n);
            if (!(CLASS[p[at]] & HEX))
                return fail(r, JSON_ERR_STRING_HEX, at);
        }
    }
    *ret_next = at;
    return ERR_OK;
}

/** A string whose opening quote is at r->at. */
static Err read_string(JsonReader *r, JsonToken token) {
    const char *p = r->input.p;
    size_t n = r->input.n, start = r->at + 1, at = start;
    r->escaped = false;
    for (;;) {
        at = json_plain_end(p, at, n, false);
        if (at >= n)
            return fail(r, JSON_ERR_STRING_OPEN, n);
        if (p[at] == '"')
            break;
        if (p[at] != '\\')
            return fail(r, JSON_ERR_STRING_CONTROL, at);
        r->escaped = true;
        TRY(read_escape(r, at, &at));
    }
    r->lexeme = (Str){p + start, at - start};
    r->at = at + 1;
    r->token = token;
    return ERR_OK;
}

static size_t digits_end(Str s, size_t at) {
    while (at < s.n && (CLASS[(unsigned char)s.p[at]] & DIGIT))
        at++;
    return at;
}

/** One digit at least behind a sign or an e; the end of them. */
static Err read_digits(JsonReader *r, size_t at, JsonError missing, size_t *ret_end) {
    if (at >= r->input.n)
        return fail(r, JSON_ERR_NUMBER_OPEN, at);
    if (!(CLASS[(unsigned char)r->input.p[at]] & DIGIT))
        return fail(r, missing, at);
    *ret_end = digits_end(r->input, at);
    return ERR_OK;
}

static bool number_ends(Str s, size_t at) {
    return at >= s.n || (CLASS[(unsigned char)s.p[at]] & DELIMITER);
}

/** RFC 8259 §6. Finds where the number at r->at ends. */
static Err scan_number(JsonReader *r, size_t *ret_end) {
    Str s = r->input;
    size_t at = r->at, end;
    if (s.p[at] == '-')
        at++;
    TRY(read_digits(r, at, JSON_ERR_NUMBER_AFTER_SIGN, &end));
    if (s.p[at] == '0' && end > at + 1)
        return fail(r, JSON_ERR_LEADING_ZERO, at + 1);
    at = end;
    if (!number_ends(s, at) && s.p[at] == '.') {
        TRY(read_digits(r, at + 1, JSON_ERR_NUMBER_AFTER_POINT, &at));
        if (!number_ends(s, at) && (s.p[at] | 0x20) != 'e')
            return fail(r, JSON_ERR_NUMBER_END_EXPONENT, at);
    }
    if (!number_ends(s, at) && (s.p[at] | 0x20) == 'e') {
        at++;
        if (at < s.n && (s.p[at] == '+' || s.p[at] == '-'))
            at++;
        TRY(read_digits(r, at, JSON_ERR_NUMBER_AFTER_SIGN, &at));
    }
    if (!number_ends(s, at))
        return fail(r, JSON_ERR_NUMBER_END, at);
    *ret_end = at;
    return ERR_OK;
}

static Err read_number(JsonReader *r) {
    size_t end = 0;
    TRY(scan_number(r, &end));
    r->lexeme = str_slice(r->input, r->at, end);
    if (end >= r->input.n && r->depth > 0) {
        /* Within a container a number needs a delimiter; the byte named is then the number's last. */
        Err err = fail(r, JSON_ERR_NUMBER_END, end);
        r->bad = (unsigned char)r->input.p[end - 1];
        return err;
    }
    r->at = end;
    r->token = JSON_NUMBER;
    return ERR_OK;
}

static Err read_literal(JsonReader *r, Str literal, JsonToken token) {
    Str rest = str_slice(r->input, r->at, r->input.n);
    size_t same = 0;
    while (same < literal.n && same < rest.n && rest.p[same] == literal.p[same])
        same++;
    if (same < literal.n) {
        r->bad_text = rest;
        r->expected = literal.p;
        return fail(r, JSON_ERR_LITERAL, r->at + same);
    }
    r->lexeme = str_slice(rest, 0, literal.n);
    r->at += literal.n;
    r->token = token;
    return ERR_OK;
}

static Err open_container(JsonReader *r, bool object) {
    if (r->depth >= r->depth_max)
        return fail(r, object ? JSON_ERR_DEPTH_OBJECT : JSON_ERR_DEPTH_ARRAY, r->at);
    uint64_t bit = 1ull << r->depth++;
    r->in_object = object ? r->in_object | bit : r->in_object & ~bit;
    r->lexeme = str_slice(r->input, r->at, r->at + 1);
    r->at++;
    r->token = object ? JSON_OBJECT_START : JSON_ARRAY_START;
    r->state = object ? OBJECT_FIRST : ARRAY_FIRST;
    return ERR_OK;
}

static bool within_object(const JsonReader *r) {
    return r->depth > 0 && (r->in_object >> (r->depth - 1)) & 1;
}

static Err close_container(JsonReader *r, bool object) {
    if (within_object(r) != object)
        return fail(r, JSON_ERR_MISMATCH, r->at);
    r->depth--;
    r->lexeme = str_slice(r->input, r->at, r->at + 1);
    r->at++;
    r->token = object ? JSON_OBJECT_END : JSON_ARRAY_END;
    r->state = r->depth > 0 ? AFTER_VALUE : DONE;
    return ERR_OK;
}

static Err read_value(JsonReader *r) {
    char c = r->input.p[r->at];
    r->state = r->depth > 0 ? AFTER_VALUE : DONE;
    switch (c) {
    case '"':
        return read_string(r, JSON_STRING);
    case '{':
        return open_container(r, true);
    case '[':
        return open_container(r, false);
    case 't':
        return read_literal(r, STR("true"), JSON_TRUE);
    case 'f':
        return read_literal(r, STR("false"), JSON_FALSE);
    case 'n':
        return read_literal(r, STR("null"), JSON_NULL);
    default:
        if (c == '-' || (CLASS[(unsigned char)c] & DIGIT))
            return read_number(r);
        return fail(r, JSON_ERR_VALUE_START, r->at);
    }
}

/** A name and its ':', which the old reader takes in one step. */
static Err read_name(JsonReader *r) {
    if (r->input.p[r->at] != '"')
        return fail(r, JSON_ERR_NAME_START, r->at);
    TRY(read_string(r, JSON_NAME));
    if (!skip_space(r))
        return fail(r, JSON_ERR_NAME_OPEN, r->at);
    if (r->input.p[r->at] != ':')
        return fail(r, JSON_ERR_NAME_END, r->at);
    r->at++;
    r->state = VALUE;
    return ERR_OK;
}

static Err read_after_value(JsonReader *r) {
    char c = r->input.p[r->at];
    if (c == '}' || c == ']')
        return close_container(r, c == '}');
    if (c != ',')
        return fail(r, JSON_ERR_AFTER_VALUE, r->at);
    size_t comma = r->at++;
    if (!skip_space(r)) /* the old reader steps back when the comma is the very last byte, and only then */
        return fail(r, JSON_ERR_COMMA_OPEN, r->at == comma + 1 ? comma : r->at);
    r->token_at = r->at;
    c = r->input.p[r->at];
    if (within_object(r))
        return c == '}' ? fail(r, JSON_ERR_TRAILING_COMMA_OBJECT, r->at) : read_name(r);
    return c == ']' ? fail(r, JSON_ERR_TRAILING_COMMA_ARRAY, r->at) : read_value(r);
}

Err json_next(JsonReader *r) {
    if (r->error != JSON_OK)
        return ERR_SYNTAX;
    if (!skip_space(r)) {
        if (r->state == FIRST)
            return fail(r, JSON_ERR_NO_TOKENS, r->at);
        if (r->depth > 0)
            return fail(r, JSON_ERR_OPEN_AT_END, r->at);
        r->token_at = r->at;
        r->lexeme = (Str){0};
        r->token = JSON_END;
        return ERR_OK;
    }
    r->token_at = r->at;
    char c = r->input.p[r->at];
    if (c == '/' && r->depth > 0)
        return fail(r, JSON_ERR_AFTER_VALUE, r->at); /* where a comment might stand, whatever came before */
    switch ((State)r->state) {
    case OBJECT_FIRST:
        return c == '}' ? close_container(r, true) : read_name(r);
    case ARRAY_FIRST:
        return c == ']' ? close_container(r, false) : read_value(r);
    case FIRST:
    case VALUE:
        return read_value(r);
    case AFTER_VALUE:
        return read_after_value(r);
    case DONE:
        break;
    }
    return fail(r, JSON_ERR_AFTER_DOCUMENT, r->at);
}

Err json_skip(JsonReader *r) {
    if (r->token == JSON_NAME)
        TRY(json_next(r));
    if (r->token != JSON_OBJECT_START && r->token != JSON_ARRAY_START)
        return ERR_OK;
    for (int depth = r->depth - 1; r->depth > depth;)
        TRY(json_next(r));
    return ERR_OK;
}

JsonPosition json_position(const JsonReader *r) {
    return (JsonPosition){r->line, (int64_t)(r->at - r->line_start)};
}

JsonPosition json_token_position(const JsonReader *r) {
    return (JsonPosition){r->line, (int64_t)(r->token_at - r->line_start)};
}
