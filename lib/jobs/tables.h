/*
 * tables.h - the tables of a context with jobs; included by jobs.h, which has the macro that declares them.
 */
#pragma once
#include "resource/resource.h"

typedef struct JobRow {
    Id id; /* time-ordered, made by the inserter, who so knows it before the commit */
    Str kind, queue;
    int16_t priority, state;
    Str args;
    int16_t attempt, attempts_max;
    Instant run_at;
    int64_t node; /* 0 unless running */
    OptInstant claimed_at, finished_at;
    Instant inserted_at;
    Str unique_key;
    int16_t unique_states;
    Str cron;
    OptInstant moment;
    Str cancel_asked; /* by whom, while it runs */
    Str result, reason;
    Str traceparent, tracestate, baggage;
} JobRow;

typedef struct JobNodeRow {
    int64_t id;
    Str name, queues;
    bool draining;
    Instant started_at, seen_at;
} JobNodeRow;

typedef struct JobLeaseRow {
    Str name;
    int64_t epoch, node;
    Instant until_at;
} JobLeaseRow;

typedef struct JobQueueRow {
    Str name;
    bool paused;
    int32_t limit_local, limit_global; /* -1: as declared */
    OptInstant rate_from;
    int32_t rate_used;
} JobQueueRow;

typedef struct JobCronRow {
    Str name, expression, zone;
    Instant last_at;
} JobCronRow;

typedef struct JobTallyRow {
    Instant minute;
    int64_t node;
    Str kind, outcome;
    int64_t n, duration_us, longest_us, delay_us;
} JobTallyRow;

typedef struct JobAuditRow {
    int64_t id;
    Instant at;
    Str who, action, target, detail;
} JobAuditRow;

/* The parts of each table's declaration; contexts give them their schema with JOB_TABLES. */
#define JOB_TABLE_PARTS(P)                                                                                             \
    extern const Attribute P##_ATTRIBUTES[];                                                                           \
    extern const Identity P##_IDENTITIES[];                                                                            \
    extern const Index P##_INDEXES[];                                                                                  \
    extern const Check P##_CHECKS[];                                                                                   \
    extern const Grant P##_GRANTS[]
JOB_TABLE_PARTS(JOB);
JOB_TABLE_PARTS(JOB_NODE);
JOB_TABLE_PARTS(JOB_LEASE);
JOB_TABLE_PARTS(JOB_QUEUE);
JOB_TABLE_PARTS(JOB_CRON);
JOB_TABLE_PARTS(JOB_TALLY);
JOB_TABLE_PARTS(JOB_AUDIT);

#define JOB_TABLE_(P, T, name_, plural_, schema_, doc_, storage_)                                                      \
    {                                                                                                                  \
        .name = (name_), .plural = (plural_), .schema = (schema_), .doc = (doc_), .size = sizeof(T),                   \
        .attributes = P##_ATTRIBUTES, .identities = P##_IDENTITIES, .indexes = P##_INDEXES, .checks = P##_CHECKS,      \
        .grants = P##_GRANTS, .storage = (storage_), .internal = true                                                  \
    }
/** Declares `static const Resource` objects of the context's own schema: JOB_TABLES(tickets, "tickets");
 *  JOB_RESOURCES(tickets) lists them, to stand behind the context's own in the order in which writers lock. */
#define JOB_TABLES(name_, schema_)                                                                                     \
    static const Resource name_##_table_leases =                                                                       \
        JOB_TABLE_(JOB_LEASE, JobLeaseRow, "job_lease", "job_leases", schema_, "Who leads, under which epoch.", NULL); \
    static const Resource name_##_table_nodes =                                                                        \
        JOB_TABLE_(JOB_NODE, JobNodeRow, "job_node", "job_nodes", schema_, "Workers that run jobs.", "fillfactor=50"); \
    static const Resource name_##_table_queues =                                                                       \
        JOB_TABLE_(JOB_QUEUE, JobQueueRow, "job_queue", "job_queues", schema_, "What operators told queues.", NULL);   \
    static const Resource name_##_table_crons =                                                                        \
        JOB_TABLE_(JOB_CRON, JobCronRow, "job_cron", "job_crons", schema_, "Latest moment of each cron line.", NULL);  \
    static const Resource name_##_table_jobs =                                                                         \
        JOB_TABLE_(JOB, JobRow, "job", "jobs", schema_, "Background work.", "fillfactor=80");                          \
    static const Resource name_##_table_tallies =                                                                      \
        JOB_TABLE_(JOB_TALLY, JobTallyRow, "job_tally", "job_tallies", schema_, "Ends by minute and kind.", NULL);     \
    static const Resource name_##_table_audits =                                                                       \
        JOB_TABLE_(JOB_AUDIT, JobAuditRow, "job_audit", "job_audits", schema_, "What operators did.", NULL)
#define JOB_RESOURCES(name_)                                                                                           \
    &name_##_table_leases, &name_##_table_nodes, &name_##_table_queues, &name_##_table_crons, &name_##_table_jobs,     \
        &name_##_table_tallies, &name_##_table_audits

/** May read these tables; may also cancel, retry, pause, scale and insert, and leaves an audit row with it. Granted by
 *  the migrator, to nobody but itself. */
#define JOBS_READER   "usher_jobs_reader"
#define JOBS_OPERATOR "usher_jobs_operator"
