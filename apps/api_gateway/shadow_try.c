/*
 * shadow_try.c - one copy of a write: tried where nothing stays, and compared with what the old side did.
 *
 * Writes have no second look. The old side is never asked again, since that would write; a second trial would meet
 * other data than the first and prove nothing. What can be known otherwise is: the trace of a problem is each answer's
 * own (differ.h), and two cases in which the trial met other data than the old side are told apart by reading, not by
 * trying again:
 *
 *   own result   the old side made something, the trial was refused, and what was made is there: the sync was faster.
 *                Nothing was compared; skipped, and counted.
 *   lag          what the write is about was not there, and is a little later: the sync was slower.
 */
#include "api_gateway/shadow_impl.h"
#include "api_gateway/trials.h"
#include "telemetry/instrument.h"
#include "telemetry/metrics.h"

enum {
    ENVELOPE_MAX = 4 << 20,
    REQUEST_MAX = 128 * 1024,
    EFFECTS_MAX = 4 << 20,
    HEAR_POLL_MS = 20,
    CLOCK_SLACK_US = 1000 /* two clocks, rounded */
};

/* --- asking ------------------------------------------------------------------------------------------------------- */

static bool has_body(const Looking *look) {
    for (size_t i = 0; i < look->request_n; i++)
        if (str_eq_nocase(look->request_headers[i].name, STR("content-length")) ||
            str_eq_nocase(look->request_headers[i].name, STR("transfer-encoding")))
            return true;
    return look->copy.request_body.n > 0;
}

static Err request_of(const Looking *look, Str method, Str target, bool with_body, UpstreamRequest *ret) {
    const ShadowOptions *options = &look->shadow->options;
    Buf out = buf_new(look->ctx->arena, REQUEST_MAX);
    Str body = look->copy.request_body;
    TRY(id_pairs_translate(look->shadow->differ.ids, look->ctx->arena, target, &target));
    looking_head(look, method, target, &out);
    buf_printf(&out, TRIAL_KEY_HEADER ": %.*s\r\n", STR_ARG(options->trial_key));
    if (with_body) {
        TRY(id_pairs_translate(look->shadow->differ.ids, look->ctx->arena, body, &body));
        buf_printf(&out, "Content-Length: %zu\r\n", body.n);
        ret->body = body;
    }
    buf_add_c(&out, "\r\n");
    return buf_finish(&out, &ret->head);
}

static CO_FN Err fetch(const Looking *look, Str method, Str target, bool with_body, UpstreamAnswer *ret) {
    const ShadowOptions *options = &look->shadow->options;
    UpstreamRequest request = {0};
    TRY(request_of(look, method, target, with_body, &request));
    look->ctx->deadline_ms = clock_mono_ms() + options->timeout_ms;
    Err err = upstream_fetch(look->ctx, options->trials, &request, ENVELOPE_MAX, ret, NULL);
    look->ctx->deadline_ms = 0;
    return err;
}

/* ERR_UNAVAILABLE: no whole answer. Not sent twice in any case: what kills a process for trials kills one. */
static CO_FN Err ask(const Looking *look, Str method, Str target, bool with_body, TrialAnswer *ret) {
    UpstreamAnswer got = {0};
    Span span;
    telemetry_client_begin(look->ctx, &span);
    Err err = fetch(look, method, target, with_body, &got);
    MirroredRequest asked = {.method = method,
                             .target = target,
                             .upstream = upstream_name(look->shadow->options.trials),
                             .backend = "trial",
                             .status = err == ERR_OK ? got.status : 0,
                             .failure = err == ERR_OK ? NULL : err_name(err)};
    telemetry_mirror_end(look->ctx, &span, &asked);
    if (err != ERR_OK)
        return err == ERR_CANCELLED || err == ERR_NO_MEMORY ? err : ERR_UNAVAILABLE;
    HttpAnswer answer = {
        .status = got.status, .headers = got.headers, .header_count = got.header_count, .body = got.body};
    return trial_answer_read(look->ctx->arena, &answer, ret);
}

/* Is there something at that place? A read, by the same process, whose reader may not write. */
static CO_FN Err is_there(const Looking *look, Str target, bool *ret) {
    TrialAnswer answer;
    TRY(ask(look, STR("GET"), target, false, &answer));
    *ret = answer.answer.status == 200;
    return ERR_OK;
}

static Err effects_of(Arena *arena, const Json *actions, Str *ret) {
    Buf out = buf_new(arena, EFFECTS_MAX);
    JsonWriter w;
    if (actions == NULL)
        return ERR_OK;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 0);
    json_write_value(&w, actions);
    return buf_finish(&out, ret);
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

typedef struct Listening {
    const Looking *look;
    Differ *differ;
    Str route;
    int64_t since_us, until_ms;
} Listening;

static void count_message(const char *outcome) {
    metric_add(METRIC_SHADOW_MESSAGES, 1, LABELS({"usher.outcome", outcome, 0}));
}

