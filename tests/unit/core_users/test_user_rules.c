/*
 * test_user_rules.c - names and addresses as recorded, the quirks in both positions, and who may have which address.
 */
#include "../core_events/recordings.h"

#include "core_users/user_rules.h"
#include "legacy/values.h"

/* --- values ------------------------------------------------------------------------------------------------------ */

#define EMPTY "Name cannot be empty"
#define ALPHA "Name can only have alphabetical characters"
#define ALNUM "Name can only have alphanumerical characters"
#define VALID "Email must be valid"

/* STR is no constant expression to gcc's -Wpedantic. */
#define V(literal)                                                                                                     \
    { literal, sizeof(literal) - 1 }

typedef Err (*ValueCheck)(Ctx *ctx, const void *value);

static const struct {
    const char *label;
    ValueCheck check;
    Str value;
    const char *off;
    const char *words; /* NULL: passes */
} VALUES[] = {
    {"letters", value_full_name, V("Ann Able"), "", NULL},
    {"digits in a full name", value_full_name, V("Name9"), "", ALPHA},
    {"digits in an event's name", value_event_name, V("Name9"), "", NULL},
    {"absent", value_full_name, {NULL, 0}, "", EMPTY},
    {"empty", value_event_name, V(""), "", EMPTY},
    {"NUL", value_event_name, V("nul\0x"), "", ALNUM},
    {"malformed UTF-8", value_event_name, V("a\xff"), "", ALNUM},
    {"blank", value_event_name, V(" \t"), "", NULL},
    {"blank without the quirk", value_event_name, V(" \t"), "blank-names", EMPTY},
    {"Unicode blank without the quirk", value_event_name, V("\u2003"), "blank-names", EMPTY},
    {"no-break space", value_full_name, V("a\u00a0b"), "", NULL},
    {"no-break space without the quirk", value_full_name, V("a\u00a0b"), "unicode-space-in-names", ALPHA},
    {"KELVIN SIGN", value_full_name, V("\u212aelvin"), "", NULL},
    {"KELVIN SIGN without the quirk", value_full_name, V("\u212aelvin"), "unicode-space-in-names", ALPHA},
    {"plain name without the quirk", value_full_name, V("Ann\tAble"), "unicode-space-in-names", NULL},
    {"dotless i", value_full_name, V("\u0131"), "", ALPHA},
    {"zero-width space is no space", value_full_name, V("\u200b"), "", ALPHA},
    {"address", value_email, V("a@b.c"), "", NULL},
    {"absent address", value_email, {NULL, 0}, "", "Email cannot be empty"},
    {"empty address", value_email, V(""), "", "Email cannot be empty"},
    {"only a line feed", value_email, V("\n"), "", VALID},
    {"trailing line feed", value_email, V("x@y.z\n"), "", NULL},
    {"two trailing line feeds", value_email, V("x@y.z\n\n"), "", VALID},
    {"trailing line feed without the quirk", value_email, V("x@y.z\n"), "email-trailing-newline", VALID},
    {"dot first behind @", value_email, V("a@.c"), "", VALID},
    {"two dots behind @", value_email, V("a@..c"), "", NULL},
    {"dot last", value_email, V("a@b."), "", VALID},
    {"NUL in an address", value_email, V("a\0@b.c"), "", VALID},
    {"no-break space in an address", value_email, V("a\u00a0@b.c"), "", VALID},
};

static void values_are_checked_with_quirks_in_both_positions(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(VALUES); i++) {
        Ctx ctx = test_ctx();
        quirks_off(&ctx, VALUES[i].off);
        Err err = VALUES[i].check(&ctx, &VALUES[i].value);
        quirks_off(&ctx, "");
        if (err != (VALUES[i].words == NULL ? ERR_OK : ERR_INVALID) ||
            !str_eq(ctx.problem.message, str_c(VALUES[i].words)))
            fail_msg("%s: got %s %.*s", VALUES[i].label, err_name(err), STR_ARG(ctx.problem.message));
        test_ctx_done(&ctx);
    }
}

