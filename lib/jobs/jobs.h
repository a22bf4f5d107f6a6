/*
 * jobs.h - background work of a context: declared beside it, kept in its own schema, run when its moment comes.
 *
 * A context that has background work declares a JobBoard (kinds, queues, cron lines) and JOB_TABLES among its
 * resources: a job's row then lives in the schema, database and role of what it works on, so that an action can leave a
 * job in its own commit, and a job can end in the commit of its effect. Everything that decides about a queue (limits,
 * pause, lease, cron lines) stands in the same schema, and is decided by statements there, by the database's clock.
 *
 * A job runs at least once: what a killed process had in hand is run again. With job_finish_in a job ends in the same
 * transaction as its effect, and then has that effect once.
 */
#pragma once
#include "jobs/tables.h"

/* --- what a job is ------------------------------------------------------------------------------------------------ */

/** As stored. A waiting job is shown as available, scheduled (its moment is to come) or retryable (it failed). */
typedef enum JobState { JOB_WAITING = 1, JOB_RUNNING, JOB_COMPLETED, JOB_CANCELLED, JOB_DISCARDED } JobState;
#define JOB_STATE_BIT(state) (1u << (state))
/** For unique rules: not over yet; and also done. */
#define JOB_STATES_LIVE     (JOB_STATE_BIT(JOB_WAITING) | JOB_STATE_BIT(JOB_RUNNING))
#define JOB_STATES_NOT_GONE (JOB_STATES_LIVE | JOB_STATE_BIT(JOB_COMPLETED))

/** Within a queue the smaller goes first, always: what waits behind endless urgent work waits endlessly. */
typedef enum JobPriority { JOB_URGENT = -1, JOB_NORMAL, JOB_LOW, JOB_IDLE } JobPriority;

/** What `run` says of this attempt. */
typedef enum JobVerdict {
    JOB_DONE,    /* job->result is recorded beside it */
    JOB_RETRY,   /* again after the kind's back-off; discarded after the last attempt */
    JOB_SNOOZE,  /* again after job->delay_ms; was no attempt */
    JOB_CANCEL,  /* needless; job->reason says why */
    JOB_DISCARD, /* hopeless; job->reason says why */
} JobVerdict;

typedef struct JobKind JobKind;

/** One attempt, as `run` sees it. */
typedef struct Job {
    Ctx *ctx;       /* memory, deadline (the kind's timeout), the trace of the insert */
    Engine *engine; /* the context's */
    void *data;     /* the runner's options' */
    const JobKind *kind;
    const void *args; /* the kind's struct */
    Id id;
    int attempt, attempts_max; /* 1 = the first */
    /* Set by run, before it returns. */
    Str result; /* JSON; absent: none */
    Str reason; /* words for the operator */
    int64_t delay_ms;
    struct Attempt *of; /* the runner's own */
} Job;

/** A second job with the same values of `fields` is not inserted while one is in one of `states`. */
typedef struct JobUnique {
    bool on;
    const char *fields[8]; /* arguments; NULL-ended; none: all of them */
    int64_t period_ms;     /* 0: for ever. Otherwise per span of that length of the database's clock, counted from 1970:
                              two inserts a moment apart on both sides of a boundary are two jobs */
    unsigned states;       /* JOB_STATE_BITs; 0: JOB_STATES_LIVE, with a period JOB_STATES_NOT_GONE */
} JobUnique;

#define JOB_ATTEMPTS_DEFAULT   20
#define JOB_TIMEOUT_DEFAULT_MS 300000
#define JOB_KEEP_DEFAULT_MS    (24 * 3600000LL)
#define JOB_KEEP_NOT           (-1) /* a completed job's row goes with its completion; counts stay (job_tallies) */

