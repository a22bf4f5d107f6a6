/*
 * instrument_http.c - the server's span and metrics for each request (semantic conventions: HTTP spans and metrics,
 * stable).
 *
 * The span's ids are those that lib/http gave the request when it read traceparent; what is added here is the decision
 * whether it is recorded. A request that could not be read has no span: it belongs to no trace and has no method, but
 * it counts.
 */
#include "http/router.h"
#include "telemetry/instrument.h"
#include "telemetry/instrument_words.h"
#include "telemetry/span.h"
#include "telemetry/span_memo.h"
#include "telemetry/state.h"

static const char *error_type(int status) {
    if (status == 0)
        return "cancelled"; /* never answered */
    return status >= 500 ? status_text(status) : NULL;
}

static bool continued(const Trace *trace) {
    static const uint8_t zero[8];
    return memcmp(trace->parent_id, zero, 8) != 0;
}

static struct Series *active_of(const Request *req) {
    return metric_series(METRIC_HTTP_ACTIVE,
                         LABELS({"http.request.method", method_name(req), 0}, {"url.scheme", url_scheme(req), 0}));
}

static void on_begin(const Request *req) {
    Trace *trace = &req->ctx->trace;
    if (telemetry.tracing) {
        bool take = telemetry_samples(trace, continued(trace));
        trace->flags = (uint8_t)((trace->flags & ~TRACE_SAMPLED) | (take ? TRACE_SAMPLED : 0));
    }
    struct Series *active = active_of(req);
    if (active != NULL)
        series_add(active, 1);
}

/* Host: name[:port], [v6][:port]. */
static void write_server(Str host) {
    ptrdiff_t bracket = host.n > 0 && host.p[0] == '[' ? str_index(host, ']') : -1;
    Str tail = str_slice(host, bracket < 0 ? 0 : (size_t)bracket, host.n);
    ptrdiff_t colon = str_index(tail, ':');
    if (host.n == 0)
        return;
    size_t end = host.n;
    if (colon >= 0) {
        uint64_t port;
        end = host.n - tail.n + (size_t)colon;
        if (str_to_u64(str_slice(tail, (size_t)colon + 1, tail.n), 65535, &port) == ERR_OK)
            span_int("server.port", (int64_t)port);
    }
    span_text("server.address", str_slice(host, 0, end));
}

/* "GET /events/{id}": never the path itself, of which there is no end. */
static void write_name(const Request *req) {
    char name[SPAN_NAME_MAX];
    Str method = str_c(req->method == METHOD_OTHER ? "HTTP" : method_name(req));
    span_name(req->route == NULL ? method : span_name_join(name, method, ' ', str_c(req->route->pattern)));
}

static void write_kind(const Request *req, int status, SpanMemo *memo) {
    if (memo->n > 0) {
        span_encoded((Str){memo->bytes, memo->n});
        return;
    }
    size_t mark = span_mark();
    write_name(req);
    span_text("http.request.method", str_c(method_name(req)));
    span_text("url.scheme", str_c(url_scheme(req)));
    if (req->route != NULL)
        span_text("http.route", str_c(req->route->pattern));
    if (status != 0)
        span_int("http.response.status_code", status);
    span_text("error.type", str_c(error_type(status)));
    span_text("network.protocol.version", str_c(protocol_version(req)));
    span_text("usher.backend", str_c(req->backend));
    span_memo_keep(span_since(mark), memo->bytes, sizeof memo->bytes, &memo->n);
}

static void write_asker(const Request *req) {
    Str agent = request_header(req, "User-Agent"), host = request_header(req, "Host");
    AskerMemo *memo = span_memo_asker(req->peer, agent, host);
    if (memo != NULL && memo->n > 0) {
        span_encoded((Str){memo->bytes, memo->n});
        return;
    }
    size_t mark = span_mark();
    span_text("client.address", req->peer);
    span_text("network.peer.address", req->peer);
    span_text("user_agent.original", agent);
    write_server(host);
    if (memo != NULL)
        span_memo_keep(span_since(mark), memo->bytes, sizeof memo->bytes, &memo->n);
}

static void write_span(const Request *req, int status, SpanMemo *memo, int64_t began_ns, int64_t ended_ns) {
    SpanInfo info = {.trace = &req->ctx->trace,
                     .kind = SPAN_SERVER,
                     .began_ns = began_ns,
                     .ended_ns = ended_ns,
                     .remote_parent = continued(&req->ctx->trace),
                     .failed = error_type(status) != NULL};
    if (!span_write(&info))
        return;
    Str path = req->target;
    span_text("url.path", str_cut(&path, '?'));
    span_text("url.query", req->query);
    if (req->method == METHOD_OTHER)
        span_text("http.request.method_original", req->method_text);
    write_kind(req, status, memo);
    write_asker(req);
    span_close();
}

static struct Series *duration_of(const Request *req, int status) {
    const char *failed = error_type(status);
    return metric_series(
        METRIC_HTTP_DURATION,
        LABELS({"http.request.method", method_name(req), 0}, {"url.scheme", url_scheme(req), 0},
               {req->route == NULL ? NULL : "http.route", req->route == NULL ? NULL : req->route->pattern, 0},
               {status == 0 ? NULL : "http.response.status_code", NULL, status},
               {failed == NULL ? NULL : "error.type", failed, 0},
               {"network.protocol.version", protocol_version(req), 0},
               {req->backend == NULL ? NULL : "usher.backend", req->backend, 0}));
}

/* The line of requests of this kind, with its series. */
static SpanMemo *memo_of(const Request *req, int status) {
    const uint64_t key[MEMO_WORDS] = {METRIC_HTTP_DURATION,
                                      (uintptr_t)method_name(req),
                                      (uintptr_t)url_scheme(req),
                                      req->route == NULL ? 0 : (uintptr_t)req->route->pattern,
                                      (uintptr_t)protocol_version(req),
                                      (uintptr_t)req->backend,
                                      (uint64_t)status};
    SpanMemo *memo = span_memo(key);
    if (memo->duration == NULL) {
        memo->duration = duration_of(req, status);
        memo->active = active_of(req);
    }
    return memo;
}

static void on_end(const Request *req, const Response *res, int64_t began_ns) {
    SpanMemo *memo = memo_of(req, res->status);
    if (memo->duration == NULL)
        return; /* nothing is recorded */
    int64_t ended_ns = clock_mono_ns();
    series_add(memo->active, -1);
    series_record(memo->duration, ended_ns - began_ns);
    if (telemetry.tracing)
        write_span(req, res->status, memo, began_ns, ended_ns);
}

static void on_refused(int status) {
    metric_record(METRIC_HTTP_DURATION, 0,
                  LABELS({"http.request.method", "_OTHER", 0}, {"url.scheme", "http", 0},
                         {"http.response.status_code", NULL, status}, {"error.type", status_text(status), 0}));
}

const HttpObserver *telemetry_http_observer(void) {
    static const HttpObserver observer = {.begin = on_begin, .end = on_end, .refused = on_refused};
    return telemetry.recording ? &observer : NULL;
}
