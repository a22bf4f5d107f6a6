/*
 * insert.c - leaving a job: in an action's commit, in a transaction, or by itself.
 *
 * All three are one statement over arrays, so that a set's jobs cost one. What is hung on a member is encoded at once
 * (the arguments' struct may be on the hook's stack) and bound when the set's writes are sent.
 */
#include "base/sha256.h"
#include "jobs/internal.h"

/* One job, ready to be bound. */
typedef struct Ready {
    Attached attached; /* first: member_enqueue hangs it on a member */
    const JobKind *kind;
    Id id;
    Str args, unique_by;
    int16_t priority;
    int64_t delay_ms;
    OptInstant run_at;
    Str traceparent, tracestate, baggage;
} Ready;

int16_t unique_states(const JobKind *kind) {
    const JobUnique *unique = &kind->unique;
    if (!unique->on)
        return 0;
    if (unique->states != 0)
        return (int16_t)unique->states;
    return (int16_t)(unique->period_ms > 0 ? JOB_STATES_NOT_GONE : JOB_STATES_LIVE);
}

Err unique_by(const JobKind *kind, const void *args, Arena *arena, Str *ret) {
    uint8_t digest[SHA256_BYTES];
    Sha256 hash;
    Str json;
    *ret = (Str){NULL, 0};
    if (!kind->unique.on)
        return ERR_OK;
    Buf out = buf_new(arena, ARGS_MAX);
    args_write(kind, args, kind->unique.fields, &out);
    TRY(buf_finish(&out, &json));
    sha256_begin(&hash);
    sha256_add(&hash, kind->name, strlen(kind->name) + 1);
    sha256_add(&hash, json.p, json.n);
    sha256_end(&hash, digest);
    char *hex = arena_alloc(arena, 32); /* half of it: 128 bits tell any two apart */
    if (hex == NULL)
        return ERR_NO_MEMORY;
    hex_format(digest, 16, hex);
    *ret = (Str){hex, 32};
    return ERR_OK;
}

static Err make_ready(const Ctx *ctx, const JobRequest *request, Ready *ret) {
    const JobKind *kind = request->kind;
    Arena *arena = ctx->arena;
    const void *args = request->args;
    if (args == NULL) {
        args = arena_alloc(arena, kind->size);
        if (args == NULL)
            return ERR_NO_MEMORY;
    }
    *ret = (Ready){.kind = kind,
                   .id = id_time_ordered(),
                   .priority = (int16_t)(request->priority == NULL ? kind->priority : *request->priority),
                   .delay_ms = request->delay_ms,
                   .run_at = request->run_at,
                   .tracestate = ctx->trace.state,
                   .baggage = ctx->trace.baggage};
    char *trace = arena_alloc(arena, TRACEPARENT_LEN);
    if (trace == NULL)
        return ERR_NO_MEMORY;
    trace_format(&ctx->trace, trace);
    ret->traceparent = (Str){trace, TRACEPARENT_LEN};
    TRY(job_args_encode(kind, args, arena, &ret->args));
    return unique_by(kind, args, arena, &ret->unique_by);
}

/* --- binding ------------------------------------------------------------------------------------------------------ */

static const char *queue_of(const JobKind *kind) {
    return kind->queue == NULL ? "default" : kind->queue;
}

#define COLUMN(oid, kind_, value)                                                                                      \
    do {                                                                                                               \
        pg_array_begin(params, (oid));                                                                                 \
        for (size_t i = 0; i < n; i++)                                                                                 \
            pg_array_##kind_(params, (value));                                                                         \
        pg_array_end(params);                                                                                          \
    } while (0)

static void bind(PgParams *params, const Ready *const *jobs, size_t n) {
    COLUMN(OID_UUID_ARRAY, id, jobs[i]->id);
    COLUMN(OID_TEXT_ARRAY, text, str_c(jobs[i]->kind->name));
    COLUMN(OID_TEXT_ARRAY, text, str_c(queue_of(jobs[i]->kind)));
    COLUMN(OID_INT2_ARRAY, i16, jobs[i]->priority);
    COLUMN(OID_TEXT_ARRAY, text, jobs[i]->args);
    COLUMN(OID_INT2_ARRAY, i16,
           (int16_t)(jobs[i]->kind->attempts == 0 ? JOB_ATTEMPTS_DEFAULT : jobs[i]->kind->attempts));
    COLUMN(OID_INT8_ARRAY, i64, jobs[i]->delay_ms);
    pg_array_begin(params, OID_TIMESTAMPTZ_ARRAY);
    for (size_t i = 0; i < n; i++) {
        if (jobs[i]->run_at.present)
            pg_array_instant(params, jobs[i]->run_at.value);
        else
            pg_array_null(params);
    }
    pg_array_end(params);
    COLUMN(OID_TEXT_ARRAY, text, jobs[i]->unique_by);
    COLUMN(OID_INT8_ARRAY, i64, jobs[i]->kind->unique.on ? jobs[i]->kind->unique.period_ms : 0);
    COLUMN(OID_INT2_ARRAY, i16, unique_states(jobs[i]->kind));
    COLUMN(OID_TEXT_ARRAY, text, jobs[i]->traceparent);
    COLUMN(OID_TEXT_ARRAY, text, jobs[i]->tracestate);
    COLUMN(OID_TEXT_ARRAY, text, jobs[i]->baggage);
}

