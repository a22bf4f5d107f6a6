/*
 * keep.h - idempotency keys: an effect and the answer to it, kept in one commit.
 *
 * A client that does not know whether its POST arrived sends it again under the same key
 * (draft-ietf-httpapi-idempotency-key-header) and gets the stored answer instead of a second effect. Key and answer are
 * rows of the context's own schema, written in the effect's own transaction; a context declares the table among its
 * resources with KEEP_TABLE. Only effects are kept: a request that was refused did nothing and may be tried again.
 */
#pragma once
#include "resource/resource.h"

typedef struct KeepRow {
    Str key;
    Str request; /* hex digest of what was asked */
    int32_t status;
    Str head; /* header lines */
    Str body;
    Instant kept_at;
} KeepRow;
extern const Attribute KEEP_ATTRIBUTES[];
extern const Index KEEP_INDEXES[];
#define KEEP_TABLE(schema_)                                                                                            \
    {                                                                                                                  \
        .name = "idempotency_key", .plural = "idempotency_keys", .schema = (schema_),                                  \
        .doc = "Answers to requests that may be sent again.", .size = sizeof(KeepRow), .attributes = KEEP_ATTRIBUTES,  \
        .indexes = KEEP_INDEXES, .internal = true                                                                      \
    }

/** How long an answer is kept, seconds. */
#define KEEP_SECONDS (24 * 3600)
#define KEEP_KEY_MAX 255

typedef enum KeepState {
    KEEP_NEW,       /* nobody has used the key */
    KEEP_ANSWERED,  /* status, head and body are the stored answer */
    KEEP_IN_FLIGHT, /* another request with this key is being served right now */
    KEEP_OTHER,     /* the key belongs to another request */
} KeepState;

typedef struct Keep {
    Str key;
    Fingerprint request;
    int status; /* in: what to store; out: what was stored */
    Str head, body;
    KeepState state; /* out */
} Keep;

/** Looks without a transaction: KEEP_NEW, KEEP_ANSWERED or KEEP_OTHER into keep->state. Suspends. */
CO_FN Err keep_read(Engine *engine, Ctx *ctx, Keep *keep) MUST_USE;
