/*
 * test_bus.c - from an action here to an effect there: once, in order per aggregate, whatever happens in between.
 */
#include "bus_test.h"

static const Statement COUNT_LEFT = {"unit_left", "SELECT " SRC_WAITING " + (SELECT count(*) FROM bus.messages)",
                                     false};

/* --- declarations ------------------------------------------------------------------------------------------------- */

static void declarations_and_queries_fit_the_database(void **state) {
    (void)state;
    NEED_POSTGRES();
    static const Context *const contexts[] = {&BUS_CONTEXT, &src_context, &dst_context};
    Arena *arena = arena_new((size_t)16 * 1024 * 1024);
    Buf mistakes = buf_new(arena, 65536);
    Ctx ctx;
    ctx_init(&ctx, arena, 0);
    PGconn *conn = PQconnectdb(getenv("DATABASE_URL"));
    for (size_t i = 0; i < ARRAY_LEN(contexts); i++) {
        size_t n = context_verify(contexts[i], &mistakes);
        n += context_verify_database(&ctx, contexts[i], conn, &mistakes);
        if (n > 0)
            fail_msg("%.*s", STR_ARG(buf_str(&mistakes)));
    }
    PQfinish(conn);
    arena_free(arena);
}

/* --- producers ---------------------------------------------------------------------------------------------------- */

enum { COUNTERS = 20, ROUNDS = 10 };

typedef struct Producer {
    int counter;
    int rounds;
    Mood mood;
} Producer;

/* Counts on until it has been told so often that it did; what became of an "unavailable" it does not know. */
static void produce(Ctx *ctx, void *arg) {
    const Producer *p = arg;
    for (int done = 0; done < p->rounds;) {
        Counted input = {.id = test_id(p->counter), .mood = (int32_t)p->mood};
        ctx->problem = (Problem){0};
        Err err = action_run(bus.src, &counters, "count", ctx, &input, NULL);
        CHECK(err == ERR_OK || err == ERR_UNAVAILABLE);
        done += err == ERR_OK;
    }
}

static void wait_until_drained(Ctx *ctx) {
    for (long long left = 1; left != 0;) {
        left = ask_number(&COUNT_LEFT);
        CHECK(left >= 0);
        arena_reset(ctx->arena);
    }
}

static int producing;

static void produce_counted(Ctx *ctx, void *arg) {
    produce(ctx, arg);
    producing--;
}

static TestJob jobs[COUNTERS];
static Producer producers[COUNTERS];

static void produce_all(Ctx *ctx, Mood mood, int rounds) {
    producing = COUNTERS;
    for (int i = 0; i < COUNTERS; i++) {
        producers[i] = (Producer){.counter = i + 1, .rounds = rounds, .mood = mood};
        jobs[i] = (TestJob){produce_counted, &producers[i]};
        test_spawn(&jobs[i]);
    }
    (void)ctx;
}

static void run_all(Ctx *ctx, void *arg) {
    produce_all(ctx, *(Mood *)arg, ROUNDS);
    while (producing > 0)
        CHECK_ERR(co_yield (), ERR_OK);
    wait_until_drained(ctx);
}

/* --- the plain way ------------------------------------------------------------------------------------------------ */

static void each_message_has_one_effect_in_order(void **state) {
    (void)state;
    NEED_POSTGRES();
    Mood mood = FINE;
    bus_start();
    test_run(run_all, &mood);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_dst.notes"), COUNTERS * ROUNDS * 2);
    assert_int_equal(count_disorder(), 0);
    assert_int_equal(test_sql("SELECT count(*) FROM bus.dead"), 0);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_dst.inbox"), COUNTERS * ROUNDS * 2);
}

/* Attempts fail at random and come again after a moment: only the failing one's own counter waits. */
static void order_survives_random_failures(void **state) {
    (void)state;
    NEED_POSTGRES();
    static const int64_t delays[] = {0, 1, 5, 0, 20, [99] = -1};
    Mood mood = RANDOM_FAILURE;
    bus.pipeline.retry_ms = delays;
    bus.consumer.batch = 7;
    bus_start();
    test_run(run_all, &mood);
    /* A hundred attempts: none dies. */
    assert_int_equal(test_sql("SELECT count(*) FROM bus.dead"), 0);
    assert_int_equal(count_disorder(), 0);
}

/* --- stand-bys ---------------------------------------------------------------------------------------------------- */

typedef struct StandBy {
    PgPool *relay_pool, *dst_pool, *bus_pool;
    Engine *relay_engine, *dst;
    Relay relay;
    Consumer consumer;
    Co *relay_co, *consumer_co;
} StandBy;
static StandBy second;

