/*
 * bus.h - messages between contexts: outbox, relay, transport, consumer, inbox.
 *
 * Out: an action appends an outbox row in its own commit; the relay (a process of its own) publishes rows in order per
 * aggregate to a transport and deletes them once confirmed: at least once. In: a consumer takes a batch from its queue,
 * and in one commit writes the inbox row (message id) and the effect: exactly one effect, however often a message
 * arrives.
 *
 * The transport is an interface. Built in is Postgres (schema bus of BUS_DATABASE_URL); RabbitMQ joins behind the same.
 */
#pragma once
#include "resource/resource.h"

/* --- declared messages -------------------------------------------------------------------------------------------- */

typedef enum MessageForm {
    FORM_PLAIN,
    FORM_DECIMAL_STRING /* decimals as JSON strings, scale kept: the old system's way */
} MessageForm;

typedef struct MessageField {
    const char *name; /* in JSON, camelCase; read in any case */
    Type type;
    size_t offset;
    bool optional; /* Opt* member: may be missing or null */
    bool may_lack; /* may be missing, and is then zero (Str: absent), as the old consumers' defaults were */
    MessageForm form;
    const char *doc;
    char macro_end; /* of MESSAGE_FIELD, as in ATTR */
} MessageField;

#define MESSAGE_FIELD(T, json_name, ...) MESSAGE_FIELD_(T, json_name, __VA_ARGS__, .macro_end = 0)
#define MESSAGE_FIELD_(T, json_name, field, ...)                                                                       \
    {                                                                                                                  \
        .name = (json_name), .type = TYPE_OF(((T *)0)->field), .offset = offsetof(T, field),                           \
        .optional = OPTIONAL_OF(((T *)0)->field), __VA_ARGS__                                                          \
    }

typedef struct MessageType {
    const char *name; /* "Integration.Events.Messaging:EventUpserted"; its urn is "urn:message:" + name */
    const char *doc;
    size_t size;
    const MessageField *fields; /* ended by name == NULL */
    size_t aggregate_offset;    /* of the Id that order is kept by */
} MessageType;

/** Struct → JSON payload in arena. ERR_NO_MEMORY. */
MUST_USE Err message_encode(const MessageType *type, const void *message, Arena *arena, Str *ret);
/**
 * JSON payload → struct (zeroed first), as tolerant as the old consumers: names in any case, unknown members ignored,
 * of equal names the last wins (each is converted), a decimal as number, string or null (0), text may be null. Text is
 * borrowed from payload where it has no escapes.
 * ERR_SYNTAX, ERR_INVALID: ctx's problem says which field and why.
 */
MUST_USE Err message_decode(const MessageType *type, Ctx *ctx, Str payload, void *ret);
/** Encodes and adds to the member's outgoing. */
MUST_USE Err message_announce(Member *member, const MessageType *type, const void *message);

/* --- tables that each context declares among its resources -------------------------------------------------------- */

/** Declares `static const Resource` objects for the context's own schema: BUS_OUTBOX(events_outbox, "events"). */
typedef struct OutboxRow {
    int64_t position; /* identity: order of append */
    Id message_id;
    Str type;
    Id aggregate;
    Str payload;     /* text, not jsonb: that would reorder members and drop the form of numbers */
    Str traceparent; /* absent: none */
    Str tracestate;
    Str baggage;
    Instant appended_at;
} OutboxRow;
typedef struct InboxRow {
    Id message_id;
    Str consumer;
    Instant received_at;
} InboxRow;
extern const Attribute OUTBOX_ATTRIBUTES[], INBOX_ATTRIBUTES[];
extern const Index OUTBOX_INDEXES[], INBOX_INDEXES[];
#define BUS_OUTBOX(schema_)                                                                                            \
    {                                                                                                                  \
        .name = "outbox", .plural = "outbox", .schema = (schema_),                                                     \
        .doc = "Messages on their way out, written in the commit of their cause.", .size = sizeof(OutboxRow),          \
        .attributes = OUTBOX_ATTRIBUTES, .indexes = OUTBOX_INDEXES, .internal = true                                   \
    }
#define BUS_INBOX(schema_)                                                                                             \
    {                                                                                                                  \
        .name = "inbox", .plural = "inbox", .schema = (schema_), .doc = "Ids of messages that have had their effect.", \
        .size = sizeof(InboxRow), .attributes = INBOX_ATTRIBUTES, .indexes = INBOX_INDEXES, .internal = true           \
    }

/* --- transport ---------------------------------------------------------------------------------------------------- */

typedef struct Envelope {
    Id message_id;
    Str type;
    Id aggregate;
    Str payload;
    Str traceparent, tracestate, baggage;
    Id conversation_id; /* zero: not known, and a transport that has conversations begins one */
    int attempt;        /* deliveries so far, 1 = first */
    int64_t tag;        /* transport's handle for acknowledging */
    int64_t delay_ms;   /* set by work beside DELIVERY_RETRY: how long until it comes again */
    Err failure;        /* set by work beside DELIVERY_DEAD: of what kind; the words stand in reasons */
    bool skipped;       /* set by work beside DELIVERY_DEAD: nothing here takes its type, so nothing failed */
} Envelope;
SLICE_OF(Envelope);