/** A const object beside the context that owns it. */
struct JobKind {
    const char *name; /* "reservations_prune": unique within its board, never renamed while such jobs wait */
    const char *doc;
    const char *queue; /* of the same board; NULL: "default" */
    JobPriority priority;
    size_t size;                /* of the arguments' struct */
    const Attribute *arguments; /* ARGUMENT(Struct, member); NULL: takes none */
    /** Any error of ctx is the job's own to judge: job_verdict does the usual. Suspends. */
    CO_FN JobVerdict (*run)(Job *job);
    int attempts;       /* 0: JOB_ATTEMPTS_DEFAULT */
    int64_t timeout_ms; /* of one attempt; 0: JOB_TIMEOUT_DEFAULT_MS */
    /** Milliseconds to wait after attempt n failed; NULL: job_backoff_ms. */
    int64_t (*backoff_ms)(int attempt);
    JobUnique unique;
    int64_t keep_ms; /* how long a completed row stays; 0: JOB_KEEP_DEFAULT_MS */
};

typedef struct JobQueue {
    const char *name;
    const char *doc;
    int limit;        /* jobs at once in one worker; 0: 10 */
    int limit_global; /* jobs at once everywhere; 0: no such limit */
    int rate;         /* jobs begun per rate_ms everywhere; 0: no such limit */
    int64_t rate_ms;
} JobQueue;

/** A job inserted at the moments of a cron expression, once per moment whoever leads. After a time in which nobody led,
 *  the latest missed moment is made up for, the ones before it are not. */
typedef struct JobCron {
    const char *name;       /* unique within its board */
    const char *expression; /* minute hour day month weekday; @hourly, @daily …: cron.h */
    const char *zone;       /* of /usr/share/zoneinfo; NULL: UTC */
    const JobKind *kind;
    const void *args; /* NULL: a zeroed struct */
} JobCron;

/** A context's background work. Tables end with a zero row; kinds with NULL. */
typedef struct JobBoard {
    const Context *context;
    const JobKind *const *kinds;
    const JobQueue *queues;
    const JobCron *crons; /* may be NULL */
} JobBoard;

/** One sentence per mistake: what, where, what to do. Returns how many. */
size_t jobs_verify(const JobBoard *board, Buf *mistakes);
const JobKind *job_kind(const JobBoard *board, Str name);

/** The engine's own: forgets jobs that have ended, each kind after its time. Each board lists it, with a cron line. */
extern const JobKind JOBS_PRUNE;
#define JOBS_UPKEEP_QUEUE "upkeep"

/* --- for run ------------------------------------------------------------------------------------------------------ */

/** ERR_OK: done. Not to be repeated (invalid, syntax): discarded. The database away: snoozed, no attempt. Else: retry.
 *  The reason is ctx's problem. */
JobVerdict job_verdict(Job *job, Err err);
/** printf into the reason. */
JobVerdict job_retry(Job *job, const char *format, ...) PRINTF_LIKE(2, 3);
JobVerdict job_cancel(Job *job, const char *format, ...) PRINTF_LIKE(2, 3);
JobVerdict job_snooze(Job *job, int64_t delay_ms);
/**
 * Ends the job as completed inside the caller's transaction: effect and end are one commit. Also a fence: when another
 * node has taken the job over meanwhile (this one was frozen, say), it is ERR_CONFLICT, and returning that rolls the
 * effect back. Waits for the answer. After the commit `run` returns JOB_DONE.
 */
CO_FN Err job_finish_in(PgTx *tx, Job *job) MUST_USE;
/**
 * First in a transaction of a job whose runs may not overlap: while it is open nobody takes the job over. Cancelling a
 * coroutine does not call back a statement that is on its way (the network, or the one before it, may hold it up for as
 * long as it takes others to find this node dead); this makes it do nothing then. ERR_CONFLICT: it was taken over.
 * Waits for the answer.
 */
CO_FN Err job_hold_in(PgTx *tx, Job *job) MUST_USE;
/** One statement, with its commit, in a transaction that holds the job. Suspends. */
CO_FN Err job_query(Job *job, const Statement *statement, const PgParams *params, PgResult *ret) MUST_USE;
/** 1 s, 2 s, 4 s … at most an hour, half of it jittered. */
int64_t job_backoff_ms(int attempt);

