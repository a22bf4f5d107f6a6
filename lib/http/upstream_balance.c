/*
 * upstream_balance.c - which instance takes a request, who is put aside, who waits.
 *
 * Least requests in work, in relation to an instance's share (full, or less during its slow start). An instance that
 * fails several times in a row is put aside, for longer each time; then one request tries it, and its answer decides.
 * With one instance that is a circuit breaker: while it is aside requests are refused at once instead of each waiting
 * for its own time-out. Where nobody came to try it for as long again, nothing is known of it, and all may: who comes
 * back to a side after an hour must not be refused because two came at once. One failure puts it aside again. Only
 * failures of the connection count. An answer of 500 is an answer: one broken route of the old system must not take its
 * other routes away.
 */
#include "http/upstream_impl.h"
#include "runtime/log.h"

enum { SHARE_FULL = 100, SHARE_LEAST = 10, ASIDE_DOUBLINGS_MAX = 3, TOKENS_MAX = 10000, TOKENS_FIRST = 1000 };

bool balance_usable(const Instance *instance, int64_t now) {
    return !instance->gone && (instance->aside_until == 0 || (now >= instance->aside_until && !instance->trying));
}

/* How long it was put aside the last time. */
static int64_t aside_ms(const Instance *instance) {
    return instance->upstream->options.limits.aside_ms << MIN_OF(instance->times_aside - 1, ASIDE_DOUBLINGS_MAX);
}

/* Must the others wait for what becomes of this request? */
static bool is_trial(const Instance *instance, int64_t now) {
    return instance->aside_until != 0 && now < instance->aside_until + aside_ms(instance);
}

static int64_t share_of(const Instance *instance, int64_t now) {
    int64_t slow_ms = instance->upstream->options.limits.slow_start_ms;
    if (instance->came_at == 0 || slow_ms <= 0 || now - instance->came_at >= slow_ms)
        return SHARE_FULL;
    return MAX_OF(SHARE_LEAST, SHARE_FULL * (now - instance->came_at) / slow_ms);
}

/* NULL: none can take it now; *ret_full: some could, but for their limit. Where active checks call all of them bad, the
 * checks are not believed: a wrong path for checks must not take the house down. */
static Instance *choose(Upstream *upstream, const Instance *but, bool *ret_full) {
    int64_t now = loop_now_ms(upstream->loop), best_score = INT64_MAX;
    *ret_full = false;
    for (int believe = 1; believe >= 0; believe--) {
        Instance *best = NULL;
        for (Instance *it = upstream->instances; it != NULL; it = it->next) {
            if (it == but || !balance_usable(it, now) || (believe && it->checked_bad))
                continue;
            if (it->in_work >= upstream->options.limits.requests_max) {
                *ret_full = true;
                continue;
            }
            int64_t score = ((int64_t)it->in_work + 1) * 1000 / share_of(it, now);
            if (best == NULL || score < best_score) {
                best = it;
                best_score = score;
            }
        }
        if (best != NULL || *ret_full)
            return best;
    }
    return NULL;
}

/* The next instance begins the next search, so that equals take turns. */
static void rotate(Upstream *upstream, const Instance *taken) {
    if (upstream->instances != taken || taken->next == NULL)
        return;
    Instance *first = upstream->instances, *last = first;
    while (last->next != NULL)
        last = last->next;
    upstream->instances = first->next;
    last->next = first;
    first->next = NULL;
}

static void queue_remove(Upstream *upstream, Waiter *waiter) {
    if (!waiter->queued)
        return;
    if (waiter->prev != NULL)
        waiter->prev->next = waiter->next;
    else
        upstream->first = waiter->next;
    if (waiter->next != NULL)
        waiter->next->prev = waiter->prev;
    else
        upstream->last = waiter->prev;
    waiter->queued = false;
    upstream->waiting--;
}

