/*
 * message_actions.h - what messages do to Tickets, as sets inside a transaction. Used by copies_resource.c.
 */
#pragma once
#include "core_tickets/copies.h"

/** Input EventUpserted: remembers the event, releases its missing tickets, re-prices unsold ones. */
CO_FN Err events_take_message(PgTx *tx, Set *set);
/** Input TicketsEventUpserted: releases and re-prices only; the event need not be known. */
CO_FN Err events_take_release(PgTx *tx, Set *set);
/** Input UserUpserted: remembers the user. */
CO_FN Err users_take_message(PgTx *tx, Set *set);