/* --- inserting ---------------------------------------------------------------------------------------------------- */

typedef struct JobRequest {
    const JobKind *kind;
    const void *args; /* kind->size bytes; may be NULL where the kind takes none */
    int64_t delay_ms; /* from the database's now */
    OptInstant run_at;
    const JobPriority *priority; /* NULL: the kind's */
} JobRequest;

typedef struct JobReceipt {
    Id id;        /* of the new job, or of the one that is there already (zero when that has just gone) */
    bool existed; /* a unique rule held it back */
} JobReceipt;

/** In an action's `after` (or `run`): the job is inserted in the commit of the member, and only if there is one. Its
 *  engine must have been given to jobs_attach. ret_id may be NULL. ERR_NO_MEMORY, ERR_LIMIT: arguments over 1 MB. */
MUST_USE Err member_enqueue(Member *member, const JobRequest *request, Id *ret_id);
/** In the caller's transaction, one statement for all. receipts may be NULL: then it is only sent, not waited for. */
CO_FN Err job_insert_in(PgTx *tx, Engine *engine, Ctx *ctx, const JobRequest *requests, size_t n,
                        JobReceipt *receipts) MUST_USE;
/** By itself. */
CO_FN Err job_insert(Engine *engine, Ctx *ctx, const JobRequest *requests, size_t n, JobReceipt *receipts) MUST_USE;
/** Lets member_enqueue write into this engine's sets. */
void jobs_attach(Engine *engine);

/* --- arguments and results as JSON -------------------------------------------------------------------------------- */

/** Struct → JSON object in arena; absent texts and options are left out. ERR_NO_MEMORY, ERR_LIMIT. */
MUST_USE Err job_args_encode(const JobKind *kind, const void *args, Arena *arena, Str *ret);
/** JSON → struct (zeroed first). Members it does not know are passed over: a newer usher may have inserted it. A
 *  required one that is missing, or a wrong type, is ERR_INVALID and ctx's problem says which and why; ERR_SYNTAX. */
MUST_USE Err job_args_decode(const JobKind *kind, Ctx *ctx, Str json, void *ret);

/* --- tables that a context with jobs declares among its resources
 * -------------------------------------------------- */

/** Schema jobs: work that belongs to no business context. */
extern const Context JOBS_CONTEXT;

/* --- running ------------------------------------------------------------------------------------------------------ */

typedef struct JobRunnerOptions {
    Engine *engine; /* its pool has at least three writers, plus those that jobs hold while they run */
    const JobBoard *board;
    void *data;              /* Job.data */
    Str node_name;           /* for operators: host:pid */
    int64_t poll_ms;         /* 0: 1000; how often queues are looked at besides being woken by NOTIFY */
    int64_t heartbeat_ms;    /* 0: 5000 */
    int64_t rescue_ms;       /* 0: 30000; a node silent for so long has died, and its jobs are given to others */
    int64_t lease_ms;        /* 0: 15000; of the leader, who inserts cron jobs and rescues */
    size_t batch;            /* 0: 500; claimed and completed at once, at most */
    const char *only_queues; /* comma list; NULL: all of the board */
} JobRunnerOptions;

typedef struct JobRunner JobRunner;
/** Starts the coroutines. Options and what they point to outlive the runner. */
MUST_USE Err job_runner_start(Loop *loop, const JobRunnerOptions *options, JobRunner **ret);
/** Takes nothing new; waits for the running until deadline_ms (clock_mono_ms), cancels the rest and gives them back;
 *  completes what is finished and signs off. Suspends. */
CO_FN void job_runner_drain(JobRunner *runner, int64_t deadline_ms);
/** Once its coroutines have ended. */
void job_runner_free(JobRunner *runner);

typedef struct JobRunnerStats {
    uint64_t claimed, completed, given_back, lost; /* lost: taken over by another before its end was stored */
    size_t running, unsaved;                       /* unsaved: ended, not stored yet */
    bool leading;
} JobRunnerStats;
JobRunnerStats job_runner_stats(const JobRunner *runner);
