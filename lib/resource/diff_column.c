/*
 * diff_column.c - what happens to columns, and which of it Postgres does by rewriting or scanning the table.
 *
 * Rules taken from ALTER TABLE's Notes (Postgres 15): a constant or stable default is stored once in the catalogue, a
 * volatile one or an identity rewrites; a type change rewrites unless the old bytes are valid for the new type, which
 * of our types is only true for numeric that gets wider at the same scale; SET NOT NULL scans unless a validated CHECK
 * already proves it.
 */
#include "resource/diff_column.h"

/* numeric(p,s): false for plain numeric and all else. */
static bool numeric_limits(Str type, uint64_t *precision, uint64_t *scale) {
    if (!str_starts_with(type, STR("numeric(")) || !str_ends_with(type, STR(")")))
        return false;
    Str rest = str_slice(type, sizeof "numeric(" - 1, type.n - 1);
    Str first = str_cut(&rest, ',');
    *scale = 0;
    return str_to_u64(first, 1000, precision) == ERR_OK && (rest.p == NULL || str_to_u64(rest, 1000, scale) == ERR_OK);
}

static bool rewrites(Str old, Str new) {
    uint64_t p, s, q, t;
    if (!numeric_limits(old, &p, &s))
        return true;
    if (str_eq(new, STR("numeric")))
        return false;
    return !numeric_limits(new, &q, &t) || s != t || q < p;
}

/* May values be rounded, cut or refused? */
static bool narrows(Str old, Str new) {
    static const char *const WIDENING[][2] = {
        {"smallint", "integer"}, {"smallint", "bigint"}, {"smallint", "numeric"},
        {"integer", "bigint"},   {"integer", "numeric"}, {"bigint", "numeric"},
    };
    for (size_t i = 0; i < ARRAY_LEN(WIDENING); i++) {
        if (str_eq_c(old, WIDENING[i][0]) && str_eq_c(new, WIDENING[i][1]))
            return false;
    }
    return rewrites(old, new) && !str_starts_with(new, STR("text"));
}

/* Literals, and now() which is evaluated once, are stored beside the table. Any other call might be volatile. */
static bool default_is_stored(Str sql) {
    if (str_eq_nocase(sql, STR("now()")) || str_eq_nocase(sql, STR("current_timestamp")))
        return true;
    return str_index(sql, '(') < 0;
}

static void add_column(Differ *d, const Table *table, const Column *c) {
    Buf sql = diff_sql(d);
    buf_printf(&sql, "ALTER TABLE %.*s.%.*s ADD COLUMN ", STR_ARG(d->to->schema), STR_ARG(table->name));
    ddl_column(&sql, c);
    buf_add_c(&sql, ";\n");
    Change *change = diff_add(d, &sql, table->name, c->name, "add column");
    if (c->identity || (c->default_sql.p != NULL && !default_is_stored(c->default_sql)))
        diff_flag(d, change, "rewrite", table->name, c->name,
                  "every row gets its own value, so the whole table is rewritten under a lock; add it optional and "
                  "fill it in "
                  "batches instead");
    else if (c->not_null && c->default_sql.p == NULL)
        diff_flag(d, change, "empty-table", table->name, c->name,
                  "rows that are there have no value for it, so this only works while the table is empty; give it a "
                  "default_sql, or add it optional, fill it, and make it required later");
}

static void drop_column(Differ *d, const Table *table, const Column *c) {
    Buf sql = diff_sql(d);
    buf_printf(&sql, "ALTER TABLE %.*s.%.*s DROP COLUMN %.*s;\n", STR_ARG(d->to->schema), STR_ARG(table->name),
               STR_ARG(c->name));
    Change *change = diff_add(d, &sql, table->name, c->name, "drop column");
    diff_flag(d, change, "drop-column", table->name, c->name, "its values are lost");
    if (change != NULL)
        change->loses_data = true;
}

