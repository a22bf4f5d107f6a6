/*
 * jsonapi_render.c - rows as documents: resource objects, linkage, links, pages.
 *
 * Links are paths: what host and scheme a client used is not known behind proxies, and a reference resolves against the
 * request's own URI. To-one linkage costs nothing and is always there; to-many linkage is there where it was read.
 */
#include <stdarg.h>
#include <stdio.h>

#include "api/jsonapi_internal.h"

enum { CURSOR_MAX = 1024 * 1024 };

void api_begin_document(JsonWriter *w) {
    json_object(w);
    json_name(w, STR("jsonapi"));
    json_object(w);
    json_name(w, STR("version"));
    json_write_string(w, STR("1.1"));
    json_object_end(w);
}

void api_add_content_type(Response *res) {
    response_header(res, "Content-Type", STR(JSONAPI_MEDIA_TYPE));
    response_header(res, "Vary", STR("Accept"));
}

static void write_link(JsonWriter *w, Arena *arena, const char *name, const char *format, ...) PRINTF_LIKE(4, 5);
static void write_link(JsonWriter *w, Arena *arena, const char *name, const char *format, ...) {
    Buf link = buf_new(arena, CURSOR_MAX);
    char text[2048];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buf_add_bytes(&link, text, MIN_OF((size_t)n, sizeof text - 1));
    json_name(w, str_c(name));
    json_write_string(w, buf_str(&link));
}

/* --- resource objects ---------------------------------------------------------------------------------------- */

static void write_identifier(JsonWriter *w, const ApiType *type, Str id) {
    json_object(w);
    json_name(w, STR("type"));
    json_write_string(w, type->name);
    json_name(w, STR("id"));
    json_write_string(w, id);
    json_object_end(w);
}

static void write_one_linkage(JsonWriter *w, Arena *arena, const ApiRel *rel, const Attribute *a, const void *row) {
    if (!attribute_is_present(a, row)) {
        json_write_null(w);
        return;
    }
    Buf id = buf_new(arena, 4096);
    api_format_value(a, row, &id);
    write_identifier(w, rel->target, buf_str(&id));
}

static void write_relationship(JsonWriter *w, const ApiCall *call, const ApiRow *row, const ApiRel *rel, Str id,
                               const ApiGraph *graph) {
    Arena *arena = call->ctx->arena;
    json_name(w, rel->name);
    json_object(w);
    const Attribute *a = rel->many ? NULL : api_rel_attribute(rel, row->source);
    const ApiRows *linked = rel->many ? api_linkage(graph, rel, id) : NULL;
    if (a != NULL || linked != NULL)
        json_name(w, STR("data"));
    if (a != NULL)
        write_one_linkage(w, arena, rel, a, row->row);
    if (linked != NULL) {
        json_array(w);
        for (size_t i = 0; i < linked->n; i++)
            write_identifier(w, rel->target, api_id(arena, linked->p[i].source, linked->p[i].row));
        json_array_end(w);
    }
    json_name(w, STR("links"));
    json_object(w);
    write_link(w, arena, "self", "/api/%.*s/%.*s/relationships/%.*s", STR_ARG(row->type->name), STR_ARG(id),
               STR_ARG(rel->name));
    write_link(w, arena, "related", "/api/%.*s/%.*s/%.*s", STR_ARG(row->type->name), STR_ARG(id), STR_ARG(rel->name));
    json_object_end(w);
    json_object_end(w);
}

static bool wants(const ApiCall *call, const ApiType *type, size_t bit) {
    return (call->query.fields[type->index] >> bit & 1) != 0;
}

static void write_resource(JsonWriter *w, const ApiCall *call, const ApiRow *row, const ApiGraph *graph) {
    const ApiType *type = row->type;
    Str id = api_id(call->ctx->arena, row->source, row->row);
    json_object(w);
    json_name(w, STR("type"));
    json_write_string(w, type->name);
    json_name(w, STR("id"));
    json_write_string(w, id);
    json_name(w, STR("attributes"));
    json_object(w);
    for (size_t i = 0; i < type->n_fields; i++) {
        if (row->source->fields[i] == NULL || !wants(call, type, i))
            continue;
        Attribute shown = *row->source->fields[i];
        shown.values = type->fields[i].attribute->values; /* names are the owner's */
        json_name(w, type->fields[i].name);
        api_write_value(w, &shown, row->row);
    }
    json_object_end(w);
    bool any = false;
    for (size_t i = 0; i < type->n_rels; i++) {
        if (!wants(call, type, API_FIELDS_MAX + i))
            continue;
        if (!any) {
            json_name(w, STR("relationships"));
            json_object(w);
        }
        any = true;
        write_relationship(w, call, row, &type->rels[i], id, graph);
    }
    if (any)
        json_object_end(w);
    json_name(w, STR("links"));
    json_object(w);
    write_link(w, call->ctx->arena, "self", "/api/%.*s/%.*s", STR_ARG(type->name), STR_ARG(id));
    json_object_end(w);
    json_object_end(w);
}

