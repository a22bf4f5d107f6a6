/*
 * test_messages_db.c - what messages leave behind in Tickets: seats, prices, copies.
 */
#include "../core_events/context_db.h"

#include "core_tickets/copies.h"
#include "core_tickets/core_tickets.h"
#include "messaging/messages.h"

static int open_db(void **state) {
    if (getenv("DATABASE_URL") != NULL)
        *state = db_open(&CORE_TICKETS_CONTEXT);
    return 0;
}

static int close_db(void **state) {
    if (*state != NULL)
        db_close(*state);
    return 0;
}

static EventUpserted event_of(int id, int32_t venue, const char *price) {
    return (EventUpserted){.id = id_no(id),
                           .event_name = STR("Gig"),
                           .start_date = at("2095-05-05T10:00:00.1234567+02:00"),
                           .end_date = at("2095-05-05T12:00:00Z"),
                           .venue = venue,
                           .price = money(price)};
}

static Ask upsert(EventUpserted *message) {
    return (Ask){.resource = &TICKETS_EVENT_RESOURCE, .action = "upsert", .input = message};
}

static void want_event(ContextDb *db, EventUpserted message, Err err) {
    Ask ask = upsert(&message);
    if (ask_one(db, &ask) != err)
        fail_msg("got %s %s", err_name(ask.err), ask.words);
}

#define TICKETS "SELECT count(*) || ' ' || min(price) || ' ' || max(price) FROM tickets.tickets"

static void an_event_has_as_many_tickets_as_its_venue_has_seats(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    want_event(db, event_of(1, 5, "12.345"), ERR_OK);
    assert_db_text(db, TICKETS, "15 12.345 12.345");
    assert_db_text(db, "SELECT string_agg(seat_number::text, ' ' ORDER BY seat_number) FROM tickets.tickets",
                   "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15");
    assert_db_text(db, "SELECT start_date_fine || ' ' || venue || ' ' || price FROM tickets.events", "1207 5 12.345");
    want_event(db, event_of(1, 5, "12.345"), ERR_OK); /* again: nothing more */
    assert_db_text(db, TICKETS, "15 12.345 12.345");
    db_sql("DELETE FROM tickets.tickets WHERE seat_number IN (3, 7)");
    want_event(db, event_of(1, 5, "12.345"), ERR_OK); /* again: repairs */
    assert_db_text(db, TICKETS, "15 12.345 12.345");
}

static void a_new_price_reaches_unsold_tickets_only_with_its_digits(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    want_event(db, event_of(1, 0, "10"), ERR_OK);
    db_sql("UPDATE tickets.tickets SET user_id = gen_random_uuid(), purchased_at = now() WHERE seat_number = 1");
    want_event(db, event_of(1, 0, "12.5"), ERR_OK);
    assert_db_text(db, TICKETS, "10 10 12.5");
    want_event(db, event_of(1, 0, "12.50"), ERR_OK); /* equal in value, not in what is shown */
    assert_db_text(
        db, "SELECT count(*) || ' ' || price FROM tickets.tickets WHERE user_id IS NULL GROUP BY price::text, price",
        "9 12.50");
    want_event(db, event_of(1, 0, "-5"), ERR_OK);
    assert_db_text(db, TICKETS, "10 -5 10");
}

static void a_refused_message_leaves_nothing(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    want_event(db, event_of(1, 42, "7.5"), ERR_INVALID);
    EventUpserted backwards = event_of(2, 3, "7.5");
    backwards.end_date = at("2095-05-04T10:00:00Z");
    want_event(db, backwards, ERR_INVALID);
    assert_int_equal(db_sql("SELECT (SELECT count(*) FROM tickets.events) + (SELECT count(*) FROM tickets.tickets)"),
                     0);

    EventUpserted begun = event_of(3, 3, "7.5");
    begun.start_date = at("2001-01-01");
    want_event(db, begun, ERR_OK);      /* new: taken */
    want_event(db, begun, ERR_INVALID); /* known: not moved into the past */
    assert_int_equal(db_sql("SELECT count(*) FROM tickets.tickets"), 13);
}

