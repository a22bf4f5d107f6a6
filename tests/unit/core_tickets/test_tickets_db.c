/*
 * test_tickets_db.c - seats on a real Postgres: never sold or held twice, whatever the schedule of workers.
 */
#include "../core_events/context_db.h"

#include "core_tickets/core_tickets.h"
#include "core_tickets/ticket.h"

#define RESERVED "Tickets already reserved"
#define SOLD     "Tickets are not available"
#define UNKNOWN  "One or more tickets do not exist"

enum { SEATS = 15 };

/* One event with 15 seats. */
static const Id EVENT = {{0xe}};
static Id seats[SEATS];

static int open_db(void **state) {
    if (getenv("DATABASE_URL") == NULL)
        return 0;
    *state = db_open(&CORE_TICKETS_CONTEXT);
    char sql[300], event[ID_TEXT_LEN], seat[ID_TEXT_LEN];
    id_format(&EVENT, event);
    for (int i = 0; i < SEATS; i++) {
        seats[i] = id_no(100 + i);
        id_format(&seats[i], seat);
        snprintf(sql, sizeof sql,
                 "INSERT INTO tickets.tickets (id, event_id, price, seat_number) VALUES ('%.36s', '%.36s', 10, %d)",
                 seat, event, i + 1);
        db_sql(sql);
    }
    return 0;
}

static int close_db(void **state) {
    if (*state != NULL)
        db_close(*state);
    return 0;
}

static TicketWish wish_of(int user, Id *ids, size_t n) {
    return (TicketWish){.event_id = EVENT, .user_id = id_no(user), .ticket_ids = {ids, n}};
}

static Ask ask_of(const char *action, TicketWish *wish) {
    return (Ask){.resource = &TICKET_RESOURCE, .action = action, .input = wish};
}

/* One request alone; fails the test when its outcome differs. */
static void want(ContextDb *db, const char *action, int user, Id *ids, size_t n, Err err, const char *words) {
    TicketWish wish = wish_of(user, ids, n);
    Ask ask = ask_of(action, &wish);
    if (ask_one(db, &ask) != err || strcmp(ask.words, words) != 0)
        fail_msg("%s by %d of %zu: got %s %s, want %s %s", action, user, n, err_name(ask.err), ask.words, err_name(err),
                 words);
}

static void a_crowd_for_one_seat(ContextDb *db, const char *action, Id *seat, const char *words) {
    enum { CROWD = 200 };
    static TicketWish wishes[CROWD];
    static Ask asks[CROWD];
    for (int i = 0; i < CROWD; i++) {
        wishes[i] = wish_of(i + 1, seat, 1);
        asks[i] = ask_of(action, &wishes[i]);
    }
    assert_int_equal(ask_all(db, asks, CROWD), 1);
    assert_refused_with(asks, CROWD, ERR_CONFLICT, words);
}

static void two_hundred_buyers_of_one_seat_buy_it_once(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    a_crowd_for_one_seat(db, "purchase", &seats[0], SOLD);
    assert_int_equal(db_sql("SELECT count(*) FROM tickets.tickets WHERE user_id IS NOT NULL"), 1);
}

static void two_hundred_holders_of_one_seat_hold_it_once(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    a_crowd_for_one_seat(db, "reserve", &seats[0], RESERVED);
    /* A seat that is no row has no row to lock: the hold's key decides. */
    Id nowhere = id_no(0xbeef);
    a_crowd_for_one_seat(db, "reserve", &nowhere, RESERVED);
    assert_int_equal(db_sql("SELECT count(*) FROM tickets.reservations"), 2);
}

static void holds_are_kept_extended_and_run_out(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    want(db, "reserve", 1, seats, 2, ERR_OK, "");
    assert_int_equal(db_sql("SELECT count(*) FROM tickets.reservations WHERE until_at BETWEEN now() + interval '14 min'"
                            " AND now() + interval '15 min'"),
                     2);
    want(db, "reserve", 2, &seats[1], 1, ERR_CONFLICT, RESERVED);
    want(db, "purchase", 2, &seats[1], 1, ERR_CONFLICT, RESERVED);

    /* The holder extends. */
    db_sql("UPDATE tickets.reservations SET until_at = now() + interval '1 minute'");
    want(db, "reserve", 1, seats, 1, ERR_OK, "");
    assert_int_equal(db_sql("SELECT count(*) FROM tickets.reservations WHERE until_at > now() + interval '14 min'"), 1);

    /* A hold that has run out does not count, and needs nobody to sweep it. */
    db_sql("UPDATE tickets.reservations SET until_at = now() - interval '1 millisecond'");
    want(db, "reserve", 2, &seats[1], 1, ERR_OK, "");
    want(db, "reserve", 1, &seats[1], 1, ERR_CONFLICT, RESERVED);
    want(db, "purchase", 3, &seats[0], 1, ERR_OK, "");
    want(db, "purchase", 2, &seats[1], 1, ERR_OK, "");
    assert_int_equal(db_sql("SELECT count(*) FROM tickets.tickets WHERE purchased_at BETWEEN now() - interval '1 min'"
                            " AND now() AND purchased_at_fine = 0"),
                     2);
}

static void a_refused_list_keeps_what_stood_before(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    want(db, "reserve", 1, &seats[1], 1, ERR_OK, "");
    want(db, "reserve", 2, seats, 3, ERR_CONFLICT, RESERVED); /* 0 free, 1 held, 2 free */
    want(db, "reserve", 1, &seats[0], 1, ERR_CONFLICT, RESERVED);
    want(db, "reserve", 1, &seats[2], 1, ERR_OK, "");

    quirks_off(&db->ctx, "reserve-partly");
    want(db, "reserve", 2, &seats[0], 3, ERR_CONFLICT, RESERVED);
    Id last[] = {seats[5], seats[1]};
    want(db, "reserve", 2, last, 2, ERR_CONFLICT, RESERVED);
    want(db, "reserve", 3, &seats[5], 1, ERR_OK, "");
    quirks_off(&db->ctx, "");
}

