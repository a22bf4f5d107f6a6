/*
 * cmd_jobs.c - `usher jobs`: looking at background work, and acting on it.
 *
 * Questions are asked as usher_jobs_reader, deeds are done as usher_jobs_operator, whoever connected; each deed leaves
 * an audit row. What the database can tell is not asked of a worker: all this works while none runs.
 */
#include <libpq-fe.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "jobs/desk.h"
#include "usher/boards.h"
#include "usher/cmd.h"
#include "json/json.h"

#define LIST_MOST 50

const Option OPTIONS_jobs[] = {
    {"context", OPTION_TEXT, "NAME", "only this context's jobs: events, users, tickets, jobs"},
    {"state", OPTION_TEXT, "STATE",
     "list: available, scheduled, retryable, running, completed, cancelled, discarded; waiting is the first three"},
    {"kind", OPTION_TEXT, "KIND", "list: only of this kind"},
    {"queue", OPTION_TEXT, "QUEUE", "list: only of this queue"},
    {"most", OPTION_TEXT, "N", "list, audit: at most so many per context (default: 50)"},
    {"limit", OPTION_TEXT, "N", "scale: jobs at once in one worker; declared: as it was built"},
    {"global", OPTION_TEXT, "N", "scale: jobs at once everywhere, 0 for no such limit; declared: as it was built"},
    {"args", OPTION_TEXT, "JSON", "run: the job's arguments, an object"},
    {"json", OPTION_FLAG, NULL, "print JSON, one object a line"},
    {.name = NULL},
};

typedef struct Office {
    Invocation *call;
    Settings settings;
    JobDesk desk; /* of the context in hand */
    const char *argument;
    bool json;
    size_t found; /* contexts that knew the job, queue, kind or line */
} Office;

/* --- printing ----------------------------------------------------------------------------------------------------- */

static void value_json(JsonWriter *w, const PGresult *rows, int row, int column) {
    if (PQgetisnull(rows, row, column)) {
        json_write_null(w);
        return;
    }
    Str text = str_c(PQgetvalue(rows, row, column));
    Oid type = PQftype(rows, column);
    if (type == OID_BOOL)
        json_write_bool(w, text.p[0] == 't');
    else if (type == OID_INT2 || type == OID_INT4 || type == OID_INT8)
        json_write_raw(w, text);
    else
        json_write_string(w, text);
}

static void print_json(const Office *office, const PGresult *rows) {
    Buf out CLEANUP(buf_done) = buf_new(NULL, 64 * 1024 * 1024);
    for (int row = 0; row < PQntuples(rows); row++) {
        JsonWriter w;
        json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 0);
        json_object(&w);
        json_name(&w, STR("context"));
        json_write_string(&w, str_c(office->desk.board->context->name));
        for (int column = 0; column < PQnfields(rows); column++) {
            json_name(&w, str_c(PQfname(rows, column)));
            value_json(&w, rows, row, column);
        }
        json_object_end(&w);
        buf_add_char(&out, '\n');
    }
    out_str(buf_str(&out));
}

/* One line a row, absent values left out. */
static void print_lines(const Office *office, const PGresult *rows) {
    for (int row = 0; row < PQntuples(rows); row++) {
        out_printf("%s", office->desk.board->context->name);
        for (int column = 0; column < PQnfields(rows); column++) {
            if (PQgetisnull(rows, row, column))
                continue;
            if (column == 0)
                out_printf(" %s", PQgetvalue(rows, row, column));
            else
                out_printf("  %s %s", PQfname(rows, column), PQgetvalue(rows, row, column));
        }
        out_printf("\n");
    }
}

static Err print_rows(const Office *office, PGresult *rows) {
    if (office->json)
        print_json(office, rows);
    else
        print_lines(office, rows);
    PQclear(rows);
    return ERR_OK;
}

static Err print_row(const Office *office, PGresult *rows) {
    if (office->json)
        return print_rows(office, rows);
    out_printf("%-14s %s\n", "context", office->desk.board->context->name);
    for (int column = 0; column < PQnfields(rows); column++)
        if (!PQgetisnull(rows, 0, column))
            out_printf("%-14s %s\n", PQfname(rows, column), PQgetvalue(rows, 0, column));
    PQclear(rows);
    return ERR_OK;
}

static void print_facts(const Office *office, const JobFact *facts) {
    for (const JobFact *fact = facts; fact != NULL; fact = fact->next) {
        if (!office->json) {
            out_printf("%.*s\n", STR_ARG(fact->text));
            continue;
        }
        Buf out CLEANUP(buf_done) = buf_new(NULL, 64 * 1024);
        JsonWriter w;
        json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 0);
        json_object(&w);
        json_name(&w, STR("context"));
        json_write_string(&w, str_c(office->desk.board->context->name));
        json_name(&w, STR("fact"));
        json_write_string(&w, str_c(fact->code));
        json_name(&w, STR("text"));
        json_write_string(&w, fact->text);
        json_object_end(&w);
        buf_add_char(&out, '\n');
        out_str(buf_str(&out));
    }
}

