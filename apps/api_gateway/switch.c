/*
 * switch.c - deciding and counting, in the gateway worker.
 */
#include "api_gateway/switch.h"

#include <stdio.h>

#include "api_gateway/copies.h"
#include "api_gateway/forced.h"
#include "base/heap.h"
#include "telemetry/metrics.h"

enum {
    TICK_MS = 20,
    WAKE_MS = 2,
    COPY_MAX = 64 * 1024,
    RECORD_MAX = 256 * 1024,
    HEAD_MAX = 256,
    CALLER_MAX = 160,
    PPM = 1000000
};

/* A request that waits for a switch to be over. */
typedef struct Held {
    Wait wait;
    struct Held *next;
} Held;

struct Switch {
    Loop *loop;
    SwitchOptions options;
    GatewayHooks hooks;
    const Route *routes[BOARD_ROUTES_MAX]; /* by the board's index; [0] is NULL */
    size_t route_n;                        /* of usher's own; behind them on the board: others, by context and part */
    StageTable tables[2];                  /* what we go by, and the spare one */
    const StageTable *stages;
    uint64_t version;
    Held *held;
    Buf record;
    Timer tick, wake;
};

/* What finished must know of decide; in the request's arena. */
typedef struct Decided {
    size_t route;
    BoardSide side;
    bool wanted, sampled; /* to be mirrored; and it is one of those that are */
    bool tried;           /* a write: wanted where the old side answers it */
    bool counted;
} Decided;

/* --- following the stages ----------------------------------------------------------------------------------------- */

static void follow(Switch *sw) {
    StageTable *spare = &sw->tables[sw->stages == &sw->tables[0]];
    if (board_version(sw->options.board) != sw->version && board_stages(sw->options.board, &sw->version, spare)) {
        sw->stages = spare;
        board_adopted(sw->options.board, sw->options.worker, sw->version);
    }
}

static void release_held(Switch *sw) {
    Held *held = sw->held;
    sw->held = NULL;
    while (held != NULL) {
        Held *next = held->next;
        wait_wake(&held->wait, ERR_OK);
        held = next;
    }
}

/* Without memory for the timer stages are still followed by each request. */
static void arm_tick(Switch *sw) {
    if (sw->tick.heap_index == 0)
        (void)!timer_arm(sw->loop, &sw->tick, loop_now_ms(sw->loop) + TICK_MS);
}

static void on_tick(Timer *timer) {
    Switch *sw = (Switch *)((char *)timer - offsetof(Switch, tick));
    uint64_t before = sw->version;
    follow(sw);
    if (sw->version != before)
        release_held(sw);
    arm_tick(sw);
}

/* Requests wait while a switch pauses them, at most until the time that it wrote down; then what is known goes on. */
static CO_FN const Stage *stage_now(Switch *sw, Str context, StagePart part, Str label) {
    for (;;) {
        follow(sw);
        const Stage *stage = stage_of(sw->stages, context, part, label);
        int64_t now_us = instant_to_unix_us(clock_now());
        if (stage == NULL || stage->paused_until_us <= now_us)
            return stage;
        Held held = {.next = sw->held};
        sw->held = &held;
        int64_t until_ms = clock_mono_ms() + (stage->paused_until_us - now_us) / 1000 + 1;
        Err err = co_wait(&held.wait, until_ms);
        for (Held **link = &sw->held; *link != NULL; link = &(*link)->next)
            if (*link == &held) {
                *link = held.next;
                break;
            }
        if (err == ERR_CANCELLED)
            return stage_of(sw->stages, context, part, label);
    }
}

/* --- routes ------------------------------------------------------------------------------------------------------- */

void switch_label(const Route *route, char out[STAGE_ROUTE_MAX]) {
    static const char *const methods[] = {"",
#define METHOD_NAME(name) #name,
                                          HTTP_METHODS(METHOD_NAME)
#undef METHOD_NAME
    };
    size_t n = (size_t)snprintf(out, STAGE_ROUTE_MAX, "%s ", methods[route->method]);
    bool in_type = false;
    for (const char *c = route->pattern; *c != 0 && n < STAGE_ROUTE_MAX - 1; c++) {
        in_type = *c == ':' || (in_type && *c != '}');
        if (!in_type)
            out[n++] = *c;
    }
    out[n] = 0;
}

static StagePart part_of(Method method) {
    return method == METHOD_GET || method == METHOD_HEAD || method == METHOD_OPTIONS ? PART_READS : PART_WRITES;
}

void switch_label_other(const char *context, StagePart part, char out[STAGE_ROUTE_MAX]) {
    (void)snprintf(out, STAGE_ROUTE_MAX, "other %s %s", context, stage_part_name(part));
}

