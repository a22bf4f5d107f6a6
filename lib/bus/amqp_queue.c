/*
 * amqp_queue.c - deliveries in hand: kept in order, unacknowledged, until each has its outcome.
 *
 * AMQP knows "requeue", which loses the order, and dead-lettering; it does not know "again in half a second, and its
 * aggregate's later ones after it". So what waits for a retry stays here, with what is held back behind it, and counts
 * against the prefetch like anything else in hand. A lost channel takes all of it away: the broker delivers it again,
 * and the inbox knows what has had its effect.
 *
 * Acknowledgements go out as one "all up to here" for the run of settled ones at the front, and one each behind a
 * message that still waits.
 */
#include "base/heap.h"
#include "bus/amqp_transport.h"

/* --- what is in hand ---------------------------------------------------------------------------------------------- */

static void held_drop(AmqpInbox *inbox, Held **at) {
    Held *held = *at;
    *at = held->next;
    if (inbox->end == &held->next)
        inbox->end = at;
    inbox->n--;
    heap_free(held->baggage);
    heap_free(held);
}

/* Copies a view to the next bytes of the block. */
static Str keep(char **to, Str s) {
    if (s.p == NULL)
        return s;
    Str kept = {*to, s.n};
    if (s.n > 0)
        memcpy(*to, s.p, s.n);
    *to += s.n;
    return kept;
}

static void on_delivery(const AmqpDelivery *delivery, void *data) {
    AmqpInbox *inbox = data;
    const AmqpProperties *p = &delivery->properties;
    size_t size = delivery->body.n + p->headers.n + p->content_type.n + p->content_encoding.n + p->correlation_id.n +
                  p->reply_to.n + p->expiration.n + p->message_id.n + p->type.n + p->user_id.n + p->app_id.n;
    Held *held = heap_alloc(sizeof *held + size);
    if (held == NULL) { /* what cannot be kept is not ours: the channel is set up again, and it comes again */
        amqp_channel_restart(inbox->channel);
        return;
    }
    *held = (Held){.tag = delivery->tag,
                   .generation = amqp_channel_generation(inbox->channel),
                   .attempt = 1,
                   .properties = *p,
                   .size = size};
    char *to = held->bytes;
    held->body = keep(&to, delivery->body);
    Str *const texts[] = {&held->properties.headers,          &held->properties.content_type,
                          &held->properties.content_encoding, &held->properties.correlation_id,
                          &held->properties.reply_to,         &held->properties.expiration,
                          &held->properties.message_id,       &held->properties.type,
                          &held->properties.user_id,          &held->properties.app_id};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        *texts[i] = keep(&to, *texts[i]);
    *inbox->end = held;
    inbox->end = &held->next;
    inbox->n++;
    if (inbox->waiting != NULL)
        wait_wake(inbox->waiting, ERR_OK);
}

static void drop_stale(AmqpInbox *inbox) {
    uint64_t generation = amqp_channel_generation(inbox->channel);
    bool up = amqp_channel_is_up(inbox->channel);
    for (Held **at = &inbox->first; *at != NULL;) {
        if (!up || (*at)->generation != generation)
            held_drop(inbox, at);
        else
            at = &(*at)->next;
    }
}

void amqp_inboxes_free(AmqpTransport *t) {
    for (size_t i = 0; i < t->n_inboxes; i++)
        while (t->inboxes[i].first != NULL)
            held_drop(&t->inboxes[i], &t->inboxes[i].first);
}

/* --- reading it --------------------------------------------------------------------------------------------------- */

/* The first of its types that this queue is declared to receive; else the first it names. */
static Str type_of(const AmqpInbox *inbox, const MtReceived *received, const MessageType **ret) {
    *ret = NULL;
    for (size_t i = 0; i < received->n_types; i++)
        for (const Binding *b = inbox->transport->options.bindings; b->queue != NULL; b++)
            if (strcmp(b->queue, inbox->queue) == 0 && str_eq_nocase(str_c(b->type->name), received->types[i])) {
                *ret = b->type;
                return str_c(b->type->name);
            }
    return received->types[0];
}

/* By what its order is kept. Zero where the payload does not say: it then waits for nobody, and nobody for it. */
static Id aggregate_of(Ctx *ctx, const MessageType *type, Str payload, Id otherwise) {
    void *message = type == NULL ? NULL : arena_alloc(ctx->arena, type->size);
    Problem before = ctx->problem;
    Err err = message == NULL ? ERR_INVALID : message_decode(type, ctx, payload, message);
    ctx->problem = before;
    return err == ERR_OK ? *(const Id *)((const char *)message + type->aggregate_offset) : otherwise;
}

static bool is_in_block(const Held *held, Str text) {
    return text.p == NULL || (text.p >= held->bytes && text.p <= held->bytes + held->size);
}

/* Texts with escapes were unescaped into an arena that ends with this batch: such trace context is dropped, nobody
 * writes it. */
static void keep_text(const Held *held, Str *text) {
    if (!is_in_block(held, *text))
        *text = (Str){NULL, 0};
}

