/*
 * test_ticket_rules.c - who gets a seat: decision tables, sets against a naive model, and the quirks in both positions.
 */
#include "../core_events/recordings.h"

#include "core_tickets/ticket_rules.h"

enum { NOBODY, ANN, BOB };
static const Id EVENT = {{1}};

static Seat seat_of(bool exists, bool sold, int holder) {
    Seat seat = {.event_id = EVENT, .exists = exists, .sold = sold};
    if (holder != NOBODY)
        seat.holder = (OptId){id_no(holder), true};
    return seat;
}

/* --- one seat ---------------------------------------------------------------------------------------------------- */

static const struct {
    const char *label;
    bool exists, sold;
    int holder;
    TicketRefusal purchase, reserve, reserve_strictly; /* by ANN; strictly: reserve-anything off */
} SEATS[] = {
    {"free", true, false, NOBODY, TICKET_FINE, TICKET_FINE, TICKET_FINE},
    {"held by the same", true, false, ANN, TICKET_FINE, TICKET_FINE, TICKET_FINE},
    {"held by another", true, false, BOB, TICKETS_RESERVED, TICKETS_RESERVED, TICKETS_RESERVED},
    {"sold", true, true, NOBODY, TICKETS_SOLD, TICKET_FINE, TICKETS_SOLD},
    {"sold, hold of the same goes on", true, true, ANN, TICKETS_SOLD, TICKET_FINE, TICKETS_SOLD},
    {"sold, held by another", true, true, BOB, TICKETS_RESERVED, TICKETS_RESERVED, TICKETS_SOLD},
    {"no such seat", false, false, NOBODY, TICKETS_UNKNOWN, TICKET_FINE, TICKETS_UNKNOWN},
    {"no such seat, held by another", false, false, BOB, TICKETS_RESERVED, TICKETS_RESERVED, TICKETS_UNKNOWN},
};

static void one_seat_is_given_as_recorded(void **state) {
    (void)state;
    Ctx ctx = test_ctx();
    size_t index = 0;
    for (size_t i = 0; i < ARRAY_LEN(SEATS); i++) {
        Claim claim = {.user_id = id_no(ANN), .seats = &index, .n = 1};
        Seat seat = seat_of(SEATS[i].exists, SEATS[i].sold, SEATS[i].holder);
        quirks_off(&ctx, "");
        claims_purchase(&seat, &claim, 1);
        if (claim.refusal != SEATS[i].purchase || seat.taken != (SEATS[i].purchase == TICKET_FINE))
            fail_msg("purchase: %s", SEATS[i].label);
        seat = seat_of(SEATS[i].exists, SEATS[i].sold, SEATS[i].holder);
        claims_reserve(&seat, &claim, 1);
        if (claim.refusal != SEATS[i].reserve || seat.taken != (SEATS[i].reserve == TICKET_FINE))
            fail_msg("reserve: %s", SEATS[i].label);
        seat = seat_of(SEATS[i].exists, SEATS[i].sold, SEATS[i].holder);
        quirks_off(&ctx, "reserve-anything");
        claims_reserve(&seat, &claim, 1);
        if (claim.refusal != SEATS[i].reserve_strictly || seat.taken != (SEATS[i].reserve_strictly == TICKET_FINE))
            fail_msg("reserve, strictly: %s", SEATS[i].label);
    }
    quirks_off(&ctx, "");
    test_ctx_done(&ctx);
}

/* --- lists of seats ---------------------------------------------------------------------------------------------- */

/* Seats: 0, 1, 2 free; 3 held by BOB; 4 sold; 5 is no seat. */
#define FREE_0 0
#define FREE_1 1
#define FREE_2 2
#define BOBS   3
#define SOLD   4
#define NONE   5

static void fresh_seats(Seat seats[6]) {
    for (int i = 0; i < 3; i++)
        seats[i] = seat_of(true, false, NOBODY);
    seats[BOBS] = seat_of(true, false, BOB);
    seats[SOLD] = seat_of(true, true, NOBODY);
    seats[NONE] = seat_of(false, false, NOBODY);
}

