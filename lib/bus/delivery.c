/*
 * delivery.c - one delivery: read, then decided.
 *
 * What fails is told apart by whose doing it is. A database that is away is nobody's: nothing is acknowledged, no
 * attempt is counted. A message that cannot be read will never be: dead at once. All else is retried as often as the
 * pipeline says (recorded: three attempts), then dead with its reason, and meanwhile only its own key waits.
 */
#include "bus/delivery.h"
#include "runtime/log.h"

/* --- outcomes ----------------------------------------------------------------------------------------------------- */

void delivery_decide(Batch *b, size_t i, DeliveryOutcome outcome, Str reason) {
    b->deliveries[i].state = DECIDED;
    b->outcomes[i] = outcome;
    b->reasons[i] = reason;
    trace_processed(&b->deliveries[i].ctx, b->consumer->pipeline->queue, &b->envelopes[i], b->deliveries[i].began_ns,
                    outcome);
    /* A skipped one is how the old system's inboxes are used; on Postgres it lies in bus.dead for all to see. */
    if (outcome == DELIVERY_DEAD && b->envelopes[i].skipped)
        LOG_D(&b->deliveries[i].ctx, "message_skipped", F_C("consumer", b->consumer->pipeline->queue),
              F_STR("type", b->envelopes[i].type));
    else if (outcome == DELIVERY_DEAD)
        LOG_W(&b->deliveries[i].ctx, "message_dead", F_C("consumer", b->consumer->pipeline->queue),
              F_STR("type", b->envelopes[i].type), F_STR("reason", reason));
}

/* A message and its repetition are of one key in any case: two of one id in one set would both be new to the inbox. */
bool delivery_same_key(const Batch *b, size_t i, size_t j) {
    if (id_eq(b->envelopes[i].message_id, b->envelopes[j].message_id))
        return true;
    switch (b->consumer->pipeline->partition) {
    case PARTITION_QUEUE:
        return true;
    case PARTITION_NONE:
        return false;
    case PARTITION_AGGREGATE:
        break;
    }
    return id_eq(b->envelopes[i].aggregate, b->envelopes[j].aggregate);
}

/* Whatever comes later of its key, in this batch and behind it, waits with it. */
static void hold_back(Batch *b, size_t failed) {
    for (size_t i = failed + 1; i < b->n; i++)
        if (b->deliveries[i].state == WAITING && delivery_same_key(b, i, failed))
            delivery_decide(b, i, DELIVERY_HELD, (Str){NULL, 0});
}

void delivery_failed(Batch *b, size_t i, Err err) {
    Delivery *d = &b->deliveries[i];
    Str words = d->ctx.problem.message;
    if (d->member.detail.p != NULL)
        words =
            arena_printf(b->ctx->arena, "%.*s (%s: %.*s)", STR_ARG(words), err_name(err), STR_ARG(d->member.detail));
    if (words.p == NULL)
        words = str_c(err_name(err));
    b->envelopes[i].failure = err;
    if (b->envelopes[i].attempt >= b->consumer->attempts) {
        delivery_decide(b, i, DELIVERY_DEAD, words);
        return;
    }
    b->envelopes[i].delay_ms = pipeline_delay_ms(b->consumer->consumer, b->envelopes[i].attempt + 1);
    delivery_decide(b, i, DELIVERY_RETRY, words);
    hold_back(b, i);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* Type names match in any case, as the old consumers' did. */
static const Subscription *subscription_for(const Pipeline *pipeline, Str type) {
    for (const Subscription *s = pipeline->subscriptions; s->type != NULL; s++)
        if (str_eq_nocase(str_c(s->type->name), type))
            return s;
    return NULL;
}

static void begin_ctx(Batch *b, Delivery *d) {
    d->ctx = *b->ctx;
    d->ctx.problem = (Problem){0};
    d->began_ns = clock_mono_ns();
    bool traced = d->envelope->traceparent.p != NULL && trace_parse(d->envelope->traceparent, &d->ctx.trace) == ERR_OK;
    if (!traced)
        trace_new(&d->ctx.trace);
    d->ctx.trace.state = traced ? d->envelope->tracestate : (Str){NULL, 0};
    d->ctx.trace.baggage = d->envelope->baggage;
    trace_delivered(&d->ctx, traced);
}

void delivery_read(Batch *b, size_t i) {
    Delivery *d = &b->deliveries[i];
    d->envelope = &b->envelopes[i];
    begin_ctx(b, d);
    d->subscription = subscription_for(b->consumer->pipeline, d->envelope->type);
    if (d->subscription == NULL) {
        b->envelopes[i].skipped = true;
        delivery_decide(b, i, DELIVERY_DEAD,
                        arena_printf(b->ctx->arena, "skipped: nothing here takes %.*s", STR_ARG(d->envelope->type)));
        return;
    }
    void *input = arena_alloc(b->ctx->arena, d->subscription->type->size);
    d->member = (Member){.ctx = &d->ctx, .input = input};
    Err err =
        input == NULL ? ERR_NO_MEMORY : message_decode(d->subscription->type, &d->ctx, d->envelope->payload, input);
    b->envelopes[i].failure = ERR_SYNTAX; /* whatever cannot be read */
    if (err == ERR_SYNTAX || err == ERR_INVALID)
        delivery_decide(b, i, DELIVERY_DEAD, d->ctx.problem.message);
    else if (err != ERR_OK)
        delivery_failed(b, i, err);
}
