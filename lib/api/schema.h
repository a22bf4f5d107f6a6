/*
 * schema.h - JSON Schemas (2020-12) of every body: JSON:API documents, compat bodies and answers, messages.
 *
 * From the same tables as the bodies themselves. They stand in /openapi.json as components and, one a file, in
 * contracts/schemas (`usher schema`), where a test holds every recording against them.
 */
#pragma once
#include "api/jsonapi.h"
#include "bus/bus.h"

typedef struct Schemas {
    Ctx *ctx;
    const JsonApi *api;
    const MessageType *const *messages;  /* NULL-ended; may be NULL */
    const char *ref_before, *ref_behind; /* around a name in $ref: "#/components/schemas/" and "" */
} Schemas;

/** Called with a schema's name and its members already written into an object. */
typedef Err (*SchemaEach)(Str name, Str json, void *data);
/** Every schema, each name once, in a stable order. ERR_NO_MEMORY, or what fn returned. */
MUST_USE Err schemas_each(const Schemas *schemas, SchemaEach fn, void *data);

/* Names: "Events" of a type; "EventsCreate" and so on of its documents; "TicketsReserve" of an action's;
 * "events.create.request" of a compat route. */
Str schema_type_name(Arena *arena, const ApiType *type, const char *suffix);
Str schema_action_name(Arena *arena, const ApiType *type, const Action *action);
Str schema_compat_name(Arena *arena, const Route *route, const char *suffix);

/** The OpenAPI 3.1 document of all routes of the contexts and of api. */
MUST_USE Err openapi_make(Ctx *ctx, const JsonApi *api, Str *ret);
