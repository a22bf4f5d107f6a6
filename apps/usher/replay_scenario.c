/*
 * replay_scenario.c - one recorded conversation, exchange by exchange.
 *
 * A connection per request, as the recorder had. After an exchange behind which messages were consumed, a GET that
 * differs is asked again until it is equal or the settle time is over.
 */
#include "http/client.h"
#include "usher/files.h"
#include "usher/replay.h"

#define RECORDING_MAX     (64 * 1024 * 1024)
#define ANSWER_TIMEOUT_MS 20000
#define AGAIN_AFTER_MS    20
#define EXCHANGE_BYTES    (192 * 1024 * 1024)

typedef struct Scenario {
    Ctx *ctx; /* lives as long as the report */
    const ReplayTarget *target;
    const Json *captures;
    Ids ids;
    ReplayResult *result;
    bool may_settle;
    int64_t began_ms, first_ms; /* here, and as recorded; for the pace */
} Scenario;

Err replay_captures(Arena *arena, const Json *captures, int64_t index, const HttpAnswer *got, Ids *ids) {
    for (const Json *capture = captures == NULL ? NULL : captures->first; capture != NULL; capture = capture->next) {
        if (json_i64(json_member(capture, "exchange"), -1) != index)
            continue;
        Str value = capture_value(arena, capture, got);
        if (value.p == NULL)
            continue;
        Str kept = arena_str(arena, value);
        if (kept.p == NULL)
            return ERR_NO_MEMORY;
        TRY(ids_put(ids, arena, json_text(json_member(capture, "value")), kept));
    }
    return ERR_OK;
}

Err replay_expected(Arena *arena, const Ids *ids, const Json *exchange, Expected *ret) {
    const Json *response = json_member(exchange, "response"), *pairs = json_member(response, "headers");
    Expected want = {.status = (int)json_i64(json_member(response, "status"), 0),
                     .unordered_by = json_text(json_member(exchange, "unordered_by"))};
    Str body = json_text(json_member(response, "body"));
    TRY(ids_swap(ids, arena, body.p == NULL ? STR("") : body, &want.body));
    Header *headers = ARENA_ARRAY(arena, Header, pairs == NULL ? 1 : pairs->count + 1);
    if (headers == NULL)
        return ERR_NO_MEMORY;
    for (const Json *pair = pairs == NULL ? NULL : pairs->first; pair != NULL; pair = pair->next) {
        Header *header = &headers[want.header_count++];
        header->name = json_text(json_element(pair, 0));
        TRY(ids_swap(ids, arena, json_text(json_element(pair, 1)), &header->value));
    }
    want.headers = headers;
    *ret = want;
    return ERR_OK;
}

Err replay_parse(Ctx *ctx, const char *path, Str text, const Json **ret) {
    Json *recording;
    JsonProblem problem = {0};
    Err err = json_parse(text, ctx->arena, JSON_DUPLICATES_REJECT, &recording, &problem);
    if (err == ERR_NO_MEMORY)
        return ctx_problem(ctx, err, NULL, "%s: no memory for it", path);
    if (err != ERR_OK)
        return ctx_problem(ctx, ERR_SYNTAX, NULL, "%s is no recording: %.*s", path, STR_ARG(problem.message));
    const Json *exchanges = json_member(recording, "exchanges");
    if (exchanges == NULL || exchanges->kind != JSON_ARRAY_START)
        return ctx_problem(ctx, ERR_SYNTAX, NULL, "%s is no recording: it has no list \"exchanges\"", path);
    *ret = recording;
    return ERR_OK;
}

/* Asks once. Differences go to `lines`. */
static Err ask(Scenario *s, Arena *arena, int64_t index, const Json *exchange, Buf *lines, size_t *ret_n) {
    const Json *request = json_member(exchange, "request");
    Str bytes;
    HttpAnswer got = {0};
    Expected want;
    TRY(replay_request_bytes(arena, &s->ids, request, &bytes));
    bool is_head = str_eq_nocase(json_text(json_member(request, "method")), STR("HEAD"));
    Err err = http_client_exchange(arena, &s->target->server, bytes, is_head, ANSWER_TIMEOUT_MS, &got);
    if (err == ERR_TIMEOUT) {
        buf_printf(lines, "no answer in %d s\n", ANSWER_TIMEOUT_MS / 1000);
        *ret_n = 1;
        return ERR_OK;
    }
    if (err != ERR_OK && err != ERR_EOF) {
        Str why = err == ERR_REFUSED ? got.body : str_c(err_name(err));
        return ctx_problem(s->ctx, err, NULL, "cannot talk to %s:%d: %.*s", s->target->server.host,
                           s->target->server.port, STR_ARG(why));
    }
    TRY(replay_captures(s->ctx->arena, s->captures, index, &got, &s->ids));
    TRY(replay_expected(arena, &s->ids, exchange, &want));
    return replay_compare(arena, &want, &got, lines, ret_n);
}

