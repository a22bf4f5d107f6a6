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

typedef struct Stepping {
    Job *job;
    UpkeepStep step;
    int64_t gone; /* in this step */
} Stepping;

CO_FN static Err step_in(PgTx *tx, void *arg) {
    Stepping *stepping = arg;
    TRY(job_hold_in(tx, stepping->job));
    return stepping->step(tx, stepping->job, &stepping->gone);
}

CO_FN JobVerdict upkeep_steps(Job *job, UpkeepStep step) {
    Stepping stepping = {.job = job, .step = step};
    int64_t gone = 0;
    do {
        Err err = pg_transaction(engine_pool(job->engine), step_in, &stepping);
        if (err != ERR_OK)
            return job_verdict(job, err);
        gone += stepping.gone;
    } while (stepping.gone > 0);
    return tell_gone(job, gone);
}

CO_FN Err upkeep_delete(PgTx *tx, Job *job, const Statement *statement, int64_t *ret_gone) {
    PgParams params;
    PgResult result;
    pg_params_init(&params, job->ctx->arena);
    pg_add_i32(&params, BATCH);
    TRY(pg_tx_query_commit(tx, statement, &params, &result));
    *ret_gone = result.affected;
    return ERR_OK;
}

CO_FN static Err delete_keys(PgTx *tx, Job *job, int64_t *ret_gone) {
    const Statement *statement;
    TRY(engine_statement(job->engine, "upkeep_keys", KEYS_SQL, true, &statement));
    return upkeep_delete(tx, job, statement, ret_gone);
}

CO_FN static JobVerdict run_keys(Job *job) {
    return upkeep_steps(job, delete_keys);
}

CO_FN static Err delete_inbox(PgTx *tx, Job *job, int64_t *ret_gone) {
    return inbox_prune(tx, job->engine, NULL, inbox_keep_ms, ret_gone);
}

CO_FN static JobVerdict run_inbox(Job *job) {
    return upkeep_steps(job, delete_inbox);
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

const JobKind OUTBOX_ROTATE =
    UPKEEP_KIND(.name = "outbox_rotate", .doc = "Empty the slots of the outbox whose messages are all published.",
                .run = run_outbox, .keep_ms = OUTBOX_KEEP_MS);
const JobKind KEYS_PRUNE =
    UPKEEP_KIND(.name = "keys_prune", .doc = "Forget answers kept under idempotency keys, a day after they were given.",
                .run = run_keys);
const JobKind INBOX_PRUNE =
    UPKEEP_KIND(.name = "inbox_prune",
                .doc = "Forget ids of messages that had their effect longer ago than INBOX_KEEP.", .run = run_inbox);
