/*
 * cmd_shadow_write.c - `usher shadow-write`: recorded writes, run on the new side and rolled back.
 *
 * The trial of an exchange comes before the exchange itself is sent to --advance, so that it finds what its
 * predecessors left and not what it will leave. Ids that a trial makes are known from its answer (the recording's
 * captures) and hold for that trial only; the ones that stay are those of --advance's answers.
 */
#include "usher/cmd.h"
#include "usher/dev_data.h"
#include "usher/replay.h"
#include "usher/replay_expect.h"
#include "usher/shadow_write.h"
#include "usher/shadow_write_messages.h"
#include "usher/trial_print.h"

#define REQUEST_BYTES_MAX (64 * 1024) /* as the gateway's mirror: larger ones are skipped */
#define LINES_MAX         (1024 * 1024)

const Option OPTIONS_shadow_write[] = {
    {"advance", OPTION_TEXT, "URL", "send each exchange there after its trial; it is really written"},
    {"messages", OPTION_TEXT, "FILE",
     "what the old side published (default: the file of the recording's name in ../messages)"},
    {"data", OPTION_TEXT, "DIR", "folder of `usher dev` whose databases are meant (default: those of the settings)"},
    {"expect", OPTION_TEXT, "FILE", "wanted differences, e.g. contracts/exceptions.json"},
    {"json", OPTION_FLAG, NULL, "print JSON"},
    {.name = NULL},
};

typedef struct Run {
    Ctx *ctx;
    TrialProcess process;
    Expectations *expectations;
    SeenMessages seen;
    const ReplayResult *result; /* of the recording in work: its name */
    JsonWriter *json;           /* NULL: for people */
    size_t writes, unexpected, expected, skipped, skipped_here, failed;
} Run;

static bool is_write(Str bytes) {
    return str_starts_with(bytes, STR("POST ")) || str_starts_with(bytes, STR("PUT "));
}

/* --- comparing ---------------------------------------------------------------------------------------------------- */

/* Recorded → this trial's: what is known, and what this answer made. */
static Err trial_ids(Arena *arena, const Ids *known, const Json *captures, int64_t index, const HttpAnswer *got,
                     Ids *ret) {
    *ret = (Ids){0};
    for (size_t i = 0; i < known->n; i++)
        TRY(ids_put(ret, arena, known->from[i], known->to[i]));
    return replay_captures(arena, captures, index, got, ret);
}

static Err compare(Run *run, Arena *arena, const Ids *ids, const Json *exchange, const TrialAnswer *trial, Buf *lines,
                   size_t *ret_n) {
    Expected want;
    TRY(replay_expected(arena, ids, exchange, &want));
    TRY(replay_compare(arena, &want, &trial->answer, lines, ret_n));
    const Json *action = trial->actions == NULL ? NULL : trial->actions->first;
    for (; action != NULL; action = action->next) {
        const Json *messages = json_member(action, "messages");
        for (const Json *row = messages == NULL ? NULL : messages->first; row != NULL; row = row->next)
            TRY(seen_messages_compare(&run->seen, arena, ids, json_text(json_member(row, "type")),
                                      json_member(row, "message"), lines, ret_n));
    }
    return ERR_OK;
}

/* --- telling ------------------------------------------------------------------------------------------------------ */

static void tell(const Run *run, Arena *arena, int64_t index, Str request, const TrialAnswer *trial, Str lines,
                 bool expected) {
    if (run->json == NULL) {
        out_printf("%.*s[%lld] %.*s -> %d\n", STR_ARG(run->result->name), (long long)index, STR_ARG(request),
                   trial->answer.status);
        trial_print_actions(arena, trial->actions);
        while (lines.p != NULL && lines.n > 0) {
            Str line = str_cut(&lines, '\n');
            out_printf("  %s %.*s\n", expected ? "differs, as expected:" : "differs:", STR_ARG(line));
        }
        return;
    }
    JsonWriter *w = run->json;
    json_object(w);
    json_name(w, STR("scenario"));
    json_write_string(w, run->result->name);
    json_name(w, STR("exchange"));
    json_write_i64(w, index);
    json_name(w, STR("request"));
    json_write_string(w, request);
    json_name(w, STR("status"));
    json_write_i64(w, trial->answer.status);
    json_name(w, STR("answer"));
    json_write_string(w, trial->answer.body);
    json_name(w, STR("actions"));
    if (trial->actions == NULL)
        json_write_null(w);
    else
        json_write_value(w, trial->actions);
    json_name(w, STR("expected"));
    json_write_bool(w, expected);
    json_name(w, STR("differences"));
    json_array(w);
    while (lines.p != NULL && lines.n > 0)
        json_write_string(w, str_cut(&lines, '\n'));
    json_array_end(w);
    json_object_end(w);
}

/* --- running ------------------------------------------------------------------------------------------------------ */

