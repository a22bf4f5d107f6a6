/*
 * user_actions.h - what may be done to users beyond what is derived. Used by user_resource.c.
 */
#pragma once
#include "core_users/user.h"

/** Changes name and address: input is a User whose type is ignored. ERR_CONFLICT, ERR_NOT_FOUND per member. */
CO_FN Err users_update(PgTx *tx, Set *set);
/** After create and update. */
Err user_announce(const Action *action, Member *member);