/* Of each context that a route has: what the routes file adds to it. */
static size_t add_others(BoardRoute out[BOARD_ROUTES_MAX], size_t n) {
    size_t own = n;
    for (size_t i = 1; i < own; i++) {
        bool first = true;
        for (size_t j = 1; j < i; j++)
            first = first && strcmp(out[j].context, out[i].context) != 0;
        for (StagePart part = PART_READS; first && part <= PART_WRITES && n < BOARD_ROUTES_MAX; part++) {
            out[n] = (BoardRoute){.part = (uint8_t)part};
            memcpy(out[n].context, out[i].context, sizeof out[n].context);
            switch_label_other(out[n].context, part, out[n].label);
            n++;
        }
    }
    return n;
}

size_t switch_routes(const Router *router, BoardRoute out[BOARD_ROUTES_MAX]) {
    size_t at = 0, n = 1;
    out[0] = (BoardRoute){.label = "other"};
    for (const Route *route = router_each(router, &at); route != NULL && n < BOARD_ROUTES_MAX;
         route = router_each(router, &at)) {
        out[n] = (BoardRoute){.part = (uint8_t)part_of(route->method)};
        switch_label(route, out[n].label);
        (void)snprintf(out[n++].context, STAGE_CONTEXT_MAX, "%s", route->context);
    }
    return add_others(out, n);
}

static size_t route_of(const Switch *sw, const Request *req) {
    Request probe = *req;
    Str allow;
    probe.route = NULL;
    if (router_match(sw->options.router, &probe, &allow) != ROUTE_FOUND)
        return 0;
    for (size_t i = 1; i < sw->route_n; i++)
        if (sw->routes[i] == probe.route)
            return i;
    return 0;
}

/* --- whose request it is ------------------------------------------------------------------------------------------ */

static Str cookie_of(const Request *req, Str name) {
    for (size_t i = 0; i < req->header_count; i++) {
        Str rest = req->headers[i].value;
        if (!str_eq_nocase(req->headers[i].name, STR("cookie")))
            continue;
        while (rest.p != NULL) {
            Str value = str_trim(str_cut(&rest, ';'), " "), key = str_cut(&value, '=');
            if (str_eq(key, name))
                return value;
        }
    }
    return (Str){NULL, 0};
}

static Str key_of(const Switch *sw, const Request *req, Str client) {
    Str name = sw->options.canary_key, kind = str_cut(&name, ':');
    Str key = {NULL, 0};
    if (str_eq_c(kind, "cookie"))
        key = cookie_of(req, name);
    for (size_t i = 0; str_eq_c(kind, "header") && i < req->header_count; i++)
        if (str_eq_nocase(req->headers[i].name, name))
            key = req->headers[i].value;
    return key.p == NULL ? client : key;
}

/* --- deciding ----------------------------------------------------------------------------------------------------- */

/* RFC 9745 §2: a structured date; RFC 8594 §3: an HTTP date. */
static void tell_end(const Request *req, const Stage *stage, GatewayDecision *ret) {
    Buf out = buf_new(req->ctx->arena, HEAD_MAX);
    if (stage->deprecated_us != 0)
        buf_printf(&out, "Deprecation: @%lld\r\n", (long long)(stage->deprecated_us / 1000000));
    if (stage->gone_us != 0) {
        char date[HTTP_DATE_LEN];
        http_date_format(stage->gone_us / 1000000, date);
        buf_printf(&out, "Sunset: %.*s\r\n", HTTP_DATE_LEN, date);
    }
    if (out.err == ERR_OK)
        ret->answer_head = buf_str(&out);
}

static bool is_sampled(const Switch *sw) {
    return sw->options.sample_ppm >= PPM || (int64_t)random_below(PPM) < sw->options.sample_ppm;
}

static void decide_by(Switch *sw, Request *req, const Stage *stage, Decided *decided, GatewayDecision *ret) {
    StageKind kind = (StageKind)stage->kind;
    if (kind == STAGE_NEW || kind == STAGE_RETIRED ||
        (kind == STAGE_CANARY && stage_takes(stage, stage_bucket(key_of(sw, req, ret->client)))))
        ret->side = SIDE_NEW;
    bool mirrors = kind == STAGE_SHADOW || (kind != STAGE_LEGACY && sw->options.mirror_back) ||
                   (kind == STAGE_CANARY && ret->side == SIDE_OLD);
    decided->wanted = mirrors && req->method == METHOD_GET;
    if ((kind == STAGE_SHADOW || kind == STAGE_CANARY) && sw->options.tries && decided->route < sw->route_n)
        decided->tried = req->method == METHOD_POST || req->method == METHOD_PUT;
    if (kind != STAGE_RETIRED)
        return;
    tell_end(req, stage, ret);
    if (stage->gone_us != 0 && instant_to_unix_us(clock_now()) >= stage->gone_us)
        ret->answer_status = 410;
}

