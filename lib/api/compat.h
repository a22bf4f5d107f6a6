/*
 * compat.h - the surface that answers exactly as the old system did.
 *
 * A route's data is a CompatAction: const tables that say how the body is read, which action runs, and how the result
 * is shown. The generic handler does the rest: content type, JSON in with the old reader's error texts, error forms
 * 1-3, headers. What is odd about the old system is switched by CompatStyle flags (apps/legacy fills it from its table
 * of quirks); this library knows the oddities' mechanics, not their reasons.
 *
 * Wording: contracts/http and docs/quirks.md. Tables stand beside each context in <context>_compat.c.
 */
#pragma once
#include "http/router.h"
#include "resource/resource.h"
#include "json/json.h"

/* --- reading bodies ----------------------------------------------------------------------------------------------- */

typedef enum CompatKind {
    COMPAT_TEXT,    /* string or null → Str */
    COMPAT_ID,      /* "…" in D form → Id */
    COMPAT_ID_LIST, /* array of those → Slice(Id) */
    COMPAT_INSTANT,
    COMPAT_DECIMAL, /* number, or number in a string */
    COMPAT_ENUM,    /* name(s), number, number in a string → int32_t */
} CompatKind;

typedef struct CompatField {
    const char *name; /* "EventName"; read in any case (quirk) */
    CompatKind kind;
    size_t offset;      /* in the payload's struct */
    size_t seen_offset; /* of a bool that is set when the property was there; 0: none (so never first in a struct) */
    const EnumValue *values;
    /** Checked when converted, in document order; a refusal is error form 1 and ends reading. Gets the Str for
     *  COMPAT_TEXT. */
    Err (*check)(Ctx *ctx, const void *value);
    bool required_list;   /* missing or null: "The ticketIds field is required." */
    const char *fallback; /* JSON lexeme of the default when missing; NULL: zero */
} CompatField;

typedef struct CompatPayload {
    const char *type_name; /* "Controllers.Events.Requests.EventPayload", quoted in error texts */
    size_t size;
    const CompatField *fields; /* ended by name == NULL */
} CompatPayload;

/* --- showing results ---------------------------------------------------------------------------------------------- */

typedef struct CompatOutput {
    const char *name;      /* "EventName" */
    const char *attribute; /* of the resource; NULL: from value() */
    enum {
        SHOW_PLAIN,
        SHOW_SCALE_2 /* numeric(18,2), half away from zero */,
        SHOW_ENUM,
        SHOW_INSTANT,
        SHOW_CUSTOM
    } form;
    const EnumValue *values;
    void (*write)(JsonWriter *w, const Ctx *ctx, const void *row); /* SHOW_CUSTOM */
    Type type;                                                     /* SHOW_CUSTOM: what write writes, for documents */
} CompatOutput;

typedef struct CompatShape {
    const Resource *resource; /* may be NULL when all outputs are SHOW_CUSTOM */
    size_t row_size;
    const CompatOutput *outputs; /* ended by name == NULL */
} CompatShape;

/* --- routes ------------------------------------------------------------------------------------------------------- */

typedef enum CompatAnswer {
    ANSWER_ONE,     /* 200, one row; ERR_NOT_FOUND → 404 problem */
    ANSWER_LIST,    /* 200, array */
    ANSWER_CREATED, /* 201, Location: <location><id>, body "id" */
    ANSWER_NOTHING, /* 204 */
} CompatAnswer;

/** What a request has become, handed to `prepare` and `load`. */
typedef struct CompatCall {
    Request *req;
    Ctx *ctx;
    Engine *engine;
    void *payload;  /* decoded body, or NULL */
    Id path_ids[4]; /* the route's {…:id} values in order */
} CompatCall;

typedef struct CompatAction {
    const CompatPayload *payload; /* NULL: no body is read */
    const Resource *resource;
    const char *action; /* name of the resource's action; NULL: load is used */
    /** Payload and path → the action's input (in ctx's arena). A refusal is error form 1 (ERR_INVALID, ERR_CONFLICT,
     *  ERR_NOT_FOUND) or 3 (ERR_INTERNAL). */
    CO_FN Err (*prepare)(CompatCall *call, void **ret_input);
    /** Reads: fills rows (of shape->row_size) in ctx's arena. */
    CO_FN Err (*load)(CompatCall *call, void **ret_rows, size_t *ret_n);
    CompatAnswer answer;
    const CompatShape *shape; /* what is shown; for actions: how errors name the attributes */
    const char *location;     /* "/events/" */
    size_t id_offset;         /* ANSWER_CREATED: of the Id in the input struct */
} CompatAction;

/** One per worker: which engine serves a route's context, and the style. */
typedef struct CompatStyle {
    bool names_any_case;        /* property names match in any case */
    bool one_error_only;        /* only the first domain error is reported */
    bool domain_errors_untyped; /* form 1 and 3 without Content-Type and with the no-cache headers; off: problem+json */
    bool numbers_from_strings;  /* "12.5" for decimals */
    bool enums_lenient;         /* any case, trimmed, comma lists, numbers out of range */
    bool instants_utc_micros;   /* instants shown in UTC, cut to microseconds; off: as stored */
    bool duplicate_names_last;  /* the last of equal names wins; off: refused */
    bool accept_ignored;        /* never 406 */
    bool not_found_put_400;     /* unknown id on PUT: 400 form 1; off: 404 */
    bool cors_any;              /* Access-Control-Allow-Origin: * and any preflight */
    bool methods_any_case;      /* "get" works */
    /* Bad chunk, body over the limit: form 3; off: 400, 413. No quirk sets it: a hole, not a habit. */
    bool body_errors_500;
} CompatStyle;

typedef struct CompatApp {
    Router *router;
    Engine *(*engine_of)(const char *context, void *data);
    void *data;
    const CompatStyle *style;
    uint64_t body_max;
} CompatApp;

/** The HTTP server's handler: CORS, routing, 404/405, then the route's handler with the app. data is a CompatApp. */
CO_FN void compat_serve(Request *req, Response *res, void *data);
/** Route.handler of every compat route; Route.data is its CompatAction. */
CO_FN void compat_handler(Request *req, Response *res, void *data);

#define COMPAT_ROUTE(method_, pattern_, context_, action_, table_, quirks_)                                            \
    {                                                                                                                  \
        .method = (method_), .pattern = (pattern_), .name = context_ "." action_, .context = (context_),               \
        .action = (action_), .surface = "compat", .handler = compat_handler, .data = (table_), .quirks = (quirks_)     \
    }

/** .NET's rule of names: [A-Za-z], digits when allowed, U+212A, and any Unicode white space. Shared by the contexts'
 *  checks. */
bool compat_is_name(Str text, bool digits);