/* ReplayTarget.before */
static Err try_exchange(void *data, Arena *arena, const Ids *ids, const Json *captures, int64_t index,
                        const Json *exchange) {
    Run *run = data;
    Str bytes;
    TrialAnswer trial = {0};
    Ids here;
    size_t n = 0;
    TRY(replay_request_bytes(arena, ids, json_member(exchange, "request"), &bytes));
    if (!is_write(bytes))
        return ERR_OK;
    if (bytes.n > REQUEST_BYTES_MAX) {
        run->skipped++;
        run->skipped_here++;
        return ERR_OK;
    }
    run->writes++;
    Err err = trial_process_ask(arena, &run->process, bytes, &trial);
    if (err != ERR_OK && !(err == ERR_EOF && trial_process_lives(&run->process)))
        return ctx_problem(run->ctx, err, NULL, "the trial of %.*s[%lld] gave no answer: %s",
                           STR_ARG(run->result->name), (long long)index, err_name(err));
    TRY(trial_ids(arena, ids, captures, index, &trial.answer, &here));
    Buf lines = buf_new(arena, LINES_MAX);
    if (trial.answer.status == 503) { /* it was not tried to the end: nothing to compare */
        run->failed++;
        run->skipped_here++; /* nor can its messages be waited for */
    } else {
        TRY(compare(run, arena, &here, exchange, &trial, &lines, &n));
    }
    bool expected = n > 0 && expectations_hold(run->expectations, run->result->name, index);
    run->expected += expected;
    run->unexpected += n > 0 && !expected;
    Str rest = bytes, request = str_trim(str_cut(&rest, '\n'), "\r");
    tell(run, arena, index, str_slice(request, 0, 200), &trial, buf_str(&lines), expected);
    return ERR_OK;
}

static void tell_left(Run *run) {
    Buf lines = buf_new(run->ctx->arena, LINES_MAX);
    /* A skipped request's message is seen too: nothing can be said of those that are left then. */
    size_t left = run->skipped_here > 0 ? 0 : seen_messages_left(&run->seen, &lines);
    if (left == 0)
        return;
    run->unexpected += left;
    TrialAnswer none = {0};
    tell(run, run->ctx->arena, -1, STR("(at the end)"), &none, buf_str(&lines), false);
}

static Err try_all(Invocation *call, Run *run, ReplayTarget *target) {
    for (int i = 0; i < call->argument_count; i++) {
        ReplayResult result;
        TRY(seen_messages_read(call->ctx, call->arguments[i], option_text(call, "messages"), &run->seen));
        run->skipped_here = 0;
        run->result = &result;
        Err err = replay_scenario(call->ctx, call->arguments[i], target, &result);
        if (err == ERR_OK)
            tell_left(run);
        run->result = NULL;
        TRY(err);
    }
    return ERR_OK;
}

static int finish(Run *run, Buf *out) {
    if (run->json == NULL) {
        out_printf("%zu writes tried and rolled back, %zu unexpected differences, %zu expected ones, %zu skipped for "
                   "their size, %zu could not be run\n",
                   run->writes, run->unexpected, run->expected, run->skipped, run->failed);
    } else {
        JsonWriter *w = run->json;
        json_array_end(w);
        const struct {
            Str name;
            size_t n;
        } counts[] = {{STR("tried"), run->writes},
                      {STR("unexpected"), run->unexpected},
                      {STR("expected"), run->expected},
                      {STR("skipped"), run->skipped},
                      {STR("failed"), run->failed}};
        for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
            json_name(w, counts[i].name);
            json_write_i64(w, (int64_t)counts[i].n);
        }
        json_object_end(w);
        buf_add_char(out, '\n');
        out_str(buf_str(out));
    }
    return run->failed > 0 ? 2 : run->unexpected > 0;
}

int cmd_shadow_write(Invocation *call) {
    static Expectations expectations;
    Settings settings;
    ReplayTarget target CLEANUP(replay_target_done) = {0};
    int status;
    Run run = {.ctx = call->ctx, .expectations = &expectations};
    const char *directory = option_text(call, "data"), *advance = option_text(call, "advance");
    if (expectations_read(call->ctx, option_text(call, "expect"), &expectations) != ERR_OK ||
        (advance != NULL && replay_target(call->ctx, "advance", str_c(advance), &target) != ERR_OK) ||
        (directory != NULL && dev_data_environment(call->ctx, directory) != ERR_OK))
        return cli_fail(call->ctx, 2, "shadow-write");
    if (!cli_settings(call, &settings, &status))
        return status;
    target.before = try_exchange;
    target.data = &run;
    Buf out = buf_new(call->ctx->arena, 64 * 1024 * 1024);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 1);
    if (option_flag(call, "json")) {
        run.json = &w;
        json_object(&w);
        json_name(&w, STR("writes"));
        json_array(&w);
    }
    Err err = trial_process_start(call->ctx, &settings, &run.process);
    if (err == ERR_OK)
        err = try_all(call, &run, &target);
    trial_process_stop(&run.process);
    return err == ERR_OK ? finish(&run, &out) : cli_fail(call->ctx, 2, "shadow-write");
}
