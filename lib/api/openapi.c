/*
 * openapi.c - GET /openapi.json: OpenAPI 3.1 of both surfaces, and /docs, which shows it.
 *
 * Paths come from the routes, bodies from the schemas (schema.h). Made once at boot, sent as it is.
 */
#include "api/schema_internal.h"

enum { OPENAPI_MAX = 4 * 1024 * 1024 };

typedef struct Writing {
    Ctx *ctx;
    const JsonApi *api;
    Buf *out;
    bool any;
} Writing;

static const char *method_lower(Method method) {
    switch (method) {
    case METHOD_GET:
        return "get";
    case METHOD_POST:
        return "post";
    case METHOD_PUT:
        return "put";
    case METHOD_PATCH:
        return "patch";
    case METHOD_DELETE:
        return "delete";
    default:
        return NULL;
    }
}

/* --- answers ------------------------------------------------------------------------------------------------- */

static void write_answer(Writing *w, int status, const char *media, Str schema, const char *headers) {
    buf_printf(w->out, "%s\"%d\":{\"description\":\"%s\"", w->any ? "," : "", status, http_reason(status));
    w->any = true;
    if (headers != NULL)
        buf_printf(w->out, ",\"headers\":%s", headers);
    if (media != NULL) {
        buf_printf(w->out, ",\"content\":{\"%s\":{\"schema\":", media);
        if (schema.p != NULL)
            buf_printf(w->out, "{\"$ref\":\"#/components/schemas/%.*s\"}", STR_ARG(schema));
        else
            buf_add_c(w->out, "{\"type\":\"string\"}");
        buf_add_c(w->out, "}}");
    }
    buf_add_c(w->out, "}");
}

static void write_failures(Writing *w, const char *media, const char *schema, const int *statuses) {
    for (; *statuses != 0; statuses++)
        write_answer(w, *statuses, media, str_c(schema), NULL);
}

static void write_body(Writing *w, const char *media, Str schema) {
    buf_printf(w->out,
               "\"requestBody\":{\"required\":true,\"content\":{\"%s\":{\"schema\":{\"$ref\":"
               "\"#/components/schemas/%.*s\"}}}},",
               media, STR_ARG(schema));
}

/* --- compat -------------------------------------------------------------------------------------------------- */

static void write_compat(Writing *w, const Route *route) {
    static const int reads[] = {503, 0}, problems[] = {404, 408, 413, 415, 503, 0};
    const CompatAction *action = route->data;
    bool read = action->payload == NULL;
    if (!read)
        write_body(w, "application/json", schema_compat_name(w->ctx->arena, route, "request"));
    buf_add_c(w->out, "\"responses\":{");
    w->any = false;
    Str schema = schema_compat_name(w->ctx->arena, route, "answer");
    if (action->answer == ANSWER_NOTHING)
        write_answer(w, 204, NULL, (Str){0}, NULL);
    else
        write_answer(w, action->answer == ANSWER_CREATED ? 201 : 200, "application/json", schema, NULL);
    if (!read)
        write_answer(w, 400, "application/json", STR("Refused"), NULL);
    else
        write_answer(w, 400, NULL, (Str){0}, NULL); /* what is no HTTP */
    if (read && action->answer == ANSWER_ONE)
        write_answer(w, 404, "application/problem+json", STR("Problem"), NULL);
    else if (read && strchr(route->pattern, '{') != NULL) /* an id that is none */
        write_answer(w, 404, NULL, (Str){0}, NULL);
    write_failures(w, "application/problem+json", "Problem", read ? reads : problems);
    write_answer(w, 500, "application/json", STR("Refused"), NULL);
    buf_add_c(w->out, "}");
}

/* --- JSON:API ------------------------------------------------------------------------------------------------ */

#define ETAG_HEADER "{\"ETag\":{\"schema\":{\"type\":\"string\"}}}"
#define CREATED_HEADERS                                                                                                \
    "{\"ETag\":{\"schema\":{\"type\":\"string\"}},\"Location\":{\"schema\":{\"type\":\"string\",\"format\":"           \
    "\"uri-reference\"}}}"

static const ApiType *answered_type(const ApiRoute *r) {
    return r->rel != NULL ? r->rel->target : r->type;
}

