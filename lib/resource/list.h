/*
 * list.h - reading many rows of a resource: filters, order, keyset pages.
 *
 * A ListQuery names attributes of the declarations and brings values as structs of the resource; the SQL is composed
 * from names that context_verify has passed, and every value is a parameter. Statements are made the first time a shape
 * is asked for and kept, at most LIST_STATEMENTS_MAX of them an engine; shapes beyond that are sent unprepared, so that
 * no stranger's variety of questions can fill a connection's memory.
 */
#pragma once
#include "resource/resource.h"

typedef enum ListOp {
    LIST_EQ,
    LIST_NE,
    LIST_GT,
    LIST_GE,
    LIST_LT,
    LIST_LE,
    LIST_IN,       /* any of n values */
    LIST_STARTS,   /* texts that begin with the value, byte by byte */
    LIST_NULL,     /* no value */
    LIST_NOT_NULL, /* no value */
} ListOp;

enum { LIST_FILTERS_MAX = 16, LIST_SORT_MAX = 5, LIST_STATEMENTS_MAX = 512 };

typedef struct ListFilter {
    const Attribute *attribute;
    ListOp op;
    const void *const *values; /* structs of the resource that hold the value in the attribute's member */
    size_t n;
} ListFilter;

typedef struct ListSort {
    const Attribute *attribute;
    bool descending; /* missing values come last either way */
} ListSort;

typedef struct ListQuery {
    ListFilter filters[LIST_FILTERS_MAX]; /* all must hold */
    size_t n_filters;
    ListSort sort[LIST_SORT_MAX]; /* the last must be unique: the key */
    size_t n_sort;
    const void *from; /* the row behind which (backward: before which) the page begins; only sort attributes are read */
    bool backward;    /* the page that ends before `from`; rows come in the usual order all the same */
    int64_t limit;
} ListQuery;

/** Can it be compared and sorted? JSON cannot. */
bool attribute_is_ordered(const Attribute *attribute);
/** The single key attribute of any type but JSON, or NULL. */
const Attribute *resource_single_key(const Resource *resource);
/** May the column be NULL? */
bool attribute_is_nullable(const Attribute *attribute);
/** Is there a value in this struct? */
bool attribute_is_present(const Attribute *attribute, const void *object);

/** SQL and parameters of a query, for resource_select and its tests. */
void list_compose(const Resource *resource, const ListQuery *query, Buf *sql, PgParams *params);
/** Rows (of resource->size) in ctx's arena, no policy asked. Suspends; one round trip. Errors as pg_query. */
CO_FN Err resource_select(Engine *engine, const Resource *resource, Ctx *ctx, const ListQuery *query, void **ret_rows,
                          size_t *ret_n) MUST_USE;
