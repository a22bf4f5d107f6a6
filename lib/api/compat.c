/*
 * compat.c - the way of a request through the compat surface: route, body, action, answer.
 *
 * The steps stand in the order in which the old system took them, since the first that fails answers: CORS, path,
 * method, media type, body, conversion and rules, action. What can fail in rendering is rendered before the action
 * commits.
 */
#include "api/answer.h"
#include "api/media_type.h"
#include "runtime/log.h"

enum { ECHO_MAX = 4096, LOCATION_MAX = 128 };

#define FORM_UNREADABLE                                                                                                \
    "Failed to read the request form. Unexpected end of Stream, the content may have already been read by another "    \
    "component. "

/* --- routing ------------------------------------------------------------------------------------------------------ */

/** Fetch standard, CORS preflight. The old policy allows all and checks nothing, the path included. */
static bool is_preflight(const Request *req) {
    return req->method == METHOD_OPTIONS && request_header(req, "Access-Control-Request-Method").n > 0;
}

static void answer_preflight(const Request *req, Response *res) {
    Str headers = request_header(req, "Access-Control-Request-Headers");
    Str method = request_header(req, "Access-Control-Request-Method");
    if (headers.n > 0 && headers.n <= ECHO_MAX)
        response_header(res, "Access-Control-Allow-Headers", headers);
    if (method.n <= ECHO_MAX)
        response_header(res, "Access-Control-Allow-Methods", method);
    res->status = 204;
}

CO_FN void compat_serve(Request *req, Response *res, void *data) {
    const CompatApp *app = data;
    if (app->style->cors_any && request_header(req, "Origin").n > 0) {
        response_header(res, "Access-Control-Allow-Origin", STR("*"));
        if (is_preflight(req)) {
            answer_preflight(req, res);
            return;
        }
    }
    Str allow = {0};
    switch (router_match(app->router, req, &allow)) {
    case ROUTE_FOUND:
        req->route->handler(req, res, data);
        break;
    case ROUTE_NO_METHOD:
        response_header(res, "Allow", allow);
        res->status = 405;
        break;
    case ROUTE_NO_PATH:
    case ROUTE_BAD_ID:
        res->status = 404;
        break;
    }
}

/* --- body --------------------------------------------------------------------------------------------------------- */

/** What reading the bytes themselves can run into. */
static void answer_body_error(const CompatApp *app, CompatCall *call, Response *res, Err err) {
    res->close = true;
    if (err == ERR_NO_MEMORY || err == ERR_UNAVAILABLE)
        answer_error(call->ctx, res, err, ANSWER_NOTHING, app->style);
    else if (err == ERR_TIMEOUT)
        answer_problem(call->ctx, res, 408, (Str){0});
    else if (app->style->body_errors_500)
        answer_crash(call->ctx, res, app->style);
    else
        answer_problem(call->ctx, res, err == ERR_LIMIT ? 413 : 400, (Str){0});
}

static Err to_utf8(CompatCall *call, Str *body) {
    Buf out = buf_new(call->ctx->arena, 2 * body->n + 4); /* a 16-bit unit is at most 3 bytes */
    TRY(utf8_from_utf16(*body, &out));
    return buf_finish(&out, body);
}

/** The payload into call->payload. False: res is answered. When all errors are to be reported, what the checks refused
 *  is left in *refusal for that. */
