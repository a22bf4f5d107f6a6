/*
 * event_actions.c - booking and moving slots, one set at a time per venue.
 *
 * Every set first locks the venues it touches, in order of number, and only then reads the slots in its way: the read
 * is a statement of its own, so that its snapshot (READ COMMITTED takes one per statement) shows all that was committed
 * by whoever held the lock before. Whatever the schedule of workers and machines, the slots that events_arbitrate_*
 * sees are all there are. The tempting alternative, an exclusion constraint, cannot express the old rules (events that
 * have begun do not count, zero-length events clash at ends) and would refuse rows that the old system's races have
 * left behind.
 *
 * Lock and read go out in one flush; the writes ride with the commit.
 */
#include "core_events/event_actions.h"

#include "core_events/event_rules.h"
#include "core_events_queries.h"
#include "legacy/quirks.h"
#include "messaging/messages.h"

static EventAsk *asks_of(Set *set) {
    EventAsk *asks = ARENA_ARRAY(set->ctx->arena, EventAsk, set->n);
    for (size_t i = 0; asks != NULL && i < set->n; i++)
        asks[i] = (EventAsk){.event = set->members[i]->input, .now = set->members[i]->ctx->now};
    return asks;
}

/* The stretch of time in which another event may matter, ends included. An update's dates are checked only later, so
 * the two are put in order here: tstzrange would refuse them otherwise. */
static void add_windows(PgParams *params, const EventAsk *asks, size_t n) {
    pg_array_begin(params, OID_TIMESTAMPTZ_ARRAY);
    for (size_t i = 0; i < n; i++) {
        const Event *event = asks[i].event;
        bool ordered = instant_compare(event->start_date, event->end_date) <= 0;
        pg_array_instant(params, ordered ? event->start_date : event->end_date);
    }
    pg_array_end(params);
    pg_array_begin(params, OID_TIMESTAMPTZ_ARRAY);
    for (size_t i = 0; i < n; i++) {
        const Event *event = asks[i].event;
        bool ordered = instant_compare(event->start_date, event->end_date) <= 0;
        pg_array_instant(params, ordered ? event->end_date : event->start_date);
    }
    pg_array_end(params);
}

/* Events that began before this do not count for any member; without the quirk all count. */
static void add_horizon(PgParams *params, const EventAsk *asks, size_t n) {
    if (!quirk(QUIRK_PAST_EVENTS_HIDDEN)) {
        pg_add_null(params, OID_TIMESTAMPTZ);
        return;
    }
    Instant earliest = asks[0].now;
    for (size_t i = 1; i < n; i++)
        if (instant_compare(asks[i].now, earliest) < 0)
            earliest = asks[i].now;
    pg_add_instant(params, earliest);
}

static void add_ids(PgParams *params, const EventAsk *asks, size_t n) {
    pg_array_begin(params, OID_UUID_ARRAY);
    for (size_t i = 0; i < n; i++)
        pg_array_id(params, asks[i].event->id);
    pg_array_end(params);
}

static void add_venues(PgParams *params, const EventAsk *asks, size_t n) {
    pg_array_begin(params, OID_INT4_ARRAY);
    for (size_t i = 0; i < n; i++)
        pg_array_i32(params, asks[i].event->venue);
    pg_array_end(params);
}

/* Reads slots; leaves room for `more` behind them. */
static CO_FN Err read_slots(PgTx *tx, Set *set, const Statement *statement, const PgParams *params, size_t more,
                            Slots *ret) {
    PgResult result;
    TRY(pg_tx_query(tx, statement, params, &result));
    Slots slots = {.p = ARENA_ARRAY(set->ctx->arena, Slot, (size_t)result.rows + more)};
    if (slots.p == NULL)
        return ERR_NO_MEMORY;
    for (int row = 0; row < result.rows; row++) {
        Event event = {0};
        TRY(resource_decode(&EVENT_RESOURCE, &result, row, &event));
        slots.p[slots.n++] = (Slot){event.id, event.venue, event.start_date, event.end_date};
    }
    *ret = slots;
    return ERR_OK;
}

