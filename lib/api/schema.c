/*
 * schema.c - JSON Schemas of JSON:API documents.
 *
 * Written rather tight: what a schema lets pass and the server refuses should be rules, not shapes.
 */
#include "api/schema_internal.h"

Str schema_type_name(Arena *arena, const ApiType *type, const char *suffix) {
    Str name = arena_printf(arena, "%.*s%s", STR_ARG(type->name), suffix);
    if (name.n > 0 && name.p[0] >= 'a' && name.p[0] <= 'z')
        ((char *)name.p)[0] = (char)(name.p[0] - 'a' + 'A');
    return name;
}

Str schema_action_name(Arena *arena, const ApiType *type, const Action *action) {
    Str last = api_name(arena, action->name);
    Str name = schema_type_name(arena, type, "");
    Buf out = buf_new(arena, 256);
    buf_add(&out, name);
    buf_add_char(&out, (char)(last.p[0] - 'a' + 'A'));
    buf_add(&out, str_slice(last, 1, last.n));
    return buf_str(&out);
}

/* --- values -------------------------------------------------------------------------------------------------- */

static void write_names(Buf *out, const EnumValue *values) {
    buf_add_c(out, "\"enum\":[");
    for (const EnumValue *v = values; v->name != NULL; v++)
        buf_printf(out, "%s\"%s\"", v == values ? "" : ",", v->name);
    buf_add_c(out, "]");
}

static void write_type(Buf *out, const char *type, bool nullable) {
    if (nullable)
        buf_printf(out, "\"type\":[\"%s\",\"null\"]", type);
    else
        buf_printf(out, "\"type\":\"%s\"", type);
}

static void write_integer(Buf *out, const Attribute *a, bool input) {
    if (a->values != NULL && input) {
        buf_add_c(out, "\"type\":\"string\",");
        write_names(out, a->values);
    } else if (a->values != NULL) { /* a number without a name is shown as it is */
        buf_add_c(out, "\"anyOf\":[{\"type\":\"string\",");
        write_names(out, a->values);
        buf_add_c(out, "},{\"type\":\"integer\"}]");
    } else {
        buf_add_c(out, "\"type\":\"integer\"");
        if (a->type == TYPE_INT16)
            buf_add_c(out, ",\"minimum\":-32768,\"maximum\":32767");
        else if (a->type == TYPE_INT32)
            buf_add_c(out, ",\"minimum\":-2147483648,\"maximum\":2147483647");
    }
}

void schema_value(Buf *out, const Attribute *a, bool input) {
    bool nullable = attribute_is_nullable(a) && a->optional;
    buf_add_c(out, "{");
    if (a->list) {
        buf_add_c(out, "\"type\":\"array\",\"items\":{\"type\":\"string\",\"format\":\"uuid\"}");
    } else {
        switch (a->type) {
        case TYPE_BOOL:
            buf_add_c(out, "\"type\":\"boolean\"");
            break;
        case TYPE_INT16:
        case TYPE_INT32:
        case TYPE_INT64:
            write_integer(out, a, input);
            break;
        case TYPE_TEXT:
            write_type(out, "string", nullable);
            break;
        case TYPE_ID:
            write_type(out, "string", nullable);
            buf_add_c(out, ",\"format\":\"uuid\"");
            break;
        case TYPE_DECIMAL:
            if (input)
                buf_add_c(out, "\"type\":[\"string\",\"number\"],\"pattern\":\"^-?[0-9]+([.][0-9]+)?$\"");
            else
                buf_add_c(out, "\"type\":\"string\",\"pattern\":\"^-?[0-9]+([.][0-9]+)?$\"");
            break;
        case TYPE_INSTANT:
            write_type(out, "string", nullable);
            buf_add_c(out, ",\"format\":\"date-time\"");
            break;
        case TYPE_JSON:
        case TYPE_NONE:
            break;
        }
    }
    if (a->doc != NULL) {
        buf_add_c(out, out->p[out->n - 1] == '{' ? "\"description\":" : ",\"description\":");
        json_escape(out, str_c(a->doc), JSON_ESCAPE_MINIMAL);
    }
    buf_add_c(out, "}");
}

static void write_ref(const Schemas *s, Buf *out, Str name) {
    buf_printf(out, "{\"$ref\":\"%s%.*s%s\"}", s->ref_before, STR_ARG(name), s->ref_behind);
}

