/*
 * jsonapi_query.c - any query string is refused in words, or becomes a list that stays within its bounds, whose SQL
 * holds nothing a client said, and that its own links lead to again.
 *
 * Input: 1 byte, which type is listed; then the query as it stands behind '?'.
 */
#include "jsonapi_call.h"

#include "http/chars.h"

#define ARENA_BYTES ((size_t)64 << 20)

static void parse(FuzzCall *f, Arena *arena, const ApiType *type, Str query, Err *ret) {
    ApiRoute route = {.api = fuzz_api(), .type = type, .op = API_OP_LIST};
    fuzz_call(f, arena, &route);
    f->req.query = query;
    *ret = api_query_parse(&f->call, type, &type->sources[0], true, true);
}

static Str compose(FuzzCall *f, const ApiType *type, PgParams *params) {
    Buf sql = buf_new(f->ctx.arena, 1 << 16);
    f->call.query.list.limit = f->call.query.size;
    pg_params_init(params, f->ctx.arena);
    list_compose(type->sources[0].resource, &f->call.query.list, &sql, params);
    FUZZ_CHECK(sql.err == ERR_OK && params->data.err == ERR_OK);
    return buf_str(&sql);
}

/* Names of declarations, operators and numbers of parameters: no quote, no semicolon, no comment, and no $n that has no
 * value. */
static void check_sql(Str sql, int parameters) {
    for (size_t i = 0; i < sql.n; i++) {
        char c = sql.p[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        FUZZ_CHECK(word || memchr("_ .,()$=<>", c, 11) != NULL);
        int number = 0;
        while (c == '$' && i + 1 < sql.n && sql.p[i + 1] >= '0' && sql.p[i + 1] <= '9')
            number = number * 10 + sql.p[++i] - '0';
        FUZZ_CHECK(c != '$' || (number > 0 && number <= parameters));
    }
}

static void check_bounds(const ApiQuery *query, const ApiSource *source) {
    const ListQuery *list = &query->list;
    FUZZ_CHECK(query->size >= 1 && query->size <= API_PAGE_MAX);
    FUZZ_CHECK(list->n_sort >= 1 && list->n_sort <= LIST_SORT_MAX && list->n_filters < LIST_FILTERS_MAX);
    bool keyed = false;
    for (size_t i = 0; i < list->n_sort; i++)
        keyed = keyed || list->sort[i].attribute == source->key;
    FUZZ_CHECK(keyed); /* else pages would not be ordered by something unique */
    for (size_t i = 0; i < list->n_filters; i++)
        FUZZ_CHECK(list->filters[i].attribute != NULL && list->filters[i].n <= 200);
    FUZZ_CHECK(chars_all(query->kept, CHAR_TARGET));
}

/* The links of a page repeat the question: it must be the same one. */
static void check_links(const FuzzCall *first, Arena *arena, const ApiType *type, Str sql_without_page) {
    FuzzCall again;
    Err err;
    PgParams params;
    parse(&again, arena, type, first->call.query.kept, &err);
    FUZZ_CHECK(err == ERR_OK && again.call.query.list.from == NULL);
    FUZZ_CHECK(str_eq(compose(&again, type, &params), sql_without_page));
    FUZZ_CHECK(str_eq(again.call.query.kept, first->call.query.kept) &&
               again.call.query.size == first->call.query.size);
    FUZZ_CHECK(memcmp(again.call.query.fields, first->call.query.fields, sizeof again.call.query.fields) == 0);
}

/* A cursor that was read is written as one that reads the same. */
static void check_cursor(FuzzCall *f, const ApiType *type) {
    ListQuery *list = &f->call.query.list;
    Buf once = buf_new(f->ctx.arena, 1 << 20), twice = buf_new(f->ctx.arena, 1 << 20);
    api_cursor_write(&f->call, list->from, &once);
    FUZZ_CHECK(once.err == ERR_OK && chars_all(buf_str(&once), CHAR_TARGET));
    list->from = NULL;
    FUZZ_CHECK(api_cursor_read(&f->call, &type->sources[0], STR("page[after]"), buf_str(&once)) == ERR_OK);
    api_cursor_write(&f->call, list->from, &twice);
    FUZZ_CHECK(str_eq(buf_str(&once), buf_str(&twice)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const JsonApi *api = fuzz_api();
    if (size < 1)
        return 0;
    Str query = {(const char *)data + 1, size - 1};
    if (!chars_all(query, CHAR_TARGET)) /* the head parser lets no others through */
        return 0;
    Arena *arena = arena_new(ARENA_BYTES);
    const ApiType *type = &api->types[data[0] % api->n_types];
    FuzzCall f;
    Err err;
    PgParams params;
    parse(&f, arena, type, query, &err);
    if (err != ERR_OK) {
        fuzz_check_refusal(&f, err);
    } else {
        check_bounds(&f.call.query, &type->sources[0]);
        check_sql(compose(&f, type, &params), params.n);
        if (f.call.query.list.from != NULL)
            check_cursor(&f, type);
        ListQuery *list = &f.call.query.list;
        list->from = NULL;
        list->backward = false;
        check_links(&f, arena, type, compose(&f, type, &params));
    }
    arena_free(arena);
    return 0;
}