static CO_FN bool read_payload(const CompatApp *app, const CompatPayload *payload, CompatCall *call, Response *res,
                               CompatRefusal *refusal) {
    BodyType type = body_type(request_header(call->req, "Content-Type"));
    if (type == BODY_TYPE_UNSUPPORTED) {
        answer_problem(call->ctx, res, 415, (Str){0});
        return false;
    }
    if (type == BODY_TYPE_FORM) {
        *refusal = (CompatRefusal){.key = STR(""), .message = STR(FORM_UNREADABLE)};
        answer_refused_model(call->ctx, res, refusal);
        return false;
    }
    Str body;
    Err err = request_body(call->req, app->body_max, &body);
    if (err != ERR_OK) {
        answer_body_error(app, call, res, err);
        return false;
    }
    if (type == BODY_TYPE_UTF16 && (err = to_utf8(call, &body)) == ERR_SYNTAX) {
        *refusal =
            (CompatRefusal){.key = STR("$"), .message = STR("The input is not valid UTF-16."), .payload_missing = true};
        answer_refused_model(call->ctx, res, refusal);
        return false;
    }
    if (err == ERR_OK)
        err = compat_bind(payload, body, app->style, call->ctx, &call->payload, refusal);
    if (err == ERR_OK || call->payload != NULL)
        return true;
    if (err == ERR_SYNTAX)
        answer_refused_model(call->ctx, res, refusal);
    else if (compat_outcome(err, ANSWER_NOTHING, app->style).form == OUTCOME_RULE)
        answer_refused_rules(call->ctx, res, app->style, refusal->rules, refusal->rules_n);
    else
        answer_error(call->ctx, res, err, ANSWER_NOTHING, app->style);
    return false;
}

/* --- action and answer -------------------------------------------------------------------------------------------- */

/** The values of the pattern's {name:id} places, which the router has checked. */
static void read_path_ids(CompatCall *call) {
    Str rest = str_c(call->req->route->pattern);
    size_t ids = 0;
    for (size_t place = 0; place < ARRAY_LEN(call->req->path_values); place++) {
        ptrdiff_t open = str_index(rest, '{');
        if (open < 0)
            return;
        rest = str_slice(rest, (size_t)open + 1, rest.n);
        Str name = str_cut(&rest, '}');
        if (!str_ends_with(name, STR(":id")))
            continue;
        ASSERT(ids < ARRAY_LEN(call->path_ids));
        Err err = id_parse(call->req->path_values[place], ID_FORM_ANY, &call->path_ids[ids++]);
        ASSERT(err == ERR_OK);
    }
}

static void add_content_type(const CompatCall *call, Response *res) {
    bool text = answer_type(request_header(call->req, "Accept")) == ANSWER_TYPE_TEXT_JSON;
    response_header(res, "Content-Type",
                    text ? STR("text/json; charset=utf-8") : STR("application/json; charset=utf-8"));
}

typedef struct Location {
    char text[LOCATION_MAX];
    size_t n;
} Location;

/** 201's body, and room for its headers: all that can fail, before the action runs and commits. */
static Err render_created(const CompatAction *action, const Id *id, Response *res, Location *ret_location) {
    size_t n = strlen(action->location);
    ASSERT(n + ID_TEXT_LEN <= LOCATION_MAX);
    memcpy(ret_location->text, action->location, n);
    id_format(id, ret_location->text + n);
    ret_location->n = n + ID_TEXT_LEN;
    buf_add_char(&res->body, '"');
    buf_add_id(&res->body, *id);
    buf_add_char(&res->body, '"');
    if (res->body.err != ERR_OK || buf_reserve(&res->head, 2 * LOCATION_MAX) == NULL)
        return ERR_NO_MEMORY;
    return ERR_OK;
}

/** A problem speaks of an attribute; clients know it by the name they are shown. */
static void name_field(const CompatShape *shape, Problem *problem) {
    for (const CompatOutput *output = shape == NULL ? NULL : shape->outputs; output != NULL && output->name != NULL;
         output++) {
        if (output->attribute != NULL && str_eq_c(problem->field, output->attribute))
            problem->field = str_c(output->name);
    }
}

/** Adds a problem unless the body's checks have told of it: where a rule belongs to a value, both look at it. */
static void add_refusal(CompatRefusal *refusal, const Problem *problem) {
    for (size_t i = 0; i < refusal->rules_n; i++)
        if (str_eq(refusal->rules[i].field, problem->field) && str_eq(refusal->rules[i].message, problem->message))
            return;
    refusal->rules[refusal->rules_n++] = *problem;
}