/* --- links --------------------------------------------------------------------------------------------------- */

static void write_page_link(JsonWriter *w, const ApiCall *call, const ApiPage *page, const char *name,
                            const char *parameter, const void *row) {
    Buf link = buf_new(call->ctx->arena, CURSOR_MAX);
    json_name(w, str_c(name));
    buf_add(&link, page->path);
    if (call->query.kept.n > 0 || row != NULL)
        buf_add_char(&link, '?');
    buf_add(&link, call->query.kept);
    if (row != NULL) {
        buf_printf(&link, "%spage%%5B%s%%5D=", call->query.kept.n > 0 ? "&" : "", parameter);
        api_cursor_write(call, row, &link);
    }
    if (link.err != ERR_OK)
        w->out->err = link.err;
    json_write_string(w, buf_str(&link));
}

/* Of a page: are there rows before it, behind it? Where it was read from there are (the row it began at, at least). */
static void write_page_links(JsonWriter *w, const ApiCall *call, const ApiPage *page) {
    const ListQuery *list = &call->query.list;
    bool before = list->backward ? page->more : list->from != NULL;
    bool behind = list->backward ? true : page->more;
    write_page_link(w, call, page, "first", "", NULL);
    if (page->n > 0 && before)
        write_page_link(w, call, page, "prev", "before", page->rows[0].row);
    else {
        json_name(w, STR("prev"));
        json_write_null(w);
    }
    if (page->n > 0 && behind)
        write_page_link(w, call, page, "next", "after", page->rows[page->n - 1].row);
    else {
        json_name(w, STR("next"));
        json_write_null(w);
    }
}

/* The request's own URI: path, then the query as it came. */
static void write_self(JsonWriter *w, const ApiCall *call, const ApiPage *page) {
    Buf link = buf_new(call->ctx->arena, CURSOR_MAX);
    buf_add(&link, page->path);
    Str query = call->req->query;
    if (query.n > 0)
        buf_add_char(&link, '?');
    for (size_t i = 0; i < query.n; i++) {
        unsigned char c = (unsigned char)query.p[i];
        if (c > 0x20 && c < 0x7f && c != '"' && c != '<' && c != '>' && c != '\\' && c != '[' && c != ']')
            buf_add_char(&link, (char)c);
        else
            buf_printf(&link, "%%%02X", c);
    }
    json_name(w, STR("self"));
    json_write_string(w, buf_str(&link));
}

/* --- documents ----------------------------------------------------------------------------------------------- */

static void write_data(JsonWriter *w, const ApiCall *call, const ApiPage *page) {
    if (!page->list && page->n == 0) {
        json_write_null(w);
        return;
    }
    if (page->list)
        json_array(w);
    for (size_t i = 0; i < page->n && w->out->err == ERR_OK; i++) {
        const ApiRow *row = &page->rows[i];
        if (page->identifiers)
            write_identifier(w, row->type, api_id(call->ctx->arena, row->source, row->row));
        else
            write_resource(w, call, row, page->graph);
    }
    if (page->list)
        json_array_end(w);
}

Err api_render(ApiCall *call, const ApiPage *page) {
    Buf *out = &call->res->body;
    JsonWriter w;
    json_writer_init(&w, out, JSON_ESCAPE_MINIMAL, 0);
    api_begin_document(&w);
    json_name(&w, STR("links"));
    json_object(&w);
    write_self(&w, call, page);
    if (page->related.p != NULL) {
        json_name(&w, STR("related"));
        json_write_string(&w, page->related);
    }
    if (page->list && call->query.has_page)
        write_page_links(&w, call, page);
    json_object_end(&w);
    json_name(&w, STR("data"));
    write_data(&w, call, page);
    if (call->query.has_include && page->graph != NULL) {
        json_name(&w, STR("included"));
        json_array(&w);
        for (size_t i = 0; i < page->graph->included.n && out->err == ERR_OK; i++)
            write_resource(&w, call, &page->graph->included.p[i], page->graph);
        json_array_end(&w);
    }
    json_object_end(&w);
    return out->err;
}
