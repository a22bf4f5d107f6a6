/*
 * test_values.c - values to Postgres and back: what the server understood (as text) and what returns.
 */
#include "pg_test.h"

static const Statement ECHO_NUMERIC = {.name = "echo_numeric", .sql = "SELECT $1::numeric, $1::text"};
static const Statement ECHO_INSTANT = {.name = "echo_instant",
                                       .sql = "SELECT $1::timestamptz, to_char($1 AT TIME ZONE 'UTC', "
                                              "'YYYY-MM-DD HH24:MI:SS.US')"};
static const Statement ECHO_ALL = {
    .name = "echo_all",
    .sql = "SELECT $1::bool, $2::int2, $3::int4, $4::int8, $5::text, $6::uuid, $7::bytea, $8::jsonb"};
static const Statement ECHO_ARRAYS = {
    .name = "echo_arrays",
    .sql = "SELECT $1::bool[]::text, $2::int2[]::text, $3::int4[]::text, $4::int8[]::text, $5::text[]::text, "
           "$6::uuid[]::text, $7::numeric[]::text, ($8::timestamptz[])::text, $9::jsonb[]::text, $10::int8[]::text"};

static const char *const decimals[] = {
    "0",
    "0.00",
    "0.0000000000000000000000000000",
    "1",
    "-1",
    "12.50",
    "12.5",
    "12.345",
    "-0.01",
    "9999999999999999.99",
    "100",
    "100.00",
    "10000",
    "0.0001",
    "0.1234567890123456789012345678",
    "79228162514264337593543950335",
    "-79228162514264337593543950335",
    "7.9228162514264337593543950335",
    "-0.0000000000000000000000000001",
    "1000000000000.0001",
    "20000.00020000",
};

static void decimals_body(Ctx *ctx, void *arg) {
    (void)arg;
    for (size_t i = 0; i < ARRAY_LEN(decimals); i++) {
        CASE(decimals[i]);
        Decimal d, back;
        CHECK_ERR(decimal_parse(str_c(decimals[i]), &d), ERR_OK);
        PgParams params;
        pg_params_init(&params, ctx->arena);
        pg_add_decimal(&params, d);
        PgResult r;
        CHECK_ERR(pg_query(test.pool, &ECHO_NUMERIC, &params, &r), ERR_OK);
        CHECK(r.rows == 1 && r.columns == 2);
        CHECK(str_eq_c(pg_text(&r, 0, 1), decimals[i]));
        CHECK_ERR(pg_decimal(&r, 0, 0, &back), ERR_OK);
        CHECK(memcmp(&back, &d, sizeof d) == 0);
    }
}

static void decimals_keep_their_scale(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(decimals_body, NULL);
}

static const struct {
    const char *sent, *seen;
} instants[] = {
    {"0001-01-01T00:00:00Z", "0001-01-01 00:00:00.000000"},
    {"9999-12-31T23:59:59.999999Z", "9999-12-31 23:59:59.999999"},
    {"2000-01-01T00:00:00Z", "2000-01-01 00:00:00.000000"},
    {"1999-12-31T23:59:59.999999Z", "1999-12-31 23:59:59.999999"},
    {"2095-03-07T12:00:00.123456+02:00", "2095-03-07 10:00:00.123456"},
    {"1969-07-20T20:17:40.5Z", "1969-07-20 20:17:40.500000"},
    {"2024-02-29T00:00:00Z", "2024-02-29 00:00:00.000000"},
};

static void instants_body(Ctx *ctx, void *arg) {
    (void)arg;
    for (size_t i = 0; i < ARRAY_LEN(instants); i++) {
        CASE(instants[i].sent);
        Instant t;
        CHECK_ERR(instant_parse(str_c(instants[i].sent), &t), ERR_OK);
        PgParams params;
        pg_params_init(&params, ctx->arena);
        pg_add_instant(&params, t);
        PgResult r;
        CHECK_ERR(pg_query(test.pool, &ECHO_INSTANT, &params, &r), ERR_OK);
        CHECK(str_eq_c(pg_text(&r, 0, 1), instants[i].seen));
        CHECK(instant_compare(pg_instant(&r, 0, 0), t) == 0);
        CHECK(pg_instant(&r, 0, 0).offset_minutes == 0);
    }
}

static void instants_from_year_1_to_9999(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(instants_body, NULL);
}

static const Statement BEYOND = {
    .name = "beyond",
    .sql = "SELECT 'infinity'::timestamptz, '-infinity'::timestamptz, '0044-03-15 BC'::timestamptz, "
           "'20000-01-01'::timestamptz, 'NaN'::numeric, 1e40::numeric, 0.1234567890123456789012345678901::numeric"};

static void beyond_body(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    PgResult r;
    CHECK_ERR(pg_query(test.pool, &BEYOND, NULL, &r), ERR_OK);
    CHECK(pg_instant(&r, 0, 0).ticks == TICKS_MAX && pg_instant(&r, 0, 1).ticks == 0);
    CHECK(pg_instant(&r, 0, 2).ticks == 0 && pg_instant(&r, 0, 3).ticks == TICKS_MAX);
    Decimal d;
    for (int column = 4; column < 7; column++)
        CHECK_ERR(pg_decimal(&r, 0, column, &d), ERR_LIMIT);
}

static void what_no_type_of_ours_can_hold(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(beyond_body, NULL);
}

