/*
 * model.c - declarations become tables, columns and constraints.
 *
 * Names of what nobody named follow Postgres' own habit (events_pkey, tickets_event_id_fkey), so that they read as
 * expected in \d and in error messages.
 */
#include "resource/model.h"
#include "resource/compose.h"

Table *model_table(const Model *model, Str name) {
    for (size_t i = 0; i < model->table_n; i++) {
        if (str_eq(model->tables[i].name, name))
            return &model->tables[i];
    }
    return NULL;
}

Column *table_column(const Table *table, Str name) {
    for (size_t i = 0; i < table->column_n; i++) {
        if (str_eq(table->columns[i].name, name))
            return &table->columns[i];
    }
    return NULL;
}

Rule *table_rule(const Table *table, Str name) {
    for (size_t i = 0; i < table->rule_n; i++) {
        if (str_eq(table->rules[i].name, name))
            return &table->rules[i];
    }
    return NULL;
}

TableIndex *table_index(const Table *table, Str name) {
    for (size_t i = 0; i < table->index_n; i++) {
        if (str_eq(table->indexes[i].name, name))
            return &table->indexes[i];
    }
    return NULL;
}

bool name_is_plain(Str name) {
    if (name.p == NULL || name.n == 0 || name.n > MODEL_NAME_MAX || (name.p[0] >= '0' && name.p[0] <= '9'))
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
            return false;
    }
    return true;
}

bool name_is_reserved(Str name) {
    static const char WORDS[] =
        " all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create "
        "current_catalog current_date current_role current_time current_timestamp current_user default deferrable "
        "desc distinct do else end except false fetch for foreign from grant group having in initially intersect into "
        "lateral leading limit localtime localtimestamp not null offset on only or order placing primary references "
        "returning select session_user some symmetric table then to trailing true union unique user using variadic "
        "when where window with authorization binary collation concurrently cross current_schema freeze full ilike "
        "inner is "
        "isnull join left like natural notnull outer overlaps right similar tablesample verbose ";
    char padded[MODEL_NAME_MAX + 2];
    if (name.n == 0 || name.n > MODEL_NAME_MAX)
        return false;
    padded[0] = ' ';
    memcpy(padded + 1, name.p, name.n);
    padded[name.n + 1] = ' ';
    return str_find((Str){WORDS, sizeof WORDS - 1}, (Str){padded, name.n + 2}) >= 0;
}

/* --- from declarations ------------------------------------------------------------------------------------- */

typedef struct Maker {
    Arena *arena;
    const Context *context;
    bool refused; /* an allocation was */
} Maker;

static Str keep(Maker *maker, Str s) {
    maker->refused |= s.p == NULL;
    return s;
}

static Str plain_type(Maker *maker, const Attribute *a) {
    switch (a->type) {
    case TYPE_BOOL:
        return STR("boolean");
    case TYPE_INT16:
        return STR("smallint");
    case TYPE_INT32:
        return STR("integer");
    case TYPE_INT64:
        return STR("bigint");
    case TYPE_TEXT:
        return STR("text COLLATE \"C\"");
    case TYPE_ID:
        return STR("uuid");
    case TYPE_DECIMAL:
        return a->precision > 0 ? keep(maker, arena_printf(maker->arena, "numeric(%d,%d)", a->precision, a->scale))
                                : STR("numeric");
    case TYPE_INSTANT:
        return STR("timestamp with time zone");
    case TYPE_JSON:
        return STR("jsonb");
    case TYPE_NONE:
        break;
    }
    ASSERT(a->type != TYPE_NONE);
    return STR("");
}

/* How a column is computed belongs to its type: one cannot be changed without the other either. */
static Str column_type(Maker *maker, const Attribute *a) {
    Str type = plain_type(maker, a);
    if (a->stored_sql == NULL)
        return type;
    return keep(maker,
                arena_printf(maker->arena, "%.*s GENERATED ALWAYS AS (%s) STORED", STR_ARG(type), a->stored_sql));
}

static void add_rule(Table *table, Str name, RuleKind kind, Str definition, Str target) {
    table->rules[table->rule_n++] = (Rule){name, kind, definition, target};
}

