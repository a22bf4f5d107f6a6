/*
 * migrate.h - from declarations to a database, and proof that they agree.
 *
 * Each context keeps numbered migrations in its own folder (apps/<context>/migrations/0001_name.up.sql, .down.sql and
 * .snapshot.json, embedded at build). `generate` diffs the declarations against the last snapshot. It never guesses: a
 * rename is declared (.renamed_from) or asked for (--rename old=new); a destructive step, a table rewrite or a long
 * lock is refused unless a flag names it. Applied ones are recorded in <schema>.schema_migrations with a checksum of
 * their text.
 */
#pragma once
#include "resource/resource.h"

/** The declarations as JSON (stable order, one member a line): what snapshots hold. */
void snapshot_write(const Context *context, Buf *out);

typedef struct GenerateOptions {
    const char *name;      /* of the migration; NULL: made from the first change */
    const char *directory; /* apps/<context>/migrations */
    const char *const
        *allow; /* "drop-column:events.price", "drop-table:…", "rewrite:…", "lock:…"; NULL-ended; may be NULL */
    const char *const *renames; /* "events.name=event_name"; NULL-ended; may be NULL */
    bool check;                 /* write nothing; ERR_CONFLICT when something would be written */
} GenerateOptions;

/** Writes the next migration when declarations and last snapshot differ. Report (what was written, or what was refused
 *  and which flag allows it) goes to `report`. ERR_REFUSED: a dangerous step without its flag; ERR_INVALID: an
 *  ambiguous rename; ERR_CONFLICT: see check. */
MUST_USE Err migrate_generate(Ctx *ctx, const Context *context, const GenerateOptions *options, Buf *report);

/** Declarations, embedded snapshots and the live catalogue agree? One line per disagreement with its place.
 *  ERR_CONFLICT when not. conn NULL: only what can be known without a database. */
MUST_USE Err migrate_verify(Ctx *ctx, const Context *context, PGconn *conn, Buf *report);

/** Applies what is missing, each in its transaction, one migrator at a time (advisory lock), lock_timeout with retries.
 *  Also creates the schema, and the role with its grants where the connection may. target 0: the newest. */
MUST_USE Err migrate_up(Ctx *ctx, const Context *context, PGconn *conn, int target, Buf *report);
/** Takes back down to target (exclusive). ERR_REFUSED without allow_data_loss when a down step drops data. */
MUST_USE Err migrate_down(Ctx *ctx, const Context *context, PGconn *conn, int target, bool allow_data_loss,
                          Buf *report);

typedef struct MigrationStatus {
    int version;
    const char *name;
    bool applied, checksum_differs, unknown_here; /* unknown_here: applied by a newer usher */
    Str applied_at;
} MigrationStatus;
MUST_USE Err migrate_status(Ctx *ctx, const Context *context, PGconn *conn, MigrationStatus **ret, size_t *ret_n);