/* Baggage may have been composed from MassTransit's list. */
static void keep_baggage(Held *held) {
    Str *baggage = &held->envelope.baggage;
    if (is_in_block(held, *baggage))
        return;
    heap_free(held->baggage);
    held->baggage = heap_alloc(baggage->n);
    if (held->baggage != NULL)
        memcpy(held->baggage, baggage->p, baggage->n);
    *baggage = (Str){held->baggage, held->baggage == NULL ? 0 : baggage->n};
}

/* The views stay valid as long as the delivery: into its bytes, or of declared names. */
static void read_held(AmqpInbox *inbox, Held *held, Ctx *ctx) {
    MtReceived received = {0};
    const MessageType *type = NULL;
    Err err = mt_read(ctx, held->body, &received, &held->unreadable);
    if (err != ERR_OK && held->unreadable == MT_NO_ENVELOPE) {
        problem_clear(ctx);
        err = mt_read_raw(ctx, held->body, &held->properties, &received, &held->unreadable);
    }
    held->read = err == ERR_OK;
    held->why = ctx->problem.message; /* good for this batch; if it cannot be buried now, it is read again */
    problem_clear(ctx);
    if (err != ERR_OK)
        return;
    mt_read_headers(&held->properties, &received);
    Str name = type_of(inbox, &received, &type);
    Id id = received.message_id.present ? received.message_id.value : id_random();
    held->fault_address = received.fault_address;
    held->envelope = (Envelope){.message_id = id,
                                .conversation_id = received.conversation_id.value,
                                .type = name,
                                .payload = received.message,
                                .traceparent = received.traceparent,
                                .tracestate = received.tracestate,
                                .baggage = received.baggage,
                                .tag = (int64_t)held->tag};
    keep_text(held, &held->envelope.traceparent);
    keep_text(held, &held->envelope.tracestate);
    keep_baggage(held);
    keep_text(held, &held->fault_address);
    if (type == NULL)
        keep_text(held, &held->envelope.type);
    if (held->envelope.type.p == NULL)
        held->envelope.type = STR("a type whose name is written with escapes");
    held->envelope.aggregate = aggregate_of(ctx, type, received.message, id);
}

/* --- a batch ------------------------------------------------------------------------------------------------------ */

typedef struct AmqpBatch {
    AmqpInbox *inbox;
    Ctx *ctx;
    Held **held;
    Envelope *envelopes;
    DeliveryOutcome *outcomes;
    Str *reasons;
    size_t n;
    int64_t next_due_ms; /* of those that wait; INT64_MAX: none */
} AmqpBatch;

static bool waits_behind(const AmqpInbox *inbox, const Held *held) {
    PartitionBy by = inbox->pipeline == NULL ? PARTITION_AGGREGATE : inbox->pipeline->partition;
    if (by == PARTITION_NONE)
        return false;
    for (const Held *at = inbox->first; at != held; at = at->next)
        if (!at->settled && !at->taken && at->read &&
            (by == PARTITION_QUEUE || id_eq(at->envelope.aggregate, held->envelope.aggregate)))
            return true;
    return false;
}

static Err batch_new(AmqpBatch *b, size_t most) {
    size_t n = MIN_OF(b->inbox->n, most);
    b->held = ARENA_ARRAY(b->ctx->arena, Held *, n);
    b->envelopes = ARENA_ARRAY(b->ctx->arena, Envelope, n);
    b->outcomes = ARENA_ARRAY(b->ctx->arena, DeliveryOutcome, n);
    b->reasons = ARENA_ARRAY(b->ctx->arena, Str, n);
    if (b->held == NULL || b->envelopes == NULL || b->outcomes == NULL || b->reasons == NULL)
        return ERR_NO_MEMORY;
    return ERR_OK;
}

/* The oldest that are due and that no earlier one of their aggregate keeps waiting. Unreadable ones come along. */
static void collect(AmqpBatch *b, size_t most) {
    int64_t now_ms = clock_mono_ms();
    size_t bytes = 0;
    bool any_waits = false;
    b->next_due_ms = INT64_MAX;
    for (Held *held = b->inbox->first; held != NULL && b->n < most && bytes < AMQP_CONSUME_BYTES_MAX;
         held = held->next) {
        held->taken = false;
        if (held->settled)
            continue;
        if (!held->read)
            read_held(b->inbox, held, b->ctx);
        if (held->due_ms > now_ms) {
            b->next_due_ms = MIN_OF(b->next_due_ms, held->due_ms);
            any_waits = true;
            continue;
        }
        if (any_waits && held->read && waits_behind(b->inbox, held))
            continue;
        held->taken = true;
        held->envelope.attempt = held->attempt;
        b->held[b->n++] = held;
        bytes += held->body.n;
    }
}

