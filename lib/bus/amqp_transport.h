/*
 * amqp_transport.h - what the files of the AMQP transport share. Internal to lib/bus.
 *
 *   transport_amqp.c   the transport's life, topology, publishing
 *   amqp_queue.c       deliveries in hand, and consume
 *   amqp_dead.c        where what failed goes: _error, _skipped, faults
 *   amqp_desk.c        what an operator asks (amqp_desk.h)
 */
#pragma once
#include "amqp/amqp.h"
#include "bus/masstransit.h"

enum {
    AMQP_QUEUES_MAX = 32,
    AMQP_NAMES_MAX = 96,
    AMQP_NAME_MAX = 255, /* a short string on the wire */
    AMQP_CONSUME_BYTES_MAX = 4 * 1024 * 1024,
    AMQP_CONSUME_DEADLINE_MS = 60000,
    AMQP_CONSUME_POLL_MS = 1000
};

/* A delivery in hand: a copy of what came, and what is known of it. Kept unacknowledged until it has its outcome. */
typedef struct Held {
    struct Held *next;
    uint64_t tag, generation;
    int attempt; /* the next one's number */
    int64_t due_ms;
    bool read;    /* the members below are filled in */
    bool settled; /* acknowledged, or about to be with its neighbours */
    bool taken;   /* in the batch in hand */
    Envelope envelope;
    MtUnreadable unreadable;
    Str why; /* of an unreadable one */
    Str fault_address;
    char *baggage; /* on the heap, where the envelope's is not in the block */
    AmqpProperties properties;
    Str body;
    size_t size; /* of this block */
    char bytes[];
} Held;

typedef struct AmqpInbox AmqpInbox;
struct AmqpInbox {
    struct AmqpTransport *transport;
    const char *queue;
    const Pipeline *pipeline; /* NULL: none was declared */
    AmqpChannel *channel;
    Held *first, **end; /* in order of arrival */
    size_t n;
    bool busy;
    Wait *waiting;
};

typedef struct AmqpTransport {
    Transport transport; /* first */
    Loop *loop;
    Arena *arena; /* options, names, addresses: bounded by the declarations */
    TransportAmqpOptions options;
    MtHost host;
    Str address_prefix; /* "rabbitmq://localhost/", with port and vhost where they are not the usual ones */
    Str source_address;
    AmqpClient *out, *in;
    AmqpChannel *publisher;
    AmqpChannel *desk; /* of `in`, when an operator asks */
    AmqpInbox inboxes[AMQP_QUEUES_MAX];
    size_t n_inboxes;
    /* what the publisher has declared beyond its setup, in this generation */
    const char *declared[AMQP_NAMES_MAX];
    size_t n_declared;
    uint64_t declared_in;
} AmqpTransport;

/* --- transport_amqp.c --- */
CO_FN Err amqp_publisher(AmqpTransport *t, AmqpChannel **ret) MUST_USE;
/** The type's exchange, and for a queue its exchange, queue and the bindings to it. */
CO_FN Err amqp_declare_endpoint(AmqpTransport *t, AmqpChannel *channel, const char *queue) MUST_USE;
/** A durable fanout exchange, and with queue also a durable queue of that name bound to it. Once per generation. */
CO_FN Err amqp_declare_once(AmqpTransport *t, AmqpChannel *channel, const char *name, bool queue,
                            const char *bound_to) MUST_USE;
/** Properties of every message that is published: type of content, persistent, id. */
AmqpProperties amqp_message_properties(const char *content_type, Str message_id);
/** A client for looking only: it fails with the first failure to connect. */
CO_FN Err amqp_asking_client(AmqpTransport *t, AmqpClient **ret) MUST_USE;
/** A consuming client, connected when first asked for. */
CO_FN Err amqp_consuming_client(AmqpTransport *t, AmqpClient **ret) MUST_USE;

/** NULL: it is none of ours. */
AmqpInbox *amqp_inbox_named(AmqpTransport *t, const char *queue);

/* --- amqp_queue.c --- */
CO_FN Err amqp_consume_queue(Transport *transport, const char *queue, size_t most, DeliveryWork work,
                             void *data) MUST_USE;
void amqp_inboxes_free(AmqpTransport *t);

/* --- amqp_dead.c --- */
/** The name of a queue's dead letters, or of what was skipped there; may be written into name. */
const char *amqp_dead_queue(const AmqpInbox *inbox, bool skipped, char *name, size_t room);
/** Puts each where it belongs and waits until the broker has them all; only then may they be acknowledged. */
CO_FN Err amqp_bury(AmqpInbox *inbox, Held *const *dead, const Str *reasons, size_t n) MUST_USE;
/** A message's own headers, without those that a burial or the publisher's client put there. */
void amqp_own_headers(Buf *table, Str headers);

/* --- amqp_desk.c --- */
extern const DeadOps DEAD_AMQP_OPS;
CO_FN Err amqp_desk_status(Transport *transport, QueueState **ret, size_t *ret_n) MUST_USE;
