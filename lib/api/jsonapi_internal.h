/*
 * jsonapi_internal.h - what the files of the JSON:API surface share; nobody else includes it.
 */
#pragma once
#include "api/jsonapi.h"
#include "base/map.h"
#include "resource/keep.h"
#include "json/json.h"

#define JSONAPI_MEDIA_TYPE "application/vnd.api+json"
enum {
    API_ERRORS_MAX = 16,
    API_PAGE_DEFAULT = 50,
    API_PAGE_MAX = 500,
    API_INCLUDED_MAX = 10000, /* rows read for one include path */
    API_INCLUDE_DEPTH_MAX = 4,
    API_INCLUDES_MAX = 16,
    API_BODY_MAX = 1024 * 1024, /* a document becomes a tree of up to 32 times its size; ours have a few kB */
};

typedef struct ApiError {
    int status;
    const char *code; /* stable, for programs: "unknown-field" */
    Str detail;
    Str pointer, parameter, header; /* at most one is there */
} ApiError;

/** A row and where it is from. */
typedef struct ApiRow {
    const ApiType *type;
    const ApiSource *source;
    const void *row;
} ApiRow;

typedef struct ApiRows {
    ApiRow *p;
    size_t n;
} ApiRows;

typedef struct ApiInclude {
    const ApiRel *rel;
    struct ApiInclude *children, *next;
} ApiInclude;

typedef struct ApiQuery {
    ApiInclude *includes;
    uint32_t fields[API_TYPES_MAX]; /* bit per field, bits from API_FIELDS_MAX on per relationship */
    bool has_fields, has_include, has_page;
    ListQuery list;
    int64_t size;
    Str order; /* what a cursor must have been made under: "-startDate,id" */
    Str kept;  /* the raw query without page[after] and page[before], for links; empty: none */
} ApiQuery;

typedef struct ApiCall {
    Request *req;
    Response *res;
    Ctx *ctx;
    const CompatApp *app;
    const ApiRoute *route;
    ApiQuery query;
    ApiError errors[API_ERRORS_MAX];
    size_t n_errors;
    bool words; /* ctx's problem is meant for the client: it came from an action */
    struct {
        const ApiRel *rel;
        Str id, pointer;
    } named[API_RELS_MAX]; /* the other side of relationships in the document */
    size_t n_named;
    Str fields_at;      /* pointer below which an action's fields stand: "/data/attributes", "/meta" */
    const Json *fields; /* the object there: a pointer leads only to what is */
} ApiCall;

/* --- jsonapi_error.c --- */
/** Adds an error; returns ERR_INVALID. More than API_ERRORS_MAX are forgotten. */
Err api_error(ApiCall *call, int status, const char *code, const char *format, ...) PRINTF_LIKE(4, 5);
/** The same with its source. */
Err api_error_at(ApiCall *call, int status, const char *code, Str pointer, const char *format, ...) PRINTF_LIKE(5, 6);
Err api_error_param(ApiCall *call, int status, const char *code, Str parameter, const char *format, ...)
    PRINTF_LIKE(5, 6);
Err api_error_header(ApiCall *call, int status, const char *code, const char *header, const char *format, ...)
    PRINTF_LIKE(5, 6);
/** Turns a failure into the answer. */
void api_answer_failure(ApiCall *call, Err err);

/* --- jsonapi_media.c --- */
MUST_USE Err api_check_accept(ApiCall *call);
MUST_USE Err api_check_content_type(ApiCall *call);

/* --- jsonapi_value.c --- */
/** camelCase of a declared name. Absent: no memory. */
Str api_name(Arena *arena, const char *declared);
void api_write_value(JsonWriter *w, const Attribute *attribute, const void *object);
/** JSON into the attribute's member; on failure *why says what was wanted. */
MUST_USE Err api_read_value(const Attribute *attribute, const Json *value, Arena *arena, void *object,
                            const char **why);
/** Text of an id, filter or cursor into the member. */
MUST_USE Err api_parse_value(const Attribute *attribute, Str text, Arena *arena, void *object);
/** A present value as text that api_parse_value reads. */
void api_format_value(const Attribute *attribute, const void *object, Buf *out);
/** One member's value into another resource's member of the same base type. */
void api_copy_value(const Attribute *from, const void *source, const Attribute *to, void *target);
/** "…" of the row's key, in the arena; absent: no memory. */
Str api_id(Arena *arena, const ApiSource *source, const void *row);

