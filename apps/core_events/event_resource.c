/*
 * event_resource.c - what an event is, and what may be done to it.
 */
#include "bus/bus.h"
#include "core_events/core_events.h"
#include "core_events/event_actions.h"
#include "core_events/event_rules.h"
#include "core_events/events_compat.h"
#include "core_events_migrations.h"
#include "core_events_queries.h"
#include "legacy/quirks.h"
#include "legacy/values.h"
#include "resource/keep.h"

const EnumValue VENUES[] = {
    {"O2ArenaLondon", 0},
    {"WembleyStadiumLondon", 1},
    {"ManchesterArena", 2},
    {"UtilitaArenaBirmingham", 3},
    {"SSEHydroGlasgow", 4},
    {"FirstDirectArenaLeeds", VENUE_FIRST_DIRECT_ARENA_LEEDS},
    {"PrincipalityStadiumCardiff", 6},
    {"EmiratesOldTraffordManchester", 7},
    {"RoyalAlbertHallLondon", 8},
    {"RoundhouseLondon", 9},
    {0},
};

/* The old system has no sign-in. */
static bool by_anyone(const Ctx *ctx, const Action *action, const void *input) {
    (void)ctx, (void)action, (void)input;
    return true;
}

static const Policy read_policies[] = {
    {"read", "anyone", by_anyone},
    {0},
};

/* --- venues ------------------------------------------------------------------------------------------------------ */

static const Attribute venue_attributes[] = {
    ATTR(EventVenue, number, .key = true, .required = true, .legacy = "Id"),
    ATTR(EventVenue, code, .required = true, .doc = "As in JSON."),
    ATTR(EventVenue, title, .required = true, .legacy = "Name"),
    ATTR(EventVenue, capacity, .required = true, .legacy = "Capacity"),
    {0},
};

static const Relationship venue_relationships[] = {
    {"events", HAS_MANY, "event", "venue"},
    {0},
};

static const Action venue_actions[] = {
    {.name = "read", .kind = ACTION_READ, .doc = "The ten venues."},
    {0},
};