static Err print_now(const Office *office, Str now) {
    if (office->json) {
        Buf out CLEANUP(buf_done) = buf_new(NULL, 64 * 1024);
        JsonWriter w;
        json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 0);
        json_object(&w);
        json_name(&w, STR("context"));
        json_write_string(&w, str_c(office->desk.board->context->name));
        json_name(&w, STR("now"));
        json_write_string(&w, now);
        json_object_end(&w);
        out_printf("%.*s\n", STR_ARG(buf_str(&out)));
    } else {
        out_printf("%s: %.*s\n", office->desk.board->context->name, STR_ARG(now));
    }
    return ERR_OK;
}

/* --- what each subcommand does with one context ------------------------------------------------------------------- */

static Err number_of(const Office *office, const char *option, int fallback, int *ret) {
    const char *text = option_text(office->call, option);
    uint64_t value;
    *ret = fallback;
    if (text == NULL)
        return ERR_OK;
    if (strcmp(text, "declared") == 0) {
        *ret = DESK_DECLARED;
        return ERR_OK;
    }
    if (str_to_u64(str_c(text), 1000000, &value) != ERR_OK)
        return ctx_problem(office->call->ctx, ERR_INVALID, NULL, "--%s takes a number, not \"%s\"", option, text);
    *ret = (int)value;
    return ERR_OK;
}

static Err id_of(const Office *office, Id *ret) {
    if (id_parse(str_c(office->argument), ID_FORM_D, ret) == ERR_OK)
        return ERR_OK;
    return ctx_problem(office->call->ctx, ERR_INVALID, NULL, "\"%s\" is no job's id", office->argument);
}

static Err list(Office *office) {
    JobFilter filter = {.state = option_text(office->call, "state"),
                        .kind = option_text(office->call, "kind"),
                        .queue = option_text(office->call, "queue")};
    PGresult *rows;
    TRY(number_of(office, "most", LIST_MOST, &filter.most));
    TRY(desk_list(&office->desk, &filter, &rows));
    return print_rows(office, rows);
}

static Err queues(Office *office) {
    PGresult *rows;
    TRY(desk_queues(&office->desk, &rows));
    return print_rows(office, rows);
}

static Err audit(Office *office) {
    int most;
    PGresult *rows;
    TRY(number_of(office, "most", LIST_MOST, &most));
    TRY(desk_audit(&office->desk, most, &rows));
    return print_rows(office, rows);
}

static Err show(Office *office) {
    Id id;
    PGresult *rows;
    TRY(id_of(office, &id));
    TRY(desk_show(&office->desk, id, &rows));
    return print_row(office, rows);
}

static Err why(Office *office) {
    Id id;
    JobFact *facts;
    if (id_parse(str_c(office->argument), ID_FORM_D, &id) == ERR_OK)
        TRY(desk_why(&office->desk, id, &facts));
    else
        TRY(desk_why_cron(&office->desk, office->argument, &facts));
    print_facts(office, facts);
    return ERR_OK;
}

static Err retry(Office *office) {
    Id id;
    Str now;
    TRY(id_of(office, &id));
    TRY(desk_retry(&office->desk, id, &now));
    return print_now(office, now);
}

static Err cancel(Office *office) {
    Id id;
    Str now;
    TRY(id_of(office, &id));
    TRY(desk_cancel(&office->desk, id, &now));
    return print_now(office, now);
}

static Err pause_queue(Office *office) {
    Str now;
    TRY(desk_pause(&office->desk, office->argument, true, &now));
    return print_now(office, now);
}

static Err resume(Office *office) {
    Str now;
    TRY(desk_pause(&office->desk, office->argument, false, &now));
    return print_now(office, now);
}

static Err scale(Office *office) {
    int local, global;
    Str now;
    TRY(number_of(office, "limit", DESK_KEEP, &local));
    TRY(number_of(office, "global", DESK_KEEP, &global));
    if (local == DESK_KEEP && global == DESK_KEEP)
        return ctx_problem(office->call->ctx, ERR_INVALID, NULL, "scale wants --limit N or --global N");
    if (local == 0)
        return ctx_problem(office->call->ctx, ERR_INVALID, NULL,
                           "--limit is at least 1; `usher jobs pause` stops a queue");
    TRY(desk_scale(&office->desk, office->argument, local, global, &now));
    return print_now(office, now);
}

static Err run(Office *office) {
    Id id;
    char text[ID_TEXT_LEN];
    TRY(desk_run(&office->desk, office->argument, str_c(option_text(office->call, "args")), &id));
    id_format(&id, text);
    return print_now(office, (Str){text, ID_TEXT_LEN});
}