static const struct {
    const char *label;
    size_t list[4], n;
    TicketRefusal want;
} PURCHASES[] = {
    {"two free ones", {FREE_0, FREE_1}, 2, TICKET_FINE},
    {"empty list", {0}, 0, TICKET_FINE},
    {"one held by another", {FREE_0, BOBS}, 2, TICKETS_RESERVED},
    {"one sold", {FREE_0, SOLD}, 2, TICKETS_SOLD},
    {"one unknown", {FREE_0, NONE}, 2, TICKETS_UNKNOWN},
    {"the same twice", {FREE_0, FREE_0}, 2, TICKETS_UNKNOWN},
    {"the same twice, not in a row", {FREE_0, FREE_1, FREE_0}, 3, TICKETS_UNKNOWN},
    {"a sold one twice", {SOLD, SOLD}, 2, TICKETS_UNKNOWN},
    {"sold before unknown in the list: existence is looked at first", {SOLD, NONE}, 2, TICKETS_UNKNOWN},
    {"holds are looked at before everything", {NONE, SOLD, BOBS}, 3, TICKETS_RESERVED},
};

static void purchases_are_all_or_nothing(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(PURCHASES); i++) {
        Seat seats[6];
        fresh_seats(seats);
        Claim claim = {.user_id = id_no(ANN), .seats = PURCHASES[i].list, .n = PURCHASES[i].n};
        claims_purchase(seats, &claim, 1);
        if (claim.refusal != PURCHASES[i].want)
            fail_msg("%s: got %d", PURCHASES[i].label, (int)claim.refusal);
        size_t taken = 0;
        for (size_t s = 0; s < 6; s++)
            taken += seats[s].taken;
        if (taken != (claim.refusal == TICKET_FINE ? claim.n : 0))
            fail_msg("%s: %zu seats taken", PURCHASES[i].label, taken);
    }
}

static const struct {
    const char *label;
    size_t list[4], n;
    const char *off;
    TicketRefusal want;
    bool kept[3]; /* which of the free seats ANN holds afterwards */
} RESERVES[] = {
    {"two free ones", {FREE_0, FREE_1}, 2, "", TICKET_FINE, {true, true, false}},
    {"empty list", {0}, 0, "", TICKET_FINE, {false}},
    {"the same twice", {FREE_0, FREE_0}, 2, "", TICKET_FINE, {true}},
    {"what stands before the refused one is kept", {FREE_0, BOBS, FREE_1}, 3, "", TICKETS_RESERVED, {true}},
    {"or not", {FREE_0, BOBS, FREE_1}, 3, "reserve-partly", TICKETS_RESERVED, {false}},
    {"the refused one first", {BOBS, FREE_0}, 2, "", TICKETS_RESERVED, {false}},
    {"sold ones can be held", {SOLD, FREE_0}, 2, "", TICKET_FINE, {true}},
    {"or not", {FREE_0, SOLD, FREE_1}, 3, "reserve-anything", TICKETS_SOLD, {true}},
    {"unknown ones can be held", {NONE, FREE_0}, 2, "", TICKET_FINE, {true}},
    {"or not", {NONE, FREE_0}, 2, "reserve-anything", TICKETS_UNKNOWN, {false}},
    {"no quirk at all", {FREE_0, NONE}, 2, "reserve-anything,reserve-partly", TICKETS_UNKNOWN, {false}},
};

static void holds_are_taken_in_the_order_of_the_list(void **state) {
    (void)state;
    Ctx ctx = test_ctx();
    for (size_t i = 0; i < ARRAY_LEN(RESERVES); i++) {
        Seat seats[6];
        fresh_seats(seats);
        quirks_off(&ctx, RESERVES[i].off);
        Claim claim = {.user_id = id_no(ANN), .seats = RESERVES[i].list, .n = RESERVES[i].n};
        claims_reserve(seats, &claim, 1);
        if (claim.refusal != RESERVES[i].want)
            fail_msg("%s (%s off): got %d", RESERVES[i].label, RESERVES[i].off, (int)claim.refusal);
        for (size_t s = 0; s < 3; s++)
            if (seats[s].taken != RESERVES[i].kept[s] || seats[s].holder.present != RESERVES[i].kept[s])
                fail_msg("%s (%s off): seat %zu", RESERVES[i].label, RESERVES[i].off, s);
        assert_true(id_eq(seats[BOBS].holder.value, id_no(BOB)));
    }
    quirks_off(&ctx, "");
    test_ctx_done(&ctx);
}

/* --- sets -------------------------------------------------------------------------------------------------------- */

