/*
 * shadow_role.h - the wiring of stages and shadow: what gateway workers and shadow workers share, and the role
 * "shadow".
 */
#pragma once
#include "api_gateway/api_gateway.h"
#include "runtime/supervisor.h"
#include "usher/app.h"

/** How many shadow workers there are beside so many gateway workers. */
int shadow_role_count(const Settings *settings, int gateways);
/** Before the first fork: the memory that they share. Nothing without gateway workers. */
MUST_USE Err shadow_role_prepare(const Settings *settings, int gateways);

/** In a gateway worker: stages decide, from now on. */
MUST_USE Err shadow_role_hook(Worker *worker, Gateway *gateway);
/** When its last request has ended. */
void shadow_role_unhook(void);

/* The role "shadow". */
Err shadow_role_start(Worker *worker);
void shadow_role_drain(Worker *worker);
Err shadow_role_reload(Worker *worker);
