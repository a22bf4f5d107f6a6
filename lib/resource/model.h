/*
 * model.h - a context's tables as plain values: what declarations, snapshots and migrations are compared by. Internal.
 *
 * Declarations speak of attributes, Postgres of columns and constraints; a Model is the second, in names and SQL
 * fragments. Everything about migrations goes Model → Model: declarations and snapshot both become one, diff.c compares
 * two, ddl.c writes SQL from one. All of it lives in one arena and is never changed after it was made (renames make a
 * copy).
 */
#pragma once
#include "resource/resource.h"

#define MODEL_TABLES_MAX     256
#define MODEL_COLUMNS_MAX    512
#define MODEL_NAME_MAX       63 /* NAMEDATALEN - 1: Postgres cuts longer names, silently */
#define MODEL_SQL_MAX        (1024 * 1024)
#define MODEL_SNAPSHOT_MAX   (4 * 1024 * 1024)
#define MODEL_PARTITIONS_MAX 64

typedef struct Column {
    Str name;
    Str type;        /* as Postgres writes it: numeric(18,2), text COLLATE "C" */
    Str default_sql; /* absent: none */
    bool not_null;
    bool identity;
    Str renamed_from; /* only from declarations */
} Column;

typedef enum RuleKind { RULE_PRIMARY = 1, RULE_UNIQUE, RULE_CHECK, RULE_FOREIGN } RuleKind;

/** A named constraint. */
typedef struct Rule {
    Str name;
    RuleKind kind;
    Str definition; /* PRIMARY KEY (id), CHECK (…), FOREIGN KEY (event_id) */
    Str target;     /* RULE_FOREIGN: "events (id)", a table of the same schema */
} Rule;

typedef struct TableIndex {
    Str name;
    bool unique;
    Str definition; /* btree (a, b) WHERE … */
} TableIndex;

typedef struct Table {
    Str name;
    Str storage;      /* absent: none */
    Str seed;         /* absent: none */
    Str partition_by; /* column; absent: not partitioned */
    int partitions;   /* of values 0 to n - 1 */
    Column *columns;
    size_t column_n;
    Rule *rules;
    size_t rule_n;
    TableIndex *indexes;
    size_t index_n;
} Table;

typedef struct Model {
    Str schema;
    Table *tables;
    size_t table_n;
} Model;

/** From declarations that context_verify finds no mistake in. ERR_NO_MEMORY; ERR_LIMIT: more than the maxima above. */
MUST_USE Err model_from_context(Arena *arena, const Context *context, Model *ret);
/** From a snapshot. Survives any bytes. ERR_SYNTAX with words in ctx's problem; ERR_LIMIT, ERR_NO_MEMORY. */
MUST_USE Err model_from_snapshot(Ctx *ctx, Str json, Model *ret);
void model_write(const Model *model, Buf *out);
/** A copy whose tables and lists may be changed by the caller. */
MUST_USE Err model_copy(Arena *arena, const Model *model, Model *ret);

Table *model_table(const Model *model, Str name);
Column *table_column(const Table *table, Str name);
Rule *table_rule(const Table *table, Str name);
TableIndex *table_index(const Table *table, Str name);

/** A lower-case SQL name that fits and needs no quotes. */
bool name_is_plain(Str name);
/** Words that Postgres keeps for itself (pg_get_keywords, category R): legal only in quotes, so not for us. */
bool name_is_reserved(Str name);
