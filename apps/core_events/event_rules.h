/*
 * event_rules.h - who gets a slot, and what an event must look like: pure functions, no database.
 *
 * The actions (event_actions.c) read the slots that matter under the venue's lock, let events_arbitrate decide the
 * whole set in order of arrival, and write what was accepted.
 */
#pragma once
#include "core_events/event.h"

/** Why an event is refused. The words are the old system's. */
typedef enum EventRefusal {
    EVENT_FINE,
    EVENT_UNKNOWN,
    EVENT_IN_PAST,
    EVENT_ENDS_BEFORE_START,
    EVENT_VENUE_UNKNOWN,
    EVENT_VENUE_TAKEN,
    EVENT_NAME_MISSING,
    EVENT_PRICE_OUT_OF_RANGE,
} EventRefusal;

/** A booked event, as far as arbitration is concerned. */
typedef struct Slot {
    Id id;
    int32_t venue;
    Instant start, end;
} Slot;

/** Slots known so far. `p` has room for every one of the set's creates besides. */
typedef struct Slots {
    Slot *p;
    size_t n;
} Slots;

/** One member's wish, and what became of it. */
typedef struct EventAsk {
    Event *event; /* an update's venue is filled in from its slot */
    Instant now;
    EventRefusal refusal;
} EventAsk;

/** Does an event from start to end clash with this one, as the old system compared them? */
bool slot_clashes(Slot existing, Instant start, Instant end);
/** Does this one count at all at `now`? The old system forgot an event once it had begun (quirk past-events-hidden). */
bool slot_counts(Slot existing, Instant now);

/** The rules that need no slots. */
EventRefusal event_check_begins(const Event *event, Instant now);
EventRefusal event_check_order(const Event *event);
EventRefusal event_check_update_dates(const Event *event, Instant now);
/** Can it be stored? A name must be there, and the price fit what the old system could store. */
EventRefusal event_check_storable(const Event *event);
/** Is the number one of the ten venues? */
bool venue_is_known(int32_t number);

/** Decides creates (dates are checked already) in order of arrival; each accepted one takes its slot from those behind
 *  it. */
void events_arbitrate_creates(Slots *slots, EventAsk *asks, size_t n);
/** Decides updates in order of arrival, with all their rules; an accepted one moves its slot. */
void events_arbitrate_updates(Slots *slots, EventAsk *asks, size_t n);

/** Err and words of a refusal as ctx's problem; returns its code. */
Err event_refuse(Ctx *ctx, EventRefusal refusal, Id id);
