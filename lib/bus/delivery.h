/*
 * delivery.h - one batch of deliveries on its way through a consumer. Internal to lib/bus.
 */
#pragma once
#include "bus/loops.h"
#include "bus/tracing.h"

/** A consumer's loop; lives as long as its coroutine. */
typedef struct ConsumerState {
    Loop *loop;
    const Consumer *consumer;
    const Pipeline *pipeline;
    size_t batch;
    int attempts; /* of one message at most */
    const Statement *inbox_add;
    double tokens; /* messages that the rate still allows */
    int64_t tokens_at_ms;
} ConsumerState;

typedef enum DeliveryState {
    WAITING, /* to be put into a set */
    TAKEN,   /* in the set that forms or runs */
    DECIDED
} DeliveryState;

typedef struct Delivery {
    Member member;
    Ctx ctx;
    const Envelope *envelope;
    const Subscription *subscription;
    DeliveryState state;
    int lane; /* which of the pipeline's `concurrency` it runs in */
    int64_t began_ns;
    Span action;
    size_t before; /* index + 1 of the one before it of its key that may still be undecided; 0: none */
} Delivery;

typedef struct Batch {
    ConsumerState *consumer;
    Ctx *ctx; /* of who consumes: its arena outlives the lanes */
    Envelope *envelopes;
    Delivery *deliveries;
    size_t n;
    DeliveryOutcome *outcomes;
    Str *reasons;
} Batch;

/** Subscription, trace and input of delivery i, or its decision. */
void delivery_read(Batch *b, size_t i);
void delivery_decide(Batch *b, size_t i, DeliveryOutcome outcome, Str reason);
/** Retry, or dead after the last attempt; what is behind it of its key waits with it. */
void delivery_failed(Batch *b, size_t i, Err err);
/** Do two messages have an order to keep? */
bool delivery_same_key(const Batch *b, size_t i, size_t j);
/** Runs all deliveries of a batch, in lanes beside each other. An error takes nothing as handled. */
CO_FN Err batch_run(Batch *b) MUST_USE;

/** How many attempts the delays allow, and how long until attempt 2, 3 …. */
int pipeline_attempts(const Consumer *consumer);
int64_t pipeline_delay_ms(const Consumer *consumer, int next_attempt);
