/*
 * jsonapi_query.c - query parameters: include, fields[type], sort, filter[field][op], page[size|after|before].
 *
 * Whatever is not known is refused with its name (the specification demands that of include, sort and its own reserved
 * names; a typing error in a filter that is silently ignored would answer with everything). Names and values are
 * percent-decoded once, here.
 */
#include "api/bind.h"
#include "api/jsonapi_internal.h"

enum { QUERY_PARAMETERS_MAX = 64, IN_VALUES_MAX = 200 };

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The parser of application/x-www-form-urlencoded never fails: a '%' that is no escape stands for itself, and what is
 * no UTF-8 becomes U+FFFD (WHATWG URL §5.1). */
Err api_url_decode(Arena *arena, Str text, Str *ret) {
    char *out = arena_alloc(arena, text.n + 1);
    if (out == NULL)
        return ERR_NO_MEMORY;
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        int high = text.p[i] != '%' || text.n - i < 3 ? -1 : hex_digit(text.p[i + 1]);
        int low = high < 0 ? -1 : hex_digit(text.p[i + 2]);
        if (low >= 0) {
            out[n++] = (char)(high * 16 + low);
            i += 2;
        } else {
            out[n++] = (char)(text.p[i] == '+' ? ' ' : text.p[i]);
        }
    }
    *ret = (Str){out, n};
    if (!utf8_valid(*ret))
        *ret = compat_printable(arena, *ret, 3 * n + 3);
    return ret->p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* "filter[price][gt]" → filter, price, gt. How many pieces; 0: not of that form. */
static size_t name_pieces(Str name, Str pieces[3]) {
    ptrdiff_t open = str_index(name, '[');
    pieces[0] = open < 0 ? name : str_slice(name, 0, (size_t)open);
    if (open < 0)
        return 1;
    Str rest = str_slice(name, (size_t)open, name.n);
    size_t n = 1;
    while (rest.n > 0) {
        ptrdiff_t close = str_index(rest, ']');
        if (rest.p[0] != '[' || close < 0 || n == 3)
            return 0;
        pieces[n++] = str_slice(rest, 1, (size_t)close);
        rest = str_slice(rest, (size_t)close + 1, rest.n);
    }
    return n;
}

/* --- include ------------------------------------------------------------------------------------------------- */

typedef struct Place {
    const ApiType *type;
    const ApiSource *source;
    ApiInclude **list;
} Place;

static Err include_step(ApiCall *call, Str name, Str path, Place *place, size_t *count) {
    const ApiRel *rel = api_rel(place->type, name);
    if (rel == NULL || api_rel_attribute(rel, place->source) == NULL)
        return api_error_param(call, 400, "unknown-include", STR("include"), "There is no relationship path \"%.*s\".",
                               STR_ARG(path));
    ApiInclude **at = place->list;
    while (*at != NULL && (*at)->rel != rel)
        at = &(*at)->next;
    if (*at == NULL) {
        if (++*count > API_INCLUDES_MAX)
            return api_error_param(call, 400, "too-many-includes", STR("include"),
                                   "At most %d relationships can be included.", API_INCLUDES_MAX);
        *at = ARENA_NEW(call->ctx->arena, ApiInclude);
        if (*at == NULL)
            return ERR_NO_MEMORY;
        (*at)->rel = rel;
    }
    *place = (Place){rel->target, rel->to, &(*at)->children};
    return ERR_OK;
}

static Err read_include(ApiCall *call, const ApiType *type, const ApiSource *source, Str value) {
    size_t count = 0;
    call->query.has_include = true;
    while (value.n > 0) {
        Str path = str_cut(&value, ','), rest = path;
        Place place = {type, source, &call->query.includes};
        for (int depth = 0; rest.p != NULL; depth++) {
            if (depth == API_INCLUDE_DEPTH_MAX)
                return api_error_param(call, 400, "include-too-deep", STR("include"), "\"%.*s\" is deeper than %d.",
                                       STR_ARG(path), API_INCLUDE_DEPTH_MAX);
            TRY(include_step(call, str_cut(&rest, '.'), path, &place, &count));
        }
    }
    return ERR_OK;
}

