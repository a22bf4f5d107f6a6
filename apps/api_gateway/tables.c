/*
 * tables.c - what the gateway remembers: differences by cause, what is expected, stages and who changed them, counts
 * for the gates.
 *
 * All of it is written by the shadow worker and the command line, never by the path that a client waits for.
 */
#include "api_gateway/tables.h"

#include "api_gateway/api_gateway.h"
#include "api_gateway_migrations.h"
#include "api_gateway_queries.h"

static const Attribute cluster_attributes[] = {
    ATTR(ClusterRow, id, .key = true, .identity = true, .required = true),
    ATTR(ClusterRow, route, .required = true, .doc = "\"GET /events/{id}\"."),
    ATTR(ClusterRow, pointer, .required = true, .doc = "Place in the answer; an element of a list stands as *."),
    ATTR(ClusterRow, kind, .required = true,
         .doc = "status, answer, header, bytes, value, type, missing, extra, id, message."),
    ATTR(ClusterRow, class, .required = true, .doc = "real, lag or expected."),
    ATTR(ClusterRow, count, .required = true),
    ATTR(ClusterRow, first_seen, .required = true, .coarse = true),
    ATTR(ClusterRow, last_seen, .required = true, .coarse = true),
    ATTR(ClusterRow, old_value, .required = true, .doc = "Of the last one, redacted by rule."),
    ATTR(ClusterRow, new_value, .required = true),
    ATTR(ClusterRow, resolved_at, .coarse = true, .doc = "Said to be mended; one that comes later opens it again."),
    {0},
};
static const Identity cluster_identities[] = {
    {.name = "clusters_by_cause", .attributes = {"route", "pointer", "kind", "class"}, .hashed = false},
    {0},
};
static const Check cluster_checks[] = {
    {"clusters_class", "class IN ('real', 'lag', 'expected')"},
    {"clusters_size", "octet_length(route) + octet_length(pointer) + octet_length(kind) < 2000"},
    {0},
};
static const Resource clusters = {
    .name = "cluster",
    .plural = "clusters",
    .schema = "gateway",
    .doc = "Differences between old and new by cause, counted.",
    .size = sizeof(ClusterRow),
    .attributes = cluster_attributes,
    .identities = cluster_identities,
    .checks = cluster_checks,
    .storage = "fillfactor=70",
    .internal = true,
};

static const Attribute sample_attributes[] = {
    ATTR(SampleRow, id, .key = true, .identity = true, .required = true),
    ATTR(SampleRow, cluster_id, .required = true, .doc = "Row of clusters."),
    ATTR(SampleRow, taken_at, .required = true, .coarse = true),
    ATTR(SampleRow, method, .required = true),
    ATTR(SampleRow, target, .required = true, .doc = "Secret parameters are redacted."),
    ATTR(SampleRow, request_headers, .required = true, .doc = "Lines; secret ones are redacted."),
    ATTR(SampleRow, request_body, .required = true, .doc = "Of a write; secret and personal members are redacted."),
    ATTR(SampleRow, old_status, .required = true),
    ATTR(SampleRow, old_headers, .required = true),
    ATTR(SampleRow, old_body, .required = true, .doc = "Secret and personal members are redacted."),
    ATTR(SampleRow, new_status, .required = true, .doc = "0: no whole answer."),
    ATTR(SampleRow, new_headers, .required = true),
    ATTR(SampleRow, new_body, .required = true),
    ATTR(SampleRow, differences, .required = true, .doc = "One line each."),
    ATTR(SampleRow, effects, .required = true, .default_sql = "''",
         .doc = "Of a trial: what would have been written and published, JSON, redacted."),
    {0},
};
static const Index sample_indexes[] = {{.name = "samples_cluster", .columns = "cluster_id, id"}, {0}};
static const Resource samples = {
    .name = "sample",
    .plural = "samples",
    .schema = "gateway",
    .doc = "Exchanges that showed a cause, a few for each.",
    .size = sizeof(SampleRow),
    .attributes = sample_attributes,
    .indexes = sample_indexes,
    .internal = true,
};

static const Attribute effect_attributes[] = {
    ATTR(EffectRow, route, .key = true, .required = true),
    ATTR(EffectRow, what, .key = true, .required = true, .doc = "A table, or a message's type."),
    ATTR(EffectRow, inserted, .required = true),
    ATTR(EffectRow, updated, .required = true),
    ATTR(EffectRow, deleted, .required = true),
    ATTR(EffectRow, published, .required = true),
    {0},
};
static const Resource effects = {
    .name = "effect",
    .plural = "effects",
    .schema = "gateway",
    .doc = "What mirrored writes would have written and published on the new side, by route.",
    .size = sizeof(EffectRow),
    .attributes = effect_attributes,
    .storage = "fillfactor=70",
    .internal = true,
};

