/*
 * jsonapi_registry.c - types, fields, relationships and routes from the contexts' tables.
 *
 * Made once at boot; from then on a request only looks things up. What a to-one relationship says as linkage is not
 * said again as an attribute, unless the attribute has a form of its own (names for numbers).
 */
#include "api/jsonapi_internal.h"
#include "api/schema.h"

#define ROUTES_MAX 256

typedef struct Making {
    Ctx *ctx;
    Arena *arena;
    JsonApi *api;
    Route *routes;
    size_t n_routes;
} Making;

const ApiType *jsonapi_type(const JsonApi *api, Str name) {
    for (size_t i = 0; i < api->n_types; i++)
        if (str_eq(api->types[i].name, name))
            return &api->types[i];
    return NULL;
}

const ApiField *api_field(const ApiType *type, Str name) {
    for (size_t i = 0; i < type->n_fields; i++)
        if (str_eq(type->fields[i].name, name))
            return &type->fields[i];
    return NULL;
}

const ApiRel *api_rel(const ApiType *type, Str name) {
    for (size_t i = 0; i < type->n_rels; i++)
        if (str_eq(type->rels[i].name, name))
            return &type->rels[i];
    return NULL;
}

const Attribute *api_rel_attribute(const ApiRel *rel, const ApiSource *source) {
    if (rel->many)
        return source->key;
    const Attribute *a = resource_attribute(source->resource, rel->attribute->name);
    return a != NULL && a->type == rel->attribute->type ? a : NULL;
}

static const Action *action_of_kind(const Resource *resource, ActionKind kind) {
    for (const Action *a = resource->actions; a != NULL && a->name != NULL; a++)
        if (a->kind == kind)
            return a;
    return NULL;
}

/* --- types --------------------------------------------------------------------------------------------------- */

static bool is_linkage_only(const Resource *resource, const Attribute *a) {
    for (const Relationship *r = resource->relationships; r != NULL && r->name != NULL; r++)
        if (r->kind == BELONGS_TO && strcmp(r->attribute, a->name) == 0)
            return a->values == NULL;
    return false;
}

static Err add_source(Making *m, ApiType *type, const Context *context, const Resource *resource) {
    ApiSource source = {.context = context,
                        .resource = resource,
                        .key = resource_single_key(resource),
                        .read = action_of_kind(resource, ACTION_READ)};
    if (source.key == NULL || source.read == NULL || type->n_sources == API_SOURCES_MAX)
        return ctx_problem(m->ctx, ERR_INVALID, NULL,
                           "resource %s of %s says .api but has no single key or no read action", resource->name,
                           context->name);
    for (size_t i = 0; i < type->n_fields; i++)
        source.fields[i] = resource_attribute(resource, type->fields[i].attribute->name);
    type->sources[type->n_sources++] = source;
    return ERR_OK;
}

static Err add_type(Making *m, const Context *context, const Resource *resource) {
    if (m->api->n_types == API_TYPES_MAX)
        return ctx_problem(m->ctx, ERR_LIMIT, NULL, "more than %d types", API_TYPES_MAX);
    ApiType *type = &m->api->types[m->api->n_types];
    type->index = m->api->n_types++;
    type->name = api_name(m->arena, resource->plural);
    type->create = action_of_kind(resource, ACTION_CREATE);
    type->update = action_of_kind(resource, ACTION_UPDATE);
    type->destroy = action_of_kind(resource, ACTION_DESTROY);
    for (const Attribute *a = resource->attributes; a->name != NULL; a++) {
        if (a->key || is_linkage_only(resource, a))
            continue;
        if (type->n_fields == API_FIELDS_MAX)
            return ctx_problem(m->ctx, ERR_LIMIT, NULL, "resource %s has too many fields", resource->name);
        type->fields[type->n_fields++] = (ApiField){api_name(m->arena, a->name), a};
    }
    return add_source(m, type, context, resource);
}

typedef Err (*EachResource)(Making *m, const Context *context, const Resource *resource);

static Err each_resource(Making *m, ApiShow show, EachResource fn) {
    for (const Context *const *c = m->api->contexts; *c != NULL; c++)
        for (const Resource *const *r = (*c)->resources; *r != NULL; r++)
            if (show == API_HIDDEN ? (*r)->api != API_HIDDEN : (*r)->api == show)
                TRY(fn(m, *c, *r));
    return ERR_OK;
}

