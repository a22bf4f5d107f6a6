/*
 * test_verify.c - each mistake in declarations has its sentence, and sound declarations have none.
 */
#include "resource_test.h"

/* A context that is right; each case breaks one thing of a copy. */
typedef struct Sound {
    Attribute attributes[8];
    Identity identities[3];
    Index indexes[3];
    Check checks[3];
    Relationship relationships[3];
    Action actions[4];
    Policy policies[3];
    Query queries[3];
    Migration migrations[3];
    Attribute owner_attributes[3];
    Resource item, owner;
    const Resource *list[3];
    Context context;
} Sound;

static const EnumValue grades[] = {{"good", 1}, {"better", 2}, {0}}, grades_twice[] = {{"good", 1}, {"better", 1}, {0}};
static const Validation hollow[] = {{.name = "nothing"}, {0}};

static void sound_init(Sound *s) {
    *s = (Sound){
        .attributes = {ITEM_ID,
                       ITEM_TITLE,
                       ITEM_PRICE,
                       ATTR(Item, stock, .required = true, .values = grades),
                       ATTR(Item, made_at, .required = true),
                       ATTR(Item, owner_id, .references = "owner"),
                       {0}},
        .identities = {{.name = "items_title", .attributes = {"title"}, .hashed = true}, {0}},
        .indexes = {{.name = "items_stock", .columns = "stock"}, {0}},
        .checks = {{"items_positive", "price > 0"}, {0}},
        .relationships = {{"owner", BELONGS_TO, "owner", "owner_id"}, {0}},
        .actions = {{.name = "read", .kind = ACTION_READ}, {.name = "create", .kind = ACTION_CREATE}, {0}},
        .policies = {{"*", "anyone", by_anyone}, {0}},
        .queries = {{{"items_of_owner", "SELECT 1", false}, "many Item"}, {{0}, 0}},
        .migrations = {{1, "first", "", "", ""}, {0}},
        .owner_attributes = {ITEM_ID, ITEM_TITLE, {0}},
    };
    s->item = (Resource){.name = "item",
                         .plural = "items",
                         .schema = "shop",
                         .size = sizeof(Item),
                         .attributes = s->attributes,
                         .identities = s->identities,
                         .indexes = s->indexes,
                         .checks = s->checks,
                         .relationships = s->relationships,
                         .actions = s->actions,
                         .policies = s->policies};
    s->owner = (Resource){.name = "owner",
                          .plural = "owners",
                          .schema = "shop",
                          .size = sizeof(Item),
                          .attributes = s->owner_attributes,
                          .internal = true};
    s->list[0] = &s->item;
    s->list[1] = &s->owner;
    s->context = (Context){.name = "shop",
                           .schema = "shop",
                           .role = "shop_app",
                           .database_env = "SHOP_DATABASE_URL",
                           .resources = s->list,
                           .queries = s->queries,
                           .migrations = s->migrations};
}

#define BREAK(name, statement)                                                                                         \
    static void name(Sound *s) {                                                                                       \
        statement;                                                                                                     \
    }
BREAK(no_database, s->context.database_env = NULL)
BREAK(bad_schema, s->context.schema = "Shop")
BREAK(reserved_role, s->context.role = "user")
BREAK(other_schema, s->owner.schema = "elsewhere")
BREAK(same_plural, s->owner.plural = "items")
BREAK(journal_name, s->owner.plural = "schema_migrations")
BREAK(no_attributes, s->owner.attributes = NULL)
BREAK(no_key, s->owner_attributes[0].key = false)
BREAK(bad_name, s->attributes[1].name = "Title")
BREAK(reserved_name, s->attributes[1].name = "order")
BREAK(twice, s->attributes[2].name = "title")
BREAK(fine_name, s->attributes[3].name = "made_at_fine")
BREAK(outside, s->attributes[1].offset = sizeof(Item))
BREAK(silent_null, s->attributes[3].required = false)
BREAK(contradiction, s->attributes[5].required = true)
BREAK(precision_of_text, s->attributes[1].precision = 3)
BREAK(scale_too_big, s->attributes[2].scale = 19)
BREAK(coarse_number, s->attributes[3].coarse = true)
BREAK(identity_type, s->attributes[3].identity = true)
BREAK(generated_text, s->attributes[1].generated = true)
BREAK(value_twice, s->attributes[3].values = grades_twice)
BREAK(values_of_text, s->attributes[1].values = grades)
BREAK(no_reference, s->attributes[5].references = "buyer")
BREAK(reference_type, s->attributes[3].references = "owner")
BREAK(identity_unknown, s->identities[0].attributes[0] = "titel")
BREAK(identity_empty, s->identities[0].attributes[0] = NULL)
BREAK(hashed_number, s->identities[0].attributes[0] = "stock")
BREAK(index_taken, s->indexes[0].name = "items_title")
BREAK(index_is_table, s->indexes[0].name = "owners")
BREAK(index_long, s->indexes[0].name = "an_index_name_that_is_so_long_that_postgres_would_cut_it_without_saying")
BREAK(check_empty, s->checks[0].sql = "")
BREAK(relation_unknown, s->relationships[0].resource = "buyer")
BREAK(relation_attribute, s->relationships[0].attribute = "buyer_id")
BREAK(no_policy, s->policies[0].action = "read")
BREAK(policy_unknown, s->policies[1] = ((Policy){"sell", "anyone", by_anyone}))
BREAK(policy_hollow, s->policies[0].allows = NULL)
BREAK(no_kind, s->actions[0].kind = 0)
BREAK(action_twice, s->actions[0].name = "create")
BREAK(custom_no_run, s->actions[1].kind = ACTION_CUSTOM)
BREAK(accept_unknown, s->actions[1].accept[0] = "titel")
BREAK(accept_key, s->actions[1].accept[0] = "id")
BREAK(never_set, s->actions[1].accept[0] = "title")
BREAK(rule_hollow, s->actions[1].validations = hollow)
BREAK(derived_input, s->actions[1].input_size = 8)
BREAK(derived_key, (s->attributes[0] = (Attribute)ATTR(Item, views, .key = true), s->attributes[5].references = NULL))
BREAK(internal_actions, s->owner.actions = s->actions)
BREAK(query_taken, s->queries[0].statement.name = "item_get")
BREAK(query_twice, s->queries[1] = s->queries[0])
BREAK(query_empty, s->queries[0].statement.sql = "")
BREAK(migration_gap, s->migrations[0].version = 2)

