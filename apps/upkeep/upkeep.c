/*
 * upkeep.c - deleting what has had its time, a few hundred rows a commit.
 */
#include "upkeep/upkeep.h"

#define BATCH 500
/* Older than any repetition can be: a relay that was down for a month. */
#define INBOX_KEEP_DAYS "30"

static const char KEYS_SQL[] =
    "DELETE FROM {schema}.idempotency_keys WHERE key IN (SELECT key FROM {schema}.idempotency_keys"
    " WHERE kept_at < now() - interval '1 day' ORDER BY kept_at LIMIT $1::integer FOR UPDATE SKIP LOCKED)";
static const char INBOX_SQL[] =
    "DELETE FROM {schema}.inbox WHERE (message_id, consumer) IN (SELECT message_id, consumer FROM {schema}.inbox"
    " WHERE received_at < now() - interval '" INBOX_KEEP_DAYS " days' ORDER BY received_at LIMIT $1::integer"
    " FOR UPDATE SKIP LOCKED)";

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
    job->result = arena_printf(job->ctx->arena, "{\"gone\":%lld}", (long long)gone);
    return JOB_DONE;
}

CO_FN static JobVerdict delete_by(Job *job, const char *name, const char *sql) {
    const Statement *statement;
    Err err = engine_statement(job->engine, name, sql, true, &statement);
    return err == ERR_OK ? upkeep_delete(job, statement) : job_verdict(job, err);
}

CO_FN static JobVerdict run_keys(Job *job) {
    return delete_by(job, "upkeep_keys", KEYS_SQL);
}

CO_FN static JobVerdict run_inbox(Job *job) {
    return delete_by(job, "upkeep_inbox", INBOX_SQL);
}

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
    .doc = "Forget ids of messages that had their effect " INBOX_KEEP_DAYS " days ago.",
    .queue = JOBS_UPKEEP_QUEUE,
    .priority = JOB_LOW,
    .run = run_inbox,
    .attempts = 3,
    .unique = {.on = true},
};
