/*
 * pg_private.h - what the files of lib/pg share: the connection, its slots, rounds and the pool.
 *
 * A *round* is what one Sync answers and what one coroutine waits for: a reader's query, or all that a transaction sent
 * since its last wait. A *slot* is one command (or Sync) whose answer libpq still owes; slots form a ring per
 * connection, in order. Slots belong to the connection and rounds to the waiting coroutine's stack, so abandoning a
 * wait is: forget the round in its slots; the answers are then dropped as they arrive and the pipeline goes on.
 */
#pragma once
#include <uv.h>

#include "pg/pg.h"

enum { PG_JSONB_VERSION = 1 };
/* Bounds. SLOTS: answers owed by one connection. WINDOW: reader queries sent ahead. WAITING: callers queued per
 * pool. */
enum {
    PG_SLOTS = 4096,
    PG_WINDOW = 1024,
    PG_WAITING_MAX = 16384,
    PG_STATEMENTS = 2048, /* per connection; those beyond are sent unprepared */
    PG_WRITERS_MAX = 64,
    PG_CHANNELS_MAX = 64,
    PG_BACKOFF_MIN_MS = 50,
    PG_BACKOFF_MAX_MS = 1000,
    PG_RECOVER_MS = 5000,      /* how long a writer may take to be rolled back before it is dropped */
    PG_COMMIT_GRACE_MS = 2000, /* beyond the deadline, to learn what became of a COMMIT that was on its way */
    PG_TX_ATTEMPTS = 5
};

typedef struct PgConn PgConn;

/* --- pg_prepared.c: which statements a connection knows --- */

typedef enum PgPreparedState {
    PREPARED_NO,
    PREPARED_SENT, /* Parse is on its way; the answer is not here */
    PREPARED_YES,
    PREPARED_STALE, /* must be deallocated first: its result type changed */
    PREPARED_FULL   /* the table has no room: send it unprepared */
} PgPreparedState;

typedef struct PgPrepared {
    size_t n;
    struct {
        const Statement *statement;
        PgPreparedState state;
    } entries[PG_STATEMENTS];
} PgPrepared;

PgPreparedState prepared_get(const PgPrepared *table, const Statement *statement);
void prepared_set(PgPrepared *table, const Statement *statement, PgPreparedState state);

/* --- rounds and slots (pg_pipeline.c) --- */

typedef struct PgRound {
    Wait wait;       /* woken with ERR_OK when the Sync is answered, ERR_UNAVAILABLE when the connection is lost */
    PGresult *kept;  /* the answer asked for */
    PGresult *error; /* the first error since the last Sync */
    PgConn *conn;    /* where it was sent; NULL: not sent */
    uint64_t first;  /* its first slot */
    bool replan;     /* the error is of the plan, not of the query: prepare afresh */
    bool repeated;   /* has had its second chance */
    const Statement *statement;
    const PgParams *params;
    struct PgRound *prev, *next; /* while it waits to be sent */
    bool queued;
} PgRound;

typedef enum PgSlotKind {
    SLOT_PREPARE, /* Parse of slot.statement */
    SLOT_DROP,    /* only its error matters */
    SLOT_KEEP,    /* its answer is the round's */
    SLOT_LISTEN,  /* an error is the connection's */
    SLOT_SYNC
} PgSlotKind;

typedef struct PgSlot {
    PgSlotKind kind;
    const Statement *statement; /* NULL: not a prepared one */
    PgRound *round;             /* NULL: nobody waits any more */
} PgSlot;

/* Each returns false when libpq refused (no memory, dead socket); the caller then drops the connection. */
MUST_USE bool pipeline_statement(PgConn *conn, PgSlotKind kind, const Statement *statement, const PgParams *params,
                                 PgRound *round);
MUST_USE bool pipeline_text(PgConn *conn, PgSlotKind kind, const char *sql, PgRound *round);
MUST_USE bool pipeline_sync(PgConn *conn, PgRound *round);
MUST_USE bool pipeline_flush(PgConn *conn);
bool pipeline_has_room(const PgConn *conn, uint64_t slots);
bool pipeline_is_empty(const PgConn *conn);
/** True when the last command has no Sync behind it yet. */
bool pipeline_is_open(const PgConn *conn);
/** Takes what has arrived. false: the connection is beyond use. */
MUST_USE bool pipeline_take(PgConn *conn);
/** Nobody waits for this round any more. */
void pipeline_abandon(PgRound *round);
void round_clear(PgRound *round);

/* --- pg_conn.c: one connection's life --- */

typedef enum PgConnKind { CONN_READER, CONN_WRITER, CONN_LISTENER } PgConnKind;
typedef enum PgConnState { CONN_AWAY, CONN_CONNECTING, CONN_UP } PgConnState;

typedef struct PgPoll PgPoll; /* a uv_poll_t, which must outlive its owner until libuv has closed it */

