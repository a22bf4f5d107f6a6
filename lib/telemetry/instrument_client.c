/*
 * instrument_client.c - the span and the metric of a request that goes on to another server (semantic conventions: HTTP
 * client spans and metrics, stable).
 *
 * One attribute of ours, usher.backend, says which side it was, on the client's metric as on the server's: so both
 * sides stand on one panel.
 */
#include "http/router.h"
#include "telemetry/instrument.h"
#include "telemetry/instrument_words.h"
#include "telemetry/metrics.h"

void telemetry_client_begin(Ctx *ctx, Span *span) {
    span_begin(ctx, span);
}

static void write_peer(const char *peer) {
    Str address = str_c(peer), port = address;
    size_t at = address.n;
    while (at > 0 && address.p[at - 1] != ':')
        at--;
    uint64_t number;
    port = str_slice(address, at, address.n);
    if (at > 0 && str_to_u64(port, 65535, &number) == ERR_OK) {
        span_text("server.address", str_trim(str_slice(address, 0, at - 1), "[]"));
        span_int("server.port", (int64_t)number);
    } else if (address.n > 0) {
        span_text("server.address", address);
    }
}

static void write_request(Str method, Str target, int status, const char *error, const char *backend) {
    span_text("http.request.method", method);
    span_text("url.path", str_cut(&target, '?'));
    if (status != 0)
        span_int("http.response.status_code", status);
    span_text("error.type", str_c(error));
    span_text("usher.backend", str_c(backend));
}

static const char *error_of(int status, const char *failure) {
    return failure != NULL ? failure : status >= 400 ? status_text(status) : NULL;
}

void telemetry_client_end(const Request *req, const Span *span, int status, const char *failure, const char *peer) {
    if (span->began_ns == 0)
        return;
    const char *error = error_of(status, failure);
    int64_t ended_ns = clock_mono_ns();
    metric_record(METRIC_HTTP_CLIENT_DURATION, ended_ns - span->began_ns,
                  LABELS({"http.request.method", method_name(req), 0},
                         {req->backend == NULL ? NULL : "usher.backend", req->backend, 0},
                         {req->route == NULL ? NULL : "http.route", req->route == NULL ? NULL : req->route->pattern, 0},
                         {status == 0 ? NULL : "http.response.status_code", NULL, status},
                         {error == NULL ? NULL : "error.type", error, 0}));
    if (!span_end(req->ctx, span, ended_ns, str_c(method_name(req)), SPAN_CLIENT, error != NULL))
        return;
    write_request(str_c(method_name(req)), req->target, status, error, req->backend);
    write_peer(peer);
    span_close();
}

void telemetry_mirror_end(Ctx *ctx, const Span *span, const MirroredRequest *request) {
    char name[SPAN_NAME_MAX];
    const char *error = error_of(request->status, request->failure);
    if (span->began_ns == 0 ||
        !span_end(ctx, span, clock_mono_ns(), span_name_join(name, STR("mirror"), ' ', request->method), SPAN_CLIENT,
                  error != NULL))
        return;
    write_request(request->method, request->target, request->status, error, request->backend);
    span_text("usher.upstream", request->upstream);
    span_close();
}