static void of_256_buyers_of_one_seat_the_first_gets_it(void **state) {
    (void)state;
    static Claim claims[256];
    size_t index = 0;
    Seat seat = seat_of(true, false, NOBODY);
    for (int i = 0; i < 256; i++)
        claims[i] = (Claim){.user_id = id_no(i), .seats = &index, .n = 1};
    claims_purchase(&seat, claims, 256);
    assert_int_equal(claims[0].refusal, TICKET_FINE);
    assert_true(id_eq(seat.buyer, id_no(0)));
    for (int i = 1; i < 256; i++)
        assert_int_equal(claims[i].refusal, TICKETS_SOLD);

    seat = seat_of(true, false, NOBODY);
    claims_reserve(&seat, claims, 256);
    assert_int_equal(claims[0].refusal, TICKET_FINE);
    assert_true(id_eq(seat.holder.value, id_no(0)));
    for (int i = 1; i < 256; i++)
        assert_int_equal(claims[i].refusal, TICKETS_RESERVED);
}

/* A seat in two lists of one set is no repetition; a refused claim leaves nothing behind for those after it. */
static void claims_of_a_set_do_not_mix(void **state) {
    (void)state;
    Seat seats[6];
    fresh_seats(seats);
    const size_t both[] = {FREE_0, SOLD}, first[] = {FREE_0}, second[] = {FREE_1, FREE_0};
    Claim claims[] = {{.user_id = id_no(ANN), .seats = both, .n = 2},
                      {.user_id = id_no(BOB), .seats = first, .n = 1},
                      {.user_id = id_no(ANN), .seats = second, .n = 2}};
    claims_purchase(seats, claims, 3);
    assert_int_equal(claims[0].refusal, TICKETS_SOLD);
    assert_int_equal(claims[1].refusal, TICKET_FINE);
    assert_int_equal(claims[2].refusal, TICKETS_SOLD);
    assert_true(id_eq(seats[FREE_0].buyer, id_no(BOB)));
    assert_false(seats[FREE_1].taken);
}

/* Whoever found out that a buyer is unknown (quirk reserve-anything off) is told so before any seat is looked at. */
static void unknown_users_get_nothing(void **state) {
    (void)state;
    Seat seats[6];
    fresh_seats(seats);
    const size_t list[] = {FREE_0, BOBS};
    Claim claim = {.user_id = id_no(ANN), .user_unknown = true, .seats = list, .n = 2};
    claims_reserve(seats, &claim, 1);
    assert_int_equal(claim.refusal, TICKETS_USER_UNKNOWN);
    claims_purchase(seats, &claim, 1);
    assert_int_equal(claim.refusal, TICKETS_USER_UNKNOWN);
    assert_false(seats[FREE_0].taken);
}

#define MODEL_SEATS 12
#define MODEL_USERS 5

/** The naive model: what one request after another would have found. */
typedef struct Model {
    int holder[MODEL_SEATS]; /* 0: nobody */
    int buyer[MODEL_SEATS];
} Model;

static TicketRefusal model_purchase(Model *m, int user, const size_t *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (m->holder[list[i]] != 0 && m->holder[list[i]] != user)
            return TICKETS_RESERVED;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if (list[i] == list[j])
                return TICKETS_UNKNOWN;
    for (size_t i = 0; i < n; i++)
        if (m->buyer[list[i]] != 0)
            return TICKETS_SOLD;
    for (size_t i = 0; i < n; i++)
        m->buyer[list[i]] = user;
    return TICKET_FINE;
}

static TicketRefusal model_reserve(Model *m, int user, const size_t *list, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (m->holder[list[i]] != 0 && m->holder[list[i]] != user)
            return TICKETS_RESERVED;
        m->holder[list[i]] = user;
    }
    return TICKET_FINE;
}

static void compare_with_model(const Model *model, const Seat *seats, uint64_t seed) {
    for (int s = 0; s < MODEL_SEATS; s++) {
        bool holder =
            seats[s].holder.present ? id_eq(seats[s].holder.value, id_no(model->holder[s])) : !model->holder[s];
        bool buyer = seats[s].sold ? id_eq(seats[s].buyer, id_no(model->buyer[s])) : !model->buyer[s];
        if (!holder || !buyer)
            fail_msg("seed %llu: seat %d differs", (unsigned long long)seed, s);
    }
}

