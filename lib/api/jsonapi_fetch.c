/*
 * jsonapi_fetch.c - GET: collections, single resources, related resources, linkage.
 */
#include "api/jsonapi_internal.h"

Err api_engine(const ApiCall *call, const ApiSource *source, Engine **ret) {
    *ret = call->app->engine_of(source->context->name, call->app->data);
    return *ret == NULL ? ERR_UNAVAILABLE : ERR_OK; /* the context is not served by this process */
}

static Err no_such(ApiCall *call, const ApiType *type, Str id) {
    return api_error(call, 404, "not-found", "There is no %.*s \"%.*s\".", STR_ARG(type->name),
                     (int)MIN_OF(id.n, (size_t)100), id.p);
}

CO_FN Err api_load_one(ApiCall *call, const ApiSource *source, Str id, void **ret) {
    void *wanted = arena_alloc(call->ctx->arena, source->resource->size);
    Engine *engine;
    if (wanted == NULL)
        return ERR_NO_MEMORY;
    if (api_parse_value(source->key, id, call->ctx->arena, wanted) != ERR_OK)
        return ERR_NOT_FOUND;
    TRY(api_engine(call, source, &engine));
    if (source->key->type == TYPE_ID) {
        Id key;
        memcpy(&key, (const char *)wanted + source->key->offset, sizeof key);
        return resource_get(engine, source->resource, call->ctx, key, ret); /* asks the policy itself */
    }
    TRY(action_check(source->resource, source->read, call->ctx, NULL));
    const void *values[] = {wanted};
    ListQuery query = {.n_filters = 1, .n_sort = 1, .limit = 1};
    query.filters[0] = (ListFilter){source->key, LIST_EQ, values, 1};
    query.sort[0] = (ListSort){source->key, false};
    size_t n;
    TRY(resource_select(engine, source->resource, call->ctx, &query, ret, &n));
    return n == 0 ? ERR_NOT_FOUND : ERR_OK;
}

