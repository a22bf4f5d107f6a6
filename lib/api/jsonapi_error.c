/*
 * jsonapi_error.c - errors documents (https://jsonapi.org/format/1.1/#errors).
 *
 * Whoever finds something wrong records it with its source and goes on where going on makes sense, so that a client
 * learns all that is wrong with a document at once. What an action refuses comes with the action's words; what the
 * database says is never shown.
 */
#include <stdarg.h>
#include <stdio.h>

#include "api/bind.h"
#include "api/jsonapi_internal.h"
#include "runtime/log.h"

static Err add(ApiCall *call, ApiError error, const char *format, va_list args) {
    char text[512];
    vsnprintf(text, sizeof text, format, args);
    /* What a client sent may be quoted: cut at a whole character. */
    error.detail = compat_printable(call->ctx->arena, str_c(text), sizeof text);
    if (call->n_errors < API_ERRORS_MAX)
        call->errors[call->n_errors++] = error;
    return ERR_INVALID;
}

#define ADD(...)                                                                                                       \
    va_list args;                                                                                                      \
    va_start(args, format);                                                                                            \
    Err err = add(call, (ApiError){__VA_ARGS__}, format, args);                                                        \
    va_end(args);                                                                                                      \
    return err

Err api_error(ApiCall *call, int status, const char *code, const char *format, ...) {
    ADD(.status = status, .code = code);
}

Err api_error_at(ApiCall *call, int status, const char *code, Str pointer, const char *format, ...) {
    ADD(.status = status, .code = code, .pointer = pointer);
}

Err api_error_param(ApiCall *call, int status, const char *code, Str parameter, const char *format, ...) {
    ADD(.status = status, .code = code, .parameter = parameter);
}

Err api_error_header(ApiCall *call, int status, const char *code, const char *header, const char *format, ...) {
    ADD(.status = status, .code = code, .header = str_c(header));
}

/* --- from Err ------------------------------------------------------------------------------------------------ */

static const struct {
    Err err;
    int status;
    const char *code, *detail;
} FAILURES[] = {
    {ERR_INVALID, 422, "invalid", "The request breaks a rule."},
    {ERR_SYNTAX, 400, "malformed", "The request cannot be read."},
    {ERR_NOT_FOUND, 404, "not-found", "There is no such resource."},
    {ERR_CONFLICT, 409, "conflict", "The present state does not allow it."},
    {ERR_REFUSED, 403, "refused", "Nothing allows this."},
    {ERR_LIMIT, 503, "too-much", "It is too much at once; try again."},
    {ERR_NO_MEMORY, 503, "too-much", "It is too much at once; try again."},
    {ERR_UNAVAILABLE, 503, "unavailable", "The service is away; try again."},
    {ERR_TIMEOUT, 503, "timeout", "It took too long; try again."},
    {ERR_CANCELLED, 503, "unavailable", "The service is away; try again."},
    {ERR_RETRY, 503, "unavailable", "The service is busy; try again."},
};

/* "event_name" or "ticketIds", as the action says it, to the member's pointer. Absent: it names nothing that was
 * sent. */
static Str pointer_of(const ApiCall *call, Str field) {
    if (field.p == NULL || field.n == 0 || call->fields == NULL)
        return (Str){NULL, 0};
    Str declared = arena_str(call->ctx->arena, field);
    Str name = declared.p == NULL ? declared : api_name(call->ctx->arena, declared.p);
    if (name.p == NULL)
        return name;
    for (const Json *member = call->fields->first; member != NULL; member = member->next)
        if (str_eq(member->name, name))
            return arena_printf(call->ctx->arena, "%.*s/%.*s", STR_ARG(call->fields_at), STR_ARG(name));
    return call->fields_at;
}

static bool names_a_field(const ApiCall *call, Str field) {
    const ApiRoute *route = call->route;
    if (field.p == NULL || route->type == NULL)
        return false;
    for (const Attribute *a = route->type->sources[0].resource->attributes; a->name != NULL; a++)
        if (str_eq_c(field, a->name))
            return true;
    return false;
}

static void add_failure(ApiCall *call, Err err) {
    const Problem *problem = &call->ctx->problem;
    bool words = call->words && problem->code == err && problem->message.p != NULL;
    /* A rule that the old system let crash (a quirk) still names its field: the client's mistake, not ours. */
    if (err == ERR_INTERNAL && words && names_a_field(call, problem->field))
        err = ERR_INVALID;
    for (size_t i = 0; i < ARRAY_LEN(FAILURES); i++) {
        if (FAILURES[i].err != err)
            continue;
        bool told = words && FAILURES[i].status < 500;
        (void)api_error_at(call, FAILURES[i].status, FAILURES[i].code,
                           told ? pointer_of(call, problem->field) : (Str){NULL, 0}, "%.*s",
                           STR_ARG(told ? problem->message : str_c(FAILURES[i].detail)));
        return;
    }
    (void)api_error(call, 500, "internal", "An unexpected error occurred.");
}

/* --- the document -------------------------------------------------------------------------------------------- */

static void write_error(JsonWriter *w, const ApiError *error) {
    char status[8];
    snprintf(status, sizeof status, "%d", error->status);
    json_object(w);
    json_name(w, STR("status"));
    json_write_string(w, str_c(status));
    json_name(w, STR("code"));
    json_write_string(w, str_c(error->code));
    json_name(w, STR("title"));
    json_write_string(w, str_c(http_reason(error->status)));
    json_name(w, STR("detail"));
    json_write_string(w, error->detail.p == NULL ? STR("") : error->detail);
    if (error->pointer.p != NULL || error->parameter.p != NULL || error->header.p != NULL) {
        Str name = error->pointer.p != NULL     ? STR("pointer")
                   : error->parameter.p != NULL ? STR("parameter")
                                                : STR("header");
        json_name(w, STR("source"));
        json_object(w);
        json_name(w, name);
        json_write_string(w, error->pointer.p != NULL     ? error->pointer
                             : error->parameter.p != NULL ? error->parameter
                                                          : error->header);
        json_object_end(w);
    }
    json_object_end(w);
}

/* One status of all errors, or the class that fits best (#errors-processing). */
static int overall(const ApiCall *call) {
    int status = call->errors[0].status;
    for (size_t i = 1; i < call->n_errors; i++)
        if (call->errors[i].status != status)
            return status >= 500 ? 500 : 400;
    return status;
}

void api_answer_failure(ApiCall *call, Err err) {
    if (call->n_errors == 0)
        add_failure(call, err);
    Response *res = call->res;
    buf_clear(&res->body);
    res->status = overall(call);
    JsonWriter w;
    json_writer_init(&w, &res->body, JSON_ESCAPE_MINIMAL, 0);
    api_begin_document(&w);
    json_name(&w, STR("errors"));
    json_array(&w);
    for (size_t i = 0; i < call->n_errors; i++)
        write_error(&w, &call->errors[i]);
    json_array_end(&w);
    json_object_end(&w);
    api_add_content_type(res);
    if (res->status == 503)
        response_header(res, "Retry-After", STR("1"));
    if (res->body.err != ERR_OK) {
        res->status = 503;
        buf_clear(&res->body);
    }
    if (res->status >= 500)
        LOG_W(call->ctx, "request.failed", F_C("route", call->req->route == NULL ? "" : call->req->route->name),
              F_INT("status", res->status), F_ERR(err), F_STR("problem", call->ctx->problem.message));
}
