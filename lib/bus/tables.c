/*
 * tables.c - the bus's own tables, declared like any other: outbox and inbox of each context, queue and dead letters of
 * the Postgres transport.
 */
#include "bus/bus.h"
#include "bus_migrations.h"
#include "bus_queries.h"

/* --- in each context ---------------------------------------------------------------------------------------------- */

/*
 * The order of the first four matters: Postgres fills them from left to right. A row's xid is assigned before its
 * position is drawn (relay.c leans on that), and its slot follows from the position drawn last.
 */
#define SLOT_OF_LAST_POSITION "((lastval() >> 17) & 3)::smallint"
/* Bytes of the id itself, not a hash of Postgres': those may differ from release to release, and an aggregate must not
 * move while its messages wait. Two bytes, because ids made in sequence (the old system's) vary in one of them only. */
#define BUCKET_OF_AGGREGATE "((get_byte(uuid_send(aggregate), 15) # get_byte(uuid_send(aggregate), 3)) & 15)::smallint"
_Static_assert(OUTBOX_SLOT_SHIFT == 17 && OUTBOX_SLOTS == 4, "SLOT_OF_LAST_POSITION says so too");

const Attribute OUTBOX_ATTRIBUTES[] = {
    ATTR(OutboxRow, xid, .required = true, .default_sql = "txid_current()", .doc = "The transaction that wrote it."),
    ATTR(OutboxRow, bucket, .key = true, .required = true, .stored_sql = BUCKET_OF_AGGREGATE,
         .doc = "0 to 15, by aggregate."),
    ATTR(OutboxRow, position, .key = true, .identity = true, .required = true, .doc = "Order of append."),
    ATTR(OutboxRow, slot, .key = true, .required = true, .default_sql = SLOT_OF_LAST_POSITION,
         .doc = "The partition that it lies in."),
    ATTR(OutboxRow, message_id, .required = true, .doc = "What the inbox knows it by."),
    ATTR(OutboxRow, type, .required = true, .doc = "Name of the message type."),
    ATTR(OutboxRow, aggregate, .required = true, .doc = "Order is kept by it."),
    ATTR(OutboxRow, payload, .required = true, .doc = "JSON, kept to the byte."),
    ATTR(OutboxRow, traceparent, .doc = "W3C trace context of the cause."),
    ATTR(OutboxRow, tracestate, .doc = "As it came."),
    ATTR(OutboxRow, baggage, .doc = "As it came."),
    ATTR(OutboxRow, appended_at, .required = true, .coarse = true, .doc = "When; nothing is ordered by it."),
    {0},
};
/* Relays read by bucket and position, the key; what was committed late they find by its transaction. */
const Index OUTBOX_INDEXES[] = {
    {.name = "outbox_xid", .columns = "xid"},
    {0},
};

const Attribute OUTBOX_MARK_ATTRIBUTES[] = {
    ATTR(OutboxMark, bucket, .key = true, .required = true, .doc = "Of the outbox."),
    ATTR(OutboxMark, position, .key = true, .identity = true, .required = true, .doc = "The newest counts."),
    ATTR(OutboxMark, from_snapshot, .required = true, .doc = "What it sees is published."),
    ATTR(OutboxMark, from_xid, .required = true, .doc = "Transactions behind it drew positions behind from_position."),
    ATTR(OutboxMark, from_position, .required = true, .doc = "Where to look on from."),
    ATTR(OutboxMark, to_snapshot, .doc = "What it sees is being published; absent: nothing is."),
    ATTR(OutboxMark, to_xid, .required = true, .doc = "As from_xid, of to_snapshot."),
    ATTR(OutboxMark, after, .required = true, .doc = "Published of it up to this position."),
    ATTR(OutboxMark, marked_at, .required = true, .coarse = true, .doc = "When."),
    {0},
};

const Attribute INBOX_ATTRIBUTES[] = {
    ATTR(InboxRow, message_id, .key = true, .required = true, .doc = "A message that has had its effect here."),
    ATTR(InboxRow, consumer, .key = true, .required = true, .doc = "By which consumer."),
    ATTR(InboxRow, received_at, .required = true, .coarse = true, .doc = "For forgetting it in time."),
    {0},
};
const Index INBOX_INDEXES[] = {
    {.name = "inbox_received_at", .columns = "received_at"},
    {0},
};

