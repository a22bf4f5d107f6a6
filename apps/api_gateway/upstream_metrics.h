/*
 * upstream_metrics.h - what metrics say of upstreams, instance by instance: requests, errors and times as they end, and
 * once a second who is well, what is in work and how many connections there are.
 */
#pragma once
#include "http/upstream.h"

typedef struct UpstreamMetrics UpstreamMetrics;

/** ERR_NO_MEMORY. */
MUST_USE Err upstream_metrics_new(Loop *loop, UpstreamMetrics **ret);
void upstream_metrics_free(UpstreamMetrics *metrics);
/** Which upstreams there are from now on; borrowed until the next call. */
void upstream_metrics_watch(UpstreamMetrics *metrics, Upstream *const *upstreams, size_t n);
/** One request has ended. peer "": it came to no instance. */
void upstream_metrics_note(UpstreamMetrics *metrics, const Upstream *upstream, const char *peer,
                           UpstreamFailure failure, int status, int64_t ns);
