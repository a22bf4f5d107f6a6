/*
 * test_engine_sets.c - what was asked in one turn is one set and one commit, and each member still has its own outcome.
 */
#include "engine_test.h"

static Engine *engine;

/* --- the context -------------------------------------------------------------------------------------------------------------- */

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
    ATTR(TestOutboxRow, traceparent),
    ATTR(TestOutboxRow, tracestate),
    ATTR(TestOutboxRow, baggage),
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

static int set_up_all(void **state) {
    (void)state;
    if (!test_skipped())
        test_schema(&context);
    return 0;
}

static int set_up(void **state) {
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

/* --- members ---------------------------------------------------------------------------------------------------------------------- */

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

static void run_calls(Call *calls, size_t n) {
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

static long long count_things(void) {
    return test_sql("SELECT count(*) FROM unit_engine.things");
}
static long long count_outbox(void) {
    return test_sql("SELECT count(*) FROM unit_engine.outbox");
}
static long long count_commits(void) {
    return test_sql("SELECT count(DISTINCT x) FROM (SELECT xmin::text AS x FROM unit_engine.things"
                    " UNION ALL SELECT xmin::text FROM unit_engine.outbox) AS t");
}

/* --- sets ---------------------------------------------------------------------------------------------------------------------------- */

static void a_turns_requests_are_one_commit(void **state) {
    (void)state;
    NEED_POSTGRES();
    static const char *const kinds[] = {"create", "make"};
    for (size_t kind = 0; kind < ARRAY_LEN(kinds); kind++) {
        enum { N = 100 };
        static Call calls[N];
        static char names[N][16];
        EngineStats before = engine_stats(engine);
        test_sql("TRUNCATE unit_engine.things, unit_engine.outbox");
        for (int i = 0; i < N; i++) {
            snprintf(names[i], sizeof names[i], "n%d", i);
            calls[i] = (Call){.action = kinds[kind], .id = N - i, .name = names[i], .value = i * 2};
        }
        run_calls(calls, N);
        CASE(kinds[kind]);
        assert_int_equal(engine_stats(engine).sets - before.sets, 1);
        assert_int_equal(engine_stats(engine).members - before.members, N);
        assert_int_equal(count_things(), N);
        assert_int_equal(count_outbox(), N);
        assert_int_equal(count_commits(), 1);
        for (int i = 0; i < N; i++)
            assert_true(calls[i].has_result);
        /* Messages stand in order of arrival (ids fall, values rise). */
        assert_int_equal(
            test_sql("SELECT count(*) FROM (SELECT t.value, lag(t.value) OVER (ORDER BY o.position) AS before"
                     " FROM unit_engine.outbox o JOIN unit_engine.things t ON t.id = o.aggregate) AS s"
                     " WHERE value < before"),
            0);
        /* Payloads are kept to the byte, and the trace goes with them. */
        assert_int_equal(test_sql("SELECT count(*) FROM unit_engine.outbox WHERE payload = '{\"a\": 1.50, \"a\": 2}'"
                                  " AND traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$'"),
                         N);
    }
}

static void an_identity_refuses_one_and_not_the_others(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call calls[] = {
        FINE("create", 0, "a", 2),
        FINE("create", 0, "b", 2),
        BAD("create", 0, "a", 4, ERR_CONFLICT, "The name is taken"),
        FINE("create", 7, "c", 2),
        BAD("create", 7, "d", 2, ERR_CONFLICT, "The name is taken"), /* the same key: the first has it */
    };
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(engine_stats(engine).sets, 2); /* the last two clash by their key */
    assert_int_equal(engine_stats(engine).reruns, 0);
    assert_int_equal(count_things(), 3);
    assert_int_equal(count_outbox(), 3);
    assert_int_equal(test_sql("SELECT value FROM unit_engine.things WHERE name = 'a'"), 2);
    assert_true(!id_is_zero(calls[0].thing.id));
    Call again[] = {BAD("create", 0, "a", 2, ERR_CONFLICT, "The name is taken")};
    run_calls(again, 1);
    assert_int_equal(count_outbox(), 3);
}

static void an_update_of_what_is_not_there_is_its_own_refusal(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call make[] = {FINE("create", 1, "a", 0), FINE("create", 2, "b", 0), FINE("create", 3, "c", 0)};
    run_calls(make, ARRAY_LEN(make));
    Call calls[] = {
        FINE("update", 1, "aa", 1),
        BAD("update", 9, "x", 1, ERR_NOT_FOUND, "This thing does not exist."),
        FINE("update", 2, "bb", 1),
    };
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(engine_stats(engine).sets, 2);
    assert_int_equal(count_outbox(), 5);
    /* A name that is taken: the statement fails as a whole, and each is run by itself. */
    Call collide[] = {
        FINE("update", 1, "aaa", 2),
        BAD("update", 2, "c", 2, ERR_CONFLICT, "The name is taken"),
        FINE("update", 3, "cc", 2),
    };
    run_calls(collide, ARRAY_LEN(collide));
    assert_int_equal(engine_stats(engine).reruns, 3);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_engine.things WHERE value = 2"), 2);
    assert_int_equal(count_outbox(), 7);
    Call destroy[] = {FINE("destroy", 1, "", 0), BAD("destroy", 8, "", 0, ERR_NOT_FOUND, NULL)};
    run_calls(destroy, ARRAY_LEN(destroy));
    assert_int_equal(count_things(), 2);
}

static void updates_of_one_row_keep_their_order(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call make[] = {FINE("create", 1, "a", 0)};
    run_calls(make, 1);
    Call calls[] = {FINE("update", 1, "a1", 1), FINE("update", 1, "a2", 2), FINE("update", 1, "a3", 3),
                    FINE("update", 1, "a4", 4)};
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(engine_stats(engine).sets, 1 + 4);
    assert_int_equal(test_sql("SELECT value FROM unit_engine.things"), 4);
    Call apart[] = {FINE("make_apart", 2, "b", 1), FINE("make_apart", 3, "c", 1),
                    BAD("make_apart", 2, "b", 1, ERR_CONFLICT, NULL)};
    uint64_t sets = engine_stats(engine).sets;
    run_calls(apart, ARRAY_LEN(apart));
    assert_int_equal(engine_stats(engine).sets - sets, 2);
}

static void sets_are_capped_and_queues_take_turns(void **state) {
    (void)state;
    NEED_POSTGRES();
    enum { MANY = SET_MEMBERS_MAX + 100, FEW = 5 };
    static Call calls[MANY + FEW];
    static char names[MANY + FEW][16];
    for (int i = 0; i < MANY + FEW; i++) {
        snprintf(names[i], sizeof names[i], "n%d", i);
        calls[i] = (Call){.action = i < MANY ? "create" : "make", .id = i + 1, .name = names[i]};
    }
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(engine_stats(engine).sets, 3);
    /* The second set is the other action's, not the rest of the first. */
    assert_int_equal(test_sql("SELECT count(DISTINCT type) FROM (SELECT type FROM unit_engine.outbox ORDER BY position"
                              " LIMIT 517) AS t"),
                     2);
}

/* --- failures ---------------------------------------------------------------------------------------------------------------------- */

static void one_bad_member_among_many(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call calls[] = {
        FINE("make", 1, "one", 0),   BAD("make", 2, "divides by zero", 0, ERR_INVALID, "A value does not fit."),
        FINE("make", 3, "three", 0), BAD("make", 4, "refused", 0, ERR_CONFLICT, "Not refused."),
        FINE("make", 5, "five", 0),
    };
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(engine_stats(engine).reruns, 5);
    assert_int_equal(count_things(), 3);
    assert_int_equal(count_outbox(), 3);
}

static void a_refusal_leaves_the_set_whole(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call calls[] = {FINE("make", 1, "one", 0), BAD("make", 2, "refused", 0, ERR_CONFLICT, NULL),
                    FINE("make", 3, "three", 0)};
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(runs, 1);
    assert_int_equal(count_commits(), 1);
    assert_int_equal(count_outbox(), 2);
}

static void a_serialization_failure_is_run_again(void **state) {
    (void)state;
    NEED_POSTGRES();
    retries_left = 2;
    Call calls[] = {FINE("make", 1, "one", 0), FINE("make", 2, "refused at first", 0), FINE("make", 3, "collides", 0)};
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(runs, 3);
    assert_int_equal(engine_stats(engine).reruns, 0);
    assert_int_equal(count_things(), 3); /* so is what they decided */
    assert_int_equal(count_outbox(), 3); /* what the first runs announced is forgotten */
    assert_int_equal(count_commits(), 1);
}

static void a_lost_server_is_everybodys_outcome(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call calls[] = {
        BAD("make", 1, "one", 0, ERR_UNAVAILABLE, NULL),
        BAD("make", 2, "kills", 0, ERR_UNAVAILABLE, NULL),
        BAD("make", 3, "three", 0, ERR_UNAVAILABLE, NULL),
    };
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(runs, 1);
    assert_int_equal(count_things() + count_outbox(), 0);
    Call after[] = {FINE("make", 1, "one", 0)}; /* and the connection comes back by itself */
    run_calls(after, 1);
}

static void a_missing_table_is_not_tried_for_each(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call calls[] = {BAD("make", 1, "one", 0, ERR_INTERNAL, "An unexpected error occurred."),
                    BAD("make", 2, "lost table", 0, ERR_INTERNAL, "An unexpected error occurred.")};
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(runs, 1);
}

static void checks_come_before_the_set(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call calls[] = {
        BAD("create", 0, "both rules", -1, ERR_INVALID, "The value is negative."),
        BAD("create", 0, "second rule", 1, ERR_INVALID, "The value is odd."),
        BAD("secret", 0, "policy", 0, ERR_REFUSED, "No policy allows secret of thing (asked: anyone but for secrets)."),
    };
    run_calls(calls, ARRAY_LEN(calls));
    assert_int_equal(engine_stats(engine).sets, 0);
}

/* --- leaving early --------------------------------------------------------------------------------------------------------------------- */

static const Statement TAKE = {"unit_take", "SELECT pg_advisory_xact_lock(4711)", true};
static const Statement WAITERS = {"unit_waiters",
                                  "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", false};

static Call slow, behind;
static TestJob slow_job = {call, &slow}, behind_job = {call, &behind};

static CO_FN Err wait_until_blocked(Ctx *ctx) {
    PgParams params;
    PgResult result;
    pg_params_init(&params, ctx->arena);
    do {
        TRY(pg_query(test.pool, &WAITERS, &params, &result));
    } while (pg_i64(&result, 0, 0) == 0);
    return ERR_OK;
}

/* Holds the lock that the set of `slow` waits for, meanwhile cancels it and one that waits behind. */
static CO_FN Err holder_body(PgTx *tx, void *arg) {
    Ctx *ctx = arg;
    PgResult result;
    TRY(pg_tx_query(tx, &TAKE, NULL, &result));
    Co *in_set = test_spawn(&slow_job);
    TRY(wait_until_blocked(ctx));
    Co *in_queue = test_spawn(&behind_job);
    TRY(co_yield ());
    TRY(co_yield ());
    co_cancel(in_set);
    co_cancel(in_queue);
    TRY(co_yield ());
    TRY(co_yield ());
    if (behind.err != ERR_CANCELLED)
        return ctx_problem(ctx, ERR_INTERNAL, NULL, "who waits in the queue must leave at once");
    if (slow.err != ERR_EOF)
        return ctx_problem(ctx, ERR_INTERNAL, NULL, "who is in the set must stay until it is decided");
    return ERR_OK;
}

static void hold_and_cancel(Ctx *ctx, void *arg) {
    (void)arg;
    CHECK_ERR(pg_transaction(test.pool, holder_body, ctx), ERR_OK);
}

static void a_cancelled_member_stays_until_its_set_is_decided(void **state) {
    (void)state;
    NEED_POSTGRES();
    slow = (Call){.action = "make", .id = 1, .name = "waits", .err = ERR_EOF};
    behind = (Call){.action = "make", .id = 2, .name = "behind", .err = ERR_EOF};
    test_run(hold_and_cancel, NULL);
    assert_int_equal(slow.err, ERR_OK); /* it was committed, and says so */
    assert_int_equal(behind.err, ERR_CANCELLED);
    assert_int_equal(count_things(), 1);
    assert_int_equal(count_outbox(), 1);
}

static void impatient(Ctx *ctx, void *arg) {
    ctx->deadline_ms = clock_mono_ms() + 1;
    call(ctx, arg);
}

/* The set's own deadline is the latest of its members': two with a millisecond, and a lock that nobody gives. */
static CO_FN Err keeper_body(PgTx *tx, void *arg) {
    Call *calls = arg;
    PgResult result;
    TRY(pg_tx_query(tx, &TAKE, NULL, &result));
    static TestJob jobs[2];
    for (int i = 0; i < 2; i++) {
        jobs[i] = (TestJob){impatient, &calls[i]};
        test_spawn(&jobs[i]);
    }
    while (calls[0].err == ERR_EOF || calls[1].err == ERR_EOF)
        TRY(co_yield ());
    return ERR_OK;
}

static void keep_lock(Ctx *ctx, void *arg) {
    (void)ctx;
    CHECK_ERR(pg_transaction(test.pool, keeper_body, arg), ERR_OK);
}

static void deadlines_end_sets(void **state) {
    (void)state;
    NEED_POSTGRES();
    Call calls[] = {{.action = "make", .id = 1, .name = "waits", .err = ERR_EOF},
                    {.action = "make", .id = 2, .name = "two", .err = ERR_EOF}};
    test_run(keep_lock, calls);
    for (int i = 0; i < 2; i++) /* by the deadline itself, or by never having got a connection until then */
        assert_true(calls[i].err == ERR_TIMEOUT || calls[i].err == ERR_UNAVAILABLE);
    assert_int_equal(count_things() + count_outbox(), 0);
}

/* --- set_run with a `before` -------------------------------------------------------------------------------------------------------- */

static const Statement MARK = {"unit_mark",
                               "INSERT INTO unit_engine.things (id, name, value) SELECT gen_random_uuid(),"
                               " 'mark of ' || n, -1 FROM unnest($1::text[]) AS n",
                               true};

/* Writes a row per member, as the inbox does, and leaves out who is called "known". */
static CO_FN Err mark_before(PgTx *tx, Set *set, void *data) {
    (*(int *)data)++;
    PgParams params;
    pg_params_init(&params, set->ctx->arena);
    pg_array_begin(&params, OID_TEXT_ARRAY);
    size_t kept = 0;
    for (size_t i = 0; i < set->n; i++) {
        const Thing *thing = set->members[i]->input;
        if (str_eq_c(thing->name, "known"))
            continue;
        pg_array_text(&params, thing->name);
        set->members[kept++] = set->members[i];
    }
    pg_array_end(&params);
    set->n = kept;
    pg_tx_send(tx, &MARK, &params);
    return ERR_OK;
}

static void run_with_before(Ctx *ctx, void *arg) {
    (void)arg;
    Thing inputs[] = {{test_id(1), STR("one"), 0},
                      {test_id(2), STR("known"), 0},
                      {test_id(3), STR("refused"), 0},
                      {test_id(4), STR("four"), 0}};
    Ctx ctxs[ARRAY_LEN(inputs)];
    Member members[ARRAY_LEN(inputs)], *pointers[ARRAY_LEN(inputs)];
    for (size_t i = 0; i < ARRAY_LEN(inputs); i++) {
        ctxs[i] = *ctx;
        members[i] = (Member){.ctx = &ctxs[i], .input = &inputs[i]};
        pointers[i] = &members[i];
    }
    int calls = 0;
    Set set = {&things, resource_action(&things, "make"), pointers, ARRAY_LEN(inputs), ctx};
    CHECK_ERR(set_run(engine, &set, mark_before, &calls), ERR_OK);
    CHECK(calls == 2);
    CHECK(members[0].outcome == ERR_OK && members[1].outcome == ERR_OK && members[3].outcome == ERR_OK);
    CHECK(members[2].outcome == ERR_CONFLICT && str_eq(ctxs[2].problem.message, STR("Not refused.")));
}

static void with_before_a_refused_member_leaves_nothing(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_run(run_with_before, NULL);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_engine.things WHERE name IN ('one', 'four', 'mark of one',"
                              " 'mark of four')"),
                     4);
    assert_int_equal(count_things(), 4);
    assert_int_equal(count_outbox(), 2);
    assert_int_equal(count_commits(), 1);
}

/* --- refused memory -------------------------------------------------------------------------------------------------------------- */

static void any_refused_allocation_is_an_outcome(void **state) {
    (void)state;
    NEED_POSTGRES();
    bool went_through = false;
    for (uint64_t nth = 1; nth < 200 && !went_through; nth++) {
        test_sql("TRUNCATE unit_engine.things, unit_engine.outbox");
        Call calls[] = {FINE("make", 1, "one", 0), FINE("make", 2, "two", 0)};
        fail_nth = nth;
        test_run_many(call, calls, sizeof calls[0], 2);
        arena_fail_nth(0);
        long long well = 0;
        for (int i = 0; i < 2; i++)
            well += calls[i].err == ERR_OK;
        went_through = well == 2 && nth > 60;
        assert_int_equal(count_things(), count_outbox()); /* never the one without the other */
        assert_true(count_things() >= well);
    }
    assert_true(went_through);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_turns_requests_are_one_commit),
        TEST(an_identity_refuses_one_and_not_the_others),
        TEST(an_update_of_what_is_not_there_is_its_own_refusal),
        TEST(updates_of_one_row_keep_their_order),
        TEST(sets_are_capped_and_queues_take_turns),
        TEST(one_bad_member_among_many),
        TEST(a_refusal_leaves_the_set_whole),
        TEST(a_serialization_failure_is_run_again),
        TEST(a_lost_server_is_everybodys_outcome),
        TEST(a_missing_table_is_not_tried_for_each),
        TEST(checks_come_before_the_set),
        TEST(a_cancelled_member_stays_until_its_set_is_decided),
        TEST(deadlines_end_sets),
        TEST(with_before_a_refused_member_leaves_nothing),
        TEST(any_refused_allocation_is_an_outcome),
    };
    return cmocka_run_group_tests(tests, set_up_all, NULL);
}