static const struct {
    const char *name;
    Err (*run)(Office *office);
    const char *argument; /* what it wants; NULL: nothing, and every context is asked */
    bool changes;
    bool one; /* its argument may be known to several contexts, and only one is to be changed */
} SUBCOMMANDS[] = {
    {"list", list, NULL, false, false},
    {"queues", queues, NULL, false, false},
    {"audit", audit, NULL, false, false},
    {"show", show, "a job's id", false, false},
    {"why", why, "a job's id or a cron line's name", false, false},
    {"retry", retry, "a job's id", true, false},
    {"cancel", cancel, "a job's id", true, false},
    {"pause", pause_queue, "a queue", true, true},
    {"resume", resume, "a queue", true, true},
    {"scale", scale, "a queue", true, true},
    {"run", run, "a kind of job", true, true},
};

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static Str who_asks(Arena *arena) {
    char host[64] = "?";
    struct passwd *user = getpwuid(getuid());
    (void)gethostname(host, sizeof host - 1);
    return arena_printf(arena, "%s@%s", user == NULL ? "?" : user->pw_name, host);
}

static Err at_context(Office *office, size_t subcommand, const JobBoard *board) {
    Ctx *ctx = office->call->ctx;
    const char *role = SUBCOMMANDS[subcommand].changes ? JOBS_OPERATOR : JOBS_READER;
    PGconn *conn;
    TRY(pg_sync_connect(ctx, settings_database_url(&office->settings, board->context->database_env),
                        office->settings.set_role ? str_c(role) : (Str){NULL, 0}, &conn));
    office->desk = (JobDesk){.ctx = ctx,
                             .conn = conn,
                             .board = board,
                             .who = who_asks(ctx->arena),
                             .rescue_ms = office->settings.jobs_rescue_ms};
    Err err = SUBCOMMANDS[subcommand].run(office);
    PQfinish(conn);
    return err;
}

/* A job's id is looked for in every context; a queue or kind that several have must be told apart. */
static int at_all(Office *office, size_t subcommand, const char *only) {
    Ctx *ctx = office->call->ctx;
    int worst = 0;
    for (const JobBoard *const *board = BOARDS; *board != NULL; board++) {
        if (only != NULL && strcmp(only, (*board)->context->name) != 0)
            continue;
        ctx->problem = (Problem){0};
        Err err = at_context(office, subcommand, *board);
        office->found += err != ERR_NOT_FOUND;
        if (err != ERR_OK && err != ERR_NOT_FOUND) {
            (void)cli_fail(ctx, 1, "jobs");
            return err == ERR_CONFLICT || err == ERR_REFUSED ? 1 : 2;
        }
    }
    if (office->found == 0) {
        err_printf("no context knows %s\n", office->argument == NULL ? "that" : office->argument);
        worst = 1;
    }
    return worst;
}

static bool needs_context(const Office *office, size_t subcommand) {
    size_t n = 0;
    bool is_run = SUBCOMMANDS[subcommand].run == run;
    for (const JobBoard *const *board = BOARDS; *board != NULL; board++) {
        bool knows = is_run && job_kind(*board, str_c(office->argument)) != NULL;
        for (const JobQueue *q = (*board)->queues; !is_run && q->name != NULL; q++)
            knows = knows || strcmp(q->name, office->argument) == 0;
        n += knows;
    }
    return n > 1;
}

int cmd_jobs(Invocation *call) {
    Office office = {.call = call, .json = option_flag(call, "json")};
    const char *only = option_text(call, "context");
    int status;
    size_t at = 0;
    while (at < ARRAY_LEN(SUBCOMMANDS) && strcmp(SUBCOMMANDS[at].name, call->arguments[0]) != 0)
        at++;
    if (at == ARRAY_LEN(SUBCOMMANDS)) {
        err_printf("jobs has no \"%s\"; `usher help jobs` lists what it has\n", call->arguments[0]);
        return 2;
    }
    office.argument = call->argument_count > 1 ? call->arguments[1] : NULL;
    if ((office.argument == NULL) != (SUBCOMMANDS[at].argument == NULL)) {
        err_printf("jobs %s wants %s\n", SUBCOMMANDS[at].name,
                   SUBCOMMANDS[at].argument == NULL ? "no argument" : SUBCOMMANDS[at].argument);
        return 2;
    }
    if (only != NULL && board_of(only) == NULL) {
        err_printf("no context \"%s\" has jobs; events, users, tickets and jobs have\n", only);
        return 2;
    }
    if (SUBCOMMANDS[at].one && only == NULL && needs_context(&office, at)) {
        err_printf("several contexts have %s; say which with --context\n", office.argument);
        return 2;
    }
    return cli_settings(call, &office.settings, &status) ? at_all(&office, at, only) : status;
}
