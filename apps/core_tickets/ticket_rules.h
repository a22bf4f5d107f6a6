/*
 * ticket_rules.h - who gets a seat: pure functions, no database.
 *
 * The actions (ticket_actions.c) lock the seats of a whole set, read how they stand, let these functions decide in
 * order of arrival, and write what was given.
 */
#pragma once
#include "core_tickets/ticket.h"

/** Why a wish is refused. The words are the old system's. */
typedef enum TicketRefusal {
    TICKET_FINE,
    TICKETS_RESERVED,
    TICKETS_UNKNOWN,
    TICKETS_SOLD,
    TICKETS_USER_UNKNOWN,
} TicketRefusal;

/** How one seat stands: first as read, then as changed by the wishes decided so far. */
typedef struct Seat {
    Id event_id, ticket_id;
    bool exists; /* as a ticket of this event */
    bool sold;
    OptId holder; /* of a hold that has not run out */
    bool taken;   /* its holder or buyer must be written */
    Id buyer;
    size_t listed_by; /* private: 1 + the claim that listed it last */
} Seat;

/** One member's wish: its seats as indexes, in the order and number of its list. */
typedef struct Claim {
    Id user_id;
    bool user_unknown; /* found out only where it matters: without quirk reserve-anything */
    const size_t *seats;
    size_t n;
    TicketRefusal refusal;
} Claim;

/** Decides holds. A holder extends; a refused claim keeps what stood before the refused seat (quirk reserve-partly). */
void claims_reserve(Seat *seats, Claim *claims, size_t n);
/** Decides purchases, each all or nothing. Checks in the old order: all holds, then existence, then sales. */
void claims_purchase(Seat *seats, Claim *claims, size_t n);

/** Err and words of a refusal as ctx's problem; returns its code. */
Err ticket_refuse(Ctx *ctx, TicketRefusal refusal);

/** Is Reserved shown for a seat that is held? Not for a sold one without the quirk. */
bool ticket_shows_reserved(bool held, bool sold);
