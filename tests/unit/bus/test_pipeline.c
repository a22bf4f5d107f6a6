/*
 * test_pipeline.c - pipelines as declared: what is wrong is said, what is right is done.
 */
#include "bus_test.h"

static const Statement COUNT_QUEUED = {"unit_queued", "SELECT count(*) FROM bus.messages", false};

/* --- verifying ---------------------------------------------------------------------------------------------------- */

static const Subscription no_such_action[] = {{&COUNTED, &notes, "sing"}, {0}};
static const Subscription twice[] = {{&COUNTED, &notes, "note"}, {&COUNTED, &notes, "note"}, {0}};
static const Subscription none[] = {{0}};
static const Binding bound_elsewhere[] = {{"other-queue", &COUNTED}, {0}};

#define WELL .queue = "unit-queue", .bindings = bindings, .subscriptions = subscriptions
static const struct {
    const char *label;
    Pipeline pipeline;
    const char *want; /* a part of the sentence; NULL: nothing is wrong */
} verified[] = {
    {"as it should be", {WELL}, NULL},
    {"all is skipped", {.queue = "unit-queue", .bindings = bindings, .subscriptions = none}, NULL},
    {"no subscriptions", {.queue = "unit-queue", .bindings = bindings}, "it has no subscriptions"},
    {"no such action",
     {.queue = "unit-queue", .bindings = bindings, .subscriptions = no_such_action},
     "resource note has no action 'sing'"},
    {"the same type twice",
     {.queue = "unit-queue", .bindings = bindings, .subscriptions = twice},
     "Unit:Counted is subscribed to twice"},
    {"nothing is bound",
     {.queue = "unit-queue", .bindings = bound_elsewhere, .subscriptions = subscriptions},
     "no binding brings it a message"},
    {"lanes in a strict queue", {WELL, .partition = PARTITION_QUEUE, .concurrency = 2}, "set concurrency to 1"},
    {"too many lanes", {WELL, .concurrency = 17}, "concurrency is 17"},
    {"a batch too large", {WELL, .batch = 10001}, "a batch of 10001"},
    {"a batch that waits too long", {WELL, .batch_ms = 10001}, "may wait 0 to 10000 ms"},
    {"a batch that never fills", {WELL, .batch = 100, .prefetch = 50}, "prefetch 50 never fills a batch of 100"},
    {"a rate below none", {WELL, .rate_per_s = -1}, "rate_per_s is below 0"},
    {"dead letters to itself", {WELL, .dead_letter = "unit-queue"}, "would come back to it for ever"},
    {"a week is enough", {WELL, .redeliver_ms = DELAYS(604800001)}, "longer than 7 days"},
};

static void what_is_wrong_is_said(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(verified); i++) {
        const Pipeline table[] = {verified[i].pipeline, {0}};
        Buf mistakes = buf_new(NULL, 65536);
        CASE(verified[i].label);
        size_t n = pipeline_verify(table, &mistakes);
        if (n != (verified[i].want == NULL ? 0 : 1) ||
            (verified[i].want != NULL && str_find(buf_str(&mistakes), str_c(verified[i].want)) < 0))
            fail_msg("%s: %zu: %.*s", verified[i].label, n, STR_ARG(buf_str(&mistakes)));
        buf_done(&mistakes);
    }
}

static void one_queue_has_one_pipeline(void **state) {
    (void)state;
    const Pipeline table[] = {{WELL}, {WELL}, {0}};
    Buf mistakes = buf_new(NULL, 65536);
    assert_int_equal(pipeline_verify(table, &mistakes), 1);
    assert_true(str_find(buf_str(&mistakes), STR("another row consumes it already")) >= 0);
    buf_done(&mistakes);
}

/* --- running ------------------------------------------------------------------------------------------------------ */

enum { KEYS = 12, EACH = 10 };

typedef struct Plan {
    Mood mood;   /* of the first message of key 1; all others are fine */
    bool twice;  /* each message comes twice, under one id */
    bool halves; /* one half comes a while after the other */
} Plan;

