/*
 * transport_amqp.c - RabbitMQ as MassTransit uses it: an exchange per message type, an exchange and a queue per
 * endpoint.
 *
 * Publishing: one channel, confirms for a whole batch, persistent and mandatory. A fanout exchange without a queue is
 * normal for MassTransit, where a type may have no receiver at all; so what comes back unroutable is an error only when
 * one of our own declared endpoints should have got it. Then somebody has taken the binding away: the channel is set up
 * again, which declares everything, and the relay publishes the batch once more.
 *
 * Two connections, because a broker that is short of memory stops reading from whoever publishes, and would leave the
 * consumers' acknowledgements unread.
 */
#include <stdio.h>

#include "base/heap.h"
#include "bus/amqp_transport.h"
#include "runtime/log.h"

#define ARENA_BYTES (1024 * 1024)
/* Three batches: one is with the database, one waits for its turn, one is on its way. */
#define PREFETCH_DEFAULT 1500

static const char CONTENT_TYPE[] = "application/vnd.masstransit+json";

/* --- topology ----------------------------------------------------------------------------------------------------- */

CO_FN static Err declare_exchange(AmqpChannel *channel, const char *name) {
    AmqpExchange exchange = {.name = name, .type = "fanout", .durable = true};
    return amqp_exchange_declare(channel, &exchange);
}

CO_FN static Err declare_queue(AmqpTransport *t, AmqpChannel *channel, const char *name) {
    Buf arguments = buf_new(co_ctx(co_self())->arena, 256);
    if (t->options.quorum)
        amqp_table_add_text(&arguments, STR("x-queue-type"), STR("quorum"));
    AmqpQueue queue = {.name = name, .durable = true, .arguments = buf_str(&arguments)};
    TRY(arguments.err);
    TRY(declare_exchange(channel, name));
    TRY(amqp_queue_declare(channel, &queue, NULL));
    return amqp_queue_bind(channel, name, name, "");
}

CO_FN Err amqp_declare_endpoint(AmqpTransport *t, AmqpChannel *channel, const char *queue) {
    TRY(declare_queue(t, channel, queue));
    for (const Binding *b = t->options.bindings; b->queue != NULL; b++) {
        if (strcmp(b->queue, queue) != 0)
            continue;
        TRY(declare_exchange(channel, b->type->name));
        TRY(amqp_exchange_bind(channel, queue, b->type->name, ""));
    }
    return ERR_OK;
}

static bool was_declared(AmqpTransport *t, const char *name) {
    uint64_t generation = amqp_channel_generation(t->publisher);
    if (t->declared_in != generation)
        t->n_declared = 0;
    t->declared_in = generation;
    for (size_t i = 0; i < t->n_declared; i++)
        if (strcmp(t->declared[i], name) == 0)
            return true;
    return false;
}

CO_FN Err amqp_declare_once(AmqpTransport *t, AmqpChannel *channel, const char *name, bool queue,
                            const char *bound_to) {
    if (was_declared(t, name))
        return ERR_OK;
    if (queue)
        TRY(declare_queue(t, channel, name));
    else
        TRY(declare_exchange(channel, name));
    if (bound_to != NULL) {
        TRY(declare_exchange(channel, bound_to));
        TRY(amqp_exchange_bind(channel, bound_to, name, ""));
    }
    if (t->n_declared == AMQP_NAMES_MAX) /* more kinds than anybody declares: they are declared each time */
        return ERR_OK;
    const char *kept = arena_str(t->arena, str_c(name)).p;
    if (kept != NULL)
        t->declared[t->n_declared++] = kept;
    return ERR_OK;
}

CO_FN static Err set_up_publisher(AmqpChannel *channel, void *data) {
    AmqpTransport *t = data;
    for (size_t i = 0; i < t->n_inboxes; i++)
        TRY(amqp_declare_endpoint(t, channel, t->inboxes[i].queue));
    return amqp_confirm_select(channel);
}

/* --- connecting --------------------------------------------------------------------------------------------------- */

static Err connect_client(AmqpTransport *t, const char *what, bool once, AmqpClient **client) {
    Ctx *ctx = co_ctx(co_self());
    if (*client != NULL)
        return ERR_OK;
    AmqpConfig config = {.url = t->options.url,
                         .name = arena_printf(ctx->arena, "%.*s %s", STR_ARG(t->options.name), what),
                         .once = once};
    return config.name.p == NULL ? ERR_NO_MEMORY : amqp_client_new(ctx, t->loop, &config, client);
}

CO_FN Err amqp_consuming_client(AmqpTransport *t, AmqpClient **ret) {
    TRY(connect_client(t, "consumes", false, &t->in));
    *ret = t->in;
    return ERR_OK;
}

CO_FN Err amqp_asking_client(AmqpTransport *t, AmqpClient **ret) {
    TRY(connect_client(t, "asks", true, &t->in));
    *ret = t->in;
    return ERR_OK;
}

