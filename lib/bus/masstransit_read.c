/*
 * masstransit_read.c - taking an envelope apart.
 *
 * One pass of the pull reader over the whole body: so a body that is no JSON is known before anything of it is used,
 * and the message inside stays a view of the bytes as they came.
 */
#include "bus/masstransit.h"
#include "json/json.h"

static const char URN[] = "urn:message:";

static Str without_urn(Str type) {
    size_t n = sizeof URN - 1;
    return type.n > n && str_eq_nocase(str_slice(type, 0, n), str_c(URN)) ? str_slice(type, n, type.n) : type;
}

static Err wrong_shape(Ctx *ctx, const char *member, const char *what, MtUnreadable *why) {
    *why = MT_WRONG_SHAPE;
    return ctx_problem(ctx, ERR_INVALID, member, "The envelope's %s is not %s.", member, what);
}

/* A string, or null: absent. */
static Err read_text(Ctx *ctx, JsonReader *r, const char *member, MtUnreadable *why, Str *ret) {
    if (r->token == JSON_NULL)
        return ERR_OK;
    if (r->token != JSON_STRING)
        return wrong_shape(ctx, member, "a string", why);
    Err err = json_string(r, ctx->arena, ret);
    return err == ERR_SYNTAX ? wrong_shape(ctx, member, "well-formed text", why) : err;
}

static Err read_id(Ctx *ctx, JsonReader *r, const char *member, MtUnreadable *why, OptId *ret) {
    Str text = {NULL, 0};
    TRY(read_text(ctx, r, member, why, &text));
    if (text.p == NULL)
        return ERR_OK;
    if (id_parse(text, ID_FORM_D, &ret->value) != ERR_OK)
        return wrong_shape(ctx, member, "a UUID", why);
    ret->present = true;
    return ERR_OK;
}

static Err read_types(Ctx *ctx, JsonReader *r, MtUnreadable *why, MtReceived *ret) {
    if (r->token == JSON_NULL)
        return ERR_OK;
    if (r->token != JSON_ARRAY_START)
        return wrong_shape(ctx, "messageType", "a list", why);
    for (;;) {
        TRY(json_next(r));
        if (r->token == JSON_ARRAY_END)
            return ERR_OK;
        Str type = {NULL, 0};
        TRY(read_text(ctx, r, "messageType", why, &type));
        if (type.p != NULL && ret->n_types < MT_TYPES_MAX)
            ret->types[ret->n_types++] = without_urn(type);
    }
}

/* Headers may hold anything; those that are texts and that we know are kept. W3C's names win. */
static void keep_header(MtReceived *ret, Str name, Str value) {
    if (str_eq_nocase(name, STR("traceparent")))
        ret->traceparent = value;
    else if (str_eq_nocase(name, STR(MT_HEADER_ACTIVITY)) && ret->traceparent.p == NULL)
        ret->traceparent = value;
    else if (str_eq_nocase(name, STR("tracestate")))
        ret->tracestate = value;
    else if (str_eq_nocase(name, STR("baggage")))
        ret->baggage = value;
}

static Err read_correlation(Ctx *ctx, JsonReader *r, MtUnreadable *why, MtReceived *ret) {
    Str baggage = {NULL, 0};
    Err err = mt_baggage_read(r, ctx->arena, &baggage);
    if (err == ERR_INVALID || err == ERR_SYNTAX)
        return wrong_shape(ctx, "headers", "what MassTransit writes there", why);
    TRY(err);
    ret->baggage = ret->baggage.p == NULL ? baggage : ret->baggage;
    return ERR_OK;
}

static Err read_headers(Ctx *ctx, JsonReader *r, MtUnreadable *why, MtReceived *ret) {
    if (r->token == JSON_NULL)
        return ERR_OK;
    if (r->token != JSON_OBJECT_START)
        return wrong_shape(ctx, "headers", "an object", why);
    for (;;) {
        Str name, value;
        TRY(json_next(r));
        if (r->token == JSON_OBJECT_END)
            return ERR_OK;
        Err err = json_string(r, ctx->arena, &name);
        if (err == ERR_SYNTAX)
            return wrong_shape(ctx, "headers", "well-formed text", why);
        TRY(err);
        TRY(json_next(r));
        if (r->token == JSON_ARRAY_START && str_eq_nocase(name, STR(MT_HEADER_CORRELATION)))
            TRY(read_correlation(ctx, r, why, ret));
        else if (r->token != JSON_STRING)
            TRY(json_skip(r));
        else if (json_string(r, ctx->arena, &value) == ERR_OK)
            keep_header(ret, name, value);
    }
}

