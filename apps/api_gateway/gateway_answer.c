/*
 * gateway_answer.c - what the gateway says itself.
 *
 * Clients of the old system see what its runtime would have said: problem+json with a status and a trace id. Why it
 * came to that stands in the logs, where operators look.
 */
#include "api_gateway/gateway_impl.h"

static Str type_of(int status) {
    switch (status) {
    case 410:
        return STR("https://tools.ietf.org/html/rfc9110#section-15.5.11");
    case 429:
        return STR("https://tools.ietf.org/html/rfc6585#section-4");
    case 502:
        return STR("https://tools.ietf.org/html/rfc9110#section-15.6.3");
    case 503:
        return STR("https://tools.ietf.org/html/rfc9110#section-15.6.4");
    case 504:
        return STR("https://tools.ietf.org/html/rfc9110#section-15.6.5");
    default:
        return STR("about:blank");
    }
}

void gateway_problem(Request *req, Response *res, int status) {
    char trace[TRACEPARENT_LEN];
    JsonWriter w;
    trace_format(&req->ctx->trace, trace);
    res->status = status;
    response_header(res, "Content-Type", STR("application/problem+json; charset=utf-8"));
    if (status == 503)
        response_header(res, "Retry-After", STR("1"));
    json_writer_init(&w, &res->body, JSON_ESCAPE_MINIMAL, 0);
    json_object(&w);
    json_name(&w, STR("type"));
    json_write_string(&w, type_of(status));
    json_name(&w, STR("title"));
    json_write_string(&w, str_c(http_reason(status)));
    json_name(&w, STR("status"));
    json_write_i64(&w, status);
    json_name(&w, STR("traceId"));
    json_write_string(&w, (Str){trace, sizeof trace});
    json_object_end(&w);
}

bool gateway_ends_here(const Request *req, Response *res) {
    if (req->method != METHOD_OPTIONS && req->method != METHOD_TRACE)
        return false;
    uint64_t hops;
    Str value = request_header(req, "Max-Forwards");
    if (value.p == NULL || str_to_u64(value, INT64_MAX, &hops) != ERR_OK || hops > 0)
        return false;
    res->status = req->method == METHOD_OPTIONS ? 204 : 405;
    if (req->method == METHOD_TRACE) /* it would show what proxies in front of us have added */
        response_header(res, "Allow", STR("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    return true;
}