CO_FN Err amqp_publisher(AmqpTransport *t, AmqpChannel **ret) {
    TRY(connect_client(t, "publishes", false, &t->out));
    if (t->publisher == NULL)
        TRY(amqp_channel_new(t->out, "publisher", set_up_publisher, t, &t->publisher));
    *ret = t->publisher;
    return amqp_channel_ready(t->publisher);
}

/* --- publishing --------------------------------------------------------------------------------------------------- */

AmqpProperties amqp_message_properties(const char *content_type, Str message_id) {
    AmqpProperties properties = AMQP_PROPERTIES_NONE;
    properties.content_type = str_c(content_type);
    properties.delivery_mode = 2;
    properties.message_id = message_id;
    return properties;
}

static bool has_receiver(const AmqpTransport *t, Str type) {
    for (const Binding *b = t->options.bindings; b->queue != NULL; b++)
        if (str_eq_c(type, b->type->name))
            return true;
    return false;
}

enum { TRACE_HEADERS_MAX = 5 };

/* Trace context in both worlds' names. As recorded from MassTransit itself, its list of baggage stands in the envelope
 * only; W3C's names stand also beside it, where the broker's tools and other clients look. */
static size_t trace_headers(const Envelope *m, Arena *arena, MtHeader *headers) {
    const MtHeader all[TRACE_HEADERS_MAX] = {
        {.name = MT_HEADER_ACTIVITY, .text = m->traceparent},
        {.name = MT_HEADER_CORRELATION, .json = m->baggage.n > 0 ? mt_baggage_json(m->baggage, arena) : (Str){0}},
        {.name = "traceparent", .text = m->traceparent},
        {.name = "tracestate", .text = m->tracestate},
        {.name = "baggage", .text = m->baggage}};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i].text.n > 0 || all[i].json.p != NULL)
            headers[n++] = all[i];
    return n;
}

CO_FN static Err publish_one(AmqpTransport *t, AmqpChannel *channel, const Envelope *m, uint64_t *ret_number) {
    Arena *arena = co_ctx(co_self())->arena;
    MtHeader headers[TRACE_HEADERS_MAX];
    char id[ID_TEXT_LEN];
    Str name = arena_str(arena, m->type), body = {0};
    Buf table = buf_new(arena, 32 * 1024);
    MtEnvelope envelope = {
        .message_id = {m->message_id, true},
        .conversation_id = {id_is_zero(m->conversation_id) ? m->message_id : m->conversation_id, true},
        .source_address = t->source_address,
        .destination_address = arena_printf(arena, "%.*s%.*s", STR_ARG(t->address_prefix), STR_ARG(m->type)),
        .types = &m->type,
        .n_types = 1,
        .message = m->payload,
        .sent_at = clock_now(),
        .headers = headers,
        .n_headers = trace_headers(m, arena, headers),
        .host = &t->host};
    if (name.p == NULL || envelope.destination_address.p == NULL)
        return ERR_NO_MEMORY;
    TRY(mt_write(&envelope, arena, &body));
    for (size_t i = 0; i < envelope.n_headers; i++)
        if (headers[i].text.p != NULL)
            amqp_table_add_text(&table, str_c(headers[i].name), headers[i].text);
    TRY(table.err);
    id_format(&m->message_id, id);
    AmqpMessage message = {.exchange = name.p, .key = "", .mandatory = true, .body = body};
    message.properties = amqp_message_properties(CONTENT_TYPE, (Str){id, ID_TEXT_LEN});
    message.properties.headers = buf_str(&table);
    if (!has_receiver(t, m->type))
        TRY(amqp_declare_once(t, channel, name.p, false, NULL));
    return amqp_publish(channel, &message, ret_number);
}

/* What the broker said to each. */
static Err judge(AmqpTransport *t, AmqpChannel *channel, const Envelope *messages, const uint64_t *numbers, size_t n) {
    Ctx *ctx = co_ctx(co_self());
    for (size_t i = 0; i < n; i++) {
        switch (amqp_confirm_of(channel, numbers[i])) {
        case AMQP_CONFIRM_STORED:
            break;
        case AMQP_CONFIRM_RETURNED:
            if (!has_receiver(t, messages[i].type))
                break; /* nobody here waits for it, and nobody elsewhere has bound a queue */
            amqp_channel_restart(channel);
            return ctx_problem(
                ctx, ERR_UNAVAILABLE, NULL,
                "no queue was bound to exchange %.*s, and one of ours should be: the topology is declared "
                "again, and the message is published again",
                STR_ARG(messages[i].type));
        case AMQP_CONFIRM_NACKED:
            return ctx_problem(ctx, ERR_UNAVAILABLE, NULL, "the broker could not store a message (basic.nack)");
        case AMQP_CONFIRM_PENDING:
            return ctx_problem(ctx, ERR_UNAVAILABLE, NULL, "the channel was lost before the broker confirmed");
        }
    }
    return ERR_OK;
}