static void make_columns(Maker *maker, const Resource *resource, Table *table) {
    for (const Attribute *a = resource->attributes; a->name != NULL; a++) {
        table->columns[table->column_n++] = (Column){.name = str_c(a->name),
                                                     .type = column_type(maker, a),
                                                     .default_sql = str_c(a->default_sql),
                                                     .not_null = a->required || a->key || a->identity,
                                                     .identity = a->identity,
                                                     .renamed_from = str_c(a->renamed_from)};
        if (!attribute_has_fine(a))
            continue;
        Str fine = keep(maker, arena_printf(maker->arena, "%s" FINE_SUFFIX, a->name));
        Str from = a->renamed_from == NULL ? (Str){0}
                                           : keep(maker, arena_printf(maker->arena, "%s" FINE_SUFFIX, a->renamed_from));
        table->columns[table->column_n++] = (Column){
            .name = fine, .type = STR("smallint"), .default_sql = STR("0"), .not_null = true, .renamed_from = from};
        add_rule(table, keep(maker, arena_printf(maker->arena, "%s_%s_range", resource->plural, fine.p)), RULE_CHECK,
                 keep(maker, arena_printf(maker->arena, "CHECK (%s BETWEEN -8400 AND 8409)", fine.p)), (Str){0});
    }
}

static void make_primary_key(Maker *maker, const Resource *resource, Table *table) {
    Buf sql = buf_new(maker->arena, 4096);
    const char *open = "PRIMARY KEY (";
    for (const Attribute *a = resource->attributes; a->name != NULL; a++) {
        if (a->key) {
            buf_printf(&sql, "%s%s", open, a->name);
            open = ", ";
        }
    }
    if (sql.n == 0)
        return;
    buf_add_char(&sql, ')');
    maker->refused |= sql.err != ERR_OK;
    add_rule(table, keep(maker, arena_printf(maker->arena, "%s_pkey", resource->plural)), RULE_PRIMARY, buf_str(&sql),
             (Str){0});
}

/* A text may be longer than an index row (2704 bytes of 8 kB pages), so a hashed identity indexes its digest. decode(…,
 * 'escape') with backslashes doubled is the bytes of the text, exactly, and IMMUTABLE; convert_to() says it more
 * plainly but is only STABLE, and Postgres refuses it in an index. */
static void add_identity_column(const Resource *resource, const Identity *identity, const char *name, Buf *sql) {
    const Attribute *a = resource_attribute(resource, name);
    if (identity->hashed && a != NULL && a->type == TYPE_TEXT)
        buf_printf(sql, "sha256(decode(replace(%s, '\\', '\\\\'), 'escape'))", name);
    else
        buf_add_c(sql, name);
}

static void make_identities(Maker *maker, const Resource *resource, Table *table) {
    for (const Identity *identity = resource->identities; identity != NULL && identity->name != NULL; identity++) {
        /* A constraint shows better in errors and documents, but takes neither expressions nor WHERE. */
        bool index = identity->hashed || identity->where != NULL;
        Buf sql = buf_new(maker->arena, 4096);
        buf_add_c(&sql, index ? "btree (" : "UNIQUE (");
        for (size_t i = 0; i < ARRAY_LEN(identity->attributes) && identity->attributes[i] != NULL; i++) {
            buf_add_c(&sql, i == 0 ? "" : ", ");
            add_identity_column(resource, identity, identity->attributes[i], &sql);
        }
        buf_add_char(&sql, ')');
        if (identity->where != NULL)
            buf_printf(&sql, " WHERE (%s)", identity->where);
        maker->refused |= sql.err != ERR_OK;
        if (index)
            table->indexes[table->index_n++] = (TableIndex){str_c(identity->name), true, buf_str(&sql)};
        else
            add_rule(table, str_c(identity->name), RULE_UNIQUE, buf_str(&sql), (Str){0});
    }
}

static void make_indexes(Maker *maker, const Resource *resource, Table *table) {
    for (const Index *index = resource->indexes; index != NULL && index->name != NULL; index++) {
        Str sql = arena_printf(maker->arena, "%s (%s)%s%s%s", index->method == NULL ? "btree" : index->method,
                               index->columns, index->where == NULL ? "" : " WHERE (",
                               index->where == NULL ? "" : index->where, index->where == NULL ? "" : ")");
        table->indexes[table->index_n++] = (TableIndex){str_c(index->name), false, keep(maker, sql)};
    }
}

/** A resource of the context by name or plural. */
static const Resource *find_resource(const Context *context, const char *name) {
    for (const Resource *const *r = context->resources; *r != NULL; r++) {
        if (strcmp((*r)->name, name) == 0 || strcmp((*r)->plural, name) == 0)
            return *r;
    }
    return NULL;
}

