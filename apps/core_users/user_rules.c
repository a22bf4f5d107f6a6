/*
 * user_rules.c - the old system's order of checks for users.
 *
 * Names and addresses are checked as they are read (legacy/values.h). What is left is what was missing altogether, and
 * whether the address is free. An address is looked at before the user is: PUT of an unknown user with somebody's
 * address says that the address exists.
 */
#include "core_users/user_rules.h"

#include "legacy/quirks.h"

UserRefusal user_check_email(const User *user) {
    return user->email.p == NULL ? USER_EMAIL_MISSING : USER_FINE;
}

UserRefusal user_check_name(const User *user) {
    return user->full_name.p == NULL ? USER_NAME_MISSING : USER_FINE;
}

static UserRefusal decide_update(User *users, size_t n_users, const User *wish) {
    User *own = NULL;
    bool taken = false;
    for (size_t i = 0; i < n_users; i++) {
        bool same = id_eq(users[i].id, wish->id);
        if (same)
            own = &users[i];
        taken = taken || (!same && str_eq(users[i].email, wish->email));
    }
    if (taken)
        return USER_EMAIL_TAKEN;
    if (own == NULL)
        return USER_UNKNOWN;
    UserRefusal refusal = user_check_name(wish);
    if (refusal == USER_FINE) {
        own->full_name = wish->full_name;
        own->email = wish->email;
    }
    return refusal;
}

void users_arbitrate_updates(User *users, size_t n_users, UserAsk *asks, size_t n) {
    for (size_t i = 0; i < n; i++)
        asks[i].refusal = decide_update(users, n_users, asks[i].user);
}

Err user_refuse(Ctx *ctx, UserRefusal refusal) {
    switch (refusal) {
    case USER_FINE:
        return ERR_OK;
    case USER_EMAIL_MISSING:
        return ctx_problem(ctx, ERR_INVALID, "email", "Email cannot be empty");
    case USER_EMAIL_TAKEN:
        return ctx_problem(ctx, ERR_CONFLICT, "email", "Email already exists");
    case USER_UNKNOWN:
        return ctx_problem(ctx, ERR_NOT_FOUND, "id", "User does not exist");
    case USER_NAME_MISSING:
        return ctx_problem(ctx, quirk(QUIRK_MISSING_NAME_500) ? ERR_INTERNAL : ERR_INVALID, "full_name",
                           "Name cannot be empty");
    }
    ASSERT(false); /* a refusal without words */
    return ERR_INTERNAL;
}
