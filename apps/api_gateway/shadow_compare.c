/*
 * shadow_compare.c - one copy: the other side's answer, the comparison, and, where it differs, a second look.
 *
 * A first difference proves little: the data may not have been copied yet, and some fields change by themselves. So
 * both sides are asked again a little later (or when the sync has passed that point). What is gone by then was lag;
 * what the old side does not repeat itself is noise; what is left twice in the same way is real.
 */
#include "api_gateway/shadow_impl.h"
#include "base/heap.h"
#include "telemetry/instrument.h"
#include "telemetry/metrics.h"
#include "telemetry/telemetry.h"

enum { BODY_MAX = 256 * 1024, HEAD_MAX = 64 * 1024, ROUNDS_MAX = 3, WATERMARK_POLL_MS = 50 };

void looking_skip(const Looking *look, SkipReason reason) {
    const ShadowOptions *options = &look->shadow->options;
    board_skipped(options->board, board_shadow_slot(options->board, options->shadow), look->copy.route, reason);
    metric_add(METRIC_SHADOW_SKIPPED, 1, LABELS({"usher.reason", skip_reason_name(reason), 0}));
}

/* --- asking a side ------------------------------------------------------------------------------------------------ */

/* Between two hops only, or about a body, which gets its own; and no compression, which could not be compared. */
static bool is_sent(Str name) {
    static const Str not_sent[] = {
        STR_INIT("connection"),       STR_INIT("keep-alive"),
        STR_INIT("proxy-connection"), STR_INIT("te"),
        STR_INIT("trailer"),          STR_INIT("transfer-encoding"),
        STR_INIT("upgrade"),          STR_INIT("expect"),
        STR_INIT("accept-encoding"),  STR_INIT("content-length"),
        STR_INIT("usher-side"),       STR_INIT("usher-mirror"),
        STR_INIT("http2-settings"),   STR_INIT("usher-trial"),
    };
    for (size_t i = 0; i < ARRAY_LEN(not_sent); i++)
        if (str_eq_nocase(name, not_sent[i]))
            return false;
    return true;
}

void looking_head(const Looking *look, Str method, Str target, Buf *out) {
    bool traces = telemetry_traces();
    buf_add(out, method);
    buf_add_char(out, ' ');
    buf_add(out, target);
    buf_add_c(out, " HTTP/1.1\r\n");
    for (size_t i = 0; i < look->request_n; i++) {
        Str name = look->request_headers[i].name;
        if (!is_sent(name) || (traces && str_eq_nocase(name, STR("traceparent"))))
            continue;
        buf_add(out, name);
        buf_add(out, STR(": "));
        buf_add(out, look->request_headers[i].value);
        buf_add(out, STR("\r\n"));
    }
    if (traces) {
        char parent[TRACEPARENT_LEN];
        trace_format(&look->ctx->trace, parent);
        buf_printf(out, "traceparent: %.*s\r\n", TRACEPARENT_LEN, parent);
    }
    buf_add_c(out, "Usher-Mirror: shadow\r\n");
}

static Err request_of(const Looking *look, BoardSide side, Str *ret) {
    Buf out = buf_new(look->ctx->arena, HEAD_MAX);
    Str target = look->copy.target;
    if (side == BOARD_NEW)
        TRY(id_pairs_translate(look->shadow->differ.ids, look->ctx->arena, target, &target));
    looking_head(look, look->copy.method, target, &out);
    buf_add_c(&out, "\r\n");
    return buf_finish(&out, ret);
}

/* NULL: it is not there, or a reload has taken it away. */
static Upstream *upstream_of(const Looking *look, BoardSide side) {
    return gateway_upstream_named(look->shadow->options.gateway, look->copy.sides[side]);
}

static CO_FN Err fetch(const Looking *look, BoardSide side, Upstream *upstream, UpstreamAnswer *ret,
                       UpstreamFailure *ret_failure) {
    const ShadowOptions *options = &look->shadow->options;
    size_t slot = board_shadow_slot(options->board, options->shadow);
    UpstreamRequest request = {.idempotent = true};
    TRY(request_of(look, side, &request.head));
    int64_t began_ns = clock_mono_ns();
    board_begin(options->board, slot, look->copy.route, BOARD_MIRROR);
    look->ctx->deadline_ms = clock_mono_ms() + options->timeout_ms;
    Err err = upstream_fetch(look->ctx, upstream, &request, BODY_MAX, ret, ret_failure);
    look->ctx->deadline_ms = 0;
    board_end(options->board, slot, look->copy.route, BOARD_MIRROR, err != ERR_OK || ret->status >= 500,
              clock_mono_ns() - began_ns);
    return err;
}

