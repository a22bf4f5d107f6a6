/*
 * rename.c - renames are told, never guessed.
 *
 * From two lists of columns "one was renamed" and "one was dropped, another added" look the same, and the wrong guess
 * costs a column of data. So a rename is either declared (.renamed_from), or said on the command line, or asked about.
 *
 * A rename also renames every word in the definitions of constraints and indexes, because Postgres does so by itself;
 * without that each would look changed and be built again.
 */
#include <stdarg.h>

#include "resource/compose.h"
#include "resource/diff.h"

Change *changes_add(Arena *arena, Changes *changes, const Buf *sql, const char *format, ...) {
    Change *change = ARENA_NEW(arena, Change);
    if (change == NULL)
        return NULL;
    Buf summary = buf_new(arena, 4096);
    va_list arguments;
    va_start(arguments, format);
    char words[512];
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    buf_add_c(&summary, words);
    Str text;
    if (buf_finish(sql, &text) != ERR_OK || summary.err != ERR_OK)
        return NULL;
    change->summary = buf_str(&summary);
    change->sql = arena_str(arena, text);
    if (change->sql.p == NULL)
        return NULL;
    if (changes->last == NULL)
        changes->last = &changes->first;
    *changes->last = change;
    changes->last = &change->next;
    changes->n++;
    return change;
}

/* --- words of SQL fragments -------------------------------------------------------------------------------- */

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80) != 0;
}

/* `sql` with each whole word `old` replaced, outside of quotes. */
static Str replace_word(Arena *arena, Str sql, Str old, Str new) {
    Buf out = buf_new(arena, MODEL_SQL_MAX);
    for (size_t i = 0; i < sql.n;) {
        size_t start = i;
        if (sql.p[i] == '\'' || sql.p[i] == '"') {
            char quote = sql.p[i++];
            while (i < sql.n && sql.p[i] != quote)
                i++;
            i += i < sql.n;
        } else if (is_word(sql.p[i])) {
            while (i < sql.n && is_word(sql.p[i]))
                i++;
            if (str_eq(str_slice(sql, start, i), old)) {
                buf_add(&out, new);
                continue;
            }
        } else {
            i++;
        }
        buf_add(&out, str_slice(sql, start, i));
    }
    return out.err == ERR_OK ? buf_str(&out) : (Str){0};
}

static Err replace_in(Arena *arena, Str *sql, Str old, Str new) {
    if (sql->p == NULL)
        return ERR_OK;
    Str replaced = replace_word(arena, *sql, old, new);
    if (replaced.p == NULL)
        return ERR_NO_MEMORY;
    *sql = replaced;
    return ERR_OK;
}

/* --- doing it ---------------------------------------------------------------------------------------------- */

typedef struct Renamer {
    Ctx *ctx;
    Model *model; /* the copy being changed */
    const Model *to;
    Changes *up, *down;
} Renamer;

/* Is `target` ("events (id)") of this table? */
static bool targets(Str target, Str table) {
    Str rest = target;
    return str_eq(str_trim(str_cut(&rest, '('), " "), table);
}

static Err rename_column(Renamer *r, Table *table, Column *column, Str new) {
    Arena *arena = r->ctx->arena;
    Str old = column->name, schema = r->model->schema;
    for (int way = 0; way < 2; way++) {
        Str from = way == 0 ? old : new, into = way == 0 ? new : old;
        Buf sql = buf_new(arena, 4096);
        buf_printf(&sql, "ALTER TABLE %.*s.%.*s RENAME COLUMN %.*s TO %.*s;\n", STR_ARG(schema), STR_ARG(table->name),
                   STR_ARG(from), STR_ARG(into));
        if (changes_add(arena, way == 0 ? r->up : r->down, &sql, "%.*s.%.*s: rename to %.*s", STR_ARG(table->name),
                        STR_ARG(from), STR_ARG(into)) == NULL)
            return ERR_NO_MEMORY;
    }
    column->name = new;
    for (size_t i = 0; i < table->rule_n; i++)
        TRY(replace_in(arena, &table->rules[i].definition, old, new));
    for (size_t i = 0; i < table->index_n; i++)
        TRY(replace_in(arena, &table->indexes[i].definition, old, new));
    for (size_t t = 0; t < r->model->table_n; t++) {
        Table *other = &r->model->tables[t];
        for (size_t i = 0; i < other->rule_n; i++) {
            if (targets(other->rules[i].target, table->name))
                TRY(replace_in(arena, &other->rules[i].target, old, new));
        }
    }
    return ERR_OK;
}

