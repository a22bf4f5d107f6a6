/*
 * insert.c - leaving a job: in an action's commit, in a transaction, or by itself.
 *
 * All three are one statement over arrays, so that a set's jobs cost one. What is hung on a member is encoded at once
 * (the arguments' struct may be on the hook's stack) and bound when the set's writes are sent.
 *
 * Where none of them is unique a plainer statement does it: nothing can be in their way, so nothing has to be asked
 * before each row, and nothing is to be told afterwards.
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

/* A column that is mostly empty: beside the others no array is as good as one of nulls, and costs nothing. */
#define SPARSE_COLUMN(oid, kind_, present, value)                                                                      \
    do {                                                                                                               \
        bool any = false;                                                                                              \
        for (size_t i = 0; i < n && !any; i++)                                                                         \
            any = (present);                                                                                           \
        if (!any) {                                                                                                    \
            pg_add_null(params, (oid));                                                                                \
            break;                                                                                                     \
        }                                                                                                              \
        pg_array_begin(params, (oid));                                                                                 \
        for (size_t i = 0; i < n; i++) {                                                                               \
            if (present)                                                                                               \
                pg_array_##kind_(params, (value));                                                                     \
            else                                                                                                       \
                pg_array_null(params);                                                                                 \
        }                                                                                                              \
        pg_array_end(params);                                                                                          \
    } while (0)

static void bind_jobs(PgParams *params, const Ready *const *jobs, size_t n) {
    COLUMN(OID_UUID_ARRAY, id, jobs[i]->id);
    COLUMN(OID_TEXT_ARRAY, text, str_c(jobs[i]->kind->name));
    COLUMN(OID_TEXT_ARRAY, text, str_c(queue_of(jobs[i]->kind)));
    COLUMN(OID_INT2_ARRAY, i16, jobs[i]->priority);
    COLUMN(OID_TEXT_ARRAY, text, jobs[i]->args);
    COLUMN(OID_INT2_ARRAY, i16,
           (int16_t)(jobs[i]->kind->attempts == 0 ? JOB_ATTEMPTS_DEFAULT : jobs[i]->kind->attempts));
    SPARSE_COLUMN(OID_INT8_ARRAY, i64, jobs[i]->delay_ms != 0, jobs[i]->delay_ms);
    SPARSE_COLUMN(OID_TIMESTAMPTZ_ARRAY, instant, jobs[i]->run_at.present, jobs[i]->run_at.value);
    COLUMN(OID_TEXT_ARRAY, text, jobs[i]->traceparent);
    SPARSE_COLUMN(OID_TEXT_ARRAY, text, jobs[i]->tracestate.p != NULL, jobs[i]->tracestate);
    SPARSE_COLUMN(OID_TEXT_ARRAY, text, jobs[i]->baggage.p != NULL, jobs[i]->baggage);
}

static void bind_unique(PgParams *params, const Ready *const *jobs, size_t n) {
    COLUMN(OID_TEXT_ARRAY, text, jobs[i]->unique_by);
    COLUMN(OID_INT8_ARRAY, i64, jobs[i]->kind->unique.on ? jobs[i]->kind->unique.period_ms : 0);
    COLUMN(OID_INT2_ARRAY, i16, unique_states(jobs[i]->kind));
}

/* Whose workers are to be woken, each once. A moment may be past: they look. */
static void bind_woken(PgParams *params, const Ready *const *jobs, size_t n) {
    pg_array_begin(params, OID_TEXT_ARRAY);
    for (size_t i = 0; i < n; i++) {
        bool told = jobs[i]->delay_ms > 0;
        for (size_t j = i; j-- > 0 && !told;)
            told = jobs[j]->delay_ms <= 0 && strcmp(queue_of(jobs[j]->kind), queue_of(jobs[i]->kind)) == 0;
        if (!told)
            pg_array_text(params, str_c(queue_of(jobs[i]->kind)));
    }
    pg_array_end(params);
}

/* What is to be inserted, and by which statement. */
typedef struct Insert {
    const Ready **jobs;
    size_t n;
    bool unique; /* some are: the answer says what became of each */
    PgParams params;
    const Statement *statement, *holders;
} Insert;

