/*
 * diff_column.h - the part of diff.c that looks at one table's columns. Internal to the two.
 */
#pragma once
#include "resource/diff.h"

typedef struct Differ {
    Arena *arena;
    const Model *from, *to;
    DiffMode mode;
    Changes *out;
    bool refused; /* an allocation was */
} Differ;

/** Adds, alters and drops columns. */
void diff_columns(Differ *d, const Table *old, const Table *new);

/** What has `want`'s definition under a name that is gone, so that it only needs another name; NULL: nothing. `want` is
 *  one of new's own. */
const Rule *diff_renamed_rule(const Table *old, const Table *new, const Rule *want);
const TableIndex *diff_renamed_index(const Table *old, const Table *new, const TableIndex *want);

Buf diff_sql(Differ *d);
/** Appends "table.part: what". */
Change *diff_add(Differ *d, const Buf *sql, Str table, Str part, const char *what);
/** Marks it dangerous: "kind:table.part" allows it. Not for down migrations. */
void diff_flag(Differ *d, Change *change, const char *kind, Str table, Str part, const char *why);
