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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(declarations_and_statements_fit_the_database, jobs_set_up, jobs_tear_down),
        cmocka_unit_test_setup_teardown(each_job_runs_once_and_is_kept, jobs_set_up, jobs_tear_down),
    };
    return cmocka_run_group_tests(tests, jobs_set_up_all, NULL);
}
