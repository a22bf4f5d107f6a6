/*
 * shadow.h - the shadow worker: sends copies to the other side, compares, and keeps what it finds.
 *
 * It is a process of its own, and nobody waits for it: a side that is dead, slow or lies costs it time and differences,
 * a copy that kills it costs one restart, and the clients of the gateway nothing. Worker 0 also keeps the board in step
 * with Postgres (keeper.h).
 */
#pragma once
#include "api_gateway/ear.h"
#include "api_gateway/findings.h"
#include "api_gateway/gateway.h"

/** How far the data migration has copied; it will be asked instead of waiting blindly. */
typedef struct Watermark {
    /** True when everything that the old side knew at `at` is on the new side. */
    bool (*passed)(void *data, Instant at);
    void *data;
} Watermark;

typedef struct ShadowOptions {
    Board *board;
    size_t shadow;              /* index among the shadow workers */
    PgPool *pool;               /* of GATEWAY_CONTEXT */
    const Gateway *gateway;     /* for its upstreams: a copy names those of its route */
    int64_t concurrency;        /* copies in work at once; others stay in the ring */
    int64_t rechecks_max;       /* differing ones that wait for their second look; further ones are skipped */
    int64_t timeout_ms;         /* for one answer */
    int64_t recheck_ms;         /* before the second look; where there is no watermark the only sign of lag */
    int64_t samples_max;        /* of each cause */
    int64_t budget_ppm;         /* failures of a million at which a stage steps back */
    const char *const *learn;   /* kinds of ids that differ on the two sides; NULL-ended */
    const Watermark *watermark; /* NULL: not available */
    Upstream *trials;           /* answers in envelopes (trials.h); NULL: writes are skipped */
    Str trial_key;              /* what it wants in TRIAL_KEY_HEADER */
    Ear *ear;                   /* the old side's messages; NULL: nobody listens, messages are told and not compared */
    int64_t message_wait_ms;    /* for a message, from the old side's answer */
} ShadowOptions;

typedef struct Shadow Shadow;

/** Starts its coroutines; they end by cancellation (co_drain). The options' texts and pools stay the caller's.
 *  ERR_NO_MEMORY. */
MUST_USE Err shadow_start(Loop *loop, const ShadowOptions *options, Shadow **ret);
/** When its coroutines have ended. */
void shadow_free(Shadow *shadow);
