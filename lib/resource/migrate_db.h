/*
 * migrate_db.h - what up, down, status and verify share: statements with their SQLSTATE, the journal, the lock.
 * Internal.
 */
#pragma once
#include "resource/migrate.h"

/** A migrator's work on one context and connection. */
typedef struct Migrator {
    Ctx *ctx;
    const Context *context;
    PGconn *conn;
    Buf *report;
    char sqlstate[6]; /* of the last failure; "" where the connection broke */
} Migrator;

/**
 * One text, which may hold several statements. Not pg_sync_exec: here the SQLSTATE decides what is tried again, and
 * each failure replaces the problem of the one before.
 * ERR_RETRY: lock_timeout, deadlock, serialization; ERR_REFUSED: no privilege; ERR_CONFLICT: a constraint;
 * ERR_UNAVAILABLE; ERR_INTERNAL.
 */
MUST_USE Err migrator_exec(Migrator *m, const char *sql, PGresult **ret);
MUST_USE Err migrator_query(Migrator *m, const char *sql, int n, const char *const *values, PGresult **ret);
/** printf into SQL, then migrator_exec. Only for names that context_verify has looked at. */
MUST_USE Err migrator_execf(Migrator *m, PGresult **ret, const char *format, ...) PRINTF_LIKE(3, 4);
/** Ends a transaction that may be open, whatever its state. */
void migrator_rollback(Migrator *m);
/** Waits in the server, where there is no loop to wait in: a connection that breaks meanwhile ends the wait. */
void migrator_pause(Migrator *m, int64_t ms);
void result_clear(PGresult **result);

/** One migrator per schema and database at a time. Polls, because one that waited inside the server would hold a
 *  snapshot that CREATE INDEX CONCURRENTLY in turn waits for. ERR_TIMEOUT after ctx's deadline or a minute. */
MUST_USE Err migrator_lock(Migrator *m);
void migrator_unlock(Migrator *m);

/** A line of <schema>.schema_migrations, or of the embedded table, or of both. Ordered by version. */
typedef struct JournalLine {
    int version;
    Str name;
    const Migration *migration; /* NULL: unknown here */
    bool applied, checksum_differs;
    Str applied_at;
} JournalLine;
MUST_USE Err journal_read(Migrator *m, JournalLine **ret, size_t *ret_n);
/** Makes schema and journal where they are missing. */
MUST_USE Err journal_prepare(Migrator *m);

/** The context's role with what it needs and no more; a report line where this connection may not. */
MUST_USE Err grants_apply(Migrator *m);
/** Appends one line per privilege that is missing or too much. */
MUST_USE Err grants_verify(Migrator *m, size_t *mistakes);
/** Compares the declarations with the live catalogue. Appends one line per disagreement. */
MUST_USE Err drift_verify(Migrator *m, size_t *mistakes);
