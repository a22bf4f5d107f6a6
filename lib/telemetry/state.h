/*
 * state.h - what this process knows of telemetry. Private to lib/telemetry.
 *
 * A process is one worker and has one of each; hence a global, as log.c has one. The region in it is shared.
 */
#pragma once
#include "runtime/log.h"
#include "telemetry/region.h"
#include "telemetry/telemetry.h"

typedef struct CollectorUrl {
    Str url; /* absent: none */
    Str host, path;
    int port;
} CollectorUrl;

/* Predecessors that may still count; more than a few hand-overs within one drain are not meant to happen. */
#define FORMERS_MAX 8

typedef struct TelemetryState {
    Region *region; /* NULL: not opened, or disabled nothing is recorded; its last slot holds what was folded into it */
    Region *formers[FORMERS_MAX];
    size_t n_formers;
    bool succeeded; /* a successor reports our counts too */
    Slot *slot;     /* NULL: not attached */
    size_t slot_at;
    TelemetryConfig config;
    CollectorUrl traces, metrics, logs;
    const TelemetryRole *roles;
    bool recording, tracing; /* what a worker asks first */
    uint64_t log_dropped_told;
} TelemetryState;
extern TelemetryState telemetry;

/** "http://host:4318/v1/traces" → its parts, port 80 unless said. ERR_INVALID: something else. */
MUST_USE Err collector_url_parse(Str url, CollectorUrl *ret);

/** A log line as an OTLP log record into the ring. */
void log_record_write(const Ctx *ctx, LogLevel level, const char *event, const LogField *fields, size_t n);

/** The wall clock in ns since 1970. */
int64_t telemetry_unix_ns(void);
