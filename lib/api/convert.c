/*
 * convert.c - one JSON value becomes one member of a payload.
 *
 * What the old system's converters took: strict types (no number for a text, no text for a bool), with the leniences of
 * its enum and decimal converters behind style flags. Nothing here words errors; not convertible is ERR_SYNTAX.
 */
#include "api/bind.h"

static void *member(void *object, size_t offset) {
    return (char *)object + offset;
}

static Err convert_text(JsonReader *r, Arena *arena, Str *ret) {
    if (r->token == JSON_NULL) {
        *ret = (Str){0};
        return ERR_OK;
    }
    return r->token == JSON_STRING ? json_string(r, arena, ret) : ERR_SYNTAX;
}

/** The string under the reader; a value of another type is not convertible. */
static Err string_token(JsonReader *r, Arena *arena, Str *ret) {
    return r->token == JSON_STRING ? json_string(r, arena, ret) : ERR_SYNTAX;
}

static Err convert_id(JsonReader *r, Arena *arena, Id *ret) {
    Str text;
    TRY(string_token(r, arena, &text));
    return id_parse(text, ID_FORM_D, ret);
}

static Err convert_instant(JsonReader *r, Arena *arena, Instant *ret) {
    Str text;
    TRY(string_token(r, arena, &text));
    return instant_parse(text, ret);
}

static bool all_digits(Str s) {
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    }
    return true;
}

/** What the old parser takes in a string beyond JSON's own form: "+5", ".5", "5.", "007" (Utf8Parser, format G). */
static Err decimal_lexeme(Str text, Arena *arena, Str *ret) {
    bool negative = text.n > 0 && text.p[0] == '-';
    Str rest = str_slice(text, text.n > 0 && (negative || text.p[0] == '+') ? 1 : 0, text.n);
    size_t e = 0;
    while (e < rest.n && (rest.p[e] | 0x20) != 'e')
        e++;
    Str digits = str_slice(rest, 0, e), exponent = str_slice(rest, e, rest.n);
    Str whole = digits, fraction = {0};
    ptrdiff_t point = str_index(digits, '.');
    if (point >= 0) {
        whole = str_slice(digits, 0, (size_t)point);
        fraction = str_slice(digits, (size_t)point + 1, digits.n);
    }
    if (whole.n + fraction.n == 0 || !all_digits(whole) || !all_digits(fraction))
        return ERR_SYNTAX;
    while (whole.n > 1 && whole.p[0] == '0')
        whole = str_slice(whole, 1, whole.n);
    Buf out = buf_new(arena, text.n + 8);
    buf_add(&out, negative ? STR("-") : STR(""));
    buf_add(&out, whole.n == 0 ? STR("0") : whole);
    if (fraction.n > 0) {
        buf_add_char(&out, '.');
        buf_add(&out, fraction);
    }
    buf_add(&out, exponent);
    return buf_finish(&out, ret);
}

static Err convert_decimal(JsonReader *r, const CompatStyle *style, Arena *arena, Decimal *ret) {
    Str lexeme = r->lexeme;
    if (r->token == JSON_STRING && style->numbers_from_strings) {
        TRY(json_string(r, arena, &lexeme));
        TRY(decimal_lexeme(lexeme, arena, &lexeme));
    } else if (r->token != JSON_NUMBER) {
        return ERR_SYNTAX;
    }
    Err err = decimal_parse(lexeme, ret);
    return err == ERR_LIMIT ? ERR_SYNTAX : err;
}

/** [+-]digits within int32. */
static Err int32_of(Str text, bool plus, int32_t *ret) {
    bool negative = text.n > 0 && text.p[0] == '-';
    if (negative || (plus && text.n > 0 && text.p[0] == '+'))
        text = str_slice(text, 1, text.n);
    uint64_t magnitude;
    if (str_to_u64(text, (uint64_t)INT32_MAX + negative, &magnitude) != ERR_OK)
        return ERR_SYNTAX;
    *ret = (int32_t)(negative ? -(int64_t)magnitude : (int64_t)magnitude);
    return ERR_OK;
}

static const EnumValue *value_of_number(const EnumValue *values, int32_t number) {
    while (values->name != NULL && values->number != number)
        values++;
    return values->name == NULL ? NULL : values;
}

static Err enum_name(const EnumValue *values, Str name, bool any_case, int32_t *ret) {
    for (; values->name != NULL; values++) {
        Str known = str_c(values->name);
        if (str_eq(known, name) || (any_case && str_eq_nocase(known, name))) {
            *ret = values->number;
            return ERR_OK;
        }
    }
    return ERR_SYNTAX;
}

/** Trimmed as .NET trims: Unicode white space. */
static Str trim_space(Str s) {
    size_t first = 0, last = 0, at = 0;
    bool any = false;
    while (at < s.n) {
        size_t from = at;
        int32_t c = utf8_next(s, &at);
        if (c >= 0 && unicode_is_space((uint32_t)c))
            continue;
        first = any ? first : from;
        last = at;
        any = true;
    }
    return any ? str_slice(s, first, last) : str_slice(s, 0, 0);
}

/** "Name, Name" with blanks around, any case, or'ed together; a trailing comma passes. Else one number, with blanks
 *  around. */
static Err enum_lenient(const EnumValue *values, Str text, int32_t *ret) {
    uint32_t all = 0;
    Str rest = text;
    Err err;
    do {
        Str piece = trim_space(str_cut(&rest, ','));
        int32_t number = 0;
        err = enum_name(values, piece, true, &number);
        all |= (uint32_t)number;
    } while (err == ERR_OK && rest.n > 0);
    if (err != ERR_OK)
        return int32_of(trim_space(text), true, ret);
    *ret = (int32_t)all;
    return ERR_OK;
}

static Err convert_enum(const EnumValue *values, JsonReader *r, const CompatStyle *style, Arena *arena, int32_t *ret) {
    if (r->token == JSON_NUMBER) {
        int32_t number;
        TRY(int32_of(r->lexeme, false, &number));
        if (!style->enums_lenient && value_of_number(values, number) == NULL)
            return ERR_SYNTAX;
        *ret = number;
        return ERR_OK;
    }
    Str text;
    TRY(string_token(r, arena, &text));
    return style->enums_lenient ? enum_lenient(values, text, ret) : enum_name(values, text, false, ret);
}

Err compat_convert(const CompatField *field, JsonReader *r, const CompatStyle *style, Arena *arena, void *object) {
    void *target = member(object, field->offset);
    switch (field->kind) {
    case COMPAT_TEXT:
        return convert_text(r, arena, target);
    case COMPAT_ID:
    case COMPAT_ID_LIST: /* an element of it */
        return convert_id(r, arena, target);
    case COMPAT_INSTANT:
        return convert_instant(r, arena, target);
    case COMPAT_DECIMAL:
        return convert_decimal(r, style, arena, target);
    case COMPAT_ENUM:
        return convert_enum(field->values, r, style, arena, target);
    }
    return ERR_SYNTAX;
}
