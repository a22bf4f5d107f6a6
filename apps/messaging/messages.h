/*
 * messages.h - what the contexts tell each other, in the old system's wire shapes.
 *
 * Contexts meet only here: a context includes this header, never another context's. Names, field order and forms are
 * the recordings' (contracts/messages).
 */
#pragma once
#include "bus/bus.h"

/** Integration.Events.Messaging:EventUpserted - an event was made or changed: its whole state. */
typedef struct EventUpserted {
    Id id;
    Str event_name;
    Instant start_date, end_date;
    int32_t venue;
    Decimal price;
} EventUpserted;
extern const MessageType MESSAGE_EVENT_UPSERTED;

/** Domain.Tickets.Messages:EventUpserted - within the old Tickets context: release or re-price an event's tickets. */
typedef struct TicketsEventUpserted {
    Id id;
    int32_t venue;
    Decimal price;
} TicketsEventUpserted;
extern const MessageType MESSAGE_TICKETS_EVENT_UPSERTED;

/** Integration.Users.Messaging.Messages:UserUpserted */
typedef struct UserUpserted {
    Id id;
    Str full_name;
    Str email;
} UserUpserted;
extern const MessageType MESSAGE_USER_UPSERTED;

/** All of them, NULL-ended: for schemas, documents and tests. */
extern const MessageType *const MESSAGES[];
/** Which queue receives what where Postgres carries the messages. */
extern const Binding BINDINGS[];
/** Which endpoint receives what on the old system's broker: an exchange and a queue of that name each. */
extern const Binding ENDPOINTS[];
