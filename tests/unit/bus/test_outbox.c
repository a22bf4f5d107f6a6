/*
 * test_outbox.c - what is published of an outbox, in which order, and what of it is given back.
 *
 * Writers are connections of the test's own, so that commits come in whatever order a case wants; the transport notes
 * what it is given.
 */
#include "bus_test.h"

/* --- a transport that notes --------------------------------------------------------------------------------------- */

enum { NOTED_MAX = 4096 };

typedef struct Noting {
    Transport transport;
    int noted[NOTED_MAX]; /* number of the message, as its payload says */
    size_t n;
    size_t fail_after; /* 0: never. This publication is noted, and fails: the relay cannot know */
    size_t calls;
    size_t inside, most_inside; /* publications under way */
    bool meet;                  /* the second one waits until a third is under way beside it */
} Noting;
static Noting noting;

/* A third that never comes ends the wait too: most_inside tells. */
static CO_FN Err wait_for_another(const Noting *t) {
    int64_t until_ms = clock_mono_ms() + 10000;
    while (t->calls < 3 && clock_mono_ms() < until_ms)
        TRY(co_sleep(1));
    return ERR_OK;
}

static CO_FN Err note_publication(Transport *transport, const Envelope *messages, size_t n) {
    Noting *t = (Noting *)transport;
    size_t call = ++t->calls;
    t->inside++;
    t->most_inside = MAX_OF(t->most_inside, t->inside);
    Err waited = t->meet && call == 2 ? wait_for_another(t) : ERR_OK;
    t->inside--;
    TRY(waited);
    for (size_t i = 0; i < n && t->n < NOTED_MAX; i++) {
        uint64_t number = 0;
        if (str_to_u64(messages[i].payload, INT32_MAX, &number) != ERR_OK)
            number = 0;
        t->noted[t->n++] = (int)number;
    }
    return call == t->fail_after ? ERR_UNAVAILABLE : ERR_OK;
}
static const TransportOps noting_ops = {.publish = note_publication};

static size_t count_noted(int number) {
    size_t n = 0;
    for (size_t i = 0; i < noting.n; i++)
        n += noting.noted[i] == number;
    return n;
}

static size_t place_of(int number) {
    for (size_t i = 0; i < noting.n; i++)
        if (noting.noted[i] == number)
            return i;
    return SIZE_MAX;
}

static int set_up(void **state) {
    if (bus_set_up(state) != 0)
        return 1;
    noting = (Noting){.transport = {&noting_ops}};
    bus.relay.transport = &noting.transport;
    bus.relay.poll_ms = 5;
    return 0;
}

/* --- writers ------------------------------------------------------------------------------------------------------ */

static PGconn *writers[4];

static void say(PGconn *conn, const char *sql) {
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    PQclear(result);
}

/* Message `number` about aggregate `key`, as an action's statement writes it. */
static void append(PGconn *conn, int key, int number) {
    char sql[400];
    (void)snprintf(sql, sizeof sql,
                   "INSERT INTO unit_src.outbox (message_id, type, aggregate, payload, appended_at)"
                   " VALUES (gen_random_uuid(), 'Unit:Counted', '00000000-0000-4000-8000-%012x', '%d', now())",
                   (unsigned)key, number);
    say(conn, sql);
}

static void open_writers(void) {
    for (size_t i = 0; i < ARRAY_LEN(writers); i++)
        writers[i] = PQconnectdb(getenv("DATABASE_URL"));
}

static void close_writers(void) {
    for (size_t i = 0; i < ARRAY_LEN(writers); i++)
        PQfinish(writers[i]);
}

static const Statement WAITING = {"unit_waiting", "SELECT " SRC_WAITING, false};

static void until_published(Ctx *ctx, void *arg) {
    (void)arg;
    for (long long left = 1; left != 0;) {
        left = ask_number(&WAITING);
        CHECK(left >= 0);
        arena_reset(ctx->arena);
    }
}

static void publish_all(void) {
    test_run(until_published, NULL);
}

static void start_relay(void) {
    assert_int_equal(relay_start(test.loop, &bus.relay, &bus.relay_co), ERR_OK);
}

/* --- commits in any order ----------------------------------------------------------------------------------------- */