static Err make_all(const Ctx *ctx, const JobRequest *requests, size_t n, PgParams *params, const Ready ***ret) {
    const Ready **jobs = ARENA_ARRAY(ctx->arena, const Ready *, n);
    Ready *made = ARENA_ARRAY(ctx->arena, Ready, n);
    if (jobs == NULL || made == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        TRY(make_ready(ctx, &requests[i], &made[i]));
        jobs[i] = &made[i];
    }
    pg_params_init(params, ctx->arena);
    bind(params, jobs, n);
    *ret = jobs;
    return params->data.err;
}

/* A result's row → the job's place. */
static size_t place_of(const PgResult *rows, int row) {
    return (size_t)pg_i64(rows, row, 0) - 1;
}

/* True when some held-back job's holder is not known yet. */
static bool read_receipts(const PgResult *rows, const Ready *const *jobs, JobReceipt *receipts) {
    bool unknown = false;
    for (int row = 0; row < rows->rows; row++) {
        size_t at = place_of(rows, row);
        bool inserted = pg_bool(rows, row, 1);
        receipts[at] = (JobReceipt){.existed = !inserted};
        if (inserted)
            receipts[at].id = jobs[at]->id;
        else if (!pg_is_null(rows, row, 2))
            receipts[at].id = pg_id(rows, row, 2);
        else
            unknown = true;
    }
    return unknown;
}

/* The keys of those whose holder is not known; NULL for the others. */
static void bind_unknown(PgParams *params, Arena *arena, const PgResult *rows, const JobReceipt *receipts) {
    pg_params_init(params, arena);
    pg_array_begin(params, OID_TEXT_ARRAY);
    for (int row = 0; row < rows->rows; row++) {
        const JobReceipt *receipt = &receipts[place_of(rows, row)];
        pg_array_text(params, receipt->existed && id_is_zero(receipt->id) ? pg_text(rows, row, 3) : (Str){NULL, 0});
    }
    pg_array_end(params);
}

static void read_holders(const PgResult *inserted, const PgResult *holders, JobReceipt *receipts) {
    for (int row = 0; row < holders->rows; row++)
        receipts[place_of(inserted, (int)place_of(holders, row))].id = pg_id(holders, row, 1);
}

/* --- in a transaction, by itself ---------------------------------------------------------------------------------- */

CO_FN Err job_insert_in(PgTx *tx, Engine *engine, Ctx *ctx, const JobRequest *requests, size_t n,
                        JobReceipt *receipts) {
    const Statement *statement, *holders;
    PgParams params;
    PgResult rows, found;
    const Ready **jobs;
    TRY(engine_job_statement(engine, SQL_JOBS_INSERT, &statement));
    TRY(engine_job_statement(engine, SQL_JOBS_HOLDERS, &holders));
    TRY(make_all(ctx, requests, n, &params, &jobs));
    if (receipts == NULL) {
        pg_tx_send(tx, statement, &params);
        return ERR_OK;
    }
    TRY(pg_tx_query(tx, statement, &params, &rows));
    if (!read_receipts(&rows, jobs, receipts))
        return ERR_OK;
    bind_unknown(&params, ctx->arena, &rows, receipts);
    TRY(pg_tx_query(tx, holders, &params, &found));
    read_holders(&rows, &found, receipts);
    return ERR_OK;
}

CO_FN Err job_insert(Engine *engine, Ctx *ctx, const JobRequest *requests, size_t n, JobReceipt *receipts) {
    const Statement *statement, *holders;
    PgParams params;
    PgResult rows, found;
    const Ready **jobs;
    TRY(engine_job_statement(engine, SQL_JOBS_INSERT, &statement));
    TRY(engine_job_statement(engine, SQL_JOBS_HOLDERS, &holders));
    TRY(make_all(ctx, requests, n, &params, &jobs));
    TRY(pg_query(engine_pool(engine), statement, &params, &rows));
    if (receipts == NULL || !read_receipts(&rows, jobs, receipts))
        return ERR_OK;
    bind_unknown(&params, ctx->arena, &rows, receipts);
    TRY(pg_query(engine_pool(engine), holders, &params, &found));
    read_holders(&rows, &found, receipts);
    return ERR_OK;
}

/* --- in an action's commit ---------------------------------------------------------------------------------------- */

Err member_enqueue(Member *member, const JobRequest *request, Id *ret_id) {
    Ready *job = ARENA_NEW(member->ctx->arena, Ready);
    if (job == NULL)
        return ERR_NO_MEMORY;
    TRY(make_ready(member->ctx, request, job));
    member_attach(member, &job->attached);
    if (ret_id != NULL)
        *ret_id = job->id;
    return ERR_OK;
}

static Err write_attached(PgTx *tx, const Set *set, void *data) {
    Engine *engine = data;
    const Statement *statement;
    PgParams params;
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++)
        for (const Attached *a = set->members[i]->attached; a != NULL; a = a->next)
            n += set->members[i]->outcome == ERR_OK;
    const Ready **jobs = ARENA_ARRAY(set->ctx->arena, const Ready *, n);
    if (jobs == NULL)
        return ERR_NO_MEMORY;
    n = 0;
    for (size_t i = 0; i < set->n; i++)
        for (const Attached *a = set->members[i]->attached; a != NULL && set->members[i]->outcome == ERR_OK;
             a = a->next)
            jobs[n++] = (const Ready *)a;
    TRY(engine_job_statement(engine, SQL_JOBS_INSERT, &statement));
    pg_params_init(&params, set->ctx->arena);
    bind(&params, jobs, n);
    if (params.data.err != ERR_OK)
        return params.data.err;
    pg_tx_send(tx, statement, &params);
    return ERR_OK;
}

void jobs_attach(Engine *engine) {
    engine_attach(engine, write_attached, engine);
}
