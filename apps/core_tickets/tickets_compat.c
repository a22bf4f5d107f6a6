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

static CO_FN Err load_views(CompatCall *call, const Statement *statement, const PgParams *params, bool show_holds,
                            void **ret_rows, size_t *ret_n) {
    PgResult result;
    TRY(pg_query(engine_pool(call->engine), statement, params, &result));
    TicketView *views = ARENA_ARRAY(call->ctx->arena, TicketView, (size_t)result.rows);
    if (views == NULL)
        return ERR_NO_MEMORY;
    for (int row = 0; row < result.rows; row++) {
        TicketView *view = &views[row];
        TRY(resource_decode(&TICKET_RESOURCE, &result, row, &view->ticket));
        bool held = pg_bool(&result, row, result.columns - 1);
        view->reserved = show_holds && ticket_shows_reserved(held, view->ticket.user_id.present);
    }
    *ret_rows = views;
    *ret_n = (size_t)result.rows;
    return ERR_OK;
}

static CO_FN Err load_of_event(CompatCall *call, void **ret_rows, size_t *ret_n) {
    PgParams params;
    pg_params_init(&params, call->ctx->arena);
    pg_add_id(&params, call->path_ids[0]);
    return load_views(call, SQL_TICKETS_OF_EVENT, &params, true, ret_rows, ret_n);
}

static CO_FN Err load_of_user(CompatCall *call, void **ret_rows, size_t *ret_n) {
    PgParams params;
    pg_params_init(&params, call->ctx->arena);
    pg_add_id(&params, call->path_ids[0]);
    pg_add_id(&params, call->path_ids[1]);
    return load_views(call, SQL_TICKETS_OF_USER, &params, !quirk(QUIRK_USER_TICKETS_NEVER_RESERVED), ret_rows, ret_n);
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
