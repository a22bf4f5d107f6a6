/*
 * cmd_replay.c - `usher replay`: recordings, a server, and the differences that nobody expected.
 *
 * An --expect file is a list of {"scenario", "exchange" (left out: all), "reason"}: differences that are wanted. One
 * that no longer differs is told too, so that the list stays true; of scenarios that were not replayed nothing is said.
 */
#include <stdlib.h>

#include "usher/app.h"
#include "usher/cmd.h"
#include "usher/dev_data.h"
#include "usher/files.h"
#include "usher/replay.h"
#include "usher/replay_expect.h"
#include "usher/replay_tally.h"

const Option OPTIONS_replay[] = {
    {"against", OPTION_TEXT, "URL", "the server (default: http://127.0.0.1:5000); https://HOST?cacertfile=FILE too"},
    {"reset", OPTION_FLAG, NULL, "empty the development database (see --data) before each recording"},
    {"data", OPTION_TEXT, "DIR", "folder of `usher dev` for --reset (default: var)"},
    {"expect", OPTION_TEXT, "FILE", "wanted differences, e.g. contracts/exceptions.json"},
    {"settle", OPTION_TEXT, "TIME", "how long an answer may take to become equal behind a message (default: 5s)"},
    {"pause", OPTION_TEXT, "TIME", "how long to wait where the recorder waited for messages (default: 250ms)"},
    {"speed", OPTION_TEXT, "PERCENT",
     "keep the pace of a recording that has times (at_ms): 100 as recorded, 200 twice as fast"},
    {"count", OPTION_FLAG, NULL,
     "add what was compared to the gateway's counts, so that rare routes have enough for its gates"},
    {"json", OPTION_FLAG, NULL, "print JSON"},
    {.name = NULL},
};

Err replay_target(Ctx *ctx, const char *option, Str url, ReplayTarget *ret) {
    *ret = (ReplayTarget){.settle_ms = 5000, .pause_ms = 250};
    Err err = http_target_read(ctx, url, &ret->server);
    if (err != ERR_INVALID)
        return err;
    Str why = ctx->problem.message;
    problem_clear(ctx);
    return ctx_problem(ctx, err, option, "--%s \"%.*s\": %.*s", option, STR_ARG(url), STR_ARG(why));
}

void replay_target_done(ReplayTarget *target) {
    tls_context_unref(target->server.tls);
    target->server.tls = NULL;
}

static Err target_of(Invocation *call, ReplayTarget *ret) {
    const char *url = option_text(call, "against");
    TRY(replay_target(call->ctx, "against", url == NULL ? STR("http://127.0.0.1:5000") : str_c(url), ret));
    const char *settle = option_text(call, "settle"), *pause = option_text(call, "pause");
    if ((settle != NULL && config_parse_duration(str_c(settle), &ret->settle_ms) != ERR_OK) ||
        (pause != NULL && config_parse_duration(str_c(pause), &ret->pause_ms) != ERR_OK))
        return ctx_problem(call->ctx, ERR_INVALID, "settle", "--settle and --pause take times such as 250ms or 5s");
    uint64_t speed = 0;
    const char *speed_text = option_text(call, "speed");
    if (speed_text != NULL && (str_to_u64(str_c(speed_text), 100000, &speed) != ERR_OK || speed == 0))
        return ctx_problem(call->ctx, ERR_INVALID, "speed", "--speed takes a percentage: 100 is the recorded pace");
    ret->speed_percent = (int64_t)speed;
    return ERR_OK;
}

/* What the whole run found. */
typedef struct Tally {
    size_t exchanges, unexpected, expected;
    JsonWriter *json; /* NULL: for people */
} Tally;

static void tell(Tally *tally, const ReplayDifference *difference) {
    tally->unexpected++;
    if (tally->json == NULL) {
        out_printf("%.*s[%lld] %.*s\n  %.*s\n", STR_ARG(difference->scenario), (long long)difference->exchange,
                   STR_ARG(difference->note), STR_ARG(difference->request));
        Str rest = difference->lines;
        while (rest.p != NULL && rest.n > 0) {
            Str line = str_cut(&rest, '\n');
            out_printf("    %.*s\n", STR_ARG(line));
        }
        return;
    }
    JsonWriter *w = tally->json;
    json_object(w);
    json_name(w, STR("scenario"));
    json_write_string(w, difference->scenario);
    json_name(w, STR("exchange"));
    json_write_i64(w, difference->exchange);
    json_name(w, STR("note"));
    json_write_string(w, difference->note);
    json_name(w, STR("request"));
    json_write_string(w, difference->request);
    json_name(w, STR("differences"));
    json_array(w);
    Str rest = difference->lines;
    while (rest.p != NULL && rest.n > 0)
        json_write_string(w, str_cut(&rest, '\n'));
    json_array_end(w);
    json_object_end(w);
}

