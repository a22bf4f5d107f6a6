/*
 * pg.h - Postgres for coroutines: pipelined reads, transactions, LISTEN; a lost server is weather, not death.
 *
 * A PgPool is one database under one role, as one worker sees it: a *reader* connection in libpq pipeline mode (every
 * query its own Sync, so that one failing never touches another; everything asked in one turn goes out in one flush)
 * and a few connections that are checked out for transactions. Statements are prepared once per connection, on first
 * use, in the same flush; parameters and results are binary.
 *
 * While the server is away, calls wait until their deadline and then return ERR_UNAVAILABLE; connections come back by
 * themselves (back-off 50 ms doubling to 1 s). A query whose connection died under it returns ERR_UNAVAILABLE; reads
 * are repeated once by themselves when they had no answer yet, writes never. A caller without a deadline waits without
 * end: give every piece of work one.
 *
 * ERR_UNAVAILABLE: not connected in time, or lost on the way. ERR_TIMEOUT: connected, but not answered in time.
 */
#pragma once
#include <libpq-fe.h>

#include "base/decimal.h"
#include "base/uuid.h"
#include "runtime/co.h"

/* Postgres type OIDs that we speak in binary (src/include/catalog/pg_type.dat). */
enum {
    OID_BOOL = 16,
    OID_BYTEA = 17,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_TEXT = 25,
    OID_JSON = 114,
    OID_UUID = 2950,
    OID_TIMESTAMPTZ = 1184,
    OID_NUMERIC = 1700,
    OID_JSONB = 3802,
    OID_BOOL_ARRAY = 1000,
    OID_BYTEA_ARRAY = 1001,
    OID_INT2_ARRAY = 1005,
    OID_INT4_ARRAY = 1007,
    OID_TEXT_ARRAY = 1009,
    OID_INT8_ARRAY = 1016,
    OID_UUID_ARRAY = 2951,
    OID_TIMESTAMPTZ_ARRAY = 1185,
    OID_NUMERIC_ARRAY = 1231,
    OID_JSONB_ARRAY = 3807
};

/** A named SQL text. Identity is the address: declare it static const, or make it once at start-up. */
typedef struct Statement {
    const char *name; /* unique within a pool; the prepared statement's name. NULL: sent unprepared each time */
    const char *sql;
    bool writes; /* never repeated by itself */
} Statement;

typedef struct PgPool PgPool;
typedef struct PgTx PgTx;

#define PG_PARAMS_MAX 64

/** Parameters in binary. Built in the order of $1, $2 …; pg_params_init, then one add per parameter. */
typedef struct PgParams {
    Buf data; /* all values, one after another */
    int n;
    Oid oids[PG_PARAMS_MAX];
    size_t at[PG_PARAMS_MAX]; /* start of each value in data */
    int lengths[PG_PARAMS_MAX];
    bool nulls[PG_PARAMS_MAX];
    size_t array_at; /* private: array being built */
    int array_n;
    bool array_has_null;
} PgParams;

void pg_params_init(PgParams *params, Arena *arena);
void pg_add_null(PgParams *params, Oid oid);
void pg_add_bool(PgParams *params, bool value);
void pg_add_i16(PgParams *params, int16_t value);
void pg_add_i32(PgParams *params, int32_t value);
void pg_add_i64(PgParams *params, int64_t value);
void pg_add_text(PgParams *params, Str value);  /* absent → NULL */
void pg_add_jsonb(PgParams *params, Str value); /* absent → NULL */
void pg_add_bytea(PgParams *params, Str value);
void pg_add_id(PgParams *params, Id value);
void pg_add_decimal(PgParams *params, Decimal value);
/** timestamptz: microseconds; what lies below is the caller's to keep (see instant_to_pg_us). */
void pg_add_instant(PgParams *params, Instant value);
/* Arrays: begin with the array's Oid, add elements (their kind must fit), end. */
void pg_array_begin(PgParams *params, Oid array_oid);
void pg_array_null(PgParams *params);
void pg_array_bool(PgParams *params, bool value);
void pg_array_i16(PgParams *params, int16_t value);
void pg_array_i32(PgParams *params, int32_t value);
void pg_array_i64(PgParams *params, int64_t value);
void pg_array_text(PgParams *params, Str value); /* absent → NULL */
void pg_array_jsonb(PgParams *params, Str value);
void pg_array_id(PgParams *params, Id value);
void pg_array_decimal(PgParams *params, Decimal value);
void pg_array_instant(PgParams *params, Instant value);
void pg_array_end(PgParams *params);

/** Rows of one statement. Freed with the arena of the coroutine that asked. */
typedef struct PgResult {
    PGresult *raw;
    int rows, columns;
    int64_t affected;
} PgResult;

/* Reading columns. The type was checked against the statement when it was prepared; a wrong getter is a bug (ASSERT on
 * length). */
bool pg_is_null(const PgResult *r, int row, int column);
bool pg_bool(const PgResult *r, int row, int column);
int16_t pg_i16(const PgResult *r, int row, int column);
int32_t pg_i32(const PgResult *r, int row, int column);
int64_t pg_i64(const PgResult *r, int row, int column);
Str pg_text(const PgResult *r, int row,
            int column); /* borrowed from the result; absent for NULL; jsonb: without its version byte */
Id pg_id(const PgResult *r, int row, int column);
/** ERR_LIMIT: NaN, infinite or wider than Decimal. */
MUST_USE Err pg_decimal(const PgResult *r, int row, int column, Decimal *ret);
/** Offset 0, tick 0. ±infinity and years outside 1 to 9999 are clamped to that range. */
Instant pg_instant(const PgResult *r, int row, int column);