/* --- fields -------------------------------------------------------------------------------------------------- */

static Err read_fields(ApiCall *call, Str name, Str type_name, Str value) {
    const ApiType *type = jsonapi_type(call->route->api, type_name);
    if (type == NULL)
        return api_error_param(call, 400, "unknown-type", name, "There is no type \"%.*s\".", STR_ARG(type_name));
    uint32_t mask = 0;
    while (value.n > 0) {
        Str field = str_cut(&value, ',');
        const ApiField *attribute = api_field(type, field);
        const ApiRel *rel = api_rel(type, field);
        if (attribute != NULL)
            mask |= 1u << (attribute - type->fields);
        else if (rel != NULL)
            mask |= 1u << (API_FIELDS_MAX + (rel - type->rels));
        else
            return api_error_param(call, 400, "unknown-field", name, "%.*s has no field \"%.*s\".", STR_ARG(type->name),
                                   STR_ARG(field));
    }
    call->query.fields[type->index] = mask;
    call->query.has_fields = true;
    return ERR_OK;
}

/* --- sort ---------------------------------------------------------------------------------------------------- */

static Err read_sort(ApiCall *call, const ApiType *type, const ApiSource *source, Str value) {
    ListQuery *list = &call->query.list;
    call->query.order = value;
    list->n_sort = 0;
    bool keyed = false;
    while (value.p != NULL) {
        Str term = str_cut(&value, ',');
        bool descending = term.n > 0 && term.p[0] == '-';
        Str name = str_slice(term, descending, term.n);
        const ApiField *field = api_field(type, name);
        const Attribute *a = str_eq_c(name, "id") ? source->key
                             : field == NULL      ? NULL
                                                  : source->fields[field - type->fields];
        if (a == NULL || !attribute_is_ordered(a))
            return api_error_param(call, 400, "unsortable", STR("sort"), "%.*s cannot be sorted by \"%.*s\".",
                                   STR_ARG(type->name), STR_ARG(name));
        for (size_t i = 0; i < list->n_sort; i++)
            if (list->sort[i].attribute == a)
                return api_error_param(call, 400, "unsortable", STR("sort"), "\"%.*s\" is there twice.", STR_ARG(name));
        if (list->n_sort == LIST_SORT_MAX - 1)
            return api_error_param(call, 400, "unsortable", STR("sort"), "At most %d fields can be sorted by.",
                                   LIST_SORT_MAX - 1);
        list->sort[list->n_sort++] = (ListSort){a, descending};
        keyed = keyed || a == source->key;
    }
    /* The tie-breaker goes the way of the last field, so that one index serves all. */
    if (!keyed) {
        bool descending = list->n_sort > 0 && list->sort[list->n_sort - 1].descending;
        list->sort[list->n_sort++] = (ListSort){source->key, descending};
    }
    return ERR_OK;
}

