/*
 * bus.h - messages between contexts: outbox, relay, transport, consumer, inbox.
 *
 * Out: an action appends an outbox row in its own commit; relays (processes of their own) publish rows in order per
 * aggregate to a transport and mark how far they came: at least once. In: a consumer takes a batch from its queue,
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

/** How many buckets aggregates are dealt into, and how many partitions the rows rotate through. */
#define OUTBOX_BUCKETS    16
#define OUTBOX_SLOTS      4
#define OUTBOX_SLOT_SHIFT 17 /* a slot takes 2^17 positions, then comes the next */

/** Declares `static const Resource` objects for the context's own schema: static const Resource outbox =
 *  BUS_OUTBOX("events"), marks = BUS_OUTBOX_MARKS("events"). */
typedef struct OutboxRow {
    int64_t xid; /* the transaction that wrote it */
    int16_t bucket;
    int64_t position; /* identity: order of append */
    int16_t slot;     /* the partition that it lies in; by position */
    Id message_id;
    Str type;
    Id aggregate;
    Str payload;     /* text, not jsonb: that would reorder members and drop the form of numbers */
    Str traceparent; /* absent: none */
    Str tracestate;
    Str baggage;
    Instant appended_at;
} OutboxRow;
/** How far a bucket was published: all that its from-snapshot sees, and of what the to-snapshot sees (absent: nothing)
 *  up to `after`. The newest row of a bucket counts. */
typedef struct OutboxMark {
    int16_t bucket;
    int64_t position; /* identity: order of the marks */
    Str from_snapshot;
    int64_t from_xid;      /* transactions behind it drew positions behind from_position */
    int64_t from_position; /* all positions up to it belong to transactions up to from_xid */
    Str to_snapshot;
    int64_t to_xid;
    int64_t after;
    Instant marked_at;
} OutboxMark;
typedef struct InboxRow {
    Id message_id;
    Str consumer;
    Instant received_at;
} InboxRow;
extern const Attribute OUTBOX_ATTRIBUTES[], OUTBOX_MARK_ATTRIBUTES[], INBOX_ATTRIBUTES[];
extern const Index OUTBOX_INDEXES[], INBOX_INDEXES[];
#define BUS_OUTBOX(schema_)                                                                                            \
    {                                                                                                                  \
        .name = "outbox", .plural = "outbox", .schema = (schema_),                                                     \
        .doc = "Messages on their way out, written in the commit of their cause.", .size = sizeof(OutboxRow),          \
        .attributes = OUTBOX_ATTRIBUTES, .indexes = OUTBOX_INDEXES, .partition_by = "slot",                            \
        .partitions = OUTBOX_SLOTS, .internal = true                                                                   \
    }
