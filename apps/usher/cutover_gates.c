/*
 * cutover_gates.c - may this be promoted? Each gate says what it saw; what it cannot know does not hold.
 *
 * How to add one: a function that fills a Gate, and a row in GATES.
 */
#include <stdio.h>

#include "bus/bus.h"
#include "usher/cutover.h"

enum { OUTBOX_MS = 10000 };

const GateLimits GATE_LIMITS_DEFAULT = {
    .samples_min = 300, /* the first number at which none at all differing proves less than 1 % */
    .difference_rate = 0.01,
    .error_rate = 0.003,
    .latency_factor = 1.5,
    .latency_free_ns = 20000000,
    .outbox_max = 1000,
    .window = "24 hours",
};

const SyncFacts SYNC_FACTS = {NULL, NULL};

const char *gate_state_name(GateState state) {
    static const char *const names[] = {"holds", "fails", "inconclusive", "not available"};
    return names[state];
}

size_t gates_closed(const Gate *gates, size_t n) {
    size_t closed = 0;
    for (size_t i = 0; i < n; i++)
        closed += gates[i].state != GATE_HOLDS;
    return closed;
}

typedef struct Asking {
    Invocation *call;
    PGconn *conn;
    const Settings *settings;
    const CutoverTarget *target;
    const GateLimits *limits;
} Asking;

