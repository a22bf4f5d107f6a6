/*
 * tables.c - the tables of a context with jobs, declared like any other.
 *
 * One table holds all jobs of a context, and each state that is asked for has a partial index of its own: waiting ones
 * by queue in the order of claiming, running ones by queue, ended ones by when they may go. What has ended therefore
 * costs those in front nothing but the primary key's size, until jobs_prune takes it away.
 */
#include "jobs/jobs.h"
#include "jobs_migrations.h"

static const EnumValue states[] = {
    {"waiting", JOB_WAITING},     {"running", JOB_RUNNING},     {"completed", JOB_COMPLETED},
    {"cancelled", JOB_CANCELLED}, {"discarded", JOB_DISCARDED}, {0},
};

const Attribute JOB_ATTRIBUTES[] = {
    ATTR(JobRow, id, .key = true, .required = true, .doc = "Time-ordered, made by the inserter."),
    ATTR(JobRow, kind, .required = true, .doc = "Name of the declared kind."),
    ATTR(JobRow, queue, .required = true, .doc = "As the kind declared it at the insert."),
    ATTR(JobRow, priority, .required = true, .doc = "-1 urgent, 0 normal, 1 low, 2 idle."),
    ATTR(JobRow, state, .required = true, .values = states, .doc = "1 waiting, 2 running; from 3 on it has ended."),
    ATTR(JobRow, args, .required = true, .doc = "JSON object."),
    ATTR(JobRow, attempt, .required = true, .doc = "Attempts begun."),
    ATTR(JobRow, attempts_max, .required = true, .doc = "Discarded when this many have failed."),
    ATTR(JobRow, run_at, .required = true, .coarse = true, .doc = "Not before."),
    ATTR(JobRow, node, .required = true, .default_sql = "0", .doc = "Who runs it; 0: nobody."),
    ATTR(JobRow, claimed_at, .coarse = true, .doc = "When its latest attempt began."),
    ATTR(JobRow, finished_at, .coarse = true, .doc = "When it ended."),
    ATTR(JobRow, inserted_at, .required = true, .coarse = true, .doc = "When it was inserted."),
    ATTR(JobRow, unique_key, .doc = "Digest of what it is unique by."),
    ATTR(JobRow, unique_states, .required = true, .doc = "In which states it holds its key: bit n for state n."),
    ATTR(JobRow, cron, .doc = "The cron line that it comes from."),
    ATTR(JobRow, moment, .coarse = true, .doc = "For which of its moments."),
    ATTR(JobRow, cancel_asked, .doc = "By whom, while it runs."),
    ATTR(JobRow, result, .doc = "What it recorded: JSON."),
    ATTR(JobRow, reason, .doc = "Why its latest attempt ended as it did."),
    ATTR(JobRow, traceparent, .doc = "W3C trace context of the insert."),
    ATTR(JobRow, tracestate, .doc = "As it came."),
    ATTR(JobRow, baggage, .doc = "As it came."),
    {0},
};
const Identity JOB_IDENTITIES[] = {
    {.name = "jobs_unique", .attributes = {"unique_key"}, .where = "unique_states >> state::integer & 1 = 1"},
    {.name = "jobs_cron_once", .attributes = {"cron", "moment"}, .where = "cron IS NOT NULL"},
    {0},
};
const Index JOB_INDEXES[] = {
    {.name = "jobs_waiting", .columns = "queue, priority, run_at, id", .where = "state = 1"},
    {.name = "jobs_running", .columns = "queue", .where = "state = 2"},
    {.name = "jobs_ended", .columns = "finished_at", .where = "state >= 3"},
    {0},
};
const Check JOB_CHECKS[] = {
    {"jobs_state", "state >= 1 AND state <= 5"},
    {"jobs_node", "(state = 2) = (node <> 0)"},
    {"jobs_finished", "(state >= 3) = (finished_at IS NOT NULL)"},
    {0},
};

const Attribute JOB_NODE_ATTRIBUTES[] = {
    ATTR(JobNodeRow, id, .key = true, .identity = true, .required = true, .doc = "Never used again."),
    ATTR(JobNodeRow, name, .required = true, .doc = "For people: host and process."),
    ATTR(JobNodeRow, queues, .required = true, .doc = "Which it serves, with commas between."),
    ATTR(JobNodeRow, draining, .required = true, .doc = "It takes nothing new."),
    ATTR(JobNodeRow, started_at, .required = true, .coarse = true, .doc = "When it signed on."),
    ATTR(JobNodeRow, seen_at, .required = true, .coarse = true, .doc = "Its latest heartbeat."),
    {0},
};

const Attribute JOB_LEASE_ATTRIBUTES[] = {
    ATTR(JobLeaseRow, name, .key = true, .required = true, .doc = "leader"),
    ATTR(JobLeaseRow, epoch, .required = true,
         .doc = "Grows with each change of hands; what a leader writes names it."),
    ATTR(JobLeaseRow, node, .required = true, .doc = "Who has it."),
    ATTR(JobLeaseRow, until_at, .required = true, .coarse = true, .doc = "Then others may take it."),
    {0},
};

