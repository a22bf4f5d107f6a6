/*
 * instrument_http.c - the server's span and metrics for each request (semantic conventions: HTTP spans and metrics,
 * stable).
 *
 * The span's ids are those that lib/http gave the request when it read traceparent; what is added here is the decision
 * whether it is recorded. A request that could not be read has no span: it belongs to no trace and has no method, but
 * it counts.
 */
#include "http/router.h"
#include "telemetry/http_memo.h"
#include "telemetry/instrument.h"
#include "telemetry/instrument_words.h"
#include "telemetry/span.h"
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

static void on_begin(const Request *req) {
    Trace *trace = &req->ctx->trace;
    if (telemetry.tracing) {
        bool take = telemetry_samples(trace, continued(trace));
        trace->flags = (uint8_t)((trace->flags & ~TRACE_SAMPLED) | (take ? TRACE_SAMPLED : 0));
    }
    metric_add(METRIC_HTTP_ACTIVE, 1,
               LABELS({"http.request.method", method_name(req), 0}, {"url.scheme", url_scheme(req), 0}));
}

/* "GET /events/{id}": never the path itself, of which there is no end. */
static Str span_name(const Request *req, char out[SPAN_NAME_MAX]) {
    const char *method = req->method == METHOD_OTHER ? "HTTP" : method_name(req);
    return req->route == NULL ? str_c(method) : span_name_join(out, str_c(method), ' ', str_c(req->route->pattern));
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

static void write_kind(const HttpKind *kind, KindMemo *memo) {
    if (memo->n > 0) {
        span_encoded((Str){memo->bytes, memo->n});
        return;
    }
    size_t mark = span_mark();
    span_text("http.request.method", str_c(kind->method));
    span_text("url.scheme", str_c(kind->scheme));
    span_text("http.route", str_c(kind->route));
    if (kind->status != 0)
        span_int("http.response.status_code", kind->status);
    span_text("error.type", str_c(error_type((int)kind->status)));
    span_text("network.protocol.version", str_c(kind->version));
    span_text("usher.backend", str_c(kind->backend));
    memo_keep(span_since(mark), memo->bytes, sizeof memo->bytes, &memo->n);
}

static void write_asker(const Request *req) {
    Str agent = request_header(req, "User-Agent"), host = request_header(req, "Host");
    AskerMemo *memo = memo_of_asker(req->peer, agent, host);
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
        memo_keep(span_since(mark), memo->bytes, sizeof memo->bytes, &memo->n);
}

static void write_span(const Request *req, const HttpKind *kind, KindMemo *memo, int64_t began_ns, int64_t ended_ns) {
    char name[SPAN_NAME_MAX];
    SpanInfo info = {.trace = &req->ctx->trace,
                     .name = span_name(req, name),
                     .kind = SPAN_SERVER,
                     .began_ns = began_ns,
                     .ended_ns = ended_ns,
                     .remote_parent = continued(&req->ctx->trace),
                     .failed = error_type((int)kind->status) != NULL};
    if (!span_write(&info))
        return;
    Str path = req->target;
    span_text("url.path", str_cut(&path, '?'));
    span_text("url.query", req->query);
    if (req->method == METHOD_OTHER)
        span_text("http.request.method_original", req->method_text);
    write_kind(kind, memo);
    write_asker(req);
    span_close();
}

static struct Series *duration_of(const HttpKind *kind) {
    const char *failed = error_type((int)kind->status);
    return metric_series(METRIC_HTTP_DURATION,
                         LABELS({"http.request.method", kind->method, 0}, {"url.scheme", kind->scheme, 0},
                                {kind->route == NULL ? NULL : "http.route", kind->route, 0},
                                {kind->status == 0 ? NULL : "http.response.status_code", NULL, kind->status},
                                {failed == NULL ? NULL : "error.type", failed, 0},
                                {"network.protocol.version", kind->version, 0},
                                {kind->backend == NULL ? NULL : "usher.backend", kind->backend, 0}));
}

static void on_end(const Request *req, const Response *res, int64_t began_ns) {
    HttpKind kind = {.method = method_name(req),
                     .scheme = url_scheme(req),
                     .route = req->route == NULL ? NULL : req->route->pattern,
                     .version = protocol_version(req),
                     .backend = req->backend,
                     .status = res->status};
    KindMemo *memo = memo_of_kind(&kind);
    metric_add(METRIC_HTTP_ACTIVE, -1, LABELS({"http.request.method", kind.method, 0}, {"url.scheme", kind.scheme, 0}));
    int64_t ended_ns = clock_mono_ns();
    if (memo->duration == NULL)
        memo->duration = duration_of(&kind);
    if (memo->duration != NULL)
        series_record(memo->duration, ended_ns - began_ns);
    if (telemetry.tracing)
        write_span(req, &kind, memo, began_ns, ended_ns);
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
