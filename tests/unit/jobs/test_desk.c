/*
 * test_desk.c - what an operator is told and may do: each reason of `why` from the rows that make it so, each deed with
 * its audit row, and the roles that may.
 */
#include "jobs/desk.h"
#include "jobs_test.h"

static Ctx ctx;
static PGconn *conn;
static JobDesk desk;

static int desk_set_up(void **state) {
    if (jobs_set_up(state) != 0)
        return 1;
    if (test_skipped())
        return 0;
    ctx_init(&ctx, arena_new((size_t)64 * 1024 * 1024), 0);
    conn = PQconnectdb(getenv("DATABASE_URL"));
    desk = (JobDesk){.ctx = &ctx, .conn = conn, .board = &unit_cron_board, .who = STR("ann@desk"), .rescue_ms = 30000};
    return 0;
}

static int desk_tear_down(void **state) {
    if (!test_skipped()) {
        PQfinish(conn);
        arena_free(ctx.arena);
    }
    return jobs_tear_down(state);
}

static Id job_id(int n) {
    Id id = {{0}};
    id.bytes[6] = 0x40;
    id.bytes[8] = 0x80;
    id.bytes[15] = (uint8_t)n;
    return id;
}

#define JOB_SQL(n, kind, queue, state, attempt, run_at, node, more)                                                    \
    "INSERT INTO unit_jobs.jobs (id, kind, queue, priority, state, args, attempt, attempts_max, run_at, inserted_at,"  \
    " unique_states, node, claimed_at, finished_at, reason) VALUES ('00000000-0000-4000-8000-00000000000" n            \
    "', '" kind "', '" queue "', 0, " state ", '{\"number\":1}', " attempt ", 5, " run_at ", now(), 0, " node          \
    ", now(), CASE WHEN " state " >= 3 THEN now() END, 'so it was');" more
#define NODE_SQL(id, queues, seen)                                                                                     \
    "INSERT INTO unit_jobs.job_nodes (id, name, queues, draining, started_at, seen_at) OVERRIDING SYSTEM VALUE VALUES" \
    " (" id ", 'host:" id "', '" queues "', false, now(), now() - interval '" seen "');"
#define ALIVE  NODE_SQL("1", "default,narrow,rated,crons", "1 second")
#define LEADER "INSERT INTO unit_jobs.job_leases VALUES ('leader', 3, 1, now() + interval '1 hour');"

