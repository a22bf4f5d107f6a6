/*
 * core_users.h - front door of the Users context.
 *
 * Users announces each change with MESSAGE_USER_UPSERTED and consumes nothing.
 */
#pragma once
#include "core_users/user.h"

extern const Context CORE_USERS_CONTEXT;
