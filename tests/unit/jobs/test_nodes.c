/*
 * test_nodes.c - nodes that die, stand still, are taken for dead or end in peace; and who leads them.
 */
#include "jobs_test.h"

/* --- the end of a node -------------------------------------------------------------------------------------------- */

#define STATE_ROW(id, state, attempt, most, node)                                                                      \
    "INSERT INTO unit_jobs.jobs (id, kind, queue, priority, state, args, attempt, attempts_max, run_at, inserted_at,"  \
    " unique_states, node, claimed_at) VALUES ('00000000-0000-4000-8000-00000000000" id                                \
    "', 'note', 'default', 0, " state ", '{\"number\":" id "}', " attempt ", " most ", now(), now(), 0, " node         \
    ", now());"

static void wait_rescued(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3 AND attempt = 3", 2);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 5 AND reason = 'its worker died'", 1);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 2 AND node = 900", 1);
}

static void jobs_of_dead_nodes_are_rescued_and_their_attempt_counts(void **state) {
    (void)state;
    NEED_POSTGRES();
    /* 900 lives (by its beat), 901 is silent, 902 has no row at all. */
    test_sql("INSERT INTO unit_jobs.job_nodes (id, name, queues, draining, started_at, seen_at) OVERRIDING SYSTEM "
             "VALUE VALUES"
             " (900, 'alive', 'default', false, now(), now() + interval '1 hour'),"
             " (901, 'dead', 'default', false, now(), now() - interval '1 hour')");
    test_sql(STATE_ROW("1", "2", "2", "5", "901") STATE_ROW("2", "2", "2", "5", "902")
                 STATE_ROW("3", "2", "5", "5", "901") STATE_ROW("4", "2", "1", "5", "900"));
    node_start(0);
    test_run(wait_rescued, NULL);
}

static void lose_claim(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.job_nodes", 1);
    /* As a claim leaves it whose answer never came. */
    CHECK(ask_number("UPDATE unit_jobs.jobs SET state = 2, attempt = 1, run_at = now(), node = (SELECT id FROM "
                     "unit_jobs.job_nodes) RETURNING 1") == 1);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3 AND attempt = 1", 1);
}

static void a_claim_whose_answer_was_lost_is_given_back(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_sql(STATE_ROW("1", "1", "0", "5", "0"));
    test_sql("UPDATE unit_jobs.jobs SET run_at = now() + interval '1 hour'");
    node_start(0);
    test_run(lose_claim, NULL);
}

/* Buried while it runs: it ends what it runs, stores nothing of it, and signs on again. */
static void bury(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    CHECK_ERR(insert_task(&NOTE_KIND, (Task){.number = 1, .wait_ms = 500}, 0, NULL), ERR_OK);
    CHECK_ERR(insert_task(&EFFECT_KIND, (Task){.number = 2, .wait_ms = 500}, 0, NULL), ERR_OK);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 2", 2);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.notes", 1);
    CHECK(ask_number("DELETE FROM unit_jobs.job_nodes RETURNING 1") == 1);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3 AND attempt = 2", 2);
    CHECK(ask_number("SELECT count(*) FROM unit_jobs.notes WHERE kind = 'note'") == 2);
    CHECK(ask_number("SELECT count(*) FROM unit_jobs.notes WHERE kind = 'effect'") == 1);
    CHECK(ask_number("SELECT count(*) FROM unit_jobs.job_nodes") == 1);
}

static void a_buried_node_stores_nothing_and_begins_anew(void **state) {
    (void)state;
    NEED_POSTGRES();
    node_start(0);
    test_run(bury, NULL);
    assert_true(job_runner_stats(nodes[0].runner).lost > 0);
}

/* --- held --------------------------------------------------------------------------------------------------------- */

/* A job that holds itself, as `held` sees it: what it was told each time. */
static struct {
    Job *job;
    Err before, after;
    bool deep; /* its transaction is open */
    bool go;
} held;

static CO_FN Err hold_and_wait(PgTx *tx, void *arg) {
    (void)arg;
    TRY(job_hold_in(tx, held.job));
    held.deep = true;
    while (!held.go)
        TRY(co_sleep(1));
    return ERR_OK;
}

static CO_FN JobVerdict run_held(Job *job) {
    static const Statement note = {
        .name = "unit_held",
        .sql = "INSERT INTO unit_jobs.notes (number, attempt, kind, began_at) VALUES (1, 1, 'held', now())"};
    PgResult rows;
    held.job = job;
    held.before = pg_transaction(engine_pool(job->engine), hold_and_wait, NULL);
    held.deep = held.go = false;
    while (!held.go)
        if (co_sleep(1) != ERR_OK)
            break;
    held.after = job_query(job, &note, NULL, &rows);
    return job_verdict(job, held.after);
}

TASK_KIND(HELD_KIND, "held", run_held, .backoff_ms = at_once);
static const JobKind *const held_kinds[] = {&HELD_KIND, NULL};
static const JobBoard held_board = {.context = &unit_context, .kinds = held_kinds, .queues = unit_queues};

