/*
 * test_generate.c - from a change of the declarations to reviewable SQL: each row is one change, and the exact text for
 * it.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "resource_test.h"

typedef struct Case {
    const char *label;
    Attribute before[6], after[6];
    Index index; /* on the table afterwards */
    Identity identity;
    Check check;
    const char *storage;
    const char *allow[3], *renames[3];
    Err want;
    const char *up, *online, *down; /* without their opening lines; NULL: no such file */
    const char *says;               /* in the report */
} Case;

static const Case cases[] = {
    {.label = "an attribute is added: optional, so nothing waits for it",
     .before = {ITEM_ID, {0}},
     .after = {ITEM_ID, ATTR(Item, note), {0}},
     .up = "\n-- items.note: add column\nALTER TABLE shop.items ADD COLUMN note text COLLATE \"C\";\n",
     .down = "\n-- items.note: drop column\n-- usher: loses data\nALTER TABLE shop.items DROP COLUMN note;\n"},
    {.label = "an instant is two columns, and the range of the second is checked online",
     .before = {ITEM_ID, {0}},
     .after = {ITEM_ID, ATTR(Item, gone_at), {0}},
     .up = "\n-- items.gone_at: add column\nALTER TABLE shop.items ADD COLUMN gone_at timestamp with time zone;\n"
           "\n-- items.gone_at_fine: add column\nALTER TABLE shop.items ADD COLUMN gone_at_fine smallint NOT NULL "
           "DEFAULT 0;\n",
     .online =
         "\n-- items.items_gone_at_fine_range: add constraint\n"
         "ALTER TABLE shop.items DROP CONSTRAINT IF EXISTS items_gone_at_fine_range;\n"
         "ALTER TABLE shop.items ADD CONSTRAINT items_gone_at_fine_range CHECK (gone_at_fine BETWEEN -8400 AND 8409) "
         "NOT VALID;\n"
         "ALTER TABLE shop.items VALIDATE CONSTRAINT items_gone_at_fine_range;\n"},
    {.label = "a coarse instant is one",
     .before = {ITEM_ID, {0}},
     .after = {ITEM_ID, ATTR(Item, gone_at, .coarse = true), {0}},
     .up = "\n-- items.gone_at: add column\nALTER TABLE shop.items ADD COLUMN gone_at timestamp with time zone;\n"},
    {.label = "a required attribute with a constant default is no rewrite",
     .before = {ITEM_ID, {0}},
     .after = {ITEM_ID, ATTR(Item, stock, .required = true, .default_sql = "0"), {0}},
     .up = "\n-- items.stock: add column\nALTER TABLE shop.items ADD COLUMN stock integer NOT NULL DEFAULT 0;\n"},
    {.label = "a required attribute without default only fits an empty table",
     .before = {ITEM_ID, {0}},
     .after = {ITEM_ID, ITEM_TITLE, {0}},
     .want = ERR_REFUSED,
     .says = "To allow it: --allow empty-table:items.title"},
    {.label = "… and is written when the flag says so",
     .before = {ITEM_ID, {0}},
     .after = {ITEM_ID, ITEM_TITLE, {0}},
     .allow = {"empty-table:items.title"},
     .up = "\n-- items.title: add column\nALTER TABLE shop.items ADD COLUMN title text COLLATE \"C\" NOT NULL;\n"},
    {.label = "a default that differs from row to row rewrites the table",
     .before = {ITEM_ID, {0}},
     .after = {ITEM_ID, ATTR(Item, seen_at, .required = true, .coarse = true, .default_sql = "clock_timestamp()"), {0}},
     .want = ERR_REFUSED,
     .says = "--allow rewrite:items.seen_at"},
    {.label = "now() is evaluated once and does not",
     .before = {ITEM_ID, {0}},
     .after = {ITEM_ID, ATTR(Item, seen_at, .required = true, .coarse = true, .default_sql = "now()"), {0}},
     .up = "\n-- items.seen_at: add column\n"
           "ALTER TABLE shop.items ADD COLUMN seen_at timestamp with time zone NOT NULL DEFAULT now();\n"},
    {.label = "an attribute goes: its values would be lost",
     .before = {ITEM_ID, ITEM_PRICE, {0}},
     .after = {ITEM_ID, {0}},
     .want = ERR_REFUSED,
     .says =
         "shop: refused: items.price: drop column: its values are lost. To allow it: --allow drop-column:items.price"},
    {.label = "… a flag for another column does not help",
     .before = {ITEM_ID, ITEM_PRICE, {0}},
     .after = {ITEM_ID, {0}},
     .allow = {"drop-column:items.title"},
     .want = ERR_REFUSED,
     .says = "--allow drop-column:items.price"},
    {.label = "… and goes with its own",
     .before = {ITEM_ID, ITEM_PRICE, {0}},
     .after = {ITEM_ID, {0}},
     .allow = {"drop-column:items.price"},
     .up = "\n-- items.price: drop column\n-- usher: loses data\nALTER TABLE shop.items DROP COLUMN price;\n",
     .down = "\n-- items.price: add column\nALTER TABLE shop.items ADD COLUMN price numeric(18,2) NOT NULL;\n"},
    {.label = "a number gets wider at the same scale: no rewrite",
     .before = {ITEM_ID, ITEM_PRICE, {0}},
     .after = {ITEM_ID, ATTR(Item, price, .required = true, .precision = 28, .scale = 2), {0}},
     .up = "\n-- items.price: change type\n"
           "ALTER TABLE shop.items ALTER COLUMN price TYPE numeric(28,2) USING price::numeric(28,2);\n",
     .down = "\n-- items.price: change type\n-- usher: loses data\n"
             "ALTER TABLE shop.items ALTER COLUMN price TYPE numeric(18,2) USING price::numeric(18,2);\n"},
    {.label = "another scale rewrites and may round",
     .before = {ITEM_ID, ITEM_PRICE, {0}},
     .after = {ITEM_ID, ATTR(Item, price, .required = true, .precision = 18, .scale = 1), {0}},
     .want = ERR_REFUSED,
     .says = "values that do not fit are rounded or refused. To allow it: --allow rewrite:items.price"},
    {.label = "a rename is declared",
     .before = {ITEM_ID, ATTR(Item, note), {0}},
     .after = {ITEM_ID, ATTR(Item, title, .renamed_from = "note"), {0}},
     .up = "\n-- items.note: rename to title\nALTER TABLE shop.items RENAME COLUMN note TO title;\n",
     .down = "\n-- items.title: rename to note\nALTER TABLE shop.items RENAME COLUMN title TO note;\n"},
    {.label = "a rename is said on the command line",
     .before = {ITEM_ID, ATTR(Item, note), {0}},
     .after = {ITEM_ID, ATTR(Item, title), {0}},
     .renames = {"items.note=title"},
     .up = "\n-- items.note: rename to title\nALTER TABLE shop.items RENAME COLUMN note TO title;\n",
     .down = "\n-- items.title: rename to note\nALTER TABLE shop.items RENAME COLUMN title TO note;\n"},
    {.label = "a renamed instant takes its second column and its check along",
     .before = {ITEM_ID, ATTR(Item, made_at, .required = true), {0}},
     .after = {ITEM_ID, ATTR(Item, seen_at, .required = true, .renamed_from = "made_at"), {0}},
     .up = "\n-- items.made_at: rename to seen_at\nALTER TABLE shop.items RENAME COLUMN made_at TO seen_at;\n"
           "\n-- items.made_at_fine: rename to seen_at_fine\n"
           "ALTER TABLE shop.items RENAME COLUMN made_at_fine TO seen_at_fine;\n"
           "\n-- items.items_seen_at_fine_range: rename constraint\n"
           "ALTER TABLE shop.items RENAME CONSTRAINT items_made_at_fine_range TO items_seen_at_fine_range;\n",
     .down = "\n-- items.items_made_at_fine_range: rename constraint\n"
             "ALTER TABLE shop.items RENAME CONSTRAINT items_seen_at_fine_range TO items_made_at_fine_range;\n"
             "\n-- items.seen_at_fine: rename to made_at_fine\n"
             "ALTER TABLE shop.items RENAME COLUMN seen_at_fine TO made_at_fine;\n"
             "\n-- items.seen_at: rename to made_at\nALTER TABLE shop.items RENAME COLUMN seen_at TO made_at;\n"},
    {.label = "what looks like a rename is asked about, never guessed",
     .before = {ITEM_ID, ATTR(Item, note), {0}},
     .after = {ITEM_ID, ATTR(Item, title), {0}},
     .want = ERR_INVALID,
     .says = "items: was column note renamed to title? Both are text COLLATE \"C\". If so: --rename items.note=title; "
             "if it is "
             "to go with its data: --allow drop-column:items.note"},
    {.label = "… and the drop's flag answers the question",
     .before = {ITEM_ID, ATTR(Item, note), {0}},
     .after = {ITEM_ID, ATTR(Item, title), {0}},
     .allow = {"drop-column:items.note"},
     .up = "\n-- items.title: add column\nALTER TABLE shop.items ADD COLUMN title text COLLATE \"C\";\n"
           "\n-- items.note: drop column\n-- usher: loses data\nALTER TABLE shop.items DROP COLUMN note;\n"},
    {.label = "other types are no question",
     .before = {ITEM_ID, ATTR(Item, note), {0}},
     .after = {ITEM_ID, ATTR(Item, owner_id), {0}},
     .want = ERR_REFUSED,
     .says = "--allow drop-column:items.note"},
    {.label = "a rename that fits nothing is a mistake",
     .before = {ITEM_ID, ATTR(Item, note), {0}},
     .after = {ITEM_ID, ATTR(Item, title), {0}},
     .renames = {"items.nota=title"},
     .want = ERR_INVALID},
    {.label = "an index on a table that stands is built without stopping writers",
     .before = {ITEM_ID, ITEM_TITLE, {0}},
     .after = {ITEM_ID, ITEM_TITLE, {0}},
     .index = {.name = "items_by_title", .columns = "title", .where = "title <> ''"},
     .online = "\n-- items.items_by_title: add index\nDROP INDEX CONCURRENTLY IF EXISTS shop.items_by_title;\n"
               "CREATE INDEX CONCURRENTLY items_by_title ON shop.items USING btree (title) WHERE (title <> '');\n"},
    {.label = "… or directly where the flag accepts the lock",
     .before = {ITEM_ID, ITEM_TITLE, {0}},
     .after = {ITEM_ID, ITEM_TITLE, {0}},
     .index = {.name = "items_by_title", .columns = "title"},
     .allow = {"lock:items.items_by_title"},
     .up = "\n-- items.items_by_title: add index\nCREATE INDEX items_by_title ON shop.items USING btree (title);\n",
     .down = "\n-- items.items_by_title: drop index\nDROP INDEX shop.items_by_title;\n"},
    {.label = "a unique rule likewise",
     .before = {ITEM_ID, ITEM_TITLE, {0}},
     .after = {ITEM_ID, ITEM_TITLE, {0}},
     .identity = {.name = "items_title", .attributes = {"title"}},
     .online = "\n-- items.items_title: add constraint\nALTER TABLE shop.items DROP CONSTRAINT IF EXISTS items_title;\n"
               "DROP INDEX CONCURRENTLY IF EXISTS shop.items_title;\n"
               "CREATE UNIQUE INDEX CONCURRENTLY items_title ON shop.items USING btree (title);\n"
               "ALTER TABLE shop.items ADD CONSTRAINT items_title UNIQUE USING INDEX items_title;\n"},
    {.label = "a hashed identity is an index over the digest",
     .before = {ITEM_ID, ITEM_TITLE, {0}},
     .after = {ITEM_ID, ITEM_TITLE, {0}},
     .identity = {.name = "items_title", .attributes = {"title"}, .hashed = true},
     .online = "\n-- items.items_title: add index\nDROP INDEX CONCURRENTLY IF EXISTS shop.items_title;\n"
               "CREATE UNIQUE INDEX CONCURRENTLY items_title ON shop.items USING btree "
               "(sha256(decode(replace(title, '\\', '\\\\'), 'escape')));\n"},
    {.label = "a check is added first for new rows, then for old ones",
     .before = {ITEM_ID, ITEM_PRICE, {0}},
     .after = {ITEM_ID, ITEM_PRICE, {0}},
     .check = {"items_price_positive", "price >= 0"},
     .online = "\n-- items.items_price_positive: add constraint\n"
               "ALTER TABLE shop.items DROP CONSTRAINT IF EXISTS items_price_positive;\n"
               "ALTER TABLE shop.items ADD CONSTRAINT items_price_positive CHECK (price >= 0) NOT VALID;\n"
               "ALTER TABLE shop.items VALIDATE CONSTRAINT items_price_positive;\n"},
    {.label = "an attribute becomes required by way of a validated check",
     .before = {ITEM_ID, ATTR(Item, title), {0}},
     .after = {ITEM_ID, ITEM_TITLE, {0}},
     .online = "\n-- items.title: make required\nALTER TABLE shop.items DROP CONSTRAINT IF EXISTS title_is_there;\n"
               "ALTER TABLE shop.items ADD CONSTRAINT title_is_there CHECK (title IS NOT NULL) NOT VALID;\n"
               "ALTER TABLE shop.items VALIDATE CONSTRAINT title_is_there;\n"
               "ALTER TABLE shop.items ALTER COLUMN title SET NOT NULL;\n"
               "ALTER TABLE shop.items DROP CONSTRAINT title_is_there;\n"},
    {.label = "… and optional at once",
     .before = {ITEM_ID, ITEM_TITLE, {0}},
     .after = {ITEM_ID, ATTR(Item, title), {0}},
     .up = "\n-- items.title: make optional\nALTER TABLE shop.items ALTER COLUMN title DROP NOT NULL;\n"},
    {.label = "another key is never harmless",
     .before = {ITEM_ID, ATTR(Item, stock, .required = true), {0}},
     .after = {ITEM_ID, ATTR(Item, stock, .key = true), {0}},
     .want = ERR_REFUSED,
     .says = "--allow lock:items.items_pkey"},
    {.label = "a default changes for rows to come",
     .before = {ITEM_ID, ATTR(Item, stock, .required = true), {0}},
     .after = {ITEM_ID, ATTR(Item, stock, .required = true, .default_sql = "7"), {0}},
     .up = "\n-- items.stock: change default\nALTER TABLE shop.items ALTER COLUMN stock SET DEFAULT 7;\n",
     .down = "\n-- items.stock: change default\nALTER TABLE shop.items ALTER COLUMN stock DROP DEFAULT;\n"},
    {.label = "storage parameters",
     .before = {ITEM_ID, {0}},
     .after = {ITEM_ID, {0}},
     .storage = "fillfactor=70",
     .up = "\n-- items: storage parameters\nALTER TABLE shop.items SET (fillfactor=70);\n",
     .down = "\n-- items: storage parameters\nALTER TABLE shop.items RESET (fillfactor);\n"},
    {.label = "nothing changed: nothing is written",
     .before = {ITEM_ID, ITEM_TITLE, {0}},
     .after = {ITEM_ID, ITEM_TITLE, {0}},
     .says = "shop: declarations and migrations agree"},
};