typedef enum DeliveryOutcome {
    DELIVERY_DONE,  /* had its effect */
    DELIVERY_RETRY, /* comes again after delay_ms; until then later ones of its aggregate are held back */
    DELIVERY_DEAD,  /* put aside with a reason; later ones go on */
    DELIVERY_HELD   /* not tried (an earlier one of its aggregate waits): stays as it is, this was no attempt */
} DeliveryOutcome;

/** Which message types a queue receives. A const table, ended by queue == NULL. */
typedef struct Binding {
    const char *queue;
    const MessageType *type;
} Binding;

/** Handles deliveries in order; fills outcomes[i] for each, and why (absent or words for the dead letter). An error
 *  takes nothing as handled: all of them come again, and it was no attempt. */
typedef CO_FN Err (*DeliveryWork)(Envelope *messages, size_t n, DeliveryOutcome *outcomes, Str *reasons, void *data);

typedef struct Transport Transport;
typedef struct TransportOps {
    /** Publishes in the given order and returns when all are confirmed (stored where a crash does not lose them). */
    CO_FN Err (*publish)(Transport *transport, const Envelope *messages, size_t n);
    /**
     * Takes up to `most` messages of a queue, oldest first, and calls `work` with them; what work marks done is
     * acknowledged, the rest as DeliveryOutcome says. When there is none it waits for one, but not for ever: it may
     * return ERR_OK without having called work, and is called again. One caller per queue at a time across all
     * processes does the work, so that order per aggregate holds; within one process nobody else may be in consume for
     * that queue. Sets the coroutine's deadline while it works.
     */
    CO_FN Err (*consume)(Transport *transport, const char *queue, size_t most, DeliveryWork work, void *data);
    void (*free)(Transport *transport);
} TransportOps;
struct Transport {
    const TransportOps *ops;
};

/** The Postgres transport: tables of the BUS context. The pool is the transport's own (a consumer holds one of its
 *  writers while it works, so give it as many writers as queues are consumed) and is freed before it. `bindings` stays
 *  the caller's. */
MUST_USE Err transport_pg_new(Loop *loop, PgPool *pool, const Binding *bindings, Transport **ret);

/** How the AMQP transport meets its broker. All stays the caller's, until the transport is freed. */
typedef struct TransportAmqpOptions {
    Str url;                /* amqp[s]://…, see amqp/url.h */
    Str name;               /* connection name, for the broker's tools */
    const Binding *bindings; /* the endpoints that are ours: an exchange and a queue of each name, bound to the types */
    int prefetch;           /* deliveries in hand per queue; 0: 512 */
    bool exclusive;         /* one consumer of a queue over all processes; the others stand by */
    bool quorum;            /* queues are declared as quorum queues; existing classic ones then differ */
} TransportAmqpOptions;
/** RabbitMQ, in the shapes of MassTransit (docs/messages.md). Connects when first used. The loop's coroutines have ended
 *  when it is freed. ERR_INVALID: ctx's problem says what is wrong with the URL. ERR_LIMIT, ERR_NO_MEMORY. */
MUST_USE Err transport_amqp_new(Ctx *ctx, Loop *loop, const TransportAmqpOptions *options, Transport **ret);
extern const Context BUS_CONTEXT; /* schema bus: queue messages, dead messages */
/** Key of the advisory lock that relays and consumers hold shared (transaction level) while a batch is in hand, and
 *  that `usher reset` takes exclusively: when it has it, no batch is half done. */
#define BUS_GATE_LOCK 7350428811LL

/* --- relay and consumers ------------------------------------------------------------------------------------------ */

/** Publishes the outbox of one context for ever: woken by NOTIFY, polling every poll_ms besides. Cancel its coroutine
 *  to end it. It holds one writer of the engine's pool while it publishes: no consumer of the same process may share
 *  that pool's only writer. The struct stays the caller's until the coroutine has ended; the same goes for Consumer. */
typedef struct Relay {
    Engine *engine;
    Transport *transport;
    size_t batch;    /* rows per publish; 0: 500 */
    int64_t poll_ms; /* 0: 1000 */
} Relay;
MUST_USE Err relay_start(Loop *loop, const Relay *relay, Co **ret);

/** What a context does with a kind of message: a custom action of one of its resources, run as a set. */
typedef struct Subscription {
    const MessageType *type;
    const Resource *resource;
    const char *action; /* its input struct is the message's struct */
} Subscription;

typedef struct Consumer {
    const char *name; /* inbox consumer name and queue */
    Engine *engine;
    Transport *transport;
    const Subscription *subscriptions; /* ended by type == NULL */
    size_t batch;                      /* 0: 500 */
    int attempts;                      /* then dead; 0: 3 */
    const int64_t
        *delays_ms; /* attempts - 1 of them, before attempts 2, 3 …; NULL: 500, 1000 … (recorded: at 0, 0.5, 1.5 s) */
} Consumer;
MUST_USE Err consumer_start(Loop *loop, const Consumer *consumer, Co **ret);
