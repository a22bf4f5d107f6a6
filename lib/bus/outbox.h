/*
 * outbox.h - what of an outbox is to be published, without touching its rows. Internal to lib/bus.
 */
#pragma once
#include "bus/bus.h"

/** What a relay asks, over one context's tables. */
typedef struct OutboxStatements {
    const Statement *lock; /* $1 gate, $2 own buckets, $3 buckets of others, to be taken where nobody serves them;
                              rows: gate open, bucket, locked */
    const Statement *read; /* $1 buckets, $2 rows a bucket, $3 bytes; for outbox_decode */
    const Statement *mark; /* as outbox_mark binds it */
} OutboxStatements;
MUST_USE Err outbox_statements(Engine *engine, OutboxStatements *ret);

/** First in a transaction that reads an outbox. */
extern const Statement OUTBOX_PLAN;

/** One bucket in hand: where its marks stand, and what was read behind them. */
typedef struct OutboxBucket {
    OutboxMark mark; /* as it was; to_* are those of a tick that is open, or that would open now */
    bool open;
    int64_t found; /* rows there were, up to the limit */
    int64_t n;     /* of them in this batch */
    int64_t last;  /* position of the last in this batch */
} OutboxBucket;

typedef struct OutboxRead {
    size_t limit; /* rows a bucket */
    OutboxBucket buckets[OUTBOX_BUCKETS];
    size_t n_buckets;
    size_t busy; /* buckets that had rows */
    Envelope *messages;
    int64_t *appended; /* microseconds since 1970, beside messages */
    size_t n;
} OutboxRead;

/** Rows of `read` → messages in order of position. Texts are borrowed. ERR_NO_MEMORY. */
MUST_USE Err outbox_decode(Arena *arena, const PgResult *rows, OutboxRead *ret);
/** Binds the marks that say all of `read` is published; returns how many there are to write. */
size_t outbox_mark(const OutboxRead *read, PgParams *params);
/** Whether some bucket had more rows than are in this batch. */
bool outbox_has_more(const OutboxRead *read);