#define ALTER_COLUMN "ALTER TABLE %.*s.%.*s ALTER COLUMN %.*s "
#define ALTER_ARGS   STR_ARG(d->to->schema), STR_ARG(table->name), STR_ARG(c->name)

static void change_type(Differ *d, const Table *table, const Column *old, const Column *c) {
    Buf sql = diff_sql(d);
    Str bare = c->type; /* a cast takes no COLLATE */
    ptrdiff_t collate = str_find(bare, STR(" COLLATE "));
    if (collate >= 0)
        bare = str_slice(bare, 0, (size_t)collate);
    /* The old default need not fit the new type; it comes back right below. */
    if (old->default_sql.p != NULL)
        buf_printf(&sql, ALTER_COLUMN "DROP DEFAULT;\n", ALTER_ARGS);
    buf_printf(&sql, ALTER_COLUMN "TYPE %.*s USING %.*s::%.*s;\n", ALTER_ARGS, STR_ARG(c->type), STR_ARG(c->name),
               STR_ARG(bare));
    if (old->default_sql.p != NULL && c->default_sql.p != NULL)
        buf_printf(&sql, ALTER_COLUMN "SET DEFAULT %.*s;\n", ALTER_ARGS, STR_ARG(c->default_sql));
    Change *change = diff_add(d, &sql, table->name, c->name, "change type");
    if (rewrites(old->type, c->type))
        diff_flag(d, change, "rewrite", table->name, c->name,
                  narrows(old->type, c->type)
                      ? "the table is rewritten under a lock, and values that do not fit are rounded or refused"
                      : "the table is rewritten under a lock; add another column and fill it in batches instead");
    if (change != NULL)
        change->loses_data = narrows(old->type, c->type);
}

static void change_not_null(Differ *d, const Table *table, const Column *c) {
    Buf sql = diff_sql(d);
    if (d->mode == DIFF_ONLINE) {
        Str schema = d->to->schema, t = table->name, n = c->name;
        buf_printf(&sql, "ALTER TABLE %.*s.%.*s DROP CONSTRAINT IF EXISTS %.*s_is_there;\n", STR_ARG(schema),
                   STR_ARG(t), STR_ARG(n));
        buf_printf(&sql, "ALTER TABLE %.*s.%.*s ADD CONSTRAINT %.*s_is_there CHECK (%.*s IS NOT NULL) NOT VALID;\n",
                   STR_ARG(schema), STR_ARG(t), STR_ARG(n), STR_ARG(n));
        buf_printf(&sql, "ALTER TABLE %.*s.%.*s VALIDATE CONSTRAINT %.*s_is_there;\n", STR_ARG(schema), STR_ARG(t),
                   STR_ARG(n));
        buf_printf(&sql, ALTER_COLUMN "SET NOT NULL;\n", ALTER_ARGS);
        buf_printf(&sql, "ALTER TABLE %.*s.%.*s DROP CONSTRAINT %.*s_is_there;\n", STR_ARG(schema), STR_ARG(t),
                   STR_ARG(n));
    } else {
        buf_printf(&sql, ALTER_COLUMN "%s NOT NULL;\n", ALTER_ARGS, c->not_null ? "SET" : "DROP");
    }
    Change *change = diff_add(d, &sql, table->name, c->name, c->not_null ? "make required" : "make optional");
    if (c->not_null && d->mode == DIFF_UP)
        diff_flag(d, change, "lock", table->name, c->name, "the table is locked while all its rows are looked at");
}