/* An answer, or the word for why there is none (status 0). */
static CO_FN void ask(const Looking *look, BoardSide side, Answer *ret) {
    UpstreamAnswer answer = {0};
    UpstreamFailure failure = UPSTREAM_WELL;
    Span span;
    *ret = (Answer){.body = STR("no_instance")};
    Upstream *upstream = upstream_of(look, side);
    if (upstream == NULL)
        return;
    telemetry_client_begin(look->ctx, &span);
    Err err = fetch(look, side, upstream, &answer, &failure);
    const char *why = err == ERR_OK ? NULL : failure == UPSTREAM_WELL ? err_name(err) : upstream_failure_name(failure);
    MirroredRequest asked = {.method = look->copy.method,
                             .target = look->copy.target,
                             .upstream = look->copy.sides[side],
                             .backend = gateway_side_name(side == BOARD_NEW ? SIDE_NEW : SIDE_OLD),
                             .status = err == ERR_OK ? answer.status : 0,
                             .failure = why};
    telemetry_mirror_end(look->ctx, &span, &asked);
    if (err != ERR_OK)
        ret->body = str_c(why);
    else
        *ret = (Answer){.status = answer.status,
                        .headers = answer.headers,
                        .header_count = answer.header_count,
                        .body = answer.body};
}

Err looking_primary(const Looking *look, Answer *ret) {
    *ret = (Answer){.status = look->copy.status, .body = look->copy.body};
    return copy_headers(look->ctx->arena, look->copy.answer_lines, &ret->headers, &ret->header_count);
}

/* --- judging ------------------------------------------------------------------------------------------------------ */

void looking_settle(Looking *look, const Comparison *comparison, Outcome outcome) {
    static const char *const names[] = {"equal", "noise", "real", "lag", "expected"};
    findings_add(look->shadow->findings, &look->copy, &look->old_answer, &look->new_answer, comparison, outcome);
    metric_add(METRIC_SHADOW_COMPARED, 1, LABELS({"usher.outcome", names[outcome], 0}));
}

Outcome looking_calm(const Comparison *comparison) {
    return comparison->expected > 0 ? OUTCOME_EXPECTED : comparison->noise > 0 ? OUTCOME_NOISY : OUTCOME_EQUAL;
}

static bool is_noise_in(const Comparison *comparison, const Difference *wanted) {
    for (const Difference *row = comparison->first; row != NULL; row = row->next)
        if (row->noise && row->kind == wanted->kind && str_eq(row->place, wanted->place))
            return true;
    return false;
}

/** All that was real before is the old side's own noise. */
static bool was_noise(const Comparison *before, const Comparison *now) {
    for (const Difference *row = before->first; row != NULL; row = row->next)
        if (!row->noise && row->expected == NULL && !is_noise_in(now, row))
            return false;
    return true;
}

CO_FN Err looking_wait_for_sync(const Looking *look, int round) {
    const ShadowOptions *options = &look->shadow->options;
    int64_t until_ms = clock_mono_ms() + options->recheck_ms * round;
    Instant at = instant_from_unix_us(look->copy.at_us + look->copy.answer_ns / 1000);
    while (clock_mono_ms() < until_ms) {
        if (options->watermark != NULL && options->watermark->passed(options->watermark->data, at))
            return ERR_OK;
        TRY(co_sleep(options->watermark == NULL ? until_ms - clock_mono_ms() : WATERMARK_POLL_MS));
    }
    return ERR_OK;
}