static void write_ref_c(const Schemas *s, Buf *out, const char *name) {
    write_ref(s, out, str_c(name));
}

/* --- constant parts ------------------------------------------------------------------------------------------ */

static const struct {
    const char *name, *json;
} PARTS[] = {
    {"JsonApi", "{\"type\":\"object\",\"properties\":{\"version\":{\"const\":\"1.1\"}},\"required\":[\"version\"],"
                "\"additionalProperties\":false}"},
    {"Links",
     "{\"type\":\"object\",\"additionalProperties\":{\"type\":[\"string\",\"null\"],\"format\":\"uri-reference\"}}"},
};

static const char ERROR[] =
    "{\"type\":\"object\",\"properties\":{\"status\":{\"type\":\"string\",\"pattern\":\"^[45][0-9][0-9]$\"},"
    "\"code\":{\"type\":\"string\"},\"title\":{\"type\":\"string\"},\"detail\":{\"type\":\"string\"},"
    "\"source\":{\"type\":\"object\",\"properties\":{\"pointer\":{\"type\":\"string\"},\"parameter\":{\"type\":"
    "\"string\"},"
    "\"header\":{\"type\":\"string\"}},\"minProperties\":1,\"maxProperties\":1,\"additionalProperties\":false}},"
    "\"required\":[\"status\",\"code\",\"title\",\"detail\"],\"additionalProperties\":false}";

/* --- resource objects ---------------------------------------------------------------------------------------- */

static bool accepts(const Action *action, const Attribute *a) {
    if (a->key || a->identity)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(action->accept) && action->accept[i] != NULL; i++)
        if (strcmp(action->accept[i], a->name) == 0)
            return true;
    return action->accept[0] == NULL;
}

/* Must an attribute be there at creation? Not where a relationship may bring it. */
static bool is_wanted(const ApiType *type, const Action *action, const Attribute *a) {
    if (action->kind != ACTION_CREATE || !a->required || a->default_sql != NULL || !accepts(action, a))
        return false;
    for (size_t i = 0; i < type->n_rels; i++)
        if (!type->rels[i].many && type->rels[i].attribute == a)
            return false;
    return true;
}

static void write_wanted(Buf *out, const ApiType *type, const Action *action) {
    size_t n = 0;
    for (size_t i = 0; i < type->n_fields; i++)
        if (is_wanted(type, action, type->fields[i].attribute))
            buf_printf(out, "%s\"%.*s\"", n++ == 0 ? ",\"required\":[" : ",", STR_ARG(type->fields[i].name));
    if (n > 0)
        buf_add_c(out, "]");
}

/* action NULL: as shown. */
static void write_attributes(Buf *out, const ApiType *type, const Action *action) {
    buf_add_c(out, "{\"type\":\"object\",\"properties\":{");
    const char *comma = "";
    for (size_t i = 0; i < type->n_fields; i++) {
        const Attribute *a = type->fields[i].attribute;
        if (action != NULL && !accepts(action, a))
            continue;
        Attribute shown = *a;
        /* A copy may lack what its owner always has. */
        for (size_t s = 1; action == NULL && s < type->n_sources; s++)
            if (type->sources[s].fields[i] != NULL && type->sources[s].fields[i]->optional)
                shown.optional = true, shown.required = false;
        buf_printf(out, "%s\"%.*s\":", comma, STR_ARG(type->fields[i].name));
        schema_value(out, &shown, action != NULL);
        comma = ",";
    }
    buf_add_c(out, "}");
    if (action == NULL)
        buf_add_c(out, ",\"additionalProperties\":false");
    else
        buf_add_c(out, ",\"patternProperties\":{\"^@\":true},\"additionalProperties\":false");
    if (action != NULL)
        write_wanted(out, type, action);
    buf_add_c(out, "}");
}

static void write_identifier(Buf *out, const ApiType *type) {
    buf_printf(out,
               "{\"type\":\"object\",\"properties\":{\"type\":{\"const\":\"%.*s\"},\"id\":{\"type\":\"string\"}},"
               "\"required\":[\"type\",\"id\"]",
               STR_ARG(type->name));
    buf_add_c(out, ",\"additionalProperties\":false}");
}

