/*
 * jobs_test.h - a context with jobs: kinds that note, fail, wait, refuse; and runners, each with a pool of its own, as
 * workers of several machines are.
 */
#pragma once
#include "../resource/engine_test.h"
#include "jobs/internal.h"

/* --- the context -------------------------------------------------------------------------------------------------- */

typedef struct Task {
    int32_t number;
    int32_t group;
    int64_t wait_ms; /* how long it takes */
    Str text;
} Task;

static const Attribute task_arguments[] = {
    ARGUMENT(Task, number, .required = true), ARGUMENT(Task, group), ARGUMENT(Task, wait_ms), ARGUMENT(Task, text), {0},
};

typedef struct Note {
    int64_t position;
    int32_t number;
    int32_t attempt;
    Str kind;
    Instant began_at;
    OptInstant ended_at;
} Note;
static const Attribute note_attributes[] = {
    ATTR(Note, position, .key = true, .identity = true, .required = true),
    ATTR(Note, number, .required = true),
    ATTR(Note, attempt, .required = true),
    ATTR(Note, kind, .required = true),
    ATTR(Note, began_at, .required = true, .coarse = true),
    ATTR(Note, ended_at, .coarse = true),
    {0},
};
static const Resource notes = {.name = "note",
                               .plural = "notes",
                               .schema = "unit_jobs",
                               .size = sizeof(Note),
                               .attributes = note_attributes,
                               .internal = true};

typedef struct Asked {
    Id id;
    int32_t number;
} Asked;
static const Attribute asked_attributes[] = {
    ATTR(Asked, id, .key = true, .required = true, .generated = true),
    ATTR(Asked, number, .required = true),
    {0},
};
static const Identity asked_identities[] = {{.name = "asked_once", .attributes = {"number"}}, {0}};
static Err ask_after(const Action *action, Member *member);
static CO_FN Err ask_run(PgTx *tx, Set *set) {
    (void)tx;
    for (size_t i = 0; i < set->n; i++)
        if (((Asked *)set->members[i]->input)->number < 0)
            (void)member_refuse(set->members[i], ERR_INVALID, "number", "It is negative.");
    return ERR_OK;
}
static const Action asked_actions[] = {
    {.name = "create", .kind = ACTION_CREATE, .after = ask_after},
    {.name = "tell", .kind = ACTION_CUSTOM, .input_size = sizeof(Asked), .run = ask_run, .after = ask_after},
    {0},
};
static bool anyone(const Ctx *ctx, const Action *action, const void *input) {
    (void)ctx;
    (void)action;
    (void)input;
    return true;
}
static const Policy asked_policies[] = {{"*", "anyone", anyone}, {0}};
static const Resource asked = {.name = "asked",
                               .plural = "asked",
                               .schema = "unit_jobs",
                               .size = sizeof(Asked),
                               .attributes = asked_attributes,
                               .identities = asked_identities,
                               .actions = asked_actions,
                               .policies = asked_policies};

JOB_TABLES(unit, "unit_jobs");
static const Resource *const unit_resources[] = {&notes, &asked, JOB_RESOURCES(unit), NULL};
static const Context unit_context = {.name = "unit_jobs",
                                     .schema = "unit_jobs",
                                     .role = "unit_jobs",
                                     .database_env = "DATABASE_URL",
                                     .resources = unit_resources};

/* --- the kinds ---------------------------------------------------------------------------------------------------- */

static const Statement NOTE_BEGIN = {
    "unit_note_begin",
    "INSERT INTO unit_jobs.notes (number, attempt, kind, began_at) VALUES ($1, $2, $3, clock_timestamp())"
    " RETURNING position",
    true};
static const Statement NOTE_END = {"unit_note_end",
                                   "UPDATE unit_jobs.notes SET ended_at = clock_timestamp() WHERE position = $1", true};

/* Notes when it begins and ends, and takes as long as it is told. */
static CO_FN JobVerdict run_note(Job *job) {
    const Task *task = job->args;
    PgParams params;
    PgResult rows;
    pg_params_init(&params, job->ctx->arena);
    pg_add_i32(&params, task->number);
    pg_add_i32(&params, job->attempt);
    pg_add_text(&params, str_c(job->kind->name));
    Err err = pg_query(engine_pool(job->engine), &NOTE_BEGIN, &params, &rows);
    if (err != ERR_OK)
        return job_verdict(job, err);
    int64_t position = pg_i64(&rows, 0, 0);
    if (task->wait_ms > 0)
        err = co_sleep(task->wait_ms);
    if (err != ERR_OK)
        return job_verdict(job, err);
    pg_params_init(&params, job->ctx->arena);
    pg_add_i64(&params, position);
    err = pg_query(engine_pool(job->engine), &NOTE_END, &params, &rows);
    job->result = STR("{\"noted\":true}");
    return job_verdict(job, err);
}

