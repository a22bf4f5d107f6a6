/*
 * test_migrate.c - migrations against a real Postgres: up, down, up again; two at once; killed in the middle; and drift
 * of every kind.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "resource_test.h"

/* --- a shop with a bit of everything ----------------------------------------------------------------------- */

static const Attribute owner_attributes[] = {ITEM_ID, ITEM_TITLE, {0}};
static const Attribute item_attributes[] = {
    ITEM_ID,
    ITEM_TITLE,
    ITEM_PRICE,
    ATTR(Item, note),
    ATTR(Item, stock, .required = true, .default_sql = "0"),
    ATTR(Item, views, .identity = true),
    ATTR(Item, made_at, .required = true),
    ATTR(Item, gone_at),
    ATTR(Item, extra),
    ATTR(Item, owner_id, .references = "owner"),
    {0},
};
static const Identity item_identities[] = {
    {.name = "items_title", .attributes = {"title"}, .hashed = true},
    {.name = "items_note_stock", .attributes = {"note", "stock"}},
    {0},
};
static const Index item_indexes[] = {{.name = "items_made", .columns = "made_at DESC", .where = "stock IN (1, 2)"},
                                     {0}};
static const Check item_checks[] = {{"items_price_positive", "price >= 0 AND stock IN (0, 1, 2)"}, {0}};

static void full_shop(Shop *shop) {
    shop_init(shop, item_attributes);
    shop->resources[0].identities = item_identities;
    shop->resources[0].indexes = item_indexes;
    shop->resources[0].checks = item_checks;
    shop->resources[0].storage = "fillfactor=70";
    Resource *owners = shop_add(shop, "owner", "owners", owner_attributes);
    owners->seed_sql =
        "INSERT INTO shop.owners (id, title) VALUES ('00000000-0000-0000-0000-000000000001', 'house') ON "
        "CONFLICT DO NOTHING";
}

/* Generates the next migration of a shop under a name and takes it up. */
static void generate(Shop *shop, const char *folder, const char *name, const char *const *allow) {
    GenerateOptions options = {.name = name, .directory = folder, .allow = allow};
    ASSERT_ERR(migrate_generate(&ctx, &shop->context, &options, &report), ERR_OK);
    embed(shop, folder, name);
}

static PGconn *conn;
static Shop shop;
static char *folder;

static int begin(void **state) {
    if (fresh(state) != 0)
        return 1;
    conn = NULL;
    folder = NULL;
    if (getenv("DATABASE_URL") == NULL)
        return 0;
    if (pg_sync_connect(&ctx, str_c(getenv("DATABASE_URL")), (Str){0}, &conn) != ERR_OK)
        return 1;
    drop_shop(conn);
    folder = new_folder();
    full_shop(&shop);
    generate(&shop, folder, "first", NULL);
    report = buf_new(arena, 1 << 20);
    return 0;
}

static int end(void **state) {
    if (folder != NULL)
        remove_folder(folder);
    PQfinish(conn);
    return done(state);
}

static void need_database(void) {
    if (conn == NULL) {
        print_message("skipped: DATABASE_URL is not set (tools/with-postgres make unit-resource)\n");
        skip();
    }
}

static void verify_is(Err want) {
    report = buf_new(arena, 1 << 20);
    ASSERT_ERR(migrate_verify(&ctx, &shop.context, conn, &report), want);
}

/* --- up and down ------------------------------------------------------------------------------------------- */

static void test_up_down_up(void **state) {
    (void)state;
    need_database();
    for (int round = 0; round < 2; round++) {
        ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK);
        ASSERT_SAYS(text_of(&report), "shop: 0001_first applied\n");
        verify_is(ERR_OK);
        assert_string_equal(ask(conn, "SELECT title FROM shop.owners"), "house");
        ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK); /* again: nothing to do */

        report = buf_new(arena, 1 << 20);
        ASSERT_ERR(migrate_down(&ctx, &shop.context, conn, 0, false, &report), ERR_REFUSED);
        ASSERT_SAYS(text_of(&report), "taking back 0001_first loses data. To allow it: --allow-data-loss");
        assert_string_equal(ask(conn, "SELECT count(*) FROM shop.owners"), "1");
        ASSERT_ERR(migrate_down(&ctx, &shop.context, conn, 0, true, &report), ERR_OK);
        assert_string_equal(ask(conn, "SELECT to_regclass('shop.items')"), "");
        assert_string_equal(ask(conn, "SELECT count(*) FROM shop.schema_migrations"), "0");
        verify_is(ERR_CONFLICT);
        ASSERT_SAYS(text_of(&report), "migration 0001_first is not applied; run usher migrate up");
    }
}