/* Each row makes one job, number 1, and the facts around it; `facts` are the codes that `why` tells of it, in order. */
static const struct {
    const char *label, *sql, *facts, *words;
} WHYS[] = {
    {"nothing holds it back", ALIVE JOB_SQL("1", "note", "default", "1", "0", "now()", "0", ""), "next",
     "queue default takes it"},
    {"scheduled", ALIVE JOB_SQL("1", "note", "default", "1", "0", "now() + interval '1 hour'", "0", ""), "scheduled",
     "in 3600 s"},
    {"waits for its next attempt",
     ALIVE JOB_SQL("1", "note", "default", "1", "2", "now() + interval '1 minute'", "0", ""), "retry_wait",
     "attempt 2 of 5 ended with: so it was"},
    {"the queue is paused",
     ALIVE JOB_SQL("1", "note", "default", "1", "0", "now()", "0",
                   "INSERT INTO unit_jobs.job_queues (name, paused, rate_used) VALUES ('default', true, 0);"),
     "paused", "usher jobs resume default"},
    {"nobody serves the queue", JOB_SQL("1", "note", "default", "1", "0", "now()", "0", ""), "no_worker",
     "start one with role jobs"},
    {"who served the queue is silent",
     NODE_SQL("9", "default", "1 hour") JOB_SQL("1", "note", "default", "1", "0", "now()", "0", ""), "no_worker",
     "host:9"},
    {"a worker of other queues is none",
     NODE_SQL("9", "crons", "1 second") JOB_SQL("1", "note", "default", "1", "0", "now()", "0", ""), "no_worker",
     "no worker serves queue default"},
    {"a kind that this usher does not know", ALIVE JOB_SQL("1", "odd", "default", "1", "0", "now()", "0", ""),
     "unknown_kind", "odd"},
    {"a queue that this usher does not know", ALIVE JOB_SQL("1", "note", "gone", "1", "0", "now()", "0", ""),
     "no_worker unknown_queue", "gone"},
    {"the global limit is reached, and by whom",
     ALIVE JOB_SQL("2", "narrow", "narrow", "2", "1", "now()", "1", "")
         JOB_SQL("3", "narrow", "narrow", "2", "1", "now()", "1", "")
             JOB_SQL("4", "narrow", "narrow", "2", "1", "now()", "1", "")
                 JOB_SQL("1", "narrow", "narrow", "1", "0", "now()", "0", ""),
     "global_limit", "00000000-0000-4000-8000-000000000003 (narrow)"},
    {"an operator's global limit",
     ALIVE JOB_SQL("2", "narrow", "narrow", "2", "1", "now()", "1", "") JOB_SQL(
         "1", "narrow", "narrow", "1", "0", "now()", "0",
         "INSERT INTO unit_jobs.job_queues (name, paused, rate_used, limit_global) VALUES ('narrow', false, 0, 1);"),
     "global_limit", "1 of 1 run"},
    {"the workers are full",
     ALIVE JOB_SQL("2", "note", "default", "2", "1", "now()", "1", "") JOB_SQL(
         "1", "note", "default", "1", "0", "now()", "0",
         "INSERT INTO unit_jobs.job_queues (name, paused, rate_used, limit_local) VALUES ('default', false, 0, 1);"),
     "local_limit", "run 1 jobs each at most"},
    {"the rate is spent, until when",
     ALIVE JOB_SQL(
         "1", "rated", "rated", "1", "0", "now()", "0",
         "INSERT INTO unit_jobs.job_queues (name, paused, rate_used, rate_from) VALUES ('rated', false, 5, now());"),
     "rate_limit", "5 of 5 per 3600000 ms"},
    {"others come first",
     ALIVE JOB_SQL("2", "note", "default", "1", "0", "now() - interval '1 minute'", "0", "")
         JOB_SQL("1", "note", "default", "1", "0", "now()", "0", ""),
     "behind", "1 due jobs"},
    {"two reasons at once",
     JOB_SQL("1", "note", "default", "1", "0", "now() + interval '1 hour'", "0",
             "INSERT INTO unit_jobs.job_queues (name, paused, rate_used) VALUES ('default', true, 0);"),
     "paused scheduled no_worker", ""},
    {"it runs", ALIVE LEADER JOB_SQL("1", "note", "default", "2", "2", "now()", "1", ""), "running",
     "attempt 2 of 5, on host:1"},
    {"it runs, and is to end",
     ALIVE LEADER JOB_SQL("1", "note", "default", "2", "1", "now()", "1",
                          "UPDATE unit_jobs.jobs SET cancel_asked = 'bob';"),
     "running cancel_asked", "bob asked"},
    {"its worker is silent",
     NODE_SQL("9", "default", "1 hour") LEADER JOB_SQL("1", "note", "default", "2", "1", "now()", "9", ""),
     "running orphan", "silent for 3600 s"},
    {"its worker is gone and nobody leads", JOB_SQL("1", "note", "default", "2", "1", "now()", "9", ""),
     "running orphan no_leader", "no worker with role jobs has run"},
    {"the lease has run out",
     JOB_SQL("1", "note", "default", "2", "1", "now()", "9",
             "INSERT INTO unit_jobs.job_leases VALUES ('leader', 3, 1, now() - interval '1 hour');"),
     "running orphan no_leader", "epoch 3"},
    {"done", JOB_SQL("1", "note", "default", "3", "1", "now()", "0", ""), "completed", "it is done"},
    {"cancelled", JOB_SQL("1", "note", "default", "4", "1", "now()", "0", ""), "cancelled", "so it was"},
    {"given up", JOB_SQL("1", "note", "default", "5", "5", "now()", "0", ""), "discarded",
     "after attempt 5 of 5: so it was"},
    {"given up, and another holds its key",
     JOB_SQL("1", "note", "default", "5", "5", "now()", "0", "")
         JOB_SQL("2", "note", "default", "1", "0", "now()", "0",
                 "UPDATE unit_jobs.jobs SET unique_key = 'k', unique_states = 6;"),
     "discarded unique_conflict", "job 00000000-0000-4000-8000-000000000002 holds"},
};

static void why_tells_each_reason_from_the_rows(void **state) {
    (void)state;
    NEED_POSTGRES();
    for (size_t i = 0; i < ARRAY_LEN(WHYS); i++) {
        JobFact *facts;
        Buf codes = buf_new(ctx.arena, 4096), words = buf_new(ctx.arena, 65536);
        CASE(WHYS[i].label);
        test_sql("TRUNCATE unit_jobs.jobs, unit_jobs.job_nodes, unit_jobs.job_leases, unit_jobs.job_queues");
        test_sql(WHYS[i].sql);
        test_verdict();
        assert_int_equal(desk_why(&desk, job_id(1), &facts), ERR_OK);
        for (; facts != NULL; facts = facts->next) {
            buf_printf(&codes, "%s%s", codes.n == 0 ? "" : " ", facts->code);
            buf_add(&words, facts->text);
        }
        if (!str_eq_c(buf_str(&codes), WHYS[i].facts) || str_find(buf_str(&words), str_c(WHYS[i].words)) < 0)
            fail_msg("%s: %.*s: %.*s", WHYS[i].label, STR_ARG(buf_str(&codes)), STR_ARG(buf_str(&words)));
    }
    assert_int_equal(desk_why(&desk, job_id(77), &(JobFact *){NULL}), ERR_NOT_FOUND);
}

