/*
 * user_resource.c - what a user is, and what may be done to one.
 */
#include "bus/bus.h"
#include "core_users/core_users.h"
#include "core_users/user_actions.h"
#include "core_users/user_rules.h"
#include "core_users/users_compat.h"
#include "core_users_migrations.h"
#include "core_users_queries.h"
#include "legacy/quirks.h"
#include "legacy/values.h"
#include "resource/keep.h"

const EnumValue USER_TYPES[] = {
    {"Customer", 0},
    {"Administrator", 1},
    {0},
};

static const Attribute attributes[] = {
    ATTR(User, id, .key = true, .generated = true, .legacy = "Id"),
    ATTR(User, full_name, .required = true, .legacy = "FullName"),
    ATTR(User, email, .required = true, .legacy = "Email", .doc = "Compared byte by byte; nobody else has it."),
    ATTR(User, user_type, .required = true, .values = USER_TYPES, .legacy = "UserType"),
    {0},
};

/* Hashed: addresses have no limit of length, index rows do. */
static const Identity identities[] = {
    {.name = "users_by_email", .attributes = {"email"}, .hashed = true},
    {0},
};

static Err email_is_there(Ctx *ctx, const void *input) {
    return user_refuse(ctx, user_check_email(input));
}

static Err name_is_there(Ctx *ctx, const void *input) {
    return user_refuse(ctx, user_check_name(input));
}

static Err name_is_there_first(Ctx *ctx, const void *input) {
    return quirk(QUIRK_MISSING_NAME_500) ? ERR_OK : name_is_there(ctx, input);
}

/* Every surface's values obey the old rules. (Compat has looked already, in its own order, and finds nothing new here;
 * what is missing altogether is told by the two above.) */
static Err values_are_well_formed(Ctx *ctx, const void *input) {
    const User *user = input;
    if (user->full_name.p != NULL && value_full_name(ctx, &user->full_name) != ERR_OK) {
        ctx->problem.field = STR("full_name");
        return ERR_INVALID;
    }
    return user->email.p == NULL ? ERR_OK : value_email(ctx, &user->email);
}

static const Validation create_validations[] = {
    {"email is there", email_is_there},
    {"name is there", name_is_there},
    {"name and email are well-formed", values_are_well_formed},
    {0},
};

/* With the quirk a missing name is found only after address and user (users_arbitrate_updates). */
static const Validation update_validations[] = {
    {"email is there", email_is_there},
    {"name is there", name_is_there_first},
    {"name and email are well-formed", values_are_well_formed},
    {0},
};

static Id user_id(const void *input) {
    return ((const User *)input)->id;
}

static const Action actions[] = {
    {.name = "read", .kind = ACTION_READ, .doc = "One user, or all."},
    {
        .name = "create",
        .kind = ACTION_CREATE,
        .doc = "Register somebody under an address that is free.",
        .accept = {"full_name", "email", "user_type"},
        .validations = create_validations,
        .after = user_announce,
        .conflict_message = "Email already exists",
    },
    {
        .name = "update",
        .kind = ACTION_UPDATE,
        .doc = "Change name or address; the type stays.",
        .accept = {"full_name", "email"},
        .validations = update_validations,
        .clash_key = user_id,
        .run = users_update,
        .after = user_announce,
        .conflict_message = "Email already exists",
    },
    {0},
};

/* The old system has no sign-in. */
static bool by_anyone(const Ctx *ctx, const Action *action, const void *input) {
    (void)ctx, (void)action, (void)input;
    return true;
}

static const Policy policies[] = {
    {"read", "anyone", by_anyone},
    {"create", "anyone", by_anyone},
    {"update", "anyone", by_anyone},
    {0},
};

const Resource USER_RESOURCE = {
    .name = "user",
    .plural = "users",
    .schema = "users",
    .doc = "Somebody who books or runs things.",
    .size = sizeof(User),
    .attributes = attributes,
    .identities = identities,
    .actions = actions,
    .policies = policies,
    .api = API_SHOWN,
};

/* --- the context ------------------------------------------------------------------------------------------------- */

static const Resource outbox = BUS_OUTBOX("users"), marks = BUS_OUTBOX_MARKS("users");
static const Resource keys = KEEP_TABLE("users");
JOB_TABLES(users, "users");
static const Resource *const resources[] = {&USER_RESOURCE, &outbox, &marks, &keys, JOB_RESOURCES(users), NULL};

const Context CORE_USERS_CONTEXT = {
    .name = "users",
    .schema = "users",
    .role = "usher_users",
    .database_env = "USERS_DATABASE_URL",
    .resources = resources,
    .queries = CORE_USERS_QUERIES,
    .migrations = CORE_USERS_MIGRATIONS,
    .routes = USERS_ROUTES,
};
