/*
 * message.c - messages between structs and JSON, in the wire shapes of the old system.
 *
 * Writing is exact: members in declared order, camelCase names, .NET's relaxed escaping, decimals as strings with their
 * scale, instants with the offset and the seven digits they came with. Reading is as tolerant as the old consumers
 * were (contracts/messages/faults.json), because messages of the old side keep arriving while both run side by side.
 *
 * No tree is built: a payload may be megabytes (a name has no length limit), and one pass of the pull reader borrows
 * its text.
 */
#include "bus/bus.h"
#include "json/json.h"

/* A name as long as the longest body that is taken (30,000,000 bytes) fits; what is longer must be refused here, in the
 * action, because further on it could only block the queue. */
#define MESSAGE_PAYLOAD_MAX (32u * 1024 * 1024)
#define MESSAGE_DEPTH_MAX   JSON_DEPTH_MAX

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void write_decimal(JsonWriter *w, const MessageField *field, Decimal value) {
    if (field->form != FORM_DECIMAL_STRING) {
        json_write_decimal(w, value);
        return;
    }
    char text[DECIMAL_TEXT_MAX];
    json_write_string(w, (Str){text, decimal_format(value, text)});
}

static void write_id(JsonWriter *w, const MessageField *field, const void *at) {
    if (!field->optional) {
        json_write_id(w, *(const Id *)at);
        return;
    }
    const OptId *id = at;
    if (id->present)
        json_write_id(w, id->value);
    else
        json_write_null(w);
}

static void write_instant(JsonWriter *w, const MessageField *field, const void *at) {
    if (!field->optional) {
        json_write_instant(w, *(const Instant *)at);
        return;
    }
    const OptInstant *instant = at;
    if (instant->present)
        json_write_instant(w, instant->value);
    else
        json_write_null(w);
}

static void write_field(JsonWriter *w, const MessageField *field, const void *message) {
    const void *at = (const char *)message + field->offset;
    switch (field->type) {
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
        write_id(w, field, at);
        return;
    case TYPE_DECIMAL:
        write_decimal(w, field, *(const Decimal *)at);
        return;
    case TYPE_INSTANT:
        write_instant(w, field, at);
        return;
    case TYPE_JSON: {
        Str json = ((const JsonText *)at)->text;
        if (json.p == NULL)
            json_write_null(w);
        else
            json_write_raw(w, json);
        return;
    }
    case TYPE_NONE:
        break;
    }
    ASSERT(field->type != TYPE_NONE);
}

Err message_encode(const MessageType *type, const void *message, Arena *arena, Str *ret) {
    Buf out = buf_new(arena, MESSAGE_PAYLOAD_MAX);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_RELAXED, 0);
    json_object(&w);
    for (const MessageField *field = type->fields; field->name != NULL; field++) {
        json_name(&w, str_c(field->name));
        write_field(&w, field, message);
    }
    json_object_end(&w);
    return buf_finish(&out, ret);
}