static Err report(Scenario *s, int64_t index, const Json *exchange, Str lines) {
    const Json *request = json_member(exchange, "request");
    ReplayDifference *difference = ARENA_NEW(s->ctx->arena, ReplayDifference);
    if (difference == NULL)
        return ERR_NO_MEMORY;
    Str sent = json_text(json_member(request, "raw"));
    if (sent.p == NULL)
        sent = json_text(json_member(request, "body"));
    Str path = json_text(json_member(request, "path"));
    Str head = str_slice(sent, 0, 160), short_path = str_slice(path, 0, 160);
    *difference = (ReplayDifference){
        .scenario = s->result->name,
        .exchange = index,
        .note = json_text(json_member(exchange, "note")),
        .request = arena_printf(s->ctx->arena, "%.*s %.*s %.*s", STR_ARG(json_text(json_member(request, "method"))),
                                STR_ARG(short_path), STR_ARG(head)),
        .lines = arena_str(s->ctx->arena, lines),
    };
    *s->result->last = difference;
    s->result->last = &difference->next;
    s->result->differing++;
    return ERR_OK;
}

/* At the recorded pace, or so many times it. */
static void keep_pace(Scenario *s, const Json *exchange) {
    int64_t at_ms = json_i64(json_member(exchange, "at_ms"), -1);
    if (s->target->speed_percent == 0 || at_ms < 0)
        return;
    if (s->began_ms == 0) {
        s->began_ms = clock_mono_ms();
        s->first_ms = at_ms;
    }
    int64_t wait_ms = s->began_ms + (at_ms - s->first_ms) * 100 / s->target->speed_percent - clock_mono_ms();
    if (wait_ms > 0)
        clock_sleep_ms(wait_ms);
}

static Err replay_exchange(Scenario *s, int64_t index, const Json *exchange) {
    const Json *request = json_member(exchange, "request");
    Str method = json_text(json_member(request, "method"));
    if (str_eq_c(method, "-") || json_is_null(json_member(exchange, "response")))
        return ERR_OK; /* a note of the recorder's, no HTTP */
    keep_pace(s, exchange);
    bool settles = json_member(exchange, "settled_after_ms") != NULL;
    s->may_settle = s->may_settle || settles;
    bool patient = s->may_settle && str_eq_c(method, "GET");
    int64_t deadline = clock_mono_ms() + (patient ? s->target->settle_ms : 0);
    Arena *arena CLEANUP(arena_freep) = arena_new(EXCHANGE_BYTES);
    if (arena == NULL)
        return ERR_NO_MEMORY;
    if (s->target->before != NULL)
        TRY(s->target->before(s->target->data, arena, &s->ids, s->captures, index, exchange));
    if (s->target->server.host == NULL)
        return ERR_OK;
    for (;;) {
        size_t n = 0;
        Buf lines = buf_new(arena, 1024 * 1024);
        TRY(ask(s, arena, index, exchange, &lines, &n));
        if (n == 0)
            break;
        if (clock_mono_ms() >= deadline) {
            TRY(report(s, index, exchange, buf_str(&lines)));
            break;
        }
        arena_reset(arena);
        clock_sleep_ms(AGAIN_AFTER_MS);
    }
    if (s->target->compared != NULL)
        s->target->compared(s->target->data, index, request);
    if (settles)
        clock_sleep_ms(s->target->pause_ms);
    return ERR_OK;
}

Err replay_scenario(Ctx *ctx, const char *path, const ReplayTarget *target, ReplayResult *ret) {
    Str text;
    const Json *recording = NULL;
    TRY(file_read(ctx, path, RECORDING_MAX, &text));
    TRY(replay_parse(ctx, path, text, &recording));
    const Json *exchanges = json_member(recording, "exchanges");
    *ret = (ReplayResult){.name = json_text(json_member(recording, "name")), .exchanges = exchanges->count};
    ret->last = &ret->first;
    Scenario scenario = {.ctx = ctx, .target = target, .captures = json_member(recording, "captures"), .result = ret};
    int64_t index = 0;
    for (const Json *exchange = exchanges->first; exchange != NULL; exchange = exchange->next)
        TRY(replay_exchange(&scenario, index++, exchange));
    return ERR_OK;
}