/* --- the Postgres transport --------------------------------------------------------------------------------------- */

typedef struct QueuedMessage {
    int64_t position;
    Str queue;
    Id message_id;
    Str type;
    Id aggregate;
    Str payload;
    Str traceparent, tracestate, baggage;
    int32_t attempt;
    OptInstant not_before;
    Instant enqueued_at;
} QueuedMessage;

typedef struct DeadMessage {
    int64_t position;
    Str queue;
    Id message_id;
    Str type;
    Id aggregate;
    Str payload;
    Str traceparent, tracestate, baggage;
    int32_t attempt;
    Instant enqueued_at;
    Str reason;
    Instant died_at;
    Str dead_letter; /* absent: it lies under its queue's name */
} DeadMessage;

/* The columns that both tables have. */
#define MESSAGE_COLUMNS(T)                                                                                             \
    ATTR(T, position, .key = true, .identity = true, .required = true, .doc = "Order within the table."),              \
        ATTR(T, queue, .required = true, .doc = "Who it is for."),                                                     \
        ATTR(T, message_id, .required = true, .doc = "Once per queue."),                                               \
        ATTR(T, type, .required = true, .doc = "Name of the message type."),                                           \
        ATTR(T, aggregate, .required = true, .doc = "Order is kept by it."),                                           \
        ATTR(T, payload, .required = true, .doc = "JSON, kept to the byte."),                                          \
        ATTR(T, traceparent, .doc = "W3C trace context of the cause."), ATTR(T, tracestate, .doc = "As it came."),     \
        ATTR(T, baggage, .doc = "As it came."),                                                                        \
        ATTR(T, attempt, .required = true, .doc = "Attempts that failed so far.")

static const Attribute message_attributes[] = {
    MESSAGE_COLUMNS(QueuedMessage),
    ATTR(QueuedMessage, not_before, .coarse = true, .doc = "Set when it waits for its next attempt."),
    ATTR(QueuedMessage, enqueued_at, .required = true, .coarse = true, .doc = "When it was published."),
    {0},
};
static const Identity message_identities[] = {
    {.name = "messages_once", .attributes = {"queue", "message_id"}},
    {0},
};
static const Index message_indexes[] = {
    {.name = "messages_queue", .columns = "queue, position"},
    {.name = "messages_waiting", .columns = "queue, aggregate, position", .where = "attempt > 0"},
    {0},
};

static const Attribute dead_attributes[] = {
    MESSAGE_COLUMNS(DeadMessage),
    ATTR(DeadMessage, enqueued_at, .required = true, .coarse = true, .doc = "When it was published."),
    ATTR(DeadMessage, reason, .required = true, .doc = "Why it was put aside."),
    ATTR(DeadMessage, died_at, .required = true, .coarse = true, .doc = "When it was put aside."),
    ATTR(DeadMessage, dead_letter, .doc = "Under which name its pipeline lays it; absent: under its queue's."),
    {0},
};
static const Identity dead_identities[] = {
    {.name = "dead_once", .attributes = {"queue", "message_id"}},
    {0},
};

static const Resource messages = {
    .name = "message",
    .plural = "messages",
    .schema = "bus",
    .doc = "Messages on their way to a queue's consumer.",
    .size = sizeof(QueuedMessage),
    .attributes = message_attributes,
    .identities = message_identities,
    .indexes = message_indexes,
    .storage = "fillfactor=80",
    .internal = true,
};
static const Resource dead = {
    .name = "dead_message",
    .plural = "dead",
    .schema = "bus",
    .doc = "Messages that no attempt could serve, with the reason; kept until an operator decides.",
    .size = sizeof(DeadMessage),
    .attributes = dead_attributes,
    .identities = dead_identities,
    .internal = true,
};

static const Resource *const resources[] = {&messages, &dead, NULL};

const Context BUS_CONTEXT = {
    .name = "bus",
    .schema = "bus",
    .role = "usher_bus",
    .database_env = "BUS_DATABASE_URL",
    .resources = resources,
    .queries = BUS_QUERIES,
    .migrations = BUS_MIGRATIONS,
};