static void publish_plan(Ctx *ctx, void *arg) {
    const Plan *plan = arg;
    Envelope envelopes[KEYS * EACH * 2];
    size_t n = 0;
    for (int seq = 1; seq <= EACH; seq++) {
        for (int key = 1; key <= KEYS; key++) {
            char id[ID_TEXT_LEN];
            Id counter = test_id(key);
            id_format(&counter, id);
            envelopes[n++] = (Envelope){
                .message_id = id_random(),
                .type = str_c(COUNTED.name),
                .aggregate = counter,
                .payload = arena_printf(ctx->arena, "{\"id\":\"%.36s\",\"seq\":%d,\"mood\":%d}", id, seq,
                                        key == 1 && seq == 1 ? (int)plan->mood : FINE),
            };
        }
    }
    size_t half = plan->halves ? n / 2 : n;
    CHECK_ERR(bus.transport->ops->publish(bus.transport, envelopes, half), ERR_OK);
    if (plan->halves) {
        for (int i = 0; i < 50; i++) /* time for whoever does not wait for the other half */
            CHECK(ask_number(&COUNT_QUEUED) > 0);
        CHECK_ERR(bus.transport->ops->publish(bus.transport, envelopes + half, n - half), ERR_OK);
    }
    if (plan->twice)
        CHECK_ERR(bus.transport->ops->publish(bus.transport, envelopes, n), ERR_OK);
    for (long long left = 1; left != 0;) {
        left = ask_number(&COUNT_QUEUED);
        CHECK(left >= 0);
        arena_reset(ctx->arena);
    }
}

static void run_plan(Plan plan) {
    assert_int_equal(consumer_start(test.loop, &bus.consumer, &bus.consumer_co), ERR_OK);
    test_run(publish_plan, &plan);
}

static long long out_of_order(const char *partition) {
    char sql[300];
    (void)snprintf(sql, sizeof sql,
                   "SELECT count(*) FROM (SELECT seq, lag(seq) OVER (%s ORDER BY position) AS before"
                   " FROM unit_dst.notes) AS n WHERE before > seq",
                   partition);
    return test_sql(sql);
}

static void lanes_keep_order_within_a_key(void **state) {
    (void)state;
    NEED_POSTGRES();
    bus.pipeline.concurrency = 4;
    bus.pipeline.batch = 50;
    run_plan((Plan){.mood = REFUSED_ONCE, .twice = true});
    assert_int_equal(test_sql("SELECT count(*) FROM unit_dst.notes"), KEYS * EACH);
    assert_int_equal(out_of_order("PARTITION BY counter"), 0);
}

/* The first message of key 1 waits 200 ms for its second attempt. Who waits with it is what partition says. */
static const struct {
    const char *label;
    PartitionBy partition;
    long long behind_1, behind_others; /* notes of key 1, and of other keys, that were made before that one's */
} partitions[] = {
    {"an aggregate waits", PARTITION_AGGREGATE, 0, (KEYS - 1) * EACH},
    {"the queue waits", PARTITION_QUEUE, 0, 0},
    {"nobody waits", PARTITION_NONE, EACH - 1, (KEYS - 1) * EACH},
};

static void who_waits_is_declared(void **state) {
    (void)state;
    NEED_POSTGRES();
    static const int64_t delays[] = {200, -1};
    for (size_t i = 0; i < ARRAY_LEN(partitions); i++) {
        CASE(partitions[i].label);
        if (i > 0) {
            (void)bus_tear_down(state);
            assert_int_equal(bus_set_up(state), 0);
        }
        bus.pipeline.retry_ms = delays;
        bus.pipeline.partition = partitions[i].partition;
        run_plan((Plan){.mood = REFUSED_ONCE});
        assert_int_equal(test_sql("SELECT count(*) FROM unit_dst.notes"), KEYS * EACH);
        const char *const before = "SELECT count(*) FROM unit_dst.notes n, unit_dst.notes f WHERE f.counter::text LIKE"
                                   " '%01' AND f.seq = 1 AND n.position < f.position AND n.counter";
        char sql[400];
        (void)snprintf(sql, sizeof sql, "%s = f.counter", before);
        assert_int_equal(test_sql(sql), partitions[i].behind_1);
        (void)snprintf(sql, sizeof sql, "%s <> f.counter", before);
        assert_int_equal(test_sql(sql), partitions[i].behind_others);
    }
}

static void redelivery_comes_after_the_immediate_attempts(void **state) {
    (void)state;
    NEED_POSTGRES();
    static const int64_t at_once[] = {0, -1}, later[] = {1, 2, -1};
    bus.pipeline.retry_ms = at_once;
    bus.consumer.redeliver_ms = later;
    run_plan((Plan){.mood = REFUSED});
    assert_int_equal(test_sql("SELECT attempt FROM bus.dead"), 4);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_dst.notes"), KEYS * EACH - 1);
}

