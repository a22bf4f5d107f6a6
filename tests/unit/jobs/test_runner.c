/*
 * test_runner.c - from an insert to an end, on a real Postgres.
 */
#include "jobs_test.h"

/* --- declarations ------------------------------------------------------------------------------------------------- */

static void declarations_and_statements_fit_the_database(void **state) {
    (void)state;
    NEED_POSTGRES();
    Arena *arena = arena_new((size_t)16 * 1024 * 1024);
    Buf mistakes = buf_new(arena, 65536);
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    PGconn *conn = PQconnectdb(getenv("DATABASE_URL"));
    size_t n = context_verify(&unit_context, &mistakes);
    n += context_verify(&JOBS_CONTEXT, &mistakes);
    n += context_verify_database(&ctx, &unit_context, conn, &mistakes);
    n += jobs_verify(&unit_board, &mistakes) + jobs_verify(&unit_cron_board, &mistakes);
    for (const Query *q = JOBS_QUERIES; q->statement.name != NULL; q++) {
        const Statement *statement;
        assert_int_equal(engine_job_statement(unit_engine, &q->statement, &statement), ERR_OK);
        PGresult *result = PQprepare(conn, "", statement->sql, 0, NULL);
        if (PQresultStatus(result) != PGRES_COMMAND_OK) {
            buf_printf(&mistakes, "%s: %s", statement->name, PQresultErrorMessage(result));
            n++;
        }
        PQclear(result);
    }
    if (n > 0)
        fail_msg("%.*s", STR_ARG(buf_str(&mistakes)));
    PQfinish(conn);
    arena_free(arena);
}

/* --- the plain way ------------------------------------------------------------------------------------------------ */

enum { MANY = 300 };

static void insert_many(Ctx *ctx, void *arg) {
    (void)arg;
    for (int i = 0; i < MANY; i += 100) {
        JobRequest requests[100];
        Task tasks[100];
        JobReceipt receipts[100];
        for (int j = 0; j < 100; j++) {
            tasks[j] = (Task){.number = i + j};
            requests[j] = (JobRequest){.kind = &NOTE_KIND, .args = &tasks[j]};
        }
        CHECK_ERR(job_insert(unit_engine, ctx, requests, 100, receipts), ERR_OK);
        for (int j = 0; j < 100; j++)
            CHECK(!receipts[j].existed && !id_is_zero(receipts[j].id));
    }
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3", MANY);
}

static void each_job_runs_once_and_is_kept(void **state) {
    (void)state;
    NEED_POSTGRES();
    node_start(0);
    node_start(1);
    test_run(insert_many, NULL);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_jobs.notes"), MANY);
    assert_int_equal(test_sql("SELECT count(DISTINCT number) FROM unit_jobs.notes"), MANY);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_jobs.jobs WHERE result = '{\"noted\":true}' AND attempt = 1"),
                     MANY);
    assert_int_equal(test_sql("SELECT sum(n) FROM unit_jobs.job_tallies WHERE kind = 'note' AND outcome = 'done'"),
                     MANY);
}

/* --- in an action's commit ---------------------------------------------------------------------------------------- */

#define COUNT_JOBS "SELECT count(*) FROM unit_jobs.jobs"

