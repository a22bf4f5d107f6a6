/*
 * jsonapi_value.c - one attribute's value between a struct, JSON and plain text.
 *
 * Written: decimals as strings, so that no reader's binary floating point touches money; instants with their offset;
 * numbers with names as names. Read: decimals as strings or numbers; instants only complete and with an offset, because
 * a guess of the zone is a wrong guess somewhere; names only as written.
 */
#include "api/jsonapi_internal.h"

Str api_name(Arena *arena, const char *declared) {
    size_t n = strlen(declared), m = 0;
    char *name = arena_alloc(arena, n + 1);
    if (name == NULL)
        return (Str){NULL, 0};
    for (size_t i = 0; i < n; i++) {
        bool up = declared[i] == '_' && i + 1 < n;
        if (up)
            i++;
        name[m++] = (char)(up && declared[i] >= 'a' && declared[i] <= 'z' ? declared[i] - 'a' + 'A' : declared[i]);
    }
    return (Str){name, m};
}

/* --- out ----------------------------------------------------------------------------------------------------- */

static int64_t integer_of(const Attribute *a, const void *field) {
    return a->type == TYPE_INT16   ? *(const int16_t *)field
           : a->type == TYPE_INT32 ? *(const int32_t *)field
                                   : *(const int64_t *)field;
}

static const EnumValue *named(const Attribute *a, int64_t number) {
    for (const EnumValue *value = a->values; value != NULL && value->name != NULL; value++)
        if (value->number == number)
            return value;
    return NULL;
}

void api_write_value(JsonWriter *w, const Attribute *a, const void *object) {
    const void *field = (const char *)object + a->offset;
    if (!attribute_is_present(a, object)) {
        json_write_null(w);
        return;
    }
    switch (a->type) { /* the value stands first in an OptId or OptInstant */
    case TYPE_BOOL:
        json_write_bool(w, *(const bool *)field);
        return;
    case TYPE_INT16:
    case TYPE_INT32:
    case TYPE_INT64: {
        const EnumValue *value = named(a, integer_of(a, field));
        if (value != NULL)
            json_write_string(w, str_c(value->name));
        else
            json_write_i64(w, integer_of(a, field));
        return;
    }
    case TYPE_TEXT:
        json_write_string(w, *(const Str *)field);
        return;
    case TYPE_ID:
        json_write_id(w, *(const Id *)field);
        return;
    case TYPE_DECIMAL: {
        char text[DECIMAL_TEXT_MAX];
        json_write_string(w, (Str){text, decimal_format(*(const Decimal *)field, text)});
        return;
    }
    case TYPE_INSTANT:
        json_write_instant(w, *(const Instant *)field);
        return;
    case TYPE_JSON:
        json_write_raw(w, ((const JsonText *)field)->text);
        return;
    case TYPE_NONE:
        break;
    }
    json_write_null(w);
}

void api_format_value(const Attribute *a, const void *object, Buf *out) {
    const void *field = (const char *)object + a->offset;
    switch (a->type) {
    case TYPE_BOOL:
        buf_add_c(out, *(const bool *)field ? "true" : "false");
        return;
    case TYPE_INT16:
    case TYPE_INT32:
    case TYPE_INT64:
        buf_add_i64(out, integer_of(a, field));
        return;
    case TYPE_TEXT:
        buf_add(out, *(const Str *)field);
        return;
    case TYPE_ID:
        buf_add_id(out, *(const Id *)field);
        return;
    case TYPE_DECIMAL:
        buf_add_decimal(out, *(const Decimal *)field);
        return;
    case TYPE_INSTANT:
        buf_add_instant(out, *(const Instant *)field);
        return;
    case TYPE_JSON:
    case TYPE_NONE:
        break;
    }
    ASSERT(false); /* only ordered attributes are formatted */
}

