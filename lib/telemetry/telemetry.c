/*
 * telemetry.c - opening, attaching, signs of life.
 *
 * Slots are dealt out before the first fork, one for each worker there will be: a restarted worker finds its
 * predecessor's counters and goes on, so that a counter never falls and no lock is needed to claim one.
 */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "runtime/log.h"
#include "telemetry/former.h"

/* An encoded span is about this long. */
#define SPAN_BYTES 384

TelemetryState telemetry;

int64_t telemetry_unix_ns(void) {
    return (clock_now().ticks - TICKS_UNIX_EPOCH) * 100;
}

Err collector_url_parse(Str url, CollectorUrl *ret) {
    static const Str scheme = STR_INIT("http://");
    if (!str_starts_with(url, scheme) || url.n > 1024)
        return ERR_INVALID;
    Str rest = str_slice(url, scheme.n, url.n);
    ptrdiff_t slash = str_index(rest, '/');
    Str authority = slash < 0 ? rest : str_slice(rest, 0, (size_t)slash);
    CollectorUrl parsed = {
        .url = url, .path = slash < 0 ? STR("/") : str_slice(rest, (size_t)slash, rest.n), .port = 80};
    bool v6 = authority.n > 0 && authority.p[0] == '[';
    ptrdiff_t host_end = v6 ? str_index(authority, ']') : str_index(authority, ':');
    if (v6 && host_end < 0)
        return ERR_INVALID;
    parsed.host = v6 ? str_slice(authority, 1, (size_t)host_end)
                     : str_slice(authority, 0, host_end < 0 ? authority.n : (size_t)host_end);
    size_t behind = v6 ? (size_t)host_end + 1 : parsed.host.n;
    if (behind < authority.n) {
        uint64_t port;
        if (authority.p[behind] != ':' ||
            str_to_u64(str_slice(authority, behind + 1, authority.n), 65535, &port) != ERR_OK || port == 0)
            return ERR_INVALID;
        parsed.port = (int)port;
    }
    for (size_t i = 0; i < url.n; i++)
        if (url.p[i] <= ' ' || url.p[i] == '@' || url.p[i] == '#' || (uint8_t)url.p[i] >= 0x7f)
            return ERR_INVALID;
    if (parsed.host.n == 0 || parsed.host.n > 253)
        return ERR_INVALID;
    *ret = parsed;
    return ERR_OK;
}

bool telemetry_url_fits(Str url) {
    CollectorUrl parsed;
    return collector_url_parse(url, &parsed) == ERR_OK;
}

static Err url_of(Str url, CollectorUrl *ret) {
    *ret = (CollectorUrl){0};
    return url.n == 0 ? ERR_OK : collector_url_parse(url, ret);
}

Err telemetry_open(const TelemetryConfig *config, const TelemetryRole *roles) {
    telemetry_close();
    TelemetryState state = {.config = *config, .roles = roles};
    TRY(url_of(config->traces_url, &state.traces));
    TRY(url_of(config->metrics_url, &state.metrics));
    TRY(url_of(config->logs_url, &state.logs));
    size_t n = 0;
    for (const TelemetryRole *role = roles; role->name != NULL; role++)
        n += (size_t)MAX_OF(role->count, 0);
    size_t spans = (size_t)MAX_OF(config->queue_max, 16);
    int fd;
    state.region =
        region_new(n + 1, state.traces.url.p == NULL && state.logs.url.p == NULL ? 1 : spans * SPAN_BYTES, &fd);
    if (state.region == NULL)
        return ERR_NO_MEMORY;
    state.region->began_unix_ns = telemetry_unix_ns();
    Slot *slot = state.region->slots;
    for (const TelemetryRole *role = roles; role->name != NULL; role++)
        for (int i = 0; i < role->count; i++, slot++)
            *slot = (Slot){.role = role->name, .index = i};
    *slot = (Slot){.role = "former", .index = -1};
    formers_take(&state);
    if (former_offer(fd) != ERR_OK)
        close(fd); /* a successor will count from nothing */
    state.recording = !config->disabled;
    state.tracing = state.recording && state.traces.url.p != NULL;
    telemetry = state;
    return ERR_OK;
}

