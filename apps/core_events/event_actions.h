/*
 * event_actions.h - what may be done to events, as sets inside a transaction. Used by event_resource.c.
 */
#pragma once
#include "core_events/event.h"

/** Books slots: input is an Event (id made here when zero). ERR_CONFLICT per member whose slot is taken. */
CO_FN Err events_create(PgTx *tx, Set *set);
/** Changes name, times and price: input is an Event whose venue is filled in. ERR_NOT_FOUND, ERR_CONFLICT per
 *  member. */
CO_FN Err events_update(PgTx *tx, Set *set);
/** The venues that an update locks before it locks rows. */
CO_FN Err events_lock(PgTx *tx, Set *set);
/** After both: the event's whole state to whom it concerns. */
Err event_announce(const Action *action, Member *member);