/* Every kind of change, generated and run on a table with rows, ends where the declarations are; and comes back. */
static void test_changes_on_rows(void **state) {
    (void)state;
    need_database();
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK);
    sql(conn,
        "INSERT INTO shop.items (id, title, price, made_at) SELECT gen_random_uuid(), 'item ' || i, i, now() FROM "
        "generate_series(1, 50) i");
    static const Attribute changed[] = {
        ITEM_ID,
        ATTR(Item, title, .required = true),
        ATTR(Item, price, .required = true),
        ATTR(Item, stock, .required = true, .default_sql = "1"),
        ATTR(Item, rank, .required = true, .default_sql = "3"),
        ATTR(Item, views, .identity = true),
        ATTR(Item, seen_at, .required = true, .renamed_from = "made_at"),
        ATTR(Item, gone_at),
        ATTR(Item, owner_id, .references = "owner"),
        {0},
    };
    shop.resources[0].attributes = changed;
    shop.resources[0].identities = (const Identity[]){{.name = "items_title", .attributes = {"title"}}, {0}};
    shop.resources[0].indexes = (const Index[]){{.name = "items_seen", .columns = "seen_at"}, {0}};
    shop.resources[0].checks = (const Check[]){{"items_rank_positive", "rank > 0"}, {0}};
    shop.resources[0].storage = NULL;
    generate(&shop, folder, "second", (const char *const[]){"drop-column:items.note", "drop-column:items.extra", NULL});
    assert_non_null(shop.migrations[2].name); /* the online part is a migration of its own */
    report = buf_new(arena, 1 << 20);
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK);
    verify_is(ERR_OK);
    assert_string_equal(ask(conn, "SELECT count(*) FROM shop.items WHERE seen_at IS NOT NULL AND rank = 3"), "50");
    ASSERT_ERR(migrate_down(&ctx, &shop.context, conn, 1, true, &report), ERR_OK);
    assert_string_equal(ask(conn, "SELECT count(*) FROM shop.items WHERE made_at IS NOT NULL AND note IS NULL"), "50");
    full_shop(&shop);
    assert_string_equal(ask(conn, "SELECT max(version) FROM shop.schema_migrations"), "1");
    ASSERT_ERR(migrate_generate(&ctx, &shop.context, &(GenerateOptions){.directory = NULL, .check = true}, &report),
               ERR_CONFLICT);
}

static void test_target(void **state) {
    (void)state;
    need_database();
    shop.migrations[1] = (Migration){2, "two", "CREATE INDEX two ON shop.items (stock);", "DROP INDEX shop.two;",
                                     shop.migrations[0].snapshot};
    shop.migrations[2] =
        (Migration){3, "three", "-- usher: no transaction\nCREATE INDEX CONCURRENTLY three ON shop.items (price)",
                    "DROP INDEX shop.three;", shop.migrations[0].snapshot};
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 2, &report), ERR_OK);
    assert_string_equal(ask(conn, "SELECT to_regclass('shop.three')"), "");
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK);
    assert_string_equal(ask(conn, "SELECT to_regclass('shop.three')"), "shop.three");
    ASSERT_ERR(migrate_down(&ctx, &shop.context, conn, 1, false, &report), ERR_OK); /* indexes hold no data */
    assert_string_equal(ask(conn, "SELECT string_agg(version::text, ',') FROM shop.schema_migrations"), "1");
    MigrationStatus *status;
    size_t n;
    ASSERT_ERR(migrate_status(&ctx, &shop.context, conn, &status, &n), ERR_OK);
    assert_int_equal(n, 3);
    assert_true(status[0].applied && status[0].applied_at.n > 0 && !status[0].checksum_differs);
    assert_false(status[1].applied || status[2].applied);
}

/* --- what is wrong with the journal ------------------------------------------------------------------------ */

