/*
 * message_rules.h - which messages about events and users are taken: pure functions, no database.
 *
 * The old consumers built their own value objects from a message and so checked it once more. A refused message changes
 * nothing and ends as a dead letter.
 */
#pragma once
#include "core_tickets/copies.h"
#include "messaging/messages.h"

/** Is the message of an event taken? known: the event has been heard of before; has_venue: the venue is one of ours.
 *  ERR_INVALID, with the old words as ctx's problem (ctx->now is the time of the check). */
Err event_message_check(Ctx *ctx, const EventUpserted *message, bool known, bool has_venue);
/** The same for the message without names and dates, which the old Tickets context sent to itself. */
Err release_message_check(Ctx *ctx, bool has_venue);
Err user_message_check(Ctx *ctx, const UserUpserted *message);
