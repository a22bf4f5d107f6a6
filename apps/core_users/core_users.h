/*
 * core_users.h - front door of the Users context.
 *
 * Users announces each change with MESSAGE_USER_UPSERTED and consumes nothing.
 */
#pragma once
#include "core_users/user.h"
#include "jobs/jobs.h"

extern const Context CORE_USERS_CONTEXT;
/** Its background work. */
extern const JobBoard CORE_USERS_JOBS;
