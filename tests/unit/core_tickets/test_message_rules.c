/*
 * test_message_rules.c - which messages Tickets takes: the recorded good, bad and odd ones.
 */
#include "../core_events/recordings.h"

#include "core_tickets/message_rules.h"

#define NOW "2026-11-23T04:00:00Z"

static const struct {
    const char *label, *name, *start, *end;
    bool known, has_venue;
    const char *words; /* NULL: taken */
} EVENTS[] = {
    {"new event", "Msg", "2095-05-05T10:00:00Z", "2095-05-05T12:00:00Z", false, true, NULL},
    {"same again", "Msg", "2095-05-05T10:00:00Z", "2095-05-05T12:00:00Z", true, true, NULL},
    {"offset date", "Msg", "2095-05-05T10:00:00+02:00", "2095-05-05T12:00:00Z", false, true, NULL},
    {"new event, start in the past", "Msg", "2001-01-01T00:00:00Z", "2095-05-05T12:00:00Z", false, true, NULL},
    {"existing event, start in the past", "Msg", "2001-01-01T00:00:00Z", "2095-05-05T12:00:00Z", true, true,
     "Event date cannot be in the past"},
    {"existing event, end in the past", "Msg", "2095-05-05T12:00:00Z", "2001-01-01T00:00:00Z", true, true,
     "Event date cannot be in the past"},
    {"end before start", "Msg", "2095-05-05T10:00:00Z", "2095-05-04T10:00:00Z", false, true,
     "End date cannot be before start date"},
    {"bad name", "Bad_name", "2095-05-05T10:00:00Z", "2095-05-05T12:00:00Z", false, true,
     "Name can only have alphanumerical characters"},
    {"no name", NULL, "2095-05-05T10:00:00Z", "2095-05-05T12:00:00Z", false, true, "Name cannot be empty"},
    {"unknown venue", "Msg", "2095-05-05T10:00:00Z", "2095-05-05T12:00:00Z", false, false, "Venue does not exist"},
};

static void events_are_checked_once_more(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(EVENTS); i++) {
        Ctx ctx = test_ctx();
        quirks_off(&ctx, "");
        ctx.now = at(NOW);
        EventUpserted message = {
            .event_name = str_c(EVENTS[i].name), .start_date = at(EVENTS[i].start), .end_date = at(EVENTS[i].end)};
        Err err = event_message_check(&ctx, &message, EVENTS[i].known, EVENTS[i].has_venue);
        if ((err == ERR_OK) != (EVENTS[i].words == NULL) || !str_eq(ctx.problem.message, str_c(EVENTS[i].words)))
            fail_msg("%s: got %s %.*s", EVENTS[i].label, err_name(err), STR_ARG(ctx.problem.message));
        test_ctx_done(&ctx);
    }
}

static void the_short_message_needs_only_a_venue(void **state) {
    (void)state;
    Ctx ctx = test_ctx();
    assert_int_equal(release_message_check(&ctx, true), ERR_OK);
    assert_int_equal(release_message_check(&ctx, false), ERR_INVALID);
    test_ctx_done(&ctx);
}

static void users_are_checked_once_more(void **state) {
    (void)state;
    static const struct {
        const char *name, *email, *words;
    } USERS[] = {
        {"Ok", "ok@x.io", NULL},
        {"Ok", "bad", "Email must be valid"},
        {"Ok", NULL, "Email cannot be empty"},
        {"No9", "ok@x.io", "Name can only have alphabetical characters"},
    };
    for (size_t i = 0; i < ARRAY_LEN(USERS); i++) {
        Ctx ctx = test_ctx();
        quirks_off(&ctx, "");
        UserUpserted message = {.full_name = str_c(USERS[i].name), .email = str_c(USERS[i].email)};
        Err err = user_message_check(&ctx, &message);
        if ((err == ERR_OK) != (USERS[i].words == NULL) || !str_eq(ctx.problem.message, str_c(USERS[i].words)))
            fail_msg("%s %s: got %.*s", USERS[i].name, USERS[i].email, STR_ARG(ctx.problem.message));
        test_ctx_done(&ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_checked_once_more),
        cmocka_unit_test(the_short_message_needs_only_a_venue),
        cmocka_unit_test(users_are_checked_once_more),
    };
    return cmocka_run_group_tests_name("core_tickets: messages", tests, NULL, NULL);
}