static void what_commits_late_is_published_late_and_once(void **state) {
    (void)state;
    NEED_POSTGRES();
    open_writers();
    start_relay();
    say(writers[0], "BEGIN");
    append(writers[0], 1, 1); /* drawn first, committed last */
    say(writers[1], "BEGIN");
    say(writers[1], "SELECT txid_current()"); /* began before those that follow, drew its position behind them */
    for (int i = 0; i < 20; i++)
        append(writers[2], 1 + 16 * i, 100 + i);
    publish_all();
    assert_int_equal(noting.n, 20);
    append(writers[1], 17, 2);
    say(writers[1], "COMMIT");
    append(writers[2], 17, 3);
    publish_all();
    assert_int_equal(noting.n, 22);
    assert_true(place_of(2) < place_of(3));
    say(writers[0], "COMMIT");
    publish_all();
    assert_int_equal(noting.n, 23);
    assert_int_equal(noting.noted[22], 1);
    close_writers();
}

static void an_aborted_writer_leaves_nothing(void **state) {
    (void)state;
    NEED_POSTGRES();
    open_writers();
    start_relay();
    say(writers[0], "BEGIN");
    append(writers[0], 1, 1);
    append(writers[1], 1, 2);
    publish_all();
    say(writers[0], "ROLLBACK");
    append(writers[1], 1, 3);
    publish_all();
    assert_int_equal(noting.n, 2);
    close_writers();
}

/* A tick of many batches; meanwhile others commit into it and behind it. */
static void ticks_are_published_in_pieces(void **state) {
    (void)state;
    NEED_POSTGRES();
    open_writers();
    bus.relay.batch = 3;
    say(writers[3], "BEGIN; SELECT txid_current()"); /* open all the time */
    int number = 0;
    for (int i = 0; i < 100; i++)
        append(writers[0], i % 7, ++number);
    start_relay();
    publish_all();
    for (int round = 0; round < 20; round++) {
        say(writers[0], "BEGIN");
        say(writers[1], "BEGIN");
        for (int i = 0; i < 5; i++) {
            append(writers[1], 16 + i, ++number);
            append(writers[0], i, ++number);
        }
        say(writers[round % 2], "COMMIT");
        publish_all();
        say(writers[1 - round % 2], "COMMIT");
    }
    publish_all();
    assert_int_equal(noting.n, (size_t)number);
    for (int i = 1; i <= number; i++)
        assert_int_equal(count_noted(i), 1);
    for (int i = 8; i <= 100; i++) /* of one aggregate: in order */
        assert_true(place_of(i - 7) < place_of(i));
    close_writers();
}

