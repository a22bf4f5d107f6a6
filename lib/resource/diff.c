/*
 * diff.c - the changes between two Models, in an order that Postgres accepts.
 *
 * Rules and indexes that vanish or differ go first, then tables, columns, rules, indexes, foreign keys, storage, seeds.
 * Renames were done before (rename.c): here names are equal or the thing is another.
 */
#include "resource/diff.h"
#include "resource/diff_column.h"

static bool online(const Differ *d, const Table *old) {
    return d->mode == DIFF_ONLINE && old != NULL;
}

Change *diff_add(Differ *d, const Buf *sql, Str table, Str part, const char *what) {
    Change *change = changes_add(d->arena, d->out, sql, "%.*s%s%.*s: %s", STR_ARG(table), part.n > 0 ? "." : "",
                                 STR_ARG(part), what);
    d->refused |= change == NULL;
    return change;
}

void diff_flag(Differ *d, Change *change, const char *kind, Str table, Str part, const char *why) {
    if (change == NULL || d->mode == DIFF_DOWN)
        return;
    change->flag = arena_printf(d->arena, "%s:%.*s%s%.*s", kind, STR_ARG(table), part.n > 0 ? "." : "", STR_ARG(part));
    change->why = str_c(why);
    d->refused |= change->flag.p == NULL;
}

Buf diff_sql(Differ *d) {
    return buf_new(d->arena, MODEL_SQL_MAX);
}

/* --- rules ------------------------------------------------------------------------------------------------- */

const Rule *diff_renamed_rule(const Table *old, const Table *new, const Rule *want) {
    for (const Rule *r = new->rules; r < want; r++) {
        if (rule_eq(r, want) && table_rule(old, r->name) == NULL)
            return NULL; /* that one took the old name already */
    }
    for (size_t i = 0; i < old->rule_n; i++) {
        if (rule_eq(&old->rules[i], want) && table_rule(new, old->rules[i].name) == NULL)
            return &old->rules[i];
    }
    return NULL;
}

const TableIndex *diff_renamed_index(const Table *old, const Table *new, const TableIndex *want) {
    for (const TableIndex *i = new->indexes; i < want; i++) {
        if (index_eq(i, want) && table_index(old, i->name) == NULL)
            return NULL;
    }
    for (size_t i = 0; i < old->index_n; i++) {
        if (index_eq(&old->indexes[i], want) && table_index(new, old->indexes[i].name) == NULL)
            return &old->indexes[i];
    }
    return NULL;
}

static void drop_rules(Differ *d, const Table *old, const Table *new) {
    for (const Rule *r = old->rules; r < old->rules + old->rule_n; r++) {
        const Rule *kept = new == NULL ? NULL : table_rule(new, r->name);
        if (kept != NULL && rule_eq(kept, r))
            continue;
        if (new == NULL && r->kind != RULE_FOREIGN) /* goes with its table */
            continue;
        bool renamed = false;
        for (size_t i = 0; kept == NULL && new != NULL &&i < new->rule_n; i++)
            renamed |= table_rule(old, new->rules[i].name) == NULL && diff_renamed_rule(old, new, &new->rules[i]) == r;
        if (renamed)
            continue;
        Buf sql = diff_sql(d);
        buf_printf(&sql, "ALTER TABLE %.*s.%.*s DROP CONSTRAINT %.*s;\n", STR_ARG(d->to->schema), STR_ARG(old->name),
                   STR_ARG(r->name));
        diff_add(d, &sql, old->name, r->name, "drop constraint");
    }
}

static void drop_indexes(Differ *d, const Table *old, const Table *new) {
    for (const TableIndex *i = old->indexes; new != NULL &&i < old->indexes + old->index_n; i++) {
        const TableIndex *kept = table_index(new, i->name);
        if (kept != NULL && index_eq(kept, i))
            continue;
        bool renamed = false;
        for (size_t j = 0; kept == NULL && j < new->index_n; j++)
            renamed |=
                table_index(old, new->indexes[j].name) == NULL && diff_renamed_index(old, new, &new->indexes[j]) == i;
        if (renamed)
            continue;
        Buf sql = diff_sql(d);
        buf_printf(&sql, "DROP INDEX %.*s.%.*s;\n", STR_ARG(d->to->schema), STR_ARG(i->name));
        diff_add(d, &sql, old->name, i->name, "drop index");
    }
}