static CO_FN Err look_again(Looking *look, const Comparison *first) {
    Shadow *shadow = look->shadow;
    Str route = str_c(board_route(shadow->options.board, look->copy.route)->label);
    Comparison before = *first, now = *first;
    Answer old_before = look->old_answer, new_before = look->new_answer;
    for (int round = 1; round <= ROUNDS_MAX; round++) {
        TRY(looking_wait_for_sync(look, round));
        ask(look, BOARD_LEGACY, &look->old_answer);
        ask(look, BOARD_NEW, &look->new_answer);
        if (look->old_answer.status == 0) {
            looking_skip(look, SKIP_BROKEN);
            return ERR_OK;
        }
        shadow->differ.now = clock_now();
        TRY(differ_compare(&shadow->differ, look->ctx->arena, route, &look->old_answer, &old_before, &look->new_answer,
                           &now));
        if (now.real == 0 && was_noise(&before, &now)) {
            looking_settle(look, &now, looking_calm(&now));
            return ERR_OK;
        }
        if (now.real == 0) { /* told by what it was, not by what it is now */
            look->old_answer = old_before;
            look->new_answer = new_before;
            looking_settle(look, &before, OUTCOME_LAG);
            return ERR_OK;
        }
        if (comparison_same(&now, &before))
            break;
        before = now;
        old_before = look->old_answer;
        new_before = look->new_answer;
    }
    looking_settle(look, &now, OUTCOME_REAL);
    return ERR_OK;
}

static bool has_no_answer(const Comparison *comparison) {
    return comparison->first != NULL && comparison->first->kind == DIFFERS_ANSWER;
}

/* Without a slot while it waits; as many as may. */
bool looking_begin_wait(Looking *look) {
    Shadow *shadow = look->shadow;
    if (look->has_slot)
        shadow_slot_free(shadow);
    look->has_slot = false;
    if (shadow->rechecks >= shadow->options.rechecks_max) {
        looking_skip(look, SKIP_RECHECK);
        return false;
    }
    shadow->rechecks++;
    return true;
}

void looking_end_wait(Looking *look) {
    look->shadow->rechecks--;
}

static CO_FN Err compare(Looking *look) {
    Shadow *shadow = look->shadow;
    BoardSide other = look->copy.primary == BOARD_LEGACY ? BOARD_NEW : BOARD_LEGACY;
    Answer *primary = other == BOARD_NEW ? &look->old_answer : &look->new_answer;
    Answer *mirrored = other == BOARD_NEW ? &look->new_answer : &look->old_answer;
    Comparison comparison;
    TRY(copy_headers(look->ctx->arena, look->copy.request_lines, &look->request_headers, &look->request_n));
    TRY(looking_primary(look, primary));
    ask(look, other, mirrored);
    if (co_is_cancelled())
        return ERR_CANCELLED;
    if (look->old_answer.status == 0) {
        looking_skip(look, SKIP_BROKEN);
        return ERR_OK;
    }
    shadow->differ.now = clock_now();
    TRY(differ_compare(&shadow->differ, look->ctx->arena,
                       str_c(board_route(shadow->options.board, look->copy.route)->label), &look->old_answer, NULL,
                       &look->new_answer, &comparison));
    if (comparison.real == 0) {
        looking_settle(look, &comparison, looking_calm(&comparison));
        return ERR_OK;
    }
    if (has_no_answer(&comparison)) {
        looking_settle(look, &comparison, OUTCOME_REAL);
        return ERR_OK;
    }
    if (!looking_begin_wait(look))
        return ERR_OK;
    Err err = look_again(look, &comparison);
    looking_end_wait(look);
    return err;
}

static CO_FN Err look_at(Looking *look) {
    if (look->copy.kind == COPY_CALLER) {
        findings_caller(look->shadow->findings, look->copy.route, look->copy.caller);
        return ERR_OK;
    }
    if (!str_eq_c(look->copy.method, "GET"))
        return shadow_try(look);
    if (upstream_of(look, BOARD_LEGACY) != NULL && upstream_of(look, BOARD_NEW) != NULL)
        return compare(look);
    looking_skip(look, SKIP_BROKEN);
    return ERR_OK;
}

CO_FN void shadow_job_co(Ctx *ctx, void *arg) {
    Job *job = arg;
    Looking look = {.shadow = job->shadow, .ctx = ctx, .has_slot = true};
    if (copy_read(buf_str(&job->record), &look.copy) == ERR_OK) {
        ctx->trace = look.copy.trace;
        Err err = look_at(&look);
        if (err != ERR_OK && err != ERR_CANCELLED)
            looking_skip(&look, SKIP_CANNOT);
    }
    if (look.has_slot)
        shadow_slot_free(job->shadow);
    buf_done(&job->record);
    heap_free(job);
}