static void what_was_not_confirmed_comes_again_in_order(void **state) {
    (void)state;
    NEED_POSTGRES();
    open_writers();
    noting.fail_after = 1;
    for (int i = 1; i <= 10; i++)
        append(writers[0], 1, i);
    start_relay();
    publish_all();
    assert_int_equal(noting.n, 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(noting.noted[i], i % 10 + 1);
    close_writers();
}

/* Rows whose payloads exceed the bytes of a batch come alone. */
static void large_messages_come_one_by_one(void **state) {
    (void)state;
    NEED_POSTGRES();
    for (int i = 0; i < 5; i++)
        test_sql("INSERT INTO unit_src.outbox (message_id, type, aggregate, payload, appended_at) VALUES"
                 " (gen_random_uuid(), 'Unit:Counted', gen_random_uuid(), repeat('x', 3000000), now())");
    start_relay();
    publish_all();
    assert_int_equal(noting.n, 5);
    assert_int_equal(noting.calls, 3); /* what begins below 4 MB goes with it */
}

/* --- lanes -------------------------------------------------------------------------------------------------------- */

enum { LANE_MESSAGES = 800, LANE_AGGREGATES = 40 };

/* Each was published, and first in the order of its aggregate. */
static void check_all_in_order(void) {
    for (int i = 1; i <= LANE_MESSAGES; i++)
        assert_true(count_noted(i) > 0);
    for (int i = LANE_AGGREGATES + 1; i <= LANE_MESSAGES; i++)
        assert_true(place_of(i - LANE_AGGREGATES) < place_of(i));
}

static void until_both_lanes_publish(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    while (noting.most_inside < 2)
        CHECK_ERR(co_sleep(1), ERR_OK);
}

static const struct {
    const char *label;
    size_t fail_after;
    bool dies; /* in the middle of both lanes' batches; another one takes over */
} LANES[] = {
    {"two lanes, nothing twice", 0, false},
    {"one lane's batch is not confirmed", 2, false},
    {"the other lane's is not", 3, false},
    {"the relay dies with both under way", 0, true},
};

static void two_lanes_publish_side_by_side_and_in_order(void **state) {
    (void)state;
    NEED_POSTGRES();
    PgPool *pool = bus_pool("usher relay lanes", 2);
    Engine *engine = NULL;
    open_writers();
    assert_int_equal(engine_new(test.loop, &src_context, pool, &engine), ERR_OK);
    bus.relay.engine = engine;
    bus.relay.batch = 30;
    for (size_t row = 0; row < ARRAY_LEN(LANES); row++) {
        CASE(LANES[row].label);
        noting = (Noting){.transport = {&noting_ops}, .meet = true, .fail_after = LANES[row].fail_after};
        say(writers[0], "DELETE FROM unit_src.outbox; DELETE FROM unit_src.outbox_marks"); /* TRUNCATE would wait */
        for (int i = 1; i <= LANE_MESSAGES; i++)
            append(writers[0], i % LANE_AGGREGATES, i);
        start_relay();
        if (LANES[row].dies) {
            test_run(until_both_lanes_publish, NULL);
            co_cancel(bus.relay_co);
            start_relay();
        }
        publish_all();
        assert_int_equal(noting.most_inside, 2);
        check_all_in_order();
        if (LANES[row].fail_after == 0 && !LANES[row].dies)
            assert_int_equal(noting.n, LANE_MESSAGES);
        assert_int_equal(co_drain(test.loop, clock_mono_ms() + 20000), ERR_OK);
    }
    close_writers();
    engine_free(engine);
    pg_pool_free(pool);
}

/* --- several ------------------------------------------------------------------------------------------------------ */

static void write_much(Ctx *ctx, void *arg) {
    int *number = arg;
    for (int i = 0; i < 400; i++)
        append(writers[i % 3], i % 40, ++*number);
    until_published(ctx, NULL);
}

/* Each keeps to its own; one that ends leaves its buckets to the other. */
static void two_relays_share_and_take_over(void **state) {
    (void)state;
    NEED_POSTGRES();
    PgPool *pool = bus_pool("usher relay 2", 1);
    Engine *engine = NULL;
    int number = 0;
    open_writers();
    assert_int_equal(engine_new(test.loop, &src_context, pool, &engine), ERR_OK);
    Relay other = bus.relay;
    other.engine = engine;
    bus.relay.count = other.count = 2;
    other.index = 1;
    Co *other_co = NULL;
    start_relay();
    assert_int_equal(relay_start(test.loop, &other, &other_co), ERR_OK);
    test_run(write_much, &number);
    assert_int_equal(noting.n, 400);
    co_cancel(bus.relay_co);
    test_run(write_much, &number);
    for (int i = 1; i <= number; i++)
        assert_int_equal(count_noted(i), 1);
    for (int i = 41; i <= number; i++)
        assert_true(place_of(i - 40) < place_of(i));
    close_writers();
    assert_int_equal(co_drain(test.loop, clock_mono_ms() + 20000), ERR_OK);
    engine_free(engine);
    pg_pool_free(pool);
}

/* --- what is given back ------------------------------------------------------------------------------------------- */

static bool rotated;

static void rotate_once(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    CHECK_ERR(outbox_rotate(bus.src, &rotated), ERR_OK);
}

static long long rows_in_slot(int slot) {
    char sql[100];
    (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM unit_src.outbox_%d", slot);
    return test_sql(sql);
}

static void fill_slot(int slot, int number) {
    char sql[100];
    (void)snprintf(sql, sizeof sql, "SELECT setval('unit_src.outbox_position_seq', %d)", (slot << 17) + number);
    test_sql(sql);
    append(writers[0], number, number);
}

static void only_published_slots_are_emptied(void **state) {
    (void)state;
    NEED_POSTGRES();
    open_writers();
    fill_slot(0, 1);
    fill_slot(1, 2);
    fill_slot(2, 3);
    CASE("nothing is published: nothing goes");
    test_run(rotate_once, NULL);
    assert_false(rotated);
    start_relay();
    publish_all();
    co_cancel(bus.relay_co);
    CASE("a late writer in an old slot");
    say(writers[1],
        "BEGIN; INSERT INTO unit_src.outbox (position, slot, message_id, type, aggregate, payload, appended_at)"
        " OVERRIDING SYSTEM VALUE VALUES (50, 0, gen_random_uuid(), 'Unit:Counted',"
        " '00000000-0000-4000-8000-000000000001', '4', now())"); /* slot 0's own bucket: behind its newest mark */
    test_run(rotate_once, NULL);
    assert_true(rotated);
    assert_int_equal(rows_in_slot(0), 1); /* its lock could not be had; the next one's could */
    assert_int_equal(rows_in_slot(1), 0);
    say(writers[1], "COMMIT");
    test_run(rotate_once, NULL);
    assert_false(rotated); /* the late one is not published */
    assert_int_equal(rows_in_slot(0), 2);
    CASE("all published, but for what is written now");
    start_relay();
    publish_all();
    test_run(rotate_once, NULL);
    assert_true(rotated);
    assert_int_equal(rows_in_slot(0), 0);
    test_run(rotate_once, NULL);
    assert_false(rotated);
    assert_int_equal(rows_in_slot(2), 1); /* young */
    assert_int_equal(noting.n, 4);
    close_writers();
}

static void keep_outbox(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    CHECK_ERR(outbox_keeper_mark(bus.src), ERR_OK);
}

static void ask_kept(Ctx *ctx, void *arg) {
    (void)ctx;
    CHECK_ERR(outbox_is_kept(bus.src, arg), ERR_OK);
}

static void a_keeper_is_known_for_a_while(void **state) {
    (void)state;
    NEED_POSTGRES();
    bool kept = true;
    open_writers();
    test_run(ask_kept, &kept);
    assert_false(kept); /* no jobs role was ever here */
    test_run(keep_outbox, NULL);
    test_run(keep_outbox, NULL);
    test_run(ask_kept, &kept);
    assert_true(kept);
    assert_int_equal(test_sql("SELECT count(*) FROM unit_src.outbox_marks WHERE bucket = -1"), 1);
    CASE("it is no mark of a bucket: what waits is published all the same");
    append(writers[0], 1, 1);
    start_relay();
    publish_all();
    assert_int_equal(noting.n, 1);
    CASE("silent for too long");
    (void)test_sql("WITH u AS (UPDATE unit_src.outbox_marks SET marked_at = now() - interval '200 s' WHERE bucket = -1)"
                   " SELECT 1");
    test_run(ask_kept, &kept);
    assert_false(kept);
    close_writers();
}

static void ask_state(Ctx *ctx, void *arg) {
    (void)ctx;
    CHECK_ERR(outbox_state(bus.src, arg), ERR_OK);
}

static void depth_counts_what_waits(void **state) {
    (void)state;
    NEED_POSTGRES();
    OutboxState seen;
    open_writers();
    for (int i = 1; i <= 30; i++)
        append(writers[0], i, i);
    test_run(ask_state, &seen);
    assert_int_equal(seen.depth, 30);
    assert_true(seen.age_ns > 0);
    start_relay();
    publish_all();
    test_run(ask_state, &seen);
    assert_int_equal(seen.depth, 0);
    assert_int_equal(seen.age_ns, 0);
    close_writers();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, bus_tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_commits_late_is_published_late_and_once),
        TEST(an_aborted_writer_leaves_nothing),
        TEST(ticks_are_published_in_pieces),
        TEST(what_was_not_confirmed_comes_again_in_order),
        TEST(large_messages_come_one_by_one),
        TEST(two_lanes_publish_side_by_side_and_in_order),
        TEST(two_relays_share_and_take_over),
        TEST(only_published_slots_are_emptied),
        TEST(a_keeper_is_known_for_a_while),
        TEST(depth_counts_what_waits),
    };
    return cmocka_run_group_tests(tests, bus_set_up_all, NULL);
}
