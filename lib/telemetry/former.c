/*
 * former.c - taking over a predecessor's counts.
 */
#include "telemetry/former.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "runtime/heirloom.h"
#include "runtime/log.h"

#define NAME "usher-telemetry"

static bool is_dead(const Region *region) {
    for (size_t i = 0; i < region->n_slots; i++) {
        pid_t pid = __atomic_load_n(&region->slots[i].pid, __ATOMIC_RELAXED);
        if (pid > 0 && (kill(pid, 0) == 0 || errno == EPERM))
            return false;
    }
    return true;
}

static void fold(TelemetryState *state, const Region *former) {
    Region *region = state->region;
    for (size_t i = 0; i < former->n_slots; i++) {
        metrics_fold(&region->slots[region->n_slots - 1], &former->slots[i]);
        region->refused_spans += load_u64(&former->slots[i].ring.dropped);
    }
    region->exported_spans += load_u64(&former->exported_spans);
    region->exported_logs += load_u64(&former->exported_logs);
    region->failed_batches += load_u64(&former->failed_batches);
    region->refused_spans += load_u64(&former->refused_spans);
    region->refused_logs += load_u64(&former->refused_logs);
}

static void take_one(TelemetryState *state, int fd) {
    Region *former = region_map(fd);
    if (former == NULL) {
        LOG_I(NULL, "counters begin anew: the predecessor counts in another form");
        close(fd);
        return;
    }
    state->region->began_unix_ns = MIN_OF(state->region->began_unix_ns, former->began_unix_ns);
    if (state->n_formers < FORMERS_MAX && !is_dead(former) && former_offer(fd) == ERR_OK) {
        state->formers[state->n_formers++] = former;
        return;
    }
    fold(state, former);
    region_free(former);
    close(fd);
}

void formers_take(TelemetryState *state) {
    int fds[FORMERS_MAX + 1];
    size_t n = 0;
    while (n < ARRAY_LEN(fds) && (fds[n] = heirloom_remove(NAME)) >= 0)
        n++;
    for (size_t i = 0; i < n; i++)
        take_one(state, fds[i]);
}

void formers_done(TelemetryState *state) {
    while (state->n_formers > 0)
        region_free(state->formers[--state->n_formers]);
    for (int fd; (fd = heirloom_remove(NAME)) >= 0;)
        close(fd);
}

Err former_offer(int fd) {
    return heirloom_add(NAME, fd);
}
