/*
 * event_rules.c - the old system's rules of time, place and price.
 *
 * Old code loaded all events that had not begun, compared each with the new one in memory, and stored the new one if
 * none clashed; nothing kept two requests from doing that at once (races.json: 5 to 39 of 50 got the same slot). Here
 * the same comparison runs while the venue is locked, over the set in order of arrival.
 */
#include "core_events/event_rules.h"

#include "legacy/quirks.h"

#define NUMERIC_18_2_WHOLE_DIGITS 16

/*
 * Which values are compared: the old edition stored microseconds, so what it read back had lost its last digit, while
 * the new event still had all seven. 08:00:00.0000001 as an end thus clashed with a start stored as 08:00:00, and an
 * event stored with an end cut to 12:00:00 let another begin at 12:00:00 although its own last 500 ns overlap. usher
 * stores all digits; it cuts the stored side here while instants are shown cut, so that no client is refused a slot it
 * sees as free.
 */
static Instant as_stored(Instant t) {
    return quirk(QUIRK_INSTANTS_UTC_MICROS) ? instant_utc_micros(t) : t;
}

bool slot_clashes(Slot existing, Instant start, Instant end) {
    Instant from = as_stored(existing.start), to = as_stored(existing.end);
    if (!quirk(QUIRK_ZERO_LENGTH_CLASH)) /* half-open: [start, end) meets [from, to) */
        return instant_compare(start, to) < 0 && instant_compare(end, from) > 0;
    bool starts_within = instant_compare(start, from) >= 0 && instant_compare(start, to) < 0;
    bool ends_within = instant_compare(end, from) > 0 && instant_compare(end, to) <= 0;
    bool encloses = instant_compare(start, from) <= 0 && instant_compare(end, to) >= 0;
    return starts_within || ends_within || encloses;
}

bool slot_counts(Slot existing, Instant now) {
    return !quirk(QUIRK_PAST_EVENTS_HIDDEN) || instant_compare(as_stored(existing.start), now) > 0;
}

EventRefusal event_check_begins(const Event *event, Instant now) {
    return instant_compare(event->start_date, now) < 0 ? EVENT_IN_PAST : EVENT_FINE;
}

EventRefusal event_check_order(const Event *event) {
    return instant_compare(event->end_date, event->start_date) < 0 ? EVENT_ENDS_BEFORE_START : EVENT_FINE;
}

EventRefusal event_check_update_dates(const Event *event, Instant now) {
    if (event_check_begins(event, now) != EVENT_FINE || instant_compare(event->end_date, now) < 0)
        return EVENT_IN_PAST;
    return event_check_order(event);
}

EventRefusal event_check_storable(const Event *event) {
    if (event->event_name.p == NULL)
        return EVENT_NAME_MISSING;
    Decimal shown;
    if (decimal_rescale(event->price, 2, &shown) != ERR_OK || decimal_whole_digits(shown) > NUMERIC_18_2_WHOLE_DIGITS)
        return EVENT_PRICE_OUT_OF_RANGE;
    return EVENT_FINE;
}

bool venue_is_known(int32_t number) {
    for (const EnumValue *venue = VENUES; venue->name != NULL; venue++)
        if (venue->number == number)
            return true;
    return false;
}

static bool is_taken(const Slots *slots, const Event *event, Instant now) {
    for (size_t i = 0; i < slots->n; i++) {
        const Slot *slot = &slots->p[i];
        if (slot->venue == event->venue && !id_eq(slot->id, event->id) && slot_counts(*slot, now) &&
            slot_clashes(*slot, event->start_date, event->end_date))
            return true;
    }
    return false;
}

void events_arbitrate_creates(Slots *slots, EventAsk *asks, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const Event *event = asks[i].event;
        asks[i].refusal = is_taken(slots, event, asks[i].now) ? EVENT_VENUE_TAKEN : event_check_storable(event);
        if (asks[i].refusal == EVENT_FINE)
            slots->p[slots->n++] = (Slot){event->id, event->venue, event->start_date, event->end_date};
    }
}

static Slot *slot_of(const Slots *slots, Id id) {
    for (size_t i = 0; i < slots->n; i++)
        if (id_eq(slots->p[i].id, id))
            return &slots->p[i];
    return NULL;
}

static EventRefusal decide_update(const Slots *slots, const Slot *own, EventAsk *ask) {
    if (own == NULL)
        return EVENT_UNKNOWN;
    ask->event->venue = own->venue;
    EventRefusal refusal = event_check_update_dates(ask->event, ask->now);
    if (refusal != EVENT_FINE)
        return refusal;
    return is_taken(slots, ask->event, ask->now) ? EVENT_VENUE_TAKEN : event_check_storable(ask->event);
}

void events_arbitrate_updates(Slots *slots, EventAsk *asks, size_t n) {
    for (size_t i = 0; i < n; i++) {
        Slot *own = slot_of(slots, asks[i].event->id);
        asks[i].refusal = decide_update(slots, own, &asks[i]);
        if (asks[i].refusal == EVENT_FINE) {
            own->start = asks[i].event->start_date;
            own->end = asks[i].event->end_date;
        }
    }
}

Err event_refuse(Ctx *ctx, EventRefusal refusal, Id id) {
    char text[ID_TEXT_LEN];
    switch (refusal) {
    case EVENT_FINE:
        return ERR_OK;
    case EVENT_UNKNOWN:
        id_format(&id, text);
        return ctx_problem(ctx, ERR_NOT_FOUND, "id", "Event with id %.*s not found", ID_TEXT_LEN, text);
    case EVENT_IN_PAST:
        return ctx_problem(ctx, ERR_INVALID, "start_date", "Event date cannot be in the past");
    case EVENT_ENDS_BEFORE_START:
        return ctx_problem(ctx, ERR_INVALID, "end_date", "End date cannot be before start date");
    case EVENT_VENUE_UNKNOWN:
        return ctx_problem(ctx, ERR_INVALID, "venue", "Venue does not exist");
    case EVENT_VENUE_TAKEN:
        return ctx_problem(ctx, ERR_CONFLICT, "venue", "Venue is not available at the selected time");
    case EVENT_NAME_MISSING:
        return ctx_problem(ctx, quirk(QUIRK_MISSING_NAME_500) ? ERR_INTERNAL : ERR_INVALID, "event_name",
                           "Name cannot be empty");
    case EVENT_PRICE_OUT_OF_RANGE:
        return ctx_problem(ctx, quirk(QUIRK_PRICE_OVERFLOW_500) ? ERR_INTERNAL : ERR_INVALID, "price",
                           "Price is out of range");
    }
    ASSERT(false); /* a refusal without words */
    return ERR_INTERNAL;
}
