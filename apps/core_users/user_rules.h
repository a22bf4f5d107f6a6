/*
 * user_rules.h - who may have which address: pure functions, no database.
 */
#pragma once
#include "core_users/user.h"

/** Why a user is refused. The words are the old system's. */
typedef enum UserRefusal {
    USER_FINE,
    USER_EMAIL_MISSING,
    USER_EMAIL_TAKEN,
    USER_UNKNOWN,
    USER_NAME_MISSING,
} UserRefusal;

/** One member's wish, and what became of it. */
typedef struct UserAsk {
    const User *user;
    UserRefusal refusal;
} UserAsk;

/** What can be told without looking at other users, except the name (see user_check_name). */
UserRefusal user_check_email(const User *user);
/** A name must be there. The old system found out last, when it wrote the row. */
UserRefusal user_check_name(const User *user);

/** Decides updates in order of arrival against the users that matter (those asked for, and whoever has an asked
 *  address); an accepted one changes its user in `users`. Addresses are compared byte by byte, as the old system
 *  did. */
void users_arbitrate_updates(User *users, size_t n_users, UserAsk *asks, size_t n);

/** Err and words of a refusal as ctx's problem; returns its code. */
Err user_refuse(Ctx *ctx, UserRefusal refusal);
