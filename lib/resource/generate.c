/*
 * generate.c - `usher migrate generate`: declarations against the last snapshot, and the files that lead from one to
 * the other.
 *
 * The folder is the truth about what was generated, not what is embedded in this binary: two runs without a build
 * between them must not write the same number twice. Nothing is written before everything is known to be writable:
 * refusals, questions and SQL come first, files last, and files of a run that fails half way are taken away again.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "resource/diff.h"
#include "resource/migrate.h"

typedef struct Generator {
    Ctx *ctx;
    const Context *context;
    const GenerateOptions *options;
    Buf *report;
    int last; /* number of the last migration */
    Str snapshot;
} Generator;

/* --- the last snapshot ------------------------------------------------------------------------------------- */

static Err read_file(Ctx *ctx, const char *path, Str *ret) {
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return ctx_problem(ctx, ERR_IO, NULL, "%s: %s", path, strerror(errno));
    Buf text = buf_new(ctx->arena, MODEL_SNAPSHOT_MAX);
    char *room;
    while ((room = buf_reserve(&text, 65536)) != NULL) {
        size_t n = fread(room, 1, 65536, file);
        text.n += n;
        if (n == 0)
            break;
    }
    bool failed = ferror(file) != 0;
    fclose(file);
    if (failed)
        return ctx_problem(ctx, ERR_IO, NULL, "%s: cannot be read", path);
    return buf_finish(&text, ret);
}

/* "0007_x.snapshot.json" → 7; 0: no such file name. */
static int snapshot_number(const char *name) {
    uint64_t number;
    Str text = str_c(name);
    if (!str_ends_with(text, STR(".snapshot.json")) || text.n < 5 || text.p[4] != '_' ||
        str_to_u64(str_slice(text, 0, 4), 9999, &number) != ERR_OK)
        return 0;
    return (int)number;
}

static Err find_last(Generator *g) {
    for (const Migration *m = g->context->migrations; m != NULL && m->name != NULL; m++) {
        g->last = m->version;
        g->snapshot = str_c(m->snapshot);
    }
    if (g->options->directory == NULL)
        return ERR_OK;
    DIR *folder = opendir(g->options->directory);
    if (folder == NULL && errno == ENOENT)
        return ERR_OK; /* made when there is something to write */
    if (folder == NULL)
        return ctx_problem(g->ctx, ERR_IO, NULL, "%s: %s", g->options->directory, strerror(errno));
    Str newest = {0};
    int last = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        int number = snapshot_number(entry->d_name);
        if (number > last) {
            last = number;
            newest = arena_printf(g->ctx->arena, "%s/%s", g->options->directory, entry->d_name);
        }
    }
    closedir(folder);
    if (last == 0)
        return ERR_OK;
    if (newest.p == NULL)
        return ERR_NO_MEMORY;
    g->last = last;
    return read_file(g->ctx, newest.p, &g->snapshot);
}

/* --- refusing ---------------------------------------------------------------------------------------------- */

static size_t report_refusals(Generator *g, const Changes *changes) {
    size_t refused = 0;
    for (const Change *c = changes->first; c != NULL; c = c->next) {
        if (c->flag.p == NULL || allow_has(g->options->allow, c->flag))
            continue;
        buf_printf(g->report, "%s: refused: %.*s: %.*s. To allow it: --allow %.*s\n", g->context->name,
                   STR_ARG(c->summary), STR_ARG(c->why), STR_ARG(c->flag));
        refused++;
    }
    return refused;
}

/* --- writing ----------------------------------------------------------------------------------------------- */

typedef struct Part {
    Changes up, down;
    bool online;
    const Model *after;
    int number;
    Str name;
} Part;

static void add_changes(Buf *sql, const Changes *changes) {
    for (const Change *c = changes->first; c != NULL; c = c->next) {
        buf_printf(sql, "\n-- %.*s\n", STR_ARG(c->summary));
        if (c->loses_data)
            buf_printf(sql, "-- usher: loses data\n");
        buf_add(sql, c->sql);
    }
}