/* Lists as `usher bus dead --queue arg` does, then puts back what it found. */
static CO_FN size_t list_dead(const char *queue, DeadLetter **ret) {
    size_t n = 0;
    DeadFilter filter = {.queue = str_c(queue)};
    return bus.transport->ops->dead->list(bus.transport, &filter, ret, &n) == ERR_OK ? n : SIZE_MAX;
}

static void look_at_the_graveyard(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    DeadLetter *letters;
    size_t moved = 0;
    CHECK(list_dead("elsewhere", &letters) == 0);
    CHECK(list_dead("unit-queue", &letters) == 1);
    CHECK(list_dead("graveyard", &letters) == 1);
    CHECK(str_eq_c(letters[0].queue, "graveyard"));
    CHECK_ERR(bus.transport->ops->dead->retry(bus.transport, letters, 1, &moved), ERR_OK);
    CHECK(moved == 1);
}

static void the_dead_lie_where_their_pipeline_says(void **state) {
    (void)state;
    NEED_POSTGRES();
    static const int64_t at_once[] = {-1};
    bus.pipeline.retry_ms = at_once;
    bus.pipeline.dead_letter = "graveyard";
    run_plan((Plan){.mood = REFUSED});
    co_cancel(bus.consumer_co);
    test_run(look_at_the_graveyard, NULL);
    assert_int_equal(test_sql("SELECT count(*) FROM bus.dead"), 0);
    assert_int_equal(test_sql("SELECT count(*) FROM bus.messages WHERE queue = 'unit-queue'"), 1);
}

/* 120 messages at 100 a second, of which the first second's 100 are not saved up: it cannot be done in less than 1
 * s. */
static void a_rate_is_kept(void **state) {
    (void)state;
    NEED_POSTGRES();
    bus.pipeline.rate_per_s = 100;
    int64_t began_ms = clock_mono_ms();
    run_plan((Plan){.mood = FINE});
    assert_true(clock_mono_ms() - began_ms >= 1000);
    assert_int_equal(out_of_order("PARTITION BY counter"), 0);
}

/* Two publications that come apart are one set when a batch may wait: one transaction wrote all notes. */
static void a_batch_waits_to_fill(void **state) {
    (void)state;
    NEED_POSTGRES();
    bus.pipeline.batch = KEYS * EACH;
    bus.pipeline.batch_ms = 10000; /* not awaited: the second half fills it */
    bus.pipeline.partition = PARTITION_NONE;
    run_plan((Plan){.mood = FINE, .halves = true});
    assert_int_equal(test_sql("SELECT count(DISTINCT xmin::text) FROM unit_dst.notes"), 1);
}

/* --- the inbox's window ------------------------------------------------------------------------------------------- */

static CO_FN Err prune_in(PgTx *tx, void *arg) {
    return inbox_prune(tx, bus.dst, "unit-queue", 3600 * 1000, arg);
}

static void prune(Ctx *ctx, void *arg) {
    (void)ctx;
    int64_t gone;
    int *steps = arg;
    do {
        gone = 0;
        CHECK_ERR(pg_transaction(engine_pool(bus.dst), prune_in, &gone), ERR_OK);
        ++*steps;
    } while (gone > 0);
}

static void pruning_spares_the_window(void **state) {
    (void)state;
    NEED_POSTGRES();
    int steps = 0;
    test_sql("INSERT INTO unit_dst.inbox SELECT gen_random_uuid(), 'unit-queue', now() - interval '61 minutes'"
             " FROM generate_series(1, 7000)");
    test_sql("INSERT INTO unit_dst.inbox SELECT gen_random_uuid(), 'unit-queue', now() - interval '59 minutes'"
             " FROM generate_series(1, 50)");
    test_sql("INSERT INTO unit_dst.inbox SELECT gen_random_uuid(), 'another', now() - interval '1 year'"
             " FROM generate_series(1, 9)");
    test_run(prune, &steps);
    assert_int_equal(steps, 3); /* 5000, 2000, none */
    assert_int_equal(test_sql("SELECT count(*) FROM unit_dst.inbox WHERE consumer = 'unit-queue'"), 50);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_dst.inbox WHERE consumer = 'another'"), 9);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bus_set_up, bus_tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(one_queue_has_one_pipeline),
        TEST(lanes_keep_order_within_a_key),
        TEST(who_waits_is_declared),
        TEST(redelivery_comes_after_the_immediate_attempts),
        TEST(the_dead_lie_where_their_pipeline_says),
        TEST(a_rate_is_kept),
        TEST(a_batch_waits_to_fill),
        TEST(pruning_spares_the_window),
    };
    return cmocka_run_group_tests(tests, bus_set_up_all, NULL);
}
