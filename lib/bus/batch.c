/*
 * batch.c - a batch as sets: in order within a key, each message once, lanes side by side.
 *
 * One set takes at most one message of a key, and none before an earlier one of it is decided; so a batch of
 * alternating messages of fifty events is two sets, not a hundred, and order still holds. The set's transaction first
 * writes the inbox rows: an id that is there already has had its effect and drops out. That makes the effect happen
 * exactly once however often a message arrives, without any agreement between broker and database.
 *
 * Where a pipeline declares concurrency, keys are dealt into lanes: coroutines that run sets of their own, each on a
 * writer of its own. A key stays in one lane, so that nothing is said about order between lanes, and nothing needs to.
 */
#include "base/map.h"
#include "bus/delivery.h"

/* --- one set ------------------------------------------------------------------------------------------------------ */

/* Any of the lanes: those of one key go where the first of them goes. */
static int lane_of(const Batch *b, size_t i) {
    int lanes = MAX_OF(b->consumer->pipeline->concurrency, 1);
    return b->envelopes[i].aggregate.bytes[15] % lanes;
}

/* Notes delivery i as the latest of `id`; a later `before` than *before replaces that. */
static Err link_by(Batch *b, Map *map, const Id *id, size_t i, size_t *before) {
    void *old;
    TRY(map_put(map, (Str){(const char *)id->bytes, sizeof id->bytes}, &b->deliveries[i], &old));
    if (old != NULL)
        *before = MAX_OF(*before, (size_t)((Delivery *)old - b->deliveries) + 1);
    return ERR_OK;
}

/* Whose turn comes after whose, once a batch: says of each what delivery_same_key says of two. */
static Err link_keys(Batch *b) {
    PartitionBy by = b->consumer->pipeline->partition;
    Map *ids = map_new(b->ctx->arena, b->n), *aggregates = map_new(b->ctx->arena, b->n);
    if (ids == NULL || aggregates == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < b->n; i++) {
        size_t before = by == PARTITION_QUEUE ? i : 0;
        TRY(link_by(b, ids, &b->envelopes[i].message_id, i, &before));
        if (by == PARTITION_AGGREGATE)
            TRY(link_by(b, aggregates, &b->envelopes[i].aggregate, i, &before));
        b->deliveries[i].before = before;
        b->deliveries[i].lane = before > 0 ? b->deliveries[before - 1].lane : lane_of(b, i);
    }
    return ERR_OK;
}

/* An earlier one of its key that is not decided keeps a message out of this set. Links over decided ones are cut
 * short on the way, so that a batch of one key is not walked again and again. */
static bool is_next_of_key(Batch *b, size_t i) {
    Delivery *d = &b->deliveries[i];
    while (d->before != 0 && b->deliveries[d->before - 1].state == DECIDED)
        d->before = b->deliveries[d->before - 1].before;
    return d->before == 0;
}

static bool clashes(const Batch *b, int lane, const Action *action, size_t i) {
    if (action->clash_key == NULL)
        return false;
    Id key = action->clash_key(b->deliveries[i].member.input);
    for (size_t j = 0; j < i; j++)
        if (b->deliveries[j].state == TAKEN && b->deliveries[j].lane == lane &&
            id_eq(action->clash_key(b->deliveries[j].member.input), key))
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
        delivery_failed(b, i, err);
    return err == ERR_OK;
}