/* Tells members their refusals; returns the accepted events. NULL: out of memory. */
static const void **settle(Set *set, const EventAsk *asks, size_t *ret_n) {
    const void **accepted = ARENA_ARRAY(set->ctx->arena, const void *, set->n);
    if (accepted == NULL)
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++) {
        Member *member = set->members[i];
        member->outcome = event_refuse(member->ctx, asks[i].refusal, asks[i].event->id);
        if (member->outcome == ERR_OK)
            accepted[n++] = asks[i].event;
    }
    *ret_n = n;
    return accepted;
}

/* One unnest statement for all accepted events; not waited for: the commit behind it tells. */
static Err write_events(PgTx *tx, Set *set, const EventAsk *asks, const Statement *statement,
                        const char *const *attributes) {
    size_t n = 0;
    const void **accepted = settle(set, asks, &n);
    if (accepted == NULL)
        return ERR_NO_MEMORY;
    if (n == 0)
        return ERR_OK;
    PgParams params;
    pg_params_init(&params, set->ctx->arena);
    for (; *attributes != NULL; attributes++)
        resource_add_array(&params, resource_attribute(&EVENT_RESOURCE, *attributes), accepted, n);
    pg_tx_send(tx, statement, &params);
    return ERR_OK;
}

CO_FN Err events_create(PgTx *tx, Set *set) {
    static const char *const written[] = {"id", "event_name", "start_date", "end_date", "venue", "price", NULL};
    EventAsk *asks = asks_of(set);
    if (asks == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < set->n; i++)
        if (id_is_zero(asks[i].event->id))
            asks[i].event->id = id_random();

    PgParams venues, windows;
    pg_params_init(&venues, set->ctx->arena);
    add_venues(&venues, asks, set->n);
    pg_tx_send(tx, SQL_VENUES_LOCK, &venues);
    pg_params_init(&windows, set->ctx->arena);
    add_venues(&windows, asks, set->n);
    add_windows(&windows, asks, set->n);
    add_horizon(&windows, asks, set->n);
    Slots slots;
    TRY(read_slots(tx, set, SQL_SLOTS_OF_VENUES, &windows, set->n, &slots));

    events_arbitrate_creates(&slots, asks, set->n);
    return write_events(tx, set, asks, SQL_EVENTS_INSERT, written);
}

static void send_venue_locks(PgTx *tx, Set *set, const EventAsk *asks) {
    PgParams ids;
    pg_params_init(&ids, set->ctx->arena);
    add_ids(&ids, asks, set->n);
    pg_tx_send(tx, SQL_VENUES_OF_EVENTS_LOCK, &ids);
}

CO_FN Err events_lock(PgTx *tx, Set *set) {
    EventAsk *asks = asks_of(set);
    if (asks == NULL)
        return ERR_NO_MEMORY;
    send_venue_locks(tx, set, asks);
    return ERR_OK;
}

CO_FN Err events_update(PgTx *tx, Set *set) {
    static const char *const written[] = {"id", "event_name", "start_date", "end_date", "price", NULL};
    EventAsk *asks = asks_of(set);
    if (asks == NULL)
        return ERR_NO_MEMORY;

    send_venue_locks(tx, set, asks);
    PgParams windows;
    pg_params_init(&windows, set->ctx->arena);
    add_ids(&windows, asks, set->n);
    add_windows(&windows, asks, set->n);
    add_horizon(&windows, asks, set->n);
    Slots slots;
    TRY(read_slots(tx, set, SQL_SLOTS_OF_EVENTS, &windows, 0, &slots));

    events_arbitrate_updates(&slots, asks, set->n);
    return write_events(tx, set, asks, SQL_EVENTS_UPDATE, written);
}

Err event_announce(const Action *action, Member *member) {
    (void)action;
    const Event *event = member->input;
    EventUpserted message = {
        .id = event->id,
        .event_name = event->event_name,
        .start_date = event->start_date,
        .end_date = event->end_date,
        .venue = event->venue,
        .price = event->price,
    };
    return message_announce(member, &MESSAGE_EVENT_UPSERTED, &message);
}