static void purchases_are_all_or_nothing(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    Id twice[] = {seats[0], seats[0]}, unknown[] = {seats[0], id_no(0xbeef)}, mixed[] = {seats[0], seats[1]};
    want(db, "purchase", 1, NULL, 0, ERR_OK, "");
    want(db, "reserve", 1, NULL, 0, ERR_OK, "");
    want(db, "reserve", 1, twice, 2, ERR_OK, "");
    want(db, "purchase", 1, twice, 2, ERR_INVALID, UNKNOWN);
    want(db, "purchase", 1, unknown, 2, ERR_INVALID, UNKNOWN);
    want(db, "purchase", 1, &seats[1], 1, ERR_OK, "");
    want(db, "purchase", 1, mixed, 2, ERR_CONFLICT, SOLD);
    want(db, "purchase", 2, mixed, 2, ERR_CONFLICT, RESERVED);
    assert_int_equal(db_sql("SELECT count(*) FROM tickets.tickets WHERE user_id IS NOT NULL"), 1);

    TicketWish elsewhere = wish_of(1, &seats[2], 1);
    elsewhere.event_id = id_no(0xbeef);
    Ask ask = ask_of("purchase", &elsewhere);
    assert_int_equal(ask_one(db, &ask), ERR_INVALID);
    assert_string_equal(ask.words, UNKNOWN);
    ask = ask_of("reserve", &elsewhere); /* a hold is under the event's key: the seat itself stays free */
    assert_int_equal(ask_one(db, &ask), ERR_OK);
    want(db, "purchase", 2, &seats[2], 1, ERR_OK, "");
}

/* --- random schedules -------------------------------------------------------------------------------------------- */

enum { N = 240 };

/* Every 2xx of a purchase must be found in the database, and every sold seat in exactly one of them. */
static void audit_sales(ContextDb *db, const Ask *asks, const TicketWish *wishes, Id buyers[SEATS]) {
    char sql[200], seat[ID_TEXT_LEN], buyer[ID_TEXT_LEN];
    for (int i = 0; i < N; i++) {
        if (asks[i].err != ERR_OK || strcmp(asks[i].action, "purchase") != 0)
            continue;
        for (size_t j = 0; j < wishes[i].ticket_ids.n; j++) {
            Id id = wishes[i].ticket_ids.p[j];
            size_t s = (size_t)(id.bytes[15] - 100);
            if (!id_is_zero(buyers[s]))
                fail_msg("seat %zu was sold twice", s + 1);
            buyers[s] = wishes[i].user_id;
        }
    }
    size_t sold = 0;
    for (int s = 0; s < SEATS; s++) {
        if (id_is_zero(buyers[s]))
            continue;
        id_format(&seats[s], seat);
        id_format(&buyers[s], buyer);
        snprintf(sql, sizeof sql, "SELECT count(*) FROM tickets.tickets WHERE id = '%.36s' AND user_id = '%.36s'", seat,
                 buyer);
        assert_int_equal(db_sql(sql), 1);
        sold++;
    }
    assert_int_equal(db_sql("SELECT count(*) FROM tickets.tickets WHERE user_id IS NOT NULL"), sold);
    (void)db;
}

static void no_schedule_sells_or_holds_a_seat_twice(void **state) {
    NEED_DATABASE();
    ContextDb *db = *state;
    static TicketWish wishes[N];
    static Ask asks[N];
    static Id lists[N][3];
    Id buyers[SEATS] = {{{0}}};
    random_seed(11);
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < N; i++) {
            size_t n = 1 + (size_t)random_below(3), first = (size_t)random_below(SEATS);
            for (size_t j = 0; j < n; j++) /* in any order: locks must not go in circles */
                lists[i][j] = seats[(first + j * (size_t)(1 + random_below(7))) % SEATS];
            wishes[i] = wish_of(1 + (int)random_below(20), lists[i], n);
            asks[i] = ask_of(random_below(3) == 0 ? "purchase" : "reserve", &wishes[i]);
        }
        ask_all(db, asks, N);
        for (int i = 0; i < N; i++)
            if (asks[i].err != ERR_OK && asks[i].err != ERR_CONFLICT && strcmp(asks[i].words, UNKNOWN) != 0)
                fail_msg("%s: %s %s", asks[i].action, err_name(asks[i].err), asks[i].words);
        audit_sales(db, asks, wishes, buyers);
        db_sql("UPDATE tickets.reservations SET until_at = now() - interval '1 second' WHERE random() < 0.5");
    }
    assert_true(db_sql("SELECT count(*) FROM tickets.tickets WHERE user_id IS NOT NULL") > 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_hundred_buyers_of_one_seat_buy_it_once, open_db, close_db),
        cmocka_unit_test_setup_teardown(two_hundred_holders_of_one_seat_hold_it_once, open_db, close_db),
        cmocka_unit_test_setup_teardown(holds_are_kept_extended_and_run_out, open_db, close_db),
        cmocka_unit_test_setup_teardown(a_refused_list_keeps_what_stood_before, open_db, close_db),
        cmocka_unit_test_setup_teardown(purchases_are_all_or_nothing, open_db, close_db),
        cmocka_unit_test_setup_teardown(no_schedule_sells_or_holds_a_seat_twice, open_db, close_db),
    };
    return cmocka_run_group_tests_name("core_tickets: on Postgres", tests, NULL, NULL);
}