void telemetry_close(void) {
    if (telemetry.region != NULL) { /* what was inherited before the first opening stays */
        log_set_observer(NULL);
        formers_done(&telemetry);
    }
    region_free(telemetry.region);
    telemetry = (TelemetryState){0};
    metrics_forget();
}

/* What a gauge said of a worker that is gone is no longer true. */
static void clear_gauges(Slot *slot) {
    for (size_t i = 0; i < slot->series_n; i++) {
        MetricKind kind = METRIC_TABLE[slot->series[i].metric].kind;
        if (kind == METRIC_UP_DOWN || kind == METRIC_GAUGE_MAX)
            __atomic_store_n(&slot->series[i].value, 0, __ATOMIC_RELAXED);
    }
}

void telemetry_attach(const char *role, int index) {
    metrics_forget();
    telemetry.slot = NULL;
    telemetry.log_dropped_told = 0;
    for (size_t i = 0; telemetry.region != NULL && i < telemetry.region->n_slots; i++) {
        Slot *slot = &telemetry.region->slots[i];
        if (slot->index != index || strcmp(slot->role, role) != 0)
            continue;
        telemetry.slot = slot;
        telemetry.slot_at = i;
        clear_gauges(slot);
        slot->ready = slot->draining = 0;
        __atomic_store_n(&slot->pid, getpid(), __ATOMIC_RELAXED);
        __atomic_store_n(&slot->beat_ms, clock_mono_ms(), __ATOMIC_RELAXED);
        if (slot->starts++ > 0)
            metric_add(METRIC_RESTARTS, 1, LABELS({"usher.role", role, 0}));
        metric_set(METRIC_WORKERS, 1, LABELS({"usher.role", role, 0}));
        log_set_observer(telemetry.recording && telemetry.logs.url.p != NULL ? log_record_write : NULL);
    }
}

void telemetry_beat(bool ready, bool draining) {
    if (telemetry.slot == NULL)
        return;
    __atomic_store_n(&telemetry.slot->ready, ready, __ATOMIC_RELAXED);
    __atomic_store_n(&telemetry.slot->draining, draining, __ATOMIC_RELAXED);
    __atomic_store_n(&telemetry.slot->beat_ms, clock_mono_ms(), __ATOMIC_RELAXED);
    uint64_t dropped = log_dropped();
    metric_add(METRIC_LOG_DROPPED, (int64_t)(dropped - telemetry.log_dropped_told),
               LABELS({"usher.role", telemetry.slot->role, 0}));
    telemetry.log_dropped_told = dropped;
}

void telemetry_started(void) {
    if (telemetry.region != NULL)
        __atomic_store_n(&telemetry.region->started, 1, __ATOMIC_RELAXED);
}

bool telemetry_has_started(void) {
    return telemetry.region != NULL && __atomic_load_n(&telemetry.region->started, __ATOMIC_RELAXED) != 0;
}

bool telemetry_traces(void) {
    return telemetry.tracing;
}

bool telemetry_samples(const Trace *trace, bool continued) {
    return telemetry.tracing && sampler_decides(&telemetry.config.sampler, trace, continued);
}

void telemetry_succeeded(void) {
    telemetry.succeeded = true;
}

size_t telemetry_others_alive(void) {
    size_t alive = 0;
    for (size_t i = 0; telemetry.region != NULL && i < telemetry.region->n_slots; i++) {
        pid_t pid = __atomic_load_n(&telemetry.region->slots[i].pid, __ATOMIC_RELAXED);
        alive += pid != 0 && pid != getpid() && (kill(pid, 0) == 0 || errno == EPERM);
    }
    return alive;
}
