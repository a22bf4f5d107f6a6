/*
 * findings.c - gathering by cause.
 *
 * Two batches: one gathers while the other is on its way (findings_write.c). Each has its arena, which bounds it.
 */
#include <stdio.h>

#include "api_gateway/findings_impl.h"
#include "api_gateway/redact.h"
#include "base/heap.h"

enum {
    BATCH_BYTES = 16 << 20,
    CAUSES_MAX = 2000, /* of one batch */
    SAMPLES_MAX = 64,
    CALLERS_MAX = 1000,
    EFFECTS_MAX = 1000,
    KEY_MAX = 1024,
    TEXT_MAX = 64 * 1024,
    LINES_MAX = 8 * 1024
};

bool batch_clear(Batch *batch) {
    if (batch->arena == NULL)
        batch->arena = arena_new(BATCH_BYTES);
    else
        arena_reset(batch->arena);
    Arena *arena = batch->arena;
    *batch = (Batch){.arena = arena};
    if (arena == NULL)
        return false;
    batch->causes = map_new(arena, 64);
    batch->callers = map_new(arena, 64);
    batch->effects = map_new(arena, 64);
    return batch->causes != NULL && batch->callers != NULL && batch->effects != NULL;
}

Err findings_new(const Board *board, const char *source, int64_t samples_max, Findings **ret) {
    Findings *findings = HEAP_NEW(Findings);
    if (findings == NULL)
        return ERR_NO_MEMORY;
    findings->board = board;
    findings->source = source;
    findings->samples_max = samples_max;
    if (!batch_clear(&findings->batches[0]) || !batch_clear(&findings->batches[1])) {
        findings_free(findings);
        return ERR_NO_MEMORY;
    }
    /* Totals live as long as the board, longer than we: what was skipped before is somebody else's. */
    for (size_t i = 0; i < board_route_count(board); i++)
        for (SkipReason reason = 0; reason < SKIP_COUNT; reason++)
            findings->skipped_before[i] += board_skips(board, i, reason);
    *ret = findings;
    return ERR_OK;
}

void findings_free(Findings *findings) {
    if (findings == NULL)
        return;
    for (size_t i = 0; i < 2; i++)
        if (findings->batches[i].arena != NULL)
            arena_free(findings->batches[i].arena);
    heap_free(findings);
}

uint64_t findings_lost(const Findings *findings) {
    return findings->lost;
}

/* --- gathering ---------------------------------------------------------------------------------------------------- */

static Str redacted_headers(Arena *arena, const Header *headers, size_t n) {
    Buf out = buf_new(arena, TEXT_MAX);
    for (size_t i = 0; i < n; i++) {
        buf_printf(&out, "%.*s: ", STR_ARG(headers[i].name));
        if (redact_is_secret(headers[i].name))
            redact_mark(&out, headers[i].value.n);
        else
            buf_add(&out, headers[i].value);
        buf_add_char(&out, '\n');
    }
    return buf_str(&out);
}

/** Cut where it is too long: a sample shows, it does not archive. */
static Str shown_body(Arena *arena, Str body) {
    Str text;
    if (redact_body(arena, body, &text) != ERR_OK)
        return STR("[not kept]");
    text = str_slice(text, 0, TEXT_MAX);
    for (int i = 0; i < 3 && text.n > 0 && !utf8_valid(text); i++)
        text.n--; /* of one character that was cut */
    return text;
}

static Str lines_of(Arena *arena, const Comparison *comparison) {
    Buf out = buf_new(arena, LINES_MAX);
    for (const Difference *row = comparison->first; row != NULL && out.n < LINES_MAX - 1024; row = row->next)
        buf_printf(&out, "%s %.*s: %.*s / %.*s%s\n", difference_kind_name(row->kind), STR_ARG(row->place),
                   STR_ARG(row->old_value), STR_ARG(row->new_value),
                   row->noise              ? " (noise)"
                   : row->expected != NULL ? " (expected)"
                                           : "");
    return buf_str(&out);
}

static Sample *sample_of(Batch *batch, const Copy *copy, const Answer *old_answer, const Answer *new_answer,
                         const Comparison *comparison) {
    Sample *sample = batch->samples >= SAMPLES_MAX ? NULL : ARENA_NEW(batch->arena, Sample);
    const Header *headers;
    size_t n;
    if (sample == NULL || copy_headers(batch->arena, copy->request_lines, &headers, &n) != ERR_OK)
        return NULL;
    batch->samples++;
    *sample = (Sample){
        .method = arena_str(batch->arena, copy->method),
        .request_headers = redacted_headers(batch->arena, headers, n),
        .old_status = old_answer->status,
        .old_headers = redacted_headers(batch->arena, old_answer->headers, old_answer->header_count),
        .old_body = shown_body(batch->arena, arena_str(batch->arena, old_answer->body)),
        .new_status = new_answer->status,
        .new_headers = redacted_headers(batch->arena, new_answer->headers, new_answer->header_count),
        .new_body = shown_body(batch->arena, arena_str(batch->arena, new_answer->body)),
        .differences = lines_of(batch->arena, comparison),
        .request_body = shown_body(batch->arena, arena_str(batch->arena, copy->request_body)),
        .effects = shown_body(batch->arena, arena_str(batch->arena, new_answer->effects)),
    };
    if (redact_target(batch->arena, arena_str(batch->arena, copy->target), &sample->target) != ERR_OK)
        return NULL;
    return sample;
}

static Str key_of(char out[KEY_MAX], size_t route, Str pointer, const char *kind, FindingClass class) {
    size_t n = (size_t)snprintf(out, KEY_MAX / 2, "%zu %s %d ", route, kind, (int)class);
    pointer = str_slice(pointer, 0, KEY_MAX - n);
    if (pointer.n > 0)
        memcpy(out + n, pointer.p, pointer.n);
    return (Str){out, n + pointer.n};
}