/* Behind the opening comment lines. */
static const char *body(const char *file) {
    while (file != NULL && strncmp(file, "--", 2) == 0)
        file = strchr(file, '\n') + 1;
    return file;
}

static void assert_body(const Case *c, const char *file, const char *want) {
    if (file == NULL && want == NULL)
        return;
    if (file == NULL || want == NULL || strcmp(body(file), want) != 0)
        fail_msg("%s:\nwant:\n%s\ngot:\n%s", c->label, want == NULL ? "(no file)" : want,
                 file == NULL ? "(no file)" : body(file));
}

static void run_case(const Case *c) {
    Shop before, after;
    shop_init(&before, c->before);
    shop_init(&after, c->after);
    const Index indexes[] = {c->index, {0}};
    const Identity identities[] = {c->identity, {0}};
    const Check checks[] = {c->check, {0}};
    after.resources[0].indexes = indexes;
    after.resources[0].identities = identities;
    after.resources[0].checks = checks;
    after.resources[0].storage = c->storage;
    after.migrations[0] = (Migration){1, "first", "", "", snapshot_of(&before)};
    const char *folder = new_folder();
    GenerateOptions options = {.name = "change", .directory = folder, .allow = c->allow, .renames = c->renames};
    report = buf_new(arena, 1 << 20);
    ctx.problem = (Problem){0};
    Err err = migrate_generate(&ctx, &after.context, &options, &report);
    const char *said = text_of(&report);
    if (err != c->want)
        fail_msg("%s: want %s, got %s\n%.*s\n%s", c->label, err_name(c->want), err_name(err),
                 STR_ARG(ctx.problem.message), said);
    const char *up = migration_file(folder, 2, "change", "up.sql");
    bool only_online = c->up == NULL && c->online != NULL;
    assert_body(c, only_online ? NULL : up, c->up);
    const char *online = only_online ? up : migration_file(folder, 3, "change_online", "up.sql");
    assert_body(c, online, c->online);
    if (online != NULL)
        ASSERT_SAYS(online, "-- usher: no transaction\n");
    if (c->down != NULL)
        assert_body(c, migration_file(folder, 2, "change", "down.sql"), c->down);
    if (c->says != NULL)
        ASSERT_SAYS(said, c->says);
    remove_folder(folder);
}

