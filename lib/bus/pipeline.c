/*
 * pipeline.c - how queues are consumed, as tables: what they mean, and what is wrong with them.
 *
 * The retry schedule is two lists. The first is the old system's (attempts at 0, 0.5 and 1.5 s); the second, for what a
 * longer wait may mend, is each pipeline's or the operator's own. A message that waits for either holds back its key,
 * so a second list of hours keeps an aggregate for hours: that is what order costs, and PARTITION_NONE does not pay it.
 */
#include <stdarg.h>

#include "bus/delivery.h"

static const int64_t RECORDED_MS[] = {500, 1000, -1};

static size_t delays_n(const int64_t *delays) {
    size_t n = 0;
    while (delays != NULL && delays[n] >= 0)
        n++;
    return n;
}

static const int64_t *retries(const Pipeline *pipeline) {
    return pipeline->retry_ms == NULL ? RECORDED_MS : pipeline->retry_ms;
}

static const int64_t *redeliveries(const Consumer *consumer) {
    return consumer->redeliver_ms != NULL ? consumer->redeliver_ms : consumer->pipeline->redeliver_ms;
}

int pipeline_attempts(const Consumer *consumer) {
    return 1 + (int)(delays_n(retries(consumer->pipeline)) + delays_n(redeliveries(consumer)));
}

int64_t pipeline_delay_ms(const Consumer *consumer, int next_attempt) {
    size_t at = (size_t)(next_attempt - 2), first = delays_n(retries(consumer->pipeline));
    ASSERT(next_attempt >= 2 && next_attempt <= pipeline_attempts(consumer));
    return at < first ? retries(consumer->pipeline)[at] : redeliveries(consumer)[at - first];
}

/* --- verifying ---------------------------------------------------------------------------------------------------- */

#define QUEUE_NAME_MAX    55 /* with "bus_" before it, a channel of Postgres */
#define CONCURRENCY_MAX   16
#define BATCH_MAX         10000
#define DELAYS_MAX        100
#define DELAY_MAX_MS      (INT64_C(7) * 24 * 3600 * 1000)
#define BATCH_WAIT_MAX_MS 10000

typedef struct Verifier {
    const Pipeline *pipeline;
    Buf *mistakes;
    size_t n;
} Verifier;

PRINTF_LIKE(2, 3) static void mistake(Verifier *v, const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buf_printf(v->mistakes, "pipeline %s: %s\n", v->pipeline->queue, text);
    v->n++;
}

static bool is_bound(const Pipeline *pipeline, const MessageType *type) {
    for (const Binding *b = pipeline->bindings; b != NULL && b->queue != NULL; b++)
        if (strcmp(b->queue, pipeline->queue) == 0 && strcmp(b->type->name, type->name) == 0)
            return true;
    return false;
}

static void verify_subscriptions(Verifier *v) {
    const Pipeline *p = v->pipeline;
    if (p->subscriptions == NULL)
        mistake(v, "it has no subscriptions; add rows, or an empty table where all shall be skipped");
    for (const Subscription *s = p->subscriptions; s != NULL && s->type != NULL; s++) {
        const Action *action = resource_action(s->resource, s->action);
        if (action == NULL)
            mistake(v, "resource %s has no action '%s'; add it, or name another in the subscription of %s",
                    s->resource->name, s->action, s->type->name);
        else if (action->input_size != s->type->size && action->input_size != 0)
            mistake(v, "action %s.%s takes an input of %zu bytes, message %s has %zu; use the message's struct",
                    s->resource->name, s->action, action->input_size, s->type->name, s->type->size);
        for (const Subscription *other = p->subscriptions; other < s; other++)
            if (strcmp(other->type->name, s->type->name) == 0)
                mistake(v, "%s is subscribed to twice; the second row is never reached", s->type->name);
    }
    bool any = p->subscriptions == NULL || p->subscriptions->type == NULL;
    for (const Subscription *s = p->subscriptions; s != NULL && s->type != NULL; s++)
        any = any || is_bound(p, s->type);
    if (!any)
        mistake(v, "no binding brings it a message that it subscribes to; add a row to its bindings");
}

static void verify_delays(Verifier *v, const char *name, const int64_t *delays) {
    size_t n = delays_n(delays);
    if (n > DELAYS_MAX)
        mistake(v, "%s has %zu delays, more than %d; end it with DELAYS(…), or take fewer", name, n, DELAYS_MAX);
    for (size_t i = 0; i < n && i < DELAYS_MAX; i++)
        if (delays[i] > DELAY_MAX_MS)
            mistake(v, "%s waits %lld ms, longer than 7 days; a dead letter can be retried by hand", name,
                    (long long)delays[i]);
}

static void verify_numbers(Verifier *v) {
    const Pipeline *p = v->pipeline;
    if (strlen(p->queue) > QUEUE_NAME_MAX)
        mistake(v, "its name is longer than %d bytes; shorten it", QUEUE_NAME_MAX);
    if (p->concurrency < 0 || p->concurrency > CONCURRENCY_MAX)
        mistake(v, "concurrency is %d; it is 1 to %d, 0 for 1", p->concurrency, CONCURRENCY_MAX);
    if (p->concurrency > 1 && p->partition == PARTITION_QUEUE)
        mistake(v, "order within the queue leaves nothing to run side by side; set concurrency to 1");
    if (p->batch > BATCH_MAX)
        mistake(v, "a batch of %zu is more than %d; one commit must not starve the others", p->batch, BATCH_MAX);
    if (p->batch_ms < 0 || p->batch_ms > BATCH_WAIT_MAX_MS)
        mistake(v, "a batch may wait 0 to %d ms for more, not %lld", BATCH_WAIT_MAX_MS, (long long)p->batch_ms);
    if (p->prefetch != 0 && p->prefetch < p->batch)
        mistake(v, "prefetch %zu never fills a batch of %zu; raise it, or lower batch", p->prefetch, p->batch);
    if (p->rate_per_s < 0)
        mistake(v, "rate_per_s is below 0; 0 is no limit");
    if (p->dead_letter != NULL && strcmp(p->dead_letter, p->queue) == 0)
        mistake(v, "dead letters would come back to it for ever; name another queue, or none");
    verify_delays(v, "retry_ms", p->retry_ms);
    verify_delays(v, "redeliver_ms", p->redeliver_ms);
}

size_t pipeline_verify(const Pipeline *pipelines, Buf *mistakes) {
    size_t n = 0;
    for (const Pipeline *p = pipelines; p->queue != NULL; p++) {
        Verifier v = {.pipeline = p, .mistakes = mistakes};
        verify_subscriptions(&v);
        verify_numbers(&v);
        for (const Pipeline *other = pipelines; other < p; other++)
            if (strcmp(other->queue, p->queue) == 0)
                mistake(&v, "another row consumes it already; one queue has one pipeline");
        n += v.n;
    }
    return n;
}
