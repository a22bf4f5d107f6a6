/*
 * engine_things.h - the context of the sets' tests: things with a unique name, and an action that misbehaves as it is
 * told by a member's name.
 */
#pragma once
#include "engine_test.h"

static Engine *engine;

/* --- the context -------------------------------------------------------------------------------------------------- */

static const Attribute thing_attributes[] = {
    ATTR(Thing, id, .key = true, .generated = true, .required = true),
    ATTR(Thing, name, .required = true),
    ATTR(Thing, value, .required = true),
    {0},
};
static const Identity thing_identities[] = {{.name = "things_name", .attributes = {"name"}}, {0}};

static Err announce_thing(const Action *action, Member *member) {
    const Thing *thing = member->input;
    return member_announce(member, str_c(action->name), thing->id, STR("{\"a\": 1.50, \"a\": 2}"));
}

static Err value_is_not_negative(Ctx *ctx, const void *input) {
    const Thing *thing = input;
    return thing->value >= 0 ? ERR_OK : ctx_problem(ctx, ERR_INVALID, "value", "The value is negative.");
}

static Err value_is_not_odd(Ctx *ctx, const void *input) {
    const Thing *thing = input;
    return thing->value % 2 == 0 ? ERR_OK : ctx_problem(ctx, ERR_INVALID, "value", "The value is odd.");
}
static const Validation thing_validations[] = {
    {"not negative", value_is_not_negative},
    {"not odd", value_is_not_odd},
    {0},
};

/* What `make` is told to do by a member's name. */
static int runs, retries_left;

static const Statement MAKE = {
    "unit_make",
    "INSERT INTO unit_engine.things (id, name, value) SELECT * FROM unnest($1::uuid[], $2::text[], $3::int4[])", true};
static const Statement DIVIDE = {"unit_divide", "SELECT 1 / $1::int4", false};
static const Statement CONFLICT = {"unit_conflict",
                                   "DO $$ BEGIN RAISE EXCEPTION 'once more' USING ERRCODE = '40001'; END $$", true};
static const Statement DIE = {"unit_die", "SELECT pg_terminate_backend(pg_backend_pid())", true};
static const Statement LOCK = {"unit_lock", "SELECT pg_advisory_xact_lock(4711)", true};
static const Statement NOWHERE = {"unit_nowhere", "INSERT INTO unit_engine.nowhere VALUES (1)", true};

static CO_FN Err misbehave(PgTx *tx, Set *set, Member *member) {
    const Thing *thing = member->input;
    PgParams params;
    PgResult result;
    if (str_eq_c(thing->name, "refused") || (str_eq_c(thing->name, "refused at first") && runs == 1))
        (void)member_refuse(member, ERR_CONFLICT, "name", "Not %.*s.", STR_ARG(thing->name));
    if (str_eq_c(thing->name, "divides by zero")) {
        pg_params_init(&params, set->ctx->arena);
        pg_add_i32(&params, 0);
        return pg_tx_query(tx, &DIVIDE, &params, &result);
    }
    if (str_eq_c(thing->name, "collides") && retries_left > 0) {
        retries_left--;
        return pg_tx_query(tx, &CONFLICT, NULL, &result);
    }
    if (str_eq_c(thing->name, "kills"))
        return pg_tx_query(tx, &DIE, NULL, &result);
    if (str_eq_c(thing->name, "lost table"))
        return pg_tx_query(tx, &NOWHERE, NULL, &result);
    if (str_eq_c(thing->name, "waits"))
        return pg_tx_query(tx, &LOCK, NULL, &result);
    return ERR_OK;
}

static CO_FN Err make_run(PgTx *tx, Set *set) {
    runs++;
    for (size_t i = 0; i < set->n; i++)
        TRY(misbehave(tx, set, set->members[i]));
    const void **rows = ARENA_ARRAY(set->ctx->arena, const void *, set->n);
    size_t n = 0;
    if (rows == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < set->n; i++) {
        if (set->members[i]->outcome != ERR_OK)
            continue;
        rows[n++] = set->members[i]->input;
        set->members[i]->result = set->members[i]->input;
    }
    PgParams params;
    pg_params_init(&params, set->ctx->arena);
    for (const Attribute *a = thing_attributes; a->name != NULL; a++)
        resource_add_array(&params, a, rows, n);
    pg_tx_send(tx, &MAKE, &params);
    return ERR_OK;
}

static Id thing_key(const void *input) {
    return ((const Thing *)input)->id;
}

static const Action thing_actions[] = {
    {.name = "create",
     .kind = ACTION_CREATE,
     .validations = thing_validations,
     .after = announce_thing,
     .conflict_message = "The name is taken"},
    {.name = "update", .kind = ACTION_UPDATE, .after = announce_thing, .conflict_message = "The name is taken"},
    {.name = "destroy", .kind = ACTION_DESTROY},
    {.name = "make", .kind = ACTION_CUSTOM, .run = make_run, .after = announce_thing},
    {.name = "make_apart", .kind = ACTION_CUSTOM, .run = make_run, .clash_key = thing_key},
    {.name = "secret", .kind = ACTION_CUSTOM, .run = make_run},
    {0},
};
static bool anyone(const Ctx *ctx, const Action *action, const void *input) {
    (void)ctx;
    (void)input;
    return strcmp(action->name, "secret") != 0;
}
static const Policy thing_policies[] = {{"*", "anyone but for secrets", anyone}, {0}};

