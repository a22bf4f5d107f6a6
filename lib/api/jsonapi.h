/*
 * jsonapi.h - JSON:API 1.1 (https://jsonapi.org/format/1.1/) under /api, derived from the declarations.
 *
 * jsonapi_new looks at the resources of all contexts that say .api, and makes types, fields, relationships and routes
 * of them; nothing is said a second time. A type has one owner and may have copies in other contexts (API_COPY): the
 * relationships that a copy declares belong to the type, and are served by the copy's context. Contexts still share no
 * table: the surface asks each for its own rows, by id.
 *
 * Names: member names are the declared names in camelCase (event_name → eventName); a type is the plural.
 * Actions of kind ACTION_CUSTOM with arguments: POST /api/{type}/actions/{action}, arguments in the document's meta.
 */
#pragma once
#include "api/compat.h"
#include "resource/list.h"

enum { API_TYPES_MAX = 16, API_FIELDS_MAX = 24, API_RELS_MAX = 8, API_SOURCES_MAX = 4 };

typedef struct ApiType ApiType;

typedef struct ApiField {
    Str name;
    const Attribute *attribute; /* the owner's */
} ApiField;

/** One context's rows of a type. */
typedef struct ApiSource {
    const Context *context;
    const Resource *resource;
    const Attribute *key;
    const Action *read;
    const Attribute *fields[API_FIELDS_MAX]; /* of this resource, in the order of the type's; NULL: it has no such */
} ApiSource;

typedef struct ApiRel {
    Str name;
    const char *doc;
    bool many;
    const ApiSource *from; /* whose declaration it is */
    const ApiType *target;
    const ApiSource *to;        /* in from's context */
    const Attribute *attribute; /* from's for one, to's for many */
    const Relationship *declared;
} ApiRel;

struct ApiType {
    Str name;
    size_t index;                       /* in JsonApi.types */
    ApiSource sources[API_SOURCES_MAX]; /* the owner first */
    size_t n_sources;
    ApiField fields[API_FIELDS_MAX];
    size_t n_fields;
    ApiRel rels[API_RELS_MAX];
    size_t n_rels;
    const Action *create, *update, *destroy;
};

typedef struct JsonApi {
    ApiType types[API_TYPES_MAX];
    size_t n_types;
    const Route *routes; /* ended by pattern == NULL */
    Str openapi;         /* the document, once made */
    const Context *const *contexts;
} JsonApi;

typedef enum ApiOp {
    API_OP_ROOT,
    API_OP_LIST,
    API_OP_CREATE,
    API_OP_GET,
    API_OP_UPDATE,
    API_OP_DESTROY,
    API_OP_RELATED,
    API_OP_LINKAGE,
    API_OP_LINKAGE_WRITE,
    API_OP_ACTION,
    API_OP_OPENAPI,
    API_OP_DOCS,
} ApiOp;

/** Route.data of every route of this surface. */
typedef struct ApiRoute {
    const JsonApi *api;
    const ApiType *type;
    const ApiRel *rel;
    const Action *action;
    ApiOp op;
} ApiRoute;

/** Made once at boot in an arena that stays. ERR_INVALID: ctx's problem says what does not fit together. */
MUST_USE Err jsonapi_new(Ctx *ctx, Arena *arena, const Context *const *contexts, JsonApi **ret);
const ApiType *jsonapi_type(const JsonApi *api, Str name);

/** The HTTP server's handler: this surface's paths here, all others to compat_serve. data is a CompatApp. */
CO_FN void surfaces_serve(Request *req, Response *res, void *data);