Str api_id(Arena *arena, const ApiSource *source, const void *row) {
    Buf out = buf_new(arena, 4096);
    Str text = {NULL, 0};
    api_format_value(source->key, row, &out);
    return buf_finish(&out, &text) == ERR_OK ? text : (Str){NULL, 0};
}

/* --- in ------------------------------------------------------------------------------------------------------ */

/* [-]digits without leading zeros: an id has one spelling. */
static Err parse_integer(Str text, int64_t *ret) {
    bool negative = text.n > 0 && text.p[0] == '-';
    Str digits = str_slice(text, negative, text.n);
    uint64_t number;
    if (digits.n == 0 || (digits.p[0] == '0' && text.n > 1))
        return ERR_SYNTAX;
    TRY(str_to_u64(digits, INT64_MAX, &number));
    *ret = negative ? -(int64_t)number : (int64_t)number;
    return ERR_OK;
}

static Err put_integer(const Attribute *a, int64_t number, void *field) {
    if (a->type == TYPE_INT16 && number >= INT16_MIN && number <= INT16_MAX)
        *(int16_t *)field = (int16_t)number;
    else if (a->type == TYPE_INT32 && number >= INT32_MIN && number <= INT32_MAX)
        *(int32_t *)field = (int32_t)number;
    else if (a->type == TYPE_INT64)
        *(int64_t *)field = number;
    else
        return ERR_LIMIT;
    return ERR_OK;
}

static Err parse_named(const Attribute *a, Str text, void *field) {
    for (const EnumValue *value = a->values; value != NULL && value->name != NULL; value++)
        if (str_eq_c(text, value->name))
            return put_integer(a, value->number, field);
    return ERR_SYNTAX;
}

/* RFC 3339 §5.6 date-time, with what instant_parse then checks of its numbers. */
static bool is_complete_instant(Str text) {
    if (text.n < 20 || (text.p[10] != 'T' && text.p[10] != 't'))
        return false;
    char last = text.p[text.n - 1], sign = text.p[text.n - 6];
    return last == 'Z' || ((sign == '+' || sign == '-') && text.p[text.n - 3] == ':');
}

static Err parse_instant(const Attribute *a, Str text, void *field) {
    Instant t;
    if (!is_complete_instant(text))
        return ERR_SYNTAX;
    TRY(instant_parse(text, &t));
    if (a->coarse)
        t = instant_utc_micros(t);
    if (a->optional)
        *(OptInstant *)field = (OptInstant){t, true};
    else
        *(Instant *)field = t;
    return ERR_OK;
}

static Err parse_id(const Attribute *a, Str text, void *field) {
    Id id;
    TRY(id_parse(text, ID_FORM_D, &id));
    if (a->optional)
        *(OptId *)field = (OptId){id, true};
    else
        *(Id *)field = id;
    return ERR_OK;
}

static Err parse_text(Str text, void *field) {
    if (!utf8_valid(text) || (text.n > 0 && memchr(text.p, 0, text.n) != NULL)) /* Postgres stores no NUL */
        return ERR_SYNTAX;
    *(Str *)field = text.p == NULL ? STR("") : text;
    return ERR_OK;
}

Err api_parse_value(const Attribute *a, Str text, Arena *arena, void *object) {
    (void)arena;
    void *field = (char *)object + a->offset;
    int64_t number;
    switch (a->type) {
    case TYPE_BOOL:
        *(bool *)field = str_eq_c(text, "true");
        return str_eq_c(text, "true") || str_eq_c(text, "false") ? ERR_OK : ERR_SYNTAX;
    case TYPE_INT16:
    case TYPE_INT32:
    case TYPE_INT64:
        if (parse_named(a, text, field) == ERR_OK)
            return ERR_OK;
        TRY(parse_integer(text, &number));
        return put_integer(a, number, field);
    case TYPE_TEXT:
        return parse_text(text, field);
    case TYPE_ID:
        return parse_id(a, text, field);
    case TYPE_DECIMAL:
        return decimal_parse(text, field);
    case TYPE_INSTANT:
        return parse_instant(a, text, field);
    case TYPE_JSON:
    case TYPE_NONE:
        break;
    }
    return ERR_SYNTAX;
}

