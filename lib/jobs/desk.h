/*
 * desk.h - what an operator can ask and do: of one context's jobs, over a blocking connection, each statement for ten
 * seconds at most.
 *
 * Each doing is one statement that also writes its audit row, so that there is no deed without one. Workers learn of it
 * by NOTIFY, and without that with their next heartbeat.
 */
#pragma once
#include "jobs/jobs.h"

typedef struct JobDesk {
    Ctx *ctx;
    PGconn *conn; /* as JOBS_READER, or JOBS_OPERATOR for what changes something */
    const JobBoard *board;
    Str who;           /* for the audit: user@host, as they say */
    int64_t rescue_ms; /* a worker silent for so long counts as dead */
} JobDesk;

typedef struct JobFilter {
    const char *state, *kind,
        *queue; /* NULL: any. State as shown: available, scheduled, retryable, running, … or waiting */
    int most;
} JobFilter;

/* Answers are rows with named columns; PQclear them. */
MUST_USE Err desk_list(const JobDesk *desk, const JobFilter *filter, PGresult **ret);
/** ERR_NOT_FOUND. */
MUST_USE Err desk_show(const JobDesk *desk, Id id, PGresult **ret);
MUST_USE Err desk_queues(const JobDesk *desk, PGresult **ret);
MUST_USE Err desk_audit(const JobDesk *desk, int most, PGresult **ret);

/* ERR_NOT_FOUND: no such job or queue here; ERR_CONFLICT: its state does not allow it, or another job holds its unique
 * key. ctx's problem says which. *ret_now: words for what is so now. */
MUST_USE Err desk_cancel(const JobDesk *desk, Id id, Str *ret_now);
MUST_USE Err desk_retry(const JobDesk *desk, Id id, Str *ret_now);
MUST_USE Err desk_pause(const JobDesk *desk, const char *queue, bool paused, Str *ret_now);
#define DESK_KEEP     (-2) /* a limit stays as it is */
#define DESK_DECLARED (-1) /* … is what is declared */
MUST_USE Err desk_scale(const JobDesk *desk, const char *queue, int limit_local, int limit_global, Str *ret_now);
/** Inserts a job of a declared kind. args: JSON, checked against the kind first; absent: {}. ERR_INVALID,
 *  ERR_SYNTAX. */
MUST_USE Err desk_run(const JobDesk *desk, const char *kind, Str args, Id *ret_id);

/** One reason why a job does not run (or what became of it). */
typedef struct JobFact {
    const char *code; /* stable: paused, scheduled, global_limit … (docs/jobs.md) */
    Str text;
    struct JobFact *next;
} JobFact;
/** Facts in order of weight, in ctx's arena. ERR_NOT_FOUND. */
MUST_USE Err desk_why(const JobDesk *desk, Id id, JobFact **ret);
MUST_USE Err desk_why_cron(const JobDesk *desk, const char *line, JobFact **ret);
