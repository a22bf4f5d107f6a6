/*
 * jsonapi_write.c - POST, PATCH, DELETE and custom actions.
 *
 * The answer is rendered before the action runs: behind a commit nothing may be left that can fail. With an
 * Idempotency-Key it is stored in that very commit. An update reads the row, puts the changes in, and writes under the
 * condition that the row still is what was read; when it is not, If-Match decides between 412 and once more.
 */
#include "api/jsonapi_internal.h"
#include "base/sha256.h"

enum { UPDATE_ATTEMPTS = 5 };

/* --- idempotency keys ---------------------------------------------------------------------------------------- */

static Fingerprint request_digest(const ApiCall *call, Str body) {
    Sha256 hash;
    Fingerprint ret;
    Str parts[] = {call->req->method_text, call->req->path, call->req->query, body};
    sha256_begin(&hash);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        uint64_t n = parts[i].n;
        sha256_add(&hash, &n, sizeof n);
        sha256_add(&hash, parts[i].p, parts[i].n);
    }
    sha256_end(&hash, ret.bytes);
    return ret;
}

static Err answer_kept(ApiCall *call, const Keep *keep) {
    if (keep->state == KEEP_IN_FLIGHT)
        return api_key_refused(call, 409, "in-flight", "A request with this key is being served.");
    if (keep->state == KEEP_OTHER)
        return api_key_refused(call, 422, "key-reused", "This key belongs to another request.");
    Response *res = call->res;
    buf_clear(&res->body);
    buf_clear(&res->head);
    buf_add(&res->head, keep->head);
    buf_add(&res->body, keep->body);
    res->status = keep->status;
    if (keep->body.n > 0)
        api_add_content_type(res);
    return res->body.err != ERR_OK ? res->body.err : res->head.err;
}

/* *done: the answer is there already. keep->key absent: no key came. */
CO_FN static Err begin_keep(ApiCall *call, const Action *action, Str body, Keep *keep, bool *done) {
    Engine *engine;
    *keep = (Keep){0};
    *done = false;
    TRY(api_read_key(call, &keep->key));
    if (keep->key.p == NULL)
        return action->needs_key ? api_key_refused(call, 400, "key-missing", "This action wants a key.") : ERR_OK;
    keep->request = request_digest(call, body);
    TRY(api_engine(call, &call->route->type->sources[0], &engine));
    TRY(keep_read(engine, call->ctx, keep));
    *done = keep->state != KEEP_NEW;
    return *done ? answer_kept(call, keep) : ERR_OK;
}

/* --- running ------------------------------------------------------------------------------------------------- */

/* status and what stands in res are the answer if it goes well. */
CO_FN static Err run(ApiCall *call, const Action *action, void *input, int status, Conditions *conditions, Keep *keep) {
    const ApiSource *source = &call->route->type->sources[0];
    Response *res = call->res;
    Engine *engine;
    TRY(api_engine(call, source, &engine));
    if (keep != NULL && keep->key.p != NULL) {
        keep->status = status;
        keep->head = arena_str(call->ctx->arena, buf_str(&res->head));
        keep->body = arena_str(call->ctx->arena, buf_str(&res->body));
        conditions->keep = keep;
        if (keep->head.p == NULL || keep->body.p == NULL)
            return ERR_NO_MEMORY;
    }
    if (buf_reserve(&res->head, 512) == NULL) /* for what api_add_content_type appends */
        return ERR_NO_MEMORY;
    call->words = true;
    Err err = action_run_with(engine, source->resource, action->name, call->ctx, input, conditions, NULL);
    if (err == ERR_CONFLICT && conditions->keep != NULL && conditions->keep->state != KEEP_NEW)
        return answer_kept(call, conditions->keep);
    if (err != ERR_OK)
        buf_clear(&res->head);
    TRY(err);
    res->status = status;
    if (res->body.n > 0)
        api_add_content_type(res);
    return ERR_OK;
}

static Err render_row(ApiCall *call, const void *row, bool created) {
    const ApiType *type = call->route->type;
    const ApiSource *source = &type->sources[0];
    char etag[ETAG_LEN];
    Fingerprint ignored;
    ApiRow one = {type, source, row};
    Str id = api_id(call->ctx->arena, source, row);
    ApiPage page = {.rows = &one, .n = 1};
    page.path = arena_printf(call->ctx->arena, "/api/%.*s/%.*s", STR_ARG(type->name), STR_ARG(id));
    if (page.path.p == NULL)
        return ERR_NO_MEMORY;
    TRY(api_etag(source->resource, call->ctx->arena, row, etag, &ignored));
    response_header(call->res, "ETag", (Str){etag, sizeof etag});
    if (created)
        response_header(call->res, "Location", page.path);
    return api_render(call, &page);
}

static Err no_parameters(ApiCall *call) {
    TRY(api_query_parse(call, call->route->type, &call->route->type->sources[0], false, false));
    return ERR_OK;
}

CO_FN Err api_serve_create(ApiCall *call) {
    const ApiSource *source = &call->route->type->sources[0];
    const Action *action = call->route->action;
    const Json *document;
    Str body;
    Keep keep;
    bool done, changed;
    TRY(no_parameters(call));
    TRY(api_read_document(call, &body));
    TRY(begin_keep(call, action, body, &keep, &done));
    if (done)
        return ERR_OK;
    TRY(api_parse_document(call, body, &document));
    void *object = arena_alloc(call->ctx->arena, source->resource->size);
    if (object == NULL)
        return ERR_NO_MEMORY;
    TRY(api_read_resource(call, document, (Str){NULL, 0}, action, object, &changed));
    TRY(api_check_named(call));
    if (source->key->generated && source->key->type == TYPE_ID)
        *(Id *)(void *)((char *)object + source->key->offset) = id_random();
    TRY(render_row(call, object, true));
    Conditions conditions = {0};
    return run(call, action, object, 201, &conditions, &keep);
}

