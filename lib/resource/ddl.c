/*
 * ddl.c - a Model's parts as SQL.
 *
 * Written for the reviewer of a migration: one column a line, every name spelt out with its schema, nothing left to
 * search_path.
 */
#include "resource/diff.h"

void ddl_column(Buf *out, const Column *column) {
    buf_printf(out, "%.*s %.*s", STR_ARG(column->name), STR_ARG(column->type));
    if (column->identity)
        buf_add_c(out, " GENERATED ALWAYS AS IDENTITY");
    else if (column->not_null)
        buf_add_c(out, " NOT NULL");
    if (column->default_sql.p != NULL)
        buf_printf(out, " DEFAULT %.*s", STR_ARG(column->default_sql));
}

static void add_rule(Buf *out, Str schema, const Rule *rule) {
    buf_printf(out, "CONSTRAINT %.*s %.*s", STR_ARG(rule->name), STR_ARG(rule->definition));
    if (rule->kind == RULE_FOREIGN)
        buf_printf(out, " REFERENCES %.*s.%.*s", STR_ARG(schema), STR_ARG(rule->target));
}

void ddl_add_rule(Buf *out, Str schema, Str table, const Rule *rule, const char *suffix) {
    buf_printf(out, "ALTER TABLE %.*s.%.*s ADD ", STR_ARG(schema), STR_ARG(table));
    add_rule(out, schema, rule);
    buf_printf(out, "%s;\n", suffix);
}

void ddl_create_index(Buf *out, Str schema, Str table, const TableIndex *index, const char *concurrently) {
    buf_printf(out, "CREATE %sINDEX %s%.*s ON %.*s.%.*s USING %.*s;\n", index->unique ? "UNIQUE " : "", concurrently,
               STR_ARG(index->name), STR_ARG(schema), STR_ARG(table), STR_ARG(index->definition));
}

void ddl_create_table(Buf *out, Str schema, const Table *table, bool temporary) {
    buf_printf(out, "CREATE %sTABLE %.*s.%.*s (", temporary ? "TEMPORARY " : "", STR_ARG(schema), STR_ARG(table->name));
    const char *comma = "\n    ";
    for (const Column *c = table->columns; c < table->columns + table->column_n; c++) {
        buf_add_c(out, comma);
        ddl_column(out, c);
        comma = ",\n    ";
    }
    for (const Rule *r = table->rules; r < table->rules + table->rule_n; r++) {
        if (r->kind == RULE_FOREIGN)
            continue;
        buf_add_c(out, comma);
        add_rule(out, schema, r);
    }
    buf_add_c(out, "\n)");
    if (table->partition_by.p != NULL)
        buf_printf(out, " PARTITION BY LIST (%.*s)", STR_ARG(table->partition_by));
    if (table->storage.p != NULL)
        buf_printf(out, " WITH (%.*s)", STR_ARG(table->storage));
    buf_add_c(out, ";\n");
    for (int i = 0; i < table->partitions; i++)
        buf_printf(out, "CREATE %sTABLE %.*s.%.*s_%d PARTITION OF %.*s.%.*s FOR VALUES IN (%d);\n",
                   temporary ? "TEMPORARY " : "", STR_ARG(schema), STR_ARG(table->name), i, STR_ARG(schema),
                   STR_ARG(table->name), i);
    for (const TableIndex *i = table->indexes; i < table->indexes + table->index_n; i++)
        ddl_create_index(out, schema, table->name, i, "");
}

void ddl_create_all(Buf *out, const Model *model, bool temporary) {
    Str schema = temporary ? STR("pg_temp") : model->schema;
    for (size_t i = 0; i < model->table_n; i++)
        ddl_create_table(out, schema, &model->tables[i], temporary);
    for (size_t i = 0; i < model->table_n; i++) {
        const Table *t = &model->tables[i];
        for (const Rule *r = t->rules; r < t->rules + t->rule_n; r++) {
            if (r->kind == RULE_FOREIGN)
                ddl_add_rule(out, schema, t->name, r, "");
        }
    }
}

bool rule_eq(const Rule *a, const Rule *b) {
    return a->kind == b->kind && str_eq(a->definition, b->definition) && str_eq(a->target, b->target);
}

bool index_eq(const TableIndex *a, const TableIndex *b) {
    return a->unique == b->unique && str_eq(a->definition, b->definition);
}

bool allow_has(const char *const *allow, Str flag) {
    for (; allow != NULL && *allow != NULL; allow++) {
        if (str_eq_c(flag, *allow))
            return true;
    }
    return false;
}