static bool row_is(const Board *board, size_t i, const char *context, StagePart part) {
    const BoardRoute *row = board_route(board, i);
    return row->part == (uint8_t)part && strcmp(row->context, context) == 0;
}

/* What a request is switched and counted with: as its route in the file says and `usher gateway check` explains, and as
 * usher's own says where none in the file fits (HEAD). 0: it is never switched. */
static size_t row_of(const Switch *sw, const Request *req, const GatewayRoute *route) {
    const Board *board = sw->options.board;
    size_t own = route_of(sw, req);
    if (route == NULL)
        return own;
    const char *context = route->route->context;
    if (route->group == NULL || context == NULL)
        return 0;
    StagePart part = strcmp(route->group, "reads") == 0 ? PART_READS : PART_WRITES;
    if (own != 0 && row_is(board, own, context, part))
        return own;
    for (size_t i = sw->route_n; i < board_route_count(board); i++)
        if (row_is(board, i, context, part))
            return i;
    return 0;
}

static CO_FN void decide(Request *req, const GatewayRoute *route, GatewayDecision *ret, void *data) {
    Switch *sw = data;
    Decided *decided = ARENA_NEW(req->ctx->arena, Decided);
    if (decided == NULL)
        return; /* the old side, uncounted */
    ret->data = decided;
    arm_tick(sw);
    decided->route = row_of(sw, req, route);
    const BoardRoute *row = board_route(sw->options.board, decided->route);
    const Stage *stage =
        decided->route == 0 ? NULL : stage_now(sw, str_c(row->context), (StagePart)row->part, str_c(row->label));
    if (stage != NULL)
        decide_by(sw, req, stage, decided, ret);
    Str forced = request_header(req, FORCED_HEADER);
    if (forced.p != NULL && sw->options.tester_secret.n > 0)
        (void)forced_side(forced, sw->options.tester_secret, clock_now(), &ret->side);
    decided->side = ret->side == SIDE_NEW ? BOARD_NEW : BOARD_LEGACY;
    decided->wanted = decided->wanted || (decided->tried && decided->side == BOARD_LEGACY);
    decided->sampled = decided->wanted && is_sampled(sw);
    ret->copy = decided->sampled || sw->options.recorder != NULL;
    decided->counted = ret->answer_status == 0;
    if (decided->counted)
        board_begin(sw->options.board, sw->options.worker, decided->route, decided->side);
}

/* --- afterwards --------------------------------------------------------------------------------------------------- */

static Str header_of(const Header *headers, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (str_eq_nocase(headers[i].name, str_c(name)))
            return headers[i].value;
    return (Str){NULL, 0};
}

static void skip(Switch *sw, size_t route, SkipReason reason) {
    board_skipped(sw->options.board, sw->options.worker, route, reason);
    metric_add(METRIC_SHADOW_SKIPPED, 1, LABELS({"usher.reason", skip_reason_name(reason), 0}));
}

/* A wake is a system call, and where the other core idles an interrupt to it, which cost more than all the rest of a
 * copy: one for those of some milliseconds. Nobody waits for a comparison. */
static void wake_soon(Switch *sw) {
    const SwitchOptions *options = &sw->options;
    if (!board_sleeps(options->board, options->worker))
        return;
    bool later = sw->wake.heap_index != 0 || timer_arm(sw->loop, &sw->wake, loop_now_ms(sw->loop) + WAKE_MS) == ERR_OK;
    if (!later || board_half_full(options->board, options->worker))
        board_wake(options->board, options->worker);
}

static void on_wake(Timer *timer) {
    const Switch *sw = (const Switch *)((const char *)timer - offsetof(Switch, wake));
    board_wake(sw->options.board, sw->options.worker);
}

static void put(Switch *sw, const Copy *copy, const GatewayExchange *exchange) {
    const Request *req = exchange->req;
    bool whole = copy->kind == COPY_EXCHANGE;
    buf_clear(&sw->record);
    Err err = copy_write(&sw->record, copy, req->headers, whole ? req->header_count : 0, exchange->headers,
                         whole ? exchange->header_count : 0);
    SkipReason reason = err == ERR_LIMIT ? SKIP_LARGE : err == ERR_OK ? SKIP_FULL : SKIP_CANNOT;
    if (err == ERR_OK && board_put(sw->options.board, sw->options.worker, buf_str(&sw->record)))
        wake_soon(sw);
    else if (whole)
        skip(sw, copy->route, reason);
}

/* A write is not asked for again: an old side that was out of order has said nothing to compare with. */
static bool is_broken(const Decided *decided, int status) {
    return status == 0 || (decided->tried && status >= 502 && status <= 504);
}

