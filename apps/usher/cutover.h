/*
 * cutover.h - moving a context's reads or writes from side to side: gates, steps, and what commands share.
 */
#pragma once
#include "api_gateway/api_gateway.h"
#include "usher/gateway_db.h"

/** What a command is about. */
typedef struct CutoverTarget {
    const char *context, *part, *route; /* route "": the whole part */
    StagePart part_number;
} CutoverTarget;

/** A target's row as it stands; zeroed with stage legacy and epoch 0 where there is none. */
typedef struct CutoverStage {
    StageKind kind;
    int64_t canary_percent, epoch;
    Str changed_at; /* absent: never */
} CutoverStage;

MUST_USE Err cutover_stage(Invocation *call, PGconn *conn, const CutoverTarget *target, CutoverStage *ret);

/* --- gates -------------------------------------------------------------------------------------------------------- */

typedef enum GateState { GATE_HOLDS, GATE_FAILS, GATE_INCONCLUSIVE, GATE_UNAVAILABLE } GateState;
const char *gate_state_name(GateState state);

typedef struct Gate {
    const char *name;
    GateState state;
    Str says; /* one sentence with the figures */
} Gate;
#define GATES_MAX 8

typedef struct GateLimits {
    int64_t samples_min;     /* comparisons on every route */
    double difference_rate;  /* the upper 95 % bound must be below */
    double error_rate;       /* how much more of the new side's requests may fail than of the old's */
    double latency_factor;   /* p99 of the new side against the old's … */
    int64_t latency_free_ns; /* … or below this in any case */
    int64_t outbox_max;
    const char *window; /* an interval of Postgres; not longer ago than the stage's last change */
} GateLimits;
extern const GateLimits GATE_LIMITS_DEFAULT;

/** What the data migration knows of a context. NULL: it is not there, and the gate blocks. */
typedef struct SyncFacts {
    GateState (*parity)(Ctx *ctx, const char *context, Str *ret_says);
    GateState (*lag)(Ctx *ctx, const char *context, Str *ret_says);
} SyncFacts;
extern const SyncFacts SYNC_FACTS;

/** All gates of a target. */
MUST_USE Err cutover_gates(Invocation *call, PGconn *conn, const Settings *settings, const CutoverTarget *target,
                           const GateLimits *limits, Gate ret[GATES_MAX], size_t *ret_n);
size_t gates_closed(const Gate *gates, size_t n);

/* --- steps -------------------------------------------------------------------------------------------------------- */

typedef struct CutoverStep {
    StageKind to;
    int64_t canary_percent;
    const char *why;
    bool forced;
    const char *deprecated_at, *gone_at; /* NULL: none */
} CutoverStep;

/** Changes the stage if it is still as `from` was, with its line in the audit log, and tells the gateways.
 *  ERR_CONFLICT: somebody else has changed it. */
MUST_USE Err cutover_change(Invocation *call, PGconn *conn, const CutoverTarget *target, const CutoverStage *from,
                            const CutoverStep *step);

/** How long writers waited. */
typedef struct CutoverPause {
    int64_t took_ms;
    int gateways; /* that live, and have confirmed */
} CutoverPause;

/**
 * As cutover_change, for writes: requests wait while every gateway lets what is in work end, then the stage changes.
 * Within pause_ms, or it is called off and stays as it was (ERR_TIMEOUT).
 */
MUST_USE Err cutover_switch(Invocation *call, PGconn *conn, const CutoverTarget *target, const CutoverStage *from,
                            const CutoverStep *step, int64_t pause_ms, CutoverPause *ret);

/* --- commands ----------------------------------------------------------------------------------------------------- */

/** One call of `usher cutover`. */
typedef struct Cutover {
    Invocation *call;
    PGconn *conn;
    Settings settings;
    CutoverTarget target;
    GateLimits limits;
} Cutover;

/** From the arguments at `at` and behind, and --route. False: said what is wrong. */
bool cutover_read_target(Invocation *call, int at, CutoverTarget *ret);
/** --samples, --limit, --window. False: said what is wrong. */
bool cutover_read_limits(Invocation *call, GateLimits *ret);
/** A whole number; *ret stays where the option is not given. False: said what is wrong. */
bool cutover_number(Invocation *call, const char *name, int64_t min, int64_t max, int64_t *ret);

int cutover_status(Cutover *cutover);
int cutover_plan(Cutover *cutover);
void cutover_print_gates(const Gate *gates, size_t n);