static void why_tells_of_cron_lines(void **state) {
    (void)state;
    NEED_POSTGRES();
    JobFact *facts;
    assert_int_equal(desk_why_cron(&desk, "each_minute", &facts), ERR_OK);
    assert_string_equal(facts->code, "no_leader");
    test_sql(ALIVE LEADER
             "INSERT INTO unit_jobs.job_crons VALUES ('each_minute', '* * * * *', 'UTC', '2026-01-01T00:00Z');");
    assert_int_equal(desk_why_cron(&desk, "each_minute", &facts), ERR_OK);
    assert_string_equal(facts->code, "led");
    assert_string_equal(facts->next->code, "latest");
    assert_string_equal(facts->next->next->code, "next_moment");
    assert_int_equal(desk_why_cron(&desk, "never", &facts), ERR_NOT_FOUND);
}

/* --- deeds -------------------------------------------------------------------------------------------------------- */

#define AUDITS(action, target)                                                                                         \
    test_sql("SELECT count(*) FROM unit_jobs.job_audits WHERE action = '" action "' AND target = '" target             \
             "' AND who LIKE '%ann@desk' AND at > now() - interval '1 hour'")
#define ONE "00000000-0000-4000-8000-000000000001"

static void each_deed_leaves_its_audit_row_and_none_without_one(void **state) {
    (void)state;
    NEED_POSTGRES();
    Str now;
    Id id;
    test_sql(JOB_SQL("1", "note", "default", "1", "0", "now()", "0", ""));
    assert_int_equal(desk_cancel(&desk, job_id(1), &now), ERR_OK);
    assert_int_equal(AUDITS("cancel", ONE), 1);
    assert_int_equal(desk_cancel(&desk, job_id(1), &now), ERR_CONFLICT);
    assert_int_equal(AUDITS("cancel", ONE), 1);
    assert_int_equal(desk_cancel(&desk, job_id(5), &now), ERR_NOT_FOUND);
    assert_int_equal(desk_retry(&desk, job_id(1), &now), ERR_OK);
    assert_int_equal(AUDITS("retry", ONE), 1);
    assert_int_equal(test_sql("SELECT state FROM unit_jobs.jobs"), JOB_WAITING);
    test_sql("UPDATE unit_jobs.jobs SET state = 3, finished_at = now()");
    assert_int_equal(desk_retry(&desk, job_id(1), &now), ERR_CONFLICT);

    assert_int_equal(desk_pause(&desk, "default", true, &now), ERR_OK);
    assert_int_equal(desk_pause(&desk, "default", false, &now), ERR_OK);
    assert_int_equal(desk_pause(&desk, "nothing", true, &now), ERR_NOT_FOUND);
    assert_int_equal(AUDITS("pause", "default") + AUDITS("resume", "default"), 2);
    assert_int_equal(desk_scale(&desk, "default", 7, DESK_KEEP, &now), ERR_OK);
    assert_int_equal(desk_scale(&desk, "default", DESK_KEEP, 9, &now), ERR_OK);
    assert_int_equal(test_sql("SELECT limit_local * 100 + limit_global FROM unit_jobs.job_queues"), 709);
    assert_int_equal(AUDITS("scale", "default"), 2);

    assert_int_equal(desk_run(&desk, "unique_note", STR("{\"number\":1,\"group\":4}"), &id), ERR_OK);
    assert_int_equal(desk_run(&desk, "unique_note", STR("{\"number\":2,\"group\":4}"), &id), ERR_CONFLICT);
    assert_int_equal(desk_run(&desk, "note", STR("{\"number\":\"x\"}"), &id), ERR_INVALID);
    assert_int_equal(desk_run(&desk, "nothing_like_it", STR("{}"), &id), ERR_NOT_FOUND);
    assert_int_equal(
        test_sql("SELECT count(*) FROM unit_jobs.job_audits WHERE action = 'run' AND detail = 'unique_note'"), 1);
}

static void a_retry_that_breaks_a_unique_rule_is_refused(void **state) {
    (void)state;
    NEED_POSTGRES();
    Str now;
    test_sql(JOB_SQL("1", "note", "default", "5", "5", "now()", "0", "")
                 JOB_SQL("2", "note", "default", "1", "0", "now()", "0",
                         "UPDATE unit_jobs.jobs SET unique_key = 'k', unique_states = 6;"));
    assert_int_equal(desk_retry(&desk, job_id(1), &now), ERR_CONFLICT);
    assert_true(str_find(ctx.problem.message, STR("holds the unique values")) >= 0);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_jobs.job_audits"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, desk_set_up, desk_tear_down)
        TEST(why_tells_each_reason_from_the_rows),
        TEST(why_tells_of_cron_lines),
        TEST(each_deed_leaves_its_audit_row_and_none_without_one),
        TEST(a_retry_that_breaks_a_unique_rule_is_refused),
    };
    return cmocka_run_group_tests_name("jobs: desk", tests, jobs_set_up_all, NULL);
}