/* What the old side calls it. */
static Id about(const Listening *l, const Json *message) {
    Id id = {{0}};
    if (id_parse(json_text(json_member(message, "id")), ID_FORM_D, &id) != ERR_OK)
        return (Id){{0}};
    return l->differ->made != NULL && id_eq(id, l->differ->made->new_id) ? l->differ->made->old_id : id;
}

/* What is expected may have been read anew since we began to wait. */
static Differ *renewed(const Listening *l) {
    l->differ->expected = l->look->shadow->differ.expected;
    l->differ->expected_n = l->look->shadow->differ.expected_n;
    return l->differ;
}

static Err compare_with(const Listening *l, Str type, const Heard *heard, const Json *would, Comparison *comparison) {
    static const Json nothing = {.kind = JSON_NULL};
    Arena *arena = l->look->ctx->arena;
    Json *envelope;
    const Json *message = NULL;
    Str body = arena_str(arena, heard->body);
    if (body.p == NULL)
        return ERR_NO_MEMORY;
    Err err = json_parse(body, arena, JSON_DUPLICATES_LAST, &envelope, NULL);
    if (err == ERR_NO_MEMORY)
        return err;
    if (err == ERR_OK)
        message = json_member(envelope, "message");
    return differ_message(renewed(l), arena, l->route, type, message == NULL ? &nothing : message, would, comparison);
}

static Heard *next(const Listening *l, Str type, const Json *would, uint64_t *at) {
    return ear_next(l->look->shadow->options.ear, type, about(l, would), l->since_us, at);
}

/* Takes the one that is equal; each is looked at once. The last look is behind a turn of the loop that began after the
 * deadline: a process that stood still finds what came meanwhile. */
static CO_FN Err wait_for_equal(const Listening *l, Str type, const Json *would, Comparison *comparison, bool *ret) {
    uint64_t at = 0;
    for (bool over = false;;) {
        for (Heard *heard; (heard = next(l, type, would, &at)) != NULL;) {
            Comparison own = {0};
            TRY(compare_with(l, type, heard, would, &own));
            if (own.real > 0)
                continue;
            heard->taken = true;
            *ret = true;
            return compare_with(l, type, heard, would, comparison); /* what is expected is told */
        }
        *ret = false;
        if (over)
            return ERR_OK;
        over = clock_mono_ms() >= l->until_ms;
        TRY(co_sleep(HEAR_POLL_MS));
    }
}

/* Several writes about the same thing may be under way at once, and are tried in any order: hence an equal one is
 * waited for before another is taken for it. */
static CO_FN Err hear(const Listening *l, Str type, const Json *would, Comparison *comparison) {
    bool equal;
    uint64_t at = 0;
    TRY(wait_for_equal(l, type, would, comparison, &equal));
    Heard *earliest = equal ? NULL : next(l, type, would, &at);
    bool heard_all = ear_has_all(l->look->shadow->options.ear, l->since_us);
    count_message(equal ? "equal" : !heard_all ? "not_heard" : earliest != NULL ? "differs" : "not_seen");
    if (equal || !heard_all)
        return ERR_OK;
    if (earliest == NULL)
        return differ_message(renewed(l), l->look->ctx->arena, l->route, type, NULL, would, comparison);
    earliest->taken = true;
    return compare_with(l, type, earliest, would, comparison);
}

static bool publishes(const Json *actions) {
    for (const Json *action = actions == NULL ? NULL : actions->first; action != NULL; action = action->next) {
        const Json *messages = json_member(action, "messages");
        if (messages != NULL && messages->first != NULL)
            return true;
    }
    return false;
}

static CO_FN Err hear_all(const Listening *l, const Json *actions, Comparison *comparison) {
    for (const Json *action = actions->first; action != NULL; action = action->next) {
        const Json *messages = json_member(action, "messages");
        for (const Json *row = messages == NULL ? NULL : messages->first; row != NULL; row = row->next)
            TRY(hear(l, json_text(json_member(row, "type")), json_member(row, "message"), comparison));
    }
    return ERR_OK;
}

/* --- other data than the old side had ----------------------------------------------------------------------------- */

static Str path_of(Str target) {
    return str_cut(&target, '?');
}

/* What the write is about: its path up to the first id. Absent: it has none. */
static Str subject_of(Str target) {
    Str path = path_of(target), rest = path;
    while (rest.p != NULL) {
        Str segment = str_cut(&rest, '/');
        Id id;
        if (id_parse(segment, ID_FORM_D, &id) == ERR_OK)
            return (Str){path.p, (size_t)(segment.p + segment.n - path.p)};
    }
    return (Str){NULL, 0};
}

static bool was_refused(const Looking *look) {
    return look->old_answer.status < 300 && look->new_answer.status >= 400 && look->new_answer.status < 500;
}

static CO_FN Err met_own_result(const Looking *look, bool *ret) {
    Id made;
    *ret = false;
    if (!was_refused(look) || !answer_made(&look->old_answer, &made))
        return ERR_OK;
    char text[ID_TEXT_LEN];
    id_format(&made, text);
    Str target = arena_printf(look->ctx->arena, "%.*s/%.*s", STR_ARG(path_of(look->copy.target)), ID_TEXT_LEN, text);
    return target.p == NULL ? ERR_NO_MEMORY : is_there(look, target, ret);
}

