/*
 * list.c - the SELECT of a page: conditions, order, and where the page begins.
 *
 * A page begins behind a row's values ("keyset"), never at a number of rows: the n-th page costs what the first does,
 * and rows that come or go before it do not move it. Text and parameters are made in one walk, so that they cannot
 * drift apart; the text itself is the key under which the prepared statement is kept. The tempting alternative, OFFSET,
 * reads and throws away all that came before.
 */
#include "resource/list.h"

#include "resource/engine_internal.h"

#define LIST_SQL_MAX 65536

typedef struct ListCache {
    Map *by_sql;
    size_t n;
} ListCache;

bool attribute_is_ordered(const Attribute *attribute) {
    return attribute->type != TYPE_JSON && attribute->type != TYPE_NONE && !attribute->list;
}

const Attribute *resource_single_key(const Resource *resource) {
    const Attribute *key = NULL;
    for (const Attribute *a = resource->attributes; a != NULL && a->name != NULL; a++) {
        if (!a->key)
            continue;
        if (key != NULL)
            return NULL;
        key = a;
    }
    return key != NULL && attribute_is_ordered(key) && !key->optional ? key : NULL;
}

bool attribute_is_nullable(const Attribute *attribute) {
    return !attribute->required && !attribute->key && !attribute->identity;
}

bool attribute_is_present(const Attribute *attribute, const void *object) {
    const void *field = (const char *)object + attribute->offset;
    if (attribute->type == TYPE_TEXT)
        return ((const Str *)field)->p != NULL;
    if (attribute->type == TYPE_JSON)
        return ((const JsonText *)field)->text.p != NULL;
    if (attribute->optional && attribute->type == TYPE_ID)
        return ((const OptId *)field)->present;
    if (attribute->optional && attribute->type == TYPE_INSTANT)
        return ((const OptInstant *)field)->present;
    return true;
}

/* --- parameters ---------------------------------------------------------------------------------------------- */

/* Comparisons look at the first column of an instant only: microseconds. */
static Attribute compared(const Attribute *attribute) {
    Attribute first = *attribute;
    first.coarse = true;
    return first;
}

/* Adds the value and returns its number. */
static int add_value(PgParams *params, const Attribute *attribute, const void *object) {
    Attribute first = compared(attribute);
    resource_add_value(params, &first, object);
    return params->n;
}

static int add_values(PgParams *params, const Attribute *attribute, const void *const *objects, size_t n) {
    Attribute first = compared(attribute);
    resource_add_array(params, &first, objects, n);
    return params->n;
}

/* --- conditions ---------------------------------------------------------------------------------------------- */

static const char *const COMPARISONS[] = {
    [LIST_EQ] = "=", [LIST_NE] = "<>", [LIST_GT] = ">", [LIST_GE] = ">=", [LIST_LT] = "<", [LIST_LE] = "<="};

static void add_filter(const ListFilter *filter, Buf *sql, PgParams *params) {
    const char *name = filter->attribute->name;
    switch (filter->op) {
    case LIST_EQ:
    case LIST_NE:
    case LIST_GT:
    case LIST_GE:
    case LIST_LT:
    case LIST_LE:
        buf_printf(sql, "%s %s $%d", name, COMPARISONS[filter->op],
                   add_value(params, filter->attribute, filter->values[0]));
        return;
    case LIST_IN:
        buf_printf(sql, "%s = ANY($%d)", name, add_values(params, filter->attribute, filter->values, filter->n));
        return;
    case LIST_STARTS:
        buf_printf(sql, "starts_with(%s, $%d)", name, add_value(params, filter->attribute, filter->values[0]));
        return;
    case LIST_NULL:
        buf_printf(sql, "%s IS NULL", name);
        return;
    case LIST_NOT_NULL:
        buf_printf(sql, "%s IS NOT NULL", name);
        return;
    }
}

static bool goes_down(const ListQuery *query, size_t i) {
    return query->sort[i].descending != query->backward;
}

/* One row comparison, which an index on the columns serves; only where all go the same way and none may be missing. */
static bool is_uniform(const ListQuery *query) {
    for (size_t i = 0; i < query->n_sort; i++)
        if (attribute_is_nullable(query->sort[i].attribute) || goes_down(query, i) != goes_down(query, 0))
            return false;
    return true;
}

static void add_row_comparison(const ListQuery *query, Buf *sql, PgParams *params) {
    buf_add_c(sql, "(");
    for (size_t i = 0; i < query->n_sort; i++)
        buf_printf(sql, "%s%s", i == 0 ? "" : ", ", query->sort[i].attribute->name);
    buf_printf(sql, ") %s (", goes_down(query, 0) ? "<" : ">");
    for (size_t i = 0; i < query->n_sort; i++)
        buf_printf(sql, "%s$%d", i == 0 ? "" : ", ", add_value(params, query->sort[i].attribute, query->from));
    buf_add_c(sql, ")");
}

/* What lies strictly beyond `from` in this term alone; "false" where nothing does. Missing values are last. */
static void add_beyond(const ListQuery *query, size_t i, int parameter, Buf *sql) {
    const Attribute *a = query->sort[i].attribute;
    if (parameter == 0) { /* from has none */
        buf_printf(sql, query->backward ? "%s IS NOT NULL" : "false", a->name);
        return;
    }
    buf_printf(sql, "%s %s $%d", a->name, goes_down(query, i) ? "<" : ">", parameter);
    if (attribute_is_nullable(a) && !query->backward)
        buf_printf(sql, " OR %s IS NULL", a->name);
}