/* --- who may have which address ---------------------------------------------------------------------------------- */

static const struct {
    const char *label;
    int id;
    const char *email, *name;
    UserRefusal want;
} UPDATES[] = {
    {"own address again", 1, "ann@x.io", "Ann", USER_FINE},
    {"a free address", 1, "new@x.io", "Ann", USER_FINE},
    {"somebody else's", 1, "bob@x.io", "Ann", USER_EMAIL_TAKEN},
    {"other case is another address", 1, "BOB@x.io", "Ann", USER_FINE},
    {"unknown user", 9, "new@x.io", "X", USER_UNKNOWN},
    {"unknown user with a taken address", 9, "bob@x.io", "X", USER_EMAIL_TAKEN},
    {"no name is found out last", 1, "new@x.io", NULL, USER_NAME_MISSING},
    {"unknown user without a name", 9, "new@x.io", NULL, USER_UNKNOWN},
    {"taken address and no name", 1, "bob@x.io", NULL, USER_EMAIL_TAKEN},
};

static void updates_are_checked_in_the_old_order(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(UPDATES); i++) {
        User users[] = {{.id = id_no(1), .full_name = STR("Ann"), .email = STR("ann@x.io"), .user_type = 0},
                        {.id = id_no(2), .full_name = STR("Bob"), .email = STR("bob@x.io"), .user_type = 1}};
        User wish = {.id = id_no(UPDATES[i].id), .full_name = str_c(UPDATES[i].name), .email = str_c(UPDATES[i].email)};
        UserAsk ask = {.user = &wish};
        users_arbitrate_updates(users, 2, &ask, 1);
        if (ask.refusal != UPDATES[i].want)
            fail_msg("%s: got %d", UPDATES[i].label, (int)ask.refusal);
        if (ask.refusal == USER_FINE)
            assert_true(str_eq(users[0].email, wish.email));
        else
            assert_true(str_eq_c(users[0].email, "ann@x.io"));
        assert_int_equal(users[1].user_type, 1);
    }
}

static void an_address_left_in_the_set_is_free_for_those_behind(void **state) {
    (void)state;
    User users[] = {{.id = id_no(1), .full_name = STR("A"), .email = STR("a@x.io")},
                    {.id = id_no(2), .full_name = STR("B"), .email = STR("b@x.io")}};
    User b_leaves = {.id = id_no(2), .full_name = STR("B"), .email = STR("c@x.io")};
    User a_takes = {.id = id_no(1), .full_name = STR("A"), .email = STR("b@x.io")};
    UserAsk asks[] = {{.user = &a_takes}, {.user = &b_leaves}, {.user = &a_takes}};
    users_arbitrate_updates(users, 2, asks, 3);
    assert_int_equal(asks[0].refusal, USER_EMAIL_TAKEN);
    assert_int_equal(asks[1].refusal, USER_FINE);
    assert_int_equal(asks[2].refusal, USER_FINE);
}

static const struct {
    UserRefusal refusal;
    const char *off;
    Err want;
    const char *words;
} WORDS[] = {
    {USER_EMAIL_MISSING, "", ERR_INVALID, "Email cannot be empty"},
    {USER_EMAIL_TAKEN, "", ERR_CONFLICT, "Email already exists"},
    {USER_UNKNOWN, "", ERR_NOT_FOUND, "User does not exist"},
    {USER_NAME_MISSING, "", ERR_INTERNAL, EMPTY},
    {USER_NAME_MISSING, "missing-name-500", ERR_INVALID, EMPTY},
};

static void each_refusal_has_its_words(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(WORDS); i++) {
        Ctx ctx = test_ctx();
        quirks_off(&ctx, WORDS[i].off);
        assert_int_equal(user_refuse(&ctx, WORDS[i].refusal), WORDS[i].want);
        assert_true(str_eq_c(ctx.problem.message, WORDS[i].words));
        quirks_off(&ctx, "");
        test_ctx_done(&ctx);
    }
}