static const Attribute expected_attributes[] = {
    ATTR(ExpectedRow, id, .key = true, .identity = true, .required = true),
    ATTR(ExpectedRow, route, .required = true, .doc = "Empty: any."),
    ATTR(ExpectedRow, pointer, .doc = "Absent: any place; * stands for any one segment."),
    ATTR(ExpectedRow, kind, .required = true, .doc = "Empty: any."),
    ATTR(ExpectedRow, reason, .required = true),
    ATTR(ExpectedRow, owner, .required = true, .doc = "Who answers for it."),
    ATTR(ExpectedRow, expires_at, .required = true, .coarse = true, .doc = "From then on it counts again."),
    ATTR(ExpectedRow, created_at, .required = true, .coarse = true),
    ATTR(ExpectedRow, created_by, .required = true),
    {0},
};
static const Resource expected = {
    .name = "expected_difference",
    .plural = "expected_differences",
    .schema = "gateway",
    .doc = "Differences that are wanted: why, by whom, until when.",
    .size = sizeof(ExpectedRow),
    .attributes = expected_attributes,
    .internal = true,
};

static const Attribute stage_attributes[] = {
    ATTR(StageRow, context, .key = true, .required = true),
    ATTR(StageRow, part, .key = true, .required = true, .doc = "reads or writes."),
    ATTR(StageRow, route, .key = true, .required = true, .doc = "Empty: all that have no row of their own."),
    ATTR(StageRow, stage, .required = true),
    ATTR(StageRow, canary_percent, .required = true,
         .doc = "In stage canary: so many of a hundred go to the new side."),
    ATTR(StageRow, epoch, .required = true, .doc = "Grows with every change."),
    ATTR(StageRow, paused_until, .coarse = true, .doc = "Requests wait, at most until then."),
    ATTR(StageRow, deprecated_at, .coarse = true, .doc = "Sent as Deprecation (RFC 9745)."),
    ATTR(StageRow, gone_at, .coarse = true, .doc = "Sent as Sunset (RFC 8594); answered 410 from then on."),
    ATTR(StageRow, changed_at, .required = true, .coarse = true),
    {0},
};
static const Check stage_checks[] = {
    {"stages_stage", "stage IN ('legacy', 'shadow', 'canary', 'new', 'retired')"},
    {"stages_part", "part IN ('reads', 'writes')"},
    {"stages_percent", "canary_percent BETWEEN 0 AND 100"},
    {0},
};
static const Resource stages = {
    .name = "stage",
    .plural = "stages",
    .schema = "gateway",
    .doc = "Which side answers what.",
    .size = sizeof(StageRow),
    .attributes = stage_attributes,
    .checks = stage_checks,
    .internal = true,
};

static const Attribute change_attributes[] = {
    ATTR(StageChangeRow, id, .key = true, .identity = true, .required = true),
    ATTR(StageChangeRow, context, .required = true),
    ATTR(StageChangeRow, part, .required = true),
    ATTR(StageChangeRow, route, .required = true),
    ATTR(StageChangeRow, from_stage, .required = true),
    ATTR(StageChangeRow, to_stage, .required = true),
    ATTR(StageChangeRow, canary_percent, .required = true),
    ATTR(StageChangeRow, forced, .required = true, .doc = "Its gates did not hold."),
    ATTR(StageChangeRow, who, .required = true),
    ATTR(StageChangeRow, why, .required = true),
    ATTR(StageChangeRow, changed_at, .required = true, .coarse = true),
    {0},
};
static const Resource changes = {
    .name = "stage_change",
    .plural = "stage_changes",
    .schema = "gateway",
    .doc = "Every change of a stage: who, when, why, from, to. Only added to.",
    .size = sizeof(StageChangeRow),
    .attributes = change_attributes,
    .internal = true,
};

static const Attribute tally_attributes[] = {
    ATTR(TallyRow, route, .key = true, .required = true),
    ATTR(TallyRow, source, .key = true, .required = true, .doc = "live, or replay."),
    ATTR(TallyRow, minute, .key = true, .required = true, .coarse = true),
    ATTR(TallyRow, context, .required = true),
    ATTR(TallyRow, part, .required = true),
    ATTR(TallyRow, compared, .required = true),
    ATTR(TallyRow, equal, .required = true),
    ATTR(TallyRow, real, .required = true),
    ATTR(TallyRow, lag, .required = true),
    ATTR(TallyRow, expected, .required = true),
    ATTR(TallyRow, noisy, .required = true, .doc = "Of the equal ones: differed by noise only."),
    ATTR(TallyRow, skipped, .required = true, .doc = "Not compared: queue full, too large, not sampled."),
    {0},
};
static const Resource tallies = {
    .name = "tally",
    .plural = "tallies",
    .schema = "gateway",
    .doc = "How many answers were compared, and what came of it, by route and minute.",
    .size = sizeof(TallyRow),
    .attributes = tally_attributes,
    .storage = "fillfactor=70",
    .internal = true,
};