static void ask_things(Ctx *ctx, void *arg) {
    (void)arg;
    Asked one = {.number = 1}, again = {.number = 1}, two = {.number = 2}, bad = {.number = -1}, told = {.number = 3};
    CHECK_ERR(action_run(unit_engine, &asked, "create", ctx, &one, NULL), ERR_OK);
    CHECK(ask_number(COUNT_JOBS) == 1);
    ctx->problem = (Problem){0};
    CHECK_ERR(action_run(unit_engine, &asked, "create", ctx, &again, NULL), ERR_CONFLICT);
    CHECK(ask_number(COUNT_JOBS) == 1);
    ctx->problem = (Problem){0};
    CHECK_ERR(action_run(unit_engine, &asked, "create", ctx, &two, NULL), ERR_OK);
    CHECK_ERR(action_run(unit_engine, &asked, "tell", ctx, &bad, NULL), ERR_INVALID);
    CHECK(ask_number(COUNT_JOBS) == 2);
    ctx->problem = (Problem){0};
    CHECK_ERR(action_run(unit_engine, &asked, "tell", ctx, &told, NULL), ERR_OK);
    CHECK(ask_number(COUNT_JOBS) == 3);
    CHECK(ask_number("SELECT count(*) FROM unit_jobs.jobs WHERE args LIKE '{\"number\":%' AND traceparent IS NOT NULL"
                     " AND run_at > now() + interval '50 minutes'") == 3);
}

static void a_job_is_left_in_the_commit_of_its_action_or_not_at_all(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(ask_things, NULL);
}

/* --- verdicts ----------------------------------------------------------------------------------------------------- */

static const struct {
    const char *label, *text;
    JobState state;
    int attempt;
    const char *reason;
} MOODS[] = {
    {"done", "", JOB_COMPLETED, 1, NULL},
    {"retries until the last attempt", "retry", JOB_DISCARDED, 3, "attempt 3 was not good enough"},
    {"cancels itself", "cancel", JOB_CANCELLED, 1, "nobody wants it"},
    {"what no attempt mends is discarded at once", "invalid", JOB_DISCARDED, 1, "invalid: It makes no sense."},
    {"a snooze is no attempt", "snooze once", JOB_COMPLETED, 1, NULL},
    {"a result that is no text is said", "bad result", JOB_DISCARDED, 1, NULL},
};

static void run_moods(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    for (int i = 0; i < (int)ARRAY_LEN(MOODS); i++)
        CHECK_ERR(insert_task(&MOODY_KIND, (Task){.number = i, .text = str_c(MOODS[i].text)}, 0, NULL), ERR_OK);
    CHECK_ERR(insert_task(&MOODY_KIND, (Task){.number = 100, .text = STR("away")}, 0, NULL), ERR_OK);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state >= 3", ARRAY_LEN(MOODS));
    /* The database away is nobody's attempt. */
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE args LIKE '%:100,%' AND state = 1 AND attempt = 0"
               " AND reason LIKE 'unavailable%'",
               1);
}

static void verdicts_become_states(void **state) {
    (void)state;
    NEED_POSTGRES();
    node_start(0);
    test_run(run_moods, NULL);
    for (int i = 0; i < (int)ARRAY_LEN(MOODS); i++) {
        char sql[300];
        CASE(MOODS[i].label);
        snprintf(sql, sizeof sql,
                 "SELECT count(*) FROM unit_jobs.jobs WHERE args LIKE '{\"number\":%d,%%' AND state = %d"
                 " AND attempt = %d AND ('%s' = '' OR reason = '%s')",
                 i, (int)MOODS[i].state, MOODS[i].attempt, MOODS[i].reason == NULL ? "" : MOODS[i].reason,
                 MOODS[i].reason == NULL ? "" : MOODS[i].reason);
        assert_int_equal(test_sql(sql), 1);
    }
}