static void second_start(void) {
    second = (StandBy){.relay_pool = bus_pool("usher relay 2", 1),
                       .dst_pool = bus_pool("usher dst 2", 1),
                       .bus_pool = bus_pool("usher bus 2", 2)};
    assert_int_equal(engine_new(test.loop, &src_context, second.relay_pool, &second.relay_engine), ERR_OK);
    assert_int_equal(engine_new(test.loop, &dst_context, second.dst_pool, &second.dst), ERR_OK);
    second.relay = bus.relay;
    second.consumer = bus.consumer;
    second.relay.engine = second.relay_engine;
    second.consumer.engine = second.dst;
    assert_int_equal(transport_pg_new(test.loop, second.bus_pool, bindings, &second.relay.transport), ERR_OK);
    second.consumer.transport = second.relay.transport;
    assert_int_equal(relay_start(test.loop, &second.relay, &second.relay_co), ERR_OK);
    assert_int_equal(consumer_start(test.loop, &second.consumer, &second.consumer_co), ERR_OK);
}

static void second_end(void) {
    assert_int_equal(co_drain(test.loop, clock_mono_ms() + 20000), ERR_OK);
    engine_free(second.relay_engine);
    engine_free(second.dst);
    pg_pool_free(second.relay_pool);
    pg_pool_free(second.dst_pool);
    pg_pool_free(second.bus_pool);
    second.relay.transport->ops->free(second.relay.transport);
}

/* Half way the first of each pair ends. */
static void run_with_two(Ctx *ctx, void *arg) {
    (void)arg;
    produce_all(ctx, RANDOM_FAILURE, ROUNDS);
    while (producing > COUNTERS / 2)
        CHECK_ERR(co_yield (), ERR_OK);
    co_cancel(bus.relay_co);
    co_cancel(bus.consumer_co);
    while (producing > 0)
        CHECK_ERR(co_yield (), ERR_OK);
    wait_until_drained(ctx);
}

static void two_of_each_keep_order(void **state) {
    (void)state;
    NEED_POSTGRES();
    static const int64_t delays[] = {0, 1, [99] = -1};
    bus.relay.batch = bus.consumer.batch = 5;
    bus.relay.poll_ms = 5;
    bus.pipeline.retry_ms = delays;
    bus_start();
    second_start();
    test_run(run_with_two, NULL);
    second_end();
    assert_int_equal(test_sql("SELECT count(*) FROM bus.dead"), 0);
    assert_int_equal(count_disorder(), 0);
}

/* --- repetitions -------------------------------------------------------------------------------------------------- */

typedef struct Doubling {
    Transport transport;
    Transport *inner;
    Envelope last[500];
    size_t n;
} Doubling;
static Doubling doubling;
static Arena *doubling_arena;

/* Publishes everything twice, and the batch before once more: a relay that dies after each publish. */
static CO_FN Err publish_doubled(Transport *transport, const Envelope *messages, size_t n) {
    Doubling *d = (Doubling *)transport;
    TRY(d->inner->ops->publish(d->inner, messages, n));
    if (d->n > 0)
        TRY(d->inner->ops->publish(d->inner, d->last, d->n));
    for (size_t i = 0; i < n; i++) {
        d->last[i] = messages[i];
        d->last[i].type = arena_str(doubling_arena, messages[i].type);
        d->last[i].payload = arena_str(doubling_arena, messages[i].payload);
        d->last[i].traceparent = arena_str(doubling_arena, messages[i].traceparent);
        d->last[i].tracestate = d->last[i].baggage = (Str){NULL, 0};
    }
    d->n = n;
    return d->inner->ops->publish(d->inner, messages, n);
}
static const TransportOps doubling_ops = {.publish = publish_doubled};

static void a_repeated_message_has_no_second_effect(void **state) {
    (void)state;
    NEED_POSTGRES();
    Mood mood = FINE;
    doubling_arena = arena_new((size_t)64 * 1024 * 1024);
    doubling = (Doubling){.transport = {&doubling_ops}, .inner = bus.transport};
    bus.relay.transport = &doubling.transport;
    bus.relay.batch = 40;
    bus_start();
    test_run(run_all, &mood);
    assert_true(doubling.n > 0);
    assert_int_equal(count_disorder(), 0);
    arena_free(doubling_arena);
}

/* --- what cannot be served ---------------------------------------------------------------------------------------- */