static ApiType *type_of(Making *m, const Resource *resource) {
    Str name = api_name(m->arena, resource->plural);
    for (size_t i = 0; i < m->api->n_types; i++)
        if (str_eq(m->api->types[i].name, name))
            return &m->api->types[i];
    return NULL;
}

static Err add_copy(Making *m, const Context *context, const Resource *resource) {
    ApiType *type = type_of(m, resource);
    if (type == NULL)
        return ctx_problem(m->ctx, ERR_INVALID, NULL, "resource %s of %s is a copy, but nobody shows %s",
                           resource->name, context->name, resource->plural);
    return add_source(m, type, context, resource);
}

/* --- relationships ------------------------------------------------------------------------------------------- */

static const Resource *resource_named(const Context *context, const char *name) {
    for (const Resource *const *r = context->resources; *r != NULL; r++)
        if (strcmp((*r)->name, name) == 0 || strcmp((*r)->plural, name) == 0)
            return *r;
    return NULL;
}

static const ApiSource *source_of(const ApiType *type, const Resource *resource) {
    for (size_t i = 0; type != NULL && i < type->n_sources; i++)
        if (type->sources[i].resource == resource)
            return &type->sources[i];
    return NULL;
}

static Err add_relationship(Making *m, const Context *context, const Resource *resource, const Relationship *r) {
    ApiType *type = type_of(m, resource);
    const Resource *other = resource_named(context, r->resource);
    ApiType *target = other == NULL ? NULL : type_of(m, other);
    ApiRel rel = {.name = api_name(m->arena, r->name),
                  .many = r->kind == HAS_MANY,
                  .from = source_of(type, resource),
                  .target = target,
                  .to = source_of(target, other),
                  .declared = r};
    if (rel.to == NULL || rel.from == NULL)
        return ERR_OK; /* the other side is not shown */
    rel.attribute = resource_attribute(rel.many ? other : resource, r->attribute);
    if (type->n_rels == API_RELS_MAX || (!rel.many && rel.from != &type->sources[0]) ||
        api_field(type, rel.name) != NULL || api_rel(type, rel.name) != NULL || rel.name.p == NULL)
        return ctx_problem(m->ctx, ERR_INVALID, NULL,
                           "relationship %s of %s: too many, named as another field, or a copy's to-one", r->name,
                           resource->name);
    const Attribute *end = rel.many ? rel.from->key : rel.to->key;
    if (rel.attribute->type != end->type)
        return ctx_problem(m->ctx, ERR_INVALID, NULL, "relationship %s of %s: %s is no key of that type", r->name,
                           resource->name, r->attribute);
    type->rels[type->n_rels++] = rel;
    return ERR_OK;
}

static Err add_relationships(Making *m, const Context *context, const Resource *resource) {
    for (const Relationship *r = resource->relationships; r != NULL && r->name != NULL; r++)
        TRY(add_relationship(m, context, resource, r));
    return ERR_OK;
}

/* --- routes -------------------------------------------------------------------------------------------------- */

static Err add_route(Making *m, Method method, ApiRoute what, const char *action, Str pattern) {
    ApiRoute *own = ARENA_NEW(m->arena, ApiRoute);
    const char *context = what.type == NULL ? "api" : what.type->sources[0].context->name;
    if (what.rel != NULL)
        context = what.rel->to->context->name;
    Str name = arena_printf(m->arena, "%s.%s", context, action);
    if (own == NULL || pattern.p == NULL || name.p == NULL)
        return ERR_NO_MEMORY;
    if (m->n_routes + 1 >= ROUTES_MAX)
        return ctx_problem(m->ctx, ERR_LIMIT, NULL, "more than %d routes", ROUTES_MAX);
    *own = what;
    own->api = m->api;
    bool document = what.op == API_OP_OPENAPI || what.op == API_OP_DOCS;
    m->routes[m->n_routes++] = (Route){.method = method,
                                       .pattern = pattern.p,
                                       .name = name.p,
                                       .context = context,
                                       .action = action,
                                       .surface = document ? "documents" : "jsonapi",
                                       .handler = api_handler,
                                       .data = own};
    return ERR_OK;
}

