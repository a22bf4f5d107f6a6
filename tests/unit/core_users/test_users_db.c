/*
 * test_users_db.c - users on a real Postgres: no address twice, whatever the schedule.
 */
#include "../core_events/context_db.h"

#include "core_users/core_users.h"
#include "core_users/user.h"

#define EXISTS "Email already exists"

static int open_db(void **state) {
    if (getenv("DATABASE_URL") != NULL)
        *state = db_open(&CORE_USERS_CONTEXT);
    return 0;
}

static int close_db(void **state) {
    if (*state != NULL)
        db_close(*state);
    return 0;
}

static Ask ask_of(const char *action, User *user) {
    return (Ask){.resource = &USER_RESOURCE, .action = action, .input = user};
}

static Id add_user(ContextDb *db, const char *name, const char *email) {
    User user = {.id = id_random(), .full_name = str_c(name), .email = str_c(email), .user_type = 1};
    Ask ask = ask_of("create", &user);
    assert_int_equal(ask_one(db, &ask), ERR_OK);
    return user.id;
}

static void fifty_at_once_with_one_address_give_one(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    User users[50];
    Ask asks[50];
    for (int i = 0; i < 50; i++) {
        users[i] = (User){.id = id_random(), .full_name = STR("Ann"), .email = STR("ann@x.io")};
        asks[i] = ask_of("create", &users[i]);
    }
    assert_int_equal(ask_all(db, asks, 50), 1);
    assert_refused_with(asks, 50, ERR_CONFLICT, EXISTS);
    assert_int_equal(db_sql("SELECT count(*) FROM users.users"), 1);
    assert_int_equal(db_sql("SELECT count(*) FROM users.outbox"), 1);
}

static void updates_keep_the_rules(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    Id ann = add_user(db, "Ann", "ann@x.io");
    add_user(db, "Bob", "bob@x.io");
    add_user(db, "Slash", "back\\slash@x.io");
    const struct {
        const char *label;
        Id id;
        const char *name, *email;
        Err want;
        const char *words;
    } cases[] = {
        {"own address", ann, "Ann B", "ann@x.io", ERR_OK, ""},
        {"another's address", ann, "Ann", "bob@x.io", ERR_CONFLICT, EXISTS},
        {"another's address with a backslash", ann, "Ann", "back\\slash@x.io", ERR_CONFLICT, EXISTS},
        {"unknown user", id_no(9), "X", "x@x.io", ERR_NOT_FOUND, "User does not exist"},
        {"unknown user, taken address", id_no(9), "X", "bob@x.io", ERR_CONFLICT, EXISTS},
        {"no address", ann, "Ann", NULL, ERR_INVALID, "Email cannot be empty"},
        {"no name", ann, NULL, "ann@x.io", ERR_INTERNAL, "Name cannot be empty"},
        {"new address", ann, "Ann C", "ann2@x.io", ERR_OK, ""},
        {"the left address is free", id_no(9), "X", "ann@x.io", ERR_NOT_FOUND, "User does not exist"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        User user = {.id = cases[i].id, .full_name = str_c(cases[i].name), .email = str_c(cases[i].email)};
        Ask ask = ask_of("update", &user);
        if (ask_one(db, &ask) != cases[i].want || strcmp(ask.words, cases[i].words) != 0)
            fail_msg("%s: got %s %s", cases[i].label, err_name(ask.err), ask.words);
    }
    assert_db_text(db, "SELECT full_name || ' ' || user_type FROM users.users WHERE email = 'ann2@x.io'", "Ann C 1");
    assert_int_equal(db_sql("SELECT count(*) FROM users.outbox"), 5);
    assert_db_text(db, "SELECT payload::json->>'email' FROM users.outbox ORDER BY position DESC LIMIT 1", "ann2@x.io");
}

/* Sixty users want the same three addresses at once, while others register with them. */
static void no_schedule_gives_an_address_twice(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    enum { N = 60 };
    static User users[2 * N];
    static Ask asks[2 * N];
    static const Str WANTED[] = {{"a@x.io", 6}, {"b@x.io", 6}, {"c@x.io", 6}};
    for (int i = 0; i < N; i++) {
        char email[40];
        snprintf(email, sizeof email, "user%d@x.io", i);
        users[i] = (User){.id = add_user(db, "U", email), .full_name = STR("U"), .email = WANTED[i % 3]};
        users[N + i] = (User){.id = id_random(), .full_name = STR("New"), .email = WANTED[i % 3]};
        asks[2 * i] = ask_of("update", &users[i]);
        asks[2 * i + 1] = ask_of("create", &users[N + i]);
    }
    assert_int_equal(ask_all(db, asks, (size_t)2 * N), 3);
    assert_refused_with(asks, (size_t)2 * N, ERR_CONFLICT, EXISTS);
    assert_int_equal(db_sql("SELECT count(*) FROM users.users WHERE email IN ('a@x.io', 'b@x.io', 'c@x.io')"), 3);
    assert_int_equal(db_sql("SELECT count(*) FROM users.outbox"), N + 3);
}

/* Two members of one set that trade addresses in the order that works one by one. */
static void an_address_moves_on_within_a_set(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    User b = {.id = add_user(db, "B", "b@x.io"), .full_name = STR("B"), .email = STR("c@x.io")};
    User a = {.id = add_user(db, "A", "a@x.io"), .full_name = STR("A"), .email = STR("b@x.io")};
    Ask asks[1 + WORKERS] = {ask_of("update", &b)};
    asks[WORKERS] = ask_of("update", &a); /* the same worker's next */
    User others[WORKERS];
    for (int i = 1; i < WORKERS; i++) {
        others[i] = (User){.id = id_random(), .full_name = STR("O"), .email = STR("b@x.io")};
        asks[i] = ask_of("update", &others[i]); /* unknown users */
    }
    ask_all(db, asks, 1 + WORKERS);
    assert_int_equal(asks[0].err, ERR_OK);
    assert_int_equal(asks[WORKERS].err, ERR_OK);
    assert_int_equal(db_sql("SELECT count(*) FROM users.users WHERE email IN ('b@x.io', 'c@x.io')"), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fifty_at_once_with_one_address_give_one, open_db, close_db),
        cmocka_unit_test_setup_teardown(updates_keep_the_rules, open_db, close_db),
        cmocka_unit_test_setup_teardown(no_schedule_gives_an_address_twice, open_db, close_db),
        cmocka_unit_test_setup_teardown(an_address_moves_on_within_a_set, open_db, close_db),
    };
    return cmocka_run_group_tests_name("core_users: on Postgres", tests, NULL, NULL);
}
