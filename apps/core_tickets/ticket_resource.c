/*
 * ticket_resource.c - what a ticket and a hold are, and what may be done to them.
 */
#include "core_tickets/copies.h"
#include "core_tickets/core_tickets.h"
#include "core_tickets/ticket.h"
#include "core_tickets/ticket_actions.h"
#include "core_tickets/tickets_compat.h"
#include "core_tickets_migrations.h"
#include "core_tickets_queries.h"
#include "resource/keep.h"

/* --- tickets ----------------------------------------------------------------------------------------------------- */

/* No foreign key to the event: the old system released tickets of events it had not heard of, and so may messages
 * here. */
static const Attribute attributes[] = {
    ATTR(Ticket, id, .key = true, .generated = true, .legacy = "Id"),
    ATTR(Ticket, event_id, .required = true, .legacy = "EventId"),
    ATTR(Ticket, price, .required = true, .legacy = "Price", .doc = "With the digits that the message carried."),
    ATTR(Ticket, seat_number, .required = true, .legacy = "SeatNumber"),
    ATTR(Ticket, user_id, .legacy = "UserId", .doc = "The buyer."),
    ATTR(Ticket, purchased_at, .legacy = "PurchasedAt"),
    {0},
};

/* Each seat once: also what makes releasing tickets a thing that can be repeated. */
static const Identity identities[] = {
    {.name = "tickets_by_seat", .attributes = {"event_id", "seat_number"}},
    {0},
};

static const Check checks[] = {
    {"tickets_sold_to_somebody", "(user_id IS NULL) = (purchased_at IS NULL)"},
    {"tickets_seat_number_positive", "seat_number > 0"},
    {0},
};

static const Relationship relationships[] = {
    {"event", BELONGS_TO, "event", "event_id"},
    {"user", BELONGS_TO, "user", "user_id"},
    {0},
};

static const Attribute wish_arguments[] = {
    ARGUMENT(TicketWish, event_id, .required = true, .doc = "The event."),
    ARGUMENT(TicketWish, user_id, .required = true, .doc = "Who holds or buys."),
    ARGUMENT_LIST(TicketWish, ticket_ids, .required = true, .doc = "The seats, of that event."),
    {0},
};

static Err wish_is_bounded(Ctx *ctx, const void *input) {
    const TicketWish *wish = input;
    if (wish->ticket_ids.n <= TICKETS_PER_REQUEST_MAX)
        return ERR_OK;
    return ctx_problem(ctx, ERR_INVALID, "ticketIds", "At most %d tickets can be asked for at once",
                       TICKETS_PER_REQUEST_MAX);
}

static const Validation wish_validations[] = {
    {"not too many seats", wish_is_bounded},
    {0},
};

static const Action actions[] = {
    {.name = "read", .kind = ACTION_READ, .doc = "The tickets of an event, or those that a user has bought."},
    {
        .name = "reserve",
        .kind = ACTION_CUSTOM,
        .doc = "Hold seats for 15 minutes; who holds one already extends.",
        .input_size = sizeof(TicketWish),
        .arguments = wish_arguments,
        .validations = wish_validations,
        .run = tickets_reserve,
    },
    {
        .name = "purchase",
        .kind = ACTION_CUSTOM,
        .doc = "Sell free seats, or seats that the buyer holds. All or none.",
        .input_size = sizeof(TicketWish),
        .arguments = wish_arguments,
        .validations = wish_validations,
        .run = tickets_purchase,
    },
    {0},
};

/* The old system has no sign-in. */
static bool by_anyone(const Ctx *ctx, const Action *action, const void *input) {
    (void)ctx, (void)action, (void)input;
    return true;
}

static const Policy policies[] = {
    {"read", "anyone", by_anyone},
    {"reserve", "anyone", by_anyone},
    {"purchase", "anyone", by_anyone},
    {0},
};

/* Room on each page, so that a sale or a new price is written beside its row and no index is touched (HOT). */
const Resource TICKET_RESOURCE = {
    .name = "ticket",
    .plural = "tickets",
    .schema = "tickets",
    .doc = "A seat at an event.",
    .size = sizeof(Ticket),
    .attributes = attributes,
    .identities = identities,
    .checks = checks,
    .relationships = relationships,
    .actions = actions,
    .policies = policies,
    .api = API_SHOWN,
    .storage = "fillfactor=70",
};

/* --- holds ------------------------------------------------------------------------------------------------------- */

static const Attribute reservation_attributes[] = {
    ATTR(Reservation, event_id, .key = true, .required = true),
    ATTR(Reservation, ticket_id, .key = true, .required = true),
    ATTR(Reservation, user_id, .required = true),
    ATTR(Reservation, until_at, .required = true, .coarse = true, .doc = "By the database's clock."),
    {0},
};

/* Internal: a hold is only ever made by `reserve`. No foreign keys (quirk reserve-anything). A hold that has run out
 * counts for nobody; a job forgets it an hour later (tickets_jobs.c). */
const Resource RESERVATION_RESOURCE = {
    .name = "reservation",
    .plural = "reservations",
    .schema = "tickets",
    .doc = "Who holds a seat, and until when.",
    .size = sizeof(Reservation),
    .attributes = reservation_attributes,
    .internal = true,
    .storage = "fillfactor=70",
};

/* --- the context ------------------------------------------------------------------------------------------------- */

/* In the order in which writers lock tables: `usher reset` empties them in this order. */
static const Resource inbox = BUS_INBOX("tickets");
static const Resource keys = KEEP_TABLE("tickets");
JOB_TABLES(tickets, "tickets");
static const Resource *const resources[] = {
    &TICKETS_VENUE_RESOURCE,
    &TICKET_RESOURCE,
    &RESERVATION_RESOURCE,
    &TICKETS_EVENT_RESOURCE,
    &TICKETS_USER_RESOURCE,
    &inbox,
    &keys,
    JOB_RESOURCES(tickets),
    NULL,
};

const Context CORE_TICKETS_CONTEXT = {
    .name = "tickets",
    .schema = "tickets",
    .role = "usher_tickets",
    .database_env = "TICKETS_DATABASE_URL",
    .resources = resources,
    .queries = CORE_TICKETS_QUERIES,
    .migrations = CORE_TICKETS_MIGRATIONS,
    .routes = TICKETS_ROUTES,
};