static Err add_rel_routes(Making *m, const ApiType *type, const ApiRel *rel) {
    Arena *arena = m->arena;
    Str related = arena_printf(arena, "/api/%.*s/{id}/%.*s", STR_ARG(type->name), STR_ARG(rel->name));
    Str linkage = arena_printf(arena, "/api/%.*s/{id}/relationships/%.*s", STR_ARG(type->name), STR_ARG(rel->name));
    ApiRoute route = {.type = type, .rel = rel, .op = API_OP_RELATED};
    TRY(add_route(m, METHOD_GET, route, "read", related));
    route.op = API_OP_LINKAGE;
    TRY(add_route(m, METHOD_GET, route, "read", linkage));
    route.op = API_OP_LINKAGE_WRITE;
    TRY(add_route(m, METHOD_PATCH, route, "replace", linkage));
    if (!rel->many)
        return ERR_OK;
    TRY(add_route(m, METHOD_POST, route, "add", linkage));
    return add_route(m, METHOD_DELETE, route, "remove", linkage);
}

static Err add_type_routes(Making *m, const ApiType *type) {
    Arena *arena = m->arena;
    Str all = arena_printf(arena, "/api/%.*s", STR_ARG(type->name));
    Str one = arena_printf(arena, "/api/%.*s/{id}", STR_ARG(type->name));
    TRY(add_route(m, METHOD_GET, (ApiRoute){.type = type, .op = API_OP_LIST}, "list", all));
    if (type->create != NULL)
        TRY(add_route(m, METHOD_POST, (ApiRoute){.type = type, .op = API_OP_CREATE, .action = type->create},
                      type->create->name, all));
    TRY(add_route(m, METHOD_GET, (ApiRoute){.type = type, .op = API_OP_GET}, "read", one));
    if (type->update != NULL)
        TRY(add_route(m, METHOD_PATCH, (ApiRoute){.type = type, .op = API_OP_UPDATE, .action = type->update},
                      type->update->name, one));
    if (type->destroy != NULL)
        TRY(add_route(m, METHOD_DELETE, (ApiRoute){.type = type, .op = API_OP_DESTROY, .action = type->destroy},
                      type->destroy->name, one));
    for (size_t i = 0; i < type->n_rels; i++)
        TRY(add_rel_routes(m, type, &type->rels[i]));
    for (const Action *a = type->sources[0].resource->actions; a->name != NULL; a++) {
        if (a->kind != ACTION_CUSTOM || a->arguments == NULL)
            continue;
        Str path = arena_printf(arena, "/api/%.*s/actions/%s", STR_ARG(type->name), a->name);
        TRY(add_route(m, METHOD_POST, (ApiRoute){.type = type, .op = API_OP_ACTION, .action = a}, a->name, path));
    }
    return ERR_OK;
}

Err jsonapi_new(Ctx *ctx, Arena *arena, const Context *const *contexts, JsonApi **ret) {
    Making m = {.ctx = ctx, .arena = arena, .api = ARENA_NEW(arena, JsonApi)};
    m.routes = ARENA_ARRAY(arena, Route, ROUTES_MAX);
    if (m.api == NULL || m.routes == NULL)
        return ERR_NO_MEMORY;
    m.api->contexts = contexts;
    TRY(each_resource(&m, API_SHOWN, add_type));
    TRY(each_resource(&m, API_COPY, add_copy));
    TRY(each_resource(&m, API_HIDDEN, add_relationships));
    TRY(add_route(&m, METHOD_GET, (ApiRoute){.op = API_OP_ROOT}, "root", STR("/api")));
    for (size_t i = 0; i < m.api->n_types; i++)
        TRY(add_type_routes(&m, &m.api->types[i]));
    TRY(add_route(&m, METHOD_GET, (ApiRoute){.op = API_OP_OPENAPI}, "openapi", STR("/openapi.json")));
    TRY(add_route(&m, METHOD_GET, (ApiRoute){.op = API_OP_DOCS}, "docs", STR("/docs")));
    m.api->routes = m.routes;
    TRY(openapi_make(ctx, m.api, &m.api->openapi));
    *ret = m.api;
    return ERR_OK;
}
