/*
 * sampler.h - which traces are recorded (OpenTelemetry SDK specification, "Built-in samplers").
 */
#pragma once
#include "runtime/ctx.h"

typedef struct Sampler {
    bool parent_based;  /* whoever continues a trace keeps its caller's decision */
    uint64_t threshold; /* of 2^63: the share of new traces; 2^63 is all */
} Sampler;

#define SAMPLER_ALL ((uint64_t)1 << 63)

/** always_on, always_off, traceidratio and parentbased_ each; arg is the ratio (0 to 1, default 1), read for
 *  traceidratio only. ERR_INVALID: *ret_why says what may stand there. */
MUST_USE Err sampler_parse(Str name, Str arg, Sampler *ret, const char **ret_why);
/** continued: the trace came with a traceparent. */
bool sampler_decides(const Sampler *sampler, const Trace *trace, bool continued);