/* "events.price: add column" → "events_price_add_column" */
static Err slug(Arena *arena, Str text, Str *ret) {
    Buf name = buf_new(arena, 128);
    for (size_t i = 0; i < text.n && name.n < 48; i++) {
        char c = text.p[i] >= 'A' && text.p[i] <= 'Z' ? (char)(text.p[i] + ('a' - 'A')) : text.p[i];
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            buf_add_char(&name, c);
        else if (name.n > 0 && name.p[name.n - 1] != '_')
            buf_add_char(&name, '_');
    }
    TRY(buf_finish(&name, ret));
    *ret = str_trim(*ret, "_");
    return ERR_OK;
}

static Err name_part(Generator *g, Part *part, bool second) {
    Str name;
    bool given = g->options->name != NULL;
    TRY(slug(g->ctx->arena, given ? str_c(g->options->name) : part->up.first->summary, &name));
    if (name.n == 0)
        return ctx_problem(g->ctx, ERR_INVALID, "name", "a migration's name needs letters or digits");
    part->name = second && given ? arena_printf(g->ctx->arena, "%.*s_online", STR_ARG(name)) : name;
    return part->name.p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* "x" refuses to write over a file that somebody else put there meanwhile. */
static Err write_file(Generator *g, const Part *part, const char *suffix, const Buf *text, Str *ret_path) {
    Str content;
    TRY(buf_finish(text, &content));
    Str path = arena_printf(g->ctx->arena, "%s/%04d_%.*s.%s", g->options->directory, part->number, STR_ARG(part->name),
                            suffix);
    if (path.p == NULL)
        return ERR_NO_MEMORY;
    FILE *file = fopen(path.p, "wxe");
    if (file == NULL)
        return ctx_problem(g->ctx, ERR_IO, NULL, "%s: %s", path.p, strerror(errno));
    bool failed = fwrite(content.p, 1, content.n, file) != content.n;
    failed |= fclose(file) != 0;
    if (failed) {
        unlink(path.p);
        return ctx_problem(g->ctx, ERR_IO, NULL, "%s: cannot be written", path.p);
    }
    *ret_path = path;
    return ERR_OK;
}

static Err write_part(Generator *g, const Part *part, Str paths[3]) {
    Arena *arena = g->ctx->arena;
    Buf up = buf_new(arena, MODEL_SQL_MAX), down = buf_new(arena, MODEL_SQL_MAX),
        snapshot = buf_new(arena, MODEL_SNAPSHOT_MAX);
    buf_printf(&up, "-- %04d_%.*s: made by `usher migrate generate`; read it before it runs.\n", part->number,
               STR_ARG(part->name));
    if (part->online)
        buf_add_c(&up, "-- usher: no transaction\n-- Nothing here blocks readers or writers for long. Each statement "
                       "commits by itself; all may be run again.\n");
    add_changes(&up, &part->up);
    buf_printf(&down, "-- %04d_%.*s: taken back.\n", part->number, STR_ARG(part->name));
    add_changes(&down, &part->down);
    model_write(part->after, &snapshot);
    TRY(write_file(g, part, "up.sql", &up, &paths[0]));
    TRY(write_file(g, part, "down.sql", &down, &paths[1]));
    return write_file(g, part, "snapshot.json", &snapshot, &paths[2]);
}

static Err write_parts(Generator *g, Part *parts, size_t n) {
    if (g->options->directory == NULL)
        return ctx_problem(g->ctx, ERR_INVALID, "directory", "no folder to write to");
    if (mkdir(g->options->directory, 0777) != 0 && errno != EEXIST)
        return ctx_problem(g->ctx, ERR_IO, NULL, "%s: %s", g->options->directory, strerror(errno));
    Str paths[6] = {0};
    Err err = ERR_OK;
    for (size_t i = 0; i < n && err == ERR_OK; i++)
        err = write_part(g, &parts[i], paths + 3 * i);
    for (size_t i = 0; i < ARRAY_LEN(paths) && paths[i].p != NULL; i++) {
        if (err != ERR_OK)
            unlink(paths[i].p);
        else
            buf_printf(g->report, "%s: wrote %s\n", g->context->name, paths[i].p);
    }
    return err;
}

/* --- the whole --------------------------------------------------------------------------------------------- */

static void append(Changes *changes, const Changes *more) {
    if (more->first == NULL)
        return;
    *(changes->last == NULL ? &changes->first : changes->last) = more->first;
    changes->last = more->last;
    changes->n += more->n;
}

/* Fills parts[0..2): what can be done in a transaction, and what is better done online afterwards. */
static Err plan(Generator *g, const Model *old, const Model *new, Model *middle, Part parts[2], size_t *ret_n) {
    Arena *arena = g->ctx->arena;
    Model renamed;
    Part first = {.after = middle}, second = {.after = new, .online = true};
    Changes renames_back = {0};
    TRY(rename_apply(g->ctx, old, new, g->options->renames, &renamed, &first.up, &renames_back));
    if (rename_questions(&renamed, new, g->options->allow, g->report) > 0)
        return ctx_problem(g->ctx, ERR_INVALID, NULL, "%s: a rename must be declared or said, not guessed",
                           g->context->name);
    TRY(diff_intermediate(arena, &renamed, new, g->options->allow, middle));
    TRY(diff_models(arena, &renamed, middle, DIFF_UP, &first.up));
    TRY(diff_models(arena, middle, &renamed, DIFF_DOWN, &first.down));
    append(&first.down, &renames_back);
    TRY(diff_models(arena, middle, new, DIFF_ONLINE, &second.up));
    TRY(diff_models(arena, new, middle, DIFF_DOWN, &second.down));
    size_t n = 0;
    if (first.up.n > 0)
        parts[n++] = first;
    if (second.up.n > 0)
        parts[n++] = second;
    for (size_t i = 0; i < n; i++) {
        parts[i].number = g->last + 1 + (int)i;
        TRY(name_part(g, &parts[i], i > 0));
    }
    *ret_n = n;
    return ERR_OK;
}

Err migrate_generate(Ctx *ctx, const Context *context, const GenerateOptions *options, Buf *report) {
    Generator g = {.ctx = ctx, .context = context, .options = options, .report = report};
    Model old = {.schema = str_c(context->schema)}, new, middle;
    TRY(find_last(&g));
    if (g.snapshot.p != NULL)
        TRY(model_from_snapshot(ctx, g.snapshot, &old));
    if (!str_eq_c(old.schema, context->schema))
        return ctx_problem(ctx, ERR_INVALID, NULL, "%s: the last snapshot is of schema %.*s, not %s", context->name,
                           STR_ARG(old.schema), context->schema);
    TRY(model_from_context(ctx->arena, context, &new));
    Part parts[2];
    size_t n = 0;
    TRY(plan(&g, &old, &new, &middle, parts, &n));
    if (n == 0) {
        buf_printf(report, "%s: declarations and migrations agree\n", context->name);
        return ERR_OK;
    }
    size_t refused = 0;
    for (size_t i = 0; i < n; i++)
        refused += report_refusals(&g, &parts[i].up);
    if (refused > 0)
        return ctx_problem(ctx, ERR_REFUSED, NULL, "%s: %zu dangerous step%s not allowed", context->name, refused,
                           refused == 1 ? " was" : "s were");
    for (size_t i = 0; i < n; i++) {
        for (const Change *c = parts[i].up.first; c != NULL; c = c->next)
            buf_printf(report, "%s: %s%.*s\n", context->name, parts[i].online ? "online: " : "", STR_ARG(c->summary));
    }
    if (options->check)
        return ctx_problem(ctx, ERR_CONFLICT, NULL, "%s: declarations have changed; run usher migrate generate",
                           context->name);
    return write_parts(&g, parts, n);
}
