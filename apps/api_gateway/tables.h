/*
 * tables.h - rows of schema gateway, as tables.c declares them. Internal; the front door is api_gateway.h.
 */
#pragma once
#include "resource/resource.h"

/** One cause of differences: route, place, kind and class. */
typedef struct ClusterRow {
    int64_t id;
    Str route, pointer, kind, class;
    int64_t count;
    Instant first_seen, last_seen;
    Str old_value, new_value; /* of the last one; redacted */
    OptInstant resolved_at;   /* somebody said it is mended; a later one opens it again */
} ClusterRow;

/** A whole exchange that showed a cause: a few for each. */
typedef struct SampleRow {
    int64_t id, cluster_id;
    Instant taken_at;
    Str method, target, request_headers, request_body;
    int32_t old_status, new_status;
    Str old_headers, old_body, new_headers, new_body;
    Str differences; /* lines */
    Str effects;     /* of a trial: JSON */
} SampleRow;

/** What trials of a route would have done, summed. */
typedef struct EffectRow {
    Str route, what; /* a table, or a message's type */
    int64_t inserted, updated, deleted, published;
} EffectRow;

typedef struct ExpectedRow {
    int64_t id;
    Str route, pointer, kind;
    Str reason, owner;
    Instant expires_at, created_at;
    Str created_by;
} ExpectedRow;

/** Where a context's reads or writes are answered; route empty: all of them that no row of their own names. */
typedef struct StageRow {
    Str context, part, route;
    Str stage;
    int32_t canary_percent;
    int64_t epoch;           /* grows with every change of the row */
    OptInstant paused_until; /* requests wait while a switch is under way */
    OptInstant deprecated_at, gone_at;
    Instant changed_at;
} StageRow;

typedef struct StageChangeRow {
    int64_t id;
    Str context, part, route;
    Str from_stage, to_stage;
    int32_t canary_percent;
    bool forced;
    Str who, why;
    Instant changed_at;
} StageChangeRow;

/** What was compared in one minute. */
typedef struct TallyRow {
    Str route, context, part, source; /* source: live, or replay */
    Instant minute;
    int64_t compared, equal, real, lag, expected, noisy, skipped;
} TallyRow;

/** What one gateway saw of one side in one minute. */
typedef struct TrafficRow {
    Id gateway;
    Str route, context, part, side;
    Instant minute;
    int64_t requests, errors, slow_ns_sum;
    Str buckets; /* counts by TRAFFIC_BOUNDS, comma-separated */
} TrafficRow;

typedef struct PairRow {
    Str kind;
    Id old_id, new_id;
    Instant learnt_at;
} PairRow;

/** A gateway that lives, and how far it has followed. */
typedef struct GatewayRow {
    Id id;
    Str name;
    Instant seen_at;
    int64_t holding_epoch; /* every worker holds the writes that this epoch pauses, and none is in work */
    int32_t workers;
    int64_t followed_epochs; /* sum of the epochs of the stages that every worker goes by */
} GatewayRow;

/** A rehearsal that is under way, or was killed: how the stage was before it, so that anybody can put it back. */
typedef struct RehearsalRow {
    Str context, part, stage;
    Instant began_at;
    Str who, why, place; /* place: host and process */
} RehearsalRow;

/** What was done to a client beside its requests: callers that still come to a retired route. */
typedef struct CallerRow {
    Str route, caller;
    int64_t count;
    Instant first_seen, last_seen;
} CallerRow;
