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

/** NULL where nothing is recorded. */
const HttpObserver *telemetry_http_observer(void);
const PgObserver *telemetry_pg_observer(void);