static Err says(const Asking *ask, Gate *gate, GateState state, Str text) {
    gate->state = state;
    gate->says = arena_str(ask->call->ctx->arena, text);
    return gate->says.p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* Live ones since the stage's last change, not longer ago than the window; replayed ones of a week. $1 context, $2
 * part, $3 route, $4 window. */
#define SINCE                                                                                                          \
    "greatest(now() - $4::interval, coalesce((SELECT date_trunc('minute', s.changed_at) FROM gateway.stages s WHERE "  \
    "s.context = $1 AND s.part = $2 AND s.route = $3), '-infinity'))"

/* --- comparisons -------------------------------------------------------------------------------------------------- */

/* The old system's routes of this context and part: those of the compat surface. */
static const Route *next_route(const Asking *ask, size_t *at, char label[STAGE_ROUTE_MAX]) {
    size_t n, seen = 0;
    const Route *const *tables = app_route_tables(&n);
    for (size_t i = 0; i < n; i++)
        for (const Route *route = tables[i]; route->pattern != NULL; route++) {
            bool reads = route->method == METHOD_GET || route->method == METHOD_HEAD;
            if (seen++ < *at)
                continue;
            *at = seen;
            switch_label(route, label);
            if (strcmp(route->context, ask->target->context) == 0 &&
                reads == (ask->target->part_number == PART_READS) &&
                (ask->target->route[0] == 0 || strcmp(ask->target->route, label) == 0))
                return route;
        }
    return NULL;
}

static Err tallies(const Asking *ask, PGresult **ret) {
    const char *values[] = {ask->target->context, ask->target->part, ask->target->route, ask->limits->window};
    return gateway_ask(
        ask->call, ask->conn,
        "SELECT route, sum(compared)::bigint, sum(real)::bigint FROM gateway.tallies WHERE context = $1 AND "
        "part = $2 AND ((source = 'live' AND minute >= " SINCE ") OR (source = 'replay' AND minute >= now() - "
        "interval '7 days')) GROUP BY route",
        4, values, ret);
}

static void tally_of(const PGresult *result, const char *label, uint64_t *ret_n, uint64_t *ret_real) {
    *ret_n = *ret_real = 0;
    for (int row = 0; row < PQntuples(result); row++)
        if (strcmp(PQgetvalue(result, row, 0), label) == 0) {
            *ret_n = (uint64_t)gateway_number(result, row, 1);
            *ret_real = (uint64_t)gateway_number(result, row, 2);
        }
}

static Err gate_samples(const Asking *ask, Gate *gate) {
    PGresult *result CLEANUP(gateway_clear) = NULL;
    Buf out = buf_new(ask->call->ctx->arena, 8192);
    char label[STAGE_ROUTE_MAX];
    size_t at = 0, routes = 0, few = 0;
    TRY(tallies(ask, &result));
    while (next_route(ask, &at, label) != NULL) {
        uint64_t n, real;
        tally_of(result, label, &n, &real);
        routes++;
        if (n >= (uint64_t)ask->limits->samples_min)
            continue;
        buf_printf(&out, "%s%s has %llu", few++ == 0 ? "" : ", ", label, (unsigned long long)n);
    }
    if (routes == 0)
        return says(ask, gate, GATE_INCONCLUSIVE, STR("no route is known"));
    if (few > 0)
        return says(ask, gate, GATE_INCONCLUSIVE,
                    arena_printf(ask->call->ctx->arena, "%lld comparisons are wanted of every route; %.*s",
                                 (long long)ask->limits->samples_min, STR_ARG(buf_str(&out))));
    return says(ask, gate, GATE_HOLDS,
                arena_printf(ask->call->ctx->arena, "each of %zu routes has %lld comparisons or more", routes,
                             (long long)ask->limits->samples_min));
}

/* Behind the known routes, what the routes file gives to the context besides, if anything of it was compared. */
static bool next_compared(const Asking *ask, const PGresult *result, size_t *at, bool *others, char *label,
                          uint64_t *ret_n, uint64_t *ret_real) {
    bool known = next_route(ask, at, label) != NULL;
    if (!known) {
        if (*others || ask->target->route[0] != 0)
            return false;
        *others = true;
        switch_label_other(ask->target->context, (StagePart)ask->target->part_number, label);
    }
    tally_of(result, label, ret_n, ret_real);
    return known || *ret_n > 0;
}

static Err gate_differences(const Asking *ask, Gate *gate) {
    PGresult *result CLEANUP(gateway_clear) = NULL;
    Buf out = buf_new(ask->call->ctx->arena, 8192);
    char label[STAGE_ROUTE_MAX];
    size_t at = 0, over = 0;
    uint64_t n, real;
    double worst = 0;
    bool surely = false, others = false;
    TRY(tallies(ask, &result));
    while (next_compared(ask, result, &at, &others, label, &n, &real)) {
        double upper = rate_upper_bound(real, n, 0.95);
        worst = upper > worst ? upper : worst;
        surely = surely || rate_lower_bound(real, n, 0.95) > ask->limits->difference_rate;
        if (upper > ask->limits->difference_rate)
            buf_printf(&out, "%s%s up to %.2f %% (%llu of %llu)", over++ == 0 ? "" : ", ", label, upper * 100,
                       (unsigned long long)real, (unsigned long long)n);
    }
    if (over > 0)
        return says(ask, gate, surely ? GATE_FAILS : GATE_INCONCLUSIVE,
                    arena_printf(ask->call->ctx->arena,
                                 "real differences (upper 95 %% bound, Clopper-Pearson): %.*s; the limit is %.2f %%",
                                 STR_ARG(buf_str(&out)), ask->limits->difference_rate * 100));
    return says(
        ask, gate, GATE_HOLDS,
        arena_printf(ask->call->ctx->arena,
                     "at most %.2f %% differ on any route (upper 95 %% bound, Clopper-Pearson); the limit is %.2f %%",
                     worst * 100, ask->limits->difference_rate * 100));
}

/* --- the data migration ------------------------------------------------------------------------------------------- */

static Err from_migration(const Asking *ask, Gate *gate, GateState (*fact)(Ctx *, const char *, Str *),
                          const char *what) {
    Str text = {NULL, 0};
    if (fact == NULL)
        return says(ask, gate, GATE_UNAVAILABLE,
                    arena_printf(ask->call->ctx->arena, "%s: not available, there is no data migration yet", what));
    GateState state = fact(ask->call->ctx, ask->target->context, &text);
    return says(ask, gate, state, text);
}

static Err gate_parity(const Asking *ask, Gate *gate) {
    return from_migration(ask, gate, SYNC_FACTS.parity, "parity of the rows");
}

static Err gate_lag(const Asking *ask, Gate *gate) {
    return from_migration(ask, gate, SYNC_FACTS.lag, "lag of the sync");
}

/* --- the new side's health ---------------------------------------------------------------------------------------- */

static const Context *context_of(const char *name) {
    for (const Context *const *context = CONTEXTS; *context != NULL; context++)
        if (strcmp((*context)->name, name) == 0)
            return *context;
    return NULL;
}

static bool has_outbox(const Context *context) {
    for (const Resource *const *resource = context->resources; *resource != NULL; resource++)
        if (strcmp((*resource)->name, "outbox") == 0)
            return true;
    return false;
}

static Err gate_outbox(const Asking *ask, Gate *gate) {
    const Context *context = context_of(ask->target->context);
    PGconn *conn CLEANUP(gateway_finish) = NULL;
    PGresult *result CLEANUP(gateway_clear) = NULL;
    Ctx *ctx = ask->call->ctx;
    if (context == NULL || !has_outbox(context))
        return says(ask, gate, GATE_HOLDS, STR("this context has no outbox"));
    Str sql = sql_with_schema(ctx->arena, context->schema, str_c(OUTBOX_STATE_SQL));
    if (sql.p == NULL)
        return ERR_NO_MEMORY;
    problem_clear(ctx);
    ctx->deadline_ms = clock_mono_ms() + OUTBOX_MS;
    Err err = pg_sync_connect(ctx, settings_database_url(ask->settings, context->database_env), (Str){NULL, 0}, &conn);
    if (err == ERR_OK)
        err = pg_sync_exec(ctx, conn, sql.p, &result);
    ctx->deadline_ms = 0;
    if (err != ERR_OK)
        return says(ask, gate, GATE_FAILS,
                    arena_printf(ctx->arena, "the outbox cannot be looked at: %.*s", STR_ARG(ctx->problem.message)));
    int64_t depth = gateway_number(result, 0, 0);
    return says(ask, gate, depth <= ask->limits->outbox_max ? GATE_HOLDS : GATE_FAILS,
                arena_printf(ctx->arena, "%lld messages wait; the limit is %lld", (long long)depth,
                             (long long)ask->limits->outbox_max));
}

typedef struct SideSeen {
    uint64_t requests, errors, buckets[TRAFFIC_BUCKETS];
} SideSeen;

/* In the same window: the old side as clients had it; the new one likewise, or as mirrored (writes: as tried) where it
 * has no clients yet. */
static Err sides_seen(const Asking *ask, SideSeen *old_side, SideSeen *new_side, BoardSide *ret_seen_as) {
    PGresult *result CLEANUP(gateway_clear) = NULL;
    SideSeen seen[BOARD_SIDES] = {{0}};
    const char *values[] = {ask->target->context, ask->target->part, ask->target->route, ask->limits->window};
    TRY(gateway_ask(
        ask->call, ask->conn,
        "SELECT side, ord, sum(n::bigint), sum(CASE ord WHEN 1 THEN errors ELSE 0 END)::bigint FROM gateway.traffic, "
        "unnest(string_to_array(buckets, ',')) WITH ORDINALITY AS b (n, ord) WHERE context = $1 AND part = $2 AND "
        "($3 = '' OR route = $3) AND minute >= " SINCE " GROUP BY side, ord",
        4, values, &result));
    for (int row = 0; row < PQntuples(result); row++)
        for (BoardSide side = 0; side < BOARD_SIDES; side++) {
            int64_t bucket = gateway_number(result, row, 1) - 1;
            if (strcmp(PQgetvalue(result, row, 0), board_side_name(side)) != 0 || bucket < 0 ||
                bucket >= TRAFFIC_BUCKETS)
                continue;
            seen[side].buckets[bucket] += (uint64_t)gateway_number(result, row, 2);
            seen[side].requests += (uint64_t)gateway_number(result, row, 2);
            seen[side].errors += (uint64_t)gateway_number(result, row, 3);
        }
    *ret_seen_as = BOARD_NEW;
    for (BoardSide side = BOARD_MIRROR; side <= BOARD_TRIAL; side++)
        if (seen[side].requests > seen[*ret_seen_as].requests)
            *ret_seen_as = side;
    *old_side = seen[BOARD_LEGACY];
    *new_side = seen[*ret_seen_as];
    return ERR_OK;
}

static Err gate_errors(const Asking *ask, Gate *gate) {
    SideSeen old_side, new_side;
    BoardSide seen_as;
    TRY(sides_seen(ask, &old_side, &new_side, &seen_as));
    double allowed = ask->limits->error_rate;
    if (old_side.requests > 0)
        allowed += (double)old_side.errors / (double)old_side.requests;
    double upper = rate_upper_bound(new_side.errors, new_side.requests, 0.95);
    double lower = rate_lower_bound(new_side.errors, new_side.requests, 0.95);
    return says(
        ask, gate,
        upper <= allowed  ? GATE_HOLDS
        : lower > allowed ? GATE_FAILS
                          : GATE_INCONCLUSIVE,
        arena_printf(
            ask->call->ctx->arena,
            "%llu of %llu%s failed on the new side (up to %.2f %%), %llu of %llu on the old; allowed is %.2f %%",
            (unsigned long long)new_side.errors, (unsigned long long)new_side.requests,
            seen_as == BOARD_MIRROR  ? " mirrored"
            : seen_as == BOARD_TRIAL ? " trials"
                                     : "",
            upper * 100, (unsigned long long)old_side.errors, (unsigned long long)old_side.requests, allowed * 100));
}

/** The bound that 99 of 100 are below; the last bucket has none, hence ten times its lower one. */
static int64_t p99_ns(const SideSeen *seen) {
    uint64_t below = 0;
    for (size_t i = 0; i < TRAFFIC_BUCKETS - 1; i++) {
        below += seen->buckets[i];
        if (below * 100 >= seen->requests * 99)
            return TRAFFIC_BOUNDS[i];
    }
    return TRAFFIC_BOUNDS[TRAFFIC_BUCKETS - 2] * 10;
}

static Err gate_latency(const Asking *ask, Gate *gate) {
    SideSeen old_side, new_side;
    BoardSide seen_as;
    TRY(sides_seen(ask, &old_side, &new_side, &seen_as));
    if (seen_as == BOARD_TRIAL)
        return says(ask, gate, GATE_INCONCLUSIVE,
                    STR("trials are not timed: they stand in line, look at what they wrote, and do not commit"));
    if (new_side.requests < (uint64_t)ask->limits->samples_min)
        return says(ask, gate, GATE_INCONCLUSIVE,
                    arena_printf(ask->call->ctx->arena, "only %llu answers of the new side were timed",
                                 (unsigned long long)new_side.requests));
    int64_t old_ns = old_side.requests == 0 ? 0 : p99_ns(&old_side), new_ns = p99_ns(&new_side);
    bool holds =
        new_ns <= ask->limits->latency_free_ns || (double)new_ns <= (double)old_ns * ask->limits->latency_factor;
    return says(ask, gate, holds ? GATE_HOLDS : GATE_FAILS,
                arena_printf(ask->call->ctx->arena,
                             "p99 to the answer's head is below %.2f ms on the new side, %.2f ms on the old",
                             (double)new_ns / 1e6, (double)old_ns / 1e6));
}

/* ------------------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    Err (*look)(const Asking *ask, Gate *gate);
} GATES[] = {
    {"comparisons", gate_samples}, {"differences", gate_differences}, {"parity", gate_parity},   {"sync lag", gate_lag},
    {"outbox", gate_outbox},       {"errors", gate_errors},           {"latency", gate_latency},
};
_Static_assert(ARRAY_LEN(GATES) <= GATES_MAX, "raise GATES_MAX");

Err cutover_gates(Invocation *call, PGconn *conn, const Settings *settings, const CutoverTarget *target,
                  const GateLimits *limits, Gate ret[GATES_MAX], size_t *ret_n) {
    Asking ask = {call, conn, settings, target, limits};
    for (size_t i = 0; i < ARRAY_LEN(GATES); i++) {
        ret[i] = (Gate){.name = GATES[i].name};
        TRY(GATES[i].look(&ask, &ret[i]));
    }
    *ret_n = ARRAY_LEN(GATES);
    return ERR_OK;
}