static Str side_name(const GatewayExchange *exchange, GatewaySide side) {
    return exchange->sides[side] == NULL ? STR("") : upstream_name(exchange->sides[side]);
}

static void mirror(Switch *sw, const Decided *decided, const GatewayExchange *exchange) {
    if (!decided->sampled) {
        skip(sw, decided->route, SKIP_SAMPLE);
    } else if (is_broken(decided, exchange->status)) {
        skip(sw, decided->route, SKIP_BROKEN);
    } else if (exchange->body_cut || exchange->body.p == NULL || (decided->tried && exchange->request_cut)) {
        skip(sw, decided->route, SKIP_LARGE);
    } else if (header_of(exchange->headers, exchange->header_count, "content-encoding").n > 0) {
        skip(sw, decided->route, SKIP_ENCODED);
    } else {
        int64_t took_us = (clock_mono_ns() - exchange->began_ns) / 1000;
        const Trace *trace = &exchange->req->ctx->trace;
        Copy copy = {.kind = COPY_EXCHANGE,
                     .route = decided->route,
                     .primary = decided->side,
                     .status = exchange->status,
                     .at_us = instant_to_unix_us(clock_now()) - took_us,
                     .answer_ns = exchange->answered_ns - exchange->began_ns,
                     .method = exchange->req->method_text,
                     .target = exchange->req->target,
                     .body = exchange->body,
                     .request_body = decided->tried ? exchange->request_body : (Str){NULL, 0},
                     .trace = {.flags = trace->flags},
                     .sides = {side_name(exchange, SIDE_OLD), side_name(exchange, SIDE_NEW)}};
        memcpy(copy.trace.trace_id, trace->trace_id, sizeof trace->trace_id);
        memcpy(copy.trace.span_id, trace->span_id, sizeof trace->span_id);
        put(sw, &copy, exchange);
    }
}

static void note_caller(Switch *sw, const Decided *decided, const GatewayExchange *exchange) {
    Str agent = request_header(exchange->req, "user-agent");
    Str caller = arena_printf(exchange->req->ctx->arena, "%.*s %.*s", STR_ARG(exchange->client),
                              STR_ARG(str_slice(agent.p == NULL ? STR("-") : agent, 0, CALLER_MAX)));
    Copy copy = {.kind = COPY_CALLER, .route = decided->route, .caller = caller};
    if (caller.p != NULL)
        put(sw, &copy, exchange);
}

static void finished(const GatewayExchange *exchange, void *data) {
    Switch *sw = data;
    const Decided *decided = exchange->decision->data;
    if (decided == NULL)
        return;
    /* A client that leaves is nobody's error, and says nothing about a side. */
    bool error = !exchange->client_left && (exchange->status == 0 || exchange->status >= 500);
    int64_t answered_ns = exchange->answered_ns != 0 ? exchange->answered_ns : clock_mono_ns();
    if (decided->counted)
        board_end(sw->options.board, sw->options.worker, decided->route, decided->side, error,
                  answered_ns - exchange->began_ns);
    if (decided->wanted)
        mirror(sw, decided, exchange);
    if (sw->options.recorder != NULL)
        recorder_add(sw->options.recorder, exchange);
    if (exchange->decision->answer_head.n > 0)
        note_caller(sw, decided, exchange);
}

/* --- making it ---------------------------------------------------------------------------------------------------- */

Err switch_new(Loop *loop, const SwitchOptions *options, Switch **ret) {
    Switch *sw = HEAP_NEW(Switch);
    if (sw == NULL)
        return ERR_NO_MEMORY;
    *sw = (Switch){.loop = loop,
                   .options = *options,
                   .record = buf_new(NULL, RECORD_MAX),
                   .tick = {.fn = on_tick},
                   .wake = {.fn = on_wake}};
    sw->hooks = (GatewayHooks){.decide = decide, .finished = finished, .data = sw, .copy_max = COPY_MAX};
    sw->stages = &sw->tables[0];
    sw->route_n = 1;
    size_t at = 0;
    for (const Route *route = router_each(options->router, &at); route != NULL && sw->route_n < BOARD_ROUTES_MAX;
         route = router_each(options->router, &at))
        sw->routes[sw->route_n++] = route;
    board_attach(options->board, options->worker);
    follow(sw);
    arm_tick(sw);
    *ret = sw;
    return ERR_OK;
}

void switch_free(Switch *sw) {
    if (sw == NULL)
        return;
    timer_disarm(sw->loop, &sw->tick);
    timer_disarm(sw->loop, &sw->wake);
    board_wake(sw->options.board, sw->options.worker);
    board_detach(sw->options.board, sw->options.worker);
    buf_done(&sw->record);
    heap_free(sw);
}

const GatewayHooks *switch_hooks(const Switch *sw) {
    return &sw->hooks;
}
