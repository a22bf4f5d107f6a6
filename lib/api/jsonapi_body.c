/*
 * jsonapi_body.c - request documents into structs.
 *
 * Everything wrong with a document is collected before it is refused, each with a pointer to what is really there.
 * Members that begin with '@' are passed over, as the specification demands; other members it does not define are, too,
 * but a field that the type does not have is an error: it would be lost silently.
 */
#include "api/jsonapi_internal.h"

CO_FN Err api_read_document(ApiCall *call, Str *ret_body) {
    TRY(api_check_content_type(call));
    Err err = request_body(call->req, MIN_OF(call->app->body_max, (uint64_t)API_BODY_MAX), ret_body);
    if (err == ERR_OK)
        return ERR_OK;
    call->res->close = true;
    if (err == ERR_LIMIT)
        return api_error(call, 413, "too-large", "The document is too large.");
    if (err == ERR_TIMEOUT)
        return api_error(call, 408, "too-slow", "The document did not arrive in time.");
    return err == ERR_SYNTAX || err == ERR_EOF ? api_error(call, 400, "malformed", "The body's framing is broken.")
                                               : err;
}

Err api_parse_document(ApiCall *call, Str body, const Json **ret) {
    Json *document;
    JsonProblem problem = {0};
    Err err = json_parse(body, call->ctx->arena, JSON_DUPLICATES_REJECT, &document, &problem);
    if (err == ERR_NO_MEMORY)
        return err;
    if (err != ERR_OK)
        return api_error(call, 400, "malformed-json", "The body is no JSON document: %.*s", STR_ARG(problem.message));
    if (document->kind != JSON_OBJECT_START)
        return api_error_at(call, 400, "malformed-document", STR(""), "A document is an object.");
    *ret = document;
    return ERR_OK;
}

/* --- resource objects ---------------------------------------------------------------------------------------- */

static Err check_type(ApiCall *call, const Json *data) {
    const ApiType *type = call->route->type;
    const Json *name = json_member(data, "type");
    if (name == NULL || name->kind != JSON_STRING)
        return api_error_at(call, 400, "malformed-document", name == NULL ? STR("/data") : STR("/data/type"),
                            "A resource has a type, a string.");
    if (!str_eq(name->text, type->name))
        return api_error_at(call, 409, "wrong-type", STR("/data/type"), "This is the place of %.*s.",
                            STR_ARG(type->name));
    return ERR_OK;
}

static Err check_id(ApiCall *call, const Json *data, Str id) {
    const Json *given = json_member(data, "id");
    if (id.p == NULL) {
        if (given != NULL)
            return api_error_at(call, 403, "client-generated-id", STR("/data/id"), "Ids are made by the server.");
        return ERR_OK;
    }
    if (given == NULL || given->kind != JSON_STRING)
        return api_error_at(call, 400, "malformed-document", given == NULL ? STR("/data") : STR("/data/id"),
                            "A resource that exists has an id, a string.");
    if (!str_eq_nocase(given->text, id))
        return api_error_at(call, 409, "wrong-id", STR("/data/id"), "This is the place of \"%.*s\".",
                            (int)MIN_OF(id.n, (size_t)100), id.p);
    return ERR_OK;
}

static bool accepts(const Action *action, const Attribute *a) {
    if (a->key || a->identity)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(action->accept) && action->accept[i] != NULL; i++)
        if (strcmp(action->accept[i], a->name) == 0)
            return true;
    return action->accept[0] == NULL;
}

static Str member_pointer(ApiCall *call, const char *base, Str name) {
    Buf pointer = buf_new(call->ctx->arena, 65536);
    buf_add_c(&pointer, base);
    for (size_t i = 0; i < name.n; i++) { /* RFC 6901 §3 */
        if (name.p[i] == '~')
            buf_add_c(&pointer, "~0");
        else if (name.p[i] == '/')
            buf_add_c(&pointer, "~1");
        else
            buf_add_char(&pointer, name.p[i]);
    }
    return pointer.err == ERR_OK ? buf_str(&pointer) : str_c(base);
}

