/*
 * tracing.c - a job's span, in the trace of its insert, and what is counted of jobs.
 */
#include "jobs/internal.h"
#include "telemetry/metrics.h"
#include "telemetry/telemetry.h"

void trace_job_begin(Ctx *ctx, const Attempt *a) {
    bool continued = a->traceparent.p != NULL && trace_parse(a->traceparent, &ctx->trace) == ERR_OK;
    if (continued) {
        ctx->trace.state = a->tracestate;
        ctx->trace.baggage = a->baggage;
    }
    if (telemetry_traces() && !telemetry_samples(&ctx->trace, continued))
        ctx->trace.flags = (uint8_t)(ctx->trace.flags & ~TRACE_SAMPLED);
    metric_record(METRIC_JOB_DELAY, a->delay_us * 1000, LABELS({"usher.queue", a->queue->queue->name, 0}));
}

void trace_job_end(Ctx *ctx, const Attempt *a) {
    const char *kind = a->kind == NULL ? "unknown" : a->kind->name;
    bool failed = a->end.state != JOB_COMPLETED && !a->end.back && a->end.state != JOB_CANCELLED;
    metric_record(METRIC_JOB_DURATION, a->ended_ns - a->began_ns,
                  LABELS({"usher.job.kind", kind, 0}, {"usher.queue", a->queue->queue->name, 0},
                         {"usher.outcome", a->end.outcome, 0}));
    char name[SPAN_NAME_MAX], id[ID_TEXT_LEN];
    SpanInfo info = {.trace = &ctx->trace,
                     .name = span_name_join(name, STR("run"), ' ', str_c(kind)),
                     .kind = SPAN_CONSUMER,
                     .began_ns = a->began_ns,
                     .ended_ns = a->ended_ns,
                     .remote_parent = a->traceparent.p != NULL,
                     .failed = failed};
    if (!span_write(&info))
        return;
    id_format(&a->id, id);
    span_text("usher.job.kind", str_c(kind));
    span_text("usher.job.id", (Str){id, ID_TEXT_LEN});
    span_text("usher.queue", str_c(a->queue->queue->name));
    span_int("usher.job.attempt", a->attempt);
    span_text("usher.outcome", str_c(a->end.outcome));
    if (failed)
        span_text("error.type", str_c(a->end.outcome));
    span_close();
}

void trace_depth(const char *schema, const char *queue, int64_t depth, int64_t age_ns, int64_t running) {
    const Label labels[] = {{"usher.schema", schema, 0}, {"usher.queue", queue, 0}};
    metric_set(METRIC_JOBS_DEPTH, depth, labels, ARRAY_LEN(labels));
    metric_set(METRIC_JOBS_AGE, age_ns, labels, ARRAY_LEN(labels));
    metric_set(METRIC_JOBS_RUNNING, running, labels, ARRAY_LEN(labels));
}