/* --- poison ------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *args, *reason;
} POISON[] = {
    {"", "%not JSON%"},
    {"[]", "%not a JSON object%"},
    {"{\"number\":1", "%not JSON%"},
    {"{}", "%number is missing%"},
    {"{\"number\":null}", "%number is missing%"},
    {"{\"number\":\"1\"}", "%number is not a number%"},
    {"{\"number\":1.5}", "%number is not a whole number%"},
    {"{\"number\":99999999999}", "%number is out of range%"},
    {"{\"number\":1,\"text\":5}", "%text is not a string%"},
    {"{\"number\":1,\"text\":\"\\ud800\"}", "%text is not well-formed%"},
};

static void run_poison(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state >= 3", (long long)ARRAY_LEN(POISON) + 1);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE kind = 'unheard_of' AND state = 1 AND attempt = 0"
               " AND reason LIKE '%does not know%'",
               1);
}

static void poison_is_discarded_with_the_reason_and_stops_nobody(void **state) {
    (void)state;
    NEED_POSTGRES();
    char sql[700];
    static const char insert[] =
        "INSERT INTO unit_jobs.jobs (id, kind, queue, priority, state, args, attempt, attempts_max,"
        " run_at, inserted_at, unique_states) VALUES (gen_random_uuid(), '%s', 'default', 0, 1, $x$%s$x$,"
        " 0, 5, now(), now(), 0)";
    for (size_t i = 0; i < ARRAY_LEN(POISON); i++) {
        snprintf(sql, sizeof sql, insert, "note", POISON[i].args);
        test_sql(sql);
    }
    snprintf(sql, sizeof sql, insert, "unheard_of", "{}");
    test_sql(sql);
    snprintf(sql, sizeof sql, insert, "note", "{\"number\":7,\"newer\":[1,{}]}");
    test_sql(sql);
    node_start(0);
    test_run(run_poison, NULL);
    for (size_t i = 0; i < ARRAY_LEN(POISON); i++) {
        CASE(POISON[i].args);
        snprintf(sql, sizeof sql,
                 "SELECT count(*) FROM unit_jobs.jobs WHERE args = $x$%s$x$ AND state = 5 AND attempt = 1"
                 " AND reason LIKE '%s'",
                 POISON[i].args, POISON[i].reason);
        assert_int_equal(test_sql(sql), 1);
    }
    assert_int_equal(test_sql("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3"), 1);
}

/* --- unique ------------------------------------------------------------------------------------------------------- */

enum { RACERS = 24 };
static Engine *racers[3];
static int won, lost_to;

static void race(Ctx *ctx, void *arg) {
    int n = (int)(intptr_t)arg;
    Task tasks[3] = {{.number = n, .group = 1}, {.number = n, .group = 2}, {.number = n, .group = 3}};
    JobRequest requests[3];
    JobReceipt receipts[3];
    for (int i = 0; i < 3; i++) /* in different orders: no circle may come of it */
        requests[i] = (JobRequest){.kind = &UNIQUE_KIND, .args = &tasks[(i + n) % 3], .delay_ms = 3600000};
    Err err = job_insert(racers[n % 3], ctx, requests, 3, receipts);
    CHECK_ERR(err, ERR_OK);
    for (int i = 0; i < 3; i++) {
        won += !receipts[i].existed;
        lost_to += receipts[i].existed && !id_is_zero(receipts[i].id);
    }
}

static void one_of_many_racing_inserts_wins(void **state) {
    (void)state;
    NEED_POSTGRES();
    PgPool *pools[3];
    TestJob jobs[RACERS];
    won = lost_to = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            pg_pool_new(test.loop, &(PgConfig){.url = str_c(getenv("DATABASE_URL")), .writers = 1}, &pools[i]), ERR_OK);
        assert_int_equal(engine_new(test.loop, &unit_context, pools[i], &racers[i]), ERR_OK);
    }
    for (int i = 0; i < RACERS; i++) {
        jobs[i] = (TestJob){race, (void *)(intptr_t)i};
        test_spawn(&jobs[i]);
    }
    loop_run(test.loop);
    for (int i = 0; i < 3; i++) {
        engine_free(racers[i]);
        pg_pool_free(pools[i]);
    }
    test_verdict();
    assert_int_equal(won, 3);
    assert_int_equal(lost_to, RACERS * 3 - 3);
    assert_int_equal(test_sql(COUNT_JOBS), 3);
}