static void test_checksum(void **state) {
    (void)state;
    need_database();
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK);
    shop.migrations[0].up = arena_printf(arena, "%s-- later thought\n", shop.migrations[0].up).p;
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_CONFLICT);
    ASSERT_SAYS(text_of(&report), "0001_first: its text was changed after it was applied");
    verify_is(ERR_CONFLICT);
    ASSERT_SAYS(text_of(&report), "migration 0001_first was changed after it was applied");
    MigrationStatus *status;
    size_t n;
    ASSERT_ERR(migrate_status(&ctx, &shop.context, conn, &status, &n), ERR_OK);
    assert_true(status[0].checksum_differs);
}

static void test_newer_version(void **state) {
    (void)state;
    need_database();
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK);
    sql(conn, "INSERT INTO shop.schema_migrations (version, name, checksum) VALUES (2, 'tomorrow', 'x')");
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK); /* all of ours are there */
    ASSERT_SAYS(text_of(&report), "0002_tomorrow was applied by a newer usher");
    verify_is(ERR_CONFLICT);
    ASSERT_ERR(migrate_down(&ctx, &shop.context, conn, 0, true, &report), ERR_CONFLICT);
    assert_string_equal(ask(conn, "SELECT count(*) FROM shop.owners"), "1");
    MigrationStatus *status;
    size_t n;
    ASSERT_ERR(migrate_status(&ctx, &shop.context, conn, &status, &n), ERR_OK);
    assert_int_equal(n, 2);
    assert_true(status[1].unknown_here && status[1].applied);
    assert_string_equal(status[1].name, "tomorrow");
}

/* --- failing half way -------------------------------------------------------------------------------------- */

static void test_failing_statement(void **state) {
    (void)state;
    need_database();
    shop.migrations[1] =
        (Migration){2, "bad", "CREATE TABLE shop.half (); SELECT 1 / 0;", "", shop.migrations[0].snapshot};
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_INTERNAL);
    ASSERT_SAYS(text_of(&report), "0001_first applied");
    ASSERT_SAYS(text_of(&report), "0002_bad failed: division by zero");
    assert_string_equal(ask(conn, "SELECT to_regclass('shop.half')"), "");
    assert_string_equal(ask(conn, "SELECT max(version) FROM shop.schema_migrations"), "1");
    shop.migrations[1].up = "CREATE TABLE shop.half (); COMMIT";
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_INVALID);
}

/* The migrator's own backend is ended in the middle of its migration; the next run finds a clean state and goes on. */
static void test_killed(void **state) {
    (void)state;
    need_database();
    const char *good = shop.migrations[0].up;
    shop.migrations[0].up = arena_printf(arena, "%s; SELECT pg_terminate_backend(pg_backend_pid());", good).p;
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_UNAVAILABLE);
    PQfinish(conn);
    conn = connect_or_skip();
    assert_string_equal(ask(conn,
                            "SELECT count(*) FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relname <> "
                            "'schema_migrations' AND relkind = 'r'"),
                        "0");
    shop.migrations[0].up = good;
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK);
    verify_is(ERR_OK);
}

/* Ended between two statements without transaction: what it left is in the way of nobody. */
static void test_killed_online(void **state) {
    (void)state;
    need_database();
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK);
    shop.resources[0].indexes = (const Index[]){
        item_indexes[0], {.name = "items_stock", .columns = "stock"}, {.name = "items_price", .columns = "price"}, {0}};
    generate(&shop, folder, "second", NULL);
    const char *good = shop.migrations[1].up;
    const char *middle = strstr(good, "\n-- items.items_price: add index");
    assert_non_null(middle);
    shop.migrations[1].up = arena_printf(arena, "%.*s\nSELECT pg_terminate_backend(pg_backend_pid());%s",
                                         (int)(middle - good), good, middle)
                                .p;
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_UNAVAILABLE);
    PQfinish(conn);
    conn = connect_or_skip();
    assert_string_equal(ask(conn, "SELECT to_regclass('shop.items_stock')"), "shop.items_stock");
    assert_string_equal(ask(conn, "SELECT max(version) FROM shop.schema_migrations"), "1");
    shop.migrations[1].up = good;
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK);
    verify_is(ERR_OK);
}

/* In a child: the one step, and an end that leaks nothing. */
static void migrate_and_exit(Err connected, PGconn *own) {
    Err err = connected == ERR_OK ? migrate_up(&ctx, &shop.context, own, 0, &report) : connected;
    PQfinish(own);
    _exit(err == ERR_OK ? 0 : 1);
}