static const Attribute traffic_attributes[] = {
    ATTR(TrafficRow, gateway, .key = true, .required = true),
    ATTR(TrafficRow, route, .key = true, .required = true),
    ATTR(TrafficRow, side, .key = true, .required = true, .doc = "legacy, new, mirror or trial."),
    ATTR(TrafficRow, minute, .key = true, .required = true, .coarse = true),
    ATTR(TrafficRow, context, .required = true),
    ATTR(TrafficRow, part, .required = true),
    ATTR(TrafficRow, requests, .required = true),
    ATTR(TrafficRow, errors, .required = true, .doc = "5xx, or no whole answer."),
    ATTR(TrafficRow, slow_ns_sum, .required = true, .doc = "Time to the answer's head, summed."),
    ATTR(TrafficRow, buckets, .required = true, .doc = "The same as counts by bounds, comma-separated."),
    {0},
};
static const Index traffic_indexes[] = {{.name = "traffic_minute", .columns = "minute"}, {0}};
static const Resource traffic = {
    .name = "traffic",
    .plural = "traffic",
    .schema = "gateway",
    .doc = "What gateways saw of each side, by route and minute.",
    .size = sizeof(TrafficRow),
    .attributes = traffic_attributes,
    .indexes = traffic_indexes,
    .storage = "fillfactor=70",
    .internal = true,
};

static const Attribute pair_attributes[] = {
    ATTR(PairRow, kind, .key = true, .required = true),
    ATTR(PairRow, old_id, .key = true, .required = true),
    ATTR(PairRow, new_id, .required = true),
    ATTR(PairRow, learnt_at, .required = true, .coarse = true),
    {0},
};
static const Identity pair_identities[] = {{.name = "id_pairs_by_new", .attributes = {"kind", "new_id"}}, {0}};
static const Resource pairs = {
    .name = "id_pair",
    .plural = "id_pairs",
    .schema = "gateway",
    .doc = "Which id of the old system is which of ours.",
    .size = sizeof(PairRow),
    .attributes = pair_attributes,
    .identities = pair_identities,
    .internal = true,
};

static const Attribute gateway_attributes[] = {
    ATTR(GatewayRow, id, .key = true, .required = true),
    ATTR(GatewayRow, name, .required = true, .doc = "Its host."),
    ATTR(GatewayRow, seen_at, .required = true, .coarse = true),
    ATTR(GatewayRow, holding_epoch, .required = true,
         .doc = "All its workers hold what this epoch pauses, and none is in work."),
    ATTR(GatewayRow, workers, .required = true),
    ATTR(GatewayRow, followed_epochs, .required = true, .default_sql = "0",
         .doc = "All its workers go by the stages whose epochs have this sum."),
    {0},
};
static const Resource gateways = {
    .name = "gateway",
    .plural = "gateways",
    .schema = "gateway",
    .doc = "Gateways that live, and how far they have followed.",
    .size = sizeof(GatewayRow),
    .attributes = gateway_attributes,
    .storage = "fillfactor=50",
    .internal = true,
};

static const Attribute rehearsal_attributes[] = {
    ATTR(RehearsalRow, context, .key = true, .required = true, .doc = "One at a time."),
    ATTR(RehearsalRow, part, .required = true),
    ATTR(RehearsalRow, stage, .required = true, .doc = "As it was before, and is to be again."),
    ATTR(RehearsalRow, began_at, .required = true, .coarse = true),
    ATTR(RehearsalRow, who, .required = true),
    ATTR(RehearsalRow, why, .required = true),
    ATTR(RehearsalRow, place, .required = true, .doc = "Host and process."),
    {0},
};
static const Resource rehearsals = {
    .name = "rehearsal",
    .plural = "rehearsals",
    .schema = "gateway",
    .doc = "Rehearsals that are under way, or were killed.",
    .size = sizeof(RehearsalRow),
    .attributes = rehearsal_attributes,
    .internal = true,
};

static const Attribute caller_attributes[] = {
    ATTR(CallerRow, route, .key = true, .required = true),
    ATTR(CallerRow, caller, .key = true, .required = true, .doc = "User-Agent and address, cut."),
    ATTR(CallerRow, count, .required = true),
    ATTR(CallerRow, first_seen, .required = true, .coarse = true),
    ATTR(CallerRow, last_seen, .required = true, .coarse = true),
    {0},
};
static const Resource callers = {
    .name = "caller",
    .plural = "callers",
    .schema = "gateway",
    .doc = "Who still comes to what is retired.",
    .size = sizeof(CallerRow),
    .attributes = caller_attributes,
    .storage = "fillfactor=70",
    .internal = true,
};

static const Resource *const resources[] = {
    &clusters, &samples, &effects,  &expected, &stages,     &changes, &tallies,
    &traffic,  &pairs,   &gateways, &callers,  &rehearsals, NULL,
};

const Context GATEWAY_CONTEXT = {
    .name = "gateway",
    .schema = "gateway",
    .role = "usher_gateway",
    .database_env = "GATEWAY_DATABASE_URL",
    .resources = resources,
    .queries = API_GATEWAY_QUERIES,
    .migrations = API_GATEWAY_MIGRATIONS,
};