static void insert_uniques(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    JobReceipt first, second, other, later, span;
    CHECK_ERR(insert_task(&UNIQUE_KIND, (Task){.number = 1, .group = 1}, 0, &first), ERR_OK);
    CHECK_ERR(insert_task(&UNIQUE_KIND, (Task){.number = 2, .group = 1}, 0, &second), ERR_OK);
    CHECK_ERR(insert_task(&UNIQUE_KIND, (Task){.number = 3, .group = 2}, 0, &other), ERR_OK);
    CHECK(!first.existed && second.existed && id_eq(first.id, second.id) && !other.existed);
    node_start(0);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3", 2);
    CHECK_ERR(insert_task(&UNIQUE_KIND, (Task){.number = 4, .group = 1}, 0, &later), ERR_OK);
    CHECK(!later.existed);
    /* Within its span a job is unique even when the first is done. */
    CHECK_ERR(insert_task(&PERIOD_KIND, (Task){.number = 5, .group = 1}, 0, &span), ERR_OK);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3 AND kind = 'periodic'", 1);
    CHECK_ERR(insert_task(&PERIOD_KIND, (Task){.number = 6, .group = 1}, 0, &later), ERR_OK);
    CHECK(later.existed && id_eq(later.id, span.id));
}

static void unique_jobs_are_unique_by_fields_states_and_span(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(insert_uniques, NULL);
}

/* --- limits ------------------------------------------------------------------------------------------------------- */

/* The most that ever ran at once, from when each began and ended. */
#define MOST_AT_ONCE                                                                                                   \
    "SELECT max(n) FROM (SELECT sum(d) OVER (ORDER BY t, d) AS n FROM (SELECT began_at AS t, 1 AS d FROM "             \
    "unit_jobs.notes"                                                                                                  \
    " UNION ALL SELECT ended_at, -1 FROM unit_jobs.notes) AS e) AS s"

static void run_narrow(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    for (int i = 0; i < 30; i++)
        CHECK_ERR(insert_task(&NARROW_KIND, (Task){.number = i, .wait_ms = 5}, 0, NULL), ERR_OK);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3", 30);
}

static void a_global_limit_holds_over_all_nodes(void **state) {
    (void)state;
    NEED_POSTGRES();
    for (int n = 0; n < 3; n++)
        node_start(n);
    test_run(run_narrow, NULL);
    long long most = test_sql(MOST_AT_ONCE);
    if (most < 1 || most > 3)
        fail_msg("%lld ran at once", most);
}

static void run_rated(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    for (int i = 0; i < 12; i++)
        CHECK_ERR(insert_task(&RATED_KIND, (Task){.number = i}, 0, NULL), ERR_OK);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3", 5);
    /* A whole round of polling of both nodes later it is still five. */
    CHECK_ERR(insert_task(&NOTE_KIND, (Task){.number = 100}, 300, NULL), ERR_OK);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3 AND kind = 'note'", 1);
    CHECK(ask_number("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3 AND kind = 'rated'") == 5);
    CHECK(ask_number("SELECT count(*) FROM unit_jobs.jobs WHERE state = 1") == 7);
    /* The span is over. */
    CHECK(ask_number("UPDATE unit_jobs.job_queues SET rate_from = now() - interval '2 hours' WHERE name = 'rated' "
                     "RETURNING 1") == 1);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3 AND kind = 'rated'", 10);
}

static void a_rate_holds_over_all_nodes(void **state) {
    (void)state;
    NEED_POSTGRES();
    node_start(0);
    node_start(1);
    test_run(run_rated, NULL);
}

/* Urgent before normal before idle, whatever was inserted first. */
static void run_priorities(Ctx *ctx, void *arg) {
    (void)arg;
    static const JobPriority order[] = {JOB_IDLE, JOB_NORMAL, JOB_URGENT, JOB_LOW};
    for (int i = 0; i < 4; i++) {
        Task task = {.number = order[i]};
        JobReceipt receipt;
        CHECK_ERR(job_insert(unit_engine, ctx,
                             &(JobRequest){.kind = &NARROW_KIND, .args = &task, .priority = &order[i]}, 1, &receipt),
                  ERR_OK);
    }
    CHECK(ask_number(
              "INSERT INTO unit_jobs.job_queues (name, paused, rate_used, limit_global) VALUES ('narrow', false, 0, 1)"
              " RETURNING 1") == 1);
    node_start(0);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3", 4);
    CHECK(
        ask_number(
            "SELECT count(*) FROM (SELECT number, lag(number) OVER (ORDER BY position) AS before FROM unit_jobs.notes)"
            " AS n WHERE number < before") == 0);
}

