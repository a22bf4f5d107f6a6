/*
 * cmd_migrate.c - migrations from the command line, context by context.
 */
#include <stdio.h>
#include <stdlib.h>

#include "resource/migrate.h"
#include "usher/app.h"
#include "usher/cmd.h"
#include "json/json.h"

const Option OPTIONS_migrate[] = {
    {"context", OPTION_TEXT, "NAME", "only this context: events, users, tickets, bus, jobs, gateway"},
    {"to", OPTION_TEXT, "VERSION", "up: the last to apply; down: the one to stay"},
    {"allow-data-loss", OPTION_FLAG, NULL, "down: take back steps that drop data"},
    {"allow", OPTION_LIST, "STEP", "generate: a dangerous step by its name, e.g. drop-column:events.price; repeatable"},
    {"rename", OPTION_LIST, "TABLE.OLD=NEW", "generate: this is a rename, not a drop and an add; repeatable"},
    {"name", OPTION_TEXT, "NAME", "generate: name of the migration"},
    {"source", OPTION_TEXT, "DIR", "generate: the source tree (default: this folder)"},
    {"check", OPTION_FLAG, NULL, "generate: write nothing, exit 1 when something would be written"},
    {"json", OPTION_FLAG, NULL, "status: print JSON"},
    {.name = NULL},
};

/* What each subcommand does with one context. */
typedef Err (*PerContext)(Invocation *call, const Context *context, PGconn *conn, Buf *report);

static Err target_of(Invocation *call, int fallback, int *ret) {
    const char *text = option_text(call, "to");
    uint64_t value;
    *ret = fallback;
    if (text == NULL)
        return ERR_OK;
    if (str_to_u64(str_c(text), 1000000, &value) != ERR_OK)
        return ctx_problem(call->ctx, ERR_INVALID, "to", "--to takes a migration's number, not \"%s\"", text);
    *ret = (int)value;
    return ERR_OK;
}

static Err up(Invocation *call, const Context *context, PGconn *conn, Buf *report) {
    int target;
    TRY(target_of(call, 0, &target));
    return migrate_up(call->ctx, context, conn, target, report);
}

static Err down(Invocation *call, const Context *context, PGconn *conn, Buf *report) {
    int target;
    if (option_text(call, "context") == NULL || option_text(call, "to") == NULL)
        return ctx_problem(call->ctx, ERR_INVALID, NULL, "down wants --context NAME and --to VERSION");
    TRY(target_of(call, 0, &target));
    return migrate_down(call->ctx, context, conn, target, option_flag(call, "allow-data-loss"), report);
}

static Err verify(Invocation *call, const Context *context, PGconn *conn, Buf *report) {
    (void)call;
    return migrate_verify(call->ctx, context, conn, report);
}

static void status_json(const Context *context, const MigrationStatus *row, Buf *report) {
    JsonWriter w;
    json_writer_init(&w, report, JSON_ESCAPE_MINIMAL, 0);
    json_object(&w);
    json_name(&w, STR("context"));
    json_write_string(&w, str_c(context->name));
    json_name(&w, STR("version"));
    json_write_i64(&w, row->version);
    json_name(&w, STR("name"));
    json_write_string(&w, str_c(row->name));
    json_name(&w, STR("applied"));
    json_write_bool(&w, row->applied);
    json_name(&w, STR("applied_at"));
    json_write_string(&w, row->applied_at);
    json_name(&w, STR("checksum_differs"));
    json_write_bool(&w, row->checksum_differs);
    json_name(&w, STR("unknown_here"));
    json_write_bool(&w, row->unknown_here);
    json_object_end(&w);
    buf_add_char(report, '\n');
}

static Err status(Invocation *call, const Context *context, PGconn *conn, Buf *report) {
    MigrationStatus *rows;
    size_t n;
    TRY(migrate_status(call->ctx, context, conn, &rows, &n));
    for (size_t i = 0; i < n; i++) {
        const MigrationStatus *row = &rows[i];
        if (option_flag(call, "json")) {
            status_json(context, row, report);
            continue;
        }
        buf_printf(report, "%-8s %04d %-32s %s%.*s%s%s\n", context->name, row->version, row->name,
                   row->applied ? "applied " : "pending",
                   STR_ARG(row->applied_at.p == NULL ? STR("") : row->applied_at),
                   row->checksum_differs ? " - its text has changed since" : "",
                   row->unknown_here ? " - unknown to this usher: a newer one applied it" : "");
    }
    return ERR_OK;
}

