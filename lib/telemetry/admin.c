/*
 * admin.c - /metrics and /health on a listener of their own.
 *
 * Not on the clients' port: there the old system answers 404 to both, recorded, and operators' eyes are no client's
 * business. Health follows Kubernetes' three questions. live touches nothing but this process; ready reads what the
 * workers wrote of themselves into shared memory, so that asking costs no worker and no database anything.
 */
#include "telemetry/state.h"

enum { METRICS_MAX = 4 * 1024 * 1024 };

static void answer(Response *res, int status, Str text) {
    response_header(res, "Content-Type", STR("text/plain; charset=utf-8"));
    buf_add(&res->body, text);
    res->status = status;
}

static void serve_live(Request *req, Response *res) {
    (void)req;
    answer(res, 200, STR("alive\n"));
}

static void serve_startup(Request *req, Response *res) {
    (void)req;
    bool started = telemetry_has_started();
    answer(res, started ? 200 : 503, started ? STR("started\n") : STR("starting\n"));
}

/* What keeps a worker from serving; NULL: nothing. */
static const char *trouble_of(const Slot *slot, int64_t now_ms) {
    if (__atomic_load_n(&slot->pid, __ATOMIC_RELAXED) == 0)
        return "has not begun";
    if (__atomic_load_n(&slot->draining, __ATOMIC_RELAXED) != 0)
        return "drains";
    if (now_ms - __atomic_load_n(&slot->beat_ms, __ATOMIC_RELAXED) > TELEMETRY_SILENCE_MS)
        return "is silent";
    return __atomic_load_n(&slot->ready, __ATOMIC_RELAXED) != 0 ? NULL : "has no database";
}

static const TelemetryRole *role_of(const Slot *slot) {
    for (const TelemetryRole *role = telemetry.roles; role->name != NULL; role++)
        if (role->name == slot->role)
            return role;
    return NULL;
}

/* A line for each worker (text may be NULL); those whose role does not serve are told and do not count. */
static bool look_at_workers(Buf *text) {
    bool ready = telemetry.region != NULL;
    for (size_t i = 0; telemetry.region != NULL && i < telemetry.region->n_slots; i++) {
        const Slot *slot = &telemetry.region->slots[i];
        const TelemetryRole *role = role_of(slot);
        if (role == NULL || slot == telemetry.slot)
            continue;
        const char *trouble = trouble_of(slot, clock_mono_ms());
        if (text != NULL)
            buf_printf(text, "%s %d: %s\n", slot->role, slot->index, trouble == NULL ? "ready" : trouble);
        ready = ready && (trouble == NULL || !role->serves);
    }
    return ready;
}

bool telemetry_is_ready(void) {
    return look_at_workers(NULL);
}

static void serve_ready(Request *req, Response *res) {
    Buf text = buf_new(req->ctx->arena, 64 * 1024);
    bool ready = look_at_workers(&text);
    answer(res, ready ? 200 : 503, buf_str(&text));
}

static void serve_metrics(Request *req, Response *res) {
    Buf text = buf_new(req->ctx->arena, METRICS_MAX);
    if (metrics_prometheus(req->ctx->arena, &text) != ERR_OK) {
        answer(res, 503, STR("no memory\n"));
        return;
    }
    response_header(res, "Content-Type", STR("text/plain; version=0.0.4; charset=utf-8"));
    buf_add(&res->body, buf_str(&text));
    res->status = 200;
}

CO_FN void telemetry_admin_serve(Request *req, Response *res, void *data) {
    static const struct {
        const char *path;
        void (*serve)(Request *req, Response *res);
    } paths[] = {
        {"/metrics", serve_metrics},
        {"/health/live", serve_live},
        {"/health/ready", serve_ready},
        {"/health/startup", serve_startup},
    };
    (void)data;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (!str_eq_c(req->path, paths[i].path))
            continue;
        if (req->method == METHOD_GET || req->method == METHOD_HEAD) {
            response_header(res, "Cache-Control", STR("no-store"));
            paths[i].serve(req, res);
            return;
        }
        response_header(res, "Allow", STR("GET, HEAD"));
        answer(res, 405, STR("only GET and HEAD\n"));
        return;
    }
    answer(res, 404, STR("there are /metrics, /health/live, /health/ready and /health/startup\n"));
}