static void read_attribute(ApiCall *call, const Json *member, const Action *action, void *object, uint32_t *seen) {
    const ApiType *type = call->route->type;
    const ApiField *field = api_field(type, member->name);
    Str pointer = member_pointer(call, "/data/attributes/", member->name);
    const char *why = NULL;
    if (field == NULL) {
        (void)api_error_at(call, 422, "unknown-field", pointer, "%.*s has no such attribute.", STR_ARG(type->name));
        return;
    }
    if (!accepts(action, field->attribute)) {
        (void)api_error_at(call, 403, "not-writable", pointer, "%s does not set this attribute.", action->name);
        return;
    }
    *seen |= 1u << (field - type->fields);
    if (api_read_value(field->attribute, member, call->ctx->arena, object, &why) != ERR_OK)
        (void)api_error_at(call, 422, "invalid-value", pointer, "Wanted here: %s.", why);
}

static void read_relationship(ApiCall *call, const Json *member, const Action *action, void *object, uint32_t *seen) {
    const ApiType *type = call->route->type;
    const ApiRel *rel = api_rel(type, member->name);
    Str pointer = member_pointer(call, "/data/relationships/", member->name);
    if (rel == NULL) {
        (void)api_error_at(call, 422, "unknown-field", pointer, "%.*s has no such relationship.", STR_ARG(type->name));
        return;
    }
    if (rel->many || !accepts(action, rel->attribute)) {
        (void)api_error_at(call, 403, "not-writable", pointer, "%s does not set this relationship.", action->name);
        return;
    }
    const Json *data = json_member(member, "data");
    const Json *id = json_member(data, "id");
    Str name = json_text(json_member(data, "type"));
    if (data != NULL && data->kind == JSON_OBJECT_START && id != NULL && id->kind == JSON_STRING && name.p != NULL &&
        !str_eq(name, rel->target->name)) {
        (void)api_error_at(call, 409, "wrong-type", pointer, "This leads to %.*s.", STR_ARG(rel->target->name));
        return;
    }
    if (name.p == NULL || id == NULL || id->kind != JSON_STRING) {
        (void)api_error_at(call, 422, "invalid-value", pointer, "Wanted here: data with a type and an id.");
        return;
    }
    if (api_parse_value(rel->attribute, id->text, call->ctx->arena, object) != ERR_OK) {
        (void)api_error_at(call, 404, "not-found", pointer, "There is no such %.*s.", STR_ARG(rel->target->name));
        return;
    }
    call->named[call->n_named].rel = rel;
    call->named[call->n_named].id = id->text;
    call->named[call->n_named++].pointer =
        pointer; /* names are unique in an object: as many as the type has, at most */
    for (size_t i = 0; i < type->n_fields; i++)
        if (type->fields[i].attribute == rel->attribute)
            *seen |= 1u << i;
}

static void check_missing(ApiCall *call, const Action *action, uint32_t seen, bool any) {
    const ApiType *type = call->route->type;
    for (size_t i = 0; i < type->n_fields; i++) {
        const Attribute *a = type->fields[i].attribute;
        if (a->required && a->default_sql == NULL && accepts(action, a) && (seen >> i & 1) == 0)
            (void)api_error_at(call, 422, "missing", any ? STR("/data/attributes") : STR("/data"), "%.*s is missing.",
                               STR_ARG(type->fields[i].name));
    }
}

typedef void (*ReadMember)(ApiCall *call, const Json *member, const Action *action, void *object, uint32_t *seen);

static Err read_members(ApiCall *call, const Json *data, const char *name, const Action *action, void *object,
                        ReadMember read, uint32_t *seen) {
    const Json *members = json_member(data, name);
    if (members == NULL)
        return ERR_OK;
    if (members->kind != JSON_OBJECT_START)
        return api_error_at(call, 400, "malformed-document", member_pointer(call, "/data/", str_c(name)),
                            "An object is wanted here.");
    for (const Json *member = members->first; member != NULL; member = member->next)
        if (member->name.n == 0 || member->name.p[0] != '@')
            read(call, member, action, object, seen);
    return ERR_OK;
}

