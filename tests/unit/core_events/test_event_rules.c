/*
 * test_event_rules.c - who gets a slot: the rules of scenario 06 row by row, the quirks in both positions, and all
 * recorded creates and updates of the old system decided again.
 */
#include "recordings.h"

#include "core_events/event_rules.h"
#include "legacy/values.h"

/* --- scenario 06, row by row ------------------------------------------------------------------------------------- */

/* Booked: 08:00-10:00, 10:00-12:00 and 12:00-13:00. */
static const struct {
    const char *from, *to;
} BOOKED[] = {
    {"2095-06-01T10:00:00Z", "2095-06-01T12:00:00Z"},
    {"2095-06-01T08:00:00Z", "2095-06-01T10:00:00Z"},
    {"2095-06-01T12:00:00Z", "2095-06-01T13:00:00Z"},
};

static const struct {
    const char *label, *from, *to;
    bool clashes;
    bool clashes_without_quirk; /* zero-length-clash off */
} OVERLAPS[] = {
    {"same", "2095-06-01T10:00:00Z", "2095-06-01T12:00:00Z", true, true},
    {"inside", "2095-06-01T10:30:00Z", "2095-06-01T11:30:00Z", true, true},
    {"inside from start", "2095-06-01T10:00:00Z", "2095-06-01T11:00:00Z", true, true},
    {"inside to end", "2095-06-01T11:00:00Z", "2095-06-01T12:00:00Z", true, true},
    {"encloses", "2095-06-01T09:59:59.999999Z", "2095-06-01T12:00:00.000001Z", true, true},
    {"encloses all", "2095-06-01T06:00:00Z", "2095-06-01T14:00:00Z", true, true},
    {"zero length at start", "2095-06-01T10:00:00Z", "2095-06-01T10:00:00Z", true, false},
    {"zero length at end, start of next", "2095-06-01T12:00:00Z", "2095-06-01T12:00:00Z", true, false},
    {"zero length inside", "2095-06-01T11:00:00Z", "2095-06-01T11:00:00Z", true, true},
    {"zero length at the end of the last", "2095-06-01T13:00:00Z", "2095-06-01T13:00:00Z", true, false},
    {"zero length behind all", "2095-06-01T13:00:00.000001Z", "2095-06-01T13:00:00.000001Z", false, false},
    {"one microsecond over", "2095-06-01T07:00:00Z", "2095-06-01T08:00:00.000001Z", true, true},
    {"100 ns over", "2095-06-01T07:00:00Z", "2095-06-01T08:00:00.0000001Z", true, true},
    {"100 ns before the end", "2095-06-01T12:59:59.9999999Z", "2095-06-01T15:00:00Z", true, true},
    {"end touches start", "2095-06-01T07:00:00Z", "2095-06-01T08:00:00Z", false, false},
    {"start touches end", "2095-06-01T13:00:00Z", "2095-06-01T14:00:00Z", false, false},
    {"other offset, clashes", "2095-06-01T13:30:00+02:00", "2095-06-01T14:30:00+02:00", true, true},
    {"other offset, free", "2095-06-01T19:00:00+02:00", "2095-06-01T20:00:00+02:00", false, false},
};

static bool clashes_with_booked(Instant from, Instant to) {
    for (size_t i = 0; i < ARRAY_LEN(BOOKED); i++)
        if (slot_clashes((Slot){.start = at(BOOKED[i].from), .end = at(BOOKED[i].to)}, from, to))
            return true;
    return false;
}

static void slots_overlap_as_recorded(void **state) {
    (void)state;
    Ctx ctx = test_ctx();
    for (size_t i = 0; i < ARRAY_LEN(OVERLAPS); i++) {
        quirks_off(&ctx, "");
        if (clashes_with_booked(at(OVERLAPS[i].from), at(OVERLAPS[i].to)) != OVERLAPS[i].clashes)
            fail_msg("%s", OVERLAPS[i].label);
        quirks_off(&ctx, "zero-length-clash");
        if (clashes_with_booked(at(OVERLAPS[i].from), at(OVERLAPS[i].to)) != OVERLAPS[i].clashes_without_quirk)
            fail_msg("%s (half-open)", OVERLAPS[i].label);
    }
    quirks_off(&ctx, "");
    test_ctx_done(&ctx);
}

