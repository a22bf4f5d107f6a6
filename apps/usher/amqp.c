/*
 * amqp.c - usher as one of the old system's services, or beside them.
 *
 * By default usher is every endpoint that the old Tickets service was: it declares them, consumes `event` and `user`,
 * and does with the two inboxes what was recorded (nobody takes their types, all goes to NAME_skipped). While an old
 * service still consumes a queue, the broker deals the messages out between the two; NAME=QUEUE gives usher a queue of
 * its own, bound to the same types, so that each side sees every message.
 */
#include "usher/amqp.h"

#include "amqp/url.h"
#include "core_tickets/core_tickets.h"
#include "messaging/messages.h"

#define QUEUE_NAME_MAX 200

/* --- settings ----------------------------------------------------------------------------------------------------- */

Err check_amqp_url(Ctx *ctx, Str value) {
    AmqpUrl url;
    return amqp_url_read(ctx, value, ctx->arena, &url);
}

Err check_amqp_queues(Ctx *ctx, Str value) {
    const Binding *endpoints;
    return amqp_endpoints(ctx, value, ctx->arena, &endpoints);
}

Err check_amqp_queue_type(Ctx *ctx, Str value) {
    if (!str_eq_c(value, "classic") && !str_eq_c(value, "quorum"))
        return ctx_problem(ctx, ERR_INVALID, NULL, "it is classic or quorum");
    return ERR_OK;
}

/* --- endpoints ---------------------------------------------------------------------------------------------------- */

static size_t endpoints_count(void) {
    size_t n = 0;
    while (ENDPOINTS[n].queue != NULL)
        n++;
    return n;
}

/* The rows of one endpoint, under the queue's name. */
static Err add_endpoint(Ctx *ctx, Str name, Str queue, Arena *arena, Binding *to, size_t *n) {
    size_t before = *n;
    const char *kept = arena_str(arena, queue).p;
    if (kept == NULL)
        return ERR_NO_MEMORY;
    if (queue.n == 0 || queue.n > QUEUE_NAME_MAX)
        return ctx_problem(ctx, ERR_INVALID, NULL, "a queue's name has 1 to %d bytes", QUEUE_NAME_MAX);
    for (size_t i = 0; i < before; i++)
        if (strcmp(to[i].queue, kept) == 0)
            return ctx_problem(ctx, ERR_INVALID, NULL, "queue %s is named twice", kept);
    for (const Binding *b = ENDPOINTS; b->queue != NULL; b++)
        if (str_eq_c(name, b->queue))
            to[(*n)++] = (Binding){kept, b->type};
    if (*n > before)
        return ERR_OK;
    return ctx_problem(ctx, ERR_INVALID, NULL,
                       "there is no endpoint \"%.*s\"; they are event, user, tickets-inbox-events, "
                       "tickets-inbox-users, each alone or as NAME=QUEUE; or none",
                       STR_ARG(name));
}

Err amqp_endpoints(Ctx *ctx, Str queues, Arena *arena, const Binding **ret) {
    size_t n = 0, most = endpoints_count(), listed = 1;
    for (size_t i = 0; i < queues.n; i++)
        listed += queues.p[i] == ',';
    Binding *to = ARENA_ARRAY(arena, Binding, most * listed + 1); /* the last stays zero */
    if (to == NULL)
        return ERR_NO_MEMORY;
    Str rest = str_trim(queues, " ");
    if (str_eq_c(rest, "none"))
        rest = (Str){NULL, 0};
    while (rest.p != NULL) {
        Str queue = str_trim(str_cut(&rest, ','), " "), name = str_cut(&queue, '=');
        TRY(add_endpoint(ctx, str_trim(name, " "), queue.p == NULL ? name : str_trim(queue, " "), arena, to, &n));
    }
    *ret = to;
    return ERR_OK;
}

/* --- the transport ------------------------------------------------------------------------------------------------ */

Err app_open_amqp(App *app) {
    const Settings *settings = app->settings;
    Ctx ctx;
    ctx_init(&ctx, app->arena, 0);
    TRY(amqp_endpoints(&ctx, settings->amqp_queues, app->arena, &app->endpoints));
    TransportAmqpOptions options = {.url = settings->amqp_url,
                                    .name = STR("usher"),
                                    .bindings = app->endpoints,
                                    .prefetch = (int)settings->amqp_prefetch,
                                    .exclusive = settings->amqp_exclusive,
                                    .quorum = str_eq_c(settings->amqp_queue_type, "quorum")};
    return transport_amqp_new(&ctx, app->loop, &options, &app->transport);
}

/* The inboxes receive the same types as `event` and `user`, and the old service took none of them there. Under a queue
 * of another name somebody wants them. */
static bool is_inbox(const Binding *endpoint) {
    return str_starts_with(str_c(endpoint->queue), STR("tickets-inbox-"));
}

size_t app_pipelines(const App *app, Pipeline ret[CONSUMED_QUEUES_MAX]) {
    static const Subscription nothing[] = {{0}};
    size_t n = 0;
    if (app->endpoints == NULL) {
        for (const Pipeline *p = CORE_TICKETS_PIPELINES; p->queue != NULL && n < CONSUMED_QUEUES_MAX; p++)
            ret[n++] = *p;
        return n;
    }
    for (const Binding *b = app->endpoints; b->queue != NULL && n < CONSUMED_QUEUES_MAX; b++) {
        if (n > 0 && strcmp(ret[n - 1].queue, b->queue) == 0)
            continue;
        ret[n] = CORE_TICKETS_PIPELINES[0]; /* both are alike in all but their queue */
        ret[n].queue = b->queue;
        ret[n].bindings = app->endpoints;
        ret[n++].subscriptions = is_inbox(b) ? nothing : CORE_TICKETS_SUBSCRIPTIONS;
    }
    return n;
}
