/*
 * test_codec.c - structs to rows and back through a real Postgres: nothing is lost, whatever the type holds.
 */
#include "resource_test.h"

static const Attribute attributes[] = {
    ITEM_ID,
    ATTR(Item, title, .doc = NULL),
    ATTR(Item, price, .required = true),
    ATTR(Item, stock, .required = true),
    ATTR(Item, rank, .required = true),
    ATTR(Item, views, .required = true),
    ATTR(Item, sold, .required = true),
    ATTR(Item, owner_id, .doc = NULL),
    ATTR(Item, made_at, .required = true),
    ATTR(Item, gone_at, .doc = NULL),
    ATTR(Item, seen_at, .required = true, .coarse = true),
    ATTR(Item, extra, .doc = NULL),
    {0},
};
static const Resource item = {
    .name = "item", .plural = "items", .schema = "pg_temp", .size = sizeof(Item), .attributes = attributes};

static Instant at(const char *text) {
    Instant t = {0};
    assert_int_equal(instant_parse(str_c(text), &t), ERR_OK);
    return t;
}

static Decimal number(const char *text) {
    Decimal d = {0};
    assert_int_equal(decimal_parse(str_c(text), &d), ERR_OK);
    return d;
}

static Id id_of(uint8_t byte) {
    Id id;
    memset(id.bytes, byte, sizeof id.bytes);
    return id;
}

static const char *const long_text = "a text that is longer than the others, with \" and \\ and \n and ü";

/* The ends of each type, and what lies between. */
static void fill(Item items[5]) {
    items[0] = (Item){.id = id_of(0), .made_at = at("0001-01-01T00:00:00Z"), .seen_at = at("0001-01-01T00:00:00Z")};
    items[1] = (Item){.id = id_of(0xff),
                      .title = STR(""),
                      .price = number("79228162514264337593543950335"),
                      .stock = INT32_MAX,
                      .rank = INT16_MAX,
                      .views = INT64_MAX,
                      .sold = true,
                      .owner_id = {id_of(7), true},
                      .made_at = {TICKS_MAX, 840},
                      .gone_at = {{TICKS_MAX, -840}, true},
                      .seen_at = at("9999-12-31T23:59:59.999999Z"),
                      .extra = {STR("{\"a\": [1.50, null]}")}};
    items[2] = (Item){.id = id_of(2),
                      .title = str_c(long_text),
                      .price = number("-0.0000000000000000000000000001"),
                      .stock = INT32_MIN,
                      .rank = INT16_MIN,
                      .views = INT64_MIN,
                      .made_at = at("2095-03-07T10:00:00.1234567-13:59"),
                      .gone_at = {at("1999-12-31T23:59:59.9999999-00:01"), true},
                      .seen_at = at("1999-12-31T23:59:59.999999Z"),
                      .extra = {STR("\"\"")}};
    items[3] = (Item){.id = id_of(3), .price = number("12.50"), .made_at = {9, -840}, .seen_at = {0}};
    items[4] = (Item){.id = id_of(4),
                      .price = number("100"),
                      .made_at = {1, 14 * 60},
                      .gone_at = {{TICKS_PG_EPOCH - 1, 1}, true},
                      .seen_at = {0}};
}

static bool instant_same(Instant a, Instant b) {
    return a.ticks == b.ticks && a.offset_minutes == b.offset_minutes;
}

static void assert_same(const Item *want, const Item *got) {
    assert_true(id_eq(want->id, got->id));
    assert_true((want->title.p == NULL) == (got->title.p == NULL) && str_eq(want->title, got->title));
    assert_true(decimal_compare(want->price, got->price) == 0 && want->price.scale == got->price.scale);
    assert_true(want->stock == got->stock && want->rank == got->rank && want->views == got->views &&
                want->sold == got->sold);
    assert_true(want->owner_id.present == got->owner_id.present);
    assert_true(id_eq(want->owner_id.value, got->owner_id.value));
    assert_true(instant_same(want->made_at, got->made_at));
    assert_true(want->gone_at.present == got->gone_at.present);
    assert_true(instant_same(want->gone_at.value, got->gone_at.value));
    assert_true(instant_same(want->seen_at, got->seen_at));
    assert_true((want->extra.text.p == NULL) == (got->extra.text.p == NULL) &&
                str_eq(want->extra.text, got->extra.text));
}

static PGresult *exec_params(PGconn *conn, const char *text, const PgParams *params) {
    const char *values[PG_PARAMS_MAX];
    int formats[PG_PARAMS_MAX];
    assert_int_equal(params->data.err, ERR_OK);
    for (int i = 0; i < params->n; i++) {
        values[i] = params->nulls[i] ? NULL : params->data.p + params->at[i];
        formats[i] = 1;
    }
    PGresult *raw = PQexecParams(conn, text, params->n, params->oids, values, params->lengths, formats, 1);
    if (PQresultStatus(raw) != PGRES_TUPLES_OK && PQresultStatus(raw) != PGRES_COMMAND_OK)
        fail_msg("%s\n%s", PQerrorMessage(conn), text);
    return raw;
}

