/*
 * test_sqltext.c - splitting files into statements, and seeing what would lose data.
 */
#include "resource/sqltext.h"
#include "resource_test.h"

static const struct {
    const char *text, *statements; /* joined by | */
} splits[] = {
    {"", ""},
    {" ;; -- only a comment;\n", ""},
    {"SELECT 1", "SELECT 1"},
    {"SELECT 1; SELECT 2;\n", "SELECT 1|SELECT 2"},
    {"-- why; because\nSELECT ';' ; /* a ; /* nested ; */ ; */ SELECT \";\"", "SELECT ';' |SELECT \";\""},
    {"SELECT 'it''s;'; SELECT E'\\';'; SELECT 1", "SELECT 'it''s;'|SELECT E'\\';'|SELECT 1"},
    {"DO $$ BEGIN; END $$; SELECT $1; SELECT $tag$ ; $$ ; $tag$",
     "DO $$ BEGIN; END $$|SELECT $1|SELECT $tag$ ; $$ ; $tag$"},
    {"SELECT 'open ; ", "SELECT 'open ;"},
    {"/* open ; ", ""},
    {"$", "$"},
    {"-", "-"},
};

static void test_split(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(splits); i++) {
        Buf got = buf_new(arena, 4096);
        Str rest = str_c(splits[i].text), statement;
        while (sql_next(&rest, &statement)) {
            buf_add_c(&got, got.n > 0 ? "|" : "");
            buf_add(&got, statement);
        }
        assert_string_equal(text_of(&got), splits[i].statements);
    }
}

static const struct {
    const char *text;
    bool loses;
} losses[] = {
    {"DROP INDEX a.b", false},
    {"ALTER TABLE t DROP CONSTRAINT c", false},
    {"ALTER TABLE t ALTER COLUMN c DROP NOT NULL, ALTER d DROP DEFAULT", false},
    {"ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES b ON DELETE CASCADE", false},
    {"-- DROP TABLE t\nSELECT 'DROP TABLE t'", false},
    {"ALTER TABLE t ADD COLUMN c integer", false},
    {"DROP TABLE t", true},
    {"drop/* */table t", true},
    {"ALTER TABLE t DROP COLUMN c", true},
    {"ALTER TABLE t DROP c", true},
    {"ALTER TABLE t DROP \"c\"", true},
    {"DROP SCHEMA s CASCADE", true},
    {"TRUNCATE t", true},
    {"DELETE FROM t", true},
    {"WITH x AS (DELETE FROM t RETURNING *) SELECT 1", true},
    {"DO $$ BEGIN EXECUTE 'x'; END $$", true},
    {"-- usher: loses data\nALTER TABLE t ALTER COLUMN c TYPE numeric(3)", true},
};

static void test_losses(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(losses); i++) {
        if (sql_loses_data(str_c(losses[i].text)) != losses[i].loses)
            fail_msg("%s: want %s", losses[i].text, losses[i].loses ? "a loss" : "no loss");
    }
}

static void test_markers(void **state) {
    (void)state;
    assert_true(sql_no_transaction(STR("-- x\n-- usher: no transaction\nSELECT 1")));
    assert_false(sql_no_transaction(STR("SELECT '-- usher: no transaction'")));
    assert_true(sql_has_word(STR("CREATE INDEX Concurrently a"), "concurrently"));
    assert_false(sql_has_word(STR("SELECT 'concurrently', concurrently_x -- concurrently"), "concurrently"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_split, fresh, done),
        cmocka_unit_test_setup_teardown(test_losses, fresh, done),
        cmocka_unit_test_setup_teardown(test_markers, fresh, done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