/* Another session holds the table for a moment: lock_timeout ends the wait, and a later attempt gets it. The holder
 * lets go when it sees that the migrator has already given up once. */
static void test_lock_is_waited_for(void **state) {
    (void)state;
    need_database();
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK);
    shop.migrations[1] = (Migration){2, "two", "ALTER TABLE shop.items ADD COLUMN two integer;",
                                     "ALTER TABLE shop.items DROP COLUMN two;", shop.migrations[0].snapshot};
    static PGconn *holder; /* the child's copy is not lost to valgrind */
    holder = connect_or_skip();
    sql(holder, "BEGIN; LOCK TABLE shop.items IN ACCESS SHARE MODE");
    pid_t child = fork();
    if (child == 0) {
        PGconn *own = NULL;
        Err err = pg_sync_connect(&ctx, str_c(getenv("DATABASE_URL")), (Str){0}, &own);
        migrate_and_exit(err, own);
    }
    while (strcmp(ask(conn, "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"), "t") != 0)
        ;
    while (strcmp(ask(conn, "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"), "t") == 0)
        ;
    sql(holder, "COMMIT");
    PQfinish(holder);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_string_equal(ask(conn, "SELECT max(version) FROM shop.schema_migrations"), "2");
}

/* --- two at once ------------------------------------------------------------------------------------------- */

