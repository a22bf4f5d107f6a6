/*
 * diff.h - what must happen to make one Model another: SQL, and what is dangerous about it. Internal.
 *
 * A Change is one thing a reviewer can say yes or no to. Those that lose data, rewrite a table, or hold a lock for as
 * long as the table is big carry the flag that allows them; the caller refuses the whole migration while one is not
 * given. Where Postgres knows a form that does not block (NOT VALID and VALIDATE, CONCURRENTLY), diff_intermediate()
 * moves it to a second migration without transaction.
 */
#pragma once
#include "resource/model.h"

typedef struct Change {
    Str summary;     /* "events.price: add column" */
    Str sql;         /* one or more statements, each ended by ";\n" */
    Str flag;        /* "drop-column:events.price"; absent: harmless */
    Str why;         /* what is dangerous, and what to do instead */
    bool loses_data; /* for down migrations */
    struct Change *next;
} Change;

typedef struct Changes {
    Change *first, **last;
    size_t n;
} Changes;

typedef enum DiffMode {
    DIFF_UP,     /* in a transaction; dangerous steps carry flags */
    DIFF_ONLINE, /* second part: every step in its non-blocking, repeatable form */
    DIFF_DOWN    /* in a transaction; nothing is flagged, losses are marked */
} DiffMode;

/** Appends what leads from `from` to `to`, in an order that Postgres accepts. ERR_NO_MEMORY, ERR_LIMIT. */
MUST_USE Err diff_models(Arena *arena, const Model *from, const Model *to, DiffMode mode, Changes *out);

/**
 * The Model between the two migrations: `to` without what is better built online on tables that already stand in `from`
 * (indexes, unique rules, checks, foreign keys, NOT NULL). What `allow` names as "lock:table.name" stays in the first.
 */
MUST_USE Err diff_intermediate(Arena *arena, const Model *from, const Model *to, const char *const *allow, Model *ret);

/* --- renames ----------------------------------------------------------------------------------------------- */

/** `from` with its declared and asked-for renames done, and the ALTER … RENAME statements for up and (reversed) down.
 *  ERR_INVALID with ctx's problem when one of `renames` fits nothing. */
MUST_USE Err rename_apply(Ctx *ctx, const Model *from, const Model *to, const char *const *renames, Model *ret,
                          Changes *up, Changes *down);
/** Appends one question per table or column that vanishes while one of the same type appears, unless `allow` names the
 *  drop. Returns how many. */
size_t rename_questions(const Model *from, const Model *to, const char *const *allow, Buf *report);

/* --- SQL of parts (ddl.c) ---------------------------------------------------------------------------------- */

void ddl_create_table(Buf *out, Str schema, const Table *table, bool temporary);
void ddl_column(Buf *out, const Column *column);
void ddl_add_rule(Buf *out, Str schema, Str table, const Rule *rule, const char *suffix);
void ddl_create_index(Buf *out, Str schema, Str table, const TableIndex *index, const char *concurrently);
/** All of a model's tables, foreign keys last. temporary: as CREATE TEMPORARY TABLE, for comparing with a live
 *  catalogue. */
void ddl_create_all(Buf *out, const Model *model, bool temporary);

bool rule_eq(const Rule *a, const Rule *b);
bool index_eq(const TableIndex *a, const TableIndex *b);
bool allow_has(const char *const *allow, Str flag);
/** Appends a change; printf for the summary. SQL is taken from `sql` (copied). NULL: refused. */
Change *changes_add(Arena *arena, Changes *changes, const Buf *sql, const char *format, ...) PRINTF_LIKE(4, 5);