typedef struct Effect {
    Job *job;
    int32_t number;
} Effect;
static CO_FN Err effect_body(PgTx *tx, void *arg) {
    const Effect *effect = arg;
    PgParams params;
    PgResult rows;
    pg_params_init(&params, effect->job->ctx->arena);
    pg_add_i32(&params, effect->number);
    pg_add_i32(&params, effect->job->attempt);
    pg_add_text(&params, STR("effect"));
    TRY(pg_tx_query(tx, &NOTE_BEGIN, &params, &rows));
    return job_finish_in(tx, effect->job);
}
/* Its effect and its end are one commit. */
static CO_FN JobVerdict run_effect(Job *job) {
    const Task *task = job->args;
    if (task->wait_ms > 0 && co_sleep(task->wait_ms) != ERR_OK)
        return job_verdict(job, ERR_CANCELLED);
    Effect effect = {job, task->number};
    return job_verdict(job, pg_transaction(engine_pool(job->engine), effect_body, &effect));
}

static CO_FN JobVerdict run_nothing(Job *job) {
    (void)job;
    return JOB_DONE;
}

/* What its text says. */
static CO_FN JobVerdict run_moody(Job *job) {
    const Task *task = job->args;
    if (str_eq_c(task->text, "retry"))
        return job_retry(job, "attempt %d was not good enough", job->attempt);
    if (str_eq_c(task->text, "cancel"))
        return job_cancel(job, "nobody wants it");
    if (str_eq_c(task->text, "invalid"))
        return job_verdict(job, ctx_problem(job->ctx, ERR_INVALID, NULL, "It makes no sense."));
    if (str_eq_c(task->text, "snooze once") && job->delay_ms == 0) {
        static int snoozed;
        return snoozed++ == 0 ? job_snooze(job, 1) : JOB_DONE;
    }
    if (str_eq_c(task->text, "bad result"))
        job->result = (Str){"\xff\xfe", 2};
    if (str_eq_c(task->text, "away"))
        return job_verdict(job, ERR_UNAVAILABLE);
    return JOB_DONE;
}

static int64_t at_once(int attempt) {
    (void)attempt;
    return 1;
}

#define TASK_KIND(variable, name_, run_, ...)                                                                          \
    static const JobKind variable = {                                                                                  \
        .name = (name_), .size = sizeof(Task), .arguments = task_arguments, .run = (run_), __VA_ARGS__}
TASK_KIND(NOTE_KIND, "note", run_note, .backoff_ms = at_once);
TASK_KIND(EFFECT_KIND, "effect", run_effect, .backoff_ms = at_once);
TASK_KIND(NOTHING_KIND, "nothing", run_nothing, .keep_ms = JOB_KEEP_NOT);
TASK_KIND(MOODY_KIND, "moody", run_moody, .backoff_ms = at_once, .attempts = 3);
TASK_KIND(HASTY_KIND, "hasty", run_note, .timeout_ms = 50, .attempts = 1);
TASK_KIND(NARROW_KIND, "narrow", run_note, .queue = "narrow", .backoff_ms = at_once);
TASK_KIND(RATED_KIND, "rated", run_note, .queue = "rated");
TASK_KIND(UNIQUE_KIND, "unique_note", run_note, .backoff_ms = at_once, .unique = {.on = true, .fields = {"group"}});
TASK_KIND(PERIOD_KIND, "periodic", run_note, .unique = {.on = true, .fields = {"group"}, .period_ms = 3600000000});
TASK_KIND(CRON_KIND, "cron_note", run_note, .queue = "crons");
static const JobKind *const unit_kinds[] = {&NOTE_KIND,   &EFFECT_KIND, &NOTHING_KIND, &MOODY_KIND,
                                            &HASTY_KIND,  &NARROW_KIND, &RATED_KIND,   &UNIQUE_KIND,
                                            &PERIOD_KIND, &CRON_KIND,   NULL};
static const JobQueue unit_queues[] = {
    {.name = "default", .limit = 50},
    {.name = "narrow", .limit = 10, .limit_global = 3},
    {.name = "rated", .limit = 10, .rate = 5, .rate_ms = 3600000},
    {.name = "crons", .limit = 10},
    {0},
};
static const JobCron unit_crons[] = {
    {.name = "each_minute", .expression = "* * * * *", .kind = &CRON_KIND},
    {0},
};
static const JobBoard unit_board = {.context = &unit_context, .kinds = unit_kinds, .queues = unit_queues};
static const JobBoard unit_cron_board = {
    .context = &unit_context, .kinds = unit_kinds, .queues = unit_queues, .crons = unit_crons};