static const struct {
    const char *says;
    void (*breaks)(Sound *s);
} cases[] = {
    {"context shop: set .database_env to the environment variable of its database", no_database},
    {"context shop: .schema must be a lower-case SQL name that is no reserved word", bad_schema},
    {"context shop: .role must be a lower-case SQL name that is no reserved word", reserved_role},
    {"resource owner: .schema must be its context's, 'shop'", other_schema},
    {"resource owner: another resource of this context has its name or plural", same_plural},
    {"resource owner: schema_migrations is the journal's table; choose another .plural", journal_name},
    {"resource owner: it needs .size = sizeof(its struct) and .attributes", no_attributes},
    {"resource owner: no attribute is a .key; every table needs a primary key", no_key},
    {"resource item: attribute 'Title': want a lower-case SQL name", bad_name},
    {"resource item: attribute 'order': want a lower-case SQL name that is no reserved word", reserved_name},
    {"resource item: attribute title is there twice", twice},
    {"resource item: attribute made_at_fine has the name of the second column of made_at", fine_name},
    {"resource item: attribute title lies outside of the struct", outside},
    {"resource item: attribute stock may be NULL in the database, but its member cannot say so", silent_null},
    {"resource item: attribute owner_id is .required, but its member may be absent", contradiction},
    {"resource item: attribute title: .precision is for decimals", precision_of_text},
    {"resource item: attribute price: want 0 <= .scale <= .precision", scale_too_big},
    {"resource item: attribute stock: .coarse is for instants", coarse_number},
    {"resource item: attribute stock: an .identity is an int64_t without .default_sql", identity_type},
    {"resource item: attribute title: .generated makes Ids", generated_text},
    {"resource item: attribute stock: value better is there twice", value_twice},
    {"resource item: attribute title: .values name whole numbers", values_of_text},
    {"resource item: attribute owner_id: there is no resource 'buyer' in this context", no_reference},
    {"resource item: attribute stock: resource owner needs a single key of the same type", reference_type},
    {"resource item: identity items_title: there is no attribute 'titel'", identity_unknown},
    {"resource item: identity items_title names no attribute", identity_empty},
    {"resource item: identity items_title: .hashed is for texts", hashed_number},
    {"resource item: the name items_title is already taken by resource item", index_taken},
    {"resource owner: the name owners is already taken by resource item", index_is_table},
    {"resource item: index name 'an_index_name_that_is_so_long_that_postgres_would_cut_it_without_saying' is no",
     index_long},
    {"resource item: check items_positive has no .sql", check_empty},
    {"resource item: relationship owner: there is no resource 'buyer'", relation_unknown},
    {"resource item: relationship owner: resource item has no attribute 'buyer_id'", relation_attribute},
    {"resource item: no policy covers action 'create'; add a row to its policies", no_policy},
    {"resource item: policy for 'sell': there is no such action", policy_unknown},
    {"resource item: policy for '*' needs a .name and .allows", policy_hollow},
    {"resource item: action read has no .kind", no_kind},
    {"resource item: action create is there twice", action_twice},
    {"resource item: action create is ACTION_CUSTOM and needs a .run", custom_no_run},
    {"resource item: action create accepts 'titel', which is no attribute", accept_unknown},
    {"resource item: action create accepts id; keys and identities are not taken", accept_key},
    {"resource item: action create never sets price, which is .required", never_set},
    {"resource item: action create: validation nothing has no .check", rule_hollow},
    {"resource item: action create is derived, so its input is the resource's struct", derived_input},
    {"resource item: action create is derived, which needs exactly one .key, an Id", derived_key},
    {"resource owner: an internal resource has no actions", internal_actions},
    {"context shop: query item_get: its name is already taken by a keyed read", query_taken},
    {"context shop: query items_of_owner: its name is already taken by another query", query_twice},
    {"context shop: query items_of_owner has no SQL", query_empty},
    {"context shop: migration first has number 2, want 1", migration_gap},
};

