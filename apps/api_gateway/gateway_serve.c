/*
 * gateway_serve.c - one request through the gateway, straight down.
 *
 *   route → limits → decision → side → proxy → hooks and log
 */
#include "api_gateway/gateway_impl.h"
#include "runtime/log.h"
#include "telemetry/instrument.h"

typedef struct Serving {
    Gateway *gateway;
    GatewayTable *table;
    Request *req;
    Response *res;
    const RoutePlan *plan; /* NULL: no route knows it */
    Str client;
    GatewayDecision decision;
    Upstream *upstream; /* NULL: nobody was asked */
    ProxyResult result;
    int64_t began_ns;
} Serving;

/* --- limits ------------------------------------------------------------------------------------------------------- */

/* false: over the limit; answered. */
static bool rate_pass(Serving *s, const RateRule *rule) {
    if (rule->requests == 0)
        return true;
    RateAnswer answer = rate_take(s->gateway->shared->rates, rule, s->client, s->began_ns);
    rate_headers(rule, &answer, &s->res->head);
    if (answer.refused)
        gateway_problem(s->req, s->res, 429);
    return !answer.refused;
}

/* --- sides -------------------------------------------------------------------------------------------------------- */

static GatewaySide side_decide(Serving *s, const GatewayRoute *route) {
    GatewaySide side = route != NULL && route->fixed ? route->always : s->decision.side;
    if (gateway_upstream(s->gateway, route, side) != NULL)
        return side;
    LOG_W(s->req->ctx, "gateway.no_new_side", F_C("route", route == NULL ? "" : route->route->name));
    return SIDE_OLD;
}

static void failure_log(const Serving *s) {
    const ProxyResult *result = &s->result;
    if (result->failure == UPSTREAM_WELL || result->failure == UPSTREAM_CANCELLED)
        return;
    LOG_W(s->req->ctx, "gateway.upstream_failed", F_C("reason", upstream_failure_name(result->failure)),
          F_STR("upstream", upstream_name(s->upstream)), F_C("instance", result->peer), F_C("backend", s->req->backend),
          F_STR("method", s->req->method_text), F_BOOL("answered", result->begun));
}

/* What cannot be passed on because the client itself failed: its status is lib/http's to say, which knows how. */
static void failure_answer(Serving *s) {
    const ProxyResult *result = &s->result;
    if (result->begun || (result->failure == UPSTREAM_CANCELLED && result->client != ERR_OK))
        return;
    buf_clear(&s->res->head);
    int status = upstream_failure_status(result->failure);
    gateway_problem(s->req, s->res, status == 499 || status == 0 ? 503 : status);
}

static CO_FN void side_ask(Serving *s) {
    const GatewayHooks *hooks = s->gateway->hooks;
    const GatewayRoute *route = s->plan == NULL ? NULL : &s->plan->route;
    GatewaySide side = side_decide(s, route);
    ProxyOptions options = {.rules = &s->table->rules, .copy_max = s->decision.copy ? hooks->copy_max : 0};
    s->decision.side = side;
    s->upstream = route != NULL ? route->sides[side] : s->table->sides[side];
    s->req->backend = gateway_side_name(side);
    if (s->decision.answer_head.n > 0)
        buf_add(&s->res->head, s->decision.answer_head);
    Span span;
    telemetry_client_begin(s->req->ctx, &span);
    int64_t began_ns = clock_mono_ns();
    proxy_pass(s->req, s->res, s->upstream, &options, &s->result);
    const char *failure = s->result.failure == UPSTREAM_WELL ? NULL : upstream_failure_name(s->result.failure);
    telemetry_client_end(s->req, &span, s->result.answer.status, failure, s->result.peer);
    if (s->upstream != NULL)
        upstream_metrics_note(s->gateway->metrics, s->upstream, s->result.peer, s->result.failure,
                              s->result.answer.status, clock_mono_ns() - began_ns);
    failure_log(s);
    failure_answer(s);
}

/* --- afterwards --------------------------------------------------------------------------------------------------- */

static void tell(Serving *s, bool decided) {
    const ProxyResult *result = &s->result;
    int64_t ended_ns = clock_mono_ns();
    bool asked = s->upstream != NULL, whole = asked && result->complete;
    if (decided) {
        GatewayExchange exchange = {.req = s->req,
                                    .route = s->plan == NULL ? NULL : &s->plan->route,
                                    .sides = s->plan == NULL ? s->table->sides : s->plan->route.sides,
                                    .decision = &s->decision,
                                    .client = s->client,
                                    .status = whole ? result->answer.status : 0,
                                    .failure = result->failure,
                                    .client_left = asked && !whole && result->client != ERR_OK,
                                    .headers = result->answer.headers,
                                    .header_count = result->answer.header_count,
                                    .request_body = result->request_body,
                                    .body = result->body,
                                    .request_cut = result->request_cut,
                                    .body_cut = result->body_cut,
                                    .began_ns = s->began_ns,
                                    .answered_ns = result->answered_ns,
                                    .ended_ns = ended_ns};
        s->gateway->hooks->finished(&exchange, s->gateway->hooks->data);
    }
    if (s->gateway->log == NULL)
        return;
    AccessEntry entry = {.req = s->req,
                         .result = asked ? result : NULL,
                         .route = s->plan == NULL ? NULL : &s->plan->route,
                         .side = s->req->backend,
                         .client = s->client,
                         .upstream = asked ? upstream_name(s->upstream) : STR(""),
                         .status = s->res->status,
                         .began_ns = s->began_ns,
                         .ended_ns = ended_ns};
    access_log_add(s->gateway->log, &entry);
}

/* true: hooks were asked, and must hear how it ended. */
static CO_FN bool serve(Serving *s) {
    const GatewayHooks *hooks = s->gateway->hooks;
    const GatewayRoute *route = s->plan == NULL ? NULL : &s->plan->route;
    if (gateway_ends_here(s->req, s->res) || !rate_pass(s, &s->table->config.rate) ||
        (s->plan != NULL && !rate_pass(s, &s->plan->rate)))
        return false;
    bool decided = hooks != NULL && !(route != NULL && route->fixed);
    s->decision.client = s->client;
    if (decided)
        hooks->decide(s->req, route, &s->decision, hooks->data);
    if (s->decision.answer_status != 0) {
        gateway_problem(s->req, s->res, s->decision.answer_status);
        buf_add(&s->res->head, s->decision.answer_head);
    } else {
        side_ask(s);
    }
    return decided;
}

CO_FN void gateway_serve(Request *req, Response *res, void *data) {
    Gateway *gateway = data;
    Serving s = {.gateway = gateway, .table = gateway->table, .req = req, .res = res, .began_ns = clock_mono_ns()};
    s.table->refs++;
    s.plan = plan_find(s.table, req);
    s.client = forward_client(req, &s.table->rules);
    if (s.plan != NULL)
        req->route = s.plan->route.route;
    bool decided = serve(&s);
    tell(&s, decided);
    table_unref(s.table);
}
