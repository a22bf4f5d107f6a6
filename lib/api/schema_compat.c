/*
 * schema_compat.c - JSON Schemas of the old system's bodies and answers, and of messages.
 *
 * As wide as the old readers were: names in any case mean that no property can be demanded and none forbidden.
 */
#include "api/schema_internal.h"

Str schema_compat_name(Arena *arena, const Route *route, const char *suffix) {
    return arena_printf(arena, "%s.%s", route->name, suffix);
}

static const char *input_type(CompatKind kind) {
    switch (kind) {
    case COMPAT_TEXT:
        return "\"type\":[\"string\",\"null\"]";
    case COMPAT_ID:
        return "\"type\":\"string\",\"format\":\"uuid\"";
    case COMPAT_ID_LIST:
        return "\"type\":\"array\",\"items\":{\"type\":\"string\",\"format\":\"uuid\"}";
    case COMPAT_INSTANT:
        return "\"type\":\"string\"";
    case COMPAT_DECIMAL:
        return "\"type\":[\"number\",\"string\"]";
    case COMPAT_ENUM:
        return "\"type\":[\"string\",\"integer\"]";
    }
    return "";
}

static void write_payload(Buf *out, const CompatPayload *payload) {
    buf_add_c(out, "{\"type\":\"object\",\"properties\":{");
    for (const CompatField *f = payload->fields; f->name != NULL; f++) {
        buf_printf(out, "%s\"%s\":{%s", f == payload->fields ? "" : ",", f->name, input_type(f->kind));
        if (f->values != NULL) {
            buf_add_c(out, ",\"examples\":[");
            for (const EnumValue *v = f->values; v->name != NULL; v++)
                buf_printf(out, "%s\"%s\"", v == f->values ? "" : ",", v->name);
            buf_add_c(out, "]");
        }
        buf_add_c(out, "}");
    }
    buf_add_c(out, "}}");
}

static void write_output(Buf *out, const CompatShape *shape, const CompatOutput *o) {
    const Attribute *a = o->attribute == NULL ? NULL : resource_attribute(shape->resource, o->attribute);
    Type type = a != NULL ? a->type : o->type;
    bool nullable = a != NULL && attribute_is_nullable(a);
    const char *null = nullable ? ",\"null\"" : "";
    switch (type) {
    case TYPE_BOOL:
        buf_printf(out, "{\"type\":[\"boolean\"%s]}", null);
        return;
    case TYPE_INT16:
    case TYPE_INT32:
    case TYPE_INT64: /* a number without a name is shown as it is */
        buf_printf(out, o->form == SHOW_ENUM ? "{\"type\":[\"string\",\"integer\"%s]}" : "{\"type\":[\"integer\"%s]}",
                   null);
        return;
    case TYPE_DECIMAL:
        buf_printf(out, "{\"type\":[\"number\"%s]}", null);
        return;
    case TYPE_ID:
        buf_printf(out, "{\"type\":[\"string\"%s],\"format\":\"uuid\"}", null);
        return;
    case TYPE_INSTANT:
        buf_printf(out, "{\"type\":[\"string\"%s],\"format\":\"date-time\"}", null);
        return;
    case TYPE_TEXT:
        buf_printf(out, "{\"type\":[\"string\"%s]}", null);
        return;
    case TYPE_JSON:
    case TYPE_NONE:
        break;
    }
    buf_add_c(out, "{}");
}

static void write_shape(Buf *out, const CompatShape *shape, bool list) {
    buf_add_c(out, list ? "{\"type\":\"array\",\"items\":{" : "{");
    buf_add_c(out, "\"type\":\"object\",\"properties\":{");
    for (const CompatOutput *o = shape->outputs; o->name != NULL; o++) {
        buf_printf(out, "%s\"%s\":", o == shape->outputs ? "" : ",", o->name);
        write_output(out, shape, o);
    }
    buf_add_c(out, "},\"required\":[");
    for (const CompatOutput *o = shape->outputs; o->name != NULL; o++)
        buf_printf(out, "%s\"%s\"", o == shape->outputs ? "" : ",", o->name);
    buf_add_c(out, list ? "],\"additionalProperties\":false}}" : "],\"additionalProperties\":false}");
}

static const char RULE_REFUSED[] =
    "{\"type\":\"object\",\"description\":\"Rules of the business, or a "
    "crash.\",\"properties\":{\"Message\":{\"type\":\"string\"},"
    "\"Errors\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}},\"required\":[\"Message\",\"Errors\"],"
    "\"additionalProperties\":false}";