/* --- the recordings, decided again ------------------------------------------------------------------------------- */

typedef struct Replay {
    Ctx *ctx;
    User users[200];
    size_t n;
    size_t decided;
} Replay;

/* Values in document order, as the reader converts them. */
static Err check_values(Ctx *ctx, const Json *body, User *user) {
    for (const Json *field = body->first; field != NULL; field = field->next) {
        Str text = json_text(field);
        if (str_eq_c(field->name, "FullName")) {
            user->full_name = text;
            TRY(value_full_name(ctx, &user->full_name));
        } else if (str_eq_c(field->name, "Email")) {
            user->email = text;
            TRY(value_email(ctx, &user->email));
        }
    }
    return ERR_OK;
}

/* Create is decided by the unique address; here a walk stands in for it. */
static UserRefusal create(Replay *replay, const User *user) {
    if (user_check_email(user) != USER_FINE || user_check_name(user) != USER_FINE)
        return user_check_email(user) != USER_FINE ? user_check_email(user) : user_check_name(user);
    for (size_t i = 0; i < replay->n; i++)
        if (str_eq(replay->users[i].email, user->email))
            return USER_EMAIL_TAKEN;
    replay->users[replay->n++] = *user;
    return USER_FINE;
}

static Err replay_one(Replay *replay, const Recorded *r) {
    User user = {0};
    TRY(check_values(replay->ctx, r->body, &user));
    if (str_eq_c(r->method, "PUT")) {
        user.id = path_end_id(r->path);
        TRY(user_refuse(replay->ctx, user_check_email(&user)));
        UserAsk ask = {.user = &user};
        users_arbitrate_updates(replay->users, replay->n, &ask, 1);
        return user_refuse(replay->ctx, ask.refusal);
    }
    if (r->status == 201)
        TRY(id_parse(str_trim(r->answer, "\""), ID_FORM_D, &user.id));
    return user_refuse(replay->ctx, create(replay, &user));
}

static void replay_recording(const char *path, size_t at_least) {
    Ctx ctx = test_ctx();
    quirks_off(&ctx, "");
    Replay replay = {.ctx = &ctx};
    for (const Json *e = recorded_exchanges(ctx.arena, path); e != NULL; e = e->next) {
        Recorded r = recorded(ctx.arena, e);
        bool domain = r.status == 201 || r.status == 204 || r.status == 500 || r.error.p != NULL;
        if (!is_put_or_post(&r, "/users") || !domain)
            continue;
        ctx.problem = (Problem){0};
        Err err = replay_one(&replay, &r);
        int status = err == ERR_OK ? (str_eq_c(r.method, "PUT") ? 204 : 201) : err == ERR_INTERNAL ? 500 : 400;
        if (status != r.status || (status == 400 && !str_eq(ctx.problem.message, r.error)))
            fail_msg("%s: %.*s: want %d %.*s, got %d %.*s", path,
                     STR_ARG(json_text(json_member(json_member(e, "request"), "body"))), r.status, STR_ARG(r.error),
                     status, STR_ARG(ctx.problem.message));
        replay.decided++;
    }
    if (replay.decided < at_least)
        fail_msg("%s: only %zu exchanges were decided", path, replay.decided);
    test_ctx_done(&ctx);
}

static void all_recorded_users_are_decided_as_recorded(void **state) {
    (void)state;
    replay_recording("contracts/http/08-users-crud.json", 14);
    replay_recording("contracts/http/09-users-names.json", 23);
    replay_recording("contracts/http/10-users-email.json", 45);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_checked_with_quirks_in_both_positions),
        cmocka_unit_test(updates_are_checked_in_the_old_order),
        cmocka_unit_test(an_address_left_in_the_set_is_free_for_those_behind),
        cmocka_unit_test(each_refusal_has_its_words),
        cmocka_unit_test(all_recorded_users_are_decided_as_recorded),
    };
    return cmocka_run_group_tests_name("core_users: rules", tests, NULL, NULL);
}