static void write_ok(Writing *w, const ApiRoute *r) {
    Arena *arena = w->ctx->arena;
    const ApiType *type = answered_type(r);
    bool many = r->op == API_OP_LIST || (r->rel != NULL && r->rel->many);
    switch (r->op) {
    case API_OP_ROOT:
        write_answer(w, 200, JSONAPI_MEDIA_TYPE, STR("Meta"), NULL);
        return;
    case API_OP_CREATE:
        write_answer(w, 201, JSONAPI_MEDIA_TYPE, schema_type_name(arena, type, "Document"), CREATED_HEADERS);
        return;
    case API_OP_GET:
        write_answer(w, 304, NULL, (Str){0}, NULL);
        write_answer(w, 200, JSONAPI_MEDIA_TYPE, schema_type_name(arena, type, "Document"), ETAG_HEADER);
        return;
    case API_OP_UPDATE:
        write_answer(w, 200, JSONAPI_MEDIA_TYPE, schema_type_name(arena, type, "Document"), ETAG_HEADER);
        return;
    case API_OP_LIST:
    case API_OP_RELATED:
        write_answer(w, 200, JSONAPI_MEDIA_TYPE, schema_type_name(arena, type, many ? "Collection" : "Document"), NULL);
        return;
    case API_OP_LINKAGE:
        write_answer(w, 200, JSONAPI_MEDIA_TYPE, schema_type_name(arena, type, many ? "Linkages" : "Linkage"), NULL);
        return;
    case API_OP_DESTROY:
    case API_OP_ACTION:
        write_answer(w, 204, NULL, (Str){0}, NULL);
        return;
    case API_OP_LINKAGE_WRITE: /* only ever refused */
    case API_OP_OPENAPI:
    case API_OP_DOCS:
        return;
    }
}

static void write_errors(Writing *w, const ApiRoute *r) {
    static const int reads[] = {400, 403, 404, 406, 500, 503, 0};
    static const int writes[] = {400, 403, 404, 406, 408, 409, 412, 413, 415, 422, 500, 503, 0};
    bool read = r->op == API_OP_ROOT || r->op == API_OP_LIST || r->op == API_OP_GET || r->op == API_OP_RELATED ||
                r->op == API_OP_LINKAGE;
    write_failures(w, JSONAPI_MEDIA_TYPE, "Errors", read ? reads : writes);
}

#define PARAMETER(name, in, schema, description)                                                                       \
    "{\"name\":\"" name "\",\"in\":\"" in "\",\"description\":\"" description "\",\"schema\":" schema "}"

static void write_filters(Writing *w, const ApiType *type) {
    for (size_t i = 0; i < type->n_fields; i++)
        if (attribute_is_ordered(type->fields[i].attribute))
            buf_printf(w->out,
                       ",{\"name\":\"filter[%.*s]\",\"in\":\"query\",\"description\":\"Equal to; other operators as "
                       "filter[%.*s][ne|gt|ge|lt|le|in|starts|null].\",\"schema\":{\"type\":\"string\"}}",
                       STR_ARG(type->fields[i].name), STR_ARG(type->fields[i].name));
}

static void write_query_parameters(Writing *w, const ApiRoute *r) {
    const ApiType *type = answered_type(r);
    bool many = r->op == API_OP_LIST || (r->rel != NULL && r->rel->many);
    bool fetch = r->op == API_OP_LIST || r->op == API_OP_GET || r->op == API_OP_RELATED;
    if (fetch)
        buf_add_c(w->out,
                  "," PARAMETER("include", "query", "{\"type\":\"string\"}", "Relationship paths, comma-separated."));
    if (fetch)
        buf_printf(w->out,
                   ",{\"name\":\"fields[%.*s]\",\"in\":\"query\",\"description\":\"Fields to show, comma-separated.\","
                   "\"schema\":{\"type\":\"string\"}}",
                   STR_ARG(type->name));
    if (!many || (!fetch && r->op != API_OP_LINKAGE))
        return;
    buf_add_c(w->out,
              "," PARAMETER("sort", "query", "{\"type\":\"string\"}", "Fields, comma-separated; - for descending."));
    buf_add_c(w->out, "," PARAMETER("page[size]", "query", "{\"type\":\"integer\",\"minimum\":1,\"maximum\":500}",
                                    "Rows a page."));
    buf_add_c(w->out, "," PARAMETER("page[after]", "query", "{\"type\":\"string\"}", "A cursor from a page's links."));
    buf_add_c(w->out, "," PARAMETER("page[before]", "query", "{\"type\":\"string\"}", "A cursor from a page's links."));
    write_filters(w, type);
}

