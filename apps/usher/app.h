/*
 * app.h - the wiring: the one place that knows every context.
 */
#pragma once
#include "api/compat.h"
#include "bus/bus.h"
#include "resource/trial.h"
#include "usher/settings.h"

/** All contexts in the order in which data flows: events, users, tickets, bus, jobs. NULL-ended. */
extern const Context *const CONTEXTS[];
#define CONTEXTS_MAX 8

/** Tables of routes of all contexts, in that order; *ret_n says how many. */
const Route *const *app_route_tables(size_t *ret_n);
/** A router over them as the quirks demand. */
MUST_USE Err app_router(Ctx *ctx, Arena *arena, Router **ret);

/** What one worker holds: a pool and an engine per context. */
typedef struct App {
    Arena *arena;
    Loop *loop;
    const Settings *settings;
    int writers; /* connections for transactions, per context */
    bool tries;  /* nothing that is done here stays */
    PgPool *pools[CONTEXTS_MAX];
    Engine *engines[CONTEXTS_MAX];
    Transport *transport;
    const Binding *endpoints; /* on the broker, ended by queue == NULL; NULL: Postgres carries the messages */
} App;

/** Connects to the named contexts (NULL-ended list; NULL: all that hold data of clients) on the loop. Problems that a
 *  retry can mend are not errors. */
MUST_USE Err app_open(App *app, Loop *loop, const Settings *settings, const char *const *contexts);
/** With more than one connection for transactions per context. */
MUST_USE Err app_open_wide(App *app, Loop *loop, const Settings *settings, const char *const *contexts, int writers);
/** For trials (resource/trial.h): every pool rolls back; each action is told. Short limits on statements. */
MUST_USE Err app_open_trial(App *app, Loop *loop, const Settings *settings, const char *const *contexts, TrialTold told,
                            void *data);
void app_close(App *app);
/** The engine of a context, or NULL when it was not opened. */
Engine *app_engine(const App *app, const char *context);
PgPool *app_pool(const App *app, const char *context);

/** Serves with the roles of settings until told to stop; `ready` (may be NULL) is called when all workers serve. */
int serve_run(Settings *settings, void (*ready)(void *settings));

/** Applies all contexts' migrations through owner connections (no SET ROLE). */
MUST_USE Err app_migrate_up(Ctx *ctx, const Settings *settings, Buf *report);
/** Sample data through the contexts' own actions; nothing when there are events or users already. */
MUST_USE Err app_seed(Ctx *ctx, const Settings *settings, Buf *report);
/** Empties every table that is not seeded by a migration, outbox, inbox and transport included, in one transaction. */
MUST_USE Err app_reset(Ctx *ctx, const Settings *settings);
