/*
 * upkeep.c - deleting what has had its time, a few hundred rows a commit.
 */
#include "upkeep/upkeep.h"

#define BATCH 500

/* A process's own, as its settings are; jobs are run in one place of it. */
static int64_t inbox_keep_ms = UPKEEP_INBOX_KEEP_MS;

void upkeep_keep_inbox(int64_t keep_ms) {
    inbox_keep_ms = keep_ms;
}

static const char KEYS_SQL[] =
    "DELETE FROM {schema}.idempotency_keys WHERE key IN (SELECT key FROM {schema}.idempotency_keys"
    " WHERE kept_at < now() - interval '1 day' ORDER BY kept_at LIMIT $1::integer FOR UPDATE SKIP LOCKED)";
static const char INBOX_SQL[] =
    "DELETE FROM {schema}.inbox WHERE (message_id, consumer) IN (SELECT message_id, consumer FROM {schema}.inbox"
    " WHERE received_at < now() - $2::bigint * interval '1 millisecond' ORDER BY received_at LIMIT $1::integer"
    " FOR UPDATE SKIP LOCKED)";

CO_FN static JobVerdict delete_all(Job *job, const Statement *statement, const int64_t *keep_ms) {
    PgParams params;
    PgResult result;
    int64_t gone = 0;
    do {
        pg_params_init(&params, job->ctx->arena);
        pg_add_i32(&params, BATCH);
        if (keep_ms != NULL)
            pg_add_i64(&params, *keep_ms);
        Err err = pg_query(engine_pool(job->engine), statement, &params, &result);
        if (err != ERR_OK)
            return job_verdict(job, err);
        gone += result.affected;
    } while (result.affected == BATCH);
    job->result = arena_printf(job->ctx->arena, "{\"gone\":%lld}", (long long)gone);
    return JOB_DONE;
}

CO_FN JobVerdict upkeep_delete(Job *job, const Statement *statement) {
    return delete_all(job, statement, NULL);
}

CO_FN static JobVerdict delete_by(Job *job, const char *name, const char *sql, const int64_t *keep_ms) {
    const Statement *statement;
    Err err = engine_statement(job->engine, name, sql, true, &statement);
    return err == ERR_OK ? delete_all(job, statement, keep_ms) : job_verdict(job, err);
}

CO_FN static JobVerdict run_keys(Job *job) {
    return delete_by(job, "upkeep_keys", KEYS_SQL, NULL);
}

CO_FN static JobVerdict run_inbox(Job *job) {
    return delete_by(job, "upkeep_inbox", INBOX_SQL, &inbox_keep_ms);
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
    .doc = "Forget ids of messages that had their effect longer ago than INBOX_KEEP.",
    .queue = JOBS_UPKEEP_QUEUE,
    .priority = JOB_LOW,
    .run = run_inbox,
    .attempts = 3,
    .unique = {.on = true},
};