/* --- jsonapi_query.c, jsonapi_cursor.c --- */
/** Reads the query string for rows of `type` from `source`. pages: filter, sort and page are allowed. */
MUST_USE Err api_query_parse(ApiCall *call, const ApiType *type, const ApiSource *source, bool pages, bool includes);
/** Key order when nothing else was asked for. */
MUST_USE Err api_cursor_read(ApiCall *call, const ApiSource *source, Str parameter, Str text);
/** Appends base64url. */
void api_cursor_write(const ApiCall *call, const void *row, Buf *out);
/** %XX and + undone. ERR_NO_MEMORY. */
MUST_USE Err api_url_decode(Arena *arena, Str text, Str *ret);
const ApiField *api_field(const ApiType *type, Str name);
const ApiRel *api_rel(const ApiType *type, Str name);
/** The attribute that holds a to-one's value in rows of this source, or NULL. */
const Attribute *api_rel_attribute(const ApiRel *rel, const ApiSource *source);

/* --- jsonapi_include.c --- */
typedef struct ApiGraph {
    Arena *arena;
    Map *seen;    /* "type id" → ApiRow */
    Map *linkage; /* relationship and id → ApiRows of a to-many that was read */
    ApiRows included;
    size_t capacity;
} ApiGraph;
/** Reads what the includes ask for, beginning at these rows. */
CO_FN Err api_graph(ApiCall *call, const ApiRow *rows, size_t n, ApiGraph *ret) MUST_USE;
const ApiRows *api_linkage(const ApiGraph *graph, const ApiRel *rel, Str id);

/* --- jsonapi_render.c --- */
/** {jsonapi, links, data, included} of one row (rows NULL or n 0 with list false: null) or of a page. `more`: there are
 *  rows beyond the page in the direction it was read. */
typedef struct ApiPage {
    Str path; /* "/api/events" */
    const ApiRow *rows;
    size_t n;
    bool list, more, identifiers;
    Str related; /* identifiers: the related link */
    const ApiGraph *graph;
} ApiPage;
MUST_USE Err api_render(ApiCall *call, const ApiPage *page);
/** Head of a document: {"jsonapi":{"version":"1.1"} */
void api_begin_document(JsonWriter *w);
void api_add_content_type(Response *res);

/* --- jsonapi_serve.c --- */
/** Route.handler of every route of this surface. */
CO_FN void api_handler(Request *req, Response *res, void *data);

/* --- jsonapi_fetch.c, jsonapi_write.c --- */
CO_FN Err api_serve_root(ApiCall *call) MUST_USE;
CO_FN Err api_serve_list(ApiCall *call) MUST_USE;
CO_FN Err api_serve_get(ApiCall *call) MUST_USE;
CO_FN Err api_serve_related(ApiCall *call) MUST_USE;
CO_FN Err api_serve_linkage(ApiCall *call) MUST_USE;
CO_FN Err api_serve_create(ApiCall *call) MUST_USE;
CO_FN Err api_serve_update(ApiCall *call) MUST_USE;
CO_FN Err api_serve_destroy(ApiCall *call) MUST_USE;
CO_FN Err api_serve_action(ApiCall *call) MUST_USE;
CO_FN Err api_serve_linkage_write(ApiCall *call) MUST_USE;
/** The engine of a source, or ERR_UNAVAILABLE. */
MUST_USE Err api_engine(const ApiCall *call, const ApiSource *source, Engine **ret);
/** One row by the id in the path. 404 when there is none or the text is no id. */
CO_FN Err api_load_one(ApiCall *call, const ApiSource *source, Str id, void **ret) MUST_USE;

/* --- jsonapi_body.c --- */
/** The request's document. */
CO_FN Err api_read_document(ApiCall *call, Str *ret_body) MUST_USE;
MUST_USE Err api_parse_document(ApiCall *call, Str body, const Json **ret);
/** data.type, data.id (wanted: absent for create), attributes and relationships into `object`. *changed: anything
 *  set. */
MUST_USE Err api_read_resource(ApiCall *call, const Json *document, Str id, const Action *action, void *object,
                               bool *changed);
/** 404 where the document names a related resource that is not there. */
CO_FN Err api_check_named(ApiCall *call) MUST_USE;
MUST_USE Err api_read_arguments(ApiCall *call, const Json *document, const Action *action, void *input);

/* --- jsonapi_key.c --- */
/** The request's key without its quotes; absent: it has none. 400 when it is none, or several. */
MUST_USE Err api_read_key(ApiCall *call, Str *ret);
/** An error about the key; returns ERR_INVALID. */
Err api_key_refused(ApiCall *call, int status, const char *code, const char *why);

/* --- jsonapi_etag.c --- */
enum { ETAG_LEN = 34 };
/** "…32 hex digits…" with its quotes. */
MUST_USE Err api_etag(const Resource *resource, Arena *arena, const void *row, char out[ETAG_LEN], Fingerprint *ret);
/** Does a list of entity tags (RFC 9110 §13.1) name it? strong: weak ones never match. */
bool etag_matches(Str list, Str etag, bool strong);