/* --- filter -------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    ListOp op;
} OPERATORS[] = {{"eq", LIST_EQ}, {"ne", LIST_NE}, {"gt", LIST_GT},         {"ge", LIST_GE},    {"lt", LIST_LT},
                 {"le", LIST_LE}, {"in", LIST_IN}, {"starts", LIST_STARTS}, {"null", LIST_NULL}};

static const Attribute *filtered_attribute(const ApiType *type, const ApiSource *source, Str name) {
    if (str_eq_c(name, "id"))
        return source->key;
    const ApiField *field = api_field(type, name);
    if (field != NULL)
        return source->fields[field - type->fields];
    const ApiRel *rel = api_rel(type, name);
    return rel != NULL && !rel->many ? api_rel_attribute(rel, source) : NULL;
}

static Err filter_values(ApiCall *call, const ApiSource *source, ListFilter *filter, Str parameter, Str value) {
    const void **values = ARENA_ARRAY(call->ctx->arena, const void *, IN_VALUES_MAX);
    if (values == NULL)
        return ERR_NO_MEMORY;
    filter->values = values;
    while (value.p != NULL) {
        Str one = value;
        if (filter->op == LIST_IN)
            one = str_cut(&value, ',');
        else
            value = (Str){NULL, 0};
        void *object = arena_alloc(call->ctx->arena, source->resource->size);
        if (object == NULL)
            return ERR_NO_MEMORY;
        if (filter->n == IN_VALUES_MAX)
            return api_error_param(call, 400, "invalid-filter", parameter, "At most %d values.", IN_VALUES_MAX);
        if (api_parse_value(filter->attribute, one, call->ctx->arena, object) != ERR_OK)
            return api_error_param(call, 400, "invalid-filter", parameter, "\"%.*s\" is no value of this field.",
                                   STR_ARG(one));
        values[filter->n++] = object;
    }
    return ERR_OK;
}

static bool operator_fits(const Attribute *a, ListOp op) {
    bool ranged = a->type != TYPE_BOOL && a->type != TYPE_ID;
    switch (op) {
    case LIST_GT:
    case LIST_GE:
    case LIST_LT:
    case LIST_LE:
        return ranged;
    case LIST_STARTS:
        return a->type == TYPE_TEXT;
    case LIST_NULL:
    case LIST_NOT_NULL:
        return attribute_is_nullable(a);
    case LIST_EQ:
    case LIST_NE:
    case LIST_IN:
        break;
    }
    return true;
}

static Err read_filter(ApiCall *call, const ApiType *type, const ApiSource *source, Str parameter, Str name, Str op,
                       Str value) {
    ListQuery *list = &call->query.list;
    const Attribute *a = filtered_attribute(type, source, name);
    if (a == NULL || !attribute_is_ordered(a))
        return api_error_param(call, 400, "unknown-filter", parameter, "%.*s cannot be filtered by \"%.*s\".",
                               STR_ARG(type->name), STR_ARG(name));
    ListFilter filter = {.attribute = a, .op = LIST_EQ};
    bool known = op.p == NULL;
    for (size_t i = 0; i < ARRAY_LEN(OPERATORS); i++) {
        if (op.p == NULL || !str_eq_c(op, OPERATORS[i].name))
            continue;
        filter.op = OPERATORS[i].op;
        known = true;
    }
    if (!known || !operator_fits(a, filter.op))
        return api_error_param(call, 400, "unknown-operator", parameter, "\"%.*s\" has no operator \"%.*s\".",
                               STR_ARG(name), STR_ARG(op));
    if (list->n_filters == LIST_FILTERS_MAX - 1) /* one is left for a relationship's own condition */
        return api_error_param(call, 400, "too-many-filters", parameter, "At most %d filters.", LIST_FILTERS_MAX - 1);
    if (filter.op != LIST_NULL)
        TRY(filter_values(call, source, &filter, parameter, value));
    else if (str_eq_c(value, "false"))
        filter.op = LIST_NOT_NULL;
    else if (!str_eq_c(value, "true"))
        return api_error_param(call, 400, "invalid-filter", parameter, "true or false is wanted.");
    list->filters[list->n_filters++] = filter;
    return ERR_OK;
}

/* --- all ----------------------------------------------------------------------------------------------------- */

typedef struct Parameter {
    Str name, value;
    Str pieces[3];
    size_t n_pieces;
} Parameter;

static Err read_page(ApiCall *call, const ApiSource *source, const Parameter *p) {
    ApiQuery *query = &call->query;
    uint64_t size;
    if (p->n_pieces == 2 && str_eq_c(p->pieces[1], "size")) {
        if (str_to_u64(p->value, API_PAGE_MAX, &size) != ERR_OK || size == 0)
            return api_error_param(call, 400, "invalid-page", p->name, "A number from 1 to %d is wanted.",
                                   API_PAGE_MAX);
        query->size = (int64_t)size;
        return ERR_OK;
    }
    bool after = p->n_pieces == 2 && str_eq_c(p->pieces[1], "after");
    if (!after && !(p->n_pieces == 2 && str_eq_c(p->pieces[1], "before")))
        return api_error_param(call, 400, "unknown-parameter", p->name, "Pages have size, after and before.");
    if (query->list.from != NULL)
        return api_error_param(call, 400, "invalid-page", p->name, "A page is after or before a row, not both.");
    query->list.backward = !after;
    return api_cursor_read(call, source, p->name, p->value);
}

