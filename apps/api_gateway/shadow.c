/*
 * shadow.c - taking copies off the rings, as many at once as are allowed.
 */
#include "api_gateway/shadow_impl.h"
#include "base/heap.h"
#include "runtime/log.h"

enum { RECORD_MAX = 512 * 1024, JOB_BYTES = 16 << 20, WATCH_MS = 1000, KNOWN_POLL_MS = 20, PAIRS_MAX = 200000 };

void shadow_slot_free(Shadow *shadow) {
    shadow->active--;
    if (shadow->slot_wanted)
        wait_wake(&shadow->slot, ERR_OK);
    shadow->slot_wanted = false;
}

static void begin(Shadow *shadow) {
    Job *job = HEAP_NEW(Job);
    bool lost = false;
    if (job == NULL)
        return;
    *job = (Job){.shadow = shadow, .record = buf_new(NULL, RECORD_MAX)};
    CoOptions options = {.name = "compare", .arena_limit_bytes = JOB_BYTES};
    if (board_take(shadow->options.board, shadow->options.shadow, &job->record, &lost)) {
        shadow->active++;
        if (co_spawn(shadow->loop, shadow_job_co, job, &options, NULL) == ERR_OK)
            return;
        shadow->active--;
        lost = true;
    }
    if (lost)
        board_skipped(shadow->options.board, board_shadow_slot(shadow->options.board, shadow->options.shadow), 0,
                      SKIP_CANNOT);
    buf_done(&job->record);
    heap_free(job);
}

static CO_FN void take_co(Ctx *ctx, void *arg) {
    Shadow *shadow = arg;
    int fd = board_wake_fd(shadow->options.board, shadow->options.shadow);
    (void)ctx;
    while (!shadow->pairs_known)
        if (co_sleep(KNOWN_POLL_MS) != ERR_OK)
            return;
    for (;;) {
        Err err = ERR_OK;
        if (shadow->active >= shadow->options.concurrency) {
            shadow->slot_wanted = true;
            shadow->slot = (Wait){0};
            err = co_wait(&shadow->slot, 0);
            shadow->slot_wanted = false;
        } else if (board_sleep(shadow->options.board, shadow->options.shadow)) {
            err = co_wait_fd(fd, CO_READABLE, clock_mono_ms() + WATCH_MS);
        } else {
            begin(shadow);
        }
        if (err == ERR_CANCELLED)
            return;
        if (err != ERR_OK && err != ERR_TIMEOUT && co_sleep(WATCH_MS) != ERR_OK)
            return;
    }
}

Err shadow_start(Loop *loop, const ShadowOptions *options, Shadow **ret) {
    Shadow *shadow = HEAP_NEW(Shadow);
    if (shadow == NULL)
        return ERR_NO_MEMORY;
    shadow->loop = loop;
    shadow->options = *options;
    shadow->differ = (Differ){.ids = id_pairs_new(PAIRS_MAX), .learn = options->learn};
    *ret = shadow; /* freed by the caller, also when what follows fails */
    if (shadow->differ.ids == NULL)
        return ERR_NO_MEMORY;
    TRY(findings_new(options->board, "live", options->samples_max, &shadow->findings));
    TRY(co_spawn(loop, take_co, shadow, &(CoOptions){.name = "take"}, NULL));
    return keeper_start(shadow);
}

void shadow_free(Shadow *shadow) {
    if (shadow == NULL)
        return;
    findings_free(shadow->findings);
    id_pairs_free(shadow->differ.ids);
    for (size_t i = 0; i < 2; i++)
        if (shadow->expected_arenas[i] != NULL)
            arena_free(shadow->expected_arenas[i]);
    heap_free(shadow);
}
