/*
 * jsonapi_call.h - what the targets of the JSON:API surface share: the contexts' types, and a call as the handler makes
 * one.
 *
 * The types are those of the product, made once; they are constant. All else belongs to one input and its arena.
 */
#pragma once
#include "api/jsonapi_internal.h"

#include "core_events/core_events.h"
#include "core_tickets/core_tickets.h"
#include "core_users/core_users.h"
#include "fuzz.h"

static inline const JsonApi *fuzz_api(void) {
    static const Context *const contexts[] = {&CORE_EVENTS_CONTEXT, &CORE_USERS_CONTEXT, &CORE_TICKETS_CONTEXT, NULL};
    static JsonApi *api;
    if (api != NULL)
        return api;
    Arena *arena = arena_new((size_t)16 << 20);
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    FUZZ_CHECK(jsonapi_new(&ctx, arena, contexts, &api) == ERR_OK);
    return api;
}

typedef struct FuzzCall {
    Ctx ctx;
    Request req;
    Response res;
    ApiRoute route;
    ApiCall call;
} FuzzCall;

static inline void fuzz_call(FuzzCall *f, Arena *arena, const ApiRoute *route) {
    *f = (FuzzCall){0};
    ctx_init(&f->ctx, arena, 0);
    f->req.ctx = &f->ctx;
    f->route = *route;
    f->res = (Response){.body = buf_new(arena, 1 << 20), .head = buf_new(arena, 1 << 14)};
    f->call = (ApiCall){.req = &f->req, .res = &f->res, .ctx = &f->ctx, .route = &f->route};
}

/** A refusal is an error document: good JSON, a status of the 4xx class, a reason for each error. */
static inline void fuzz_check_refusal(FuzzCall *f, Err err) {
    Json *document;
    JsonProblem problem;
    FUZZ_CHECK(err == ERR_INVALID && f->call.n_errors > 0 && f->call.n_errors <= API_ERRORS_MAX);
    api_answer_failure(&f->call, err);
    FUZZ_CHECK(f->res.status >= 400 && f->res.status < 500 && f->res.body.err == ERR_OK);
    FUZZ_CHECK(json_parse(buf_str(&f->res.body), f->ctx.arena, JSON_DUPLICATES_REJECT, &document, &problem) == ERR_OK);
    const Json *error = json_member(document, "errors")->first;
    for (; error != NULL; error = error->next)
        FUZZ_CHECK(json_text(json_member(error, "detail")).n > 0 && json_text(json_member(error, "code")).n > 0);
}
