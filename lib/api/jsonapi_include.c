/*
 * jsonapi_include.c - the rows that include asks for, one statement per relationship and level.
 *
 * Each level takes the rows of the one above as one set: their keys go out as one array. Every row is there once,
 * whichever paths lead to it, and every to-many that was read is remembered as linkage of its owner, so that the
 * document is fully linked.
 */
#include "api/jsonapi_internal.h"

static Str row_name(Arena *arena, const ApiRow *row) {
    Str id = api_id(arena, row->source, row->row);
    return id.p == NULL ? id : arena_printf(arena, "%zu %.*s", row->type->index, STR_ARG(id));
}

static Str linkage_name(Arena *arena, const ApiRel *rel, Str id) {
    return arena_printf(arena, "%p %.*s", (const void *)rel, STR_ARG(id));
}

const ApiRows *api_linkage(const ApiGraph *graph, const ApiRel *rel, Str id) {
    if (graph == NULL || graph->linkage == NULL)
        return NULL;
    Str name = linkage_name(graph->arena, rel, id);
    return name.p == NULL ? NULL : map_get(graph->linkage, name);
}

static Err add_included(ApiGraph *graph, const ApiRow *row) {
    Str name = row_name(graph->arena, row);
    if (name.p == NULL)
        return ERR_NO_MEMORY;
    if (map_get(graph->seen, name) != NULL)
        return ERR_OK;
    if (graph->included.n == graph->capacity) {
        size_t more = graph->capacity == 0 ? 64 : graph->capacity * 2;
        ApiRow *p = ARENA_ARRAY(graph->arena, ApiRow, more);
        if (p == NULL)
            return ERR_NO_MEMORY;
        if (graph->included.n > 0)
            memcpy(p, graph->included.p, graph->included.n * sizeof *p);
        graph->included.p = p;
        graph->capacity = more;
    }
    graph->included.p[graph->included.n++] = *row;
    return map_put(graph->seen, name, graph, NULL);
}

/* The distinct values by which the other side is asked, as structs of it. */
static Err gather_keys(ApiCall *call, const ApiRel *rel, const ApiRow *rows, size_t n, ListFilter *ret) {
    Arena *arena = call->ctx->arena;
    const Attribute *wanted = rel->many ? rel->attribute : rel->to->key;
    const void **values = ARENA_ARRAY(arena, const void *, n);
    Map *known = map_new(arena, n);
    if (values == NULL || known == NULL)
        return ERR_NO_MEMORY;
    *ret = (ListFilter){.attribute = wanted, .op = LIST_IN, .values = values};
    for (size_t i = 0; i < n; i++) {
        const Attribute *ours = api_rel_attribute(rel, rows[i].source);
        if (ours == NULL || !attribute_is_present(ours, rows[i].row))
            continue;
        Buf text = buf_new(arena, 4096);
        api_format_value(ours, rows[i].row, &text);
        void *object = arena_alloc(arena, rel->to->resource->size);
        if (text.err != ERR_OK || object == NULL)
            return ERR_NO_MEMORY;
        if (map_get(known, buf_str(&text)) != NULL)
            continue;
        TRY(map_put(known, buf_str(&text), object, NULL));
        api_copy_value(ours, rows[i].row, wanted, object);
        values[ret->n++] = object;
    }
    return ERR_OK;
}

CO_FN static Err read_related(ApiCall *call, const ApiRel *rel, const ApiRow *rows, size_t n, ApiRows *ret) {
    ListQuery query = {.n_filters = 1, .n_sort = 1, .limit = API_INCLUDED_MAX + 1};
    query.sort[0] = (ListSort){rel->to->key, false};
    TRY(gather_keys(call, rel, rows, n, &query.filters[0]));
    *ret = (ApiRows){0};
    if (query.filters[0].n == 0)
        return ERR_OK;
    Engine *engine;
    void *found;
    TRY(api_engine(call, rel->to, &engine));
    TRY(action_check(rel->to->resource, rel->to->read, call->ctx, NULL));
    TRY(resource_select(engine, rel->to->resource, call->ctx, &query, &found, &ret->n));
    if (ret->n > API_INCLUDED_MAX)
        return api_error_param(call, 400, "too-much-included", STR("include"),
                               "\"%.*s\" leads to more than %d resources; ask for a smaller page.", STR_ARG(rel->name),
                               API_INCLUDED_MAX);
    ret->p = ARENA_ARRAY(call->ctx->arena, ApiRow, ret->n);
    if (ret->p == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < ret->n; i++)
        ret->p[i] = (ApiRow){rel->target, rel->to, (const char *)found + i * rel->to->resource->size};
    return ERR_OK;
}

/* Who has which of the rows read. */
static Err link_many(ApiGraph *graph, const ApiRel *rel, const ApiRow *owners, size_t n_owners, const ApiRows *rows) {
    Arena *arena = graph->arena;
    for (size_t i = 0; i < n_owners; i++) {
        Str id = api_id(arena, owners[i].source, owners[i].row);
        Str name = id.p == NULL ? id : linkage_name(arena, rel, id);
        ApiRows *own = ARENA_NEW(arena, ApiRows);
        if (own == NULL || name.p == NULL)
            return ERR_NO_MEMORY;
        TRY(map_put(graph->linkage, name, own, NULL));
    }
    for (int pass = 0; pass < 2; pass++) { /* count, then fill */
        for (size_t i = 0; i < rows->n; i++) {
            Buf id = buf_new(arena, 4096);
            api_format_value(rel->attribute, rows->p[i].row, &id);
            Str name = linkage_name(arena, rel, buf_str(&id));
            ApiRows *own = name.p == NULL ? NULL : map_get(graph->linkage, name);
            if (own == NULL)
                return ERR_NO_MEMORY;
            if (pass == 1 && own->p == NULL) {
                own->p = ARENA_ARRAY(arena, ApiRow, own->n);
                if (own->p == NULL)
                    return ERR_NO_MEMORY;
                own->n = 0;
            }
            if (pass == 1)
                own->p[own->n] = rows->p[i];
            own->n++;
        }
    }
    return ERR_OK;
}

CO_FN static Err follow(ApiCall *call, ApiGraph *graph, const ApiInclude *include, const ApiRow *rows, size_t n) {
    for (; include != NULL; include = include->next) {
        ApiRows found;
        TRY(read_related(call, include->rel, rows, n, &found));
        if (include->rel->many)
            TRY(link_many(graph, include->rel, rows, n, &found));
        for (size_t i = 0; i < found.n; i++)
            TRY(add_included(graph, &found.p[i]));
        if (include->children != NULL)
            TRY(follow(call, graph, include->children, found.p, found.n)); /* as deep as API_INCLUDE_DEPTH_MAX */
    }
    return ERR_OK;
}

CO_FN Err api_graph(ApiCall *call, const ApiRow *rows, size_t n, ApiGraph *ret) {
    Arena *arena = call->ctx->arena;
    *ret = (ApiGraph){.arena = arena, .seen = map_new(arena, n), .linkage = map_new(arena, n)};
    if (ret->seen == NULL || ret->linkage == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        Str name = row_name(arena, &rows[i]);
        if (name.p == NULL)
            return ERR_NO_MEMORY;
        TRY(map_put(ret->seen, name, ret, NULL));
    }
    return follow(call, ret, call->query.includes, rows, n);
}