#define BUS_OUTBOX_MARKS(schema_)                                                                                      \
    {                                                                                                                  \
        .name = "outbox_mark", .plural = "outbox_marks", .schema = (schema_),                                          \
        .doc = "How far each bucket of the outbox was published.", .size = sizeof(OutboxMark),                         \
        .attributes = OUTBOX_MARK_ATTRIBUTES, .internal = true                                                         \
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
typedef struct Pipeline Pipeline;

/** A message that was put aside. Texts are in the arena of who asked. */
typedef struct DeadLetter {
    Str handle; /* the transport's own: names it to retry and discard */
    Str queue;  /* where it lies */
    Str message_id, type;
    Str reason;  /* in words: what messages are grouped by */
    Str died_at; /* as text: transports differ in what they know */
    Str headers; /* JSON object: traceparent, attempts, fault headers */
    Str payload;
} DeadLetter;

#define DEAD_LIST_DEFAULT 1000
/** Which dead letters: those whose member equals, where it is not absent. */
typedef struct DeadFilter {
    Str queue, handle, reason;
    size_t most;    /* 0: DEAD_LIST_DEFAULT */
    bool payloads;  /* read payload and headers too */
    bool *ret_more; /* NULL, or set where there are more than were looked at */
} DeadFilter;

/** Dead letters as an operator handles them. NULL in TransportOps: the transport keeps none. */
typedef struct DeadOps {
    /** Oldest first. *ret in the coroutine's arena. */
    CO_FN Err (*list)(Transport *transport, const DeadFilter *filter, DeadLetter **ret, size_t *ret_n);
    /**
     * Puts letters back into their queues, under the message ids they had, as if never tried; *ret_n says how many were
     * still there. One that dies half-way may be repeated: a letter that is gone is not put back twice, and the inbox
     * knows ids that have had their effect.
     */
    CO_FN Err (*retry)(Transport *transport, const DeadLetter *letters, size_t n, size_t *ret_n);
    CO_FN Err (*discard)(Transport *transport, const DeadLetter *letters, size_t n, size_t *ret_n);
} DeadOps;

/** What `usher bus status` says of a queue. */
typedef struct QueueState {
    Str name;
    int64_t waiting, retrying, dead;
    int64_t oldest_ms; /* age of the oldest that waits; -1: not known */
} QueueState;

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
    /** Told once before a pipeline's first consume: prefetch, batch_ms, partition, dead letters. NULL: needs none of
     *  it. The pipeline outlives the transport. */
    Err (*declare)(Transport *transport, const Pipeline *pipeline);
    const DeadOps *dead;
    /** All queues that the transport knows; *ret in the coroutine's arena. */
    CO_FN Err (*status)(Transport *transport, QueueState **ret, size_t *ret_n);
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
    Str url;                 /* amqp[s]://…, see amqp/url.h */
    Str name;                /* connection name, for the broker's tools */
    const Binding *bindings; /* the endpoints that are ours: an exchange and a queue of each name, bound to the types */
    int prefetch;            /* deliveries in hand per queue; 0: 1500 */
    bool exclusive;          /* one consumer of a queue over all processes; the others stand by */
    bool quorum;             /* queues are declared as quorum queues; existing classic ones then differ */
} TransportAmqpOptions;
/** RabbitMQ, in the shapes of MassTransit (docs/messages.md). Connects when first used. The loop's coroutines have
 *  ended when it is freed. ERR_INVALID: ctx's problem says what is wrong with the URL. ERR_LIMIT, ERR_NO_MEMORY. */
MUST_USE Err transport_amqp_new(Ctx *ctx, Loop *loop, const TransportAmqpOptions *options, Transport **ret);
extern const Context BUS_CONTEXT; /* schema bus: queue messages, dead messages */
/** Key of the advisory lock that relays and consumers hold shared (transaction level) while a batch is in hand, and
 *  that `usher reset` takes exclusively: when it has it, no batch is half done. */
#define BUS_GATE_LOCK 7350428811LL

/* --- relays ------------------------------------------------------------------------------------------------------- */

/**
 * Publishes the outbox of one context for ever: woken by NOTIFY, polling every poll_ms besides. Cancel its coroutine to
 * end it. It holds one writer of the engine's pool while it publishes, and a second one while there is more than a
 * batch (with one only, its two lanes take turns): no consumer of the same process may share that pool. The struct
 * stays the caller's until the coroutine has ended; the same goes for Consumer.
 *
 * Several may run, in any processes on any machines: each holds locks on the buckets in hand. Relay `index` of `count`
 * keeps to the buckets with bucket % count == index, and takes over those of others that nobody has served for 3 s.
 */
typedef struct Relay {
    Engine *engine;
    Transport *transport;
    size_t batch;     /* rows per publish; 0: 500 */
    int64_t poll_ms;  /* 0: 1000 */
    int index, count; /* count 0: the only one */
} Relay;
MUST_USE Err relay_start(Loop *loop, const Relay *relay, Co **ret);

/** What waits in a context's outbox. Counts up to 100,000. */
typedef struct OutboxState {
    int64_t depth;
    int64_t age_ns; /* of the oldest that waits; 0: none */
} OutboxState;
CO_FN Err outbox_state(Engine *engine, OutboxState *ret) MUST_USE;
/** The statement behind it, for whoever has no engine (sql_with_schema): one row, depth and age. */
extern const char OUTBOX_STATE_SQL[];