static void test_changes(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        run_case(&cases[i]);
}

static void test_first_migration(void **state) {
    (void)state;
    Shop shop;
    shop_init(&shop, ATTRIBUTES(ITEM_ID, ITEM_TITLE, ATTR(Item, made_at, .required = true),
                                ATTR(Item, owner_id, .references = "owner"), ATTR(Item, views, .identity = true)));
    Resource *owner = shop_add(&shop, "owner", "owners", ATTRIBUTES(ITEM_ID, ITEM_TITLE));
    owner->seed_sql = "INSERT INTO shop.owners (id, title) VALUES (gen_random_uuid(), 'house') ON CONFLICT DO NOTHING";
    shop.resources[0].storage = "fillfactor=70";
    shop.resources[0].identities = (const Identity[]){{.name = "items_title", .attributes = {"title"}}, {0}};
    shop.resources[0].indexes = (const Index[]){{.name = "items_made", .columns = "made_at DESC"}, {0}};
    const char *folder = new_folder();
    ASSERT_ERR(migrate_generate(&ctx, &shop.context, &(GenerateOptions){.directory = folder}, &report), ERR_OK);
    const char *up = migration_file(folder, 1, "items_create_table", "up.sql");
    assert_non_null(up);
    assert_string_equal(
        body(up), "\n-- items: create table\n"
                  "CREATE TABLE shop.items (\n"
                  "    id uuid NOT NULL,\n"
                  "    title text COLLATE \"C\" NOT NULL,\n"
                  "    made_at timestamp with time zone NOT NULL,\n"
                  "    made_at_fine smallint NOT NULL DEFAULT 0,\n"
                  "    owner_id uuid,\n"
                  "    views bigint GENERATED ALWAYS AS IDENTITY,\n"
                  "    CONSTRAINT items_pkey PRIMARY KEY (id),\n"
                  "    CONSTRAINT items_made_at_fine_range CHECK (made_at_fine BETWEEN -8400 AND 8409),\n"
                  "    CONSTRAINT items_title UNIQUE (title)\n"
                  ") WITH (fillfactor=70);\n"
                  "CREATE INDEX items_made ON shop.items USING btree (made_at DESC);\n"
                  "\n-- owners: create table\n"
                  "CREATE TABLE shop.owners (\n"
                  "    id uuid NOT NULL,\n"
                  "    title text COLLATE \"C\" NOT NULL,\n"
                  "    CONSTRAINT owners_pkey PRIMARY KEY (id)\n"
                  ");\n"
                  "INSERT INTO shop.owners (id, title) VALUES (gen_random_uuid(), 'house') ON CONFLICT DO NOTHING;\n"
                  "\n-- items.items_owner_id_fkey: add constraint\n"
                  "ALTER TABLE shop.items ADD CONSTRAINT items_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES "
                  "shop.owners (id);\n");
    /* The folder is the truth: the next run sees what this one wrote, although nothing is embedded yet. */
    ASSERT_ERR(migrate_generate(&ctx, &shop.context, &(GenerateOptions){.directory = folder}, &report), ERR_OK);
    ASSERT_SAYS(text_of(&report), "declarations and migrations agree");
    remove_folder(folder);
}