static void the_short_message_needs_no_event(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    TicketsEventUpserted message = {.id = id_no(1), .venue = 9, .price = money("3")};
    Ask ask = {.resource = &TICKETS_EVENT_RESOURCE, .action = "release", .input = &message};
    assert_int_equal(ask_one(db, &ask), ERR_OK);
    assert_db_text(db, TICKETS, "20 3 3");
    assert_int_equal(db_sql("SELECT count(*) FROM tickets.events"), 0);
    message.venue = 77;
    assert_int_equal(ask_one(db, &ask), ERR_INVALID);
}

typedef struct SetJob {
    ContextDb *db;
    Set set;
    Err err;
} SetJob;

static void run_set_job(Ctx *ctx, void *arg) {
    (void)ctx;
    SetJob *job = arg;
    job->err = set_run(job->db->engines[0], &job->set, NULL, NULL);
    loop_stop(job->db->loop);
}

/* A batch as the consumer builds it: many events, several messages of one; the last one stays. */
static void of_several_messages_in_a_set_the_last_stays(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    enum { BATCH = 30 };
    EventUpserted messages[BATCH];
    Member members[BATCH];
    Member *list[BATCH];
    Ctx ctxs[BATCH];
    SetJob job = {.db = db};
    for (int i = 0; i < BATCH; i++) {
        char price[16];
        snprintf(price, sizeof price, "%d.5", i);
        messages[i] = event_of(i % 3, 5, price);
        ctxs[i] = db->ctx;
        members[i] = (Member){.ctx = &ctxs[i], .input = &messages[i]};
        list[i] = &members[i];
    }
    messages[29].venue = 42; /* the last one of event 2 is refused: the one before it stays */
    job.set = (Set){.resource = &TICKETS_EVENT_RESOURCE,
                    .action = resource_action(&TICKETS_EVENT_RESOURCE, "upsert"),
                    .members = list,
                    .n = BATCH,
                    .ctx = &db->ctx};
    assert_int_equal(co_spawn(db->loop, run_set_job, &job, NULL, NULL), ERR_OK);
    loop_run(db->loop);
    assert_int_equal(job.err, ERR_OK);
    assert_int_equal(members[29].outcome, ERR_INVALID);
    assert_db_text(db, "SELECT string_agg(price::text, ' ' ORDER BY id) FROM tickets.events", "27.5 28.5 26.5");
    assert_db_text(db, "SELECT count(*) || ' ' || count(DISTINCT price) FROM tickets.tickets", "45 3");
}

static void users_are_remembered(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    UserUpserted message = {.id = id_no(1), .full_name = STR("Ann"), .email = STR("ann@x.io")};
    Ask ask = {.resource = &TICKETS_USER_RESOURCE, .action = "upsert", .input = &message};
    assert_int_equal(ask_one(db, &ask), ERR_OK);
    message.full_name = STR("Ann B");
    assert_int_equal(ask_one(db, &ask), ERR_OK);
    message.email = STR("bad");
    assert_int_equal(ask_one(db, &ask), ERR_INVALID);
    assert_db_text(db, "SELECT string_agg(full_name || ' ' || email, ',') FROM tickets.users", "Ann B ann@x.io");
}

/* Every message that some context sends here has its subscription, with an action that takes its struct. */
static void subscriptions_fit_their_actions(void **state) {
    (void)state;
    size_t n = 0;
    for (const Subscription *s = CORE_TICKETS_SUBSCRIPTIONS; s->type != NULL; s++, n++) {
        const Action *action = resource_action(s->resource, s->action);
        assert_non_null(action);
        assert_int_equal(action->input_size, s->type->size);
    }
    assert_int_equal(n, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subscriptions_fit_their_actions),
        cmocka_unit_test_setup_teardown(an_event_has_as_many_tickets_as_its_venue_has_seats, open_db, close_db),
        cmocka_unit_test_setup_teardown(a_new_price_reaches_unsold_tickets_only_with_its_digits, open_db, close_db),
        cmocka_unit_test_setup_teardown(a_refused_message_leaves_nothing, open_db, close_db),
        cmocka_unit_test_setup_teardown(the_short_message_needs_no_event, open_db, close_db),
        cmocka_unit_test_setup_teardown(of_several_messages_in_a_set_the_last_stays, open_db, close_db),
        cmocka_unit_test_setup_teardown(users_are_remembered, open_db, close_db),
    };
    return cmocka_run_group_tests_name("core_tickets: messages on Postgres", tests, NULL, NULL);
}
