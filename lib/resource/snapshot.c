/*
 * snapshot.c - a Model as JSON and back.
 *
 * A snapshot lies beside the migration it was generated with and is reviewed like code: one member a line, declaration
 * order, nothing that changes by itself. Reading trusts nothing: the file may have been merged by hand, and its names
 * end up in SQL.
 */
#include "resource/migrate.h"
#include "resource/model.h"
#include "json/json.h"

#define SNAPSHOT_FORMAT 1

static const char *const RULE_NAMES[] = {
    [RULE_PRIMARY] = "primary key", [RULE_UNIQUE] = "unique", [RULE_CHECK] = "check", [RULE_FOREIGN] = "foreign key"};

/* --- writing ----------------------------------------------------------------------------------------------- */

static void write_text(JsonWriter *w, Str name, Str value) {
    if (value.p == NULL)
        return;
    json_name(w, name);
    json_write_string(w, value);
}

static void write_flag(JsonWriter *w, Str name, bool value) {
    if (!value)
        return;
    json_name(w, name);
    json_write_bool(w, true);
}

static void write_table(JsonWriter *w, const Table *table) {
    json_object(w);
    write_text(w, STR("name"), table->name);
    write_text(w, STR("storage"), table->storage);
    write_text(w, STR("partition_by"), table->partition_by);
    if (table->partitions > 0) {
        json_name(w, STR("partitions"));
        json_write_i64(w, table->partitions);
    }
    json_name(w, STR("columns"));
    json_array(w);
    for (const Column *c = table->columns; c < table->columns + table->column_n; c++) {
        json_object(w);
        write_text(w, STR("name"), c->name);
        write_text(w, STR("type"), c->type);
        write_flag(w, STR("not_null"), c->not_null);
        write_flag(w, STR("identity"), c->identity);
        write_text(w, STR("default"), c->default_sql);
        json_object_end(w);
    }
    json_array_end(w);
    json_name(w, STR("constraints"));
    json_array(w);
    for (const Rule *r = table->rules; r < table->rules + table->rule_n; r++) {
        json_object(w);
        write_text(w, STR("name"), r->name);
        write_text(w, STR("kind"), str_c(RULE_NAMES[r->kind]));
        write_text(w, STR("definition"), r->definition);
        write_text(w, STR("target"), r->target);
        json_object_end(w);
    }
    json_array_end(w);
    json_name(w, STR("indexes"));
    json_array(w);
    for (const TableIndex *i = table->indexes; i < table->indexes + table->index_n; i++) {
        json_object(w);
        write_text(w, STR("name"), i->name);
        write_flag(w, STR("unique"), i->unique);
        write_text(w, STR("definition"), i->definition);
        json_object_end(w);
    }
    json_array_end(w);
    write_text(w, STR("seed"), table->seed);
    json_object_end(w);
}

void model_write(const Model *model, Buf *out) {
    JsonWriter w;
    json_writer_init(&w, out, JSON_ESCAPE_MINIMAL, 2);
    json_object(&w);
    json_name(&w, STR("format"));
    json_write_i64(&w, SNAPSHOT_FORMAT);
    write_text(&w, STR("schema"), model->schema);
    json_name(&w, STR("tables"));
    json_array(&w);
    for (size_t i = 0; i < model->table_n; i++)
        write_table(&w, &model->tables[i]);
    json_array_end(&w);
    json_object_end(&w);
    buf_add_char(out, '\n');
}

void snapshot_write(const Context *context, Buf *out) {
    Arena *arena = arena_new(MODEL_SNAPSHOT_MAX);
    Model model;
    Err err = arena == NULL ? ERR_NO_MEMORY : model_from_context(arena, context, &model);
    if (err == ERR_OK)
        model_write(&model, out);
    else
        out->err = err;
    arena_free(arena);
}

/* --- reading ----------------------------------------------------------------------------------------------- */

static Err bad(Ctx *ctx, Str place, const char *what) {
    return ctx_problem(ctx, ERR_SYNTAX, NULL, "snapshot: %.*s: %s", STR_ARG(place), what);
}

static Err read_name(Ctx *ctx, const Json *object, Str place, Str *ret) {
    const Json *name = json_member(object, "name");
    if (name == NULL || name->kind != JSON_STRING || !name_is_plain(name->text))
        return bad(ctx, place, "a name is missing or is no plain SQL name");
    *ret = name->text;
    return ERR_OK;
}

/* A text without which nothing can be said. NUL bytes would cut SQL short where libpq takes C strings. */
static Err read_text(Ctx *ctx, const Json *object, const char *member, Str place, bool needed, Str *ret) {
    const Json *value = json_member(object, member);
    if (value == NULL && !needed)
        return ERR_OK;
    if (value == NULL || value->kind != JSON_STRING || value->text.n == 0 || str_index(value->text, '\0') >= 0)
        return bad(ctx, place, member);
    *ret = value->text;
    return ERR_OK;
}

static Err array_length(Ctx *ctx, const Json *array, Str place, size_t most, size_t *ret) {
    if (array == NULL || array->kind != JSON_ARRAY_START)
        return bad(ctx, place, "want tables, columns, constraints and indexes as arrays");
    if (array->count > most)
        return ctx_problem(ctx, ERR_LIMIT, NULL, "snapshot: %.*s: more than %zu entries", STR_ARG(place), most);
    *ret = array->count;
    return ERR_OK;
}

