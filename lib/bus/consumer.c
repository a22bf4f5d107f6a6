/*
 * consumer.c - a queue's loop: takes a batch when the rate allows one.
 *
 * A batch's way: each delivery is read (delivery.c: its type's subscription, its input), then all are run as sets
 * (batch.c), and the transport acknowledges what they came to. Nothing is taken ahead of that: a context that is slow
 * takes fewer batches, the queue grows where it is durable, and memory is one batch.
 */
#include "base/heap.h"
#include "bus/delivery.h"
#include "runtime/log.h"

#define CONSUMER_BATCH 500

CO_FN static Err consume_batch(Envelope *envelopes, size_t n, DeliveryOutcome *outcomes, Str *reasons, void *data) {
    ConsumerState *state = data;
    Ctx *ctx = co_ctx(co_self());
    Batch b = {.consumer = state, .ctx = ctx, .envelopes = envelopes, .n = n, .outcomes = outcomes, .reasons = reasons};
    b.deliveries = ARENA_ARRAY(ctx->arena, Delivery, n);
    if (b.deliveries == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++)
        outcomes[i] = DELIVERY_HELD;
    for (size_t i = 0; i < n; i++)
        if (b.deliveries[i].state == WAITING)
            delivery_read(&b, i);
    state->tokens -= (double)n;
    return batch_run(&b);
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

/* How many messages the rate allows now, at least one: waits for it. */
CO_FN static Err wait_for_rate(ConsumerState *state, size_t *ret_most) {
    double rate = (double)state->pipeline->rate_per_s;
    *ret_most = state->batch;
    if (state->pipeline->rate_per_s == 0)
        return ERR_OK;
    int64_t now_ms = clock_mono_ms();
    state->tokens += (double)(now_ms - state->tokens_at_ms) * rate / 1000;
    state->tokens = MIN_OF(state->tokens, rate); /* what was not used for a second is gone */
    state->tokens_at_ms = now_ms;
    if (state->tokens < 1) {
        int64_t wait_ms = (int64_t)((1 - state->tokens) * 1000 / rate) + 1;
        TRY(co_sleep(MIN_OF(wait_ms, 1000)));
        *ret_most = 0;
        return ERR_OK;
    }
    *ret_most = MIN_OF(state->batch, (size_t)state->tokens);
    return ERR_OK;
}

CO_FN static Err consumer_step(Ctx *ctx, void *data) {
    ConsumerState *state = data;
    Transport *transport = state->consumer->transport;
    size_t most;
    (void)ctx;
    TRY(wait_for_rate(state, &most));
    if (most == 0)
        return ERR_OK;
    return transport->ops->consume(transport, state->pipeline->queue, most, consume_batch, state);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

CO_FN static void consumer_co(Ctx *ctx, void *arg) {
    ConsumerState *state = arg;
    loop_steps(ctx, "consumer", state->pipeline->queue, consumer_step, state);
    heap_free(state);
}

static Err make_ready(ConsumerState *state) {
    Transport *transport = state->consumer->transport;
    TRY(engine_statement(state->consumer->engine, "inbox_add",
                         "INSERT INTO {schema}.inbox (message_id, consumer, received_at)"
                         " SELECT m, $2, clock_timestamp() FROM unnest($1::uuid[]) AS m"
                         " ON CONFLICT DO NOTHING RETURNING message_id",
                         true, &state->inbox_add));
    return transport->ops->declare == NULL ? ERR_OK : transport->ops->declare(transport, state->pipeline);
}

static bool is_well(const Pipeline *pipeline) {
    const Pipeline alone[] = {*pipeline, {0}};
    Buf mistakes CLEANUP(buf_done) = buf_new(NULL, 64 * 1024);
    return pipeline_verify(alone, &mistakes) == 0;
}

Err consumer_start(Loop *loop, const Consumer *consumer, Co **ret) {
    const Pipeline *pipeline = consumer->pipeline;
    if (!is_well(pipeline))
        return ERR_INVALID;
    ConsumerState *state = HEAP_NEW(ConsumerState);
    if (state == NULL)
        return ERR_NO_MEMORY;
    size_t batch = consumer->batch != 0 ? consumer->batch : pipeline->batch;
    *state = (ConsumerState){.loop = loop,
                             .consumer = consumer,
                             .pipeline = pipeline,
                             .batch = batch == 0 ? CONSUMER_BATCH : batch,
                             .attempts = pipeline_attempts(consumer),
                             .tokens_at_ms = clock_mono_ms()};
    Err err = make_ready(state);
    if (err == ERR_OK)
        err = co_spawn(loop, consumer_co, state,
                       &(CoOptions){.name = "consumer", .arena_limit_bytes = LOOP_ARENA_BYTES}, ret);
    if (err != ERR_OK)
        heap_free(state);
    return err;
}