/* a beyond, or a the same and (b beyond, or b the same and (…)) */
static void add_terms(const ListQuery *query, Buf *sql, PgParams *params) {
    for (size_t i = 0; i < query->n_sort; i++) {
        const Attribute *a = query->sort[i].attribute;
        int parameter = attribute_is_present(a, query->from) ? add_value(params, a, query->from) : 0;
        buf_add_c(sql, "(");
        add_beyond(query, i, parameter, sql);
        if (i + 1 == query->n_sort)
            break;
        if (parameter == 0)
            buf_printf(sql, " OR %s IS NULL AND ", a->name);
        else
            buf_printf(sql, " OR %s = $%d AND ", a->name, parameter);
    }
    for (size_t i = 0; i < query->n_sort; i++)
        buf_add_c(sql, ")");
}

void list_compose(const Resource *resource, const ListQuery *query, Buf *sql, PgParams *params) {
    ASSERT(query->n_sort > 0 && query->n_sort <= LIST_SORT_MAX && query->n_filters <= LIST_FILTERS_MAX);
    buf_add_c(sql, "SELECT ");
    resource_columns(resource, "", sql);
    buf_printf(sql, " FROM %s.%s", resource->schema, resource->plural);
    for (size_t i = 0; i < query->n_filters; i++) {
        buf_add_c(sql, i == 0 ? " WHERE " : " AND ");
        add_filter(&query->filters[i], sql, params);
    }
    if (query->from != NULL) {
        buf_add_c(sql, query->n_filters == 0 ? " WHERE " : " AND ");
        if (is_uniform(query))
            add_row_comparison(query, sql, params);
        else
            add_terms(query, sql, params);
    }
    buf_add_c(sql, " ORDER BY ");
    for (size_t i = 0; i < query->n_sort; i++) {
        const Attribute *a = query->sort[i].attribute;
        if (attribute_is_nullable(a))
            buf_printf(sql, "%s%s IS NULL%s", i == 0 ? "" : ", ", a->name, query->backward ? " DESC" : "");
        buf_printf(sql, "%s%s%s", i == 0 && !attribute_is_nullable(a) ? "" : ", ", a->name,
                   goes_down(query, i) ? " DESC" : "");
    }
    pg_add_i64(params, query->limit);
    buf_printf(sql, " LIMIT $%d", params->n);
}

/* --- statements ---------------------------------------------------------------------------------------------- */

static Err cache_of(Engine *engine, ListCache **ret) {
    if (engine->lists == NULL) {
        ListCache *cache = ARENA_NEW(engine->arena, ListCache);
        if (cache == NULL || (cache->by_sql = map_new(engine->arena, LIST_STATEMENTS_MAX)) == NULL)
            return ERR_NO_MEMORY;
        engine->lists = cache;
    }
    *ret = engine->lists;
    return ERR_OK;
}

/* What no longer fits is sent without being prepared: a statement without a name. */
static Err unprepared(Ctx *ctx, Str sql, const Statement **ret) {
    Statement *statement = ARENA_NEW(ctx->arena, Statement);
    Str own = arena_str(ctx->arena, sql);
    if (statement == NULL || own.p == NULL)
        return ERR_NO_MEMORY;
    *statement = (Statement){.name = NULL, .sql = own.p, .writes = false};
    *ret = statement;
    return ERR_OK;
}

static Err statement_for(Engine *engine, Ctx *ctx, Str sql, const Statement **ret) {
    ListCache *cache;
    TRY(cache_of(engine, &cache));
    const Statement *known = map_get(cache->by_sql, sql);
    if (known != NULL) {
        *ret = known;
        return ERR_OK;
    }
    if (cache->n == LIST_STATEMENTS_MAX)
        return unprepared(ctx, sql, ret);
    Statement *statement = ARENA_NEW(engine->arena, Statement);
    Str own = arena_str(engine->arena, sql), name = arena_printf(engine->arena, "list_%zu", cache->n + 1);
    if (statement == NULL || own.p == NULL || name.p == NULL)
        return ERR_NO_MEMORY;
    *statement = (Statement){.name = name.p, .sql = own.p, .writes = false};
    TRY(map_put(cache->by_sql, own, statement, NULL));
    cache->n++;
    *ret = statement;
    return ERR_OK;
}

static void reverse_rows(char *rows, size_t n, size_t size, char *spare) {
    for (size_t i = 0; i < n / 2; i++) {
        memcpy(spare, rows + i * size, size);
        memcpy(rows + i * size, rows + (n - 1 - i) * size, size);
        memcpy(rows + (n - 1 - i) * size, spare, size);
    }
}

CO_FN Err resource_select(Engine *engine, const Resource *resource, Ctx *ctx, const ListQuery *query, void **ret_rows,
                          size_t *ret_n) {
    PgParams params;
    pg_params_init(&params, ctx->arena);
    Buf text = buf_new(ctx->arena, LIST_SQL_MAX);
    list_compose(resource, query, &text, &params);
    Str sql;
    TRY(buf_finish(&text, &sql));
    TRY(params.data.err);
    const Statement *statement;
    TRY(statement_for(engine, ctx, sql, &statement));
    TRY(resource_list(engine, resource, ctx, statement, &params, ret_rows, ret_n));
    if (query->backward) {
        char *spare = arena_alloc(ctx->arena, resource->size);
        if (spare == NULL)
            return ERR_NO_MEMORY;
        reverse_rows(*ret_rows, *ret_n, resource->size, spare);
    }
    return ERR_OK;
}