Err api_read_resource(ApiCall *call, const Json *document, Str id, const Action *action, void *object, bool *changed) {
    const Json *data = json_member(document, "data");
    uint32_t seen = 0;
    call->n_named = 0;
    if (data == NULL || data->kind != JSON_OBJECT_START)
        return api_error_at(call, 400, "malformed-document", data == NULL ? STR("") : STR("/data"),
                            "A document brings one resource as its data.");
    TRY(check_type(call, data));
    TRY(check_id(call, data, id));
    TRY(read_members(call, data, "attributes", action, object, read_attribute, &seen));
    TRY(read_members(call, data, "relationships", action, object, read_relationship, &seen));
    call->fields = json_member(data, "attributes");
    call->fields_at = STR("/data/attributes");
    if (id.p == NULL)
        check_missing(call, action, seen, call->fields != NULL);
    *changed = seen != 0;
    return call->n_errors > 0 ? ERR_INVALID : ERR_OK;
}

CO_FN Err api_check_named(ApiCall *call) {
    for (size_t i = 0; i < call->n_named; i++) {
        void *ignored;
        Err err = api_load_one(call, call->named[i].rel->to, call->named[i].id, &ignored);
        if (err == ERR_NOT_FOUND)
            return api_error_at(call, 404, "not-found", call->named[i].pointer, "There is no such %.*s.",
                                STR_ARG(call->named[i].rel->target->name));
        TRY(err);
    }
    return ERR_OK;
}

/* --- arguments of custom actions ----------------------------------------------------------------------------- */

static void read_list(ApiCall *call, const Attribute *a, const Json *array, Str pointer, void *input) {
    Slice(Id) *list = (void *)((char *)input + a->offset);
    if (array->kind != JSON_ARRAY_START) {
        (void)api_error_at(call, 422, "invalid-value", pointer, "Wanted here: an array of UUIDs.");
        return;
    }
    list->p = ARENA_ARRAY(call->ctx->arena, Id, array->count);
    if (list->p == NULL) { /* an empty list would be another wish */
        (void)api_error_at(call, 503, "unavailable", pointer, "There is no memory for that many.");
        return;
    }
    for (const Json *one = array->first; one != NULL; one = one->next)
        if (one->kind != JSON_STRING || id_parse(one->text, ID_FORM_D, &list->p[list->n++]) != ERR_OK) {
            (void)api_error_at(call, 422, "invalid-value", pointer, "Wanted here: an array of UUIDs.");
            return;
        }
}

static void read_argument(ApiCall *call, const Json *meta, const Attribute *a, void *input) {
    Str name = api_name(call->ctx->arena, a->name);
    const Json *value = meta->first;
    while (value != NULL && !str_eq(value->name, name))
        value = value->next;
    const char *why;
    if (value == NULL) {
        if (a->required)
            (void)api_error_at(call, 422, "missing", STR("/meta"), "%.*s is missing.", STR_ARG(name));
        return;
    }
    Str pointer = member_pointer(call, "/meta/", name);
    if (a->list)
        read_list(call, a, value, pointer, input);
    else if (api_read_value(a, value, call->ctx->arena, input, &why) != ERR_OK)
        (void)api_error_at(call, 422, "invalid-value", pointer, "Wanted here: %s.", why);
}

static bool is_argument(ApiCall *call, const Action *action, Str name) {
    for (const Attribute *a = action->arguments; a->name != NULL; a++)
        if (str_eq(api_name(call->ctx->arena, a->name), name))
            return true;
    return name.n > 0 && name.p[0] == '@';
}

Err api_read_arguments(ApiCall *call, const Json *document, const Action *action, void *input) {
    const Json *meta = json_member(document, "meta");
    if (meta == NULL || meta->kind != JSON_OBJECT_START)
        return api_error_at(call, 400, "malformed-document", meta == NULL ? STR("") : STR("/meta"),
                            "An action's document brings its arguments as its meta.");
    for (const Json *member = meta->first; member != NULL; member = member->next)
        if (!is_argument(call, action, member->name))
            (void)api_error_at(call, 422, "unknown-field", member_pointer(call, "/meta/", member->name),
                               "%s has no such argument.", action->name);
    for (const Attribute *a = action->arguments; a->name != NULL; a++)
        read_argument(call, meta, a, input);
    call->fields = meta;
    call->fields_at = STR("/meta");
    return call->n_errors > 0 ? ERR_INVALID : ERR_OK;
}
