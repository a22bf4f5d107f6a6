/*
 * amqp.h - AMQP 0-9-1 for coroutines: a connection that comes back by itself, channels that are set up again with it.
 *
 * An AmqpClient is one connection to one broker as one process sees it. It connects, keeps heartbeats, and after a loss
 * comes back with back-off and jitter; losing the broker is weather, not death. An AmqpChannel belongs to a client and
 * has a *setup*: a function that declares what the channel relies on (exchanges, queues, bindings, prefetch, confirms,
 * a consumer) and that runs again each time the channel is opened. So topology and prefetch are always what the setup
 * says, whatever happened to the broker in between.
 *
 * Whatever is written in one turn of the loop leaves in one write at its end. Publish on one client and consume on
 * another: a broker that is short of memory stops reading from whoever publishes, and acknowledgements would wait
 * behind.
 *
 * Every wait ends at the caller's deadline or cancellation. ERR_UNAVAILABLE: not connected, or lost on the way; nothing
 * is known about what was not confirmed. When a call fails, ctx's problem has the broker's words.
 */
#pragma once
#include "amqp/url.h"
#include "amqp/wire.h"
#include "runtime/co.h"

typedef struct AmqpClient AmqpClient;
typedef struct AmqpChannel AmqpChannel;

enum { AMQP_CHANNELS_MAX = 32, AMQP_WINDOW = 16384, AMQP_BODY_MAX = 128 * 1024 * 1024 };

typedef struct AmqpConfig {
    Str url;        /* amqp://user:password@host:port/vhost?heartbeat=10…, see url.h */
    Str name;       /* connection_name, as the broker's tools show it */
    int frame_max;  /* 0: 131072 */
    int64_t rpc_ms; /* how long the broker may take for one answer; 0: 30000 */
    bool once;      /* amqp_client_ready fails with the first failure, of any kind: for looking only */
} AmqpConfig;

/** Starts connecting; returns at once. ERR_INVALID: ctx's problem says what is wrong with the URL. ERR_NO_MEMORY. */
MUST_USE Err amqp_client_new(Ctx *ctx, Loop *loop, const AmqpConfig *config, AmqpClient **ret);
/** Ends its coroutines, by cancellation: the connection is closed when they have run. co_drain does the same. */
void amqp_client_stop(AmqpClient *client);
/** While somebody holds it, cancellation does not end the connection: for work in hand, whose acknowledgement should
 *  still go out when the process is told to stop. */
void amqp_client_hold(AmqpClient *client);
void amqp_client_release(AmqpClient *client);
/** When its coroutines and those of its channels have ended. NULL is allowed. */
void amqp_client_free(AmqpClient *client);
/** Waits until connected. ERR_REFUSED: the credentials; ERR_NOT_FOUND: the vhost; ERR_TIMEOUT and others: the problem
 *  has the last failure's words. Does not wait on after a refusal, which only an operator can mend. */
CO_FN Err amqp_client_ready(AmqpClient *client) MUST_USE;
bool amqp_client_is_up(const AmqpClient *client);
/** The broker has told us to publish nothing for now (memory or disk alarm). */
bool amqp_client_is_blocked(const AmqpClient *client);
/** Words for the last failure ("" when none). */
Str amqp_client_last_error(const AmqpClient *client);
/** A text of the broker's properties ("product", "version"), absent before it was ever connected. */
Str amqp_client_broker(const AmqpClient *client, const char *property);

/* --- channels ----------------------------------------------------------------------------------------------------- */

/** Makes a freshly opened channel what it should be. An error closes it; it is tried again after a while. */
typedef CO_FN Err (*AmqpSetup)(AmqpChannel *channel, void *data);

/** A channel that opens when the client is connected, and again after each loss. Lives until its client is freed.
 *  setup may be NULL. ERR_LIMIT, ERR_NO_MEMORY. */
MUST_USE Err amqp_channel_new(AmqpClient *client, const char *name, AmqpSetup setup, void *data, AmqpChannel **ret);
/** Waits until it is set up; then counts the openings: a delivery tag is of one generation only. While the setup keeps
 *  failing for a reason that waiting does not mend (declared differently, no permission), that reason is returned. */
CO_FN Err amqp_channel_ready(AmqpChannel *channel) MUST_USE;
uint64_t amqp_channel_generation(const AmqpChannel *channel);
/** False while it is away; deliveries of its generation have then no meaning any more. */
bool amqp_channel_is_up(const AmqpChannel *channel);
/** Closes it with the broker; it is opened and set up again. After something that left it in doubt. */
void amqp_channel_restart(AmqpChannel *channel);

