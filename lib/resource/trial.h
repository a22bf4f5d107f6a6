/*
 * trial.h - what an action would do: it is run, looked at, and rolled back.
 *
 * An engine for trials stands on a pool that knows no COMMIT (PgConfig.rolls_back), so nothing that is run on it stays,
 * whatever path it takes. A set has one member: no request sees what another would have written. Locks are real and
 * held until the rollback; lock_timeout keeps that short. Sequences move on (positions of the outbox), transaction
 * numbers too; nothing else is left. NOTIFY goes out with a commit only: nobody is woken.
 */
#pragma once
#include "resource/resource.h"

/** A table that was written to. Partitions go by their own names. */
typedef struct TrialTable {
    Str name; /* "users.users" */
    int64_t inserted, updated, deleted;
    Str rows; /* JSON array of the rows as they would be, at most TRIAL_ROWS_MAX; absent: an engine's table, or one too
               * large to be looked through (TRIAL_TABLE_BYTES_MAX) */
} TrialTable;

/** One action that was tried. Lives in the request's arena. */
typedef struct Trial {
    const Resource *resource;
    const Action *action;
    const TrialTable *tables;
    size_t table_n;
    const Outgoing *messages; /* what would be published, in order */
} Trial;

#define TRIAL_ROWS_MAX        100
#define TRIAL_TABLE_BYTES_MAX (16 * 1024 * 1024)
#define TRIAL_LOCK_MS         500

/** Called once for each action that came to its end, refused or not, before it is rolled back. May not suspend.
 *  @ctx  the request's, as given to action_run */
typedef void (*TrialTold)(Ctx *ctx, const Trial *trial, void *data);

/** From now on the engine's actions are trials. Its pool must roll back (ASSERT). */
void engine_try(Engine *engine, TrialTold told, void *data);