static void a_new_event_around_a_zero_length_one_clashes_only_by_quirk(void **state) {
    (void)state;
    Ctx ctx = test_ctx();
    Slot moment = {.start = at("2095-06-01T10:00:00Z"), .end = at("2095-06-01T10:00:00Z")};
    quirks_off(&ctx, "");
    assert_true(slot_clashes(moment, at("2095-06-01T10:00:00Z"), at("2095-06-01T11:00:00Z")));
    assert_true(slot_clashes(moment, at("2095-06-01T09:00:00Z"), at("2095-06-01T10:00:00Z")));
    assert_true(slot_clashes(moment, at("2095-06-01T09:00:00Z"), at("2095-06-01T11:00:00Z")));
    quirks_off(&ctx, "zero-length-clash");
    assert_false(slot_clashes(moment, at("2095-06-01T10:00:00Z"), at("2095-06-01T11:00:00Z")));
    assert_false(slot_clashes(moment, at("2095-06-01T09:00:00Z"), at("2095-06-01T10:00:00Z")));
    assert_true(slot_clashes(moment, at("2095-06-01T09:00:00Z"), at("2095-06-01T11:00:00Z")));
    quirks_off(&ctx, "");
    test_ctx_done(&ctx);
}

/* What is stored is compared cut to microseconds while it is shown so; the new event with all its digits. */
static void stored_digits_count_only_without_the_quirk(void **state) {
    (void)state;
    Ctx ctx = test_ctx();
    Slot stored = {.start = at("2095-06-01T10:00:00Z"), .end = at("2095-06-01T12:00:00.0000005Z")};
    Instant from = at("2095-06-01T12:00:00Z"), to = at("2095-06-01T13:00:00Z");
    quirks_off(&ctx, "");
    assert_false(slot_clashes(stored, from, to));
    quirks_off(&ctx, "instants-utc-micros");
    assert_true(slot_clashes(stored, from, to));
    quirks_off(&ctx, "");
    test_ctx_done(&ctx);
}

/* --- single rules ------------------------------------------------------------------------------------------------ */

#define NOW "2090-01-01T00:00:00Z"

static const struct {
    const char *label, *start, *end;
    EventRefusal create, update;
} DATES[] = {
    {"fine", "2095-01-01T10:00:00Z", "2095-01-01T12:00:00Z", EVENT_FINE, EVENT_FINE},
    {"no length", "2095-01-01T10:00:00Z", "2095-01-01T10:00:00Z", EVENT_FINE, EVENT_FINE},
    {"begins now", NOW, "2095-01-01T10:00:00Z", EVENT_FINE, EVENT_FINE},
    {"began 100 ns ago", "2089-12-31T23:59:59.9999999Z", "2095-01-01T10:00:00Z", EVENT_IN_PAST, EVENT_IN_PAST},
    {"both past", "2001-01-01T10:00:00Z", "2000-01-01T12:00:00Z", EVENT_IN_PAST, EVENT_IN_PAST},
    {"ends before it starts", "2095-01-01T12:00:00Z", "2095-01-01T10:00:00Z", EVENT_ENDS_BEFORE_START,
     EVENT_ENDS_BEFORE_START},
    {"only the end is past", "2095-04-05T10:00:00Z", "2001-01-01T12:00:00Z", EVENT_ENDS_BEFORE_START, EVENT_IN_PAST},
    {"offsets are points in time", "2095-04-07T10:00:00+02:00", "2095-04-07T09:00:00Z", EVENT_FINE, EVENT_FINE},
};

/* As the validations of create ask, one after the other. */
static EventRefusal check_create_dates(const Event *event, Instant now) {
    EventRefusal refusal = event_check_begins(event, now);
    return refusal != EVENT_FINE ? refusal : event_check_order(event);
}

static void dates_are_checked_in_the_old_order(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(DATES); i++) {
        Event event = {.start_date = at(DATES[i].start), .end_date = at(DATES[i].end)};
        if (check_create_dates(&event, at(NOW)) != DATES[i].create)
            fail_msg("create: %s", DATES[i].label);
        if (event_check_update_dates(&event, at(NOW)) != DATES[i].update)
            fail_msg("update: %s", DATES[i].label);
    }
}