/* If-Match (RFC 9110 §13.1.1), for a row that is there. */
static Err check_match(ApiCall *call, const void *row, Fingerprint *ret) {
    char etag[ETAG_LEN];
    TRY(api_etag(call->route->type->sources[0].resource, call->ctx->arena, row, etag, ret));
    Str wanted = request_header(call->req, "If-Match");
    if (wanted.p == NULL || etag_matches(wanted, (Str){etag, sizeof etag}, true))
        return ERR_OK;
    return api_error_header(call, 412, "changed", "If-Match", "Somebody has changed it meanwhile.");
}

CO_FN static Err update_once(ApiCall *call, const Json *document, bool *again) {
    const ApiType *type = call->route->type;
    const ApiSource *source = &type->sources[0];
    Fingerprint before;
    void *row;
    bool changed;
    *again = false;
    TRY(api_load_one(call, source, call->req->path_values[0], &row));
    TRY(check_match(call, row, &before));
    Str id = api_id(call->ctx->arena, source, row);
    if (id.p == NULL)
        return ERR_NO_MEMORY;
    TRY(api_read_resource(call, document, id, call->route->action, row, &changed));
    TRY(api_check_named(call));
    TRY(render_row(call, row, false));
    if (!changed) {
        api_add_content_type(call->res);
        call->res->status = 200;
        return ERR_OK;
    }
    Conditions conditions = {.unchanged = &before};
    Err err = run(call, call->route->action, row, 200, &conditions, NULL);
    if (err != ERR_CONFLICT || !conditions.stale)
        return err;
    *again = true;
    problem_clear(call->ctx);
    buf_clear(&call->res->head);
    buf_clear(&call->res->body);
    return ERR_OK;
}

CO_FN Err api_serve_update(ApiCall *call) {
    const Json *document;
    Str body;
    bool again = true;
    TRY(no_parameters(call));
    TRY(api_read_document(call, &body));
    TRY(api_parse_document(call, body, &document));
    for (int attempt = 0; again && attempt < UPDATE_ATTEMPTS; attempt++)
        TRY(update_once(call, document, &again));
    return again ? api_error(call, 409, "conflict", "Others keep changing it; try again.") : ERR_OK;
}

CO_FN Err api_serve_destroy(ApiCall *call) {
    const ApiSource *source = &call->route->type->sources[0];
    Fingerprint before;
    void *row;
    TRY(no_parameters(call));
    TRY(api_load_one(call, source, call->req->path_values[0], &row));
    TRY(check_match(call, row, &before));
    bool wanted = request_header(call->req, "If-Match").p != NULL;
    Conditions conditions = {.unchanged = wanted ? &before : NULL};
    Err err = run(call, call->route->action, row, 204, &conditions, NULL);
    if (err == ERR_CONFLICT && conditions.stale)
        return api_error_header(call, 412, "changed", "If-Match", "Somebody has changed it meanwhile.");
    return err;
}

CO_FN Err api_serve_action(ApiCall *call) {
    const Action *action = call->route->action;
    const ApiSource *source = &call->route->type->sources[0];
    const Json *document;
    Str body;
    Keep keep;
    bool done;
    TRY(no_parameters(call));
    TRY(api_read_document(call, &body));
    TRY(begin_keep(call, action, body, &keep, &done));
    if (done)
        return ERR_OK;
    TRY(api_parse_document(call, body, &document));
    void *input = arena_alloc(call->ctx->arena, action->input_size != 0 ? action->input_size : source->resource->size);
    if (input == NULL)
        return ERR_NO_MEMORY;
    TRY(api_read_arguments(call, document, action, input));
    Conditions conditions = {0};
    return run(call, action, input, 204, &conditions, &keep);
}

/* --- relationships ------------------------------------------------------------------------------------------- */

/* No declared action changes a relationship by itself, and the specification's answer to that is 403. The document is
 * looked at all the same: a client that sends nonsense should learn of that first. */
CO_FN Err api_serve_linkage_write(ApiCall *call) {
    const ApiRel *rel = call->route->rel;
    const Json *document;
    Str body;
    void *owner;
    TRY(no_parameters(call));
    TRY(api_read_document(call, &body));
    TRY(api_parse_document(call, body, &document));
    const Json *data = json_member(document, "data");
    bool fits = data != NULL && (rel->many ? data->kind == JSON_ARRAY_START
                                           : data->kind == JSON_OBJECT_START || data->kind == JSON_NULL);
    if (!fits)
        return api_error_at(call, 400, "malformed-document", data == NULL ? STR("") : STR("/data"), "Wanted here: %s.",
                            rel->many ? "an array of resource identifiers" : "a resource identifier or null");
    Err err = api_load_one(call, &call->route->type->sources[0], call->req->path_values[0], &owner);
    TRY(err);
    return api_error(call, 403, "not-writable", "No action changes the relationship %.*s of %.*s.", STR_ARG(rel->name),
                     STR_ARG(call->route->type->name));
}
