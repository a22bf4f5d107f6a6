/*
 * boards.c - the role "jobs": a runner per board, all in one worker.
 *
 * Several such workers, here or on other machines, share the work; what must happen once, or not too often, the
 * database decides. House work (schema jobs) finds the whole App in Job.data and so reaches every context's engine.
 */
#include "usher/boards.h"

#include <stdio.h>
#include <unistd.h>

#include "core_events/core_events.h"
#include "core_tickets/core_tickets.h"
#include "core_users/core_users.h"
#include "runtime/log.h"
#include "upkeep/upkeep.h"

/* Of the drain's time, kept for storing ends and signing off. */
#define LAST_MS 1500

static const JobKind *const house_kinds[] = {&JOBS_PRUNE, NULL};
static const JobQueue house_queues[] = {UPKEEP_QUEUE, {0}};
static const JobCron house_crons[] = {{.name = "jobs_prune", .expression = "*/10 * * * *", .kind = &JOBS_PRUNE}, {0}};
static const JobBoard house = {
    .context = &JOBS_CONTEXT, .kinds = house_kinds, .queues = house_queues, .crons = house_crons};

const JobBoard *const BOARDS[] = {&CORE_EVENTS_JOBS, &CORE_USERS_JOBS, &CORE_TICKETS_JOBS, &house, NULL};
_Static_assert(ARRAY_LEN(BOARDS) <= BOARDS_MAX, "raise BOARDS_MAX");

const JobBoard *board_of(const char *context) {
    for (const JobBoard *const *board = BOARDS; *board != NULL; board++)
        if (strcmp((*board)->context->name, context) == 0)
            return *board;
    return NULL;
}

/* A process is one worker. */
static struct {
    JobRunner *runners[BOARDS_MAX];
    size_t n;
    char name[128];
    Worker *worker;
    size_t draining;
} self;

Err jobs_start(Worker *worker, App *app) {
    const Settings *settings = worker->settings;
    char host[64] = "?";
    upkeep_keep_inbox(settings->inbox_keep_ms);
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(self.name, sizeof self.name, "%s:%d", host, (int)getpid());
    for (const JobBoard *const *board = BOARDS; *board != NULL; board++) {
        JobRunnerOptions options = {.engine = app_engine(app, (*board)->context->name),
                                    .board = *board,
                                    .data = app,
                                    .node_name = str_c(self.name),
                                    .poll_ms = settings->jobs_poll_ms,
                                    .heartbeat_ms = settings->jobs_heartbeat_ms,
                                    .rescue_ms = settings->jobs_rescue_ms,
                                    .lease_ms = settings->jobs_rescue_ms / 2};
        TRY(job_runner_start(worker->loop, &options, &self.runners[self.n++]));
    }
    return ERR_OK;
}

static CO_FN void drain_co(Ctx *ctx, void *arg) {
    (void)ctx;
    const Settings *settings = self.worker->settings;
    job_runner_drain(arg, clock_mono_ms() + MAX_OF(settings->drain_ms - LAST_MS, 0));
    if (--self.draining == 0)
        loop_stop(self.worker->loop);
}

void jobs_drain(Worker *worker) {
    self.worker = worker;
    for (size_t i = 0; i < self.n; i++) {
        Err err = co_spawn(worker->loop, drain_co, self.runners[i], &(CoOptions){.name = "jobs drain"}, NULL);
        if (err == ERR_OK)
            self.draining++;
        else
            LOG_W(NULL, "jobs_drain", F_ERR(err));
    }
    if (self.draining > 0)
        loop_run(worker->loop);
    if (co_drain(worker->loop, clock_mono_ms() + LAST_MS) != ERR_OK)
        LOG_W(NULL, "drain deadline passed");
    worker_drained(worker);
}
