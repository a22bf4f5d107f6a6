/*
 * messages.c - the messages and who receives them.
 *
 * How to add one: 1. a struct and an extern in messages.h; 2. its fields and MessageType here, in the order they stand
 * on the wire; 3. a line in MESSAGES[]; 4. a line in BINDINGS[] for each queue that wants it, and in ENDPOINTS[] for
 * each endpoint of the broker; 5. a recording or a hand-made example in tests/unit/messaging.
 *
 * What may be missing is what the old consumers took without (contracts/messages/faults.json, faults2.json): their
 * defaults were the zero values of .NET, and the contexts' own validations judge those.
 */
#include "messaging/messages.h"

static const MessageField event_upserted_fields[] = {
    MESSAGE_FIELD(EventUpserted, "id", id, .doc = "The event."),
    MESSAGE_FIELD(EventUpserted, "eventName", event_name, .may_lack = true, .doc = "Its name."),
    MESSAGE_FIELD(EventUpserted, "startDate", start_date, .may_lack = true, .doc = "With the offset it was given in."),
    MESSAGE_FIELD(EventUpserted, "endDate", end_date, .may_lack = true, .doc = "With the offset it was given in."),
    MESSAGE_FIELD(EventUpserted, "venue", venue, .may_lack = true, .doc = "The venue's number, never its name."),
    MESSAGE_FIELD(EventUpserted, "price", price, .may_lack = true, .form = FORM_DECIMAL_STRING,
                  .doc = "Price of each seat, as it was sent."),
    {0},
};

const MessageType MESSAGE_EVENT_UPSERTED = {
    .name = "Integration.Events.Messaging:EventUpserted",
    .doc = "An event was made or changed; its whole state.",
    .size = sizeof(EventUpserted),
    .fields = event_upserted_fields,
    .aggregate_offset = offsetof(EventUpserted, id),
};

static const MessageField tickets_event_upserted_fields[] = {
    MESSAGE_FIELD(TicketsEventUpserted, "id", id, .doc = "The event."),
    MESSAGE_FIELD(TicketsEventUpserted, "venue", venue, .may_lack = true, .doc = "The venue's number: how many seats."),
    MESSAGE_FIELD(TicketsEventUpserted, "price", price, .may_lack = true, .form = FORM_DECIMAL_STRING,
                  .doc = "Price of each seat that is not sold."),
    {0},
};

const MessageType MESSAGE_TICKETS_EVENT_UPSERTED = {
    .name = "Domain.Tickets.Messages:EventUpserted",
    .doc = "Tickets to itself: release an event's tickets, or re-price those not sold.",
    .size = sizeof(TicketsEventUpserted),
    .fields = tickets_event_upserted_fields,
    .aggregate_offset = offsetof(TicketsEventUpserted, id),
};

static const MessageField user_upserted_fields[] = {
    MESSAGE_FIELD(UserUpserted, "id", id, .doc = "The user."),
    MESSAGE_FIELD(UserUpserted, "fullName", full_name, .may_lack = true, .doc = "Full name."),
    MESSAGE_FIELD(UserUpserted, "email", email, .may_lack = true, .doc = "E-mail address."),
    {0},
};

const MessageType MESSAGE_USER_UPSERTED = {
    .name = "Integration.Users.Messaging.Messages:UserUpserted",
    .doc = "A user was made or changed; the state that others may know.",
    .size = sizeof(UserUpserted),
    .fields = user_upserted_fields,
    .aggregate_offset = offsetof(UserUpserted, id),
};

const MessageType *const MESSAGES[] = {
    &MESSAGE_EVENT_UPSERTED,
    &MESSAGE_TICKETS_EVENT_UPSERTED,
    &MESSAGE_USER_UPSERTED,
    NULL,
};

const Binding BINDINGS[] = {
    {"tickets-inbox-events", &MESSAGE_EVENT_UPSERTED},
    {"tickets-inbox-events", &MESSAGE_TICKETS_EVENT_UPSERTED},
    {"tickets-inbox-users", &MESSAGE_USER_UPSERTED},
    {0},
};

/* As recorded (contracts/topology.json). Nothing consumes the two inboxes' types: what arrives there is skipped. */
const Binding ENDPOINTS[] = {
    {"event", &MESSAGE_EVENT_UPSERTED},
    {"event", &MESSAGE_TICKETS_EVENT_UPSERTED},
    {"user", &MESSAGE_USER_UPSERTED},
    {"tickets-inbox-events", &MESSAGE_EVENT_UPSERTED},
    {"tickets-inbox-users", &MESSAGE_USER_UPSERTED},
    {0},
};
