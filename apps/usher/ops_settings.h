/*
 * ops_settings.h - what may stand in the settings that tell usher how to run on its machine, and what follows from
 * them.
 */
#pragma once
#include "runtime/confine.h"
#include "usher/settings.h"

Err check_run_as(Ctx *ctx, Str value);

/** What the workers of these settings give up. RUN_AS has been checked; its name is copied into ctx's arena. */
MUST_USE Err ops_confinement(Ctx *ctx, const Settings *settings, Confinement *ret);

/** The supervisor serves: its pid to PIDFILE, at once or not at all. A failure is logged; it keeps nobody from
 *  serving. */
void pidfile_write(const Settings *settings);
/** It ends: removes PIDFILE when it still names this process (a successor may have taken it). */
void pidfile_remove(const Settings *settings);

/** ROLES: a check of its setting. */
Err check_role_names(Ctx *ctx, Str value);
