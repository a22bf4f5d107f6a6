/*
 * test_events_db.c - booking against a real Postgres: no slot twice, nothing rounded, a message with every change.
 */
#include "context_db.h"

#include "core_events/core_events.h"
#include "core_events/event.h"

#define TAKEN "Venue is not available at the selected time"

static int open_db(void **state) {
    if (getenv("DATABASE_URL") != NULL)
        *state = db_open(&CORE_EVENTS_CONTEXT);
    return 0;
}

static int close_db(void **state) {
    if (*state != NULL)
        db_close(*state);
    return 0;
}

static Event event_of(const char *start, const char *end) {
    return (Event){.event_name = STR("Gig"), .start_date = at(start), .end_date = at(end), .venue = 5};
}

static Ask ask_of(const char *action, Event *event) {
    return (Ask){.resource = &EVENT_RESOURCE, .action = action, .input = event};
}

static void fifty_at_once_for_one_slot_give_one(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    Event events[50];
    Ask asks[50];
    for (int i = 0; i < 50; i++) {
        events[i] = event_of("2095-01-01T10:00:00Z", "2095-01-01T12:00:00Z");
        asks[i] = ask_of("create", &events[i]);
    }
    assert_int_equal(ask_all(db, asks, 50), 1);
    assert_refused_with(asks, 50, ERR_CONFLICT, TAKEN);
    assert_int_equal(db_sql("SELECT count(*) FROM events.events"), 1);
    assert_int_equal(db_sql("SELECT count(*) FROM events.outbox"), 1);
}

static void nothing_is_rounded_in_the_store(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    Event event = event_of("2095-01-01T10:00:00.1234567+05:30", "2095-01-01T12:00:00.7654321-03:00");
    event.price = money("12.345678");
    Ask ask = ask_of("create", &event);
    assert_int_equal(ask_one(db, &ask), ERR_OK);
    assert_db_text(db, "SELECT start_date AT TIME ZONE 'UTC' || ' ' || start_date_fine FROM events.events",
                   "2095-01-01 04:30:00.123456 3307");
    assert_db_text(db, "SELECT end_date AT TIME ZONE 'UTC' || ' ' || end_date_fine FROM events.events",
                   "2095-01-01 15:00:00.765432 -1799");
    assert_db_text(db, "SELECT price FROM events.events", "12.345678");
    /* The message carries them as sent. */
    assert_db_text(db, "SELECT payload::json->>'startDate' FROM events.outbox", "2095-01-01T10:00:00.1234567+05:30");
    assert_db_text(db, "SELECT payload::json->>'endDate' FROM events.outbox", "2095-01-01T12:00:00.7654321-03:00");
    assert_db_text(db, "SELECT payload::json->>'price' FROM events.outbox", "12.345678");
    assert_db_text(db, "SELECT payload::json->>'venue' FROM events.outbox", "5");
}