static void write_header_parameters(Writing *w, const ApiRoute *r) {
    if (r->op == API_OP_GET)
        buf_add_c(w->out,
                  "," PARAMETER("If-None-Match", "header", "{\"type\":\"string\"}", "304 when it is still this."));
    if (r->op == API_OP_UPDATE || r->op == API_OP_DESTROY)
        buf_add_c(w->out,
                  "," PARAMETER("If-Match", "header", "{\"type\":\"string\"}", "412 when it is no longer this."));
    if (r->op == API_OP_CREATE || r->op == API_OP_ACTION)
        buf_add_c(w->out,
                  "," PARAMETER("Idempotency-Key", "header", "{\"type\":\"string\",\"minLength\":1,\"maxLength\":257}",
                                "Sent again under the same key, a request has no second effect."));
}

static void write_input(Writing *w, const ApiRoute *r) {
    Arena *arena = w->ctx->arena;
    if (r->op == API_OP_CREATE)
        write_body(w, JSONAPI_MEDIA_TYPE, schema_type_name(arena, r->type, "Create"));
    if (r->op == API_OP_UPDATE)
        write_body(w, JSONAPI_MEDIA_TYPE, schema_type_name(arena, r->type, "Update"));
    if (r->op == API_OP_ACTION)
        write_body(w, JSONAPI_MEDIA_TYPE, schema_action_name(arena, r->type, r->action));
}

static void write_jsonapi(Writing *w, const ApiRoute *r) {
    write_input(w, r);
    buf_add_c(w->out, "\"responses\":{");
    w->any = false;
    write_ok(w, r);
    write_errors(w, r);
    buf_add_c(w->out, "}");
}

/* --- paths --------------------------------------------------------------------------------------------------- */

/* "/events/{id:id}" as OpenAPI spells it, and the parameters' names. */
static Str path_of(Arena *arena, const char *pattern) {
    Buf out = buf_new(arena, 1024);
    for (const char *p = pattern; *p != '\0'; p++) {
        if (*p == ':')
            while (*p != '}')
                p++;
        buf_add_char(&out, *p);
    }
    return buf_str(&out);
}

static void write_path_parameters(Writing *w, const Route *route) {
    const char *comma = "";
    for (const char *p = strchr(route->pattern, '{'); p != NULL; p = strchr(p + 1, '{')) {
        size_t n = strcspn(p + 1, ":}");
        buf_printf(w->out, "%s{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"}}",
                   comma, (int)n, p + 1);
        comma = ",";
    }
}

static const char *doc_of(const Route *route) {
    const Resource *resource = NULL;
    const Action *action = NULL;
    if (strcmp(route->surface, "compat") == 0) {
        const CompatAction *compat = route->data;
        resource = compat->resource;
        action = resource == NULL ? NULL : resource_action(resource, compat->action);
    } else {
        action = ((const ApiRoute *)route->data)->action;
    }
    return action != NULL && action->doc != NULL ? action->doc : route->name;
}

/* Unique and readable: surface, method, path. */
static void write_operation_id(Writing *w, const Route *route) {
    buf_printf(w->out, "\"operationId\":\"%s", method_lower(route->method));
    for (const char *p = route->pattern; *p != '\0'; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        buf_add_char(w->out, plain ? *p : '_');
    }
    buf_add_c(w->out, "\",");
}

static void write_operation(Writing *w, const Route *route) {
    bool compat = strcmp(route->surface, "compat") == 0;
    const ApiRoute *api = compat ? NULL : route->data;
    buf_printf(w->out, "\"%s\":{", method_lower(route->method));
    write_operation_id(w, route);
    buf_printf(w->out, "\"tags\":[\"%s\"],\"summary\":", compat ? "compat" : "jsonapi");
    json_escape(w->out, str_c(doc_of(route)), JSON_ESCAPE_MINIMAL);
    buf_add_c(w->out, ",\"parameters\":[");
    size_t before = w->out->n;
    write_path_parameters(w, route);
    if (!compat) {
        bool first = w->out->n == before;
        write_query_parameters(w, api);
        write_header_parameters(w, api);
        if (first && w->out->n > before) { /* each begins with its comma */
            memmove(w->out->p + before, w->out->p + before + 1, w->out->n - before - 1);
            w->out->n--;
        }
    }
    buf_add_c(w->out, "],");
    if (compat)
        write_compat(w, route);
    else
        write_jsonapi(w, api);
    buf_add_c(w->out, "}");
}