CO_FN static Err publish_batch(AmqpTransport *t, const Envelope *messages, size_t n) {
    Ctx *ctx = co_ctx(co_self());
    AmqpChannel *channel;
    uint64_t *numbers = ARENA_ARRAY(ctx->arena, uint64_t, n);
    if (numbers == NULL)
        return ERR_NO_MEMORY;
    TRY(amqp_publisher(t, &channel));
    for (size_t i = 0; i < n; i++)
        TRY(publish_one(t, channel, &messages[i], &numbers[i]));
    TRY(amqp_confirms_wait(channel, numbers[n - 1]));
    return judge(t, channel, messages, numbers, n);
}

CO_FN static Err amqp_publish_messages(Transport *transport, const Envelope *messages, size_t n) {
    AmqpTransport *t = (AmqpTransport *)transport;
    if (n == 0)
        return ERR_OK;
    TRY(connect_client(t, "publishes", false, &t->out));
    amqp_client_hold(t->out);
    Err err = publish_batch(t, messages, n);
    amqp_client_release(t->out);
    return err;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static void amqp_free(Transport *transport) {
    AmqpTransport *t = (AmqpTransport *)transport;
    amqp_client_free(t->out);
    amqp_client_free(t->in);
    amqp_inboxes_free(t);
    arena_freep(&t->arena);
    heap_free(t);
}

AmqpInbox *amqp_inbox_named(AmqpTransport *t, const char *queue) {
    for (size_t i = 0; i < t->n_inboxes; i++)
        if (strcmp(t->inboxes[i].queue, queue) == 0)
            return &t->inboxes[i];
    return NULL;
}

static Err amqp_declare(Transport *transport, const Pipeline *pipeline) {
    AmqpInbox *inbox = amqp_inbox_named((AmqpTransport *)transport, pipeline->queue);
    if (inbox == NULL)
        return ERR_NOT_FOUND;
    inbox->pipeline = pipeline;
    return ERR_OK;
}

static const TransportOps ops = {.publish = amqp_publish_messages,
                                 .consume = amqp_consume_queue,
                                 .free = amqp_free,
                                 .declare = amqp_declare,
                                 .dead = &DEAD_AMQP_OPS,
                                 .status = amqp_desk_status};

/* As MassTransit writes addresses: the port and the vhost only where they are not 5672 and "/". */
static Err make_addresses(Ctx *ctx, AmqpTransport *t) {
    AmqpUrl url;
    char port[16] = "", bus[27];
    TRY(amqp_url_read(ctx, t->options.url, t->arena, &url));
    if (url.port != (url.tls ? 5671 : 5672))
        snprintf(port, sizeof port, ":%d", url.port);
    bool root = str_eq(url.vhost, STR("/"));
    t->address_prefix =
        arena_printf(t->arena, "%s://%.*s%s/%.*s%s", url.tls ? "rabbitmqs" : "rabbitmq", STR_ARG(url.host), port,
                     root ? 0 : (int)url.vhost.n, url.vhost.p, root ? "" : "/");
    for (size_t i = 0; i < sizeof bus - 1; i++)
        bus[i] = "ybndrfg8ejkmcpqxot1uwisza345h769"[random_below(32)];
    t->source_address = arena_printf(t->arena, "%.*s%.*s_usher_bus_%.26s?temporary=true", STR_ARG(t->address_prefix),
                                     STR_ARG(t->host.machine_name), bus);
    return t->source_address.p == NULL || t->address_prefix.p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static Err add_inboxes(Ctx *ctx, AmqpTransport *t) {
    for (const Binding *b = t->options.bindings; b->queue != NULL; b++) {
        if (amqp_inbox_named(t, b->queue) != NULL)
            continue;
        if (t->n_inboxes == AMQP_QUEUES_MAX || strlen(b->queue) > AMQP_NAME_MAX - sizeof "_skipped")
            return ctx_problem(ctx, ERR_LIMIT, NULL, "more than %d queues, or a name of more than %d bytes: %s",
                               AMQP_QUEUES_MAX, (int)(AMQP_NAME_MAX - sizeof "_skipped"), b->queue);
        AmqpInbox *inbox = &t->inboxes[t->n_inboxes++];
        *inbox = (AmqpInbox){.transport = t, .queue = b->queue};
        inbox->end = &inbox->first;
    }
    return ERR_OK;
}

Err transport_amqp_new(Ctx *ctx, Loop *loop, const TransportAmqpOptions *options, Transport **ret) {
    AmqpTransport *t = HEAP_NEW(AmqpTransport);
    if (t == NULL)
        return ERR_NO_MEMORY;
    t->transport.ops = &ops;
    t->loop = loop;
    t->options = *options;
    t->options.prefetch = options->prefetch == 0 ? PREFETCH_DEFAULT : options->prefetch;
    t->arena = arena_new(ARENA_BYTES);
    Err err = t->arena == NULL ? ERR_NO_MEMORY : mt_host(t->arena, &t->host);
    if (err == ERR_OK)
        err = make_addresses(ctx, t);
    if (err == ERR_OK)
        err = add_inboxes(ctx, t);
    if (err != ERR_OK) {
        amqp_free(&t->transport);
        return err;
    }
    *ret = &t->transport;
    return ERR_OK;
}