static void the_urgent_goes_first(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(run_priorities, NULL);
}

/* --- told while it runs ------------------------------------------------------------------------------------------- */

static void cancel_running(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    CHECK_ERR(insert_task(&NOTE_KIND, (Task){.number = 1, .wait_ms = 600000}, 0, NULL), ERR_OK);
    CHECK_ERR(insert_task(&NOTE_KIND, (Task){.number = 2}, 3600000, NULL), ERR_OK);
    CHECK_ERR(insert_task(&HASTY_KIND, (Task){.number = 3, .wait_ms = 600000}, 0, NULL), ERR_OK);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.notes WHERE number = 1", 1);
    CHECK(ask_number(
              "UPDATE unit_jobs.jobs SET cancel_asked = 'somebody' WHERE state = 2 AND kind = 'note' RETURNING 1") ==
          1);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 4 AND reason LIKE 'cancelled by an operator%'", 1);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 5 AND kind = 'hasty' AND reason LIKE 'timed out "
               "after 50 ms%'",
               1);
    CHECK(ask_number("SELECT count(*) FROM unit_jobs.jobs WHERE state = 1") == 1);
}

static void a_running_job_is_cancelled_and_a_slow_one_times_out(void **state) {
    (void)state;
    NEED_POSTGRES();
    node_start(0);
    test_run(cancel_running, NULL);
}

static void pause_and_scale(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    CHECK_ERR(insert_task(&NOTE_KIND, (Task){.number = 1, .wait_ms = 200}, 0, NULL), ERR_OK);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.notes", 1);
    CHECK(ask_number("UPDATE unit_jobs.job_queues SET paused = true WHERE name = 'default' RETURNING 1") == 1);
    for (int i = 2; i < 6; i++)
        CHECK_ERR(insert_task(&NOTE_KIND, (Task){.number = i}, 0, NULL), ERR_OK);
    /* What runs ends; nothing begins. */
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3", 1);
    CHECK(ask_number("SELECT count(*) FROM unit_jobs.notes") == 1);
    CHECK(ask_number(
              "UPDATE unit_jobs.job_queues SET paused = false, limit_local = 1 WHERE name = 'default' RETURNING 1") ==
          1);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3", 5);
}

static void a_paused_queue_begins_nothing(void **state) {
    (void)state;
    NEED_POSTGRES();
    node_start(0);
    test_run(pause_and_scale, NULL);
    assert_int_equal(test_sql(MOST_AT_ONCE), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, jobs_set_up, jobs_tear_down)
        TEST(declarations_and_statements_fit_the_database),
        TEST(each_job_runs_once_and_is_kept),
        TEST(a_job_is_left_in_the_commit_of_its_action_or_not_at_all),
        TEST(verdicts_become_states),
        TEST(poison_is_discarded_with_the_reason_and_stops_nobody),
        TEST(one_of_many_racing_inserts_wins),
        TEST(unique_jobs_are_unique_by_fields_states_and_span),
        TEST(a_global_limit_holds_over_all_nodes),
        TEST(a_rate_holds_over_all_nodes),
        TEST(the_urgent_goes_first),
        TEST(a_running_job_is_cancelled_and_a_slow_one_times_out),
        TEST(a_paused_queue_begins_nothing),
    };
    return cmocka_run_group_tests_name("jobs: runner", tests, jobs_set_up_all, NULL);
}