static void test_tables_come_and_go(void **state) {
    (void)state;
    Shop before, after;
    shop_init(&before, ATTRIBUTES(ITEM_ID, ITEM_TITLE));
    shop_init(&after, ATTRIBUTES(ITEM_ID, ITEM_TITLE));
    after.resources[0].plural = "goods";
    after.migrations[0] = (Migration){1, "first", "", "", snapshot_of(&before)};
    const char *folder = new_folder();
    GenerateOptions options = {.name = "x", .directory = folder};
    ASSERT_ERR(migrate_generate(&ctx, &after.context, &options, &report), ERR_INVALID);
    ASSERT_SAYS(text_of(&report), "was table items renamed to goods?");
    ASSERT_SAYS(text_of(&report), "--allow drop-table:items");

    options.renames = (const char *const[]){"items=goods", NULL};
    ASSERT_ERR(migrate_generate(&ctx, &after.context, &options, &report), ERR_OK);
    const char *up = migration_file(folder, 2, "x", "up.sql");
    assert_string_equal(body(up), "\n-- items: rename to goods\nALTER TABLE shop.items RENAME TO goods;\n"
                                  "\n-- goods.goods_pkey: rename constraint\n"
                                  "ALTER TABLE shop.goods RENAME CONSTRAINT items_pkey TO goods_pkey;\n");
    remove_folder(folder);

    folder = new_folder();
    options =
        (GenerateOptions){.name = "x", .directory = folder, .allow = (const char *const[]){"drop-table:items", NULL}};
    ASSERT_ERR(migrate_generate(&ctx, &after.context, &options, &report), ERR_OK);
    ASSERT_SAYS(migration_file(folder, 2, "x", "up.sql"), "-- usher: loses data\nDROP TABLE shop.items;\n");
    remove_folder(folder);
}

