/*
 * upkeep.h - job kinds that keep a context's tables small, whatever the context is about.
 *
 * Each is declared once here and listed by the boards of the contexts that have the table. They run in the queue
 * "upkeep", one at a time everywhere, in small commits, behind all other work.
 */
#pragma once
#include "jobs/jobs.h"

/** Answers kept under idempotency keys, a day after they were given. */
extern const JobKind KEYS_PRUNE;
/** What the outbox has published, slot by slot. Once a minute (UPKEEP_OUTBOX_CRON); relays leave it to the job while it
 *  runs, and do it themselves where none does. */
extern const JobKind OUTBOX_ROTATE;
#define UPKEEP_OUTBOX_CRON                                                                                             \
    { .name = "outbox_rotate", .expression = "* * * * *", .kind = &OUTBOX_ROTATE }
/** Ids of messages that have had their effect, once no repetition can be so old: older than upkeep_keep_inbox says. */
extern const JobKind INBOX_PRUNE;
#define UPKEEP_INBOX_KEEP_MS (INT64_C(30) * 24 * 3600 * 1000) /* where nothing is said: a relay down for a month */
/** Before jobs run. */
void upkeep_keep_inbox(int64_t keep_ms);

/** The queue that they and JOBS_PRUNE run in, as a row of a board's queues. */
#define UPKEEP_QUEUE                                                                                                   \
    { .name = JOBS_UPKEEP_QUEUE, .doc = "The engine's own work.", .limit = 1, .limit_global = 1 }

/** A kind of upkeep, in that queue: `static const JobKind X = UPKEEP_KIND(.name = …, .doc = …, .run = …)`. */
#define UPKEEP_KIND(...)                                                                                               \
    { .queue = JOBS_UPKEEP_QUEUE, .priority = JOB_LOW, .attempts = 3, .unique = {.on = true}, __VA_ARGS__ }

/** One bounded step of deleting, in a transaction that holds the job; *ret_gone says how many went, 0 when there are
 *  none left. */
typedef CO_FN Err (*UpkeepStep)(PgTx *tx, Job *job, int64_t *ret_gone);
/** What a kind's `run` does: a step after the other until one finds nothing. The result says how many. Suspends. */
CO_FN JobVerdict upkeep_steps(Job *job, UpkeepStep step);
/** A step by a statement that takes a limit as $1, with its commit. Suspends. */
CO_FN Err upkeep_delete(PgTx *tx, Job *job, const Statement *statement, int64_t *ret_gone) MUST_USE;
