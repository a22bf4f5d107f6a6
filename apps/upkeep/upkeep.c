/*
 * upkeep.c - deleting what has had its time, a few hundred rows a commit.
 */
#include "upkeep/upkeep.h"

#include "bus/bus.h"

#define BATCH           500
#define OUTBOX_AGAIN_MS 20000
#define OUTBOX_KEEP_MS  (INT64_C(3600) * 1000) /* one a minute: an hour of them is history enough */

/* A process's own, as its settings are; jobs are run in one place of it. */
static int64_t inbox_keep_ms = UPKEEP_INBOX_KEEP_MS;

void upkeep_keep_inbox(int64_t keep_ms) {
    inbox_keep_ms = keep_ms;
}

static const char KEYS_SQL[] =
    "DELETE FROM {schema}.idempotency_keys WHERE key IN (SELECT key FROM {schema}.idempotency_keys"
    " WHERE kept_at < now() - interval '1 day' ORDER BY kept_at LIMIT $1::integer FOR UPDATE SKIP LOCKED)";

static JobVerdict tell_gone(Job *job, int64_t gone) {
    job->result = arena_printf(job->ctx->arena, "{\"gone\":%lld}", (long long)gone);
    return JOB_DONE;
}

CO_FN JobVerdict upkeep_delete(Job *job, const Statement *statement) {
    PgParams params;
    PgResult result;
    int64_t gone = 0;
    do {
        pg_params_init(&params, job->ctx->arena);
        pg_add_i32(&params, BATCH);
        Err err = pg_query(engine_pool(job->engine), statement, &params, &result);
        if (err != ERR_OK)
            return job_verdict(job, err);
        gone += result.affected;
    } while (result.affected == BATCH);
    return tell_gone(job, gone);
}

CO_FN static JobVerdict run_keys(Job *job) {
    const Statement *statement;
    Err err = engine_statement(job->engine, "upkeep_keys", KEYS_SQL, true, &statement);
    return err == ERR_OK ? upkeep_delete(job, statement) : job_verdict(job, err);
}

CO_FN static JobVerdict run_inbox(Job *job) {
    int64_t gone = 0, step = 0;
    do {
        Err err = inbox_prune(job->engine, NULL, inbox_keep_ms, &step);
        if (err != ERR_OK)
            return job_verdict(job, err);
        gone += step;
    } while (step > 0);
    return tell_gone(job, gone);
}

/* The mark first: a relay need not begin what we are about to do. A busy outbox is looked at again before the next
 * minute, by the same job: at its speed slots fill in seconds. */
CO_FN static JobVerdict run_outbox(Job *job) {
    bool more = true;
    int64_t emptied = 0;
    Err err = outbox_keeper_mark(job->engine);
    for (int step = 0; err == ERR_OK && more && step < OUTBOX_SLOTS; step++) {
        err = outbox_rotate(job->engine, &more);
        emptied += err == ERR_OK && more;
    }
    if (err != ERR_OK)
        return job_verdict(job, err);
    return emptied > 0 ? job_snooze(job, OUTBOX_AGAIN_MS) : tell_gone(job, 0);
}

const JobKind OUTBOX_ROTATE = {
    .name = "outbox_rotate",
    .doc = "Empty the slots of the outbox whose messages are all published.",
    .queue = JOBS_UPKEEP_QUEUE,
    .priority = JOB_LOW,
    .run = run_outbox,
    .attempts = 3,
    .unique = {.on = true},
    .keep_ms = OUTBOX_KEEP_MS,
};

const JobKind KEYS_PRUNE = {
    .name = "keys_prune",
    .doc = "Forget answers kept under idempotency keys, a day after they were given.",
    .queue = JOBS_UPKEEP_QUEUE,
    .priority = JOB_LOW,
    .run = run_keys,
    .attempts = 3,
    .unique = {.on = true},
};

const JobKind INBOX_PRUNE = {
    .name = "inbox_prune",
    .doc = "Forget ids of messages that had their effect longer ago than INBOX_KEEP.",
    .queue = JOBS_UPKEEP_QUEUE,
    .priority = JOB_LOW,
    .run = run_inbox,
    .attempts = 3,
    .unique = {.on = true},
};
