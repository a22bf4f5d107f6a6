/*
 * consumer.c - from a queue to a context's actions: in order per aggregate, in sets, each message once.
 *
 * A delivery's way: its type's subscription, decoded, checked like any input, then a member of a set. One set takes at
 * most one message of an aggregate, and none before an earlier one of it is decided; so a batch of alternating messages
 * of fifty events is two sets, not a hundred, and order still holds. The set's transaction first writes the inbox rows:
 * an id that is there already has had its effect and drops out. That makes the effect happen exactly once however often
 * a message arrives, without any agreement between broker and database.
 *
 * What fails is told apart by whose doing it is. A database that is away is nobody's: nothing is acknowledged, no
 * attempt is counted. A message that cannot be read will never be: dead at once. All else is retried as often as
 * recorded (three attempts), then dead with its reason, and meanwhile only its own aggregate waits.
 */
#include "base/heap.h"
#include "bus/loops.h"
#include "bus/tracing.h"
#include "runtime/log.h"

#define CONSUMER_BATCH    500
#define CONSUMER_ATTEMPTS 3
/* Recorded: attempts at 0, 0.5 and 1.5 s; further ones keep the last distance. */
static const int64_t DEFAULT_DELAYS_MS[] = {500, 1000};

/* The inbox forgets what is older than any repetition can be (a relay that was down for a month). */
#define INBOX_KEEP_DAYS "30"
#define INBOX_SWEEP_MS  (60 * 60 * 1000)

typedef struct ConsumerState {
    const Consumer *consumer;
    size_t batch;
    int attempts;
    const Statement *inbox_add, *inbox_sweep;
    int64_t sweep_at_ms;
} ConsumerState;

typedef enum DeliveryState {
    WAITING, /* to be put into a set */
    TAKEN,   /* in the set that forms or runs */
    DECIDED
} DeliveryState;

typedef struct Delivery {
    Member member;
    Ctx ctx;
    const Envelope *envelope;
    const Subscription *subscription;
    DeliveryState state;
    int64_t began_ns;
    Span action;
    size_t before; /* index + 1 of the one before it of its aggregate that may still be undecided; 0: none */
} Delivery;

typedef struct Batch {
    ConsumerState *consumer;
    Ctx *ctx;
    Envelope *envelopes;
    Delivery *deliveries;
    size_t n;
    DeliveryOutcome *outcomes;
    Str *reasons;
} Batch;

/* --- outcomes ----------------------------------------------------------------------------------------------------- */

static void decide(Batch *b, size_t i, DeliveryOutcome outcome, Str reason) {
    b->deliveries[i].state = DECIDED;
    b->outcomes[i] = outcome;
    b->reasons[i] = reason;
    trace_processed(&b->deliveries[i].ctx, b->consumer->consumer->name, &b->envelopes[i], b->deliveries[i].began_ns,
                    outcome);
    if (outcome == DELIVERY_DEAD)
        LOG_W(&b->deliveries[i].ctx, "message_dead", F_C("consumer", b->consumer->consumer->name),
              F_STR("type", b->envelopes[i].type), F_STR("reason", reason));
}

static int64_t delay_before(const ConsumerState *state, int next_attempt) {
    const int64_t *delays = state->consumer->delays_ms;
    size_t n = delays != NULL ? (size_t)(state->attempts - 1) : ARRAY_LEN(DEFAULT_DELAYS_MS);
    if (delays == NULL)
        delays = DEFAULT_DELAYS_MS;
    size_t at = (size_t)(next_attempt - 2);
    return n == 0 ? 0 : delays[MIN_OF(at, n - 1)];
}

/* Whatever comes later of its aggregate, in this batch and behind it, waits with it. */
static void hold_back(Batch *b, size_t failed) {
    for (size_t i = failed + 1; i < b->n; i++)
        if (b->deliveries[i].state == WAITING && id_eq(b->envelopes[i].aggregate, b->envelopes[failed].aggregate))
            decide(b, i, DELIVERY_HELD, (Str){NULL, 0});
}