const Attribute JOB_QUEUE_ATTRIBUTES[] = {
    ATTR(JobQueueRow, name, .key = true, .required = true, .doc = "The queue."),
    ATTR(JobQueueRow, paused, .required = true, .doc = "Nothing of it is begun."),
    ATTR(JobQueueRow, limit_local, .required = true, .default_sql = "-1", .doc = "In the place of the declared one."),
    ATTR(JobQueueRow, limit_global, .required = true, .default_sql = "-1",
         .doc = "In the place of the declared one; 0: none."),
    ATTR(JobQueueRow, rate_from, .coarse = true, .doc = "When the present span of its rate began."),
    ATTR(JobQueueRow, rate_used, .required = true, .doc = "Jobs begun in that span."),
    {0},
};

const Attribute JOB_CRON_ATTRIBUTES[] = {
    ATTR(JobCronRow, name, .key = true, .required = true, .doc = "The cron line."),
    ATTR(JobCronRow, expression, .required = true, .doc = "As declared."),
    ATTR(JobCronRow, zone, .required = true, .doc = "As declared."),
    ATTR(JobCronRow, last_at, .required = true, .coarse = true, .doc = "Its latest moment that has had its job."),
    {0},
};

const Attribute JOB_TALLY_ATTRIBUTES[] = {
    ATTR(JobTallyRow, minute, .key = true, .required = true, .coarse = true, .doc = "In which they ended."),
    ATTR(JobTallyRow, node, .key = true, .required = true, .doc = "Where they ran."),
    ATTR(JobTallyRow, kind, .key = true, .required = true, .doc = "The kind."),
    ATTR(JobTallyRow, outcome, .key = true, .required = true, .doc = "done, retry, snooze, cancel, discard, back."),
    ATTR(JobTallyRow, n, .required = true, .doc = "How many."),
    ATTR(JobTallyRow, duration_us, .required = true, .doc = "How long all of them ran."),
    ATTR(JobTallyRow, longest_us, .required = true, .doc = "How long the longest ran."),
    ATTR(JobTallyRow, delay_us, .required = true, .doc = "From when each might run to when it was claimed."),
    {0},
};

const Attribute JOB_AUDIT_ATTRIBUTES[] = {
    ATTR(JobAuditRow, id, .key = true, .identity = true, .required = true),
    ATTR(JobAuditRow, at, .required = true, .coarse = true, .doc = "When."),
    ATTR(JobAuditRow, who, .required = true, .doc = "Database user, and who sat at which machine."),
    ATTR(JobAuditRow, action, .required = true, .doc = "retry, cancel, pause, resume, scale, run."),
    ATTR(JobAuditRow, target, .required = true, .doc = "A job's id, or a queue."),
    ATTR(JobAuditRow, detail, .doc = "What else was said."),
    {0},
};

/* Leases and nodes pass by; nothing is asked for but by key. */
const Identity JOB_NODE_IDENTITIES[] = {{0}}, JOB_LEASE_IDENTITIES[] = {{0}}, JOB_QUEUE_IDENTITIES[] = {{0}},
               JOB_CRON_IDENTITIES[] = {{0}}, JOB_TALLY_IDENTITIES[] = {{0}}, JOB_AUDIT_IDENTITIES[] = {{0}};
const Index JOB_NODE_INDEXES[] = {{0}}, JOB_LEASE_INDEXES[] = {{0}}, JOB_QUEUE_INDEXES[] = {{0}},
            JOB_CRON_INDEXES[] = {{0}}, JOB_TALLY_INDEXES[] = {{0}}, JOB_AUDIT_INDEXES[] = {{0}};
const Check JOB_NODE_CHECKS[] = {{0}}, JOB_LEASE_CHECKS[] = {{0}}, JOB_QUEUE_CHECKS[] = {{0}},
            JOB_CRON_CHECKS[] = {{0}}, JOB_TALLY_CHECKS[] = {{0}}, JOB_AUDIT_CHECKS[] = {{0}};

#define READ_ONLY                                                                                                      \
    { JOBS_READER, "SELECT" }
const Grant JOB_GRANTS[] = {READ_ONLY, {JOBS_OPERATOR, "SELECT, INSERT, UPDATE"}, {0}};
const Grant JOB_QUEUE_GRANTS[] = {READ_ONLY, {JOBS_OPERATOR, "SELECT, INSERT, UPDATE"}, {0}};
const Grant JOB_AUDIT_GRANTS[] = {READ_ONLY, {JOBS_OPERATOR, "SELECT, INSERT"}, {0}};
const Grant JOB_NODE_GRANTS[] = {READ_ONLY, {JOBS_OPERATOR, "SELECT"}, {0}};
const Grant JOB_LEASE_GRANTS[] = {READ_ONLY, {JOBS_OPERATOR, "SELECT"}, {0}};
const Grant JOB_CRON_GRANTS[] = {READ_ONLY, {JOBS_OPERATOR, "SELECT"}, {0}};
const Grant JOB_TALLY_GRANTS[] = {READ_ONLY, {JOBS_OPERATOR, "SELECT"}, {0}};

/* --- the context of work that belongs to none --------------------------------------------------------------------- */

JOB_TABLES(house, "jobs");
static const Resource *const resources[] = {JOB_RESOURCES(house), NULL};

const Context JOBS_CONTEXT = {
    .name = "jobs",
    .schema = "jobs",
    .role = "usher_jobs",
    .database_env = "JOBS_DATABASE_URL",
    .resources = resources,
    .migrations = JOBS_MIGRATIONS,
};