static CO_FN Err came_later(Looking *look, bool *ret) {
    Str subject = subject_of(look->copy.target);
    bool now = false;
    *ret = false;
    if (!was_refused(look) || subject.p == NULL)
        return ERR_OK;
    TRY(is_there(look, subject, &now));
    if (now)
        return ERR_OK;
    TRY(looking_wait_for_sync(look, 1));
    return is_there(look, subject, ret);
}

/* --- straight down ------------------------------------------------------------------------------------------------ */

static void count_answer(const Looking *look, int64_t took_ns) {
    const ShadowOptions *options = &look->shadow->options;
    size_t slot = board_shadow_slot(options->board, options->shadow);
    board_begin(options->board, slot, look->copy.route, BOARD_TRIAL);
    board_end(options->board, slot, look->copy.route, BOARD_TRIAL, look->new_answer.status >= 500, took_ns);
}

/* False: skipped, and said why. */
static CO_FN Err try_it(Looking *look, TrialAnswer *ret, bool *ret_tried) {
    int64_t began_ns = clock_mono_ns();
    *ret_tried = false;
    Err err = look->shadow->options.trials == NULL
                  ? ERR_UNAVAILABLE
                  : ask(look, look->copy.method, look->copy.target, has_body(look), ret);
    if (err == ERR_UNAVAILABLE) {
        looking_skip(look, SKIP_NO_TRIAL);
        return ERR_OK;
    }
    TRY(err);
    if (ret->answer.status == 503) {
        looking_skip(look, SKIP_NOT_TRIED);
        return ERR_OK;
    }
    look->new_answer = (Answer){.status = ret->answer.status,
                                .headers = ret->answer.headers,
                                .header_count = ret->answer.header_count,
                                .body = ret->answer.body};
    TRY(effects_of(look->ctx->arena, ret->actions, &look->new_answer.effects));
    count_answer(look, clock_mono_ns() - began_ns);
    findings_effects(look->shadow->findings, look->copy.route, ret->actions);
    *ret_tried = true;
    return ERR_OK;
}

static bool listens(const Looking *look, const Json *actions) {
    return look->shadow->options.ear != NULL && publishes(actions);
}

static Outcome outcome_of(const Comparison *comparison, bool late) {
    return comparison->real == 0 ? looking_calm(comparison) : late ? OUTCOME_LAG : OUTCOME_REAL;
}

/* A read may take a while, and the old side's message may not have come yet: all of it without a slot. */
static CO_FN Err judge(Looking *look, Differ *differ, const Json *actions, Comparison *comparison) {
    const ShadowOptions *options = &look->shadow->options;
    bool own = false, late = false;
    int64_t age_ms = (instant_to_unix_us(clock_now()) - look->copy.at_us - look->copy.answer_ns / 1000) / 1000;
    if (comparison->real > 0) {
        Err err = met_own_result(look, &own);
        if (err == ERR_OK && !own)
            err = came_later(look, &late);
        if (err != ERR_OK && err != ERR_UNAVAILABLE)
            return err;
    }
    if (own) {
        looking_skip(look, SKIP_OWN_RESULT);
        return ERR_OK;
    }
    if (listens(look, actions)) {
        Listening listening = {.look = look,
                               .differ = differ,
                               .route = str_c(board_route(options->board, look->copy.route)->label),
                               .since_us = look->copy.at_us - CLOCK_SLACK_US,
                               .until_ms = clock_mono_ms() + options->message_wait_ms - age_ms};
        TRY(hear_all(&listening, actions, comparison));
    }
    looking_settle(look, comparison, outcome_of(comparison, late));
    return ERR_OK;
}

CO_FN Err shadow_try(Looking *look) {
    Shadow *shadow = look->shadow;
    TrialAnswer trial;
    Comparison comparison;
    bool tried;
    Differ differ = shadow->differ;
    IdPair made = {0};
    TRY(copy_headers(look->ctx->arena, look->copy.request_lines, &look->request_headers, &look->request_n));
    TRY(looking_primary(look, &look->old_answer));
    TRY(try_it(look, &trial, &tried));
    if (!tried)
        return ERR_OK;
    differ.tries = true;
    differ.now = clock_now();
    if (answer_made(&look->old_answer, &made.old_id) && answer_made(&look->new_answer, &made.new_id))
        differ.made = &made;
    TRY(differ_compare(&differ, look->ctx->arena, str_c(board_route(shadow->options.board, look->copy.route)->label),
                       &look->old_answer, NULL, &look->new_answer, &comparison));
    if (comparison.real == 0 && !listens(look, trial.actions)) {
        looking_settle(look, &comparison, outcome_of(&comparison, false));
        return ERR_OK;
    }
    if (!looking_begin_wait(look))
        return ERR_OK;
    Err err = judge(look, &differ, trial.actions, &comparison);
    looking_end_wait(look);
    return err;
}