static Err insert_bind(Insert *insert, Engine *engine, Arena *arena) {
    insert->unique = false;
    for (size_t i = 0; i < insert->n && !insert->unique; i++)
        insert->unique = insert->jobs[i]->kind->unique.on;
    pg_params_init(&insert->params, arena);
    bind_jobs(&insert->params, insert->jobs, insert->n);
    if (insert->unique)
        bind_unique(&insert->params, insert->jobs, insert->n);
    else
        bind_woken(&insert->params, insert->jobs, insert->n);
    TRY(insert->params.data.err);
    TRY(engine_job_statement(engine, SQL_JOBS_HOLDERS, &insert->holders));
    return engine_job_statement(engine, insert->unique ? SQL_JOBS_INSERT : SQL_JOBS_INSERT_PLAIN, &insert->statement);
}

static Err insert_make(Insert *insert, Engine *engine, const Ctx *ctx, const JobRequest *requests, size_t n) {
    *insert = (Insert){.jobs = ARENA_ARRAY(ctx->arena, const Ready *, n), .n = n};
    Ready *made = ARENA_ARRAY(ctx->arena, Ready, n);
    if (insert->jobs == NULL || made == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        TRY(make_ready(ctx, &requests[i], &made[i]));
        insert->jobs[i] = &made[i];
    }
    return insert_bind(insert, engine, ctx->arena);
}

/* A result's row → the job's place. */
static size_t place_of(const PgResult *rows, int row) {
    return (size_t)pg_i64(rows, row, 0) - 1;
}

/* True when some held-back job's holder is not known yet. */
static bool read_receipts(const PgResult *rows, const Insert *insert, JobReceipt *receipts) {
    bool unknown = false;
    for (size_t i = 0; i < insert->n; i++)
        receipts[i] = (JobReceipt){.id = insert->jobs[i]->id};
    for (int row = 0; row < rows->rows && insert->unique; row++) {
        if (pg_bool(rows, row, 1)) /* inserted */
            continue;
        bool known = !pg_is_null(rows, row, 2);
        receipts[place_of(rows, row)] = (JobReceipt){.existed = true, .id = known ? pg_id(rows, row, 2) : (Id){{0}}};
        unknown = unknown || !known;
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
    Insert insert;
    PgParams unknown;
    PgResult rows, found;
    TRY(insert_make(&insert, engine, ctx, requests, n));
    if (receipts == NULL) {
        pg_tx_send(tx, insert.statement, &insert.params);
        return ERR_OK;
    }
    TRY(pg_tx_query(tx, insert.statement, &insert.params, &rows));
    if (!read_receipts(&rows, &insert, receipts))
        return ERR_OK;
    bind_unknown(&unknown, ctx->arena, &rows, receipts);
    TRY(pg_tx_query(tx, insert.holders, &unknown, &found));
    read_holders(&rows, &found, receipts);
    return ERR_OK;
}

CO_FN Err job_insert(Engine *engine, Ctx *ctx, const JobRequest *requests, size_t n, JobReceipt *receipts) {
    Insert insert;
    PgParams unknown;
    PgResult rows, found;
    TRY(insert_make(&insert, engine, ctx, requests, n));
    TRY(pg_query(engine_pool(engine), insert.statement, &insert.params, &rows));
    if (receipts == NULL || !read_receipts(&rows, &insert, receipts))
        return ERR_OK;
    bind_unknown(&unknown, ctx->arena, &rows, receipts);
    TRY(pg_query(engine_pool(engine), insert.holders, &unknown, &found));
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
    Insert insert = {0};
    for (size_t i = 0; i < set->n; i++)
        for (const Attached *a = set->members[i]->attached; a != NULL; a = a->next)
            insert.n += set->members[i]->outcome == ERR_OK;
    insert.jobs = ARENA_ARRAY(set->ctx->arena, const Ready *, insert.n);
    if (insert.jobs == NULL)
        return ERR_NO_MEMORY;
    insert.n = 0;
    for (size_t i = 0; i < set->n; i++)
        for (const Attached *a = set->members[i]->attached; a != NULL && set->members[i]->outcome == ERR_OK;
             a = a->next)
            insert.jobs[insert.n++] = (const Ready *)a;
    TRY(insert_bind(&insert, data, set->ctx->arena));
    pg_tx_send(tx, insert.statement, &insert.params);
    return ERR_OK;
}

void jobs_attach(Engine *engine) {
    engine_attach(engine, write_attached, engine);
}