/* Takes what may go with the oldest message of the lane that waits: the same subscription, no two of one key. */
static size_t take_set(Batch *b, int lane, Member **members, const Subscription **ret) {
    size_t n = 0;
    *ret = NULL;
    for (size_t i = 0; i < b->n; i++) {
        Delivery *d = &b->deliveries[i];
        if (d->state != WAITING || d->lane != lane || (*ret != NULL && d->subscription != *ret) ||
            !is_next_of_key(b, i) || clashes(b, lane, action_of(d->subscription), i) || !passes_checks(b, i))
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
    pg_add_text(&params, str_c(b->consumer->pipeline->queue));
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
    const Trace own = set->ctx->trace;
    TraceBatch batch;
    for (size_t i = 0; i < set->n; i++)
        span_begin(set->members[i]->ctx, &((Delivery *)set->members[i])->action);
    set->ctx->trace = *trace_of_set(set->members, set->n);
    trace_set(set->ctx, set->members, set->n, &batch);
    Err err = set_run(b->consumer->consumer->engine, set, inbox_before, b);
    set->ctx->trace = own;
    set->ctx->batch = NULL;
    for (size_t i = 0; i < set->n; i++)
        trace_action_end(set->members[i]->ctx, &((Delivery *)set->members[i])->action, set->resource, set->action->name,
                         err != ERR_OK ? err : set->members[i]->outcome);
    return err;
}

CO_FN static Err run_one_set(Batch *b, int lane, Member **members, size_t n, const Subscription *s) {
    Set set = {.resource = s->resource, .action = action_of(s), .members = members, .n = n, .ctx = co_ctx(co_self())};
    TRY(run_traced(b, &set));
    for (size_t i = 0; i < b->n; i++) {
        Delivery *d = &b->deliveries[i];
        if (d->state != TAKEN || d->lane != lane)
            continue;
        Err outcome = d->member.outcome;
        if (outcome == ERR_UNAVAILABLE || outcome == ERR_TIMEOUT || outcome == ERR_CANCELLED)
            return outcome; /* not the message's doing: the batch comes again, and the inbox knows what is done */
        if (outcome == ERR_OK)
            delivery_decide(b, i, DELIVERY_DONE, (Str){NULL, 0});
        else
            delivery_failed(b, i, outcome);
    }
    return ERR_OK;
}

/* --- lanes -------------------------------------------------------------------------------------------------------- */

/* Who waits for the lanes; on its stack, hence it waits for all of them whatever happens. */
typedef struct Join {
    Wait wait;
    size_t left;
    Err err; /* the first lane's that failed */
} Join;

typedef struct Lane {
    Batch *batch;
    Join *join;
    int number;
} Lane;

static bool lane_waits(const Batch *b, int lane) {
    for (size_t i = 0; i < b->n; i++)
        if (b->deliveries[i].state == WAITING && b->deliveries[i].lane == lane)
            return true;
    return false;
}

CO_FN static Err run_lane(Batch *b, int lane) {
    Member **members = ARENA_ARRAY(co_ctx(co_self())->arena, Member *, b->n);
    if (members == NULL)
        return ERR_NO_MEMORY;
    while (lane_waits(b, lane)) {
        const Subscription *s;
        size_t taken = take_set(b, lane, members, &s);
        if (taken > 0)
            TRY(run_one_set(b, lane, members, taken, s));
    }
    return ERR_OK;
}

CO_FN static void lane_co(Ctx *ctx UNUSED, void *arg) {
    Lane *lane = arg;
    Join *join = lane->join;
    Err err = run_lane(lane->batch, lane->number);
    if (join->err == ERR_OK)
        join->err = err;
    if (--join->left == 0)
        wait_wake(&join->wait, ERR_OK);
}

CO_FN static Err run_lanes(Batch *b, int lanes) {
    Join join = {0};
    Lane *all = ARENA_ARRAY(b->ctx->arena, Lane, (size_t)lanes);
    CoOptions options = {
        .name = "lane", .arena_limit_bytes = LOOP_ARENA_BYTES, .deadline_ms = b->ctx->deadline_ms, .trace = NULL};
    Err err = all == NULL ? ERR_NO_MEMORY : ERR_OK;
    for (int i = 1; i < lanes && err == ERR_OK; i++) {
        all[i] = (Lane){.batch = b, .join = &join, .number = i};
        if (!lane_waits(b, i))
            continue;
        join.left++;
        err = co_spawn(b->consumer->loop, lane_co, &all[i], &options, NULL);
        join.left -= err != ERR_OK;
    }
    if (err == ERR_OK)
        err = run_lane(b, 0);
    bool shielded = co_shield(true);
    if (join.left > 0 && co_wait(&join.wait, 0) != ERR_OK)
        ASSERT(false);
    (void)co_shield(shielded);
    return err != ERR_OK ? err : join.err;
}

CO_FN Err batch_run(Batch *b) {
    int lanes = MAX_OF(b->consumer->pipeline->concurrency, 1);
    TRY(link_keys(b));
    return lanes == 1 ? run_lane(b, 0) : run_lanes(b, lanes);
}
