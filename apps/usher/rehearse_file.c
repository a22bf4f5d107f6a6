/*
 * rehearse_file.c - the load from a file: lines of requests, or a recording.
 *
 * A recording's requests are taken as method, target and body only: its other fields belonged to another client, and
 * what was sent in odd bytes (`raw`, generated bodies) is no load. Its ids are those of another server; where they are
 * unknown both sides say so, and the first answer tells what a client may expect.
 */
#include "usher/rehearse.h"
#include "json/json.h"

enum { TARGET_MAX = 8192, METHOD_MAX = 16 };

bool load_target_fits(Str target) {
    if (target.n == 0 || target.n > TARGET_MAX || target.p[0] != '/')
        return false;
    for (size_t i = 0; i < target.n; i++)
        if (target.p[i] <= ' ' || target.p[i] >= 0x7f)
            return false;
    return true;
}

static bool method_fits(Str method) {
    for (size_t i = 0; i < method.n; i++)
        if (method.p[i] < 'A' || method.p[i] > 'Z')
            return false;
    return method.n > 0 && method.n <= METHOD_MAX;
}

static bool is_read(Str method) {
    return str_eq_c(method, "GET") || str_eq_c(method, "HEAD");
}

Err load_plan_add(LoadPlan *plan, Ctx *ctx, const LoadRequest *request) {
    if (plan->requests == NULL)
        plan->requests = ARENA_ARRAY(ctx->arena, LoadRequest, LOAD_REQUESTS_MAX);
    if (plan->requests == NULL)
        return ERR_NO_MEMORY;
    if (plan->n == LOAD_REQUESTS_MAX)
        return ctx_problem(ctx, ERR_LIMIT, NULL, "at most %d requests are taken", LOAD_REQUESTS_MAX);
    plan->requests[plan->n++] = *request;
    return ERR_OK;
}

/* What is taken: reads, and writes where they are wanted. */
static Err take(LoadPlan *plan, Ctx *ctx, bool writes, LoadRequest *request, size_t *left_out) {
    request->writes = !is_read(request->method);
    if (request->writes && !writes) {
        (*left_out)++;
        return ERR_OK;
    }
    return load_plan_add(plan, ctx, request);
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

static Err line_read(Ctx *ctx, size_t number, Str line, LoadRequest *ret) {
    Str rest = line;
    *ret = (LoadRequest){.method = str_cut(&rest, ' '), .content_type = STR("application/json")};
    Str target = rest.p == NULL ? STR("") : str_cut(&rest, ' ');
    ret->target = target;
    Str body = rest.p == NULL ? STR("") : str_trim(rest, " \t");
    if (body.n > 0)
        ret->body = body;
    if (!method_fits(ret->method))
        return ctx_problem(ctx, ERR_SYNTAX, NULL, "line %zu begins with no method: METHOD TARGET [BODY]", number);
    if (!load_target_fits(target))
        return ctx_problem(ctx, ERR_SYNTAX, NULL, "line %zu has no target that begins with /: METHOD TARGET [BODY]",
                           number);
    if (body.n > 0 && is_read(ret->method))
        return ctx_problem(ctx, ERR_SYNTAX, NULL, "line %zu: a %.*s has no body", number, STR_ARG(ret->method));
    return ERR_OK;
}

static Err lines_read(Ctx *ctx, Str text, bool writes, LoadPlan *plan, size_t *left_out) {
    size_t number = 0;
    while (text.p != NULL) {
        Str line = str_trim(str_cut(&text, '\n'), " \t\r");
        LoadRequest request;
        number++;
        if (line.n == 0 || line.p[0] == '#')
            continue;
        TRY(line_read(ctx, number, line, &request));
        TRY(take(plan, ctx, writes, &request, left_out));
    }
    return ERR_OK;
}

/* --- recordings --------------------------------------------------------------------------------------------------- */

static Str content_type_of(const Json *headers) {
    for (const Json *pair = headers == NULL ? NULL : headers->first; pair != NULL; pair = pair->next) {
        Str name = json_text(json_element(pair, 0)), value = json_text(json_element(pair, 1));
        bool plain = value.n > 0;
        for (size_t i = 0; i < value.n; i++)
            plain = plain && value.p[i] >= ' ' && value.p[i] < 0x7f;
        if (plain && str_eq_nocase(name, STR("content-type")))
            return value;
    }
    return STR("application/json");
}

static Err recording_read(Ctx *ctx, Str text, bool writes, LoadPlan *plan, size_t *left_out) {
    Json *recording;
    JsonProblem problem = {0};
    if (json_parse(text, ctx->arena, JSON_DUPLICATES_REJECT, &recording, &problem) != ERR_OK)
        return ctx_problem(ctx, ERR_SYNTAX, NULL, "it is no recording: %.*s", STR_ARG(problem.message));
    const Json *exchanges = json_member(recording, "exchanges");
    if (exchanges == NULL || exchanges->kind != JSON_ARRAY_START)
        return ctx_problem(ctx, ERR_SYNTAX, NULL, "it is no recording: it has no list \"exchanges\"");
    for (const Json *exchange = exchanges->first; exchange != NULL; exchange = exchange->next) {
        const Json *row = json_member(exchange, "request");
        LoadRequest request = {.method = json_text(json_member(row, "method")),
                               .target = json_text(json_member(row, "path")),
                               .body = json_text(json_member(row, "body")),
                               .content_type = content_type_of(json_member(row, "headers"))};
        bool odd = json_member(row, "raw") != NULL || json_member(row, "body_generator") != NULL ||
                   json_member(row, "body_base64") != NULL || !method_fits(request.method) ||
                   !load_target_fits(request.target) || (request.body.n > 0 && is_read(request.method));
        if (odd)
            (*left_out)++;
        else
            TRY(take(plan, ctx, writes, &request, left_out));
    }
    return ERR_OK;
}

Err load_plan_file(Ctx *ctx, Str text, bool writes, LoadPlan *plan) {
    size_t left_out = 0, first = plan->n;
    bool recording = str_starts_with(str_trim(text, " \t\r\n"), STR("{"));
    TRY(recording ? recording_read(ctx, text, writes, plan, &left_out)
                  : lines_read(ctx, text, writes, plan, &left_out));
    if (left_out > 0)
        buf_printf(&plan->notes, "%zu requests of the file are not asked: %s\n", left_out,
                   writes ? "odd ones, which are no load" : "writes, or odd ones; only reads are asked");
    if (plan->n == first)
        return ctx_problem(ctx, ERR_SYNTAX, NULL, "it has no request that may be asked");
    plan->groups[0] = (LoadGroup){first, plan->n - first};
    plan->group_n = 1;
    return ERR_OK;
}