static Err rename_table(Renamer *r, Table *table, Str new) {
    Arena *arena = r->ctx->arena;
    Str old = table->name, schema = r->model->schema;
    for (int way = 0; way < 2; way++) {
        Str from = way == 0 ? old : new, into = way == 0 ? new : old;
        Buf sql = buf_new(arena, 4096);
        buf_printf(&sql, "ALTER TABLE %.*s.%.*s RENAME TO %.*s;\n", STR_ARG(schema), STR_ARG(from), STR_ARG(into));
        if (changes_add(arena, way == 0 ? r->up : r->down, &sql, "%.*s: rename to %.*s", STR_ARG(from),
                        STR_ARG(into)) == NULL)
            return ERR_NO_MEMORY;
    }
    table->name = new;
    for (size_t t = 0; t < r->model->table_n; t++) {
        Table *other = &r->model->tables[t];
        for (size_t i = 0; i < other->rule_n; i++) {
            if (targets(other->rules[i].target, old))
                TRY(replace_in(arena, &other->rules[i].target, old, new));
        }
    }
    return ERR_OK;
}

static Str with_fine(Arena *arena, Str name) {
    return arena_printf(arena, "%.*s" FINE_SUFFIX, STR_ARG(name));
}

/* "events.name=event_name" or "old_table=new_table". */
static Err apply_asked(Renamer *r, const char *text) {
    Str rest = str_c(text);
    Str left = str_cut(&rest, '='), new = rest;
    Str column = left;
    Str name = str_cut(&column, '.');
    Table *table = model_table(r->model, name);
    if (!name_is_plain(new) || table == NULL)
        return ctx_problem(r->ctx, ERR_INVALID, "rename",
                           "%s: want TABLE.COLUMN=NEW or TABLE=NEW, of the last migration", text);
    if (column.p == NULL) {
        if (model_table(r->model, new) != NULL || model_table(r->to, new) == NULL)
            return ctx_problem(r->ctx, ERR_INVALID, "rename", "%s: no table %.*s appears in the declarations", text,
                               STR_ARG(new));
        return rename_table(r, table, new);
    }
    Column *c = table_column(table, column);
    const Table *declared = model_table(r->to, name);
    if (c == NULL || table_column(table, new) != NULL || declared == NULL || table_column(declared, new) == NULL)
        return ctx_problem(r->ctx, ERR_INVALID, "rename", "%s: no such column goes, or no column %.*s appears", text,
                           STR_ARG(new));
    TRY(rename_column(r, table, c, new));
    Str fine = with_fine(r->ctx->arena, column), new_fine = with_fine(r->ctx->arena, new);
    if (fine.p == NULL || new_fine.p == NULL)
        return ERR_NO_MEMORY;
    c = table_column(table, fine);
    if (c != NULL && table_column(table, new_fine) == NULL && table_column(declared, new_fine) != NULL &&
        table_column(declared, fine) == NULL)
        TRY(rename_column(r, table, c, new_fine));
    return ERR_OK;
}

/* .renamed_from stays in the source after its migration; it only counts while the old name is there and the new is
 * not. */
static Err apply_declared(Renamer *r) {
    for (size_t t = 0; t < r->model->table_n; t++) {
        Table *table = &r->model->tables[t];
        const Table *declared = model_table(r->to, table->name);
        for (size_t i = 0; declared != NULL && i < declared->column_n; i++) {
            const Column *want = &declared->columns[i];
            Column *old = want->renamed_from.p == NULL ? NULL : table_column(table, want->renamed_from);
            if (old != NULL && table_column(table, want->name) == NULL &&
                table_column(declared, want->renamed_from) == NULL)
                TRY(rename_column(r, table, old, want->name));
        }
    }
    return ERR_OK;
}