static void test_two_migrators(void **state) {
    (void)state;
    need_database();
    pid_t children[4];
    for (size_t i = 0; i < ARRAY_LEN(children); i++) {
        children[i] = fork();
        if (children[i] == 0) {
            PGconn *own = NULL;
            Err err = pg_sync_connect(&ctx, str_c(getenv("DATABASE_URL")), (Str){0}, &own);
            migrate_and_exit(err, own);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(children); i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    assert_string_equal(ask(conn, "SELECT count(*) FROM shop.schema_migrations"), "1");
    verify_is(ERR_OK);
}

/* --- privileges -------------------------------------------------------------------------------------------- */

static void test_role_is_least(void **state) {
    (void)state;
    need_database();
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK);
    sql(conn, "CREATE SCHEMA IF NOT EXISTS elsewhere; CREATE TABLE IF NOT EXISTS elsewhere.secrets ()");
    sql(conn, "SET ROLE shop_app; INSERT INTO shop.owners (id, title) VALUES (gen_random_uuid(), 'me'); "
              "UPDATE shop.owners SET title = 'you' WHERE title = 'me'; DELETE FROM shop.owners WHERE title = 'you'; "
              "INSERT INTO shop.items (id, title, price, made_at) VALUES (gen_random_uuid(), 'x', 1, now()); "
              "SELECT * FROM shop.schema_migrations");
    static const char *const refused[] = {
        "DELETE FROM shop.schema_migrations", "TRUNCATE shop.owners",
        "CREATE TABLE shop.mine ()",          "DROP TABLE shop.owners",
        "SELECT * FROM elsewhere.secrets",    "ALTER TABLE shop.items ADD COLUMN x integer",
    };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        PGresult *result = PQexec(conn, refused[i]);
        if (PQresultStatus(result) != PGRES_FATAL_ERROR ||
            strcmp(PQresultErrorField(result, PG_DIAG_SQLSTATE), "42501") != 0)
            fail_msg("%s: want 42501, got %s", refused[i], PQresultErrorMessage(result));
        PQclear(result);
    }
    sql(conn, "RESET ROLE; DROP SCHEMA elsewhere CASCADE");
    assert_string_equal(ask(conn, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'shop_app'"), "f");
}

static void test_no_right_to_make_roles(void **state) {
    (void)state;
    need_database();
    sql(conn, "DROP SCHEMA IF EXISTS shop CASCADE; DROP ROLE IF EXISTS plain; CREATE ROLE plain; "
              "GRANT CREATE, TEMPORARY ON DATABASE usher TO plain; SET ROLE plain");
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK);
    ASSERT_SAYS(text_of(&report), "shop: role shop_app could not be made");
    verify_is(ERR_CONFLICT);
    ASSERT_SAYS(text_of(&report), "role shop_app is not there");
    sql(conn, "RESET ROLE; DROP SCHEMA shop CASCADE; REVOKE ALL ON DATABASE usher FROM plain; DROP ROLE plain");
}

/* --- drift ------------------------------------------------------------------------------------------------- */

static const struct {
    const char *change, *says;
} drifts[] = {
    {"ALTER TABLE shop.items DROP COLUMN extra", "database: column shop.items.extra is declared but missing"},
    {"ALTER TABLE shop.items ADD COLUMN more text",
     "database: column shop.items.more is there but not declared (text)"},
    {"ALTER TABLE shop.items ALTER COLUMN price TYPE numeric(18,3)",
     "column shop.items.price is (numeric(18,3) NOT NULL), declared (numeric(18,2) NOT NULL)"},
    {"ALTER TABLE shop.items ALTER COLUMN title DROP NOT NULL",
     "column shop.items.title is (text COLLATE \"C\"), declared"},
    {"ALTER TABLE shop.items ALTER COLUMN note SET NOT NULL",
     "column shop.items.note is (text COLLATE \"C\" NOT NULL)"},
    {"ALTER TABLE shop.items ALTER COLUMN title TYPE text",
     "column shop.items.title is (text NOT NULL), declared (text COLLATE \"C\" NOT NULL)"},
    {"ALTER TABLE shop.items ALTER COLUMN stock SET DEFAULT 5",
     "column shop.items.stock is (integer NOT NULL DEFAULT 5), declared (integer NOT NULL DEFAULT 0)"},
    {"ALTER TABLE shop.items ALTER COLUMN views SET GENERATED BY DEFAULT",
     "is (bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY)"},
    {"ALTER TABLE shop.items RENAME COLUMN note TO notes", "column shop.items.note is declared but missing"},
    {"ALTER TABLE shop.items DROP CONSTRAINT items_pkey", "constraint shop.items.items_pkey is declared but missing"},
    {"ALTER TABLE shop.items DROP CONSTRAINT items_note_stock",
     "constraint shop.items.items_note_stock is declared but missing"},
    {"ALTER TABLE shop.items DROP CONSTRAINT items_owner_id_fkey",
     "constraint shop.items.items_owner_id_fkey is declared but missing"},
    {"ALTER TABLE shop.items DROP CONSTRAINT items_price_positive",
     "constraint shop.items.items_price_positive is declared but missing"},
    {"ALTER TABLE shop.items DROP CONSTRAINT items_price_positive, ADD CONSTRAINT items_price_positive CHECK (price > "
     "0)",
     "constraint shop.items.items_price_positive is (CHECK ((price > (0)::numeric))), declared (CHECK"},
    {"ALTER TABLE shop.items DROP CONSTRAINT items_made_at_fine_range, ADD CONSTRAINT items_made_at_fine_range CHECK "
     "(made_at_fine BETWEEN -8400 AND 8409) NOT VALID",
     "NOT VALID"},
    {"ALTER TABLE shop.items DROP CONSTRAINT items_owner_id_fkey, ADD CONSTRAINT items_owner_id_fkey FOREIGN KEY "
     "(owner_id) REFERENCES shop.owners (id) ON DELETE CASCADE",
     "ON DELETE CASCADE"},
    {"ALTER TABLE shop.items ADD CONSTRAINT odd CHECK (true)", "constraint shop.items.odd is there but not declared"},
    {"DROP INDEX shop.items_title", "index shop.items.items_title is declared but missing"},
    {"DROP INDEX shop.items_made; CREATE INDEX items_made ON shop.items (made_at)",
     "index shop.items.items_made is (btree (made_at)), declared (btree (made_at DESC) WHERE"},
    {"CREATE INDEX odd ON shop.items (stock)", "index shop.items.odd is there but not declared (btree (stock))"},
    {"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'shop.items_made'::regclass", "INVALID"},
    {"ALTER TABLE shop.items RESET (fillfactor)", "table shop.items is (), declared (fillfactor=70)"},
    {"DROP TABLE shop.owners CASCADE", "table shop.owners is declared but missing"},
    {"CREATE TABLE shop.odd (id integer)", "table shop.odd is there but not declared"},
    {"CREATE VIEW shop.odd AS SELECT 1 AS one", "object shop.odd is there but not declared (view)"},
    {"CREATE SEQUENCE shop.odd", "object shop.odd is there but not declared (sequence)"},
    {"CREATE FUNCTION shop.odd() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
     "function shop.odd is there but not declared"},
    {"CREATE FUNCTION shop.odd() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER odd "
     "BEFORE "
     "INSERT ON shop.items FOR EACH ROW EXECUTE FUNCTION shop.odd()",
     "trigger shop.items.odd is there but not declared"},
    {"REVOKE UPDATE ON shop.items FROM shop_app", "role shop_app lacks UPDATE on shop.items"},
    {"GRANT TRUNCATE ON shop.items TO shop_app", "role shop_app should not have TRUNCATE on shop.items"},
    {"GRANT DELETE ON shop.schema_migrations TO shop_app",
     "role shop_app should not have DELETE on shop.schema_migrations"},
};

static void test_drift_is_found(void **state) {
    (void)state;
    need_database();
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK);
    verify_is(ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(drifts); i++) {
        sql(conn, drifts[i].change);
        report = buf_new(arena, 1 << 20);
        ctx.problem = (Problem){0};
        Err err = migrate_verify(&ctx, &shop.context, conn, &report);
        if (err != ERR_CONFLICT)
            fail_msg("%s: not found (%s: %.*s)", drifts[i].change, err_name(err), STR_ARG(ctx.problem.message));
        ASSERT_SAYS(text_of(&report), drifts[i].says);
        drop_shop(conn);
        ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK);
    }
    verify_is(ERR_OK);
    assert_string_equal(ask(conn, "SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()"), "0");
}