static void test_check_writes_nothing(void **state) {
    (void)state;
    Shop shop;
    shop_init(&shop, ATTRIBUTES(ITEM_ID));
    const char *folder = new_folder();
    ASSERT_ERR(migrate_generate(&ctx, &shop.context,
                                &(GenerateOptions){.name = "x", .directory = folder, .check = true}, &report),
               ERR_CONFLICT);
    ASSERT_SAYS(text_of(&report), "items: create table");
    assert_null(migration_file(folder, 1, "x", "up.sql"));
    remove_folder(folder);
}

static void test_snapshot_is_stable(void **state) {
    (void)state;
    Shop shop;
    shop_init(&shop, ATTRIBUTES(ITEM_ID, ATTR(Item, note, .default_sql = "'a \"b\"\\'"), ATTR(Item, gone_at)));
    const char *once = snapshot_of(&shop);
    assert_string_equal(once, snapshot_of(&shop));
    ASSERT_SAYS(once, "\n          \"name\": \"note\",\n");
    shop.migrations[0] = (Migration){1, "first", "", "", once};
    ASSERT_ERR(migrate_generate(&ctx, &shop.context, &(GenerateOptions){.check = true}, &report), ERR_OK);
}

static void test_bad_snapshots(void **state) {
    (void)state;
    static const char *const documents[] = {
        "",
        "null",
        "{}",
        "[1]",
        "{\"format\":1}",
        "{\"format\":2,\"schema\":\"shop\",\"tables\":[]}",
        "{\"format\":1,\"schema\":\"Shop\",\"tables\":[]}",
        "{\"format\":1,\"schema\":\"shop\",\"tables\":{}}",
        "{\"format\":1,\"schema\":\"shop\",\"tables\":[7]}",
        "{\"format\":1,\"schema\":\"shop\",\"tables\":[{\"name\":\"a;drop\"}]}",
        "{\"format\":1,\"schema\":\"shop\",\"tables\":[{\"name\":\"a\",\"columns\":[{\"name\":\"b\"}]}]}",
        ("{\"format\":1,\"schema\":\"shop\",\"tables\":[{\"name\":\"a\",\"columns\":[{\"name\":\"b\",\"type\":"
         "\"x\\u0000y\"}],"
         "\"constraints\":[],\"indexes\":[]}]}"),
        ("{\"format\":1,\"schema\":\"shop\",\"tables\":[{\"name\":\"a\",\"columns\":[],\"constraints\":[{\"name\":"
         "\"c\","
         "\"definition\":\"d\",\"kind\":\"foreign key\"}],\"indexes\":[]}]}"),
    };
    Shop shop;
    shop_init(&shop, ATTRIBUTES(ITEM_ID));
    for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
        shop.migrations[0] = (Migration){1, "first", "", "", documents[i]};
        ASSERT_ERR(migrate_generate(&ctx, &shop.context, &(GenerateOptions){.check = true}, &report), ERR_SYNTAX);
    }
}