static void write_linkage(Buf *out, const ApiRel *rel) {
    if (rel->many) {
        buf_add_c(out, "{\"type\":\"array\",\"items\":");
        write_identifier(out, rel->target);
        buf_add_c(out, "}");
    } else {
        buf_add_c(out, "{\"anyOf\":[");
        write_identifier(out, rel->target);
        buf_add_c(out, ",{\"type\":\"null\"}]}");
    }
}

static void write_resource(const Schemas *s, Buf *out, const ApiType *type) {
    buf_printf(out,
               "{\"type\":\"object\",\"description\":\"%s\",\"properties\":{\"type\":{\"const\":\"%.*s\"},\"id\":{"
               "\"type\":\"string\"},",
               type->sources[0].resource->doc, STR_ARG(type->name));
    buf_add_c(out, "\"attributes\":");
    write_attributes(out, type, NULL);
    buf_add_c(out, ",\"relationships\":{\"type\":\"object\",\"properties\":{");
    for (size_t i = 0; i < type->n_rels; i++) {
        buf_printf(out, "%s\"%.*s\":{\"type\":\"object\",\"properties\":{\"links\":", i == 0 ? "" : ",",
                   STR_ARG(type->rels[i].name));
        write_ref_c(s, out, "Links");
        buf_add_c(out, ",\"data\":");
        write_linkage(out, &type->rels[i]);
        buf_add_c(out, "},\"required\":[\"links\"],\"additionalProperties\":false}");
    }
    buf_add_c(out, "},\"additionalProperties\":false},\"links\":");
    write_ref_c(s, out, "Links");
    buf_add_c(out, "},\"required\":[\"type\",\"id\",\"attributes\",\"links\"],\"additionalProperties\":false}");
}

/* --- documents ----------------------------------------------------------------------------------------------- */

static void begin_document(const Schemas *s, Buf *out) {
    buf_add_c(out, "{\"type\":\"object\",\"properties\":{\"jsonapi\":");
    write_ref_c(s, out, "JsonApi");
    buf_add_c(out, ",\"links\":");
    write_ref_c(s, out, "Links");
}

static void end_document(Buf *out, const char *member) {
    buf_printf(out, "},\"required\":[\"jsonapi\",\"%s\"],\"additionalProperties\":false}", member);
}

static void write_included(const Schemas *s, Buf *out) {
    buf_add_c(out, ",\"included\":{\"type\":\"array\",\"items\":{\"anyOf\":[");
    for (size_t i = 0; i < s->api->n_types; i++) {
        buf_add_c(out, i == 0 ? "" : ",");
        write_ref(s, out, schema_type_name(s->ctx->arena, &s->api->types[i], ""));
    }
    buf_add_c(out, "]}}");
}

static void write_document(const Schemas *s, Buf *out, const ApiType *type, bool list) {
    begin_document(s, out);
    buf_add_c(out, list ? ",\"data\":{\"type\":\"array\",\"items\":" : ",\"data\":{\"anyOf\":[");
    write_ref(s, out, schema_type_name(s->ctx->arena, type, ""));
    buf_add_c(out, list ? "}" : ",{\"type\":\"null\"}]}");
    write_included(s, out);
    end_document(out, "data");
}

static void write_linkage_document(const Schemas *s, Buf *out, const ApiType *type, bool many) {
    ApiRel rel = {.many = many, .target = type};
    begin_document(s, out);
    buf_add_c(out, ",\"data\":");
    write_linkage(out, &rel);
    end_document(out, "data");
}

static void write_input(Buf *out, const ApiType *type, const Action *action, bool create) {
    buf_printf(out,
               "{\"type\":\"object\",\"properties\":{\"data\":{\"type\":\"object\",\"properties\":{\"type\":{\"const\":"
               "\"%.*s\"},",
               STR_ARG(type->name));
    if (!create)
        buf_add_c(out, "\"id\":{\"type\":\"string\"},");
    buf_add_c(out, "\"attributes\":");
    write_attributes(out, type, action);
    buf_add_c(out, ",\"relationships\":{\"type\":\"object\",\"properties\":{");
    const char *comma = "";
    for (size_t i = 0; i < type->n_rels; i++) {
        if (type->rels[i].many || !accepts(action, type->rels[i].attribute))
            continue;
        buf_printf(out, "%s\"%.*s\":{\"type\":\"object\",\"properties\":{\"data\":", comma,
                   STR_ARG(type->rels[i].name));
        write_identifier(out, type->rels[i].target);
        buf_add_c(out, "},\"required\":[\"data\"]}");
        comma = ",";
    }
    buf_printf(out, "}}},\"required\":[\"type\"%s]}},\"required\":[\"data\"]}", create ? ",\"attributes\"" : ",\"id\"");
}