/* Each waits for the broker's answer. ERR_CONFLICT: it exists and differs (the problem says in what, and how to mend
 * it); ERR_NOT_FOUND; ERR_REFUSED: no permission. The broker closes the channel on each of these. */

typedef struct AmqpExchange {
    const char *name;
    const char *type; /* "fanout", "direct", "topic", "headers" */
    bool durable, auto_delete, internal;
    bool passive;  /* only ask whether it exists */
    Str arguments; /* encoded table; absent: none */
} AmqpExchange;
CO_FN Err amqp_exchange_declare(AmqpChannel *channel, const AmqpExchange *exchange) MUST_USE;

typedef struct AmqpQueue {
    const char *name;
    bool durable, exclusive, auto_delete;
    bool passive;
    Str arguments;
} AmqpQueue;
typedef struct AmqpQueueState {
    uint32_t messages, consumers;
} AmqpQueueState;
/** *ret may be NULL. */
CO_FN Err amqp_queue_declare(AmqpChannel *channel, const AmqpQueue *queue, AmqpQueueState *ret) MUST_USE;
CO_FN Err amqp_queue_bind(AmqpChannel *channel, const char *queue, const char *exchange, const char *key) MUST_USE;
CO_FN Err amqp_exchange_bind(AmqpChannel *channel, const char *to, const char *from, const char *key) MUST_USE;
CO_FN Err amqp_qos(AmqpChannel *channel, uint16_t prefetch) MUST_USE;
/** From here on publishing is confirmed. In the setup. */
CO_FN Err amqp_confirm_select(AmqpChannel *channel) MUST_USE;

/* --- publishing --------------------------------------------------------------------------------------------------- */

typedef struct AmqpMessage {
    const char *exchange;
    const char *key;
    bool mandatory;            /* comes back when no queue takes it */
    AmqpProperties properties; /* its headers get x-dotnet-pub-seq-no in front, as RabbitMQ.Client 7 writes it */
    Str body;
} AmqpMessage;

/** Queues a message on a confirming channel; *ret is its number. Waits only for room: while the broker has us blocked,
 *  the socket takes no more, or AMQP_WINDOW messages are unconfirmed. */
CO_FN Err amqp_publish(AmqpChannel *channel, const AmqpMessage *message, uint64_t *ret) MUST_USE;

typedef enum AmqpConfirm {
    AMQP_CONFIRM_PENDING,
    AMQP_CONFIRM_STORED,  /* the broker has it */
    AMQP_CONFIRM_NACKED,  /* the broker could not take it */
    AMQP_CONFIRM_RETURNED /* taken, but no queue was bound: it is gone */
} AmqpConfirm;
/** Until all up to `last` are confirmed, one way or the other. ERR_UNAVAILABLE: the channel was lost before. */
CO_FN Err amqp_confirms_wait(AmqpChannel *channel, uint64_t last) MUST_USE;
/** What became of one; to be asked in the turn in which the wait returned. */
AmqpConfirm amqp_confirm_of(const AmqpChannel *channel, uint64_t number);

/* --- consuming ---------------------------------------------------------------------------------------------------- */

/** Borrowed: valid during the call only. */
typedef struct AmqpDelivery {
    uint64_t tag;
    bool redelivered;
    Str exchange, key;
    AmqpProperties properties;
    Str body;
} AmqpDelivery;

/** May not suspend. */
typedef void (*AmqpOnDelivery)(const AmqpDelivery *delivery, void *data);

/** Starts a consumer. In the setup; one per channel. ERR_REFUSED: somebody has it exclusively. */
CO_FN Err amqp_consume(AmqpChannel *channel, const char *queue, bool exclusive, AmqpOnDelivery on_delivery,
                       void *data) MUST_USE;
/** Stops it; what was delivered stays ours to acknowledge. */
CO_FN Err amqp_cancel(AmqpChannel *channel) MUST_USE;
/** Asks for the next n messages of a queue, at once, and returns when each has come or the queue had none; for a
 *  channel without a consumer. What came is ours until it is acknowledged or given back. ERR_NOT_FOUND: there is no
 *  such queue, and the channel is closed. */
CO_FN Err amqp_get(AmqpChannel *channel, const char *queue, size_t n, AmqpOnDelivery on_delivery, void *data) MUST_USE;
/** Acknowledges a delivery, or all up to it; without effect when the channel was opened again since. */
void amqp_ack(AmqpChannel *channel, uint64_t generation, uint64_t tag, bool multiple);
/** Gives it back to the queue, or (requeue false) to its dead-letter exchange if it has one. Tag 0 with multiple:
 *  all. */
void amqp_nack(AmqpChannel *channel, uint64_t generation, uint64_t tag, bool multiple, bool requeue);