static Err read_columns(Ctx *ctx, const Json *object, Table *table) {
    const Json *array = json_member(object, "columns");
    size_t n = 0;
    TRY(array_length(ctx, array, table->name, MODEL_COLUMNS_MAX, &n));
    table->columns = ARENA_ARRAY(ctx->arena, Column, n);
    if (table->columns == NULL)
        return ERR_NO_MEMORY;
    for (const Json *json = array->first; json != NULL; json = json->next) {
        Column c = {0};
        TRY(read_name(ctx, json, table->name, &c.name));
        TRY(read_text(ctx, json, "type", c.name, true, &c.type));
        TRY(read_text(ctx, json, "default", c.name, false, &c.default_sql));
        c.not_null = json_bool(json_member(json, "not_null"), false);
        c.identity = json_bool(json_member(json, "identity"), false);
        if (table_column(table, c.name) != NULL)
            return bad(ctx, c.name, "column is there twice");
        table->columns[table->column_n++] = c;
    }
    return ERR_OK;
}

static Err read_rules(Ctx *ctx, const Json *object, Table *table) {
    const Json *array = json_member(object, "constraints");
    size_t n = 0;
    TRY(array_length(ctx, array, table->name, MODEL_COLUMNS_MAX, &n));
    table->rules = ARENA_ARRAY(ctx->arena, Rule, n);
    if (table->rules == NULL)
        return ERR_NO_MEMORY;
    for (const Json *json = array->first; json != NULL; json = json->next) {
        Rule r = {0};
        TRY(read_name(ctx, json, table->name, &r.name));
        TRY(read_text(ctx, json, "definition", r.name, true, &r.definition));
        Str kind = json_text(json_member(json, "kind"));
        for (RuleKind k = RULE_PRIMARY; k <= RULE_FOREIGN; k++) {
            if (str_eq_c(kind, RULE_NAMES[k]))
                r.kind = k;
        }
        if (r.kind == 0)
            return bad(ctx, r.name, "kind of constraint is not known");
        TRY(read_text(ctx, json, "target", r.name, r.kind == RULE_FOREIGN, &r.target));
        if (table_rule(table, r.name) != NULL)
            return bad(ctx, r.name, "constraint is there twice");
        table->rules[table->rule_n++] = r;
    }
    return ERR_OK;
}

static Err read_indexes(Ctx *ctx, const Json *object, Table *table) {
    const Json *array = json_member(object, "indexes");
    size_t n = 0;
    TRY(array_length(ctx, array, table->name, MODEL_COLUMNS_MAX, &n));
    table->indexes = ARENA_ARRAY(ctx->arena, TableIndex, n);
    if (table->indexes == NULL)
        return ERR_NO_MEMORY;
    for (const Json *json = array->first; json != NULL; json = json->next) {
        TableIndex i = {0};
        TRY(read_name(ctx, json, table->name, &i.name));
        TRY(read_text(ctx, json, "definition", i.name, true, &i.definition));
        i.unique = json_bool(json_member(json, "unique"), false);
        if (table_index(table, i.name) != NULL)
            return bad(ctx, i.name, "index is there twice");
        table->indexes[table->index_n++] = i;
    }
    return ERR_OK;
}

static Err read_partitions(Ctx *ctx, const Json *object, Table *table) {
    int64_t n = json_i64(json_member(object, "partitions"), 0);
    TRY(read_text(ctx, object, "partition_by", table->name, n != 0, &table->partition_by));
    if (n < 0 || n > MODEL_PARTITIONS_MAX || (table->partition_by.p != NULL && !name_is_plain(table->partition_by)))
        return bad(ctx, table->name, "partitions");
    table->partitions = (int)n;
    return ERR_OK;
}

Err model_from_snapshot(Ctx *ctx, Str json, Model *ret) {
    if (json.n > MODEL_SNAPSHOT_MAX)
        return ctx_problem(ctx, ERR_LIMIT, NULL, "snapshot: more than %d bytes", MODEL_SNAPSHOT_MAX);
    Json *root;
    JsonProblem problem = {0};
    Err err = json_parse(json, ctx->arena, JSON_DUPLICATES_REJECT, &root, &problem);
    if (err == ERR_SYNTAX)
        return ctx_problem(ctx, err, NULL, "snapshot: %.*s", STR_ARG(problem.message));
    TRY(err);
    if (json_i64(json_member(root, "format"), 0) != SNAPSHOT_FORMAT)
        return bad(ctx, STR("format"), "not a snapshot that this usher can read");
    Model model = {0};
    model.schema = json_text(json_member(root, "schema"));
    if (!name_is_plain(model.schema))
        return bad(ctx, STR("schema"), "missing or no plain SQL name");
    const Json *tables = json_member(root, "tables");
    size_t n = 0;
    TRY(array_length(ctx, tables, STR("tables"), MODEL_TABLES_MAX, &n));
    model.tables = ARENA_ARRAY(ctx->arena, Table, n);
    if (model.tables == NULL)
        return ERR_NO_MEMORY;
    for (const Json *object = tables->first; object != NULL; object = object->next) {
        Table t = {0};
        TRY(read_name(ctx, object, STR("tables"), &t.name));
        TRY(read_text(ctx, object, "storage", t.name, false, &t.storage));
        TRY(read_text(ctx, object, "seed", t.name, false, &t.seed));
        TRY(read_partitions(ctx, object, &t));
        TRY(read_columns(ctx, object, &t));
        TRY(read_rules(ctx, object, &t));
        TRY(read_indexes(ctx, object, &t));
        if (model_table(&model, t.name) != NULL)
            return bad(ctx, t.name, "table is there twice");
        model.tables[model.table_n++] = t;
    }
    *ret = model;
    return ERR_OK;
}