/* One set of up to 8 wishes; seats are read anew for each set, as the actions do. */
static void one_set(Model *model, Seat *seats, uint64_t seed) {
    size_t lists[8][3];
    Claim claims[8];
    TicketRefusal want[8];
    bool purchase = random_below(2) == 0;
    size_t n = 1 + (size_t)random_below(8);
    for (size_t i = 0; i < n; i++) {
        int user = 1 + (int)random_below(MODEL_USERS);
        size_t length = (size_t)random_below(4);
        for (size_t j = 0; j < length; j++)
            lists[i][j] = (size_t)random_below(MODEL_SEATS);
        claims[i] = (Claim){.user_id = id_no(user), .seats = lists[i], .n = length};
        want[i] =
            purchase ? model_purchase(model, user, lists[i], length) : model_reserve(model, user, lists[i], length);
    }
    for (int s = 0; s < MODEL_SEATS; s++) {
        seats[s].taken = false;
        seats[s].listed_by = 0;
    }
    if (purchase)
        claims_purchase(seats, claims, n);
    else
        claims_reserve(seats, claims, n);
    for (size_t i = 0; i < n; i++)
        if (claims[i].refusal != want[i])
            fail_msg("seed %llu: %s: want %d, got %d", (unsigned long long)seed, purchase ? "purchase" : "reserve",
                     (int)want[i], (int)claims[i].refusal);
}

static void sets_decide_as_one_after_another(void **state) {
    (void)state;
    Ctx ctx = test_ctx();
    quirks_off(&ctx, "");
    for (uint64_t seed = 1; seed <= 300; seed++) {
        random_seed(seed);
        Model model = {{0}, {0}};
        Seat seats[MODEL_SEATS];
        for (int s = 0; s < MODEL_SEATS; s++)
            seats[s] = seat_of(true, false, NOBODY);
        for (int set = 0; set < 30; set++) {
            one_set(&model, seats, seed);
            compare_with_model(&model, seats, seed);
            int expired = (int)random_below(MODEL_SEATS); /* a hold runs out */
            model.holder[expired] = 0;
            seats[expired].holder = (OptId){0};
        }
    }
    test_ctx_done(&ctx);
}

/* --- what is shown and said -------------------------------------------------------------------------------------- */

static void a_sold_seat_shows_its_hold_only_by_quirk(void **state) {
    (void)state;
    Ctx ctx = test_ctx();
    quirks_off(&ctx, "");
    assert_true(ticket_shows_reserved(true, false));
    assert_true(ticket_shows_reserved(true, true));
    assert_false(ticket_shows_reserved(false, true));
    quirks_off(&ctx, "reserved-after-purchase");
    assert_true(ticket_shows_reserved(true, false));
    assert_false(ticket_shows_reserved(true, true));
    quirks_off(&ctx, "");
    test_ctx_done(&ctx);
}

static void each_refusal_has_its_words(void **state) {
    (void)state;
    static const struct {
        TicketRefusal refusal;
        Err want;
        const char *words;
    } WORDS[] = {
        {TICKETS_RESERVED, ERR_CONFLICT, "Tickets already reserved"},
        {TICKETS_UNKNOWN, ERR_INVALID, "One or more tickets do not exist"},
        {TICKETS_SOLD, ERR_CONFLICT, "Tickets are not available"},
        {TICKETS_USER_UNKNOWN, ERR_INVALID, "User does not exist"},
    };
    for (size_t i = 0; i < ARRAY_LEN(WORDS); i++) {
        Ctx ctx = test_ctx();
        assert_int_equal(ticket_refuse(&ctx, WORDS[i].refusal), WORDS[i].want);
        assert_true(str_eq_c(ctx.problem.message, WORDS[i].words));
        test_ctx_done(&ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_seat_is_given_as_recorded),
        cmocka_unit_test(purchases_are_all_or_nothing),
        cmocka_unit_test(holds_are_taken_in_the_order_of_the_list),
        cmocka_unit_test(of_256_buyers_of_one_seat_the_first_gets_it),
        cmocka_unit_test(claims_of_a_set_do_not_mix),
        cmocka_unit_test(unknown_users_get_nothing),
        cmocka_unit_test(sets_decide_as_one_after_another),
        cmocka_unit_test(a_sold_seat_shows_its_hold_only_by_quirk),
        cmocka_unit_test(each_refusal_has_its_words),
    };
    return cmocka_run_group_tests_name("core_tickets: rules", tests, NULL, NULL);
}
