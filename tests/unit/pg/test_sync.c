/*
 * test_sync.c - the blocking helpers of the command line and migrations.
 */
#include "pg_test.h"

static const struct {
    const char *sql;
    Err want;
    const char *says;
} cases[] = {
    {"SELECT 1", ERR_OK, NULL},
    {"CREATE TEMP TABLE a (x int); INSERT INTO a VALUES (1); SELECT * FROM a", ERR_OK, NULL},
    {"", ERR_OK, NULL},
    {"SELECT 1; SELEKT 2", ERR_INTERNAL, "syntax error at or near \"SELEKT\" (at character 11)"},
    {"SELECT 1/0", ERR_INVALID, "division by zero"},
    {"CREATE TEMP TABLE b (x int UNIQUE); INSERT INTO b VALUES (1), (1)", ERR_CONFLICT,
     "duplicate key value violates unique constraint \"b_x_key\""},
    {"DO $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); END $$", ERR_UNAVAILABLE, NULL},
    {"SELECT 'and from then on'", ERR_UNAVAILABLE, NULL},
};

static void statements(void **state) {
    (void)state;
    NEED_POSTGRES();
    Arena *arena = arena_new(1 << 20);
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    PGconn *conn = NULL;
    assert_int_equal(pg_sync_connect(&ctx, str_c(getenv("DATABASE_URL")), (Str){NULL, 0}, &conn), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CASE(cases[i].sql);
        ctx.problem = (Problem){0};
        PGresult *answer = NULL;
        Err err = pg_sync_exec(&ctx, conn, cases[i].sql, i % 2 == 0 ? &answer : NULL);
        PQclear(answer);
        assert_int_equal(err, cases[i].want);
        assert_int_equal(ctx.problem.code, cases[i].want);
        if (cases[i].says != NULL)
            assert_true(str_eq_c(ctx.problem.message, cases[i].says));
    }
    PQfinish(conn);
    arena_free(arena);
}

static void parameters_and_role(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_sql("DROP ROLE IF EXISTS \"sync role\"");
    test_sql("CREATE ROLE \"sync role\"");
    Arena *arena = arena_new(1 << 20);
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    PGconn *conn = NULL;
    Str url = str_c(getenv("DATABASE_URL"));
    assert_int_equal(pg_sync_connect(&ctx, url, STR("no such role"), &conn), ERR_INVALID);
    assert_int_equal(pg_sync_connect(&ctx, STR("postgresql://127.0.0.1:1/x"), STR("x"), &conn), ERR_UNAVAILABLE);
    assert_true(conn == NULL);
    assert_int_equal(pg_sync_connect(&ctx, url, STR("sync role"), &conn), ERR_OK);
    const char *values[] = {"a'b", NULL};
    PGresult *answer = NULL;
    assert_int_equal(
        pg_sync_exec_params(&ctx, conn, "SELECT current_user, $1::text, $2::text IS NULL", 2, values, &answer), ERR_OK);
    assert_string_equal(PQgetvalue(answer, 0, 0), "sync role");
    assert_string_equal(PQgetvalue(answer, 0, 1), "a'b");
    assert_string_equal(PQgetvalue(answer, 0, 2), "t");
    PQclear(answer);
    PQfinish(conn);
    arena_free(arena);
}

/* A statement that does not come back ends at the deadline, and its connection with it: what came later would be taken
 * for the answer of the next one. */
static void a_server_that_does_not_answer(void **state) {
    (void)state;
    NEED_POSTGRES();
    Arena *arena = arena_new(1 << 20);
    Ctx ctx;
    PGconn *conn = NULL;
    ctx_init(&ctx, arena, clock_mono_ms() + 60000);
    assert_int_equal(pg_sync_connect(&ctx, str_c(getenv("DATABASE_URL")), (Str){NULL, 0}, &conn), ERR_OK);
    assert_int_equal(pg_sync_exec(&ctx, conn, "SELECT pg_sleep(0.01)", NULL), ERR_OK);
    /* Nobody tells the server that its client has gone: let it not keep others waiting for its snapshot. */
    assert_int_equal(pg_sync_exec(&ctx, conn, "SET statement_timeout = '2s'", NULL), ERR_OK);
    ctx.deadline_ms = clock_mono_ms() + 50;
    assert_int_equal(pg_sync_exec(&ctx, conn, "SELECT pg_sleep(600)", NULL), ERR_TIMEOUT);
    assert_true(str_find(ctx.problem.message, STR("has not answered in time")) >= 0);
    assert_int_equal(PQstatus(conn), CONNECTION_BAD);
    ctx.deadline_ms = 0;
    problem_clear(&ctx);
    assert_int_equal(pg_sync_exec_params(&ctx, conn, "SELECT 1", 0, NULL, NULL), ERR_UNAVAILABLE);
    PQfinish(conn);
    /* The server's own limit comes first where it has one: then the connection goes on. */
    problem_clear(&ctx);
    assert_int_equal(pg_sync_connect(&ctx, str_c(getenv("DATABASE_URL")), (Str){NULL, 0}, &conn), ERR_OK);
    assert_int_equal(pg_sync_exec(&ctx, conn, "SET statement_timeout = 20", NULL), ERR_OK);
    ctx.deadline_ms = clock_mono_ms() + 60000;
    assert_int_equal(pg_sync_exec(&ctx, conn, "SELECT pg_sleep(600)", NULL), ERR_TIMEOUT);
    assert_int_equal(pg_sync_exec(&ctx, conn, "SELECT 1", NULL), ERR_OK);
    PQfinish(conn);
    arena_free(arena);
}

/* More than a socket holds goes out while the server already answers. */
static void a_long_statement(void **state) {
    (void)state;
    NEED_POSTGRES();
    enum { LONG = 20 << 20 };
    Arena *arena = arena_new(64 << 20);
    Ctx ctx;
    PGconn *conn = NULL;
    PGresult *answer = NULL;
    ctx_init(&ctx, arena, 0);
    char *text = arena_alloc(arena, LONG + 1);
    assert_non_null(text);
    memset(text, 'x', LONG);
    text[LONG] = '\0';
    assert_int_equal(pg_sync_connect(&ctx, str_c(getenv("DATABASE_URL")), (Str){NULL, 0}, &conn), ERR_OK);
    const char *values[] = {text};
    assert_int_equal(pg_sync_exec_params(&ctx, conn, "SELECT $1::text", 1, values, &answer), ERR_OK);
    assert_int_equal(PQgetlength(answer, 0, 0), LONG);
    PQclear(answer);
    PQfinish(conn);
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statements),
        cmocka_unit_test(parameters_and_role),
        cmocka_unit_test(a_server_that_does_not_answer),
        cmocka_unit_test(a_long_statement),
    };
    return cmocka_run_group_tests_name("pg: blocking helpers", tests, NULL, NULL);
}