static const Resource venue_resource = {
    .name = "event_venue",
    .plural = "event_venues",
    .schema = "events",
    .doc = "A place with seats. Its row is the lock under which slots are given away.",
    .size = sizeof(EventVenue),
    .attributes = venue_attributes,
    .relationships = venue_relationships,
    .actions = venue_actions,
    .policies = read_policies,
    .api = API_SHOWN,
    .seed_sql = "INSERT INTO events.event_venues (number, code, title, capacity) VALUES\n"
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

/* No foreign key to the venue: it would lock the venue's row once more for each event, and its number is checked. */
static const Attribute attributes[] = {
    ATTR(Event, id, .key = true, .generated = true, .legacy = "Id"),
    ATTR(Event, event_name, .required = true, .legacy = "EventName"),
    ATTR(Event, start_date, .required = true, .legacy = "StartDate"),
    ATTR(Event, end_date, .required = true, .legacy = "EndDate"),
    ATTR(Event, venue, .required = true, .values = VENUES, .legacy = "Venue"),
    ATTR(Event, price, .required = true, .legacy = "Price", .doc = "As sent; what is shown is a quirk."),
    {0},
};

static const Index indexes[] = {
    {.name = "events_by_start", .columns = "start_date, id"},
    {.name = "events_by_slot", .columns = "tstzrange(start_date, end_date, '[]'::text)", .method = "gist"},
    {0},
};

static const Check checks[] = {
    {"events_end_not_before_start", "end_date >= start_date"},
    {0},
};

static const Relationship relationships[] = {
    {"event_venue", BELONGS_TO, "event_venue", "venue"},
    {0},
};

/* Every surface's names obey the old rule. (Compat has looked already, in its own order, and finds nothing new here;
 * what is missing altogether is a matter of name_is_there.) */
static Err name_is_well_formed(Ctx *ctx, const void *input) {
    const Event *event = input;
    if (event->event_name.p == NULL || value_event_name(ctx, &event->event_name) == ERR_OK)
        return ERR_OK;
    ctx->problem.field = STR("event_name");
    return ERR_INVALID;
}

/* With the quirk a missing name is found only when the row is written, after everything else (EVENT_NAME_MISSING). */
static Err name_is_there(Ctx *ctx, const void *input) {
    const Event *event = input;
    if (event->event_name.p == NULL && !quirk(QUIRK_MISSING_NAME_500))
        return event_refuse(ctx, EVENT_NAME_MISSING, event->id);
    return ERR_OK;
}

static Err venue_exists(Ctx *ctx, const void *input) {
    const Event *event = input;
    return event_refuse(ctx, venue_is_known(event->venue) ? EVENT_FINE : EVENT_VENUE_UNKNOWN, event->id);
}

static Err begins_in_future(Ctx *ctx, const void *input) {
    const Event *event = input;
    return event_refuse(ctx, event_check_begins(event, ctx->now), event->id);
}

static Err ends_after_start(Ctx *ctx, const void *input) {
    const Event *event = input;
    return event_refuse(ctx, event_check_order(event), event->id);
}

static const Validation create_validations[] = {
    {"name is there", name_is_there},
    {"name is well-formed", name_is_well_formed},
    {"venue exists", venue_exists},
    {"begins in the future", begins_in_future},
    {"ends after its start", ends_after_start},
    {0},
};

/* An update's dates are looked at when the event has been found (events_arbitrate_updates). Where all mistakes are told
 * at once they are looked at before as well. */
static Err update_begins_in_future(Ctx *ctx, const void *input) {
    const Event *event = input;
    bool past = !quirk(QUIRK_ONE_DOMAIN_ERROR) && event_check_update_dates(event, ctx->now) == EVENT_IN_PAST;
    return event_refuse(ctx, past ? EVENT_IN_PAST : EVENT_FINE, event->id);
}

static Err update_ends_after_start(Ctx *ctx, const void *input) {
    return quirk(QUIRK_ONE_DOMAIN_ERROR) ? ERR_OK : ends_after_start(ctx, input);
}

static const Validation update_validations[] = {
    {"name is there", name_is_there},
    {"name is well-formed", name_is_well_formed},
    {"begins in the future", update_begins_in_future},
    {"ends after its start", update_ends_after_start},
    {0},
};

static Id event_id(const void *input) {
    return ((const Event *)input)->id;
}

static const Action actions[] = {
    {.name = "read", .kind = ACTION_READ, .doc = "One event, or those that have not begun."},
    {
        .name = "create",
        .kind = ACTION_CREATE,
        .doc = "Book a free slot of a venue.",
        .accept = {"event_name", "start_date", "end_date", "venue", "price"},
        .validations = create_validations,
        .run = events_create,
        .after = event_announce,
    },
    {
        .name = "update",
        .kind = ACTION_UPDATE,
        .doc = "Change name, times or price; the venue stays.",
        .accept = {"event_name", "start_date", "end_date", "price"},
        .validations = update_validations,
        .clash_key = event_id,
        .lock = events_lock,
        .run = events_update,
        .after = event_announce,
    },
    {0},
};

static const Policy policies[] = {
    {"read", "anyone", by_anyone},
    {"create", "anyone", by_anyone},
    {"update", "anyone", by_anyone},
    {0},
};

const Resource EVENT_RESOURCE = {
    .name = "event",
    .plural = "events",
    .schema = "events",
    .doc = "A booked slot of a venue, with a name and a price.",
    .size = sizeof(Event),
    .attributes = attributes,
    .indexes = indexes,
    .checks = checks,
    .relationships = relationships,
    .actions = actions,
    .policies = policies,
    .api = API_SHOWN,
};

/* --- the context ------------------------------------------------------------------------------------------------- */

static const Resource outbox = BUS_OUTBOX("events"), marks = BUS_OUTBOX_MARKS("events");
static const Resource keys = KEEP_TABLE("events");
JOB_TABLES(events, "events");
static const Resource *const resources[] = {&venue_resource, &EVENT_RESOURCE,       &outbox, &marks,
                                            &keys,           JOB_RESOURCES(events), NULL};

const Context CORE_EVENTS_CONTEXT = {
    .name = "events",
    .schema = "events",
    .role = "usher_events",
    .database_env = "EVENTS_DATABASE_URL",
    .resources = resources,
    .queries = CORE_EVENTS_QUERIES,
    .migrations = CORE_EVENTS_MIGRATIONS,
    .routes = EVENTS_ROUTES,
};