/* Declarations that moved on without a migration. */
static void test_declarations_ahead(void **state) {
    (void)state;
    need_database();
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK);
    static const Attribute more[] = {ITEM_ID, ITEM_TITLE, ATTR(Item, rank, .required = true, .default_sql = "0"), {0}};
    shop.resources[1].attributes = more;
    verify_is(ERR_CONFLICT);
    ASSERT_SAYS(text_of(&report),
                "shop: declarations: owners.rank: add column: in no migration yet; run usher migrate generate");
    ASSERT_ERR(migrate_verify(&ctx, &shop.context, NULL, &report), ERR_CONFLICT); /* without a database too */
}

/* The digest takes the bytes as they are: no two texts share it, and no text is refused. */
static void test_hashed_identity(void **state) {
    (void)state;
    need_database();
    ASSERT_ERR(migrate_up(&ctx, &shop.context, conn, 0, &report), ERR_OK);
    static const char *const titles[] = {"plain",   "\\", "\\\\",       "\\x41", "A", "\\101",
                                         "\\\\101", "ü",  "\\303\\274", "",      " "};
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LEN(titles); i++) {
            PGresult *result =
                PQexecParams(conn,
                             "INSERT INTO shop.items (id, title, price, made_at) VALUES (gen_random_uuid(), $1, "
                             "1, now()) ON CONFLICT DO NOTHING",
                             1, NULL, &titles[i], NULL, NULL, 0);
            assert_string_equal(PQcmdTuples(result), round == 0 ? "1" : "0");
            PQclear(result);
        }
    }
    sql(conn, "INSERT INTO shop.items (id, title, price, made_at) VALUES (gen_random_uuid(), repeat('long', 100000), "
              "1, now())");
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_up_down_up, begin, end),
        cmocka_unit_test_setup_teardown(test_changes_on_rows, begin, end),
        cmocka_unit_test_setup_teardown(test_target, begin, end),
        cmocka_unit_test_setup_teardown(test_checksum, begin, end),
        cmocka_unit_test_setup_teardown(test_newer_version, begin, end),
        cmocka_unit_test_setup_teardown(test_failing_statement, begin, end),
        cmocka_unit_test_setup_teardown(test_killed, begin, end),
        cmocka_unit_test_setup_teardown(test_killed_online, begin, end),
        cmocka_unit_test_setup_teardown(test_lock_is_waited_for, begin, end),
        cmocka_unit_test_setup_teardown(test_two_migrators, begin, end),
        cmocka_unit_test_setup_teardown(test_role_is_least, begin, end),
        cmocka_unit_test_setup_teardown(test_no_right_to_make_roles, begin, end),
        cmocka_unit_test_setup_teardown(test_drift_is_found, begin, end),
        cmocka_unit_test_setup_teardown(test_declarations_ahead, begin, end),
        cmocka_unit_test_setup_teardown(test_hashed_identity, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