/* What is only ever refused (relationships by themselves) is no offer. */
static bool is_shown(const Route *route) {
    if (method_lower(route->method) == NULL || strcmp(route->surface, "documents") == 0)
        return false;
    return strcmp(route->surface, "jsonapi") != 0 || ((const ApiRoute *)route->data)->op != API_OP_LINKAGE_WRITE;
}

/* Routes of one path stand apart in their tables: each path is written where its first route is. */
static void write_paths(Writing *w, const Route *const *routes, size_t n) {
    const char *comma = "";
    for (size_t i = 0; i < n; i++) {
        bool seen = !is_shown(routes[i]);
        for (size_t j = 0; j < i; j++)
            seen = seen || strcmp(routes[j]->pattern, routes[i]->pattern) == 0;
        if (seen)
            continue;
        Str path = path_of(w->ctx->arena, routes[i]->pattern);
        buf_printf(w->out, "%s\"%.*s\":{", comma, STR_ARG(path));
        const char *inner = "";
        for (size_t j = i; j < n; j++) {
            if (strcmp(routes[j]->pattern, routes[i]->pattern) != 0 || !is_shown(routes[j]))
                continue;
            buf_add_c(w->out, inner);
            write_operation(w, routes[j]);
            inner = ",";
        }
        buf_add_c(w->out, "}");
        comma = ",";
    }
}

static Err write_schema(Str name, Str json, void *data) {
    Writing *w = data;
    buf_printf(w->out, "%s\"%.*s\":", w->any ? "," : "", STR_ARG(name));
    buf_add(w->out, json);
    w->any = true;
    return w->out->err;
}

static const Route **all_routes(Arena *arena, const JsonApi *api, size_t *ret_n) {
    const Route **routes = ARENA_ARRAY(arena, const Route *, 1024);
    size_t n = 0;
    for (const Context *const *c = api->contexts; routes != NULL && *c != NULL; c++)
        for (const Route *r = (*c)->routes; r != NULL && r->pattern != NULL && n < 512; r++)
            routes[n++] = r;
    for (const Route *r = api->routes; routes != NULL && r->pattern != NULL && n < 1024; r++)
        routes[n++] = r;
    *ret_n = n;
    return routes;
}

Err openapi_make(Ctx *ctx, const JsonApi *api, Str *ret) {
    Buf out = buf_new(ctx->arena, OPENAPI_MAX);
    Writing w = {.ctx = ctx, .api = api, .out = &out};
    size_t n;
    const Route **routes = all_routes(ctx->arena, api, &n);
    if (routes == NULL)
        return ERR_NO_MEMORY;
    buf_add_c(&out,
              "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"usher\",\"version\":\"" USHER_VERSION
              "\",\"summary\":\"Events, users and tickets.\",\"description\":\"Two surfaces over one set of "
              "declarations: the old system's own, kept to the byte, and JSON:API 1.1 under /api. What is no HTTP is "
              "answered with an empty 400, 405, 408, 414 or 431, and the connection is closed.\",\"license\":"
              "{\"name\":\"Proprietary\",\"identifier\":\"LicenseRef-proprietary\"}},\"servers\":[{\"url\":\"/\"}],"
              "\"security\":[],\"tags\":[{\"name\":\"compat\",\"description\":\"The old system's surface.\"},"
              "{\"name\":\"jsonapi\",\"description\":\"JSON:API 1.1.\"}],\"paths\":{");
    write_paths(&w, routes, n);
    buf_add_c(&out, "},\"components\":{\"schemas\":{");
    w.any = false;
    Schemas schemas = {.ctx = ctx, .api = api, .ref_before = "#/components/schemas/", .ref_behind = ""};
    TRY(schemas_each(&schemas, write_schema, &w));
    buf_add_c(&out, "}}}");
    return buf_finish(&out, ret);
}