/** What the action's rules refuse, beside what the body's checks did. ERR_INVALID: there is something. */
static Err gather_refusals(CompatCall *call, const CompatAction *action, Err prepared, const void *input,
                           CompatRefusal *refusal) {
    Problem *found = refusal->rules + refusal->rules_n;
    size_t n = 0, room = REFUSAL_RULES_MAX - refusal->rules_n;
    if (prepared == ERR_OK)
        n = action_refusals(action->resource, action->action, call->ctx, input, found, room);
    else if ((prepared == ERR_INVALID || prepared == ERR_CONFLICT) && room > 0)
        found[n++] = call->ctx->problem;
    for (size_t i = 0; i < n; i++) {
        name_field(action->shape, &found[i]);
        add_refusal(refusal, &found[i]); /* at or before the place of found[i] */
    }
    return refusal->rules_n > 0 ? ERR_INVALID : prepared;
}

static CO_FN Err run_action(const CompatApp *app, CompatCall *call, const CompatAction *action, CompatRefusal *refusal,
                            Response *res) {
    void *input = call->payload;
    Err err = action->prepare == NULL ? ERR_OK : action->prepare(call, &input);
    if (!app->style->one_error_only)
        err = gather_refusals(call, action, err, input, refusal);
    TRY(err);
    ASSERT(input != NULL);
    Location location;
    if (action->answer == ANSWER_CREATED)
        TRY(render_created(action, (const void *)((const char *)input + action->id_offset), res, &location));
    TRY(action_run(call->engine, action->resource, action->action, call->ctx, input, NULL));
    res->status = 204;
    if (action->answer != ANSWER_CREATED)
        return ERR_OK;
    add_content_type(call, res);
    response_header(res, "Location", (Str){location.text, location.n});
    res->status = 201;
    return ERR_OK;
}

static CO_FN Err run_load(const CompatApp *app, CompatCall *call, const CompatAction *action, Response *res) {
    void *rows = NULL;
    size_t n = 0;
    TRY(action->load(call, &rows, &n));
    bool list = action->answer == ANSWER_LIST;
    if (!list && n == 0)
        return ERR_NOT_FOUND;
    TRY(compat_encode(action->shape, app->style, call->ctx, rows, list ? n : 1, list, &res->body));
    add_content_type(call, res);
    res->status = 200;
    return ERR_OK;
}

static bool acceptable(const CompatApp *app, const CompatCall *call) {
    const CompatAction *action = call->req->route->data;
    return app->style->accept_ignored || action->answer == ANSWER_NOTHING ||
           accepts_json(request_header(call->req, "Accept"));
}

CO_FN void compat_handler(Request *req, Response *res, void *data) {
    const CompatApp *app = data;
    const CompatAction *action = req->route->data;
    CompatCall call = {.req = req, .ctx = req->ctx, .engine = app->engine_of(req->route->context, app->data)};
    read_path_ids(&call);
    CompatRefusal refusal = {0};
    if (action->payload != NULL && !read_payload(app, action->payload, &call, res, &refusal))
        return;
    if (!acceptable(app, &call)) {
        answer_problem(req->ctx, res, 406, (Str){0});
        return;
    }
    Err err = ERR_UNAVAILABLE; /* the context is not served by this process */
    if (call.engine != NULL)
        err = action->load != NULL ? run_load(app, &call, action, res) : run_action(app, &call, action, &refusal, res);
    if (err == ERR_OK)
        return;
    name_field(action->shape, &req->ctx->problem);
    if (refusal.rules_n > 0)
        answer_refused_rules(req->ctx, res, app->style, refusal.rules, refusal.rules_n);
    else
        answer_error(req->ctx, res, err, action->answer, app->style);
    if (res->status >= 500)
        LOG_W(req->ctx, "request.failed", F_C("route", req->route->name), F_INT("status", res->status), F_ERR(err),
              F_STR("problem", req->ctx->problem.message));
}
