/*
 * message_rules.c - the re-checks of the old consumers, in their order (contracts/messages/faults.json).
 *
 * A new event may begin in the past, a known one may not be moved there: so it was recorded. An event of a venue
 * without a row left half an effect behind in the old system (the event, but no tickets); here the whole message is
 * refused.
 */
#include "core_tickets/message_rules.h"

#include "legacy/values.h"

Err release_message_check(Ctx *ctx, bool has_venue) {
    return has_venue ? ERR_OK : ctx_problem(ctx, ERR_INVALID, "venue", "Venue does not exist");
}

Err event_message_check(Ctx *ctx, const EventUpserted *message, bool known, bool has_venue) {
    TRY(value_event_name(ctx, &message->event_name));
    bool in_past =
        instant_compare(message->start_date, ctx->now) < 0 || instant_compare(message->end_date, ctx->now) < 0;
    if (known && in_past)
        return ctx_problem(ctx, ERR_INVALID, "startDate", "Event date cannot be in the past");
    if (instant_compare(message->end_date, message->start_date) < 0)
        return ctx_problem(ctx, ERR_INVALID, "endDate", "End date cannot be before start date");
    return release_message_check(ctx, has_venue);
}

Err user_message_check(Ctx *ctx, const UserUpserted *message) {
    TRY(value_full_name(ctx, &message->full_name));
    return value_email(ctx, &message->email);
}
