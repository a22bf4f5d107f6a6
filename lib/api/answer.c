/*
 * answer.c - the error forms of the old system, and which failure takes which.
 *
 * Form 1 (rules) and form 3 (crashes) came from a middleware of the old system that forgot the Content-Type; form 2 and
 * the plain problems from its framework (RFC 9457 with ASP.NET's type links). docs/quirks.md has the whole list.
 */
#include "api/answer.h"

#define SECTION(n) "https://tools.ietf.org/html/rfc9110#section-" n

static const struct {
    int status;
    const char *type;
    const char *title;
} STATUSES[] = {
    {400, SECTION("15.5.1"), "Bad Request"},
    {403, SECTION("15.5.4"), "Forbidden"},
    {404, SECTION("15.5.5"), "Not Found"},
    {405, SECTION("15.5.6"), "Method Not Allowed"},
    {406, SECTION("15.5.7"), "Not Acceptable"},
    {408, SECTION("15.5.9"), "Request Timeout"},
    {413, SECTION("15.5.14"), "Content Too Large"},
    {415, SECTION("15.5.16"), "Unsupported Media Type"},
    {500, SECTION("15.6.1"), "An error occurred while processing your request."},
    {503, SECTION("15.6.4"), "Service Unavailable"},
};

#define RULES_MESSAGE "The request could not be correctly validated."
#define CRASH_MESSAGE "An unexpected error occurred."
#define MODEL_TITLE   "One or more validation errors occurred."

Outcome compat_outcome(Err err, CompatAnswer answer, const CompatStyle *style) {
    bool reads = answer == ANSWER_ONE || answer == ANSWER_LIST;
    switch (err) {
    case ERR_INVALID:
    case ERR_CONFLICT:
        return (Outcome){400, OUTCOME_RULE, false};
    case ERR_NOT_FOUND:
        if (reads || !style->not_found_put_400)
            return (Outcome){404, OUTCOME_PROBLEM, false};
        return (Outcome){400, OUTCOME_RULE, false};
    case ERR_REFUSED:
        return (Outcome){403, OUTCOME_PROBLEM, false};
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_CANCELLED:
    case ERR_RETRY:
    case ERR_LIMIT:
    case ERR_NO_MEMORY:
        return (Outcome){503, OUTCOME_PROBLEM, true};
    case ERR_OK: /* no failure: a caller's bug, answered like other bugs */
    case ERR_SYNTAX:
    case ERR_EOF:
    case ERR_IO:
    case ERR_INTERNAL:
        break;
    }
    return (Outcome){500, OUTCOME_CRASH, false};
}

/** Empties what was rendered before. Headers that are not about the body (CORS) stay. */
static JsonWriter begin(Response *res, int status) {
    res->status = status;
    buf_clear(&res->body);
    JsonWriter w;
    json_writer_init(&w, &res->body, JSON_ESCAPE_RELAXED, 0);
    return w;
}

static void end(Response *res) {
    if (res->body.err == ERR_OK)
        return;
    res->status = 503;
    buf_clear(&res->body);
}

static void begin_problem(JsonWriter *w, int status, const char *title) {
    const char *type = NULL;
    for (size_t i = 0; i < ARRAY_LEN(STATUSES); i++) {
        if (STATUSES[i].status == status) {
            type = STATUSES[i].type;
            title = title != NULL ? title : STATUSES[i].title;
        }
    }
    ASSERT(type != NULL);
    json_object(w);
    json_name(w, STR("type"));
    json_write_string(w, str_c(type));
    json_name(w, STR("title"));
    json_write_string(w, str_c(title));
    json_name(w, STR("status"));
    json_write_i64(w, status);
}

static void end_problem(JsonWriter *w, const Ctx *ctx, Response *res) {
    char trace[TRACEPARENT_LEN];
    trace_format(&ctx->trace, trace);
    json_name(w, STR("traceId"));
    json_write_string(w, (Str){trace, sizeof trace});
    json_object_end(w);
    response_header(res, "Content-Type", STR("application/problem+json; charset=utf-8"));
    end(res);
}