static Err ask_after(const Action *action, Member *member) {
    (void)action;
    Task task = {.number = ((Asked *)member->input)->number};
    return member_enqueue(member, &(JobRequest){.kind = &NOTHING_KIND, .args = &task, .delay_ms = 3600000}, NULL);
}

/* --- runners ------------------------------------------------------------------------------------------------------ */

enum { NODES_MAX = 4 };
typedef struct TestNode {
    PgPool *pool;
    Engine *engine;
    JobRunner *runner;
} TestNode;
static TestNode nodes[NODES_MAX];
static Engine *unit_engine; /* over test.pool: for inserting */

UNUSED static int jobs_set_up_all(void **state) {
    (void)state;
    if (!test_skipped())
        test_schema(&unit_context);
    return 0;
}

UNUSED static int jobs_set_up(void **state) {
    if (test_open(state) != 0)
        return 1;
    if (test_skipped())
        return 0;
    random_seed(20261126);
    test_sql("TRUNCATE unit_jobs.jobs, unit_jobs.job_nodes, unit_jobs.job_leases, unit_jobs.job_queues,"
             " unit_jobs.job_crons, unit_jobs.job_tallies, unit_jobs.job_audits, unit_jobs.notes, unit_jobs.asked");
    assert_int_equal(engine_new(test.loop, &unit_context, test.pool, &unit_engine), ERR_OK);
    jobs_attach(unit_engine);
    return 0;
}

/* Short times, so that what is found out by time is found out soon; nothing is asserted about how soon. */
UNUSED static void node_start_with(int n, JobRunnerOptions options) {
    PgConfig config = test_config();
    config.application_name = STR("usher jobs");
    config.writers = 4;
    assert_int_equal(pg_pool_new(test.loop, &config, &nodes[n].pool), ERR_OK);
    assert_int_equal(engine_new(test.loop, &unit_context, nodes[n].pool, &nodes[n].engine), ERR_OK);
    options.engine = nodes[n].engine;
    options.node_name = STR("unit");
    options.board = options.board == NULL ? &unit_board : options.board;
    options.heartbeat_ms = options.heartbeat_ms == 0 ? 100 : options.heartbeat_ms;
    options.poll_ms = options.poll_ms == 0 ? 100 : options.poll_ms;
    options.lease_ms = options.lease_ms == 0 ? 1000 : options.lease_ms;
    assert_int_equal(job_runner_start(test.loop, &options, &nodes[n].runner), ERR_OK);
}

UNUSED static void node_start(int n) {
    node_start_with(n, (JobRunnerOptions){0});
}

UNUSED static int jobs_tear_down(void **state) {
    if (!test_skipped()) {
        assert_int_equal(co_drain(test.loop, clock_mono_ms() + 20000), ERR_OK);
        for (int n = 0; n < NODES_MAX; n++) {
            if (nodes[n].runner == NULL)
                continue;
            job_runner_free(nodes[n].runner);
            engine_free(nodes[n].engine);
            pg_pool_free(nodes[n].pool);
            nodes[n] = (TestNode){0};
        }
        engine_free(unit_engine);
    }
    return test_close(state);
}

/* From a coroutine, over the test's own pool: lets everything else run. */
UNUSED static CO_FN long long ask_number(const char *sql) {
    Ctx *ctx = co_ctx(co_self());
    PgResult result;
    Statement statement = {.sql = sql};
    if (pg_query(test.pool, &statement, NULL, &result) != ERR_OK || result.rows == 0)
        return -1;
    (void)ctx;
    if (pg_is_null(&result, 0, 0))
        return 0;
    return PQgetlength(result.raw, 0, 0) == 4 ? pg_i32(&result, 0, 0) : pg_i64(&result, 0, 0);
}

/* Until the query says so; the deadline of the coroutine is the bound. */
UNUSED static CO_FN bool wait_until(const char *sql, long long want) {
    while (ask_number(sql) != want) {
        if (co_sleep(2) != ERR_OK) {
            char text[300];
            snprintf(text, sizeof text, "%s did not become %lld", sql, want);
            test_note(__FILE__, __LINE__, unit_row, text);
            return false;
        }
    }
    return true;
}
#define WAIT_UNTIL(sql, want)                                                                                          \
    do {                                                                                                               \
        if (!wait_until((sql), (want)))                                                                                \
            return;                                                                                                    \
    } while (0)

UNUSED static CO_FN Err insert_task(const JobKind *kind, Task task, int64_t delay_ms, JobReceipt *receipt) {
    Ctx *ctx = co_ctx(co_self());
    JobReceipt unused;
    return job_insert(unit_engine, ctx, &(JobRequest){.kind = kind, .args = &task, .delay_ms = delay_ms}, 1,
                      receipt == NULL ? &unused : receipt);
}