/* Those that can be read go to work as one; the others' outcome is known. */
CO_FN static Err run_work(AmqpBatch *b, DeliveryWork work, void *data) {
    size_t readable = 0;
    for (size_t i = 0; i < b->n; i++)
        if (b->held[i]->read)
            b->envelopes[readable++] = b->held[i]->envelope;
    if (readable > 0)
        TRY(work(b->envelopes, readable, b->outcomes, b->reasons, data));
    /* Back to the places of all of them, from the end so that nothing is overwritten. */
    for (size_t i = b->n; i-- > 0;) {
        if (b->held[i]->read) {
            readable--;
            b->held[i]->envelope = b->envelopes[readable];
            b->outcomes[i] = b->outcomes[readable];
            b->reasons[i] = b->reasons[readable];
        } else {
            b->outcomes[i] = DELIVERY_DEAD;
            b->reasons[i] = b->held[i]->why;
        }
    }
    return ERR_OK;
}

static void acknowledge(AmqpInbox *inbox) {
    uint64_t front = 0;
    Held *last = NULL;
    for (Held *held = inbox->first; held != NULL && held->settled; held = held->next)
        last = held;
    if (last != NULL) {
        front = last->tag;
        amqp_ack(inbox->channel, last->generation, last->tag, true);
    }
    for (Held **at = &inbox->first; *at != NULL;) {
        if (!(*at)->settled) {
            at = &(*at)->next;
            continue;
        }
        if ((*at)->tag > front)
            amqp_ack(inbox->channel, (*at)->generation, (*at)->tag, false);
        held_drop(inbox, at);
    }
}

/* Done ones are acknowledged first: their effect is committed. A dead one is acknowledged when its copy is safe. */
CO_FN static Err settle(AmqpBatch *b) {
    int64_t now_ms = clock_mono_ms();
    for (size_t i = 0; i < b->n; i++) {
        Held *held = b->held[i];
        held->taken = false;
        if (b->outcomes[i] == DELIVERY_DONE) {
            held->settled = true;
        } else if (b->outcomes[i] == DELIVERY_RETRY) {
            held->attempt++;
            held->due_ms = now_ms + held->envelope.delay_ms;
        }
    }
    acknowledge(b->inbox);
    size_t dead = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (b->outcomes[i] != DELIVERY_DEAD)
            continue;
        b->held[dead] = b->held[i];
        b->reasons[dead++] = b->reasons[i];
    }
    if (dead == 0)
        return ERR_OK;
    TRY(amqp_bury(b->inbox, b->held, b->reasons, dead));
    for (size_t i = 0; i < dead; i++)
        b->held[i]->settled = true;
    acknowledge(b->inbox);
    return ERR_OK;
}

/* --- consume ------------------------------------------------------------------------------------------------------ */

CO_FN static Err set_up_consumer(AmqpChannel *channel, void *data) {
    AmqpInbox *inbox = data;
    AmqpTransport *t = inbox->transport;
    TRY(amqp_declare_endpoint(t, channel, inbox->queue));
    size_t wanted = inbox->pipeline == NULL ? 0 : inbox->pipeline->prefetch;
    size_t prefetch = wanted != 0 ? wanted : (size_t)t->options.prefetch;
    TRY(amqp_qos(channel, (uint16_t)MIN_OF(prefetch, (size_t)UINT16_MAX)));
    return amqp_consume(channel, inbox->queue, t->options.exclusive, on_delivery, inbox);
}

CO_FN static Err inbox_ready(AmqpInbox *inbox) {
    AmqpClient *client;
    TRY(amqp_consuming_client(inbox->transport, &client));
    if (inbox->channel == NULL)
        TRY(amqp_channel_new(client, inbox->queue, set_up_consumer, inbox, &inbox->channel));
    return amqp_channel_ready(inbox->channel);
}

CO_FN static Err wait_for_more(AmqpInbox *inbox, int64_t until_ms) {
    Wait wait = {0};
    inbox->waiting = &wait;
    Err err = co_wait(&wait, until_ms);
    inbox->waiting = NULL;
    return err == ERR_TIMEOUT ? ERR_OK : err;
}

CO_FN static Err consume_once(AmqpInbox *inbox, size_t most, DeliveryWork work, void *data) {
    AmqpBatch b = {.inbox = inbox, .ctx = co_ctx(co_self())};
    TRY(inbox_ready(inbox));
    drop_stale(inbox);
    TRY(batch_new(&b, most));
    collect(&b, MIN_OF(inbox->n, most));
    if (b.n == 0)
        return wait_for_more(inbox, MIN_OF(b.next_due_ms, clock_mono_ms() + AMQP_CONSUME_POLL_MS));
    amqp_client_hold(inbox->transport->in);
    b.ctx->deadline_ms = clock_mono_ms() + AMQP_CONSUME_DEADLINE_MS;
    Err err = run_work(&b, work, data);
    if (err == ERR_OK)
        err = settle(&b);
    b.ctx->deadline_ms = 0;
    amqp_client_release(inbox->transport->in);
    return err;
}

CO_FN Err amqp_consume_queue(Transport *transport, const char *queue, size_t most, DeliveryWork work, void *data) {
    AmqpInbox *inbox = amqp_inbox_named((AmqpTransport *)transport, queue);
    ASSERT(inbox != NULL && !inbox->busy);
    inbox->busy = true;
    Err err = consume_once(inbox, most, work, data);
    inbox->busy = false;
    return err;
}
