/*
 * trial_role.c - sockets and a key made before the first fork; a server in each worker.
 *
 * Its workers record no telemetry: what they do has no effect, and counted beside real actions it would lie.
 */
#include "usher/trial_role.h"

#include <stdio.h>

#include "base/uuid.h"
#include "usher/listeners.h"
#include "usher/trial_server.h"

enum { URL_MAX = 40, TRIALS_MAX = 16 };

/* Made before the first fork, the same in every process. */
static int ports[TRIALS_MAX];
static int n_ports;
static char key[ID_TEXT_LEN * 2];

int trial_role_count(const Settings *settings, int shadows) {
    return shadows > 0 ? (int)settings->shadow_trials : 0;
}

Err trial_role_prepare(int trials, Arena *arena) {
    if (trials == 0)
        return ERR_OK;
    ASSERT(trials <= TRIALS_MAX);
    for (size_t i = 0; i < sizeof key; i += ID_TEXT_LEN) {
        Id id = id_random();
        id_format(&id, key + i);
    }
    TRY(listeners_open_loopback("trial", trials, ports, arena));
    n_ports = trials;
    return ERR_OK;
}

Err trial_role_upstream(Loop *loop, const Settings *settings, Upstream **ret) {
    char texts[TRIALS_MAX][URL_MAX];
    Str urls[TRIALS_MAX];
    *ret = NULL;
    if (n_ports == 0)
        return ERR_OK;
    for (int i = 0; i < n_ports; i++)
        urls[i] = (Str){texts[i], (size_t)snprintf(texts[i], URL_MAX, "http://127.0.0.1:%d", ports[i])};
    UpstreamOptions options = {
        .name = STR("trial"), .urls = urls, .url_count = (size_t)n_ports, .limits = UPSTREAM_LIMITS_DEFAULT};
    options.limits.requests_max = TRIALS_AT_ONCE;
    options.limits.queue_max = settings->shadow_concurrency + settings->shadow_rechecks;
    options.limits.queue_ms = settings->shadow_timeout_ms;
    options.limits.slow_start_ms = 1;
    return upstream_new(loop, &options, ret);
}

Str trial_role_key(void) {
    return (Str){key, sizeof key};
}

Err trial_role_start(Worker *worker) {
    const Settings *settings = worker->settings;
    int fds[LISTENERS_PER_WORKER];
    listeners_close_but("trial", worker->index);
    arena_set_budget((size_t)settings->memory_max_bytes);
    TrialServerOptions options = {.loop = worker->loop,
                                  .settings = settings,
                                  .fds = fds,
                                  .n_fds = listeners_of("trial", worker->index, fds),
                                  .askers = (int)settings->shadow_workers,
                                  .key = trial_role_key()};
    return trial_server_start(&options);
}

static void on_drained(void *worker) {
    worker_drained(worker);
}

void trial_role_drain(Worker *worker) {
    trial_server_drain(on_drained, worker);
}