/* One old check, two new ones that say the same: the first takes the old one's place, the second is made. */
static void test_twins(void **state) {
    (void)state;
    Shop before, after;
    shop_init(&before, ATTRIBUTES(ITEM_ID, ITEM_PRICE));
    shop_init(&after, ATTRIBUTES(ITEM_ID, ITEM_PRICE));
    before.resources[0].checks = (const Check[]){{"one", "price > 0"}, {0}};
    after.resources[0].checks = (const Check[]){{"two", "price > 0"}, {"three", "price > 0"}, {0}};
    after.migrations[0] = (Migration){1, "first", "", "", snapshot_of(&before)};
    char *folder = new_folder();
    GenerateOptions options = {.name = "Of Twins", .directory = folder};
    ASSERT_ERR(migrate_generate(&ctx, &after.context, &options, &report), ERR_OK);
    assert_string_equal(body(migration_file(folder, 2, "of_twins", "up.sql")),
                        "\n-- items.two: rename constraint\nALTER TABLE shop.items RENAME CONSTRAINT one TO two;\n");
    ASSERT_SAYS(migration_file(folder, 3, "of_twins_online", "up.sql"),
                "ADD CONSTRAINT three CHECK (price > 0) NOT VALID");
    ASSERT_SAYS(migration_file(folder, 3, "of_twins_online", "down.sql"), "DROP CONSTRAINT three;\n");
    remove_folder(folder);
}

