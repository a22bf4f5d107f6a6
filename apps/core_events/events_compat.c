/*
 * events_compat.c - /events as the old system showed it: payloads, shapes, routes.
 */
#include "core_events/events_compat.h"

#include "core_events/event.h"
#include "core_events_queries.h"
#include "legacy/quirks.h"
#include "legacy/values.h"

/* --- in ---------------------------------------------------------------------------------------------------------- */

typedef struct EventPayload {
    Str event_name;
    Instant start_date, end_date;
    int32_t venue;
    Decimal price;
} EventPayload;

#define FIELD(member) .offset = offsetof(EventPayload, member)

static const CompatField create_fields[] = {
    {.name = "EventName", .kind = COMPAT_TEXT, FIELD(event_name), .check = value_event_name},
    {.name = "StartDate", .kind = COMPAT_INSTANT, FIELD(start_date)},
    {.name = "EndDate", .kind = COMPAT_INSTANT, FIELD(end_date)},
    {.name = "Venue", .kind = COMPAT_ENUM, FIELD(venue), .values = VENUES},
    {.name = "Price", .kind = COMPAT_DECIMAL, FIELD(price)},
    {0},
};

/* An event never moves to another venue: PUT has no Venue. */
static const CompatField update_fields[] = {
    {.name = "EventName", .kind = COMPAT_TEXT, FIELD(event_name), .check = value_event_name},
    {.name = "StartDate", .kind = COMPAT_INSTANT, FIELD(start_date)},
    {.name = "EndDate", .kind = COMPAT_INSTANT, FIELD(end_date)},
    {.name = "Price", .kind = COMPAT_DECIMAL, FIELD(price)},
    {0},
};

static const CompatPayload create_payload = {"Controllers.Events.Requests.EventPayload", sizeof(EventPayload),
                                             create_fields};
static const CompatPayload update_payload = {"Controllers.Events.Requests.UpdateEventPayload", sizeof(EventPayload),
                                             update_fields};

static Event *event_from(CompatCall *call) {
    const EventPayload *payload = call->payload;
    Event *event = ARENA_NEW(call->ctx->arena, Event);
    if (event != NULL)
        *event = (Event){
            .event_name = payload->event_name,
            .start_date = payload->start_date,
            .end_date = payload->end_date,
            .venue = payload->venue,
            .price = payload->price,
        };
    return event;
}

static CO_FN Err prepare_create(CompatCall *call, void **ret_input) {
    Event *event = event_from(call);
    if (event == NULL)
        return ERR_NO_MEMORY;
    event->id = id_random();
    if (quirk(QUIRK_VENUE_IGNORED_ON_CREATE))
        event->venue = VENUE_FIRST_DIRECT_ARENA_LEEDS;
    *ret_input = event;
    return ERR_OK;
}

static CO_FN Err prepare_update(CompatCall *call, void **ret_input) {
    Event *event = event_from(call);
    if (event == NULL)
        return ERR_NO_MEMORY;
    event->id = call->path_ids[0];
    *ret_input = event;
    return ERR_OK;
}

/* --- out --------------------------------------------------------------------------------------------------------- */

/* Stored as sent, shown as numeric(18,2) showed it. */
static void write_price(JsonWriter *w, const Ctx *ctx, const void *row) {
    (void)ctx;
    Decimal price = ((const Event *)row)->price, rounded;
    if (quirk(QUIRK_PRICE_SHOWN_ROUNDED) && decimal_rescale(price, 2, &rounded) == ERR_OK)
        price = rounded;
    json_write_decimal(w, price);
}

static const CompatOutput outputs[] = {
    {.name = "EventName", .attribute = "event_name"},
    {.name = "StartDate", .attribute = "start_date", .form = SHOW_INSTANT},
    {.name = "EndDate", .attribute = "end_date", .form = SHOW_INSTANT},
    {.name = "Venue", .attribute = "venue", .form = SHOW_ENUM, .values = VENUES},
    {.name = "Price", .attribute = "price", .form = SHOW_CUSTOM, .write = write_price, .type = TYPE_DECIMAL},
    {.name = "Id", .attribute = "id"},
    {0},
};

static const CompatShape shape = {&EVENT_RESOURCE, sizeof(Event), outputs};

static CO_FN Err load_list(CompatCall *call, void **ret_rows, size_t *ret_n) {
    PgParams params;
    pg_params_init(&params, call->ctx->arena);
    if (!quirk(QUIRK_PAST_EVENTS_HIDDEN))
        return resource_list(call->engine, &EVENT_RESOURCE, call->ctx, SQL_EVENTS_ALL, &params, ret_rows, ret_n);
    pg_add_instant(&params, call->ctx->now);
    return resource_list(call->engine, &EVENT_RESOURCE, call->ctx, SQL_EVENTS_UPCOMING, &params, ret_rows, ret_n);
}

static CO_FN Err load_one(CompatCall *call, void **ret_rows, size_t *ret_n) {
    TRY(resource_get(call->engine, &EVENT_RESOURCE, call->ctx, call->path_ids[0], ret_rows));
    *ret_n = 1;
    return ERR_OK;
}

/* --- routes ------------------------------------------------------------------------------------------------------ */

static const CompatAction list = {.load = load_list, .answer = ANSWER_LIST, .shape = &shape};
static const CompatAction get = {.load = load_one, .answer = ANSWER_ONE, .shape = &shape};
static const CompatAction create = {
    .payload = &create_payload,
    .resource = &EVENT_RESOURCE,
    .action = "create",
    .prepare = prepare_create,
    .answer = ANSWER_CREATED,
    .shape = &shape,
    .location = "/events/",
    .id_offset = offsetof(Event, id),
};
static const CompatAction update = {
    .payload = &update_payload,
    .resource = &EVENT_RESOURCE,
    .action = "update",
    .prepare = prepare_update,
    .answer = ANSWER_NOTHING,
    .shape = &shape,
};

static const char *const list_quirks[] = {"past-events-hidden", "price-shown-rounded", "instants-utc-micros", NULL};
static const char *const get_quirks[] = {"price-shown-rounded", "instants-utc-micros", NULL};
static const char *const create_quirks[] = {
    "venue-ignored-on-create",
    "missing-name-500",
    "price-overflow-500",
    "unicode-space-in-names",
    "blank-names",
    "zero-length-clash",
    "instants-utc-micros",
    "past-events-hidden",
    "numbers-from-strings",
    "enums-lenient",
    NULL,
};
static const char *const update_quirks[] = {
    "unknown-id-put-400", "missing-name-500",    "price-overflow-500", "unicode-space-in-names", "blank-names",
    "zero-length-clash",  "instants-utc-micros", "past-events-hidden", "numbers-from-strings",   NULL,
};

const Route EVENTS_ROUTES[] = {
    COMPAT_ROUTE(METHOD_GET, "/events", "events", "list", &list, list_quirks),
    COMPAT_ROUTE(METHOD_POST, "/events", "events", "create", &create, create_quirks),
    COMPAT_ROUTE(METHOD_GET, "/events/{id:id}", "events", "get", &get, get_quirks),
    COMPAT_ROUTE(METHOD_PUT, "/events/{id:id}", "events", "update", &update, update_quirks),
    {0},
};
