/*
 * value_json.c - declared values to and from JSON, type by type.
 */
#include "resource/value_json.h"

/* --- reading ------------------------------------------------------------------------------------------------------ */

Err value_refuse(const ValuePlace *place, const char *why) {
    return ctx_problem(place->ctx, ERR_INVALID, place->name, "%s %s %s.", place->whose, place->name, why);
}

/* Two's complement: one more below zero than above. */
static Err read_integer(const ValuePlace *place, const JsonReader *r, int64_t max, int64_t *ret) {
    if (r->token != JSON_NUMBER)
        return value_refuse(place, "is not a number");
    Str digits = r->lexeme;
    bool negative = digits.n > 0 && digits.p[0] == '-';
    uint64_t magnitude;
    Err err = str_to_u64(str_slice(digits, negative, digits.n), (uint64_t)max + negative, &magnitude);
    if (err == ERR_SYNTAX)
        return value_refuse(place, "is not a whole number");
    if (err != ERR_OK)
        return value_refuse(place, "is out of range");
    *ret = !negative ? (int64_t)magnitude : magnitude == 0 ? 0 : -(int64_t)(magnitude - 1) - 1;
    return ERR_OK;
}

Err value_text_from_json(const ValuePlace *place, const JsonReader *r, Str *ret) {
    if (r->token != JSON_STRING)
        return value_refuse(place, "is not a string");
    Err err = json_string(r, place->ctx->arena, ret);
    return err == ERR_SYNTAX ? value_refuse(place, "is not well-formed text") : err;
}

Err value_id_from_json(const ValuePlace *place, const JsonReader *r, Id *ret) {
    Str text = {0};
    TRY(value_text_from_json(place, r, &text));
    return id_parse(text, ID_FORM_D, ret) == ERR_OK ? ERR_OK : value_refuse(place, "is not a UUID");
}

Err value_decimal_from_text(const ValuePlace *place, Str text, Decimal *ret) {
    Err err = decimal_parse(text, ret);
    if (err == ERR_LIMIT)
        return value_refuse(place, "is out of range");
    return err == ERR_OK ? ERR_OK : value_refuse(place, "is not a number");
}

static Err read_id(const ValuePlace *place, bool optional, const JsonReader *r, void *at) {
    Id id;
    TRY(value_id_from_json(place, r, &id));
    if (optional)
        *(OptId *)at = (OptId){.value = id, .present = true};
    else
        *(Id *)at = id;
    return ERR_OK;
}

static Err read_instant(const ValuePlace *place, bool optional, const JsonReader *r, void *at) {
    Str text = {0};
    Instant instant;
    TRY(value_text_from_json(place, r, &text));
    if (instant_parse(text, &instant) != ERR_OK)
        return value_refuse(place, "is not a date and time");
    if (optional)
        *(OptInstant *)at = (OptInstant){.value = instant, .present = true};
    else
        *(Instant *)at = instant;
    return ERR_OK;
}

Err value_from_json(const ValuePlace *place, Type type, bool optional, JsonReader *r, void *at) {
    int64_t whole = 0;
    switch (type) {
    case TYPE_BOOL:
        if (r->token != JSON_TRUE && r->token != JSON_FALSE)
            return value_refuse(place, "is neither true nor false");
        *(bool *)at = r->token == JSON_TRUE;
        return ERR_OK;
    case TYPE_INT16:
        TRY(read_integer(place, r, INT16_MAX, &whole));
        *(int16_t *)at = (int16_t)whole;
        return ERR_OK;
    case TYPE_INT32:
        TRY(read_integer(place, r, INT32_MAX, &whole));
        *(int32_t *)at = (int32_t)whole;
        return ERR_OK;
    case TYPE_INT64:
        TRY(read_integer(place, r, INT64_MAX, &whole));
        *(int64_t *)at = whole;
        return ERR_OK;
    case TYPE_TEXT:
        return value_text_from_json(place, r, at);
    case TYPE_ID:
        return read_id(place, optional, r, at);
    case TYPE_DECIMAL:
        return r->token == JSON_NUMBER ? value_decimal_from_text(place, r->lexeme, at)
                                       : value_refuse(place, "is not a number");
    case TYPE_INSTANT:
        return read_instant(place, optional, r, at);
    case TYPE_JSON: {
        size_t from = r->token_at;
        TRY(json_skip(r));
        ((JsonText *)at)->text = str_slice(r->input, from, r->at);
        return ERR_OK;
    }
    case TYPE_NONE:
        break;
    }
    ASSERT(type != TYPE_NONE);
    return ERR_INTERNAL;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

bool value_is_absent(Type type, bool optional, const void *at) {
    if (type == TYPE_TEXT)
        return ((const Str *)at)->p == NULL;
    if (type == TYPE_JSON)
        return ((const JsonText *)at)->text.p == NULL;
    if (optional && type == TYPE_ID)
        return !((const OptId *)at)->present;
    return optional && type == TYPE_INSTANT && !((const OptInstant *)at)->present;
}

/* An OptId and an OptInstant begin with their value. */
void value_to_json(JsonWriter *w, Type type, const void *at) {
    switch (type) {
    case TYPE_BOOL:
        json_write_bool(w, *(const bool *)at);
        return;
    case TYPE_INT16:
        json_write_i64(w, *(const int16_t *)at);
        return;
    case TYPE_INT32:
        json_write_i64(w, *(const int32_t *)at);
        return;
    case TYPE_INT64:
        json_write_i64(w, *(const int64_t *)at);
        return;
    case TYPE_TEXT:
        json_write_string(w, *(const Str *)at);
        return;
    case TYPE_ID:
        json_write_id(w, *(const Id *)at);
        return;
    case TYPE_DECIMAL:
        json_write_decimal(w, *(const Decimal *)at);
        return;
    case TYPE_INSTANT:
        json_write_instant(w, *(const Instant *)at);
        return;
    case TYPE_JSON:
        json_write_raw(w, ((const JsonText *)at)->text);
        return;
    case TYPE_NONE:
        break;
    }
    ASSERT(type != TYPE_NONE);
}