/**
 * One bounded step of giving back what was published: empties one slot of the outbox (TRUNCATE), and forgets old marks.
 * *ret_more: there may be another step to do at once. It waits 50 ms at most for the slot's lock; whoever holds it
 * longer (pg_dump) delays the emptying, nothing else. Suspends.
 */
CO_FN Err outbox_rotate(Engine *engine, bool *ret_more) MUST_USE;
/** Says that somebody (a job) calls outbox_rotate regularly, and will again within OUTBOX_KEEPER_MS: relays then leave
 *  it to them. Kept in the database, so whoever dies is succeeded without being missed. Suspends. */
CO_FN Err outbox_keeper_mark(Engine *engine) MUST_USE;
/** Whether somebody said so within OUTBOX_KEEPER_MS. Suspends. */
CO_FN Err outbox_is_kept(Engine *engine, bool *ret) MUST_USE;
#define OUTBOX_KEEPER_MS 150000
/** In a transaction, one bounded step (5000 rows) of forgetting ids that the inbox has known for longer than keep_ms by
 *  this consumer (its queue's name; NULL: by any). *ret_gone: how many; 0 when there are none left. Suspends. */
CO_FN Err inbox_prune(PgTx *tx, Engine *engine, const char *consumer, int64_t keep_ms, int64_t *ret_gone) MUST_USE;

/* --- pipelines ---------------------------------------------------------------------------------------------------- */

/** What a context does with a kind of message: a custom action of one of its resources, run as a set. */
typedef struct Subscription {
    const MessageType *type;
    const Resource *resource;
    const char *action; /* its input struct is the message's struct */
} Subscription;

typedef enum PartitionBy {
    PARTITION_AGGREGATE, /* order within an aggregate: a message that waits for its retry holds back its aggregate */
    PARTITION_QUEUE,     /* order within the queue: it holds back all */
    PARTITION_NONE       /* no order: it holds back nobody */
} PartitionBy;

/** How long until the next attempt, each: ended by -1. */
#define DELAYS(...) ((const int64_t[]){__VA_ARGS__, -1})

/**
 * How a queue is consumed. Const tables, ended by queue == NULL; pipeline_verify says in sentences what is wrong with
 * them.
 */
struct Pipeline {
    const char *queue; /* the inbox knows the consumer by the same name */
    const char *doc;
    const Binding *bindings;           /* the table in which its rows are; those of other queues are passed over */
    const Subscription *subscriptions; /* ended by type == NULL */
    size_t prefetch;                   /* messages a broker may send ahead; 0: the transport's */
    int concurrency;                   /* sets that run side by side, each on a writer of the engine's pool; 0: 1 */
    size_t batch;                      /* messages in a batch; 0: 500 */
    int64_t batch_ms;                  /* how long a batch that is not full may wait for more; 0: not at all */
    PartitionBy partition;
    int64_t rate_per_s;          /* messages; 0: no limit */
    const int64_t *retry_ms;     /* DELAYS before attempts 2, 3 …; NULL: 500, 1000 (recorded: at 0, 0.5, 1.5 s) */
    const int64_t *redeliver_ms; /* DELAYS before attempts after those; NULL: none */
    const char *dead_letter;     /* where dead letters lie: a queue of this name, or in bus.dead under it; NULL: the
                                    transport's habit (<queue>_error, under the queue's own name) */
};
/** Appends one sentence per mistake: what, where, what to do. Returns how many. */
size_t pipeline_verify(const Pipeline *pipelines, Buf *mistakes);

typedef struct Consumer {
    const Pipeline *pipeline;
    Engine *engine;
    Transport *transport;
    /* In place of the pipeline's, where the operator has a say; 0 or NULL: the pipeline's. */
    size_t batch;
    const int64_t *redeliver_ms;
} Consumer;
/** ERR_INVALID: the pipeline has mistakes; pipeline_verify says which. */
MUST_USE Err consumer_start(Loop *loop, const Consumer *consumer, Co **ret);