static void publish_by_hand(Ctx *ctx, void *arg) {
    (void)arg;
    static const struct {
        int counter;
        const MessageType *type;
        const char *rest;
    } messages[] = {
        {1, &COUNTED, "\"seq\":1,\"mood\":1"}, /* refused */
        {1, &COUNTED, "\"seq\":2"},
        {2, &COUNTED, "\"seq\":1,\"mood\":2"}, /* breaks */
        {2, &COUNTED, "\"seq\":2"},
        {3, &COUNTED, "\"seq\":\"one\""}, /* malformed */
        {3, &COUNTED, "\"seq\":2"},
        {4, &UNHEARD, "\"seq\":1"},
        {4, &COUNTED, "\"seq\":2"},
        {5, &COUNTED, "\"seq\":1,\"mood\":3"}, /* refused once */
        {5, &COUNTED, "\"seq\":2"},
        {6, &COUNTED, "\"seq\":1"},
    };
    Envelope envelopes[ARRAY_LEN(messages)];
    for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
        char id[ID_TEXT_LEN];
        Id counter = test_id(messages[i].counter);
        id_format(&counter, id);
        envelopes[i] = (Envelope){
            .message_id = id_random(),
            .type = str_c(messages[i].type->name),
            .aggregate = counter,
            .payload = arena_printf(ctx->arena, "{\"id\":\"%.36s\",%s}", id, messages[i].rest),
        };
    }
    CHECK_ERR(bus.transport->ops->publish(bus.transport, envelopes, ARRAY_LEN(envelopes)), ERR_OK);
    wait_until_drained(ctx);
}

static void what_cannot_be_served_goes_aside_and_the_rest_goes_on(void **state) {
    (void)state;
    NEED_POSTGRES();
    static const int64_t delays[] = {1, 1, -1};
    bus.pipeline.retry_ms = delays;
    bus_start();
    test_run(publish_by_hand, NULL);
    static const struct {
        const char *label, *sql;
        int want;
    } checks[] = {
        {"refused three times, with its words", "attempt = 3 AND reason = 'Number 1 is not wanted.'", 1},
        {"broken three times, with the server's words", "attempt = 3 AND reason LIKE '%division by zero%'", 1},
        {"malformed: at once", "attempt = 1 AND reason = 'The message''s seq is not a number.'", 1},
        {"unheard of: at once", "attempt = 1 AND reason = 'skipped: nothing here takes Unit:Unheard'", 1},
        {"no other", "true", 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        char sql[300];
        CASE(checks[i].label);
        snprintf(sql, sizeof sql, "SELECT count(*) FROM bus.dead WHERE %s", checks[i].sql);
        assert_int_equal(test_sql(sql), checks[i].want);
    }
    CASE("what came behind the dead was served; the retried in its order");
    assert_int_equal(test_sql("SELECT count(*) FROM unit_dst.notes"), 7);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_dst.notes a JOIN unit_dst.notes b USING (counter)"
                              " WHERE a.seq = 1 AND b.seq = 2 AND a.position < b.position"),
                     1);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_dst.inbox"), 7);
}

/* --- traces ------------------------------------------------------------------------------------------------------- */

static char trace_id[33];

static void traced(Ctx *ctx, void *arg) {
    char traceparent[TRACEPARENT_LEN];
    (void)arg;
    trace_format(&ctx->trace, traceparent);
    snprintf(trace_id, sizeof trace_id, "%.32s", traceparent + 3);
    produce(ctx, &(Producer){.counter = 1, .rounds = 1});
    wait_until_drained(ctx);
}

static void the_effect_continues_the_causes_trace(void **state) {
    (void)state;
    NEED_POSTGRES();
    char sql[200];
    bus_start();
    test_run(traced, NULL);
    snprintf(sql, sizeof sql, "SELECT count(*) FROM unit_dst.notes WHERE trace = '%s'", trace_id);
    assert_int_equal(test_sql(sql), 2);
}

/* --- the gate ----------------------------------------------------------------------------------------------------- */

static const Statement CLOSE = {"unit_close", "SELECT pg_advisory_xact_lock($1::bigint)", true};
static const Statement SNAPSHOT = {"unit_snapshot",
                                   "SELECT " SRC_WAITING " * 1000000 + (SELECT count(*) FROM bus.messages) * 1000"
                                   " + (SELECT count(*) FROM unit_dst.inbox)",
                                   false};
static const Statement EMPTY = {
    "unit_empty",
    "WITH a AS (DELETE FROM unit_src.outbox), c AS (DELETE FROM unit_src.outbox_marks), b AS (DELETE FROM bus.messages)"
    " DELETE FROM unit_dst.notes",
    true};