/** What a wait for the server came to. */
typedef struct PgObservation {
    Ctx *ctx; /* of the coroutine that waited */
    PgPool *pool;
    const Statement *statement; /* the one whose result was waited for */
    int64_t began_ns;           /* clock_mono_ns */
    Err err;
    const char *sqlstate; /* "" where there is none */
} PgObservation;

/** Who watches a pool, from a layer above. May not suspend. */
typedef struct PgObserver {
    void (*done)(const PgObservation *observation);
} PgObserver;

typedef struct PgConfig {
    Str url;  /* libpq connection string or URI */
    Str role; /* SET ROLE at connect (startup option), absent: none */
    Str application_name;
    Str search_path; /* absent: server default */
    int writers;     /* connections for transactions; 1 per worker is what measured best for sets */
    int64_t connect_timeout_ms;
    int64_t statement_timeout_ms; /* on the server, beside our own deadlines */
    const PgObserver *observer;   /* stays the caller's; NULL: nobody watches */
    /** A pooler in transaction mode stands before the server: nothing may outlive a transaction. Statements are sent
     *  unprepared, startup options (role, search_path, statement_timeout) are not sent, and pg_listen hears nothing:
     *  who listens must poll besides. */
    bool pooled;
    /** Nothing done here stays: where a transaction would be committed it is rolled back, and the reader may not write.
     *  For trials of commands. */
    bool rolls_back;
} PgConfig;

/** Starts connecting; returns at once. ERR_INVALID: the URL cannot be read; ERR_NO_MEMORY. */
MUST_USE Err pg_pool_new(Loop *loop, const PgConfig *config, PgPool **ret);
/** Closes; waiting callers get ERR_CANCELLED. */
void pg_pool_free(PgPool *pool);
/** True when both kinds of connection are up. */
bool pg_pool_ready(const PgPool *pool);
/** Where the reader is connected to, or was last; absent before. Valid until the pool's next turn. */
typedef struct PgEndpoint {
    Str database, host;
    int port; /* 0: not known, or a unix socket */
} PgEndpoint;
void pg_pool_endpoint(const PgPool *pool, PgEndpoint *ret);
/** Its PgConfig.rolls_back. */
bool pg_pool_rolls_back(const PgPool *pool);
/** Server's words for the last failure ("" when none): for doctor, health and logs. */
Str pg_pool_last_error(const PgPool *pool);

/** One statement on the reader, autocommitted. ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_CANCELLED, ERR_CONFLICT (23xxx: a
 *  constraint),
 *  ERR_RETRY (40001, 40P01), ERR_LIMIT (53xxx, 54xxx: disk full, too big), ERR_INVALID (22xxx: a value), ERR_INTERNAL
 *  (rest). ctx's problem holds the server's message (field = constraint name); it is for logs, never for clients. */
CO_FN Err pg_query(PgPool *pool, const Statement *statement, const PgParams *params, PgResult *ret) MUST_USE;
/** SQLSTATE of this coroutine's last failed statement ("" if none). Holds until the coroutine waits again. */
const char *pg_sqlstate(void);

/** Runs body in a transaction on a checked-out connection and commits. body returning an error rolls back. ERR_RETRY
 *  from body or commit runs it again (at most 5 times, jittered back-off, while the deadline allows). The commit itself
 *  is shielded from cancellation; ERR_UNAVAILABLE from it means "outcome unknown". */
typedef CO_FN Err (*PgTxBody)(PgTx *tx, void *arg);
CO_FN Err pg_transaction(PgPool *pool, PgTxBody body, void *arg) MUST_USE;
/** Parameters are copied: they may change at once. Queues a statement in the transaction without waiting: BEGIN, all of
 *  these and (with pg_tx_commit_with) COMMIT share flushes. */
void pg_tx_send(PgTx *tx, const Statement *statement, const PgParams *params);
/** Queues a statement and waits for its result (and for all queued before). A failed earlier statement fails this. */
CO_FN Err pg_tx_query(PgTx *tx, const Statement *statement, const PgParams *params, PgResult *ret) MUST_USE;
/** As pg_tx_query, but the COMMIT goes out in the same flush: the body must return right after. Saves a round trip. A
 *  deadline asks the server to cancel and then waits for what came of it: OK means committed, any error but
 *  ERR_UNAVAILABLE not. */
CO_FN Err pg_tx_query_commit(PgTx *tx, const Statement *statement, const PgParams *params, PgResult *ret) MUST_USE;

/** Calls fn in the loop (not in a coroutine) for each NOTIFY on channel, and once after every reconnect (payload
 *  absent: something may have been missed). One connection per pool is used for listening, made at the first call. fn
 *  must not free the pool. channel: under 64 bytes, no double quote. ERR_LIMIT, ERR_NO_MEMORY. */
MUST_USE Err pg_listen(PgPool *pool, const char *channel, void (*fn)(Str payload, void *data), void *data);

/** Blocking helpers for the command line and migrations (no loop, text format). The caller owns the connection
 *  (PQfinish). Connecting takes at most 10 s for each address, or what the URL's connect_timeout says; a statement,
 *  until ctx->deadline_ms (0: for ever, as migrations need it), and then is answered ERR_TIMEOUT and the connection is
 *  beyond use (PQstatus): a server that hangs takes a statement and says nothing. */
MUST_USE Err pg_sync_connect(Ctx *ctx, Str url, Str role, PGconn **ret);
/** Runs SQL without parameters; several statements allowed. ERR_* as pg_query, problem says what and where. *ret may be
 *  NULL; otherwise PQclear it. */
MUST_USE Err pg_sync_exec(Ctx *ctx, PGconn *conn, const char *sql, PGresult **ret);
MUST_USE Err pg_sync_exec_params(Ctx *ctx, PGconn *conn, const char *sql, int n, const char *const *values,
                                 PGresult **ret);