static const char TAKE_OVER[] =
    "WITH t AS (UPDATE unit_jobs.jobs SET attempt = attempt + 1 WHERE id IN (SELECT id FROM "
    "unit_jobs.jobs WHERE state = 2 FOR NO KEY UPDATE SKIP LOCKED) RETURNING 1)"
    " SELECT count(*) FROM t";

static void take_over(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    CHECK_ERR(insert_task(&HELD_KIND, (Task){.number = 1}, 0, NULL), ERR_OK);
    while (!held.deep)
        CHECK_ERR(co_sleep(1), ERR_OK);
    CHECK(ask_number(TAKE_OVER) == 0); /* rescue, too, passes over what is locked */
    held.go = true;
    while (held.deep)
        CHECK_ERR(co_sleep(1), ERR_OK);
    CHECK_ERR(held.before, ERR_OK);
    CHECK(ask_number(TAKE_OVER) == 1);
    held.after = ERR_OK;
    held.go = true;
    while (held.after == ERR_OK)
        CHECK_ERR(co_sleep(1), ERR_OK);
    CHECK_ERR(held.after, ERR_CONFLICT);
    CHECK(ask_number("SELECT count(*) FROM unit_jobs.notes") == 0);
}

static void a_held_job_is_taken_over_by_nobody_and_one_taken_over_does_nothing(void **state) {
    (void)state;
    NEED_POSTGRES();
    memset(&held, 0, sizeof held);
    node_start_with(0, (JobRunnerOptions){.board = &held_board, .heartbeat_ms = 600000});
    test_run(take_over, NULL);
}

static void wait_for_the_line(Ctx *ctx, void *arg) {
    PGconn *other = arg;
    (void)ctx;
    CHECK_ERR(insert_task(&NOTE_KIND, (Task){.number = 1, .wait_ms = 3000}, 0, NULL), ERR_OK);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3 AND kind = 'note' AND attempt = 1", 1);
    CHECK(ask_number("SELECT count(*) FROM unit_jobs.jobs WHERE kind = 'cron_note'") == 0);
    PQclear(PQexec(other, "COMMIT"));
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.jobs WHERE kind = 'cron_note'", 1);
}

/* Its leader waits for another's lock for longer than it takes to be found dead; the node goes on living. */
static void a_leader_that_waits_for_a_lock_is_not_taken_for_dead(void **state) {
    (void)state;
    NEED_POSTGRES();
    PGconn *other = PQconnectdb(getenv("DATABASE_URL"));
    test_sql(
        "INSERT INTO unit_jobs.job_crons VALUES ('each_minute', '* * * * *', 'UTC', now() - interval '10 minutes')");
    PQclear(PQexec(other, "BEGIN; SELECT FROM unit_jobs.job_crons FOR UPDATE"));
    node_start_with(0, (JobRunnerOptions){.board = &unit_cron_board, .rescue_ms = 1500});
    test_run(wait_for_the_line, other);
    assert_int_equal(job_runner_stats(nodes[0].runner).lost, 0);
    PQfinish(other);
}

static void drain_slowly(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    CHECK_ERR(insert_task(&NOTE_KIND, (Task){.number = 1, .wait_ms = 100}, 0, NULL), ERR_OK);
    CHECK_ERR(insert_task(&NOTE_KIND, (Task){.number = 2, .wait_ms = 600000}, 0, NULL), ERR_OK);
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.notes", 2);
    CHECK_ERR(insert_task(&NOTE_KIND, (Task){.number = 3}, 100, NULL), ERR_OK);
    job_runner_drain(nodes[0].runner, clock_mono_ms() + 1500);
    CHECK(ask_number("SELECT count(*) FROM unit_jobs.jobs WHERE state = 3 AND args LIKE '{\"number\":1,%'") == 1);
    CHECK(ask_number(
              "SELECT count(*) FROM unit_jobs.jobs WHERE state = 1 AND attempt = 0 AND args LIKE '{\"number\":2,%'") ==
          1);
    CHECK(ask_number("SELECT count(*) FROM unit_jobs.jobs WHERE state = 1 AND args LIKE '{\"number\":3,%'") == 1);
    CHECK(ask_number("SELECT count(*) FROM unit_jobs.job_nodes") == 0);
    CHECK(ask_number("SELECT count(*) FROM unit_jobs.job_leases WHERE until_at > clock_timestamp()") == 0);
}

static void a_drain_finishes_what_it_can_and_gives_back_the_rest(void **state) {
    (void)state;
    NEED_POSTGRES();
    node_start(0);
    test_run(drain_slowly, NULL);
}

/* --- leading ------------------------------------------------------------------------------------------------------ */