/* The repeatable, non-blocking form: what an interrupted run left is taken away first. */
static void rule_online(Buf *sql, Str schema, const Table *table, const Rule *rule) {
    Str t = table->name, name = rule->name;
    buf_printf(sql, "ALTER TABLE %.*s.%.*s DROP CONSTRAINT IF EXISTS %.*s;\n", STR_ARG(schema), STR_ARG(t),
               STR_ARG(name));
    if (rule->kind != RULE_UNIQUE) {
        ddl_add_rule(sql, schema, t, rule, " NOT VALID");
        buf_printf(sql, "ALTER TABLE %.*s.%.*s VALIDATE CONSTRAINT %.*s;\n", STR_ARG(schema), STR_ARG(t),
                   STR_ARG(name));
        return;
    }
    TableIndex index = {name, true, {0}};
    Str columns = str_slice(rule->definition, sizeof "UNIQUE " - 1, rule->definition.n);
    buf_printf(sql, "DROP INDEX CONCURRENTLY IF EXISTS %.*s.%.*s;\n", STR_ARG(schema), STR_ARG(name));
    buf_printf(sql, "CREATE UNIQUE INDEX CONCURRENTLY %.*s ON %.*s.%.*s USING btree %.*s;\n", STR_ARG(index.name),
               STR_ARG(schema), STR_ARG(t), STR_ARG(columns));
    buf_printf(sql, "ALTER TABLE %.*s.%.*s ADD CONSTRAINT %.*s UNIQUE USING INDEX %.*s;\n", STR_ARG(schema), STR_ARG(t),
               STR_ARG(name), STR_ARG(name));
}

static void add_rule(Differ *d, const Table *old, const Table *new, const Rule *rule) {
    const Rule *had = table_rule(old, rule->name);
    if (had != NULL && rule_eq(had, rule))
        return;
    const Rule *renamed = had == NULL ? diff_renamed_rule(old, new, rule) : NULL;
    Buf sql = diff_sql(d);
    if (renamed != NULL) {
        buf_printf(&sql, "ALTER TABLE %.*s.%.*s RENAME CONSTRAINT %.*s TO %.*s;\n", STR_ARG(d->to->schema),
                   STR_ARG(new->name), STR_ARG(renamed->name), STR_ARG(rule->name));
        diff_add(d, &sql, new->name, rule->name, "rename constraint");
        return;
    }
    if (online(d, old) && rule->kind != RULE_PRIMARY)
        rule_online(&sql, d->to->schema, new, rule);
    else
        ddl_add_rule(&sql, d->to->schema, new->name, rule, "");
    Change *change = diff_add(d, &sql, new->name, rule->name, "add constraint");
    if (rule->kind == RULE_PRIMARY)
        diff_flag(d, change, "lock", new->name, rule->name,
                  "another primary key is checked under a lock that stops all reads and writes");
    else if (d->mode == DIFF_UP)
        diff_flag(d, change, "lock", new->name, rule->name, "the table is locked while all its rows are checked");
}

static void add_index(Differ *d, const Table *old, const Table *new, const TableIndex *index) {
    const TableIndex *had = table_index(old, index->name);
    if (had != NULL && index_eq(had, index))
        return;
    const TableIndex *renamed = had == NULL ? diff_renamed_index(old, new, index) : NULL;
    Buf sql = diff_sql(d);
    if (renamed != NULL) {
        buf_printf(&sql, "ALTER INDEX %.*s.%.*s RENAME TO %.*s;\n", STR_ARG(d->to->schema), STR_ARG(renamed->name),
                   STR_ARG(index->name));
        diff_add(d, &sql, new->name, index->name, "rename index");
        return;
    }
    if (online(d, old))
        buf_printf(&sql, "DROP INDEX CONCURRENTLY IF EXISTS %.*s.%.*s;\n", STR_ARG(d->to->schema),
                   STR_ARG(index->name));
    ddl_create_index(&sql, d->to->schema, new->name, index, online(d, old) ? "CONCURRENTLY " : "");
    Change *change = diff_add(d, &sql, new->name, index->name, "add index");
    if (d->mode == DIFF_UP)
        diff_flag(d, change, "lock", new->name, index->name, "writes to the table wait while the index is built");
}

static void add_rules(Differ *d, const Table *old, const Table *new, bool foreign) {
    for (size_t i = 0; i < new->rule_n; i++) {
        if ((new->rules[i].kind == RULE_FOREIGN) == foreign)
            add_rule(d, old, new, &new->rules[i]);
    }
}

/* --- tables ------------------------------------------------------------------------------------------------ */

static void drop_tables(Differ *d) {
    for (const Table *t = d->from->tables; t < d->from->tables + d->from->table_n; t++) {
        if (model_table(d->to, t->name) != NULL)
            continue;
        Buf sql = diff_sql(d);
        buf_printf(&sql, "DROP TABLE %.*s.%.*s;\n", STR_ARG(d->to->schema), STR_ARG(t->name));
        Change *change = diff_add(d, &sql, t->name, STR(""), "drop table");
        diff_flag(d, change, "drop-table", t->name, STR(""), "all its rows are lost");
        if (change != NULL)
            change->loses_data = true;
    }
}