static Err read_member(Ctx *ctx, JsonReader *r, Str name, MtUnreadable *why, MtReceived *ret) {
    if (str_eq_nocase(name, STR("messageId")))
        return read_id(ctx, r, "messageId", why, &ret->message_id);
    if (str_eq_nocase(name, STR("conversationId")))
        return read_id(ctx, r, "conversationId", why, &ret->conversation_id);
    if (str_eq_nocase(name, STR("messageType")))
        return read_types(ctx, r, why, ret);
    if (str_eq_nocase(name, STR("faultAddress")))
        return read_text(ctx, r, "faultAddress", why, &ret->fault_address);
    if (str_eq_nocase(name, STR("responseAddress")))
        return read_text(ctx, r, "responseAddress", why, &ret->response_address);
    if (str_eq_nocase(name, STR("headers")))
        return read_headers(ctx, r, why, ret);
    size_t from = r->token_at;
    bool is_null = r->token == JSON_NULL;
    TRY(json_skip(r));
    if (str_eq_nocase(name, STR("message")) && !is_null)
        ret->message = str_slice(r->input, from, r->at);
    return ERR_OK;
}

static Err read_members(Ctx *ctx, JsonReader *r, MtReceived *ret, MtUnreadable *why) {
    TRY(json_next(r));
    if (r->token != JSON_OBJECT_START)
        return wrong_shape(ctx, "document", "an object", why);
    for (;;) {
        Str name;
        TRY(json_next(r));
        if (r->token == JSON_OBJECT_END)
            break;
        Err err = json_string(r, ctx->arena, &name);
        if (err == ERR_SYNTAX)
            return wrong_shape(ctx, "document", "well-formed text", why);
        TRY(err);
        TRY(json_next(r));
        TRY(read_member(ctx, r, name, why, ret));
    }
    return json_next(r); /* nothing may follow */
}

static Err not_json(Ctx *ctx, const JsonReader *r, MtUnreadable *why) {
    JsonPosition at = json_position(r);
    *why = MT_NOT_JSON;
    return ctx_problem(ctx, ERR_SYNTAX, NULL, "The message is not JSON: line %lld, byte %lld.", (long long)at.line,
                       (long long)at.column);
}

static Err no_envelope(Ctx *ctx, MtUnreadable *why) {
    *why = MT_NO_ENVELOPE;
    return ctx_problem(ctx, ERR_INVALID, NULL, "Value cannot be null. (Parameter 'envelope')");
}

Err mt_read(Ctx *ctx, Str body, MtReceived *ret, MtUnreadable *ret_why) {
    JsonReader r;
    MtReceived received = {0};
    *ret_why = MT_READABLE;
    json_reader_init(&r, body, JSON_DEPTH_MAX);
    Err err = read_members(ctx, &r, &received, ret_why);
    if (r.error != JSON_OK)
        return not_json(ctx, &r, ret_why);
    TRY(err);
    if (received.message.p == NULL || received.n_types == 0)
        return no_envelope(ctx, ret_why);
    *ret = received;
    return ERR_OK;
}

/* --- what stands beside the body ---------------------------------------------------------------------------------- */

void mt_read_headers(const AmqpProperties *properties, MtReceived *ret) {
    Str rest = properties->headers, name;
    AmqpField field;
    MtReceived found = {0};
    while (rest.p != NULL && amqp_table_next(&rest, &name, &field))
        if (field.kind == 'S')
            keep_header(&found, name, field.bytes);
    /* The envelope's own are kept: a producer wrote them with the message. */
    ret->traceparent = ret->traceparent.p == NULL ? found.traceparent : ret->traceparent;
    ret->tracestate = ret->tracestate.p == NULL ? found.tracestate : ret->tracestate;
    ret->baggage = ret->baggage.p == NULL ? found.baggage : ret->baggage;
    if (!ret->message_id.present && properties->message_id.p != NULL)
        ret->message_id.present = id_parse(properties->message_id, ID_FORM_D, &ret->message_id.value) == ERR_OK;
}

/* MassTransit's raw serializer names the types in a header, with semicolons between. */
Err mt_read_raw(Ctx *ctx, Str body, const AmqpProperties *properties, MtReceived *ret, MtUnreadable *ret_why) {
    Str types = properties->headers.p == NULL ? (Str){NULL, 0} : amqp_table_text(properties->headers, "MT-MessageType");
    JsonReader r;
    *ret_why = MT_READABLE;
    *ret = (MtReceived){.message = body};
    if (types.p == NULL)
        return no_envelope(ctx, ret_why);
    json_reader_init(&r, body, JSON_DEPTH_MAX);
    do {
        if (json_next(&r) != ERR_OK)
            return not_json(ctx, &r, ret_why);
    } while (r.token != JSON_END);
    while (types.p != NULL && ret->n_types < MT_TYPES_MAX)
        ret->types[ret->n_types++] = without_urn(str_trim(str_cut(&types, ';'), " "));
    return ERR_OK;
}