/* Each allocation refused in turn: an error, and no half of a migration. */
static void test_no_memory(void **state) {
    (void)state;
    Shop before, after;
    shop_init(&before, ATTRIBUTES(ITEM_ID, ITEM_TITLE));
    shop_init(&after, ATTRIBUTES(ITEM_ID, ITEM_TITLE, ATTR(Item, extra), ATTR(Item, gone_at)));
    after.resources[0].identities = (const Identity[]){{.name = "items_title", .attributes = {"title"}}, {0}};
    shop_add(&after, "owner", "owners", ATTRIBUTES(ITEM_ID));
    after.migrations[0] = (Migration){1, "first", "", "", snapshot_of(&before)};
    char *folder = new_folder();
    GenerateOptions options = {.name = "x", .directory = folder};
    uint64_t n = 1;
    for (Err err = ERR_NO_MEMORY; err != ERR_OK; n++) {
        Buf fresh_report = buf_new(arena, 1 << 16);
        ctx.problem = (Problem){0};
        arena_fail_nth(n);
        err = migrate_generate(&ctx, &after.context, &options, &fresh_report);
        arena_fail_nth(0);
        if (err != ERR_OK && err != ERR_NO_MEMORY)
            fail_msg("allocation %d refused: want no_memory, got %s: %.*s", (int)n, err_name(err),
                     STR_ARG(ctx.problem.message));
        if (err != ERR_OK && rmdir(folder) != 0)
            fail_msg("allocation %d refused: files were left", (int)n);
        else if (err != ERR_OK)
            assert_int_equal(mkdir(folder, 0777), 0);
    }
    assert_true(n > 20);
    remove_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_changes, fresh, done),
        cmocka_unit_test_setup_teardown(test_first_migration, fresh, done),
        cmocka_unit_test_setup_teardown(test_tables_come_and_go, fresh, done),
        cmocka_unit_test_setup_teardown(test_check_writes_nothing, fresh, done),
        cmocka_unit_test_setup_teardown(test_snapshot_is_stable, fresh, done),
        cmocka_unit_test_setup_teardown(test_bad_snapshots, fresh, done),
        cmocka_unit_test_setup_teardown(test_twins, fresh, done),
        cmocka_unit_test_setup_teardown(test_no_memory, fresh, done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