static Cause *cause_of(Findings *findings, Batch *batch, size_t route, const Difference *difference,
                       FindingClass class) {
    char buffer[KEY_MAX];
    Str key = key_of(buffer, route, difference->pointer, difference_kind_name(difference->kind), class);
    Cause *cause = map_get(batch->causes, key);
    if (cause != NULL)
        return cause;
    cause = map_count(batch->causes) >= CAUSES_MAX ? NULL : ARENA_NEW(batch->arena, Cause);
    if (cause == NULL || map_put(batch->causes, arena_str(batch->arena, key), cause, NULL) != ERR_OK) {
        findings->lost++;
        return NULL;
    }
    *cause = (Cause){.route = route,
                     .pointer = arena_str(batch->arena, difference->pointer),
                     .kind = difference->kind,
                     .class = class};
    return cause;
}

void findings_add(Findings *findings, const Copy *copy, const Answer *old_answer, const Answer *new_answer,
                  const Comparison *comparison, Outcome outcome) {
    Batch *batch = &findings->batches[findings->gathering];
    batch->any = true;
    batch->tallies[copy->route].outcomes[outcome]++;
    for (IdPair *pair = comparison->learnt; pair != NULL; pair = pair->next) {
        IdPair *kept = ARENA_NEW(batch->arena, IdPair);
        if (kept == NULL)
            break;
        *kept = (IdPair){arena_str(batch->arena, pair->kind), pair->old_id, pair->new_id, batch->pairs};
        batch->pairs = kept;
    }
    Sample *sample = NULL; /* one for all causes that this exchange shows */
    for (const Difference *row = comparison->first; row != NULL; row = row->next) {
        if (row->noise)
            continue;
        FindingClass class = row->expected != NULL    ? FINDING_EXPECTED
                             : outcome == OUTCOME_LAG ? FINDING_LAG
                                                      : FINDING_REAL;
        Cause *cause = cause_of(findings, batch, copy->route, row, class);
        if (cause == NULL)
            continue;
        cause->count++;
        cause->at_us = MAX_OF(cause->at_us, copy->at_us);
        cause->old_value = arena_str(batch->arena, row->old_value);
        cause->new_value = arena_str(batch->arena, row->new_value);
        if (cause->sample == NULL && sample == NULL)
            sample = sample_of(batch, copy, old_answer, new_answer, comparison);
        cause->sample = cause->sample == NULL ? sample : cause->sample;
    }
}

/* "users.outbox_3" is a partition of what everybody calls the outbox. */
static Str table_of(Str name) {
    size_t n = name.n;
    while (n > 0 && name.p[n - 1] >= '0' && name.p[n - 1] <= '9')
        n--;
    return n > 1 && n < name.n && name.p[n - 1] == '_' ? str_slice(name, 0, n - 1) : name;
}

static void add_effect(Findings *findings, size_t route, const Effect *more) {
    Batch *batch = &findings->batches[findings->gathering];
    Str key = arena_printf(batch->arena, "%zu %.*s", route, STR_ARG(more->what));
    Effect *found = map_get(batch->effects, key);
    if (found == NULL) {
        found = map_count(batch->effects) >= EFFECTS_MAX ? NULL : ARENA_NEW(batch->arena, Effect);
        if (found == NULL || map_put(batch->effects, key, found, NULL) != ERR_OK) {
            findings->lost++;
            return;
        }
        *found = (Effect){.route = route, .what = arena_str(batch->arena, more->what)};
    }
    found->inserted += more->inserted;
    found->updated += more->updated;
    found->deleted += more->deleted;
    found->published += more->published;
    batch->any = true;
}

void findings_effects(Findings *findings, size_t route, const Json *actions) {
    for (const Json *action = actions == NULL ? NULL : actions->first; action != NULL; action = action->next) {
        const Json *tables = json_member(action, "tables"), *messages = json_member(action, "messages");
        for (const Json *row = tables == NULL ? NULL : tables->first; row != NULL; row = row->next)
            add_effect(findings, route,
                       &(Effect){.what = table_of(json_text(json_member(row, "table"))),
                                 .inserted = json_i64(json_member(row, "inserted"), 0),
                                 .updated = json_i64(json_member(row, "updated"), 0),
                                 .deleted = json_i64(json_member(row, "deleted"), 0)});
        for (const Json *row = messages == NULL ? NULL : messages->first; row != NULL; row = row->next)
            add_effect(findings, route, &(Effect){.what = json_text(json_member(row, "type")), .published = 1});
    }
}

void findings_skipped(Findings *findings, size_t route, uint64_t total) {
    Batch *batch = &findings->batches[findings->gathering];
    if (total <= findings->skipped_before[route])
        return;
    batch->tallies[route].skipped += (int64_t)(total - findings->skipped_before[route]);
    findings->skipped_before[route] = total;
    batch->any = true;
}

void findings_caller(Findings *findings, size_t route, Str caller) {
    Batch *batch = &findings->batches[findings->gathering];
    Str key = arena_printf(batch->arena, "%zu %.*s", route, STR_ARG(caller));
    Caller *found = map_get(batch->callers, key);
    if (found == NULL) {
        found = map_count(batch->callers) >= CALLERS_MAX ? NULL : ARENA_NEW(batch->arena, Caller);
        if (found == NULL || map_put(batch->callers, key, found, NULL) != ERR_OK) {
            findings->lost++;
            return;
        }
        *found = (Caller){route, arena_str(batch->arena, caller), 0};
    }
    found->count++;
    batch->any = true;
}
