/*
 * tickets_jobs.c - background work of the Tickets context.
 */
#include "core_tickets/core_tickets.h"
#include "core_tickets_queries.h"
#include "upkeep/upkeep.h"

/* Every reader compares until_at; what has run out only takes room. An hour on top, for whoever looks into a
 * quarrel. */
static CO_FN Err delete_reservations(PgTx *tx, Job *job, int64_t *ret_gone) {
    return upkeep_delete(tx, job, SQL_RESERVATIONS_PRUNE, ret_gone);
}

static CO_FN JobVerdict prune_reservations(Job *job) {
    return upkeep_steps(job, delete_reservations);
}

static const JobKind RESERVATIONS_PRUNE =
    UPKEEP_KIND(.name = "reservations_prune", .doc = "Forget holds that ran out an hour ago.",
                .run = prune_reservations);

static const JobKind *const kinds[] = {&JOBS_PRUNE, &KEYS_PRUNE, &INBOX_PRUNE, &RESERVATIONS_PRUNE, NULL};

static const JobQueue queues[] = {UPKEEP_QUEUE, {0}};

static const JobCron crons[] = {
    {.name = "jobs_prune", .expression = "*/10 * * * *", .kind = &JOBS_PRUNE},
    {.name = "keys_prune", .expression = "7 * * * *", .kind = &KEYS_PRUNE},
    {.name = "inbox_prune", .expression = "17 * * * *", .kind = &INBOX_PRUNE},
    {.name = "reservations_prune", .expression = "*/5 * * * *", .kind = &RESERVATIONS_PRUNE},
    {0},
};

const JobBoard CORE_TICKETS_JOBS = {.context = &CORE_TICKETS_CONTEXT, .kinds = kinds, .queues = queues, .crons = crons};
