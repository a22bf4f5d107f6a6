/*
 * observe.h - the wiring of lib/telemetry: its settings, its process, and what each worker tells of itself.
 */
#pragma once
#include "http/http.h"
#include "runtime/supervisor.h"
#include "usher/app.h"

/* Checks of settings; the words name what may stand there. */
Err check_collector(Ctx *ctx, Str value);
Err check_protocol(Ctx *ctx, Str value);
Err check_exporter(Ctx *ctx, Str value);
Err check_sampler(Ctx *ctx, Str value);
Err check_ratio(Ctx *ctx, Str value);

/** 1 when there is a listener or a collector to serve, else 0. */
int observe_process_count(const Settings *settings);
/** Before the first fork: the shared memory. roles as the supervisor will run them. */
MUST_USE Err observe_prepare(const Settings *settings, const Role *roles);

/** In every worker, when it has its slot: reports once a second. server may be NULL. */
void observe_attach(const Worker *worker);
MUST_USE Err observe_start(Worker *worker, const App *app, const HttpServer *server);
/** The worker goes: /health/ready is told, unless a successor serves. */
void observe_draining(const Worker *worker);

/* The telemetry process: role "telemetry". */
Err observe_process_start(Worker *worker);
void observe_process_drain(Worker *worker);