static void tell_idle(const Expectations *expectations, JsonWriter *json) {
    size_t i = 0;
    const Json *first = expectations->list == NULL ? NULL : expectations->list->first;
    for (const Json *row = first; row != NULL; row = row->next, i++) {
        if (expectations->used[i] || !expectations->replayed[i])
            continue;
        if (json != NULL)
            json_write_value(json, row);
        else
            out_printf("expected difference is none any more: %.*s[%lld]\n",
                       STR_ARG(json_text(json_member(row, "scenario"))),
                       (long long)json_i64(json_member(row, "exchange"), -1));
    }
}

static Err replay_all(Invocation *call, const Settings *reset_settings, const ReplayTarget *target,
                      Expectations *expectations, Tally *tally) {
    for (int i = 0; i < call->argument_count; i++) {
        ReplayResult result;
        ReplayTally *counts = target->data;
        if (reset_settings != NULL)
            TRY(app_reset(call->ctx, reset_settings));
        TRY(replay_scenario(call->ctx, call->arguments[i], target, &result));
        tally->exchanges += result.exchanges;
        expectations_note(expectations, result.name);
        size_t before = tally->unexpected;
        for (const ReplayDifference *row = result.first; row != NULL; row = row->next) {
            if (expectations_hold(expectations, row->scenario, row->exchange))
                tally->expected++;
            else
                tell(tally, row);
            if (counts != NULL && !expectations_hold(expectations, row->scenario, row->exchange))
                replay_tally_differs(counts, row->exchange);
        }
        if (counts != NULL)
            replay_tally_end(counts);
        if (tally->json == NULL)
            out_printf("%-24.*s %4zu exchanges, %zu differ, %zu of them expected\n", STR_ARG(result.name),
                       result.exchanges, result.differing, result.differing - (tally->unexpected - before));
    }
    return ERR_OK;
}

int cmd_replay(Invocation *call) {
    static Expectations expectations;
    Settings settings;
    ReplayTarget target CLEANUP(replay_target_done) = {0};
    Tally tally = {0};
    int status;
    const char *directory = option_text(call, "data") == NULL ? "var" : option_text(call, "data");
    bool resets = option_flag(call, "reset");
    ReplayTally *counts = NULL;
    if (target_of(call, &target) != ERR_OK ||
        expectations_read(call->ctx, option_text(call, "expect"), &expectations) != ERR_OK)
        return cli_fail(call->ctx, 2, "replay");
    if (option_flag(call, "count")) {
        if (replay_tally_new(call->ctx, &counts) != ERR_OK)
            return cli_fail(call->ctx, 2, "replay");
        target.compared = replay_tally_compared;
        target.data = counts;
    }
    if (resets && dev_data_environment(call->ctx, directory) != ERR_OK)
        return cli_fail(call->ctx, 2, "replay");
    if (resets && !cli_settings(call, &settings, &status))
        return status;
    Buf out = buf_new(call->ctx->arena, 64 * 1024 * 1024);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 1);
    if (option_flag(call, "json")) {
        tally.json = &w;
        json_object(&w);
        json_name(&w, STR("unexpected"));
        json_array(&w);
    }
    if (replay_all(call, resets ? &settings : NULL, &target, &expectations, &tally) != ERR_OK)
        return cli_fail(call->ctx, 2, "replay");
    if (counts != NULL && (status = replay_tally_write(call, counts)) != 0)
        return status;
    if (tally.json != NULL) {
        json_array_end(&w);
        json_name(&w, STR("expected_but_equal"));
        json_array(&w);
        tell_idle(&expectations, &w);
        json_array_end(&w);
        json_name(&w, STR("exchanges"));
        json_write_i64(&w, (int64_t)tally.exchanges);
        json_object_end(&w);
        buf_add_char(&out, '\n');
        out_str(buf_str(&out));
    } else {
        tell_idle(&expectations, NULL);
        out_printf("%zu exchanges, %zu unexpected differences, %zu expected ones\n", tally.exchanges, tally.unexpected,
                   tally.expected);
    }
    return tally.unexpected == 0 ? 0 : 1;
}
