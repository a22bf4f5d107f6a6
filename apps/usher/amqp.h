/*
 * amqp.h - usher on the old system's broker: its settings, the transport over it, and which queues are consumed.
 */
#pragma once
#include "usher/app.h"

/* Checks of settings; the words name what may stand there. */
Err check_amqp_url(Ctx *ctx, Str value);
Err check_amqp_queues(Ctx *ctx, Str value);
Err check_amqp_queue_type(Ctx *ctx, Str value);

/** The endpoints that AMQP_QUEUES names, ended by queue == NULL; in arena. ERR_INVALID: ctx's problem. */
MUST_USE Err amqp_endpoints(Ctx *ctx, Str queues, Arena *arena, const Binding **ret);
/** The transport over AMQP_URL into app. */
MUST_USE Err app_open_amqp(App *app);

#define CONSUMED_QUEUES_MAX 16
/** How this system's queues are consumed, on Postgres or on the broker. Returns how many. */
size_t app_pipelines(const App *app, Pipeline ret[CONSUMED_QUEUES_MAX]);
