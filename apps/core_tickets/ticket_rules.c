/*
 * ticket_rules.c - holds and sales as the old system meant them.
 *
 * It looked up a key in Redis per seat and then wrote it, and read a ticket row and then wrote that; with 200 buyers at
 * once up to 200 "got" one seat (races.json). The meaning of one request alone is kept here to the letter, odd order of
 * checks included; that no two requests ever interleave is the caller's doing.
 */
#include "core_tickets/ticket_rules.h"

#include "legacy/quirks.h"

static bool is_held_by_other(const Seat *seat, Id user) {
    return seat->holder.present && !id_eq(seat->holder.value, user);
}

static TicketRefusal check_hold(const Seat *seat, Id user) {
    if (!quirk(QUIRK_RESERVE_ANYTHING)) {
        if (!seat->exists)
            return TICKETS_UNKNOWN;
        if (seat->sold)
            return TICKETS_SOLD;
    }
    return is_held_by_other(seat, user) ? TICKETS_RESERVED : TICKET_FINE;
}

void claims_reserve(Seat *seats, Claim *claims, size_t n) {
    for (size_t i = 0; i < n; i++) {
        Claim *claim = &claims[i];
        size_t good = 0;
        claim->refusal = claim->user_unknown ? TICKETS_USER_UNKNOWN : TICKET_FINE;
        for (; good < claim->n && claim->refusal == TICKET_FINE; good++)
            claim->refusal = check_hold(&seats[claim->seats[good]], claim->user_id);
        if (claim->refusal != TICKET_FINE)
            good = good > 0 && quirk(QUIRK_RESERVE_PARTLY) ? good - 1 : 0;
        for (size_t j = 0; j < good; j++) {
            Seat *seat = &seats[claim->seats[j]];
            seat->holder = (OptId){claim->user_id, true};
            seat->taken = true;
        }
    }
}

/* A seat listed twice "did not exist": as many rows had to come back as ids were asked for. */
static TicketRefusal check_purchase(Seat *seats, const Claim *claim, size_t mark) {
    for (size_t i = 0; i < claim->n; i++)
        if (is_held_by_other(&seats[claim->seats[i]], claim->user_id))
            return TICKETS_RESERVED;
    bool sold = false;
    for (size_t i = 0; i < claim->n; i++) {
        Seat *seat = &seats[claim->seats[i]];
        if (!seat->exists || seat->listed_by == mark)
            return TICKETS_UNKNOWN;
        seat->listed_by = mark;
        sold = sold || seat->sold;
    }
    return sold ? TICKETS_SOLD : TICKET_FINE;
}

void claims_purchase(Seat *seats, Claim *claims, size_t n) {
    for (size_t i = 0; i < n; i++) {
        Claim *claim = &claims[i];
        claim->refusal = claim->user_unknown ? TICKETS_USER_UNKNOWN : check_purchase(seats, claim, i + 1);
        for (size_t j = 0; claim->refusal == TICKET_FINE && j < claim->n; j++) {
            Seat *seat = &seats[claim->seats[j]];
            seat->sold = seat->taken = true;
            seat->buyer = claim->user_id;
        }
    }
}

Err ticket_refuse(Ctx *ctx, TicketRefusal refusal) {
    switch (refusal) {
    case TICKET_FINE:
        return ERR_OK;
    case TICKETS_RESERVED:
        return ctx_problem(ctx, ERR_CONFLICT, "ticketIds", "Tickets already reserved");
    case TICKETS_UNKNOWN:
        return ctx_problem(ctx, ERR_INVALID, "ticketIds", "One or more tickets do not exist");
    case TICKETS_SOLD:
        return ctx_problem(ctx, ERR_CONFLICT, "ticketIds", "Tickets are not available");
    case TICKETS_USER_UNKNOWN:
        return ctx_problem(ctx, ERR_INVALID, "userId", "User does not exist");
    }
    ASSERT(false); /* a refusal without words */
    return ERR_INTERNAL;
}

bool ticket_shows_reserved(bool held, bool sold) {
    return held && (!sold || quirk(QUIRK_RESERVED_AFTER_PURCHASE));
}
