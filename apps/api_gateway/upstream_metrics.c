/*
 * upstream_metrics.c - names that metrics know by their address, and the look once a second.
 *
 * Names follow OpenTelemetry's conventions for HTTP clients (server.address, server.port, error.type,
 * http.connection.state). A duration by instance is a metric of its own: an instance as one more label of
 * http.client.request.duration would multiply its series by the routes'. A worker has room for the
 * series of INSTANCES_MAX instances; later ones have none here, and are counted in http.client.request.duration only.
 */
#include "api_gateway/upstream_metrics.h"

#include <stdio.h>

#include "base/heap.h"
#include "telemetry/metrics.h"

enum { LOOK_MS = 1000, INSTANCES_MAX = 24, NAME_MAX_BYTES = 64, PEER_MAX = 72, SERVER_ERRORS = 100 };

/* Stays as long as the worker; only `peer` "" has no address. */
typedef struct Known {
    char upstream[NAME_MAX_BYTES], peer[PEER_MAX], address[PEER_MAX];
    int64_t port;    /* 0: none (unix) */
    uint64_t failed; /* as last seen */
    bool seen, shown;
} Known;

struct UpstreamMetrics {
    Loop *loop;
    Timer timer;
    Upstream *const *upstreams;
    size_t upstream_n;
};

/* A process is one worker, and its metrics point here whatever becomes of the gateway. */
static struct {
    Known known[INSTANCES_MAX];
    size_t n;
    char server_errors[SERVER_ERRORS][4];
} self;

/* --- names -------------------------------------------------------------------------------------------------------- */

static void split_peer(Known *known) {
    Str peer = str_c(known->peer), port = peer;
    uint64_t number = 0;
    size_t at = peer.n;
    while (at > 0 && peer.p[at - 1] != ':')
        at--;
    port = str_slice(peer, at, peer.n);
    bool has_port = at > 0 && str_to_u64(port, 65535, &number) == ERR_OK;
    Str address = has_port ? str_trim(str_slice(peer, 0, at - 1), "[]") : peer;
    known->port = (int64_t)number;
    (void)snprintf(known->address, sizeof known->address, "%.*s", STR_ARG(address));
}

/* NULL: no room for more. */
static Known *known_of(const Upstream *upstream, const char *peer) {
    Str name = str_slice(upstream_name(upstream), 0, NAME_MAX_BYTES - 1);
    for (size_t i = 0; i < self.n; i++)
        if (str_eq_c(name, self.known[i].upstream) && strcmp(self.known[i].peer, peer) == 0)
            return &self.known[i];
    if (self.n == INSTANCES_MAX)
        return NULL;
    Known *known = &self.known[self.n++];
    (void)snprintf(known->upstream, sizeof known->upstream, "%.*s", STR_ARG(name));
    (void)snprintf(known->peer, sizeof known->peer, "%s", peer);
    split_peer(known);
    return known;
}

#define INSTANCE_LABELS(known)                                                                                         \
    {"usher.upstream", (known)->upstream, 0},                                                                          \
        {(known)->address[0] == 0 ? NULL : "server.address", (known)->address, 0}, {                                   \
        (known)->port == 0 ? NULL : "server.port", NULL, (known)->port                                                 \
    }

/* --- requests ----------------------------------------------------------------------------------------------------- */

static const char *error_of(UpstreamFailure failure, int status) {
    if (failure != UPSTREAM_WELL)
        return upstream_failure_name(failure);
    if (status < 500 || status >= 500 + SERVER_ERRORS)
        return NULL;
    char *text = self.server_errors[status - 500];
    if (text[0] == 0)
        (void)snprintf(text, sizeof self.server_errors[0], "%d", status);
    return text;
}

void upstream_metrics_note(UpstreamMetrics *metrics, const Upstream *upstream, const char *peer,
                           UpstreamFailure failure, int status, int64_t ns) {
    const char *error = error_of(failure, status);
    const Known *known = metrics == NULL ? NULL : known_of(upstream, peer);
    if (known != NULL)
        metric_record(METRIC_UPSTREAM_DURATION, ns,
                      LABELS(INSTANCE_LABELS(known), {error == NULL ? NULL : "error.type", error, 0}));
}

/* --- once a second ------------------------------------------------------------------------------------------------ */

static void show(Known *known, const UpstreamInstance *instance, bool is_there) {
    const char *state = instance->aside ? "aside" : instance->checked_bad ? "checked_bad" : "well";
    static const char *const states[] = {"well", "aside", "checked_bad"};
    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        metric_set(METRIC_UPSTREAM_STATE, is_there && strcmp(states[i], state) == 0,
                   LABELS(INSTANCE_LABELS(known), {"usher.state", states[i], 0}));
    metric_set(METRIC_CLIENT_ACTIVE, instance->in_work, LABELS(INSTANCE_LABELS(known)));
    metric_set(METRIC_CLIENT_CONNECTIONS, instance->unused,
               LABELS(INSTANCE_LABELS(known), {"http.connection.state", "idle", 0}));
    metric_set(METRIC_CLIENT_CONNECTIONS, instance->connections - instance->unused,
               LABELS(INSTANCE_LABELS(known), {"http.connection.state", "active", 0}));
    /* One that has come back under its old name has begun at nothing. */
    uint64_t more = instance->failed < known->failed ? instance->failed : instance->failed - known->failed;
    metric_add(METRIC_UPSTREAM_FAILURES, (int64_t)more, LABELS(INSTANCE_LABELS(known)));
    known->failed = instance->failed;
    known->seen = known->shown = is_there;
}

static void look(UpstreamMetrics *metrics) {
    static const UpstreamInstance nothing = {0};
    UpstreamInstance instance;
    for (size_t i = 0; i < self.n; i++)
        self.known[i].seen = false;
    for (size_t i = 0; i < metrics->upstream_n; i++)
        for (size_t at = 0; upstream_instance(metrics->upstreams[i], at, &instance); at++) {
            Known *known = known_of(metrics->upstreams[i], instance.peer);
            if (known != NULL)
                show(known, &instance, true);
        }
    for (size_t i = 0; i < self.n; i++)
        if (self.known[i].shown && !self.known[i].seen)
            show(&self.known[i], &nothing, false);
}

static void on_timer(Timer *timer) {
    UpstreamMetrics *metrics = (UpstreamMetrics *)((char *)timer - offsetof(UpstreamMetrics, timer));
    look(metrics);
    (void)!timer_arm(metrics->loop, timer, loop_now_ms(metrics->loop) + LOOK_MS);
}

/* ------------------------------------------------------------------------------------------------------------------ */

Err upstream_metrics_new(Loop *loop, UpstreamMetrics **ret) {
    UpstreamMetrics *metrics = HEAP_NEW(UpstreamMetrics);
    if (metrics == NULL)
        return ERR_NO_MEMORY;
    *metrics = (UpstreamMetrics){.loop = loop, .timer = {.fn = on_timer}};
    *ret = metrics;
    return timer_arm(loop, &metrics->timer, loop_now_ms(loop));
}

void upstream_metrics_free(UpstreamMetrics *metrics) {
    if (metrics != NULL)
        timer_disarm(metrics->loop, &metrics->timer);
    heap_free(metrics);
}

void upstream_metrics_watch(UpstreamMetrics *metrics, Upstream *const *upstreams, size_t n) {
    if (metrics == NULL)
        return;
    metrics->upstreams = upstreams;
    metrics->upstream_n = n;
}