static const Resource things = {
    .name = "thing",
    .plural = "things",
    .schema = "unit_engine",
    .size = sizeof(Thing),
    .attributes = thing_attributes,
    .identities = thing_identities,
    .actions = thing_actions,
    .policies = thing_policies,
};
static const Attribute outbox_attributes[] = {
    ATTR(TestOutboxRow, position, .key = true, .identity = true, .required = true),
    ATTR(TestOutboxRow, message_id, .required = true),
    ATTR(TestOutboxRow, type, .required = true),
    ATTR(TestOutboxRow, aggregate, .required = true),
    ATTR(TestOutboxRow, payload, .required = true),
    ATTR(TestOutboxRow, traceparent, .doc = NULL),
    ATTR(TestOutboxRow, tracestate, .doc = NULL),
    ATTR(TestOutboxRow, baggage, .doc = NULL),
    ATTR(TestOutboxRow, appended_at, .required = true, .coarse = true),
    {0},
};
static const Resource outbox = {
    .name = "outbox",
    .plural = "outbox",
    .schema = "unit_engine",
    .size = sizeof(TestOutboxRow),
    .attributes = outbox_attributes,
    .internal = true,
};
static const Resource *const resources[] = {&things, &outbox, NULL};
static const Context context = {.name = "unit_engine", .schema = "unit_engine", .resources = resources};

UNUSED static int set_up_all(void **state) {
    (void)state;
    if (!test_skipped())
        test_schema(&context);
    return 0;
}

UNUSED static int set_up(void **state) {
    runs = retries_left = 0;
    if (test_open(state) != 0)
        return 1;
    if (test_skipped())
        return 0;
    test_sql("TRUNCATE unit_engine.things, unit_engine.outbox");
    return engine_new(test.loop, &context, test.pool, &engine) != ERR_OK;
}

static int tear_down(void **state) {
    if (!test_skipped())
        engine_free(engine);
    engine = NULL;
    return test_close(state);
}

/* --- members ------------------------------------------------------------------------------------------------------ */

typedef struct Call {
    const char *action;
    int id; /* 0: generated */
    const char *name;
    int32_t value;
    Err want;
    const char *words; /* the whole problem, where there is one */

    Err err;
    char problem[200];
    bool has_result;
    Thing thing;
} Call;

#define FINE(action_, id_, name_, value_)                                                                              \
    { .action = (action_), .id = (id_), .name = (name_), .value = (value_) }
#define BAD(action_, id_, name_, value_, want_, words_)                                                                \
    { .action = (action_), .id = (id_), .name = (name_), .value = (value_), .want = (want_), .words = (words_) }

/* Which allocation is to fail, counted from the first member's action_run. */
static uint64_t fail_nth;

static void call(Ctx *ctx, void *arg) {
    Call *c = arg;
    Thing *thing = ARENA_NEW(ctx->arena, Thing); /* in the request's memory, as a handler's input is */
    if (thing == NULL) {
        c->err = ERR_NO_MEMORY;
        return;
    }
    *thing = (Thing){.id = c->id == 0 ? (Id){{0}} : test_id(c->id),
                     .name = arena_str(ctx->arena, str_c(c->name)),
                     .value = c->value};
    void *result = NULL;
    if (fail_nth > 0)
        arena_fail_nth(fail_nth);
    fail_nth = 0;
    c->err = action_run(engine, &things, c->action, ctx, thing, &result);
    c->has_result = result != NULL;
    c->thing = *thing;
    snprintf(c->problem, sizeof c->problem, "%.*s", STR_ARG(ctx->problem.message));
}

UNUSED static void run_calls(Call *calls, size_t n) {
    test_run_many(call, calls, sizeof *calls, (int)n);
    for (size_t i = 0; i < n; i++) {
        CASE(calls[i].name);
        if (calls[i].err != calls[i].want)
            fail_msg("[%s, member %zu] gave %s (%s), not %s", calls[i].name, i, err_name(calls[i].err),
                     calls[i].problem, err_name(calls[i].want));
        if (calls[i].words != NULL)
            assert_string_equal(calls[i].problem, calls[i].words);
    }
}

UNUSED static long long count_things(void) {
    return test_sql("SELECT count(*) FROM unit_engine.things");
}
UNUSED static long long count_outbox(void) {
    return test_sql("SELECT count(*) FROM unit_engine.outbox");
}
UNUSED static long long count_commits(void) {
    return test_sql("SELECT count(DISTINCT x) FROM (SELECT xmin::text AS x FROM unit_engine.things"
                    " UNION ALL SELECT xmin::text FROM unit_engine.outbox) AS t");
}