void answer_problem(Ctx *ctx, Response *res, int status, Str detail) {
    JsonWriter w = begin(res, status);
    begin_problem(&w, status, NULL);
    if (detail.p != NULL) {
        json_name(&w, STR("detail"));
        json_write_string(&w, detail);
    }
    end_problem(&w, ctx, res);
}

static void write_error(JsonWriter *w, Str key, Str message) {
    json_name(w, key);
    json_array(w);
    json_write_string(w, message);
    json_array_end(w);
}

void answer_refused_model(Ctx *ctx, Response *res, const CompatRefusal *refusal) {
    JsonWriter w = begin(res, 400);
    begin_problem(&w, 400, MODEL_TITLE);
    json_name(&w, STR("errors"));
    json_object(&w);
    /* The old dictionary lists "" and "$" before "payload", and what lies below "$" behind it. */
    bool first = refusal->key.n <= 1;
    if (first)
        write_error(&w, refusal->key, refusal->message);
    if (refusal->payload_missing)
        write_error(&w, STR("payload"), STR("The payload field is required."));
    if (!first)
        write_error(&w, refusal->key, refusal->message);
    json_object_end(&w);
    end_problem(&w, ctx, res);
}

/** Form 1 and 3 as the old middleware wrote them. */
static void answer_untyped(Response *res, int status, Str message, const Problem *rules, size_t n) {
    JsonWriter w = begin(res, status);
    json_object(&w);
    json_name(&w, STR("Message"));
    json_write_string(&w, message);
    json_name(&w, STR("Errors"));
    json_array(&w);
    for (size_t i = 0; i < n; i++)
        json_write_string(&w, rules[i].message.p == NULL ? STR("") : rules[i].message);
    json_array_end(&w);
    json_object_end(&w);
    response_header(res, "Cache-Control", STR("no-cache,no-store"));
    response_header(res, "Expires", STR("-1"));
    response_header(res, "Pragma", STR("no-cache"));
    end(res);
}

/** All messages of rules[i]'s field under its name, unless an earlier rule of that field has written them. */
static void write_field(JsonWriter *w, const Problem *rules, size_t n, size_t i) {
    for (size_t j = 0; j < i; j++) {
        if (str_eq(rules[j].field, rules[i].field))
            return;
    }
    json_name(w, rules[i].field);
    json_array(w);
    for (size_t j = i; j < n; j++) {
        if (str_eq(rules[j].field, rules[i].field))
            json_write_string(w, rules[j].message);
    }
    json_array_end(w);
}

void answer_refused_rules(Ctx *ctx, Response *res, const CompatStyle *style, const Problem *rules, size_t n) {
    if (style->domain_errors_untyped) {
        answer_untyped(res, 400, STR(RULES_MESSAGE), rules, n);
        return;
    }
    JsonWriter w = begin(res, 400);
    begin_problem(&w, 400, MODEL_TITLE);
    json_name(&w, STR("errors"));
    json_object(&w);
    for (size_t i = 0; i < n; i++)
        write_field(&w, rules, n, i);
    json_object_end(&w);
    end_problem(&w, ctx, res);
}

void answer_crash(Ctx *ctx, Response *res, const CompatStyle *style) {
    if (style->domain_errors_untyped)
        answer_untyped(res, 500, STR(CRASH_MESSAGE), NULL, 0);
    else
        answer_problem(ctx, res, 500, (Str){0});
}

void answer_error(Ctx *ctx, Response *res, Err err, CompatAnswer answer, const CompatStyle *style) {
    Outcome outcome = compat_outcome(err, answer, style);
    switch (outcome.form) {
    case OUTCOME_RULE:
        answer_refused_rules(ctx, res, style, &ctx->problem, 1);
        break;
    case OUTCOME_PROBLEM:
        answer_problem(ctx, res, outcome.status, outcome.status == 403 ? ctx->problem.message : (Str){0});
        break;
    case OUTCOME_CRASH:
        answer_crash(ctx, res, style);
        break;
    }
    if (outcome.retry_after)
        response_header(res, "Retry-After", STR("1"));
}