static Err generate(Invocation *call, const Context *context, PGconn *conn, Buf *report) {
    (void)conn;
    const char *source = option_text(call, "source");
    const char *folder = strcmp(context->name, "bus") == 0       ? "lib/bus"
                         : strcmp(context->name, "jobs") == 0    ? "lib/jobs"
                         : strcmp(context->name, "gateway") == 0 ? "apps/api_gateway"
                                                                 : NULL;
    Str directory = folder != NULL
                        ? arena_printf(call->ctx->arena, "%s/%s/migrations", source == NULL ? "." : source, folder)
                        : arena_printf(call->ctx->arena, "%s/apps/core_%s/migrations", source == NULL ? "." : source,
                                       context->name);
    if (directory.p == NULL)
        return ERR_NO_MEMORY;
    GenerateOptions options = {
        .name = option_text(call, "name"),
        .directory = directory.p,
        .allow = option_list(call, "allow"),
        .renames = option_list(call, "rename"),
        .check = option_flag(call, "check"),
    };
    return migrate_generate(call->ctx, context, &options, report);
}

static const struct {
    const char *name;
    PerContext run;
    bool needs_database;
} SUBCOMMANDS[] = {
    {"up", up, true},         {"down", down, true},          {"status", status, true},
    {"verify", verify, true}, {"generate", generate, false},
};

static Err run_one(Invocation *call, size_t subcommand, const Settings *settings, const Context *context, Buf *report) {
    PGconn *conn = NULL;
    if (SUBCOMMANDS[subcommand].needs_database) {
        Str url = settings_database_url(settings, context->database_env);
        if (url.n == 0)
            return ctx_problem(call->ctx, ERR_INVALID, context->database_env,
                               "no database for the %s context: set DATABASE_URL or %s", context->name,
                               context->database_env);
        TRY(pg_sync_connect(call->ctx, url, (Str){NULL, 0}, &conn));
    }
    Err err = SUBCOMMANDS[subcommand].run(call, context, conn, report);
    if (conn != NULL)
        PQfinish(conn);
    return err;
}

/* Every context is visited even when one fails, so that all that is wrong is said at once. */
static int run_all(Invocation *call, size_t subcommand, const Settings *settings) {
    const char *only = option_text(call, "context");
    int worst = 0, visited = 0;
    for (const Context *const *context = CONTEXTS; *context != NULL; context++) {
        if (only != NULL && strcmp(only, (*context)->name) != 0)
            continue;
        visited++;
        Buf report CLEANUP(buf_done) = buf_new(NULL, 16 * 1024 * 1024);
        call->ctx->problem = (Problem){0};
        Err err = run_one(call, subcommand, settings, *context, &report);
        out_str(buf_str(&report));
        (void)fflush(stdout); /* the problem below sums up what the report says, so it comes last */
        if (err == ERR_OK)
            continue;
        Str problem = call->ctx->problem.message;
        if (problem.p != NULL)
            (void)cli_fail(call->ctx, 1,
                           str_starts_with(problem, str_c((*context)->name)) ? "migrate" : (*context)->name);
        worst = MAX_OF(worst, err == ERR_CONFLICT || err == ERR_REFUSED ? 1 : 2);
    }
    if (visited == 0) {
        err_printf("there is no context \"%s\"; contexts are events, users, tickets, bus, jobs, gateway\n", only);
        return 2;
    }
    return worst;
}

int cmd_migrate(Invocation *call) {
    Settings settings;
    int status_code;
    if (!cli_settings(call, &settings, &status_code))
        return status_code;
    for (size_t i = 0; i < ARRAY_LEN(SUBCOMMANDS); i++)
        if (strcmp(SUBCOMMANDS[i].name, call->arguments[0]) == 0)
            return run_all(call, i, &settings);
    err_printf("migrate has no \"%s\"; use up, down, status, verify or generate\n", call->arguments[0]);
    return 2;
}

Err app_migrate_up(Ctx *ctx, const Settings *settings, Buf *report) {
    for (const Context *const *context = CONTEXTS; *context != NULL; context++) {
        PGconn *conn;
        TRY(pg_sync_connect(ctx, settings_database_url(settings, (*context)->database_env), (Str){NULL, 0}, &conn));
        Err err = migrate_up(ctx, *context, conn, 0, report);
        PQfinish(conn);
        TRY(err);
    }
    return ERR_OK;
}