static void add_seed(Buf *sql, const Table *table) {
    if (table->seed.p == NULL)
        return;
    Str seed = str_trim(table->seed, " \t\r\n;");
    buf_printf(sql, "%.*s;\n", STR_ARG(seed));
}

static void create_tables(Differ *d) {
    for (const Table *t = d->to->tables; t < d->to->tables + d->to->table_n; t++) {
        if (model_table(d->from, t->name) != NULL)
            continue;
        Buf sql = diff_sql(d);
        ddl_create_table(&sql, d->to->schema, t, false);
        add_seed(&sql, t);
        diff_add(d, &sql, t->name, STR(""), "create table");
    }
}

/* A new table has no rows to check, so its foreign keys block nothing of its own; the referenced table is locked for a
 * moment. */
static void create_foreign_keys(Differ *d, const Table *new) {
    for (const Rule *r = new->rules; r < new->rules + new->rule_n; r++) {
        if (r->kind != RULE_FOREIGN)
            continue;
        Buf sql = diff_sql(d);
        ddl_add_rule(&sql, d->to->schema, new->name, r, "");
        diff_add(d, &sql, new->name, r->name, "add constraint");
    }
}

/* "a=1, b=2" → "a, b" */
static void add_parameter_names(Buf *sql, Str storage) {
    const char *comma = "";
    for (Str rest = storage; rest.p != NULL;) {
        Str one = str_cut(&rest, ',');
        Str name = str_trim(str_cut(&one, '='), " "); /* STR_ARG evaluates twice */
        buf_printf(sql, "%s%.*s", comma, STR_ARG(name));
        comma = ", ";
    }
}

static void change_rest(Differ *d, const Table *old, const Table *new) {
    if (!str_eq(old->storage, new->storage)) {
        Buf sql = diff_sql(d);
        if (old->storage.p != NULL) {
            buf_printf(&sql, "ALTER TABLE %.*s.%.*s RESET (", STR_ARG(d->to->schema), STR_ARG(new->name));
            add_parameter_names(&sql, old->storage);
            buf_add_c(&sql, ");\n");
        }
        if (new->storage.p != NULL)
            buf_printf(&sql, "ALTER TABLE %.*s.%.*s SET (%.*s);\n", STR_ARG(d->to->schema), STR_ARG(new->name),
                       STR_ARG(new->storage));
        diff_add(d, &sql, new->name, STR(""), "storage parameters");
    }
    if (!str_eq(old->partition_by, new->partition_by) || old->partitions != new->partitions) {
        Buf sql = diff_sql(d);
        buf_printf(&sql,
                   "DO $$ BEGIN RAISE EXCEPTION 'write this by hand: make %.*s anew and move its rows'; END $$;\n",
                   STR_ARG(new->name));
        diff_flag(d, diff_add(d, &sql, new->name, STR(""), "partitions"), "rebuild", new->name, STR(""),
                  "a table cannot be partitioned in place; put the steps that make it anew and move its rows here");
    }
    if (d->mode != DIFF_DOWN && new->seed.p != NULL && !str_eq(old->seed, new->seed)) {
        Buf sql = diff_sql(d);
        add_seed(&sql, new);
        diff_add(d, &sql, new->name, STR(""), "rows that belong to the schema");
    }
}

Err diff_models(Arena *arena, const Model *from, const Model *to, DiffMode mode, Changes *out) {
    Differ d = {.arena = arena, .from = from, .to = to, .mode = mode, .out = out};
    for (const Table *t = from->tables; t < from->tables + from->table_n; t++) {
        const Table *new = model_table(to, t->name);
        drop_rules(&d, t, new);
        drop_indexes(&d, t, new);
    }
    drop_tables(&d);
    create_tables(&d);
    for (int pass = 0; pass < 3; pass++) {
        for (const Table *t = to->tables; t < to->tables + to->table_n; t++) {
            const Table *old = model_table(from, t->name);
            if (old == NULL) {
                if (pass == 1)
                    create_foreign_keys(&d, t);
            } else if (pass == 0) {
                diff_columns(&d, old, t);
                add_rules(&d, old, t, false);
                for (size_t i = 0; i < t->index_n; i++)
                    add_index(&d, old, t, &t->indexes[i]);
            } else if (pass == 1) {
                add_rules(&d, old, t, true);
            } else {
                change_rest(&d, old, t);
            }
        }
    }
    return d.refused ? ERR_NO_MEMORY : ERR_OK;
}