/* Undone last to first. */
static void reverse(Changes *changes) {
    Change *reversed = NULL;
    changes->last = changes->first == NULL ? NULL : &changes->first->next;
    for (Change *change = changes->first, *next; change != NULL; change = next) {
        next = change->next;
        change->next = reversed;
        reversed = change;
    }
    changes->first = reversed;
}

Err rename_apply(Ctx *ctx, const Model *from, const Model *to, const char *const *renames, Model *ret, Changes *up,
                 Changes *down) {
    Model model;
    TRY(model_copy(ctx->arena, from, &model));
    Renamer r = {ctx, &model, to, up, down};
    for (; renames != NULL && *renames != NULL; renames++)
        TRY(apply_asked(&r, *renames));
    TRY(apply_declared(&r));
    reverse(down);
    *ret = model;
    return ERR_OK;
}

/* --- asking ------------------------------------------------------------------------------------------------ */

static bool allowed(const char *const *allow, const char *kind, Str table, Str column) {
    char flag[2 * MODEL_NAME_MAX + 32];
    int n =
        snprintf(flag, sizeof flag, "%s:%.*s%s%.*s", kind, STR_ARG(table), column.n > 0 ? "." : "", STR_ARG(column));
    return n > 0 && (size_t)n < sizeof flag && allow_has(allow, (Str){flag, (size_t)n});
}

static size_t ask_columns(const Table *old, const Table *new, const char *const *allow, Buf *report) {
    size_t asked = 0;
    for (size_t i = 0; i < old->column_n; i++) {
        const Column *gone = &old->columns[i];
        if (table_column(new, gone->name) != NULL || allowed(allow, "drop-column", old->name, gone->name))
            continue;
        for (size_t j = 0; j < new->column_n; j++) {
            const Column *come = &new->columns[j];
            if (table_column(old, come->name) != NULL || !str_eq(gone->type, come->type))
                continue;
            buf_printf(report,
                       "%.*s: was column %.*s renamed to %.*s? Both are %.*s. If so: --rename %.*s.%.*s=%.*s; "
                       "if it is to go with its data: --allow drop-column:%.*s.%.*s\n",
                       STR_ARG(old->name), STR_ARG(gone->name), STR_ARG(come->name), STR_ARG(gone->type),
                       STR_ARG(old->name), STR_ARG(gone->name), STR_ARG(come->name), STR_ARG(old->name),
                       STR_ARG(gone->name));
            asked++;
        }
    }
    return asked;
}

/* Two tables look like one renamed when half of the old one's columns are in the new. */
static bool look_alike(const Table *old, const Table *new) {
    size_t same = 0;
    for (size_t i = 0; i < old->column_n; i++) {
        const Column *twin = table_column(new, old->columns[i].name);
        same += twin != NULL && str_eq(twin->type, old->columns[i].type);
    }
    return old->column_n > 0 && same * 2 >= old->column_n;
}

size_t rename_questions(const Model *from, const Model *to, const char *const *allow, Buf *report) {
    size_t asked = 0;
    for (size_t i = 0; i < from->table_n; i++) {
        const Table *old = &from->tables[i];
        const Table *kept = model_table(to, old->name);
        if (kept != NULL) {
            asked += ask_columns(old, kept, allow, report);
            continue;
        }
        for (size_t j = 0; j < to->table_n && !allowed(allow, "drop-table", old->name, STR("")); j++) {
            const Table *come = &to->tables[j];
            if (model_table(from, come->name) != NULL || !look_alike(old, come))
                continue;
            buf_printf(
                report,
                "was table %.*s renamed to %.*s? Their columns are alike. If so: --rename %.*s=%.*s; if it is to go "
                "with its data: --allow drop-table:%.*s\n",
                STR_ARG(old->name), STR_ARG(come->name), STR_ARG(old->name), STR_ARG(come->name), STR_ARG(old->name));
            asked++;
        }
    }
    return asked;
}