/* A temporary table of the resource, made from its own declaration. */
static void make_table(PGconn *conn) {
    const Resource *list[] = {&item, NULL};
    Context context = {.name = "shop", .schema = "shop", .resources = list};
    char *folder = new_folder();
    ASSERT_ERR(migrate_generate(&ctx, &context, &(GenerateOptions){.name = "a", .directory = folder}, &report), ERR_OK);
    const char *up = migration_file(folder, 1, "a", "up.sql");
    remove_folder(folder);
    const char *create = strstr(up, "CREATE TABLE shop.items");
    assert_non_null(create);
    sql(conn, arena_printf(arena, "CREATE TEMPORARY TABLE items%s", create + strlen("CREATE TABLE shop.items")).p);
}

static void test_round_trip(void **state) {
    (void)state;
    PGconn *conn = connect_or_skip();
    make_table(conn);
    for (int way = 0; way < 2; way++) { /* scalars, then arrays */
        Item items[5];
        const void *rows[5];
        fill(items);
        for (size_t i = 0; i < 5; i++)
            rows[i] = &items[i];
        Buf text = buf_new(arena, 65536);
        buf_add_c(&text, "INSERT INTO pg_temp.items (");
        resource_columns(&item, "", &text);
        buf_add_c(&text, way == 0 ? ") VALUES (" : ") SELECT * FROM unnest(");
        for (int i = 1; i <= 14; i++)
            buf_printf(&text, "%s$%d", i == 1 ? "" : ", ", i);
        buf_add_c(&text, ")");
        const char *insert = text_of(&text);
        for (size_t i = 0; i < (way == 0 ? 5u : 1u); i++) {
            PgParams params;
            pg_params_init(&params, arena);
            for (const Attribute *a = attributes; a->name != NULL; a++) {
                if (way == 0)
                    resource_add_value(&params, a, rows[i]);
                else
                    resource_add_array(&params, a, rows, 5);
            }
            assert_int_equal(params.n, 14);
            PQclear(exec_params(conn, insert, &params));
        }
        PgParams none;
        pg_params_init(&none, arena);
        /* Columns in another order, with strangers among them. */
        PGresult *raw =
            exec_params(conn, "SELECT 1 AS other, extra, i.*, now() AS late FROM pg_temp.items i ORDER BY id", &none);
        PgResult result = {.raw = raw, .rows = PQntuples(raw), .columns = PQnfields(raw)};
        static const size_t order[] = {0, 2, 3, 4, 1};
        assert_int_equal(result.rows, 5);
        for (int row = 0; row < 5; row++) {
            Item got = {0};
            assert_int_equal(resource_decode(&item, &result, row, &got), ERR_OK);
            assert_same(&items[order[row]], &got);
        }
        PQclear(raw);
        sql(conn, "DELETE FROM pg_temp.items");
    }
    PQfinish(conn);
}

static void test_wrong_type_is_an_error(void **state) {
    (void)state;
    PGconn *conn = connect_or_skip();
    static const char *const queries[] = {"SELECT 1::bigint AS stock", "SELECT 'x'::varchar AS title", "SELECT 1 AS id",
                                          "SELECT now() AS made_at, 1 AS made_at_fine"};
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        PgParams none;
        pg_params_init(&none, arena);
        PGresult *raw = exec_params(conn, queries[i], &none);
        PgResult result = {.raw = raw, .rows = 1, .columns = PQnfields(raw)};
        Item got = {0};
        assert_int_equal(resource_decode(&item, &result, 0, &got), ERR_INTERNAL);
        PQclear(raw);
    }
    PQfinish(conn);
}

static void test_fine(void **state) {
    (void)state;
    static const struct {
        int16_t offset;
        int digit;
        int16_t want;
    } cases[] = {{0, 0, 0}, {0, 9, 9}, {840, 9, 8409}, {-840, 0, -8400}, {-840, 9, -8391}, {-1, 1, -9}, {1, 1, 11}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Instant t = {TICKS_PG_EPOCH - 10 + cases[i].digit, cases[i].offset};
        assert_int_equal(instant_fine(t), cases[i].want);
        Instant coarse = {TICKS_PG_EPOCH - 10, 0};
        assert_true(instant_same(instant_with_fine(coarse, cases[i].want), t));
    }
}

static void test_columns(void **state) {
    (void)state;
    Buf out = buf_new(arena, 4096);
    resource_columns(&item, "t.", &out);
    assert_string_equal(text_of(&out),
                        "t.id, t.title, t.price, t.stock, t.rank, t.views, t.sold, t.owner_id, t.made_at, "
                        "t.made_at_fine, t.gone_at, t.gone_at_fine, t.seen_at, t.extra");
    assert_ptr_equal(resource_attribute(&item, "rank"), &attributes[4]);
    assert_null(resource_attribute(&item, "made_at_fine"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, fresh, done),
        cmocka_unit_test_setup_teardown(test_wrong_type_is_an_error, fresh, done),
        cmocka_unit_test_setup_teardown(test_fine, fresh, done),
        cmocka_unit_test_setup_teardown(test_columns, fresh, done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