static void change_column(Differ *d, const Table *table, const Column *old, const Column *c) {
    bool retyped = !str_eq(old->type, c->type);
    if (old->identity && !c->identity) {
        Buf sql = diff_sql(d);
        buf_printf(&sql, ALTER_COLUMN "DROP IDENTITY;\n", ALTER_ARGS);
        diff_add(d, &sql, table->name, c->name, "no longer an identity");
    }
    if (retyped)
        change_type(d, table, old, c);
    if (old->not_null != c->not_null)
        change_not_null(d, table, c);
    bool set_already = retyped && old->default_sql.p != NULL;
    if (!set_already &&
        (!str_eq(old->default_sql, c->default_sql) || (old->default_sql.p == NULL) != (c->default_sql.p == NULL))) {
        Buf sql = diff_sql(d);
        if (c->default_sql.p == NULL)
            buf_printf(&sql, ALTER_COLUMN "DROP DEFAULT;\n", ALTER_ARGS);
        else
            buf_printf(&sql, ALTER_COLUMN "SET DEFAULT %.*s;\n", ALTER_ARGS, STR_ARG(c->default_sql));
        diff_add(d, &sql, table->name, c->name, "change default");
    }
    if (!old->identity && c->identity) {
        Buf sql = diff_sql(d);
        buf_printf(&sql, ALTER_COLUMN "ADD GENERATED ALWAYS AS IDENTITY;\n", ALTER_ARGS);
        diff_add(d, &sql, table->name, c->name, "make an identity; its counter begins at 1");
    }
}

void diff_columns(Differ *d, const Table *old, const Table *new) {
    for (const Column *c = new->columns; c < new->columns + new->column_n; c++) {
        const Column *had = table_column(old, c->name);
        if (had == NULL)
            add_column(d, new, c);
        else
            change_column(d, new, had, c);
    }
    for (const Column *c = old->columns; c < old->columns + old->column_n; c++) {
        if (table_column(new, c->name) == NULL)
            drop_column(d, new, c);
    }
}

/* --- what is put off to the second migration --------------------------------------------------------------- */

static bool direct(Arena *arena, const char *const *allow, Str table, Str part) {
    Str flag = arena_printf(arena, "lock:%.*s.%.*s", STR_ARG(table), STR_ARG(part));
    return flag.p != NULL && allow_has(allow, flag);
}

static bool stands_already(const Table *old, const Table *new, const Rule *rule) {
    const Rule *had = table_rule(old, rule->name);
    return had != NULL ? rule_eq(had, rule) : diff_renamed_rule(old, new, rule) != NULL;
}

static bool index_stands_already(const Table *old, const Table *new, const TableIndex *index) {
    const TableIndex *had = table_index(old, index->name);
    return had != NULL ? index_eq(had, index) : diff_renamed_index(old, new, index) != NULL;
}

static void put_off(Arena *arena, const Table *old, const Table *new, const char *const *allow, Table *table) {
    table->rule_n = table->index_n = 0;
    for (size_t i = 0; i < new->rule_n; i++) {
        const Rule *r = &new->rules[i];
        if (r->kind == RULE_PRIMARY || stands_already(old, new, r) || direct(arena, allow, new->name, r->name))
            table->rules[table->rule_n++] = *r;
    }
    for (size_t i = 0; i < new->index_n; i++) {
        const TableIndex *index = &new->indexes[i];
        if (index_stands_already(old, new, index) || direct(arena, allow, new->name, index->name))
            table->indexes[table->index_n++] = *index;
    }
    for (size_t i = 0; i < table->column_n; i++) {
        Column *c = &table->columns[i];
        const Column *had = table_column(old, c->name);
        /* An identity must be NOT NULL before it can be one. */
        if (had != NULL && !had->not_null && c->not_null && !c->identity && !direct(arena, allow, new->name, c->name))
            c->not_null = false;
    }
}

Err diff_intermediate(Arena *arena, const Model *from, const Model *to, const char *const *allow, Model *ret) {
    Model middle;
    TRY(model_copy(arena, to, &middle));
    for (size_t i = 0; i < middle.table_n; i++) {
        const Table *old = model_table(from, middle.tables[i].name);
        if (old != NULL)
            put_off(arena, old, &to->tables[i], allow, &middle.tables[i]);
    }
    *ret = middle;
    return ERR_OK;
}