static const struct {
    const char *price;
    EventRefusal want;
} PRICES[] = {
    {"0", EVENT_FINE},
    {"-1", EVENT_FINE},
    {"0.1234567890123456789012345678", EVENT_FINE},
    {"9999999999999999.99", EVENT_FINE},
    {"9999999999999999.994", EVENT_FINE},
    {"-9999999999999999.994", EVENT_FINE},
    {"9999999999999999.995", EVENT_PRICE_OUT_OF_RANGE},
    {"-9999999999999999.995", EVENT_PRICE_OUT_OF_RANGE},
    {"10000000000000000", EVENT_PRICE_OUT_OF_RANGE},
    {"1e28", EVENT_PRICE_OUT_OF_RANGE},
    {"79228162514264337593543950335", EVENT_PRICE_OUT_OF_RANGE},
};

static void prices_fit_numeric_18_2(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(PRICES); i++) {
        Event event = {.event_name = STR("P"), .price = money(PRICES[i].price)};
        if (event_check_storable(&event) != PRICES[i].want)
            fail_msg("%s", PRICES[i].price);
    }
}

static const struct {
    EventRefusal refusal;
    const char *off;
    Err want;
    const char *words;
} WORDS[] = {
    {EVENT_UNKNOWN, "", ERR_NOT_FOUND, "Event with id 00000000-0000-0000-0000-00000000beef not found"},
    {EVENT_IN_PAST, "", ERR_INVALID, "Event date cannot be in the past"},
    {EVENT_ENDS_BEFORE_START, "", ERR_INVALID, "End date cannot be before start date"},
    {EVENT_VENUE_TAKEN, "", ERR_CONFLICT, "Venue is not available at the selected time"},
    {EVENT_VENUE_UNKNOWN, "", ERR_INVALID, "Venue does not exist"},
    {EVENT_NAME_MISSING, "", ERR_INTERNAL, "Name cannot be empty"},
    {EVENT_NAME_MISSING, "missing-name-500", ERR_INVALID, "Name cannot be empty"},
    {EVENT_PRICE_OUT_OF_RANGE, "", ERR_INTERNAL, "Price is out of range"},
    {EVENT_PRICE_OUT_OF_RANGE, "price-overflow-500", ERR_INVALID, "Price is out of range"},
};

static void each_refusal_has_its_words(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(WORDS); i++) {
        Ctx ctx = test_ctx();
        quirks_off(&ctx, WORDS[i].off);
        assert_int_equal(event_refuse(&ctx, WORDS[i].refusal, id_no(0xbeef)), WORDS[i].want);
        assert_true(str_eq_c(ctx.problem.message, WORDS[i].words));
        quirks_off(&ctx, "");
        test_ctx_done(&ctx);
    }
}

static void an_event_that_has_begun_counts_only_without_the_quirk(void **state) {
    (void)state;
    Ctx ctx = test_ctx();
    Slot begun = {.start = at("2089-12-31T23:00:00Z"), .end = at("2090-01-01T02:00:00Z")};
    Slot starts_now = {.start = at(NOW), .end = at("2090-01-01T02:00:00Z")};
    quirks_off(&ctx, "");
    assert_false(slot_counts(begun, at(NOW)));
    assert_false(slot_counts(starts_now, at(NOW)));
    assert_true(slot_counts((Slot){.start = at("2090-01-01T00:00:00.000001Z")}, at(NOW)));
    quirks_off(&ctx, "past-events-hidden");
    assert_true(slot_counts(begun, at(NOW)));
    quirks_off(&ctx, "");
    test_ctx_done(&ctx);
}

static void there_are_ten_venues(void **state) {
    (void)state;
    for (int32_t number = -2; number < 14; number++)
        assert_int_equal(venue_is_known(number), number >= 0 && number <= 9);
}

/* --- the recordings, decided again ------------------------------------------------------------------------------- */

static bool field_instant(const Json *body, const char *name, Instant *ret) {
    const Json *field = json_member(body, name);
    *ret = (Instant){0};
    return field == NULL || (field->kind == JSON_STRING && instant_parse(field->text, ret) == ERR_OK);
}

/* A body that the old reader accepted up to the domain's rules; false: it failed as JSON, which is not ours to
 * decide. */
static bool event_from_body(const Json *body, Event *ret) {
    const Json *price = json_member(body, "Price"), *name = json_member(body, "EventName");
    *ret = (Event){.event_name = json_text(name), .venue = VENUE_FIRST_DIRECT_ARENA_LEEDS};
    if (name != NULL && name->kind != JSON_STRING && name->kind != JSON_NULL)
        return false;
    if (price != NULL && (price->kind == JSON_NULL || decimal_parse(price->text, &ret->price) != ERR_OK))
        return false;
    return field_instant(body, "StartDate", &ret->start_date) && field_instant(body, "EndDate", &ret->end_date);
}