static const char PROBLEM[] =
    "{\"type\":\"object\",\"description\":\"RFC "
    "9457.\",\"properties\":{\"type\":{\"type\":\"string\",\"format\":\"uri\"},"
    "\"title\":{\"type\":\"string\"},\"status\":{\"type\":\"integer\"},\"detail\":{\"type\":\"string\"},"
    "\"traceId\":{\"type\":\"string\"},\"errors\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"array\","
    "\"items\":{\"type\":\"string\"}}}},\"required\":[\"type\",\"title\",\"status\",\"traceId\"],"
    "\"additionalProperties\":false}";

/* --- messages ------------------------------------------------------------------------------------------------ */

static const char *message_type(const MessageField *f) {
    switch (f->type) {
    case TYPE_BOOL:
        return "\"type\":\"boolean\"";
    case TYPE_INT16:
    case TYPE_INT32:
    case TYPE_INT64:
        return "\"type\":\"integer\"";
    case TYPE_DECIMAL:
        return f->form == FORM_DECIMAL_STRING ? "\"type\":\"string\",\"pattern\":\"^-?[0-9]+([.][0-9]+)?$\""
                                              : "\"type\":\"number\"";
    case TYPE_TEXT:
        return "\"type\":[\"string\",\"null\"]";
    case TYPE_ID:
        return "\"type\":\"string\",\"format\":\"uuid\"";
    case TYPE_INSTANT:
        return "\"type\":\"string\",\"format\":\"date-time\"";
    case TYPE_JSON:
    case TYPE_NONE:
        break;
    }
    return "";
}

static void write_message(Buf *out, const MessageType *type) {
    buf_add_c(out, "{\"type\":\"object\",\"description\":");
    json_escape(out, str_c(type->doc), JSON_ESCAPE_MINIMAL);
    buf_add_c(out, ",\"properties\":{");
    for (const MessageField *f = type->fields; f->name != NULL; f++) {
        buf_printf(out, "%s\"%s\":{%s,\"description\":", f == type->fields ? "" : ",", f->name, message_type(f));
        json_escape(out, str_c(f->doc == NULL ? "" : f->doc), JSON_ESCAPE_MINIMAL);
        buf_add_c(out, "}");
    }
    buf_add_c(out, "},\"required\":[");
    for (const MessageField *f = type->fields; f->name != NULL; f++)
        buf_printf(out, "%s\"%s\"", f == type->fields ? "" : ",", f->name);
    buf_add_c(out, "]}");
}

static Str message_name(Arena *arena, const MessageType *type) {
    Str name = arena_printf(arena, "message.%s", type->name);
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] == ':')
            ((char *)name.p)[i] = '.';
    return name;
}

static Err each_route(const Schemas *s, const Route *route, Buf *out, SchemaEach fn, void *data) {
    const CompatAction *action = route->data;
    if (action->payload != NULL) {
        write_payload(out, action->payload);
        TRY(schema_give(fn, data, schema_compat_name(s->ctx->arena, route, "request"), out));
    }
    if (action->answer == ANSWER_CREATED)
        buf_add_c(out, "{\"type\":\"string\",\"format\":\"uuid\"}");
    else if (action->answer == ANSWER_NOTHING)
        return ERR_OK;
    else
        write_shape(out, action->shape, action->answer == ANSWER_LIST);
    return schema_give(fn, data, schema_compat_name(s->ctx->arena, route, "answer"), out);
}

Err schemas_compat(const Schemas *s, Buf *out, SchemaEach fn, void *data) {
    buf_add_c(out, RULE_REFUSED);
    TRY(schema_give(fn, data, STR("Refused"), out));
    buf_add_c(out, PROBLEM);
    TRY(schema_give(fn, data, STR("Problem"), out));
    for (const Context *const *c = s->api->contexts; *c != NULL; c++)
        for (const Route *r = (*c)->routes; r != NULL && r->pattern != NULL; r++)
            if (strcmp(r->surface, "compat") == 0)
                TRY(each_route(s, r, out, fn, data));
    for (const MessageType *const *m = s->messages; m != NULL && *m != NULL; m++) {
        write_message(out, *m);
        TRY(schema_give(fn, data, message_name(s->ctx->arena, *m), out));
    }
    return ERR_OK;
}
