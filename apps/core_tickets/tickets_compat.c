/*
 * tickets_compat.c - /events/{id}/tickets as the old system showed it: payloads, shapes, routes.
 */
#include "core_tickets/tickets_compat.h"

#include "core_tickets/ticket.h"
#include "core_tickets/ticket_rules.h"
#include "core_tickets_queries.h"
#include "legacy/quirks.h"

/* --- in ---------------------------------------------------------------------------------------------------------- */

typedef struct SeatsPayload {
    Id user_id;
    Slice(Id) ticket_ids;
} SeatsPayload;

static const CompatField seats_fields[] = {
    {.name = "userId", .kind = COMPAT_ID, .offset = offsetof(SeatsPayload, user_id)},
    {.name = "ticketIds", .kind = COMPAT_ID_LIST, .offset = offsetof(SeatsPayload, ticket_ids), .required_list = true},
    {0},
};

static const CompatPayload reserve_payload = {"Controllers.Tickets.Requests.TicketReservationPayload",
                                              sizeof(SeatsPayload), seats_fields};
static const CompatPayload purchase_payload = {"Controllers.Tickets.Requests.TicketPurchasePayload",
                                               sizeof(SeatsPayload), seats_fields};

static CO_FN Err prepare_wish(CompatCall *call, void **ret_input) {
    const SeatsPayload *payload = call->payload;
    if (payload->ticket_ids.n > TICKETS_PER_REQUEST_MAX)
        return ctx_problem(call->ctx, ERR_INVALID, "ticketIds", "At most %d tickets can be asked for at once",
                           TICKETS_PER_REQUEST_MAX);
    TicketWish *wish = ARENA_NEW(call->ctx->arena, TicketWish);
    if (wish == NULL)
        return ERR_NO_MEMORY;
    *wish = (TicketWish){.event_id = call->path_ids[0], .user_id = payload->user_id, .ticket_ids = payload->ticket_ids};
    *ret_input = wish;
    return ERR_OK;
}

/* --- out --------------------------------------------------------------------------------------------------------- */

/** A ticket as it is shown. */
typedef struct TicketView {
    Ticket ticket;
    bool reserved;
} TicketView;

static void write_purchased(JsonWriter *w, const Ctx *ctx, const void *row) {
    (void)ctx;
    json_write_bool(w, ((const TicketView *)row)->ticket.user_id.present);
}

static void write_reserved(JsonWriter *w, const Ctx *ctx, const void *row) {
    (void)ctx;
    json_write_bool(w, ((const TicketView *)row)->reserved);
}

static const CompatOutput outputs[] = {
    {.name = "Id", .attribute = "id"},
    {.name = "EventId", .attribute = "event_id"},
    {.name = "Price", .attribute = "price"},
    {.name = "SeatNumber", .attribute = "seat_number"},
    {.name = "Purchased", .form = SHOW_CUSTOM, .write = write_purchased, .type = TYPE_BOOL},
    {.name = "Reserved", .form = SHOW_CUSTOM, .write = write_reserved, .type = TYPE_BOOL},
    {0},
};

_Static_assert(offsetof(TicketView, ticket) == 0, "a TicketView is read as a Ticket");
static const CompatShape shape = {&TICKET_RESOURCE, sizeof(TicketView), outputs};

SLICE_OF(TicketView);

/* A ticket borrows nothing from the result: it has no text. */
static Err decode_views(Ctx *ctx, const PgResult *result, int first, int n, bool show_holds, Slice(TicketView) * ret) {
    TicketView *views = ARENA_ARRAY(ctx->arena, TicketView, (size_t)n);
    if (views == NULL)
        return ERR_NO_MEMORY;
    TRY(resource_decode_rows(&TICKET_RESOURCE, result, first, n, views, sizeof *views));
    for (int i = 0; i < n; i++) {
        TicketView *view = &views[i];
        bool held = pg_bool(result, first + i, result->columns - 1);
        view->reserved = show_holds && ticket_shows_reserved(held, view->ticket.user_id.present);
    }
    ret->p = views;
    ret->n = (size_t)n;
    return ERR_OK;
}

static Err take_of_event(Ctx *ctx, const PgResult *result, int first, int n, void *arg) {
    return decode_views(ctx, result, first, n, true, arg);
}

static CO_FN Err load_of_event(CompatCall *call, void **ret_rows, size_t *ret_n) {
    static const GroupRead of_events = {SQL_TICKETS_OF_EVENTS, "event_id", take_of_event};
    Slice(TicketView) views;
    TRY(resource_group(call->engine, &of_events, call->ctx, call->path_ids[0], &views));
    *ret_rows = views.p;
    *ret_n = views.n;
    return ERR_OK;
}

static CO_FN Err load_of_user(CompatCall *call, void **ret_rows, size_t *ret_n) {
    PgParams params;
    pg_params_init(&params, call->ctx->arena);
    pg_add_id(&params, call->path_ids[0]);
    pg_add_id(&params, call->path_ids[1]);
    PgResult result;
    Slice(TicketView) views;
    TRY(pg_query(engine_pool(call->engine), SQL_TICKETS_OF_USER, &params, &result));
    TRY(decode_views(call->ctx, &result, 0, result.rows, !quirk(QUIRK_USER_TICKETS_NEVER_RESERVED), &views));
    *ret_rows = views.p;
    *ret_n = views.n;
    return ERR_OK;
}

/* --- routes ------------------------------------------------------------------------------------------------------ */

static const CompatAction of_event = {.load = load_of_event, .answer = ANSWER_LIST, .shape = &shape};
static const CompatAction of_user = {.load = load_of_user, .answer = ANSWER_LIST, .shape = &shape};
static const CompatAction reserve = {
    .payload = &reserve_payload,
    .resource = &TICKET_RESOURCE,
    .action = "reserve",
    .prepare = prepare_wish,
    .answer = ANSWER_NOTHING,
};
static const CompatAction purchase = {
    .payload = &purchase_payload,
    .resource = &TICKET_RESOURCE,
    .action = "purchase",
    .prepare = prepare_wish,
    .answer = ANSWER_NOTHING,
};

static const char *const of_event_quirks[] = {"reserved-after-purchase", NULL};
static const char *const of_user_quirks[] = {"user-tickets-never-reserved", "reserved-after-purchase", NULL};
static const char *const reserve_quirks[] = {"reserve-partly", "reserve-anything", NULL};
static const char *const purchase_quirks[] = {"reserve-anything", NULL};

const Route TICKETS_ROUTES[] = {
    COMPAT_ROUTE(METHOD_GET, "/events/{id:id}/tickets", "tickets", "of_event", &of_event, of_event_quirks),
    COMPAT_ROUTE(METHOD_GET, "/events/{id:id}/tickets/user/{userId:id}", "tickets", "of_user", &of_user,
                 of_user_quirks),
    COMPAT_ROUTE(METHOD_POST, "/events/{id:id}/tickets/reserve", "tickets", "reserve", &reserve, reserve_quirks),
    COMPAT_ROUTE(METHOD_POST, "/events/{id:id}/tickets/purchase", "tickets", "purchase", &purchase, purchase_quirks),
    {0},
};
