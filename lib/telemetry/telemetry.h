/*
 * telemetry.h - traces, metrics and health of one usher: opening it, and who takes part.
 *
 *   supervisor  telemetry_open            before the first fork: the memory all workers share
 *   worker      telemetry_attach          which slot is mine
 *               span_*, metric_*          records; never waits, never fails
 *   telemetry   telemetry_export_start    sends what was recorded to the collector
 *               telemetry_admin_serve     /metrics, /health/live, /health/ready, /health/startup
 *
 * Without telemetry_open everything else is allowed and does nothing.
 */
#pragma once
#include "http/http.h"
#include "telemetry/metrics.h"
#include "telemetry/sampler.h"

typedef struct TelemetryConfig {
    bool disabled; /* OTEL_SDK_DISABLED: nothing is recorded; health is still served */
    Str service_name;
    Str resource_attributes;               /* "key=value,key=value", percent-encoded as in baggage */
    Str traces_url, metrics_url, logs_url; /* absent: not exported */
    Str headers;                           /* "name=value,…" for every request to the collector */
    Sampler sampler;
    int64_t timeout_ms, delay_ms, metric_interval_ms;
    int64_t queue_max, batch_max; /* spans */
} TelemetryConfig;

/** Which workers there will be. Ended by name == NULL. */
typedef struct TelemetryRole {
    const char *name;
    int count;
    bool serves; /* /health/ready asks it */
} TelemetryRole;

/** The config's texts stay the caller's. ERR_NO_MEMORY; ERR_INVALID: a collector's URL cannot be read. */
MUST_USE Err telemetry_open(const TelemetryConfig *config, const TelemetryRole *roles);
/** True when it can be a collector's: http://HOST[:PORT][/PATH]. */
bool telemetry_url_fits(Str url);
/** Forgets all: for tests. Children keep theirs. */
void telemetry_close(void);
/** In a worker, before anything is recorded. Gauges of its slot begin anew, counters go on. */
void telemetry_attach(const char *role, int index);
/** This worker's state for /health/ready, told about once a second: silence for TELEMETRY_SILENCE_MS is bad health. */
void telemetry_beat(bool ready, bool draining);
#define TELEMETRY_SILENCE_MS 10000
/** Every worker serves: /health/startup is 200 from now on. */
void telemetry_started(void);
bool telemetry_has_started(void);
/** What /health/ready answers: every worker that serves is well. */
bool telemetry_is_ready(void);
/** True when spans are to be recorded at all. */
bool telemetry_traces(void);
/** Is this trace, which came with a traceparent (continued) or is new, to be recorded? */
bool telemetry_samples(const Trace *trace, bool continued);
/** A successor serves: it reports our counts with its own, so this process exports no more metrics. */
void telemetry_succeeded(void);
/** How many other attached workers are alive. */
size_t telemetry_others_alive(void);

/** Begins to export, for ever. Cancel it to end it; what is left is then sent in one last attempt of at most 2 s. */
MUST_USE Err telemetry_export_start(Loop *loop, Co **ret);
/** A Handler for the admin listener. */
CO_FN void telemetry_admin_serve(Request *req, Response *res, void *data);