static void test_sound(void **state) {
    (void)state;
    Sound s;
    sound_init(&s);
    size_t n = context_verify(&s.context, &report);
    if (n != 0)
        fail_msg("%s", text_of(&report));
    assert_int_equal(report.n, 0);
}

static void test_mistakes(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Sound s;
        sound_init(&s);
        cases[i].breaks(&s);
        report = buf_new(arena, 1 << 16);
        size_t n = context_verify(&s.context, &report);
        ASSERT_SAYS(text_of(&report), cases[i].says);
        size_t lines = 0;
        for (size_t k = 0; k < report.n; k++)
            lines += report.p[k] == '\n';
        assert_int_equal(n, lines);
    }
}

/* --- against a server -------------------------------------------------------------------------------------- */

static const struct {
    const char *sql, *returns, *says;
} queries[] = {
    {"SELECT * FROM shop.items WHERE owner_id = $1", "many Item", NULL},
    {"SELECT title, price, stock, made_at, made_at_fine, owner_id, id, 1 AS extra FROM shop.items", "one Item", NULL},
    {"UPDATE shop.items SET stock = 1", "exec", NULL},
    {"SELECT count(*) FROM shop.items", "one Count", NULL},
    {"SELECT id, title FROM shop.items", "many Item", "query q returns item rows, but lacks column price"},
    {"SELECT id, title, price, stock, made_at, owner_id FROM shop.items", "many Item", "lacks column made_at_fine"},
    {"SELECT i.*, stock::bigint AS stock FROM shop.items i", "many Item", NULL},
    {"SELECT id, title, price, stock::bigint AS stock, made_at, made_at_fine, owner_id FROM shop.items", "many Item",
     "query q: column stock has type 20, item needs 23"},
    {"SELECT titel FROM shop.items", "many", "statement q: column \"titel\" does not exist at character 8"},
    {"SELEC 1", "exec", "statement q: syntax error at or near \"SELEC\" at character 1"},
    {"DELETE FROM shop.items", "many Item", "query q says it returns rows, but does not; write :exec"},
};

static void test_database(void **state) {
    (void)state;
    PGconn *conn = connect_or_skip();
    drop_shop(conn);
    Sound s;
    sound_init(&s);
    s.context.migrations = NULL;
    char *folder = new_folder();
    ASSERT_ERR(migrate_generate(&ctx, &s.context, &(GenerateOptions){.name = "a", .directory = folder}, &report),
               ERR_OK);
    s.migrations[0] = (Migration){1, "a", migration_file(folder, 1, "a", "up.sql"), "", ""};
    s.context.migrations = s.migrations;
    remove_folder(folder);
    ASSERT_ERR(migrate_up(&ctx, &s.context, conn, 0, &report), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        s.queries[0] = (Query){{"q", queries[i].sql, false}, queries[i].returns};
        report = buf_new(arena, 1 << 16);
        size_t n = context_verify_database(&ctx, &s.context, conn, &report);
        if (queries[i].says != NULL)
            ASSERT_SAYS(text_of(&report), queries[i].says);
        else if (n != 0)
            fail_msg("%s: %s", queries[i].sql, text_of(&report));
    }
    /* Composed statements meet a table that has changed. */
    sql(conn, "ALTER TABLE shop.items DROP COLUMN stock");
    s.queries[0] = (Query){0};
    report = buf_new(arena, 1 << 16);
    assert_int_equal(context_verify_database(&ctx, &s.context, conn, &report), 2);
    ASSERT_SAYS(text_of(&report), "statement item_get: column \"stock\" does not exist");
    ASSERT_SAYS(text_of(&report), "statement item_create: column \"stock\" of relation \"items\" does not exist");
    drop_shop(conn);
    PQfinish(conn);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sound, fresh, done),
        cmocka_unit_test_setup_teardown(test_mistakes, fresh, done),
        cmocka_unit_test_setup_teardown(test_database, fresh, done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
