/*
 * bind.h - a JSON body becomes a payload struct, or the old system's reason why not.
 *
 * Internal to lib/api and its tests. No sockets, no waiting: a pure function of the payload's table, the body and the
 * style.
 */
#pragma once
#include "api/compat.h"

#define REFUSAL_RULES_MAX 16

/** Why a body was refused. */
typedef struct CompatRefusal {
    /* Error form 2 (ERR_SYNTAX): what stands in `errors`. */
    Str key;              /* "$.EventName", "$", "" or a field's name */
    Str message;          /* the old reader's words, path and position included */
    bool payload_missing; /* "payload": ["The payload field is required."] beside it */
    /* Error form 1 (the code of the first check that refused): in document order. */
    Problem rules[REFUSAL_RULES_MAX];
    size_t rules_n;
} CompatRefusal;

/**
 * Converts properties in document order; the first failure ends it (unless one_error_only is off: then all rules are
 * checked).
 *
 * @body  UTF-8, a BOM allowed; empty or null: "A non-empty request body is required."
 * @ret   payload->size bytes in ctx's arena. Also with refused rules when one_error_only is off: the action's own rules
 * can
 *        then be asked as well
 * ERR_SYNTAX, or what a field's check returned: *refusal is filled; ERR_NO_MEMORY: it is not.
 */
MUST_USE Err compat_bind(const CompatPayload *payload, Str body, const CompatStyle *style, Ctx *ctx, void **ret,
                         CompatRefusal *refusal);

/** One JSON value, the reader's current token, into the field's member of `object`. ERR_SYNTAX: not convertible. */
MUST_USE Err compat_convert(const CompatField *field, JsonReader *r, const CompatStyle *style, Arena *arena,
                            void *object);
/** The text of a syntax error as the old reader words it, without path and position. Absent: no memory. */
Str compat_json_wording(Arena *arena, const JsonReader *r);
/** Text that is valid UTF-8: bytes that are not become U+FFFD; cut at a character boundary at most `max` bytes long. */
Str compat_printable(Arena *arena, Str text, size_t max);