static void decide_failed(Batch *b, size_t i, Err err) {
    Delivery *d = &b->deliveries[i];
    Str words = d->ctx.problem.message;
    if (d->member.detail.p != NULL)
        words =
            arena_printf(b->ctx->arena, "%.*s (%s: %.*s)", STR_ARG(words), err_name(err), STR_ARG(d->member.detail));
    if (words.p == NULL)
        words = str_c(err_name(err));
    b->envelopes[i].failure = err;
    if (b->envelopes[i].attempt >= b->consumer->attempts) {
        decide(b, i, DELIVERY_DEAD, words);
        return;
    }
    b->envelopes[i].delay_ms = delay_before(b->consumer, b->envelopes[i].attempt + 1);
    decide(b, i, DELIVERY_RETRY, words);
    hold_back(b, i);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* Type names match in any case, as the old consumers' did. */
static const Subscription *subscription_for(const Consumer *consumer, Str type) {
    for (const Subscription *s = consumer->subscriptions; s->type != NULL; s++)
        if (str_eq_nocase(str_c(s->type->name), type))
            return s;
    return NULL;
}

static void begin_ctx(Batch *b, Delivery *d) {
    d->ctx = *b->ctx;
    d->ctx.problem = (Problem){0};
    d->began_ns = clock_mono_ns();
    bool traced = d->envelope->traceparent.p != NULL && trace_parse(d->envelope->traceparent, &d->ctx.trace) == ERR_OK;
    if (!traced)
        trace_new(&d->ctx.trace);
    d->ctx.trace.state = traced ? d->envelope->tracestate : (Str){NULL, 0};
    d->ctx.trace.baggage = d->envelope->baggage;
    trace_delivered(&d->ctx, traced);
}

static void read_delivery(Batch *b, size_t i) {
    Delivery *d = &b->deliveries[i];
    d->envelope = &b->envelopes[i];
    begin_ctx(b, d);
    d->subscription = subscription_for(b->consumer->consumer, d->envelope->type);
    if (d->subscription == NULL) {
        b->envelopes[i].skipped = true;
        decide(b, i, DELIVERY_DEAD,
               arena_printf(b->ctx->arena, "skipped: nothing here takes %.*s", STR_ARG(d->envelope->type)));
        return;
    }
    void *input = arena_alloc(b->ctx->arena, d->subscription->type->size);
    d->member = (Member){.ctx = &d->ctx, .input = input};
    Err err =
        input == NULL ? ERR_NO_MEMORY : message_decode(d->subscription->type, &d->ctx, d->envelope->payload, input);
    b->envelopes[i].failure = ERR_SYNTAX; /* whatever cannot be read */
    if (err == ERR_SYNTAX || err == ERR_INVALID)
        decide(b, i, DELIVERY_DEAD, d->ctx.problem.message);
    else if (err != ERR_OK)
        decide_failed(b, i, err);
}

/* --- one set ------------------------------------------------------------------------------------------------------ */

/* Whose turn comes after whose, once a batch. */
static void link_aggregates(Batch *b) {
    for (size_t i = 0; i < b->n; i++) {
        size_t j = i;
        while (j > 0 && !id_eq(b->envelopes[j - 1].aggregate, b->envelopes[i].aggregate))
            j--;
        b->deliveries[i].before = j;
    }
}

/* An earlier one of its aggregate that is not decided keeps a message out of this set. Links over decided ones are cut
 * short on the way, so that a batch of one aggregate is not walked again and again. */
static bool is_next_of_aggregate(Batch *b, size_t i) {
    Delivery *d = &b->deliveries[i];
    while (d->before != 0 && b->deliveries[d->before - 1].state == DECIDED)
        d->before = b->deliveries[d->before - 1].before;
    return d->before == 0;
}

static bool clashes(const Batch *b, const Action *action, size_t i) {
    if (action->clash_key == NULL)
        return false;
    Id key = action->clash_key(b->deliveries[i].member.input);
    for (size_t j = 0; j < i; j++)
        if (b->deliveries[j].state == TAKEN && id_eq(action->clash_key(b->deliveries[j].member.input), key))
            return true;
    return false;
}

static const Action *action_of(const Subscription *s) {
    return resource_action(s->resource, s->action);
}

/* The action's policy and validations, when its turn has come; false: it was decided. */
static bool passes_checks(Batch *b, size_t i) {
    Delivery *d = &b->deliveries[i];
    Err err = action_check(d->subscription->resource, action_of(d->subscription), &d->ctx, d->member.input);
    if (err != ERR_OK)
        decide_failed(b, i, err);
    return err == ERR_OK;
}

/* Takes what may go with the oldest message that waits: the same subscription, no two of one aggregate. */
static size_t take_set(Batch *b, Member **members, const Subscription **ret) {
    size_t n = 0;
    *ret = NULL;
    for (size_t i = 0; i < b->n; i++) {
        Delivery *d = &b->deliveries[i];
        if (d->state != WAITING || (*ret != NULL && d->subscription != *ret) || !is_next_of_aggregate(b, i) ||
            clashes(b, action_of(d->subscription), i) || !passes_checks(b, i))
            continue;
        *ret = d->subscription;
        d->state = TAKEN;
        members[n++] = &d->member;
    }
    return n;
}

/* First in the set's transaction: whose id is in the inbox has had its effect, and drops out. */
CO_FN static Err inbox_before(PgTx *tx, Set *set, void *data) {
    Batch *b = data;
    PgParams params;
    PgResult fresh;
    pg_params_init(&params, set->ctx->arena);
    pg_array_begin(&params, OID_UUID_ARRAY);
    for (size_t i = 0; i < set->n; i++)
        pg_array_id(&params, ((const Delivery *)set->members[i])->envelope->message_id);
    pg_array_end(&params);
    pg_add_text(&params, str_c(b->consumer->consumer->name));
    TRY(pg_tx_query(tx, b->consumer->inbox_add, &params, &fresh));
    size_t kept = 0;
    for (size_t i = 0; i < set->n; i++) {
        const Id id = ((const Delivery *)set->members[i])->envelope->message_id;
        /* They come back in the order they went, so the first look is nearly always right. */
        for (int n = 0; n < fresh.rows; n++) {
            if (id_eq(pg_id(&fresh, (int)((kept + (size_t)n) % (size_t)fresh.rows), 0), id)) {
                set->members[kept++] = set->members[i];
                break;
            }
        }
    }
    set->n = kept;
    return ERR_OK;
}

/* Runs the set in its members' traces; the loop's own comes back afterwards. */
CO_FN static Err run_traced(Batch *b, Set *set) {
    const Trace own = b->ctx->trace;
    TraceBatch batch;
    for (size_t i = 0; i < set->n; i++)
        span_begin(set->members[i]->ctx, &((Delivery *)set->members[i])->action);
    b->ctx->trace = *trace_of_set(set->members, set->n);
    trace_set(b->ctx, set->members, set->n, &batch);
    Err err = set_run(b->consumer->consumer->engine, set, inbox_before, b);
    b->ctx->trace = own;
    b->ctx->batch = NULL;
    for (size_t i = 0; i < set->n; i++)
        trace_action_end(set->members[i]->ctx, &((Delivery *)set->members[i])->action, set->resource, set->action->name,
                         err != ERR_OK ? err : set->members[i]->outcome);
    return err;
}

CO_FN static Err run_one_set(Batch *b, Member **members, size_t n, const Subscription *s) {
    Set set = {.resource = s->resource, .action = action_of(s), .members = members, .n = n, .ctx = b->ctx};
    TRY(run_traced(b, &set));
    for (size_t i = 0; i < b->n; i++) {
        Delivery *d = &b->deliveries[i];
        if (d->state != TAKEN)
            continue;
        Err outcome = d->member.outcome;
        if (outcome == ERR_UNAVAILABLE || outcome == ERR_TIMEOUT || outcome == ERR_CANCELLED)
            return outcome; /* not the message's doing: the batch comes again, and the inbox knows what is done */
        if (outcome == ERR_OK)
            decide(b, i, DELIVERY_DONE, (Str){NULL, 0});
        else
            decide_failed(b, i, outcome);
    }
    return ERR_OK;
}

/* --- one batch ---------------------------------------------------------------------------------------------------- */

CO_FN static Err consume_batch(Envelope *envelopes, size_t n, DeliveryOutcome *outcomes, Str *reasons, void *data) {
    Ctx *ctx = co_ctx(co_self());
    Batch b = {.consumer = data, .ctx = ctx, .envelopes = envelopes, .n = n, .outcomes = outcomes, .reasons = reasons};
    b.deliveries = ARENA_ARRAY(ctx->arena, Delivery, n);
    Member **members = ARENA_ARRAY(ctx->arena, Member *, n);
    if (b.deliveries == NULL || members == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++)
        outcomes[i] = DELIVERY_HELD;
    for (size_t i = 0; i < n; i++)
        if (b.deliveries[i].state == WAITING)
            read_delivery(&b, i);
    link_aggregates(&b);
    for (;;) {
        const Subscription *s;
        size_t taken = take_set(&b, members, &s);
        if (taken > 0)
            TRY(run_one_set(&b, members, taken, s));
        size_t left = 0;
        for (size_t i = 0; i < n; i++)
            left += b.deliveries[i].state == WAITING;
        if (left == 0)
            return ERR_OK;
    }
}

/* The inbox must not grow for ever. Failing to sweep is no reason not to consume: the next hour tries again. */
CO_FN static void sweep_inbox(ConsumerState *state) {
    if (clock_mono_ms() < state->sweep_at_ms)
        return;
    state->sweep_at_ms = clock_mono_ms() + INBOX_SWEEP_MS;
    Ctx *ctx = co_ctx(co_self());
    PgParams params;
    PgResult result;
    pg_params_init(&params, ctx->arena);
    pg_add_text(&params, str_c(state->consumer->name));
    ctx->deadline_ms = clock_mono_ms() + 10000;
    Err err = pg_query(engine_pool(state->consumer->engine), state->inbox_sweep, &params, &result);
    if (err != ERR_OK)
        LOG_W(ctx, "inbox_sweep", F_C("consumer", state->consumer->name), F_ERR(err));
    ctx->problem = (Problem){0};
    ctx->deadline_ms = 0;
}

CO_FN static Err consumer_step(Ctx *ctx UNUSED, void *data) {
    ConsumerState *state = data;
    const Consumer *consumer = state->consumer;
    sweep_inbox(state);
    return consumer->transport->ops->consume(consumer->transport, consumer->name, state->batch, consume_batch, state);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

CO_FN static void consumer_co(Ctx *ctx, void *arg) {
    ConsumerState *state = arg;
    loop_steps(ctx, "consumer", state->consumer->name, consumer_step, state);
    heap_free(state);
}

static Err compose(ConsumerState *state) {
    Engine *engine = state->consumer->engine;
    TRY(engine_statement(engine, "inbox_add",
                         "INSERT INTO {schema}.inbox (message_id, consumer, received_at)"
                         " SELECT m, $2, clock_timestamp() FROM unnest($1::uuid[]) AS m"
                         " ON CONFLICT DO NOTHING RETURNING message_id",
                         true, &state->inbox_add));
    return engine_statement(engine, "inbox_sweep",
                            "DELETE FROM {schema}.inbox WHERE consumer = $1"
                            " AND received_at < now() - interval '" INBOX_KEEP_DAYS " days'",
                            true, &state->inbox_sweep);
}

static Err check(const Consumer *consumer) {
    for (const Subscription *s = consumer->subscriptions; s->type != NULL; s++) {
        const Action *action = resource_action(s->resource, s->action);
        if (action == NULL)
            return ERR_INVALID;
    }
    return ERR_OK;
}

Err consumer_start(Loop *loop, const Consumer *consumer, Co **ret) {
    TRY(check(consumer));
    ConsumerState *state = HEAP_NEW(ConsumerState);
    if (state == NULL)
        return ERR_NO_MEMORY;
    *state = (ConsumerState){.consumer = consumer,
                             .batch = consumer->batch == 0 ? CONSUMER_BATCH : consumer->batch,
                             .attempts = consumer->attempts == 0 ? CONSUMER_ATTEMPTS : consumer->attempts,
                             .sweep_at_ms = clock_mono_ms() + INBOX_SWEEP_MS};
    Err err = compose(state);
    if (err == ERR_OK)
        err = co_spawn(loop, consumer_co, state,
                       &(CoOptions){.name = "consumer", .arena_limit_bytes = LOOP_ARENA_BYTES}, ret);
    if (err != ERR_OK)
        heap_free(state);
    return err;
}
