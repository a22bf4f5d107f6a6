/*
 * gateway_role.h - the wiring of apps/api_gateway: its settings, its workers.
 */
#pragma once
#include "api_gateway/api_gateway.h"
#include "runtime/supervisor.h"
#include "usher/app.h"

/* Checks of settings. */
Err check_upstream_urls(Ctx *ctx, Str value);
Err check_networks(Ctx *ctx, Str value);
Err check_access_format(Ctx *ctx, Str value);

/** What the settings say, and the routes file they name, in ctx's arena. The problem names a file that cannot be
 *  read. */
MUST_USE Err gateway_options(Ctx *ctx, const Settings *settings, GatewayOptions *ret);

/** The first address in a list of those to listen at that is without TLS; empty: there is none. */
Str gateway_plain_address(Str listen);
/** The settings as they are now, for a reload. */
MUST_USE Err gateway_settings_now(Ctx *ctx, Settings *ret);

/** Before the first fork, where there are to be workers: sockets, shared memory, and a configuration without
 *  mistakes. */
MUST_USE Err gateway_role_prepare(const Settings *settings, int workers, Arena *arena);
/** In the parent on SIGHUP, before the workers are told: ERR_INVALID and words in the log when they would refuse. */
MUST_USE Err gateway_role_check(void);
/* The role "gateway". */
Err gateway_role_start(Worker *worker);
void gateway_role_drain(Worker *worker);
Err gateway_role_reload(Worker *worker);