static void all_body(Ctx *ctx, void *arg) {
    (void)arg;
    Id id = id_random();
    PgParams params;
    pg_params_init(&params, ctx->arena);
    pg_add_bool(&params, true);
    pg_add_i16(&params, INT16_MIN);
    pg_add_i32(&params, INT32_MIN);
    pg_add_i64(&params, INT64_MIN);
    pg_add_text(&params, STR("gr\xc3\xbc\xc3\x9f \xf0\x9f\x8e\xab 'quoted'\\"));
    pg_add_id(&params, id);
    pg_add_bytea(&params, STR("a\0b"));
    pg_add_jsonb(&params, STR("{\"a\": 12.50}"));
    PgResult r;
    CHECK_ERR(pg_query(test.pool, &ECHO_ALL, &params, &r), ERR_OK);
    CHECK(pg_bool(&r, 0, 0) && pg_i16(&r, 0, 1) == INT16_MIN && pg_i32(&r, 0, 2) == INT32_MIN);
    CHECK(pg_i64(&r, 0, 3) == INT64_MIN);
    CHECK(str_eq(pg_text(&r, 0, 4), STR("gr\xc3\xbc\xc3\x9f \xf0\x9f\x8e\xab 'quoted'\\")));
    CHECK(id_eq(pg_id(&r, 0, 5), id));
    CHECK(str_eq(pg_text(&r, 0, 6), STR("a\0b")));
    CHECK(str_eq(pg_text(&r, 0, 7), STR("{\"a\": 12.50}")));

    static const Oid oids[] = {OID_BOOL, OID_INT2, OID_INT4, OID_INT8, OID_TEXT, OID_UUID, OID_BYTEA, OID_JSONB};
    pg_params_init(&params, ctx->arena);
    for (size_t i = 0; i < ARRAY_LEN(oids); i++)
        pg_add_null(&params, oids[i]);
    CHECK_ERR(pg_query(test.pool, &ECHO_ALL, &params, &r), ERR_OK);
    for (int i = 0; i < 8; i++)
        CHECK(pg_is_null(&r, 0, i));
    CHECK(pg_text(&r, 0, 4).p == NULL);

    pg_params_init(&params, ctx->arena);
    for (size_t i = 0; i < 4; i++)
        pg_add_null(&params, oids[i]);
    pg_add_text(&params, STR("")); /* empty is not NULL */
    for (size_t i = 5; i < 8; i++)
        pg_add_null(&params, oids[i]);
    CHECK_ERR(pg_query(test.pool, &ECHO_ALL, &params, &r), ERR_OK);
    CHECK(!pg_is_null(&r, 0, 4) && pg_text(&r, 0, 4).p != NULL && pg_text(&r, 0, 4).n == 0);
}

static void every_scalar_and_its_null(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(all_body, NULL);
}

static void arrays_body(Ctx *ctx, void *arg) {
    (void)arg;
    PgParams params;
    pg_params_init(&params, ctx->arena);
    pg_array_begin(&params, OID_BOOL_ARRAY);
    pg_array_bool(&params, true);
    pg_array_null(&params);
    pg_array_end(&params);
    pg_array_begin(&params, OID_INT2_ARRAY);
    pg_array_i16(&params, -2);
    pg_array_end(&params);
    pg_array_begin(&params, OID_INT4_ARRAY);
    pg_array_null(&params);
    pg_array_i32(&params, 4);
    pg_array_end(&params);
    pg_array_begin(&params, OID_INT8_ARRAY);
    pg_array_i64(&params, INT64_MAX);
    pg_array_end(&params);
    pg_array_begin(&params, OID_TEXT_ARRAY);
    pg_array_text(&params, STR("a,\"b"));
    pg_array_text(&params, (Str){NULL, 0});
    pg_array_text(&params, STR(""));
    pg_array_end(&params);
    pg_array_begin(&params, OID_UUID_ARRAY);
    pg_array_id(&params, (Id){{0x11}});
    pg_array_end(&params);
    pg_array_begin(&params, OID_NUMERIC_ARRAY);
    pg_array_decimal(&params, (Decimal){.lo = 1250, .scale = 2});
    pg_array_null(&params);
    pg_array_end(&params);
    pg_array_begin(&params, OID_TIMESTAMPTZ_ARRAY);
    pg_array_instant(&params, instant_from_unix_us(1));
    pg_array_end(&params);
    pg_array_begin(&params, OID_JSONB_ARRAY);
    pg_array_jsonb(&params, STR("[1]"));
    pg_array_jsonb(&params, (Str){NULL, 0});
    pg_array_end(&params);
    pg_array_begin(&params, OID_INT8_ARRAY);
    pg_array_end(&params);
    static const char *const want[] = {"{t,NULL}",
                                       "{-2}",
                                       "{NULL,4}",
                                       "{9223372036854775807}",
                                       "{\"a,\\\"b\",NULL,\"\"}",
                                       "{11000000-0000-0000-0000-000000000000}",
                                       "{12.50,NULL}",
                                       "{\"1970-01-01 00:00:00.000001+00\"}",
                                       "{[1],NULL}",
                                       "{}"};
    PgResult r;
    CHECK_ERR(pg_query(test.pool, &ECHO_ARRAYS, &params, &r), ERR_OK);
    for (int i = 0; i < (int)ARRAY_LEN(want); i++) {
        CASE(want[i]);
        CHECK(str_eq_c(pg_text(&r, 0, i), want[i]));
    }
}

static void arrays_with_nulls(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(arrays_body, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(decimals_keep_their_scale, test_open, test_close),
        cmocka_unit_test_setup_teardown(instants_from_year_1_to_9999, test_open, test_close),
        cmocka_unit_test_setup_teardown(what_no_type_of_ours_can_hold, test_open, test_close),
        cmocka_unit_test_setup_teardown(every_scalar_and_its_null, test_open, test_close),
        cmocka_unit_test_setup_teardown(arrays_with_nulls, test_open, test_close),
    };
    return cmocka_run_group_tests_name("pg: values through the server", tests, NULL, NULL);
}