static Err read_one(ApiCall *call, const ApiType *type, const ApiSource *source, bool pages, bool includes,
                    const Parameter *p) {
    Str family = p->pieces[0];
    bool plain = p->n_pieces == 1;
    if (includes && plain && str_eq_c(family, "include"))
        return read_include(call, type, source, p->value);
    if (str_eq_c(family, "fields") && p->n_pieces == 2)
        return read_fields(call, p->name, p->pieces[1], p->value);
    if (pages && plain && str_eq_c(family, "sort"))
        return ERR_OK; /* was read first */
    if (pages && str_eq_c(family, "page"))
        return read_page(call, source, p);
    if (pages && str_eq_c(family, "filter") && p->n_pieces >= 2)
        return read_filter(call, type, source, p->name, p->pieces[1], p->pieces[2], p->value);
    return api_error_param(call, 400, "unknown-parameter", p->name, "This parameter is not known here.");
}

static Err split_query(ApiCall *call, Parameter *all, size_t *ret_n) {
    Str raw = call->req->query;
    size_t n = 0;
    Buf kept = buf_new(call->ctx->arena, 65536);
    while (raw.n > 0) {
        Str pair = str_cut(&raw, '&');
        if (pair.n == 0)
            continue;
        if (n == QUERY_PARAMETERS_MAX)
            return api_error(call, 400, "too-many-parameters", "At most %d parameters.", QUERY_PARAMETERS_MAX);
        Str value = pair, name = str_cut(&value, '=');
        Parameter *p = &all[n];
        *p = (Parameter){0};
        TRY(api_url_decode(call->ctx->arena, name, &p->name));
        TRY(api_url_decode(call->ctx->arena, value, &p->value));
        p->n_pieces = name_pieces(p->name, p->pieces);
        if (p->n_pieces == 0 || p->pieces[0].n == 0)
            return api_error_param(call, 400, "unknown-parameter", p->name, "This parameter is not known here.");
        for (size_t i = 0; i < n; i++)
            if (str_eq(all[i].name, p->name))
                return api_error_param(call, 400, "repeated-parameter", p->name, "This parameter is there twice.");
        n++;
        if (str_eq_c(p->name, "page[after]") || str_eq_c(p->name, "page[before]"))
            continue;
        buf_add_c(&kept, kept.n == 0 ? "" : "&");
        for (size_t i = 0; i < pair.n; i++) { /* links are ASCII URIs */
            unsigned char c = (unsigned char)pair.p[i];
            if (c > 0x20 && c < 0x7f && c != '"' && c != '<' && c != '>' && c != '\\' && c != '[' && c != ']')
                buf_add_char(&kept, (char)c);
            else
                buf_printf(&kept, "%%%02X", c);
        }
    }
    *ret_n = n;
    return buf_finish(&kept, &call->query.kept);
}

Err api_query_parse(ApiCall *call, const ApiType *type, const ApiSource *source, bool pages, bool includes) {
    ApiQuery *query = &call->query;
    *query = (ApiQuery){.size = API_PAGE_DEFAULT, .has_page = pages};
    for (size_t i = 0; i < API_TYPES_MAX; i++)
        query->fields[i] = UINT32_MAX;
    Parameter *all = ARENA_ARRAY(call->ctx->arena, Parameter, QUERY_PARAMETERS_MAX);
    size_t n = 0;
    if (all == NULL)
        return ERR_NO_MEMORY;
    TRY(split_query(call, all, &n));
    Str sort = {NULL, 0}; /* a cursor is read under its order */
    for (size_t i = 0; pages && i < n; i++)
        if (str_eq_c(all[i].name, "sort"))
            sort = all[i].value;
    TRY(read_sort(call, type, source, sort));
    for (size_t i = 0; i < n; i++)
        TRY(read_one(call, type, source, pages, includes, &all[i]));
    return ERR_OK;
}