struct PgConn {
    PgPool *pool;
    PgConnKind kind;
    PgConnState state;
    PGconn *raw;
    PgPoll *poll;
    Timer timer; /* back-off while AWAY, time-out while CONNECTING, patience while recovering */
    int64_t backoff_ms;
    bool blocked; /* the socket takes no more for now */
    bool outage;  /* lost, and counted in the pool's outages */

    PgSlot *slots;
    uint64_t head, tail; /* the ring holds [head, tail) */
    uint64_t syncs_owed;
    bool head_answered;
    int sync_nulls; /* answers at a Sync that should not be: guards the loop */
    PgPrepared *prepared;

    bool busy;               /* writer: checked out, or promised to a caller who has not run yet */
    PgTx *tx;                /* the transaction it is checked out to */
    bool recovering;         /* writer: being rolled back before the next use */
    struct PgCancel *cancel; /* a cancel request is under way in a thread */
    int listened;            /* listener: channels confirmed since connecting */
};

MUST_USE Err conn_open(PgPool *pool, PgConnKind kind, PgConn **ret);
/** Closes for good; waiters get ERR_CANCELLED. Accepts NULL. */
void conn_free(PgConn *conn);
/** The connection is lost: everything in flight fails (or, for reads, waits again) and a new one is sought. */
void conn_lost(PgConn *conn, const char *why);
/** Away and no attempt planned: plans one. */
void conn_retry(PgConn *conn);
/** Asks libuv for what libpq needs now. */
void conn_watch(PgConn *conn);

/* --- pg_cancel.c --- */

/** Asks the server to stop what the connection does, from a thread (PQcancel blocks). */
void conn_cancel(PgConn *conn);
/** The connection goes away; a request under way forgets it. */
void conn_cancel_forget(PgConn *conn);

/* --- what each kind does when its connection changes --- */

/* pg_reader.c */
void reader_arm(PgPool *pool);
void reader_flush_hook(TurnHook *hook);
void reader_requeue(PgPool *pool, PgRound *round); /* in front, for its second chance */
void reader_close(PgPool *pool);
/** A place in ctx's arena that clears its result with the arena; made before sending, so that taking an answer cannot
 *  fail. */
PGresult **result_home(Ctx *ctx);
void result_keep(PGresult **home, PgRound *round, PgResult *ret);
/* pg_writer.c */
CO_FN Err writer_checkout(PgPool *pool, Ctx *ctx, PgConn **ret) MUST_USE;
void writer_free_up(PgConn *conn); /* up and unused: hand it to the next in line */
void writer_recover(PgConn *conn); /* roll back what is open, then free up */
void writer_recover_step(PgConn *conn);
void writer_close(PgPool *pool);
/* pg_tx.c */
void tx_lost(PgTx *tx);
/* pg_listen.c */
void listener_start(PgConn *conn);
void listener_confirmed(PgConn *conn);
void listener_take(PgConn *conn);

/* --- the pool (pg_pool.c) --- */

typedef struct PgChannel {
    const char *name;
    void (*fn)(Str payload, void *data);
    void *data;
} PgChannel;

/* A caller in line for a writer. */
typedef struct PgCaller {
    Wait wait;
    PgConn *conn; /* assigned */
    struct PgCaller *prev, *next;
} PgCaller;

struct PgPool {
    Loop *loop;
    Arena *arena; /* configuration texts */
    const char *url, *application_name, *options;
    int64_t connect_timeout_ms;
    const PgObserver *observer;
    bool pooled, rolls_back;

    PgConn *reader;
    PgRound *waiting_first, *waiting_last;
    size_t waiting_n;
    TurnHook flush;

    PgConn *writers[PG_WRITERS_MAX];
    int writers_n;
    PgCaller *callers_first, *callers_last;
    size_t callers_n;

    PgConn *listener;
    PgChannel channels[PG_CHANNELS_MAX];
    int channels_n;

    size_t users; /* coroutines inside a call; the last one out frees a closed pool */
    int outages;  /* connections that are lost; the first is logged, and that the last is back */
    bool closed;
    char last_error[512];
};

void pool_enter(PgPool *pool);
void pool_leave(PgPool *pool);
void pool_set_error(PgPool *pool, const char *message);
/** 0 when nobody watches. */
int64_t pool_observe_begin(const PgPool *pool);
void pool_observe_end(PgPool *pool, Ctx *ctx, const Statement *statement, int64_t began_ns, Err err);

/* --- pg_error.c --- */

Err sqlstate_to_err(const char *sqlstate);
/** Maps a failed result, leaves message and constraint in ctx's problem and the state for pg_sqlstate(). */
Err error_from_result(Ctx *ctx, const PGresult *error);
/** The same for a failure without a result. */
Err error_plain(Ctx *ctx, Err code, const char *message);
void sqlstate_reset(void);
/** True when the plan is at fault (it changed, or the server forgot it): the statement did not run. */
bool error_is_of_plan(const PGresult *error, bool *ret_stale);