static void make_foreign_keys(Maker *maker, const Resource *resource, Table *table) {
    for (const Attribute *a = resource->attributes; a->name != NULL; a++) {
        const Resource *target = a->references == NULL ? NULL : find_resource(maker->context, a->references);
        const Attribute *key = target == NULL ? NULL : target->attributes;
        while (key != NULL && key->name != NULL && !key->key)
            key++;
        if (key == NULL || key->name == NULL)
            continue;
        add_rule(table, keep(maker, arena_printf(maker->arena, "%s_%s_fkey", resource->plural, a->name)), RULE_FOREIGN,
                 keep(maker, arena_printf(maker->arena, "FOREIGN KEY (%s)", a->name)),
                 keep(maker, arena_printf(maker->arena, "%s (%s)", target->plural, key->name)));
    }
}

static size_t table_length(const void *rows, size_t size) {
    size_t n = 0;
    for (const char *row = rows; row != NULL && *(const char *const *)(const void *)row != NULL; row += size)
        n++;
    return n;
}

static Err make_table(Maker *maker, const Resource *resource, Table *table) {
    size_t attributes = table_length(resource->attributes, sizeof(Attribute));
    size_t identities = table_length(resource->identities, sizeof(Identity));
    size_t indexes = table_length(resource->indexes, sizeof(Index));
    size_t checks = table_length(resource->checks, sizeof(Check));
    if (attributes + identities + indexes + checks > MODEL_COLUMNS_MAX / 2)
        return ERR_LIMIT;
    *table = (Table){.name = str_c(resource->plural),
                     .storage = str_c(resource->storage),
                     .seed = str_c(resource->seed_sql),
                     .partition_by = str_c(resource->partition_by),
                     .partitions = resource->partitions,
                     .columns = ARENA_ARRAY(maker->arena, Column, attributes * 2),
                     .rules = ARENA_ARRAY(maker->arena, Rule, attributes * 2 + identities + checks + 1),
                     .indexes = ARENA_ARRAY(maker->arena, TableIndex, identities + indexes)};
    if (table->columns == NULL || table->rules == NULL || table->indexes == NULL)
        return ERR_NO_MEMORY;
    make_primary_key(maker, resource, table);
    make_columns(maker, resource, table);
    make_identities(maker, resource, table);
    make_indexes(maker, resource, table);
    for (const Check *check = resource->checks; check != NULL && check->name != NULL; check++)
        add_rule(table, str_c(check->name), RULE_CHECK,
                 keep(maker, arena_printf(maker->arena, "CHECK (%s)", check->sql)), (Str){0});
    make_foreign_keys(maker, resource, table);
    return maker->refused ? ERR_NO_MEMORY : ERR_OK;
}

Err model_from_context(Arena *arena, const Context *context, Model *ret) {
    Maker maker = {.arena = arena, .context = context};
    Model model = {.schema = str_c(context->schema)};
    size_t n = 0;
    while (context->resources[n] != NULL)
        n++;
    if (n > MODEL_TABLES_MAX)
        return ERR_LIMIT;
    model.tables = ARENA_ARRAY(arena, Table, n);
    if (model.tables == NULL)
        return ERR_NO_MEMORY;
    for (; model.table_n < n; model.table_n++)
        TRY(make_table(&maker, context->resources[model.table_n], &model.tables[model.table_n]));
    *ret = model;
    return ERR_OK;
}

static void *copy_array(Arena *arena, const void *from, size_t n, size_t size) {
    void *to = arena_alloc_array(arena, n, size);
    if (to != NULL && n > 0)
        memcpy(to, from, n * size);
    return to;
}

Err model_copy(Arena *arena, const Model *model, Model *ret) {
    Model copy = *model;
    copy.tables = copy_array(arena, model->tables, model->table_n, sizeof(Table));
    if (copy.tables == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < copy.table_n; i++) {
        Table *t = &copy.tables[i];
        t->columns = copy_array(arena, t->columns, t->column_n, sizeof(Column));
        t->rules = copy_array(arena, t->rules, t->rule_n, sizeof(Rule));
        t->indexes = copy_array(arena, t->indexes, t->index_n, sizeof(TableIndex));
        if (t->columns == NULL || t->rules == NULL || t->indexes == NULL)
            return ERR_NO_MEMORY;
    }
    *ret = copy;
    return ERR_OK;
}