/* At the end; who was woken and found nothing goes back to the front. */
static void queue_add(Upstream *upstream, Waiter *waiter, bool front) {
    *waiter = (Waiter){.queued = true};
    if (front) {
        waiter->next = upstream->first;
        upstream->first = waiter;
        if (waiter->next != NULL)
            waiter->next->prev = waiter;
        else
            upstream->last = waiter;
    } else {
        waiter->prev = upstream->last;
        upstream->last = waiter;
        if (waiter->prev != NULL)
            waiter->prev->next = waiter;
        else
            upstream->first = waiter;
    }
    upstream->waiting++;
}

static Err refuse(UpstreamExchange *ex, UpstreamFailure failure, Err err) {
    ex->failure = failure;
    ex->upstream->stats.refused++;
    return err;
}

static CO_FN Err queue_wait(UpstreamExchange *ex, bool front, int64_t deadline_ms) {
    Upstream *upstream = ex->upstream;
    Waiter waiter;
    if (!front && upstream->waiting >= upstream->options.limits.queue_max)
        return refuse(ex, UPSTREAM_QUEUE_FULL, ERR_LIMIT);
    queue_add(upstream, &waiter, front);
    Err err = co_wait(&waiter.wait, deadline_ms);
    queue_remove(upstream, &waiter);
    if (err == ERR_TIMEOUT)
        return refuse(ex, UPSTREAM_QUEUE_TIMEOUT, ERR_TIMEOUT);
    if (err != ERR_OK)
        ex->failure = UPSTREAM_CANCELLED;
    return err;
}

CO_FN Err balance_enter(UpstreamExchange *ex, const Instance *but) {
    Upstream *upstream = ex->upstream;
    int64_t deadline_ms = loop_now_ms(upstream->loop) + upstream->options.limits.queue_ms;
    bool woken = false, full;
    for (;;) {
        Instance *instance = choose(upstream, but, &full);
        if (instance != NULL && (woken || upstream->first == NULL)) {
            instance->trying = is_trial(instance, loop_now_ms(upstream->loop));
            instance->in_work++;
            instance->refs++;
            ex->instance = instance;
            ex->permitted = true;
            upstream->stats.in_work++;
            rotate(upstream, instance);
            return ERR_OK;
        }
        /* Names are looked up at the start: who comes before the first answer waits for it. */
        if (instance == NULL && !full && (upstream->looked_up || upstream->closing))
            return refuse(ex, upstream->n_instances == 0 ? UPSTREAM_NO_INSTANCE : UPSTREAM_ASIDE, ERR_UNAVAILABLE);
        TRY(queue_wait(ex, woken, deadline_ms));
        woken = true;
    }
}

void balance_leave(UpstreamExchange *ex) {
    if (!ex->permitted)
        return;
    Upstream *upstream = ex->upstream;
    ex->permitted = false;
    ex->instance->in_work--;
    ex->instance->trying = false;
    instance_unref(ex->instance);
    ex->instance = NULL;
    upstream->stats.in_work--;
    Waiter *first = upstream->first;
    if (first != NULL) {
        queue_remove(upstream, first);
        wait_wake(&first->wait, ERR_OK);
    }
}

void balance_well(Instance *instance) {
    instance->failures = instance->times_aside = 0;
    if (instance->aside_until == 0)
        return;
    instance->aside_until = 0;
    instance->came_at = loop_now_ms(instance->upstream->loop);
    LOG_I(NULL, "upstream.back", F_STR("upstream", instance->upstream->options.name), F_C("instance", instance->text));
}

void balance_failed(Instance *instance) {
    const UpstreamLimits *limits = &instance->upstream->options.limits;
    instance->upstream->stats.failures++;
    instance->failed++;
    if (++instance->failures < limits->failures_max && !instance->trying)
        return;
    bool news = instance->aside_until == 0;
    instance->times_aside++;
    int64_t ms = aside_ms(instance);
    instance->aside_until = loop_now_ms(instance->upstream->loop) + ms;
    instance->trying = false;
    if (news)
        LOG_W(NULL, "upstream.aside", F_STR("upstream", instance->upstream->options.name),
              F_C("instance", instance->text), F_INT("ms", ms));
}

bool balance_retry(Upstream *upstream) {
    if (upstream->retry_tokens < 100)
        return false;
    upstream->retry_tokens -= 100;
    upstream->stats.retries++;
    return true;
}
