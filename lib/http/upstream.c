/*
 * upstream.c - an upstream as a whole: owners, options, words.
 */
#include "http/upstream.h"

#include "base/heap.h"
#include "http/upstream_impl.h"

const UpstreamLimits UPSTREAM_LIMITS_DEFAULT = {
    .connect_ms = 2000,
    .first_byte_ms = 60000,
    .idle_ms = 60000,
    .total_ms = 0,
    .tunnel_idle_ms = 3600000,
    .keep_ms = 50000,
    .keep_max = 256,
    .requests_max = 1024,
    .queue_max = 1024,
    .queue_ms = 1000,
    .retry_percent = 20,
    .failures_max = 5,
    .aside_ms = 1000,
    .slow_start_ms = 10000,
    .resolve_ms = 30000,
    .head_max = BLOCK_BIG - 64,
    .interim_max = 32,
    .check_ms = 5000,
    .check_timeout_ms = 2000,
    .check_rise = 2,
    .check_fall = 3,
};

const char *upstream_failure_name(UpstreamFailure failure) {
    static const char *const names[] = {
#define FAILURE_NAME(code, name, status) name,
        UPSTREAM_FAILURES(FAILURE_NAME)
#undef FAILURE_NAME
    };
    return names[failure];
}

int upstream_failure_status(UpstreamFailure failure) {
    static const int statuses[] = {
#define FAILURE_STATUS(code, name, status) status,
        UPSTREAM_FAILURES(FAILURE_STATUS)
#undef FAILURE_STATUS
    };
    return statuses[failure];
}

Str upstream_answer_header(const UpstreamAnswer *answer, Str name) {
    for (size_t i = 0; i < answer->header_count; i++)
        if (str_eq_nocase(answer->headers[i].name, name))
            return answer->headers[i].value;
    return (Str){NULL, 0};
}

/* --- owners ------------------------------------------------------------------------------------------------------- */

void upstream_hold(Upstream *upstream) {
    upstream->refs++;
}

void upstream_release(Upstream *upstream) {
    if (--upstream->refs > 0)
        return;
    while (upstream->instances != NULL) {
        Instance *next = upstream->instances->next;
        instance_unref(upstream->instances);
        upstream->instances = next;
    }
    timer_disarm(upstream->loop, &upstream->sweep);
    upstream_tls_end(upstream);
    block_give(&upstream->blocks, upstream->scratch);
    blocks_done(&upstream->blocks);
    arena_free(upstream->arena);
    heap_free(upstream);
}

Upstream *upstream_ref(Upstream *upstream) {
    upstream->owners++;
    return upstream;
}

void upstream_unref(Upstream *upstream) {
    if (upstream == NULL || --upstream->owners > 0)
        return;
    upstream->closing = true;
    if (upstream->namer != NULL)
        co_cancel(upstream->namer);
    if (upstream->checker != NULL)
        co_cancel(upstream->checker);
    for (Instance *it = upstream->instances; it != NULL; it = it->next)
        conns_sweep(it, INT64_MAX, 0);
    upstream_release(upstream);
}

static void on_sweep(Timer *timer) {
    Upstream *upstream = (Upstream *)((char *)timer - offsetof(Upstream, sweep));
    int64_t now = clock_mono_ms(), keep_ms = upstream->options.limits.keep_ms;
    upstream_hold(upstream); /* the last connection may go in here */
    for (Instance *it = upstream->instances; it != NULL; it = it->next)
        conns_sweep(it, now, keep_ms);
    if (upstream->stats.unused > 0 &&
        timer_arm(upstream->loop, &upstream->sweep, now + MIN_OF(keep_ms, 1000)) != ERR_OK) {
        for (Instance *it = upstream->instances; it != NULL; it = it->next)
            conns_sweep(it, INT64_MAX, 0);
    }
    upstream_release(upstream);
}

/* --- beginning ---------------------------------------------------------------------------------------------------- */

static Err options_copy(Upstream *upstream, const UpstreamOptions *options) {
    Str *urls = ARENA_ARRAY(upstream->arena, Str, options->url_count);
    if (urls == NULL)
        return ERR_NO_MEMORY;
    upstream->options = *options;
    upstream->options.urls = urls;
    for (size_t i = 0; i < options->url_count; i++)
        if ((urls[i] = arena_str(upstream->arena, options->urls[i])).p == NULL)
            return ERR_NO_MEMORY;
    upstream->options.name = arena_str(upstream->arena, options->name);
    if (options->check_path.p != NULL)
        upstream->options.check_path = arena_str(upstream->arena, options->check_path);
    upstream->options.limits.head_max = MIN_OF(options->limits.head_max, UPSTREAM_LIMITS_DEFAULT.head_max);
    return upstream->options.name.p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

Err upstream_new(Loop *loop, const UpstreamOptions *options, Upstream **ret) {
    if (options->url_count < 1 || options->url_count > UPSTREAM_URLS_MAX)
        return ERR_INVALID;
    Upstream *upstream = HEAP_NEW(Upstream);
    if (upstream == NULL)
        return ERR_NO_MEMORY;
    upstream->loop = loop;
    upstream->owners = upstream->refs = 1;
    upstream->retry_tokens = 1000;
    upstream->sweep.fn = on_sweep;
    upstream->arena = arena_new(256 * 1024);
    Err err = upstream->arena == NULL ? ERR_NO_MEMORY : options_copy(upstream, options);
    if (err == ERR_OK)
        err = upstream_tls_start(upstream);
    if (err == ERR_OK)
        err = names_start(upstream);
    if (err == ERR_OK)
        err = checks_start(upstream);
    if (err != ERR_OK) {
        if (upstream->arena == NULL)
            heap_free(upstream);
        else
            upstream_unref(upstream);
        return err;
    }
    *ret = upstream;
    return ERR_OK;
}

Str upstream_name(const Upstream *upstream) {
    return upstream->options.name;
}

bool upstream_same(const Upstream *upstream, const UpstreamOptions *options) {
    const UpstreamOptions *own = &upstream->options;
    UpstreamLimits limits = options->limits;
    limits.head_max = MIN_OF(limits.head_max, UPSTREAM_LIMITS_DEFAULT.head_max);
    bool same = str_eq(own->name, options->name) && own->url_count == options->url_count &&
                str_eq(own->check_path, options->check_path) && own->from == options->from &&
                memcmp(&own->limits, &limits, sizeof limits) == 0;
    for (size_t i = 0; same && i < own->url_count; i++)
        same = str_eq(own->urls[i], options->urls[i]);
    return same;
}

UpstreamStats upstream_stats(const Upstream *upstream) {
    UpstreamStats stats = upstream->stats;
    int64_t now = loop_now_ms(upstream->loop);
    stats.instances = upstream->n_instances;
    stats.waiting = upstream->waiting;
    for (const Instance *it = upstream->instances; it != NULL; it = it->next)
        stats.well += balance_usable(it, now) && !it->checked_bad;
    return stats;
}

bool upstream_instance(const Upstream *upstream, size_t at, UpstreamInstance *ret) {
    for (const Instance *it = upstream->instances; it != NULL; it = it->next) {
        if (it->gone || at-- > 0)
            continue;
        *ret = (UpstreamInstance){.peer = it->text,
                                  .in_work = it->in_work,
                                  .connections = it->connections,
                                  .unused = it->n_unused,
                                  .failed = it->failed,
                                  .aside = it->aside_until != 0,
                                  .checked_bad = it->checked_bad};
        return true;
    }
    return false;
}