typedef struct Replay {
    Ctx *ctx;
    Slots slots;
    size_t decided;
} Replay;

static Err replay_one(Replay *replay, const Recorded *r, Event *event) {
    Ctx *ctx = replay->ctx;
    const Json *name = json_member(r->body, "EventName");
    if (name != NULL)
        TRY(value_event_name(ctx, &event->event_name));
    EventAsk ask = {.event = event, .now = at(NOW)};
    if (str_eq_c(r->method, "PUT")) {
        event->id = path_end_id(r->path);
        events_arbitrate_updates(&replay->slots, &ask, 1);
        return event_refuse(ctx, ask.refusal, event->id);
    }
    Id id = {0};
    if (r->status == 201 && id_parse(str_trim(r->answer, "\""), ID_FORM_D, &id) != ERR_OK)
        return ERR_SYNTAX;
    event->id = r->status == 201 ? id : id_no(1);
    TRY(event_refuse(ctx, check_create_dates(event, ask.now), event->id));
    events_arbitrate_creates(&replay->slots, &ask, 1);
    return event_refuse(ctx, ask.refusal, event->id);
}

static void replay_recording(const char *path, size_t at_least) {
    Ctx ctx = test_ctx();
    quirks_off(&ctx, "");
    Replay replay = {.ctx = &ctx, .slots = {.p = ARENA_ARRAY(ctx.arena, Slot, 500)}};
    for (const Json *e = recorded_exchanges(ctx.arena, path); e != NULL; e = e->next) {
        Recorded r = recorded(ctx.arena, e);
        Event event;
        /* Form 1 and 3 and success are the domain's; problem+json is the reader's. */
        bool domain = r.status == 201 || r.status == 204 || r.status == 500 || r.error.p != NULL;
        if (!is_put_or_post(&r, "/events") || str_find(r.path, STR("/tickets")) >= 0 || !domain)
            continue;
        if (!event_from_body(r.body, &event) && r.error.p == NULL)
            fail_msg("%s: %.*s does not convert", path,
                     STR_ARG(json_text(json_member(json_member(e, "request"), "body"))));
        ctx.problem = (Problem){0};
        Err err = replay_one(&replay, &r, &event);
        int status = err == ERR_OK ? (str_eq_c(r.method, "PUT") ? 204 : 201) : err == ERR_INTERNAL ? 500 : 400;
        if (status != r.status || (status == 400 && !str_eq(ctx.problem.message, r.error)))
            fail_msg("%s: %.*s %.*s: want %d %.*s, got %d %.*s", path, STR_ARG(r.method),
                     STR_ARG(json_text(json_member(json_member(e, "request"), "body"))), r.status, STR_ARG(r.error),
                     status, STR_ARG(ctx.problem.message));
        replay.decided++;
    }
    if (replay.decided < at_least)
        fail_msg("%s: only %zu exchanges were decided", path, replay.decided);
    test_ctx_done(&ctx);
}

static void all_recorded_events_are_decided_as_recorded(void **state) {
    (void)state;
    replay_recording("contracts/http/01-events-basic.json", 10);
    replay_recording("contracts/http/02-events-names.json", 40);
    replay_recording("contracts/http/03-events-dates.json", 25);
    replay_recording("contracts/http/04-events-venue.json", 18);
    replay_recording("contracts/http/05-events-price.json", 35);
    replay_recording("contracts/http/06-events-overlap.json", 20);
    replay_recording("contracts/http/07-events-update.json", 15);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_overlap_as_recorded),
        cmocka_unit_test(a_new_event_around_a_zero_length_one_clashes_only_by_quirk),
        cmocka_unit_test(stored_digits_count_only_without_the_quirk),
        cmocka_unit_test(dates_are_checked_in_the_old_order),
        cmocka_unit_test(prices_fit_numeric_18_2),
        cmocka_unit_test(each_refusal_has_its_words),
        cmocka_unit_test(an_event_that_has_begun_counts_only_without_the_quirk),
        cmocka_unit_test(there_are_ten_venues),
        cmocka_unit_test(all_recorded_events_are_decided_as_recorded),
    };
    return cmocka_run_group_tests_name("core_events: rules", tests, NULL, NULL);
}