static const char *wanted(const Attribute *a) {
    switch (a->type) {
    case TYPE_BOOL:
        return "true or false";
    case TYPE_INT16:
    case TYPE_INT32:
    case TYPE_INT64:
        return a->values != NULL ? "one of the documented names" : "a whole number in range";
    case TYPE_TEXT:
        return "a string without U+0000";
    case TYPE_ID:
        return "a UUID";
    case TYPE_DECIMAL:
        return "a decimal number, as a string or a number";
    case TYPE_INSTANT:
        return "a date and time with offset (RFC 3339)";
    case TYPE_JSON:
    case TYPE_NONE:
        break;
    }
    return "a value that can be written";
}

static bool kind_fits(const Attribute *a, JsonToken kind) {
    bool number = kind == JSON_NUMBER, string = kind == JSON_STRING;
    switch (a->type) {
    case TYPE_BOOL:
        return kind == JSON_TRUE || kind == JSON_FALSE;
    case TYPE_INT16:
    case TYPE_INT32:
    case TYPE_INT64:
        return a->values != NULL ? string : number;
    case TYPE_DECIMAL:
        return number || string;
    case TYPE_TEXT:
    case TYPE_ID:
    case TYPE_INSTANT:
        return string;
    case TYPE_JSON:
    case TYPE_NONE:
        break;
    }
    return false;
}

static void put_absent(const Attribute *a, void *object) {
    void *field = (char *)object + a->offset;
    if (a->type == TYPE_ID)
        *(OptId *)field = (OptId){0};
    else if (a->type == TYPE_INSTANT)
        *(OptInstant *)field = (OptInstant){0};
    else
        *(Str *)field = (Str){NULL, 0};
}

Err api_read_value(const Attribute *a, const Json *value, Arena *arena, void *object, const char **why) {
    *why = wanted(a);
    if (value->kind == JSON_NULL && a->optional &&
        (a->type == TYPE_ID || a->type == TYPE_INSTANT || a->type == TYPE_TEXT)) {
        put_absent(a, object);
        return ERR_OK;
    }
    if (!kind_fits(a, value->kind))
        return ERR_INVALID;
    if (a->type == TYPE_BOOL) {
        *(bool *)((char *)object + a->offset) = value->kind == JSON_TRUE;
        return ERR_OK;
    }
    if (a->values != NULL)
        return parse_named(a, value->text, (char *)object + a->offset) == ERR_OK ? ERR_OK : ERR_INVALID;
    return api_parse_value(a, value->text, arena, object) == ERR_OK ? ERR_OK : ERR_INVALID;
}

/* --- between structs ----------------------------------------------------------------------------------------- */

void api_copy_value(const Attribute *from, const void *source, const Attribute *to, void *target) {
    static const size_t sizes[] = {
        [TYPE_BOOL] = sizeof(bool),       [TYPE_INT16] = sizeof(int16_t),  [TYPE_INT32] = sizeof(int32_t),
        [TYPE_INT64] = sizeof(int64_t),   [TYPE_TEXT] = sizeof(Str),       [TYPE_ID] = sizeof(Id),
        [TYPE_DECIMAL] = sizeof(Decimal), [TYPE_INSTANT] = sizeof(Instant)};
    ASSERT(from->type == to->type && attribute_is_ordered(from));
    char *field = (char *)target + to->offset;
    memcpy(field, (const char *)source + from->offset, sizes[from->type]); /* the value stands first */
    if (to->optional && to->type == TYPE_ID)
        ((OptId *)(void *)field)->present = true;
    if (to->optional && to->type == TYPE_INSTANT)
        ((OptInstant *)(void *)field)->present = true;
}
