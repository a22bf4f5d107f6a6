/*
 * test_arbitration.c - however requests fall into sets, the answers are those of one after another.
 *
 * A seeded property test: random creates and updates, cut into sets at random, against a naive model that books one at
 * a time in a plain list with the textbook test for overlap. Events have a length here (the odd ones without are
 * scenario 06's).
 */
#include "recordings.h"

#include "core_events/event_rules.h"

#define WISHES 200
#define ROUNDS 60

typedef struct Model {
    Slot booked[WISHES];
    size_t n;
} Model;

static bool model_is_free(const Model *model, const Event *event) {
    for (size_t i = 0; i < model->n; i++) {
        const Slot *slot = &model->booked[i];
        int64_t from = MAX_OF(slot->start.ticks, event->start_date.ticks);
        int64_t to = MIN_OF(slot->end.ticks, event->end_date.ticks);
        if (slot->venue == event->venue && !id_eq(slot->id, event->id) && from < to)
            return false;
    }
    return true;
}

static EventRefusal model_create(Model *model, const Event *event) {
    if (!model_is_free(model, event))
        return EVENT_VENUE_TAKEN;
    model->booked[model->n++] = (Slot){event->id, event->venue, event->start_date, event->end_date};
    return EVENT_FINE;
}

static EventRefusal model_update(Model *model, Event *event) {
    for (size_t i = 0; i < model->n; i++) {
        if (!id_eq(model->booked[i].id, event->id))
            continue;
        event->venue = model->booked[i].venue;
        if (!model_is_free(model, event))
            return EVENT_VENUE_TAKEN;
        model->booked[i].start = event->start_date;
        model->booked[i].end = event->end_date;
        return EVENT_FINE;
    }
    return EVENT_UNKNOWN;
}

static Event random_event(int number) {
    int64_t hour = 3600 * TICKS_PER_SECOND;
    Event event = {.id = id_no(number), .event_name = STR("E"), .venue = (int32_t)random_below(3)};
    event.start_date.ticks = at("2095-01-01").ticks + (int64_t)random_below(150) * hour;
    event.end_date.ticks = event.start_date.ticks + (int64_t)(1 + random_below(6)) * hour;
    return event;
}

static void assert_nothing_is_booked_twice(const Slots *slots) {
    for (size_t i = 0; i < slots->n; i++)
        for (size_t j = 0; j < i; j++) {
            const Slot *a = &slots->p[i], *b = &slots->p[j];
            assert_true(a->venue != b->venue || a->end.ticks <= b->start.ticks || b->end.ticks <= a->start.ticks);
        }
}

static void one_round(uint64_t seed) {
    static Slot room[WISHES];
    random_seed(seed);
    Model model = {.n = 0};
    Slots slots = {.p = room};
    Instant now = at("2090-01-01");
    for (int done = 0; done < WISHES;) {
        bool updates = random_below(3) == 0;
        size_t n = (size_t)MIN_OF(1 + (int)random_below(16), WISHES - done);
        Event events[16];
        EventAsk asks[16];
        EventRefusal want[16];
        for (size_t i = 0; i < n; i++) {
            events[i] = random_event(updates ? (int)random_below(WISHES) : done + (int)i);
            Event copy = events[i];
            want[i] = updates ? model_update(&model, &copy) : model_create(&model, &copy);
            asks[i] = (EventAsk){.event = &events[i], .now = now};
        }
        if (updates)
            events_arbitrate_updates(&slots, asks, n);
        else
            events_arbitrate_creates(&slots, asks, n);
        for (size_t i = 0; i < n; i++)
            if (asks[i].refusal != want[i])
                fail_msg("seed %llu: %s %zu of %zu: want %d, got %d", (unsigned long long)seed,
                         updates ? "update" : "create", i, n, (int)want[i], (int)asks[i].refusal);
        done += (int)n;
    }
    assert_int_equal(slots.n, model.n);
    assert_nothing_is_booked_twice(&slots);
}

static void sets_decide_as_one_after_another(void **state) {
    (void)state;
    Ctx ctx = test_ctx();
    quirks_off(&ctx, "");
    for (uint64_t seed = 1; seed <= ROUNDS; seed++)
        one_round(seed);
    quirks_off(&ctx, "zero-length-clash");
    for (uint64_t seed = 1; seed <= ROUNDS; seed++)
        one_round(seed);
    quirks_off(&ctx, "");
    test_ctx_done(&ctx);
}

static void fifty_at_once_for_one_slot_give_one(void **state) {
    (void)state;
    Slot room[50];
    Slots slots = {.p = room};
    Event events[50];
    EventAsk asks[50];
    for (int i = 0; i < 50; i++) {
        events[i] = (Event){.id = id_no(i),
                            .event_name = STR("E"),
                            .start_date = at("2095-01-01T10:00:00Z"),
                            .end_date = at("2095-01-01T12:00:00Z"),
                            .venue = 5};
        asks[i] = (EventAsk){.event = &events[i], .now = at("2090-01-01")};
    }
    events_arbitrate_creates(&slots, asks, 50);
    assert_int_equal(asks[0].refusal, EVENT_FINE);
    for (int i = 1; i < 50; i++)
        assert_int_equal(asks[i].refusal, EVENT_VENUE_TAKEN);
}

/* A slot that an earlier member of the set leaves is free for a later one, and the other way round it is not. */
static void a_slot_left_in_the_set_is_free_for_those_behind(void **state) {
    (void)state;
    Slot room[2] = {{id_no(1), 5, at("2095-01-01T10:00:00Z"), at("2095-01-01T12:00:00Z")},
                    {id_no(2), 5, at("2095-01-02T10:00:00Z"), at("2095-01-02T12:00:00Z")}};
    Slots slots = {.p = room, .n = 2};
    Event leaves = {
        .id = id_no(1), .event_name = STR("E"), .start_date = at("2095-02-01"), .end_date = at("2095-02-02")};
    Event takes = {.id = id_no(2),
                   .event_name = STR("E"),
                   .start_date = at("2095-01-01T11:00:00Z"),
                   .end_date = at("2095-01-01T12:00:00Z")};
    EventAsk behind[] = {{.event = &takes, .now = at("2090-01-01")}, {.event = &leaves, .now = at("2090-01-01")}};
    events_arbitrate_updates(&slots, behind, 1);
    assert_int_equal(behind[0].refusal, EVENT_VENUE_TAKEN);
    EventAsk ahead[] = {{.event = &leaves, .now = at("2090-01-01")}, {.event = &takes, .now = at("2090-01-01")}};
    events_arbitrate_updates(&slots, ahead, 2);
    assert_int_equal(ahead[0].refusal, EVENT_FINE);
    assert_int_equal(ahead[1].refusal, EVENT_FINE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_decide_as_one_after_another),
        cmocka_unit_test(fifty_at_once_for_one_slot_give_one),
        cmocka_unit_test(a_slot_left_in_the_set_is_free_for_those_behind),
    };
    return cmocka_run_group_tests_name("core_events: arbitration", tests, NULL, NULL);
}
