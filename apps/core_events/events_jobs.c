/*
 * events_jobs.c - background work of the Events context.
 */
#include "core_events/core_events.h"
#include "upkeep/upkeep.h"

static const JobKind *const kinds[] = {&JOBS_PRUNE, &KEYS_PRUNE, &OUTBOX_ROTATE, NULL};

static const JobQueue queues[] = {UPKEEP_QUEUE, {0}};

static const JobCron crons[] = {
    {.name = "jobs_prune", .expression = "*/10 * * * *", .kind = &JOBS_PRUNE},
    {.name = "keys_prune", .expression = "7 * * * *", .kind = &KEYS_PRUNE},
    UPKEEP_OUTBOX_CRON,
    {0},
};

const JobBoard CORE_EVENTS_JOBS = {.context = &CORE_EVENTS_CONTEXT, .kinds = kinds, .queues = queues, .crons = crons};
