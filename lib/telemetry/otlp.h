/*
 * otlp.h - bodies of requests to a collector (opentelemetry-proto, collector/{trace,metrics,logs}/v1). Private to
 * lib/telemetry.
 */
#pragma once
#include "telemetry/protobuf.h"
#include "telemetry/state.h"

/** An ExportTraceServiceRequest or ExportLogsServiceRequest under way: they differ in nothing but what is in them. */
typedef struct OtlpBatch {
    Pb pb;
    size_t outer, inner; /* open messages */
    size_t n;            /* records in it */
} OtlpBatch;

/** In memory of the caller. */
void otlp_batch_begin(OtlpBatch *batch, void *memory, size_t bytes);
/** False: no room; the batch is as it was. */
MUST_USE bool otlp_batch_add(OtlpBatch *batch, const uint8_t *record, size_t n);
Str otlp_batch_end(OtlpBatch *batch);

/** All metrics, cumulative since the region was made. ERR_LIMIT: more than `bytes`. */
MUST_USE Err otlp_metrics(Arena *arena, void *memory, size_t bytes, Str *ret);

/** How many records the collector says it refused, in its answer's partial_success; 0 for anything else. */
uint64_t otlp_rejected(Str answer);