static void write_arguments(const Schemas *s, Buf *out, const Action *action) {
    buf_add_c(out, "{\"type\":\"object\",\"properties\":{\"meta\":{\"type\":\"object\",\"properties\":{");
    for (const Attribute *a = action->arguments; a->name != NULL; a++) {
        buf_printf(out, "%s\"%.*s\":", a == action->arguments ? "" : ",", STR_ARG(api_name(s->ctx->arena, a->name)));
        schema_value(out, a, true);
    }
    buf_add_c(out, "},\"required\":[");
    const char *comma = "";
    for (const Attribute *a = action->arguments; a->name != NULL; a++) {
        if (!a->required)
            continue;
        buf_printf(out, "%s\"%.*s\"", comma, STR_ARG(api_name(s->ctx->arena, a->name)));
        comma = ",";
    }
    buf_add_c(out, "],\"patternProperties\":{\"^@\":true},\"additionalProperties\":false}},\"required\":[\"meta\"]}");
}

static bool is_target(const Schemas *s, const ApiType *type, bool many) {
    for (size_t i = 0; i < s->api->n_types; i++)
        for (size_t j = 0; j < s->api->types[i].n_rels; j++)
            if (s->api->types[i].rels[j].target == type && s->api->types[i].rels[j].many == many)
                return true;
    return false;
}

/* --- all ----------------------------------------------------------------------------------------------------- */

Err schema_give(SchemaEach fn, void *data, Str name, Buf *out) {
    Str json;
    TRY(buf_finish(out, &json));
    if (name.p == NULL)
        return ERR_NO_MEMORY;
    TRY(fn(name, json, data));
    buf_clear(out);
    return ERR_OK;
}

static Err each_of_type(const Schemas *s, const ApiType *type, Buf *out, SchemaEach fn, void *data) {
    Arena *arena = s->ctx->arena;
    write_resource(s, out, type);
    TRY(schema_give(fn, data, schema_type_name(arena, type, ""), out));
    write_document(s, out, type, false);
    TRY(schema_give(fn, data, schema_type_name(arena, type, "Document"), out));
    write_document(s, out, type, true);
    TRY(schema_give(fn, data, schema_type_name(arena, type, "Collection"), out));
    for (int many = 0; many < 2; many++) {
        if (!is_target(s, type, many))
            continue;
        write_linkage_document(s, out, type, many);
        TRY(schema_give(fn, data, schema_type_name(arena, type, many ? "Linkages" : "Linkage"), out));
    }
    if (type->create != NULL) {
        write_input(out, type, type->create, true);
        TRY(schema_give(fn, data, schema_type_name(arena, type, "Create"), out));
    }
    if (type->update != NULL) {
        write_input(out, type, type->update, false);
        TRY(schema_give(fn, data, schema_type_name(arena, type, "Update"), out));
    }
    for (const Action *a = type->sources[0].resource->actions; a->name != NULL; a++) {
        if (a->kind != ACTION_CUSTOM || a->arguments == NULL)
            continue;
        write_arguments(s, out, a);
        TRY(schema_give(fn, data, schema_action_name(arena, type, a), out));
    }
    return ERR_OK;
}

Err schemas_each(const Schemas *s, SchemaEach fn, void *data) {
    Buf out = buf_new(s->ctx->arena, 1024 * 1024);
    for (size_t i = 0; i < ARRAY_LEN(PARTS); i++) {
        buf_add_c(&out, PARTS[i].json);
        TRY(schema_give(fn, data, str_c(PARTS[i].name), &out));
    }
    begin_document(s, &out);
    buf_printf(&out, ",\"errors\":{\"type\":\"array\",\"minItems\":1,\"items\":%s}", ERROR);
    end_document(&out, "errors");
    TRY(schema_give(fn, data, STR("Errors"), &out));
    begin_document(s, &out);
    buf_add_c(&out, ",\"meta\":{\"type\":\"object\"}");
    end_document(&out, "meta");
    TRY(schema_give(fn, data, STR("Meta"), &out));
    for (size_t i = 0; i < s->api->n_types; i++)
        TRY(each_of_type(s, &s->api->types[i], &out, fn, data));
    return schemas_compat(s, &out, fn, data);
}
