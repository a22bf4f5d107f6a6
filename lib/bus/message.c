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
#include "resource/value_json.h"

/* A name as long as the longest body that is taken (30,000,000 bytes) fits; what is longer must be refused here, in the
 * action, because further on it could only block the queue. */
#define MESSAGE_PAYLOAD_MAX (32u * 1024 * 1024)
#define MESSAGE_DEPTH_MAX   JSON_DEPTH_MAX

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void write_field(JsonWriter *w, const MessageField *field, const void *message) {
    const void *at = (const char *)message + field->offset;
    char text[DECIMAL_TEXT_MAX];
    if (field->type == TYPE_DECIMAL && field->form == FORM_DECIMAL_STRING)
        json_write_string(w, (Str){text, decimal_format(*(const Decimal *)at, text)});
    else if (value_is_absent(field->type, field->optional, at))
        json_write_null(w);
    else
        value_to_json(w, field->type, at);
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

static ValuePlace place_of(Ctx *ctx, const MessageField *field) {
    return (ValuePlace){ctx, "The message's", field->name};
}

/* The old decimal converter writes strings and reads both. */
static Err read_decimal(const ValuePlace *place, const JsonReader *r, Decimal *ret) {
    Str text = r->lexeme;
    if (r->token == JSON_STRING)
        TRY(value_text_from_json(place, r, &text));
    else if (r->token != JSON_NUMBER)
        return value_refuse(place, "is not a number");
    return value_decimal_from_text(place, text, ret);
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
    ValuePlace place = place_of(ctx, field);
    if (r->token == JSON_NULL) {
        if (!null_allowed(field))
            return value_refuse(&place, "is null");
        memset(at, 0, field_size(field));
        return ERR_OK;
    }
    return field->type == TYPE_DECIMAL ? read_decimal(&place, r, at)
                                       : value_from_json(&place, field->type, field->optional, r, at);
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
        if ((seen >> index & 1) == 0 && !field->optional && !field->may_lack) {
            ValuePlace place = place_of(ctx, field);
            return value_refuse(&place, "is missing");
        }
    }
    return ERR_OK;
}
