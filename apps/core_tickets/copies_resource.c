/*
 * copies_resource.c - events, users and venues as Tickets knows them.
 *
 * Contexts share no tables. These rows are made by messages and read by nobody outside; if they were lost, sending the
 * messages again would bring them back.
 */
#include "core_tickets/copies.h"

#include "core_tickets/core_tickets.h"
#include "core_tickets/message_actions.h"
#include "messaging/messages.h"

/* Messages come from the bus, which is no visitor; the old system has no sign-in either. */
static bool by_anyone(const Ctx *ctx, const Action *action, const void *input) {
    (void)ctx, (void)action, (void)input;
    return true;
}

static const Policy policies[] = {
    {"*", "anyone", by_anyone},
    {0},
};

/* --- venues ------------------------------------------------------------------------------------------------------ */

static const Attribute venue_attributes[] = {
    ATTR(TicketsVenue, number, .key = true, .required = true, .legacy = "Id"),
    ATTR(TicketsVenue, code, .required = true, .doc = "As in JSON."),
    ATTR(TicketsVenue, title, .required = true, .legacy = "Name"),
    ATTR(TicketsVenue, capacity, .required = true, .legacy = "Capacity"),
    {0},
};

static const Check venue_checks[] = {
    {"event_venues_capacity_positive", "capacity > 0"},
    {0},
};

const Resource TICKETS_VENUE_RESOURCE = {
    .name = "event_venue",
    .plural = "event_venues",
    .schema = "tickets",
    .doc = "How many seats a venue has.",
    .size = sizeof(TicketsVenue),
    .attributes = venue_attributes,
    .checks = venue_checks,
    .internal = true,
    .seed_sql = "INSERT INTO tickets.event_venues (number, code, title, capacity) VALUES\n"
                "    (0, 'O2ArenaLondon', 'The O2 Arena, London', 10),\n"
                "    (1, 'WembleyStadiumLondon', 'Wembley Stadium, London', 11),\n"
                "    (2, 'ManchesterArena', 'Manchester Arena', 12),\n"
                "    (3, 'UtilitaArenaBirmingham', 'Utilita Arena, Birmingham', 13),\n"
                "    (4, 'SSEHydroGlasgow', 'The SSE Hydro, Glasgow', 14),\n"
                "    (5, 'FirstDirectArenaLeeds', 'First Direct Arena, Leeds', 15),\n"
                "    (6, 'PrincipalityStadiumCardiff', 'Principality Stadium, Cardiff', 16),\n"
                "    (7, 'EmiratesOldTraffordManchester', 'Emirates Old Trafford, Manchester', 17),\n"
                "    (8, 'RoyalAlbertHallLondon', 'Royal Albert Hall, London', 18),\n"
                "    (9, 'RoundhouseLondon', 'Roundhouse, London', 20)\n"
                "ON CONFLICT DO NOTHING",
};

/* --- events ------------------------------------------------------------------------------------------------------ */

static const Attribute event_attributes[] = {
    ATTR(TicketsEvent, id, .key = true, .legacy = "Id"),
    {.name = "event_name",
     .type = TYPE_TEXT,
     .offset = offsetof(TicketsEvent, event_name),
     .optional = true,
     .legacy = "EventName"},
    ATTR(TicketsEvent, start_date, .required = true, .legacy = "StartDate"),
    ATTR(TicketsEvent, end_date, .legacy = "EndDate"),
    ATTR(TicketsEvent, venue, .required = true, .legacy = "Venue"),
    ATTR(TicketsEvent, price, .required = true, .legacy = "Price"),
    {0},
};

static const Relationship event_relationships[] = {
    {"tickets", HAS_MANY, "ticket", "event_id"},
    {0},
};

static const Action event_actions[] = {
    {.name = "read", .kind = ACTION_READ, .doc = "As the last message told."},
    {
        .name = "upsert",
        .kind = ACTION_CUSTOM,
        .doc = "Remember an event, release its missing tickets, re-price unsold ones.",
        .input_size = sizeof(EventUpserted),
        .run = events_take_message,
    },
    {
        .name = "release",
        .kind = ACTION_CUSTOM,
        .doc = "Release and re-price the tickets of an event, known or not.",
        .input_size = sizeof(TicketsEventUpserted),
        .run = events_take_release,
    },
    {0},
};

const Resource TICKETS_EVENT_RESOURCE = {
    .name = "event",
    .plural = "events",
    .schema = "tickets",
    .doc = "An event as its last message told.",
    .size = sizeof(TicketsEvent),
    .attributes = event_attributes,
    .relationships = event_relationships,
    .actions = event_actions,
    .policies = policies,
    .api = API_COPY,
};

/* --- users ------------------------------------------------------------------------------------------------------- */

static const Attribute user_attributes[] = {
    ATTR(TicketsUser, id, .key = true, .legacy = "Id"),
    ATTR(TicketsUser, full_name, .required = true, .legacy = "FullName"),
    ATTR(TicketsUser, email, .required = true, .legacy = "Email"),
    {0},
};

static const Relationship user_relationships[] = {
    {"tickets", HAS_MANY, "ticket", "user_id"},
    {0},
};

static const Action user_actions[] = {
    {.name = "read", .kind = ACTION_READ, .doc = "As the last message told."},
    {
        .name = "upsert",
        .kind = ACTION_CUSTOM,
        .doc = "Remember a user.",
        .input_size = sizeof(UserUpserted),
        .run = users_take_message,
    },
    {0},
};

const Resource TICKETS_USER_RESOURCE = {
    .name = "user",
    .plural = "users",
    .schema = "tickets",
    .doc = "A user as their last message told.",
    .size = sizeof(TicketsUser),
    .attributes = user_attributes,
    .relationships = user_relationships,
    .actions = user_actions,
    .policies = policies,
    .api = API_COPY,
};

const Subscription CORE_TICKETS_SUBSCRIPTIONS[] = {
    {&MESSAGE_EVENT_UPSERTED, &TICKETS_EVENT_RESOURCE, "upsert"},
    {&MESSAGE_TICKETS_EVENT_UPSERTED, &TICKETS_EVENT_RESOURCE, "release"},
    {&MESSAGE_USER_UPSERTED, &TICKETS_USER_RESOURCE, "upsert"},
    {0},
};
