/*
 * trial_role.h - the role "trial", beside the role "shadow": tries mirrored writes on the contexts' databases.
 *
 * As dispensable as the shadow: its deaths stop nobody, and what it had in work is counted as skipped. It listens on
 * loopback ports that the kernel chooses, and answers nobody who does not know the key of this start; no client ever
 * does.
 */
#pragma once
#include "http/upstream.h"
#include "runtime/supervisor.h"
#include "usher/settings.h"

/** How many there are beside so many shadow workers; 0: writes are not mirrored. */
int trial_role_count(const Settings *settings, int shadows);
/** Before the first fork: sockets and key. */
MUST_USE Err trial_role_prepare(int trials, Arena *arena);
/** In a shadow worker: all of them as one. NULL where there are none. ERR_NO_MEMORY. */
MUST_USE Err trial_role_upstream(Loop *loop, const Settings *settings, Upstream **ret);
/** What they ask for in TRIAL_KEY_HEADER. */
Str trial_role_key(void);

/* The role. */
Err trial_role_start(Worker *worker);
void trial_role_drain(Worker *worker);