static CO_FN long long fire_under(int64_t node, int64_t epoch, const char *moment) {
    const Statement *statement;
    PgParams params;
    PgResult rows;
    Instant at;
    Ctx *ctx = co_ctx(co_self());
    if (engine_job_statement(unit_engine, SQL_JOBS_CRON_FIRE, &statement) != ERR_OK ||
        instant_parse(str_c(moment), &at) != ERR_OK)
        return -1;
    pg_params_init(&params, ctx->arena);
    pg_add_i64(&params, node);
    pg_add_i64(&params, epoch);
    pg_add_text(&params, STR("each_minute"));
    pg_add_instant(&params, at);
    pg_add_id(&params, id_time_ordered());
    pg_add_text(&params, STR("cron_note"));
    pg_add_text(&params, STR("crons"));
    pg_add_i16(&params, 0);
    pg_add_text(&params, STR("{\"number\":1}"));
    pg_add_i16(&params, 3);
    pg_add_text(&params, (Str){NULL, 0});
    pg_add_i64(&params, 0);
    pg_add_i16(&params, 0);
    return pg_query(test.pool, statement, &params, &rows) == ERR_OK ? pg_i64(&rows, 0, 1) : -2;
}

static void fire_stale(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    CHECK(ask_number(
              "INSERT INTO unit_jobs.job_leases VALUES ('leader', 7, 42, now() + interval '1 hour') RETURNING 1") == 1);
    CHECK(ask_number("INSERT INTO unit_jobs.job_crons VALUES ('each_minute', '* * * * *', 'UTC', '2026-01-01T00:00Z') "
                     "RETURNING 1") == 1);
    CHECK(fire_under(42, 6, "2026-01-01T00:01:00Z") == 0); /* an epoch that has passed */
    CHECK(fire_under(41, 7, "2026-01-01T00:01:00Z") == 0); /* somebody else's */
    CHECK(fire_under(42, 7, "2026-01-01T00:01:00Z") == 1);
    CHECK(fire_under(42, 7, "2026-01-01T00:01:00Z") == 0); /* the moment has had its job */
    CHECK(fire_under(42, 7, "2026-01-01T00:00:30Z") == 0); /* it is past */
    CHECK(ask_number("UPDATE unit_jobs.job_leases SET until_at = now() - interval '1 second' RETURNING 1") == 1);
    CHECK(fire_under(42, 7, "2026-01-01T00:02:00Z") == 0); /* run out */
    /* Even with a line set back by hand, a constraint keeps a moment's second job out. */
    CHECK(ask_number("UPDATE unit_jobs.job_leases SET until_at = now() + interval '1 hour' RETURNING 1") == 1);
    CHECK(ask_number("UPDATE unit_jobs.job_crons SET last_at = '2026-01-01T00:00Z' RETURNING 1") == 1);
    CHECK(fire_under(42, 7, "2026-01-01T00:01:00Z") == 0);
    CHECK(ask_number("SELECT count(*) FROM unit_jobs.jobs") == 1);
}

static void a_stale_leader_inserts_nothing(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(fire_stale, NULL);
}

static void crons_run(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    WAIT_UNTIL("SELECT count(*) FROM unit_jobs.job_crons", 1);
    /* Ten minutes ago: one is made up for. Then again and again, under changing leaders. */
    for (int round = 0; round < 5; round++) {
        CHECK(ask_number("UPDATE unit_jobs.job_crons SET last_at = last_at - interval '10 minutes' RETURNING 1") == 1);
        CHECK(ask_number("UPDATE unit_jobs.job_leases SET until_at = now(), node = 0, epoch = epoch + 1 RETURNING 1") ==
              1);
        for (int n = 0; n < 3; n++)
            bell_ring(&nodes[n].runner->lead_bell);
        WAIT_UNTIL("SELECT count(*) FROM unit_jobs.job_crons WHERE last_at > now() - interval '61 seconds'", 1);
    }
    CHECK(ask_number("SELECT count(*) FROM unit_jobs.jobs") >= 1);
    CHECK(ask_number(
              "SELECT count(*) FROM (SELECT moment FROM unit_jobs.jobs GROUP BY moment HAVING count(*) > 1) AS d") ==
          0);
    CHECK(ask_number("SELECT max(epoch) FROM unit_jobs.job_leases") > 5);
}

static void each_moment_has_one_job_whoever_leads(void **state) {
    (void)state;
    NEED_POSTGRES();
    for (int n = 0; n < 3; n++)
        node_start_with(n, (JobRunnerOptions){.board = &unit_cron_board});
    test_run(crons_run, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, jobs_set_up, jobs_tear_down)
        TEST(jobs_of_dead_nodes_are_rescued_and_their_attempt_counts),
        TEST(a_claim_whose_answer_was_lost_is_given_back),
        TEST(a_buried_node_stores_nothing_and_begins_anew),
        TEST(a_held_job_is_taken_over_by_nobody_and_one_taken_over_does_nothing),
        TEST(a_leader_that_waits_for_a_lock_is_not_taken_for_dead),
        TEST(a_drain_finishes_what_it_can_and_gives_back_the_rest),
        TEST(a_stale_leader_inserts_nothing),
        TEST(each_moment_has_one_job_whoever_leads),
    };
    return cmocka_run_group_tests_name("jobs: nodes", tests, jobs_set_up_all, NULL);
}