static void updates_keep_the_rules(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    Event first = event_of("2095-01-01T10:00:00Z", "2095-01-01T12:00:00Z");
    Event second = event_of("2095-01-01T12:00:00Z", "2095-01-01T13:00:00Z");
    Ask ask = ask_of("create", &first);
    assert_int_equal(ask_one(db, &ask), ERR_OK);
    ask = ask_of("create", &second);
    assert_int_equal(ask_one(db, &ask), ERR_OK);

    static const struct {
        const char *label, *start, *end;
        Err want;
        const char *words;
    } CASES[] = {
        {"the same", "2095-01-01T10:00:00Z", "2095-01-01T12:00:00Z", ERR_OK, ""},
        {"within itself", "2095-01-01T10:30:00Z", "2095-01-01T11:30:00Z", ERR_OK, ""},
        {"into the next", "2095-01-01T10:30:00Z", "2095-01-01T12:30:00Z", ERR_CONFLICT, TAKEN},
        {"end before start", "2095-01-01T12:00:00Z", "2095-01-01T10:00:00Z", ERR_INVALID,
         "End date cannot be before start date"},
        {"end in the past", "2095-01-01T10:00:00Z", "2001-01-01T10:00:00Z", ERR_INVALID,
         "Event date cannot be in the past"},
        {"away", "2095-02-01T10:00:00Z", "2095-02-01T12:00:00Z", ERR_OK, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        Event change = event_of(CASES[i].start, CASES[i].end);
        change.id = first.id;
        change.venue = 0; /* not asked for */
        ask = ask_of("update", &change);
        if (ask_one(db, &ask) != CASES[i].want || strcmp(ask.words, CASES[i].words) != 0)
            fail_msg("%s: got %s %s", CASES[i].label, err_name(ask.err), ask.words);
    }
    assert_int_equal(db_sql("SELECT count(*) FROM events.events WHERE venue = 5"), 2);
    assert_int_equal(db_sql("SELECT count(*) FROM events.outbox"), 5);

    Event unknown = event_of("2001-01-01T10:00:00Z", "2001-01-01T12:00:00Z");
    unknown.id = id_no(0xbeef);
    ask = ask_of("update", &unknown);
    assert_int_equal(ask_one(db, &ask), ERR_NOT_FOUND);
    assert_string_equal(ask.words, "Event with id 00000000-0000-0000-0000-00000000beef not found");
}

static void a_refused_event_leaves_nothing(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    Event past = event_of("2001-01-01T10:00:00Z", "2095-01-01T12:00:00Z");
    Event nameless = event_of("2095-01-01T10:00:00Z", "2095-01-01T12:00:00Z");
    Event dear = event_of("2095-01-02T10:00:00Z", "2095-01-02T12:00:00Z");
    nameless.event_name = (Str){NULL, 0};
    dear.price = money("10000000000000000");
    Ask asks[] = {ask_of("create", &past), ask_of("create", &nameless), ask_of("create", &dear)};
    assert_int_equal(ask_all(db, asks, 3), 0);
    assert_int_equal(asks[0].err, ERR_INVALID);
    assert_int_equal(asks[1].err, ERR_INTERNAL);
    assert_int_equal(asks[2].err, ERR_INTERNAL);
    assert_int_equal(db_sql("SELECT (SELECT count(*) FROM events.events) + (SELECT count(*) FROM events.outbox)"), 0);
}

/* Creates and updates from all workers at once on a small calendar; then Postgres itself looks for a double booking. */
static void no_schedule_books_a_slot_twice(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    enum { N = 120, ROUNDS = 4 };
    static Event events[N];
    static Ask asks[N];
    random_seed(7);
    size_t booked = 0;
    Id known[N * ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++) {
            bool update = booked > 0 && random_below(2) == 0;
            int64_t hour = 3600 * TICKS_PER_SECOND;
            events[i] = (Event){.event_name = STR("Gig"), .venue = (int32_t)random_below(2)};
            events[i].start_date.ticks = at("2095-01-01").ticks + (int64_t)random_below(100) * hour;
            events[i].end_date.ticks = events[i].start_date.ticks + (int64_t)(1 + random_below(4)) * hour;
            if (update)
                events[i].id = known[random_below(booked)];
            asks[i] = ask_of(update ? "update" : "create", &events[i]);
        }
        ask_all(db, asks, N);
        assert_refused_with(asks, N, ERR_CONFLICT, TAKEN);
        for (int i = 0; i < N; i++)
            if (asks[i].err == ERR_OK && strcmp(asks[i].action, "create") == 0)
                known[booked++] = events[i].id;
        assert_int_equal(db_sql("SELECT count(*) FROM events.events"), booked);
        assert_int_equal(db_sql("SELECT count(*) FROM events.events a JOIN events.events b ON a.venue = b.venue"
                                " AND a.id < b.id AND a.start_date < b.end_date AND b.start_date < a.end_date"),
                         0);
    }
    assert_true(booked > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fifty_at_once_for_one_slot_give_one, open_db, close_db),
        cmocka_unit_test_setup_teardown(nothing_is_rounded_in_the_store, open_db, close_db),
        cmocka_unit_test_setup_teardown(updates_keep_the_rules, open_db, close_db),
        cmocka_unit_test_setup_teardown(a_refused_event_leaves_nothing, open_db, close_db),
        cmocka_unit_test_setup_teardown(no_schedule_books_a_slot_twice, open_db, close_db),
    };
    return cmocka_run_group_tests_name("core_events: on Postgres", tests, NULL, NULL);
}
