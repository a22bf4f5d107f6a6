/*
 * instrument.h - what watches lib/http and lib/pg.
 *
 * Those two are below and know nothing of spans: each takes an observer when it is opened, and asks one branch where
 * there is none.
 */
#pragma once
#include "http/http.h"
#include "pg/pg.h"
#include "telemetry/span.h"

/** A request that is passed on to another server: a CLIENT span under the server's, made ctx's, so that traceparent
 *  names it; and its duration. */
void telemetry_client_begin(Ctx *ctx, Span *span);
/** status 0: none came; failure: why (static text), NULL: none; peer: "10.0.0.5:5000", empty: nobody. req->backend says
 *  which side it was. */
void telemetry_client_end(const Request *req, const Span *span, int status, const char *failure, const char *peer);

/** What a mirror asked of its own accord, in the trace of the request that it copies. */
typedef struct MirroredRequest {
    Str method, target, upstream;
    const char *backend; /* whom it asked */
    int status;          /* 0: no answer; then failure says why */
    const char *failure; /* static text; NULL: none */
} MirroredRequest;
/** Ends what telemetry_client_begin began. A span and no metric: those count what clients wait for. */
void telemetry_mirror_end(Ctx *ctx, const Span *span, const MirroredRequest *request);

/** NULL where nothing is recorded. */
const HttpObserver *telemetry_http_observer(void);
const PgObserver *telemetry_pg_observer(void);
