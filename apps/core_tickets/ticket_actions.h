/*
 * ticket_actions.h - holding and buying seats, as sets inside a transaction. Used by ticket_resource.c.
 */
#pragma once
#include "core_tickets/ticket.h"

/** Holds seats for 15 minutes from now, by the database's clock. Input: TicketWish. */
CO_FN Err tickets_reserve(PgTx *tx, Set *set);
/** Sells seats, each wish all or nothing. Input: TicketWish. */
CO_FN Err tickets_purchase(PgTx *tx, Set *set);