static Err path_one(const ApiCall *call, const char *tail, Str *ret) {
    *ret = arena_printf(call->ctx->arena, "/api/%.*s/%.*s%s", STR_ARG(call->route->type->name),
                        STR_ARG(call->req->path_values[0]), tail);
    return ret->p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static Err finish(ApiCall *call, const ApiPage *page) {
    TRY(api_render(call, page));
    api_add_content_type(call->res);
    call->res->status = 200;
    return ERR_OK;
}

CO_FN Err api_serve_root(ApiCall *call) {
    if (call->req->query.n > 0)
        return api_error(call, 400, "unknown-parameter", "No parameter is known here.");
    JsonWriter w;
    json_writer_init(&w, &call->res->body, JSON_ESCAPE_MINIMAL, 0);
    api_begin_document(&w);
    json_name(&w, STR("links"));
    json_object(&w);
    json_name(&w, STR("self"));
    json_write_string(&w, STR("/api"));
    json_name(&w, STR("describedby"));
    json_write_string(&w, STR("/openapi.json"));
    json_object_end(&w);
    json_name(&w, STR("meta"));
    json_object(&w);
    json_name(&w, STR("collections"));
    json_object(&w);
    const JsonApi *api = call->route->api;
    for (size_t i = 0; i < api->n_types; i++) {
        json_name(&w, api->types[i].name);
        json_write_string(&w, arena_printf(call->ctx->arena, "/api/%.*s", STR_ARG(api->types[i].name)));
    }
    json_object_end(&w);
    json_object_end(&w);
    json_object_end(&w);
    api_add_content_type(call->res);
    call->res->status = 200;
    return call->res->body.err;
}

/* One page of a source's rows under call->query, with a relationship's own condition or without. */
CO_FN static Err read_page(ApiCall *call, const ApiType *type, const ApiSource *source, const ListFilter *condition,
                           ApiPage *page) {
    ListQuery *list = &call->query.list;
    Engine *engine;
    void *rows;
    size_t n;
    if (condition != NULL)
        list->filters[list->n_filters++] = *condition;
    list->limit = call->query.size + 1;
    TRY(api_engine(call, source, &engine));
    TRY(action_check(source->resource, source->read, call->ctx, NULL));
    TRY(resource_select(engine, source->resource, call->ctx, list, &rows, &n));
    page->list = true;
    page->more = n > (size_t)call->query.size;
    size_t first = page->more && list->backward ? 1 : 0; /* the one too many lies where reading went */
    page->n = MIN_OF(n, (size_t)call->query.size);
    ApiRow *out = ARENA_ARRAY(call->ctx->arena, ApiRow, page->n);
    if (out == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < page->n; i++)
        out[i] = (ApiRow){type, source, (const char *)rows + (first + i) * source->resource->size};
    page->rows = out;
    return ERR_OK;
}

CO_FN static Err finish_with_includes(ApiCall *call, ApiPage *page) {
    ApiGraph graph;
    if (call->query.includes == NULL && !call->query.has_include)
        return finish(call, page);
    TRY(api_graph(call, page->rows, page->n, &graph));
    page->graph = &graph;
    Err err = finish(call, page);
    page->graph = NULL;
    return err;
}

CO_FN Err api_serve_list(ApiCall *call) {
    const ApiType *type = call->route->type;
    ApiPage page = {.path = arena_printf(call->ctx->arena, "/api/%.*s", STR_ARG(type->name))};
    TRY(api_query_parse(call, type, &type->sources[0], true, true));
    TRY(read_page(call, type, &type->sources[0], NULL, &page));
    return finish_with_includes(call, &page);
}

/* 304 when the client has it already. */
static Err add_etag(ApiCall *call, const ApiSource *source, const void *row, bool *unchanged) {
    char etag[ETAG_LEN];
    Fingerprint ignored;
    TRY(api_etag(source->resource, call->ctx->arena, row, etag, &ignored));
    response_header(call->res, "ETag", (Str){etag, sizeof etag});
    Str known = request_header(call->req, "If-None-Match");
    *unchanged = known.p != NULL && etag_matches(known, (Str){etag, sizeof etag}, false);
    return ERR_OK;
}

CO_FN Err api_serve_get(ApiCall *call) {
    const ApiType *type = call->route->type;
    const ApiSource *source = &type->sources[0];
    void *row;
    TRY(api_query_parse(call, type, source, false, true));
    Err err = api_load_one(call, source, call->req->path_values[0], &row);
    if (err == ERR_NOT_FOUND)
        return no_such(call, type, call->req->path_values[0]);
    TRY(err);
    bool unchanged = false;
    /* A selection is another representation; its tag would say nothing to If-Match. */
    if (!call->query.has_include && !call->query.has_fields)
        TRY(add_etag(call, source, row, &unchanged));
    if (unchanged) {
        call->res->status = 304;
        return ERR_OK;
    }
    ApiRow one = {type, source, row};
    ApiPage page = {.rows = &one, .n = 1};
    page.path = arena_printf(call->ctx->arena, "/api/%.*s/%.*s", STR_ARG(type->name),
                             STR_ARG(api_id(call->ctx->arena, source, row)));
    return finish_with_includes(call, &page);
}

/* The row whose relationship is asked for. */
CO_FN static Err load_owner(ApiCall *call, void **ret) {
    const ApiType *type = call->route->type;
    Err err = api_load_one(call, &type->sources[0], call->req->path_values[0], ret);
    return err == ERR_NOT_FOUND ? no_such(call, type, call->req->path_values[0]) : err;
}

CO_FN static Err many_page(ApiCall *call, const void *owner, ApiPage *page) {
    const ApiRel *rel = call->route->rel;
    void *value = arena_alloc(call->ctx->arena, rel->to->resource->size);
    const void **values = ARENA_ARRAY(call->ctx->arena, const void *, 1);
    if (value == NULL || values == NULL)
        return ERR_NO_MEMORY;
    api_copy_value(call->route->type->sources[0].key, owner, rel->attribute, value);
    values[0] = value;
    ListFilter condition = {rel->attribute, LIST_EQ, values, 1};
    return read_page(call, rel->target, rel->to, &condition, page);
}

CO_FN static Err one_page(ApiCall *call, const void *owner, ApiPage *page) {
    const ApiRel *rel = call->route->rel;
    const Attribute *a = rel->attribute;
    if (!attribute_is_present(a, owner))
        return ERR_OK;
    Buf id = buf_new(call->ctx->arena, 4096);
    ApiRow *row = ARENA_NEW(call->ctx->arena, ApiRow);
    void *found;
    api_format_value(a, owner, &id);
    if (row == NULL || id.err != ERR_OK)
        return ERR_NO_MEMORY;
    Err err = api_load_one(call, rel->to, buf_str(&id), &found);
    if (err == ERR_NOT_FOUND) /* not heard of (yet) in this context */
        return ERR_OK;
    TRY(err);
    *row = (ApiRow){rel->target, rel->to, found};
    page->rows = row;
    page->n = 1;
    return ERR_OK;
}

CO_FN Err api_serve_related(ApiCall *call) {
    const ApiRel *rel = call->route->rel;
    void *owner = NULL;
    ApiPage page = {0};
    TRY(api_query_parse(call, rel->target, rel->to, rel->many, true));
    TRY(load_owner(call, &owner));
    TRY(path_one(call, arena_printf(call->ctx->arena, "/%.*s", STR_ARG(rel->name)).p, &page.path));
    if (rel->many)
        TRY(many_page(call, owner, &page));
    else
        TRY(one_page(call, owner, &page));
    return finish_with_includes(call, &page);
}

CO_FN Err api_serve_linkage(ApiCall *call) {
    const ApiRel *rel = call->route->rel;
    Arena *arena = call->ctx->arena;
    void *owner = NULL;
    ApiPage page = {.identifiers = true};
    TRY(api_query_parse(call, rel->target, rel->to, rel->many, false));
    TRY(load_owner(call, &owner));
    TRY(path_one(call, arena_printf(arena, "/relationships/%.*s", STR_ARG(rel->name)).p, &page.path));
    TRY(path_one(call, arena_printf(arena, "/%.*s", STR_ARG(rel->name)).p, &page.related));
    if (rel->many) {
        TRY(many_page(call, owner, &page));
        return finish(call, &page);
    }
    /* The linkage is in the row itself, whether or not this context has heard of the other side. */
    void *other = arena_alloc(arena, rel->to->resource->size);
    if (other == NULL)
        return ERR_NO_MEMORY;
    ApiRow row = {rel->target, rel->to, other};
    if (attribute_is_present(rel->attribute, owner)) {
        api_copy_value(rel->attribute, owner, rel->to->key, other);
        page.rows = &row;
        page.n = 1;
    }
    return finish(call, &page);
}
