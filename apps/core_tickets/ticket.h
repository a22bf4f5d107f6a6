/*
 * ticket.h - a seat at an event that can be held and bought, and who holds it.
 *
 * A seat is free until somebody holds it; a hold ends by itself at until_at, nothing has to sweep it. A sold seat is
 * sold for ever. The rules are in ticket_rules.h.
 */
#pragma once
#include "resource/resource.h"

typedef struct Ticket {
    Id id;
    Id event_id;
    Decimal price; /* with the digits that the event's last message carried */
    int32_t seat_number;
    OptId user_id; /* the buyer */
    OptInstant purchased_at;
} Ticket;

/** A hold. Neither seat nor event nor user need exist: the old system kept holds under a key made of bare ids. */
typedef struct Reservation {
    Id event_id;
    Id ticket_id;
    Id user_id;
    Instant until_at;
} Reservation;

/** Input of reserve and purchase: one user's wish for seats of one event. */
typedef struct TicketWish {
    Id event_id;
    Id user_id;
    Slice(Id) ticket_ids;
} TicketWish;

/** Seats in one request; far more than a venue has. */
#define TICKETS_PER_REQUEST_MAX 10000

extern const Resource TICKET_RESOURCE;
extern const Resource RESERVATION_RESOURCE;