/* What `usher reset` does: closes the gate, empties, opens it. */
static CO_FN Err reset_body(PgTx *tx, void *arg) {
    (void)arg;
    PgParams params;
    PgResult result;
    pg_params_init(&params, co_ctx(co_self())->arena);
    pg_add_i64(&params, BUS_GATE_LOCK);
    TRY(pg_tx_query(tx, &CLOSE, &params, &result));
    long long before = ask_number(&SNAPSHOT);
    for (int i = 0; i < 200; i++)
        if (ask_number(&SNAPSHOT) != before)
            return ctx_problem(co_ctx(co_self()), ERR_INTERNAL, NULL, "something moved behind the closed gate");
    return pg_tx_query_commit(tx, &EMPTY, NULL, &result);
}

static void reset_in_the_midst(Ctx *ctx, void *arg) {
    (void)arg;
    produce_all(ctx, FINE, ROUNDS);
    while (producing > 0)
        CHECK_ERR(co_yield (), ERR_OK);
    CHECK_ERR(pg_transaction(test.pool, reset_body, NULL), ERR_OK);
    produce(ctx, &(Producer){.counter = 99, .rounds = 3});
    wait_until_drained(ctx);
}

static void a_closed_gate_stops_everything_between_batches(void **state) {
    (void)state;
    NEED_POSTGRES();
    bus.relay.batch = 10;
    bus.consumer.batch = 5;
    bus_start();
    test_run(reset_in_the_midst, NULL);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_dst.notes WHERE counter::text LIKE '%63'"), 6);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_dst.notes WHERE counter::text NOT LIKE '%63'"), 0);
}

/* --- killed servers ----------------------------------------------------------------------------------------------- */

/* One connection of the four pools, drawn by the seed; one time in eight all of them. */
static const Statement KILL = {
    "unit_kill",
    "WITH victims AS MATERIALIZED (SELECT pid, row_number() OVER (ORDER BY application_name, pid) - 1 AS n,"
    " count(*) OVER () AS of FROM pg_stat_activity WHERE application_name LIKE 'usher %'),"
    " one AS MATERIALIZED (SELECT pid FROM victims WHERE n = $1::bigint % of OR $1::bigint % 8 = 0)"
    " SELECT count(pg_terminate_backend(pid)) FROM one",
    true};
static const Statement ASK = {"unit_ask", "SELECT count(*) FROM bus.messages", false};
enum { KILLS = 40 };

static CO_FN Err kill_one(Ctx *ctx) {
    PgParams params;
    PgResult result;
    pg_params_init(&params, ctx->arena);
    pg_add_i64(&params, (int64_t)random_below(1000));
    return pg_query(test.pool, &KILL, &params, &result);
}

static void run_under_fire(Ctx *ctx, void *arg) {
    (void)arg;
    int kills = 0;
    produce_all(ctx, FINE, 40);
    while (producing > 0 || kills < KILLS) {
        arena_reset(ctx->arena);
        if (kills < KILLS) {
            CHECK_ERR(kill_one(ctx), ERR_OK);
            kills++;
        }
        /* Let a random amount of work pass before the next: so many askings of another connection. */
        for (uint64_t n = random_below(300); n > 0; n--)
            CHECK(ask_number(&ASK) >= 0);
        if (producing == 0 && kills < KILLS)
            produce_all(ctx, FINE, 10);
    }
    wait_until_drained(ctx);
}

static void nothing_is_lost_doubled_or_reordered_under_fire(void **state) {
    (void)state;
    NEED_POSTGRES();
    test_deadline_ms = 120000;
    bus.relay.batch = 30;
    bus.consumer.batch = 20;
    bus_start();
    test_run(run_under_fire, NULL);
    test_deadline_ms = 30000;
    assert_true(test_sql("SELECT sum(seq) FROM unit_src.counters") >= COUNTERS * 40);
    assert_int_equal(count_disorder(), 0);
    assert_int_equal(test_sql("SELECT count(*) FROM bus.dead"), 0); /* a lost database is no attempt */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bus_set_up, bus_tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(declarations_and_queries_fit_the_database),
        TEST(each_message_has_one_effect_in_order),
        TEST(order_survives_random_failures),
        TEST(two_of_each_keep_order),
        TEST(a_repeated_message_has_no_second_effect),
        TEST(what_cannot_be_served_goes_aside_and_the_rest_goes_on),
        TEST(the_effect_continues_the_causes_trace),
        TEST(a_closed_gate_stops_everything_between_batches),
        TEST(nothing_is_lost_doubled_or_reordered_under_fire),
    };
    return cmocka_run_group_tests(tests, bus_set_up_all, NULL);
}
