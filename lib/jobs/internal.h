/*
 * internal.h - what the files of lib/jobs share; nobody else includes it.
 *
 * A JobRunner is one board in one worker. It has a coroutine per queue (claim.c), one that stores ends (complete.c),
 * one that keeps the node alive (steward.c), one that leads or stands by (leader.c), and one per job (run.c). All of
 * them meet only in this struct, on one loop; what decides between workers is decided in the database.
 */
#pragma once
#include "jobs/jobs.h"
#include "jobs_queries.h"
#include "telemetry/span.h"

/* Of one job's arguments or result. */
#define ARGS_MAX (1024u * 1024)
/* Of the arguments claimed at once: a claim's rows are in memory until the last of its jobs has ended. */
#define CLAIM_BYTES (8 * 1024 * 1024)
#define REASON_MAX  2000
/* Of one job: its arguments, decoded, and what it does. */
#define JOB_ARENA_BYTES (64u * 1024 * 1024)
/* From asking for a claim, a completion, a beat to its answer. */
#define STATEMENT_DEADLINE_MS 20000
#define JOB_QUEUES_MAX        32
#define JOB_LIMIT_DEFAULT     10

typedef struct Attempt Attempt;
typedef struct QueueLoop QueueLoop;

/** How an attempt ended, as the row and the counts are told. */
typedef struct End {
    JobState state;      /* JOB_WAITING: again after delay_ms */
    const char *outcome; /* for counts: done, retry, snooze, cancel, discard, back */
    int64_t delay_ms;
    bool back; /* was no attempt */
} End;

/** One attempt from its claim until its end is stored. On the heap: it outlives its coroutine. */
struct Attempt {
    JobRunner *runner;
    QueueLoop *queue;
    const JobKind *kind; /* NULL: not declared here */
    Id id;
    int16_t attempt, attempts_max;
    int64_t node;     /* whose it is: the runner's at its claim, which may sign on anew while it runs */
    int64_t delay_us; /* from when it might run to its claim */
    int64_t began_ns, ended_ns;
    Co *co;         /* while it runs */
    bool cancel;    /* somebody asked for its cancellation */
    bool give_back; /* the drain's deadline has come */
    bool lost;      /* the database says that somebody else has it */
    bool finishing; /* job_finish_in was asked: its row may have ended before its coroutine */
    bool stored;    /* by job_finish_in, and the commit was done */
    End end;
    char *result, *reason; /* heap; NULL: none */
    size_t result_n, reason_n;
    Str args, traceparent, tracestate, baggage; /* in memory of its own, behind the struct */
    Attempt *prev, *next;                       /* of the runner's running, or of its ended */
};

typedef struct AttemptList {
    Attempt *first, *last;
    size_t n;
} AttemptList;

/** Someone who waits until told, or for a time. */
typedef struct Bell {
    Wait wait;
    bool waiting, rung;
} Bell;
void bell_ring(Bell *bell);
/** Until rung (also since the last time), the time or cancellation. ERR_CANCELLED. */
CO_FN Err bell_wait(Bell *bell, int64_t most_ms) MUST_USE;

struct QueueLoop {
    JobRunner *runner;
    const JobQueue *queue;
    Bell bell;
    int limit; /* at once in this worker: declared, or as the operator said */
    bool paused;
    size_t running;
    bool limited; /* by what counts everywhere: claims take the queue's row */
    Co *co;
};

struct JobRunner {
    Loop *loop;
    JobRunnerOptions options;
    const Statement **statements; /* by place in JOBS_QUERIES */
    const char *channel;
    Arena *arena;
    int64_t node;          /* 0: not signed on */
    int64_t safe_until_ms; /* clock_mono_ms: until then nobody takes our jobs over */
    QueueLoop queues[JOB_QUEUES_MAX];
    size_t n_queues;
    AttemptList running, ended;
    AttemptList storing; /* taken from `ended` by the completion under way */
    Attempt **taken;     /* the same as an array, options.batch of them */
    size_t claiming;     /* claims under way */
    Bell end_bell, beat_bell, lead_bell, drain_bell;
    Co *complete_co, *steward_co, *leader_co;
    size_t coroutines; /* those above and the queues' */
    int64_t epoch;     /* under which we lead; 0: we do not */
    bool draining, listening;
    JobRunnerStats stats;
};

/** The statement over the runner's own schema. */
#define RUNNER_STATEMENT(runner, query) ((runner)->statements[(const Query *)(const void *)(query)-JOBS_QUERIES])
MUST_USE Err engine_job_statement(Engine *engine, const Statement *query, const Statement **ret);

/* args.c */
/** Writes those of `only` (NULL or empty: all). */
void args_write(const JobKind *kind, const void *args, const char *const *only, Buf *out);
bool name_listed(const char *const *names, const char *name);

/* insert.c */
/** The digest that a unique job is known by, in arena; absent where the kind is not unique. */
MUST_USE Err unique_by(const JobKind *kind, const void *args, Arena *arena, Str *ret);
int16_t unique_states(const JobKind *kind);

/* claim.c, complete.c, steward.c, leader.c: each a coroutine of the runner, for ever until it drains. */
CO_FN void claim_co(Ctx *ctx, void *arg);
CO_FN void complete_co(Ctx *ctx, void *arg);
CO_FN void steward_co(Ctx *ctx, void *arg);
CO_FN void leader_co(Ctx *ctx, void *arg);

/* run.c */
/** Starts a claimed attempt's coroutine. A refusal ends it as given back. */
void attempt_start(Attempt *attempt);
/** Moves an attempt from the running to the ended and rings. */
void attempt_end(Attempt *attempt);
void attempt_free(Attempt *attempt);
void list_add(AttemptList *list, Attempt *attempt);
void list_remove(AttemptList *list, Attempt *attempt);

/* runner.c */
/** Before a step of one of the coroutines: memory back, no trace. */
void step_begin(Ctx *ctx, int64_t deadline_ms);
/** Logs a failure when it begins and when it changes. */
void step_log(Ctx *ctx, const JobRunner *runner, const char *what, Err err, Err *last);

/* leader.c */
/** Rescues, and fires what is due; *until_ms is lowered to when the next moment comes. */
CO_FN Err leader_round(JobRunner *runner, Ctx *ctx, int64_t *until_ms) MUST_USE;

/* tracing.c */
void trace_job_begin(Ctx *ctx, const Attempt *attempt);
void trace_job_end(Ctx *ctx, const Attempt *attempt);
void trace_depth(const char *schema, const char *queue, int64_t depth, int64_t age_ns, int64_t running);