Err message_announce(Member *member, const MessageType *type, const void *message) {
    Str payload;
    TRY(message_encode(type, message, member->ctx->arena, &payload));
    Id aggregate = *(const Id *)((const char *)message + type->aggregate_offset);
    return member_announce(member, str_c(type->name), aggregate, payload);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static Err refuse(Ctx *ctx, const MessageField *field, const char *why) {
    return ctx_problem(ctx, ERR_INVALID, field->name, "The message's %s %s.", field->name, why);
}

/* System.Text.Json takes an integer only as plain digits: 3.0 and 3e0 are no integers, nor is "3". */
static Err read_integer(Ctx *ctx, const MessageField *field, const JsonReader *r, int64_t min, int64_t max,
                        int64_t *ret) {
    if (r->token != JSON_NUMBER)
        return refuse(ctx, field, "is not a number");
    Str digits = r->lexeme;
    bool negative = digits.n > 0 && digits.p[0] == '-';
    if (negative)
        digits = str_slice(digits, 1, digits.n);
    uint64_t magnitude;
    Err err = str_to_u64(digits, negative ? (uint64_t)max + 1 : (uint64_t)max, &magnitude);
    if (err == ERR_SYNTAX)
        return refuse(ctx, field, "is not a whole number");
    if (err != ERR_OK)
        return refuse(ctx, field, "is out of range");
    *ret = negative ? (magnitude > (uint64_t)INT64_MAX ? INT64_MIN : -(int64_t)magnitude) : (int64_t)magnitude;
    ASSERT(*ret >= min && *ret <= max);
    return ERR_OK;
}

static Err read_string(Ctx *ctx, const MessageField *field, const JsonReader *r, Str *ret) {
    if (r->token != JSON_STRING)
        return refuse(ctx, field, "is not a string");
    Err err = json_string(r, ctx->arena, ret);
    return err == ERR_SYNTAX ? refuse(ctx, field, "is not well-formed text") : err;
}

static Err read_id(Ctx *ctx, const MessageField *field, const JsonReader *r, void *at) {
    Str text = {0};
    Id id;
    TRY(read_string(ctx, field, r, &text));
    if (id_parse(text, ID_FORM_D, &id) != ERR_OK)
        return refuse(ctx, field, "is not a UUID");
    if (field->optional)
        *(OptId *)at = (OptId){.value = id, .present = true};
    else
        *(Id *)at = id;
    return ERR_OK;
}

static Err read_instant(Ctx *ctx, const MessageField *field, const JsonReader *r, void *at) {
    Str text = {0};
    Instant instant;
    TRY(read_string(ctx, field, r, &text));
    if (instant_parse(text, &instant) != ERR_OK)
        return refuse(ctx, field, "is not a date and time");
    if (field->optional)
        *(OptInstant *)at = (OptInstant){.value = instant, .present = true};
    else
        *(Instant *)at = instant;
    return ERR_OK;
}

static Err read_decimal(Ctx *ctx, const MessageField *field, const JsonReader *r, Decimal *ret) {
    Str text = r->lexeme;
    if (r->token == JSON_STRING)
        TRY(read_string(ctx, field, r, &text));
    else if (r->token != JSON_NUMBER)
        return refuse(ctx, field, "is not a number");
    Err err = decimal_parse(text, ret);
    if (err == ERR_LIMIT)
        return refuse(ctx, field, "is out of range");
    return err == ERR_OK ? ERR_OK : refuse(ctx, field, "is not a number");
}

/* null, where the old types had one: text, the old decimal converter (recorded: 0), whatever is declared optional. */
static bool null_allowed(const MessageField *field) {
    return field->optional || field->type == TYPE_TEXT || field->type == TYPE_DECIMAL || field->type == TYPE_JSON;
}

static size_t field_size(const MessageField *field) {
    switch (field->type) {
    case TYPE_TEXT:
        return sizeof(Str);
    case TYPE_DECIMAL:
        return sizeof(Decimal);
    case TYPE_ID:
        return sizeof(OptId);
    case TYPE_INSTANT:
        return sizeof(OptInstant);
    case TYPE_JSON:
        return sizeof(JsonText);
    default:
        ASSERT(null_allowed(field));
        return 0;
    }
}

/* The current token and, for containers, all up to its end. */
static Err read_field(Ctx *ctx, const MessageField *field, JsonReader *r, void *message) {
    void *at = (char *)message + field->offset;
    int64_t whole = 0;
    if (r->token == JSON_NULL) {
        if (!null_allowed(field))
            return refuse(ctx, field, "is null");
        memset(at, 0, field_size(field));
        return ERR_OK;
    }
    switch (field->type) {
    case TYPE_BOOL:
        if (r->token != JSON_TRUE && r->token != JSON_FALSE)
            return refuse(ctx, field, "is neither true nor false");
        *(bool *)at = r->token == JSON_TRUE;
        return ERR_OK;
    case TYPE_INT16:
        TRY(read_integer(ctx, field, r, INT16_MIN, INT16_MAX, &whole));
        *(int16_t *)at = (int16_t)whole;
        return ERR_OK;
    case TYPE_INT32:
        TRY(read_integer(ctx, field, r, INT32_MIN, INT32_MAX, &whole));
        *(int32_t *)at = (int32_t)whole;
        return ERR_OK;
    case TYPE_INT64:
        TRY(read_integer(ctx, field, r, INT64_MIN, INT64_MAX, &whole));
        *(int64_t *)at = whole;
        return ERR_OK;
    case TYPE_TEXT:
        return read_string(ctx, field, r, at);
    case TYPE_ID:
        return read_id(ctx, field, r, at);
    case TYPE_DECIMAL:
        return read_decimal(ctx, field, r, at);
    case TYPE_INSTANT:
        return read_instant(ctx, field, r, at);
    case TYPE_JSON: {
        size_t from = r->token_at;
        TRY(json_skip(r));
        ((JsonText *)at)->text = str_slice(r->input, from, r->at);
        return ERR_OK;
    }
    case TYPE_NONE:
        break;
    }
    ASSERT(field->type != TYPE_NONE);
    return ERR_INTERNAL;
}

static const MessageField *field_named(const MessageType *type, Str name) {
    for (const MessageField *field = type->fields; field->name != NULL; field++)
        if (str_eq_nocase(str_c(field->name), name))
            return field;
    return NULL;
}

#define MESSAGE_FIELDS_MAX 64

static Err read_members(const MessageType *type, Ctx *ctx, JsonReader *r, void *ret, uint64_t *seen) {
    TRY(json_next(r));
    if (r->token != JSON_OBJECT_START)
        return ctx_problem(ctx, ERR_INVALID, NULL, "The message is not a JSON object.");
    for (;;) {
        TRY(json_next(r));
        if (r->token == JSON_OBJECT_END)
            break;
        ASSERT(r->token == JSON_NAME);
        Str name;
        Err err = json_string(r, ctx->arena, &name);
        if (err == ERR_SYNTAX)
            return ctx_problem(ctx, ERR_SYNTAX, NULL, "A name in the message is not well-formed text.");
        TRY(err);
        const MessageField *field = field_named(type, name);
        TRY(json_next(r));
        if (field == NULL) {
            TRY(json_skip(r));
            continue;
        }
        TRY(read_field(ctx, field, r, ret));
        *seen |= UINT64_C(1) << (field - type->fields);
    }
    TRY(json_next(r));
    ASSERT(r->token == JSON_END);
    return ERR_OK;
}

Err message_decode(const MessageType *type, Ctx *ctx, Str payload, void *ret) {
    JsonReader r;
    uint64_t seen = 0;
    memset(ret, 0, type->size);
    json_reader_init(&r, payload, MESSAGE_DEPTH_MAX);
    Err err = read_members(type, ctx, &r, ret, &seen);
    if (r.error != JSON_OK) {
        JsonPosition at = json_position(&r);
        return ctx_problem(ctx, ERR_SYNTAX, NULL, "The message is not JSON: line %lld, byte %lld.", (long long)at.line,
                           (long long)at.column);
    }
    TRY(err);
    for (const MessageField *field = type->fields; field->name != NULL; field++) {
        size_t index = (size_t)(field - type->fields);
        ASSERT(index < MESSAGE_FIELDS_MAX);
        if ((seen >> index & 1) == 0 && !field->optional && !field->may_lack)
            return refuse(ctx, field, "is missing");
    }
    return ERR_OK;
}
