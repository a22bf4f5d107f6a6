/*
 * users_compat.c - /users as the old system showed it: payloads, shapes, routes.
 */
#include "core_users/users_compat.h"

#include "core_users/user.h"
#include "core_users/user_rules.h"
#include "core_users_queries.h"
#include "legacy/quirks.h"
#include "legacy/values.h"

/* --- in ---------------------------------------------------------------------------------------------------------- */

typedef struct UserPayload {
    Str full_name, email;
    int32_t user_type;
} UserPayload;

static const CompatField create_fields[] = {
    {.name = "FullName", .kind = COMPAT_TEXT, .offset = offsetof(UserPayload, full_name), .check = value_full_name},
    {.name = "Email", .kind = COMPAT_TEXT, .offset = offsetof(UserPayload, email), .check = value_email},
    {.name = "UserType", .kind = COMPAT_ENUM, .offset = offsetof(UserPayload, user_type), .values = USER_TYPES},
    {0},
};

/* The type of a user is for ever: PUT has no UserType. */
static const CompatField update_fields[] = {
    {.name = "FullName", .kind = COMPAT_TEXT, .offset = offsetof(UserPayload, full_name), .check = value_full_name},
    {.name = "Email", .kind = COMPAT_TEXT, .offset = offsetof(UserPayload, email), .check = value_email},
    {0},
};

static const CompatPayload create_payload = {"Controllers.Users.Requests.UserPayload", sizeof(UserPayload),
                                             create_fields};
static const CompatPayload update_payload = {"Controllers.Users.Requests.UpdateUserPayload", sizeof(UserPayload),
                                             update_fields};

static Err user_from(CompatCall *call, Id id, void **ret_input) {
    const UserPayload *payload = call->payload;
    User *user = ARENA_NEW(call->ctx->arena, User);
    if (user == NULL)
        return ERR_NO_MEMORY;
    *user = (User){.id = id, .full_name = payload->full_name, .email = payload->email, .user_type = payload->user_type};
    *ret_input = user;
    return ERR_OK;
}

/* The old system found a missing name when it wrote the row, and a taken address before. */
static CO_FN Err refuse_taken(CompatCall *call, const UserPayload *payload) {
    PgParams params;
    PgResult result;
    pg_params_init(&params, call->ctx->arena);
    pg_add_text(&params, payload->email);
    TRY(pg_query(engine_pool(call->engine), SQL_USERS_BY_EMAIL, &params, &result));
    return result.rows > 0 ? user_refuse(call->ctx, USER_EMAIL_TAKEN) : ERR_OK;
}

static CO_FN Err prepare_create(CompatCall *call, void **ret_input) {
    const UserPayload *payload = call->payload;
    if (quirk(QUIRK_MISSING_NAME_500) && payload->full_name.p == NULL && payload->email.p != NULL)
        TRY(refuse_taken(call, payload));
    return user_from(call, id_random(), ret_input);
}

static CO_FN Err prepare_update(CompatCall *call, void **ret_input) {
    return user_from(call, call->path_ids[0], ret_input);
}

/* --- out --------------------------------------------------------------------------------------------------------- */

static const CompatOutput outputs[] = {
    {.name = "FullName", .attribute = "full_name"},
    {.name = "Email", .attribute = "email"},
    {.name = "UserType", .attribute = "user_type", .form = SHOW_ENUM, .values = USER_TYPES},
    {.name = "Id", .attribute = "id"},
    {0},
};

static const CompatShape shape = {&USER_RESOURCE, sizeof(User), outputs};

static CO_FN Err load_list(CompatCall *call, void **ret_rows, size_t *ret_n) {
    PgParams params;
    pg_params_init(&params, call->ctx->arena);
    return resource_list(call->engine, &USER_RESOURCE, call->ctx, SQL_USERS_ALL, &params, ret_rows, ret_n);
}

static CO_FN Err load_one(CompatCall *call, void **ret_rows, size_t *ret_n) {
    TRY(resource_get(call->engine, &USER_RESOURCE, call->ctx, call->path_ids[0], ret_rows));
    *ret_n = 1;
    return ERR_OK;
}

/* --- routes ------------------------------------------------------------------------------------------------------ */

static const CompatAction list = {.load = load_list, .answer = ANSWER_LIST, .shape = &shape};
static const CompatAction get = {.load = load_one, .answer = ANSWER_ONE, .shape = &shape};
static const CompatAction create = {
    .payload = &create_payload,
    .resource = &USER_RESOURCE,
    .action = "create",
    .prepare = prepare_create,
    .answer = ANSWER_CREATED,
    .shape = &shape,
    .location = "/users/",
    .id_offset = offsetof(User, id),
};
static const CompatAction update = {
    .payload = &update_payload,
    .resource = &USER_RESOURCE,
    .action = "update",
    .prepare = prepare_update,
    .answer = ANSWER_NOTHING,
    .shape = &shape,
};

static const char *const create_quirks[] = {
    "missing-name-500", "unicode-space-in-names", "blank-names", "email-trailing-newline", "enums-lenient", NULL,
};
static const char *const update_quirks[] = {
    "unknown-id-put-400", "missing-name-500", "unicode-space-in-names", "blank-names", "email-trailing-newline", NULL,
};

const Route USERS_ROUTES[] = {
    COMPAT_ROUTE(METHOD_GET, "/users", "users", "list", &list, NULL),
    COMPAT_ROUTE(METHOD_POST, "/users", "users", "create", &create, create_quirks),
    COMPAT_ROUTE(METHOD_GET, "/users/{id:id}", "users", "get", &get, NULL),
    COMPAT_ROUTE(METHOD_PUT, "/users/{id:id}", "users", "update", &update, update_quirks),
    {0},
};
