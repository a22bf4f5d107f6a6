/*
 * test_board.c - what gateway and shadow workers share: stages, counts, rings; also between processes, one of which
 * dies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api_gateway/board.h"

static const BoardRoute ROUTES[] = {
    {"other", "", PART_READS},
    {"GET /events", "events", PART_READS},
    {"POST /events", "events", PART_WRITES},
    {"PUT /events/{id}", "events", PART_WRITES},
};

static Board *board;

static int setup(void **state) {
    (void)state;
    BoardOptions options = {
        .routes = ROUTES, .route_n = ARRAY_LEN(ROUTES), .gateways = 3, .shadows = 2, .ring_bytes = 4096};
    return board_new(&options, &board) != ERR_OK;
}

static int teardown(void **state) {
    (void)state;
    board_free(board);
    return 0;
}

static StageTable table_of(StageKind kind) {
    StageTable table = {.n = 1};
    table.rows[0] = (Stage){.context = "events", .kind = (uint8_t)kind};
    return table;
}

static void limits(void **state) {
    (void)state;
    Board *other;
    BoardOptions options = {.routes = ROUTES, .route_n = BOARD_ROUTES_MAX + 1, .gateways = 1, .shadows = 1};
    assert_int_equal(board_new(&options, &other), ERR_LIMIT);
    options = (BoardOptions){.routes = ROUTES, .route_n = 1, .gateways = BOARD_WORKERS_MAX + 1, .shadows = 1};
    assert_int_equal(board_new(&options, &other), ERR_LIMIT);
    options = (BoardOptions){.routes = ROUTES, .route_n = 1, .gateways = 1};
    assert_int_equal(board_new(&options, &other), ERR_LIMIT);
}

static void stages_have_versions(void **state) {
    (void)state;
    static StageTable got;
    uint64_t version = 0;
    assert_int_equal(board_version(board), 0);
    assert_false(board_stages(board, &version, &got)); /* none were ever known */
    StageTable table = table_of(STAGE_SHADOW);
    board_stages_put(board, &table);
    assert_true(board_stages(board, &version, &got));
    assert_int_equal(got.rows[0].kind, STAGE_SHADOW);
    assert_false(board_stages(board, &version, &got)); /* nothing new */
    table = table_of(STAGE_NEW);
    board_stages_put(board, &table);
    assert_true(board_stages(board, &version, &got));
    assert_int_equal(got.rows[0].kind, STAGE_NEW);
}

/* Readers in one process, a writer in another that is killed at any moment: what is read is always whole. */
static void a_writer_may_die(void **state) {
    (void)state;
    static StageTable got;
    uint64_t version = 0, seen = 0;
    for (int round = 0; round < 20; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            static StageTable table;
            for (int i = 0;; i++) {
                table.n = STAGES_MAX;
                for (size_t j = 0; j < STAGES_MAX; j++)
                    table.rows[j].epoch = i;
                board_stages_put(board, &table);
            }
        }
        for (uint64_t want = seen + 3; seen < want;)
            if (board_stages(board, &version, &got)) {
                seen++;
                for (size_t j = 1; j < STAGES_MAX; j++)
                    assert_int_equal(got.rows[j].epoch, got.rows[0].epoch);
            }
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    }
    StageTable table = table_of(STAGE_NEW); /* the next writer mends what the last one left half-way */
    board_stages_put(board, &table);
    assert_true(board_stages(board, &version, &got));
    assert_int_equal(got.rows[0].kind, STAGE_NEW);
}

static void counts_are_of_all(void **state) {
    (void)state;
    Traffic traffic;
    board_begin(board, 0, 1, BOARD_NEW);
    board_begin(board, 1, 1, BOARD_NEW);
    board_end(board, 0, 1, BOARD_NEW, false, 300000);
    board_end(board, 1, 1, BOARD_NEW, true, 20000000000);
    board_traffic(board, 1, BOARD_NEW, &traffic);
    assert_int_equal(traffic.requests, 2);
    assert_int_equal(traffic.errors, 1);
    assert_int_equal(traffic.ns_sum, 20000300000);
    assert_int_equal(traffic.buckets[1], 1);
    assert_int_equal(traffic.buckets[TRAFFIC_BUCKETS - 1], 1);
    board_traffic(board, 1, BOARD_LEGACY, &traffic);
    assert_int_equal(traffic.requests, 0);
    board_skipped(board, 0, 2, SKIP_FULL);
    board_skipped(board, board_shadow_slot(board, 1), 2, SKIP_FULL);
    assert_int_equal(board_skips(board, 2, SKIP_FULL), 2);
    assert_int_equal(board_skips(board, 2, SKIP_LARGE), 0);
}

static void followed_means_everybody(void **state) {
    (void)state;
    static StageTable table = {.n = 0};
    board_stages_put(board, &table);
    assert_true(board_followed(board)); /* nobody is there */
    board_attach(board, 0);
    board_attach(board, 1);
    board_adopted(board, 0, board_version(board));
    assert_false(board_followed(board)); /* one knows of none yet */
    board_adopted(board, 1, board_version(board));
    assert_true(board_followed(board));
    board_stages_put(board, &table);
    assert_false(board_followed(board));
    board_detach(board, 0);
    board_adopted(board, 1, board_version(board));
    assert_true(board_followed(board)); /* who has left need not follow */
    board_detach(board, 1);
}

static void quiet_means_everybody(void **state) {
    (void)state;
    Str events = STR("events"), all = STR("");
    assert_true(board_quiet(board, 5, events, PART_WRITES, all, BOARD_LEGACY)); /* nobody is there */
    board_attach(board, 0);
    board_attach(board, 1);
    assert_int_equal(board_attached(board), 2);
    assert_false(board_quiet(board, 2, events, PART_WRITES, all, BOARD_LEGACY));
    board_adopted(board, 0, 2);
    assert_false(board_quiet(board, 2, events, PART_WRITES, all, BOARD_LEGACY)); /* one goes by the stages before */
    board_adopted(board, 1, 4);
    assert_true(board_quiet(board, 2, events, PART_WRITES, all, BOARD_LEGACY));
    board_begin(board, 1, 2, BOARD_LEGACY);
    assert_false(board_quiet(board, 2, events, PART_WRITES, all, BOARD_LEGACY));
    assert_true(board_quiet(board, 2, events, PART_WRITES, STR("PUT /events/{id}"), BOARD_LEGACY));
    assert_true(board_quiet(board, 2, events, PART_READS, all, BOARD_LEGACY));
    assert_true(board_quiet(board, 2, STR("users"), PART_WRITES, all, BOARD_LEGACY));
    assert_true(board_quiet(board, 2, events, PART_WRITES, all, BOARD_NEW));
    board_attach(board, 1); /* it died with its request; its successor has none */
    assert_false(board_quiet(board, 2, events, PART_WRITES, all, BOARD_LEGACY));
    board_adopted(board, 1, 4);
    assert_true(board_quiet(board, 2, events, PART_WRITES, all, BOARD_LEGACY));
    board_detach(board, 0);
    assert_int_equal(board_attached(board), 1);
}

static void rings_keep_order_and_bounds(void **state) {
    (void)state;
    Buf got = buf_new(NULL, 8192);
    char text[600];
    bool lost;
    size_t in = 0, out = 0;
    for (int round = 0; round < 50; round++) { /* over the end of the ring, again and again */
        for (;; in++) {
            memset(text, 'a' + (int)(in % 26), sizeof text);
            if (!board_put(board, 0, (Str){text, 100 + in % 500}))
                break; /* full, and nobody waited */
        }
        assert_true(in - out > 3);
        while (board_take(board, 0, &got, &lost)) {
            assert_int_equal(got.n, 100 + out % 500);
            assert_int_equal(got.p[0], 'a' + (int)(out % 26));
            assert_int_equal(got.p[got.n - 1], 'a' + (int)(out % 26));
            out++;
        }
        assert_int_equal(in, out);
    }
    assert_false(board_put(board, 0, (Str){text, 1 << 20}));
    assert_true(board_put(board, 1, STR("of the other shadow worker")));
    assert_false(board_take(board, 0, &got, &lost));
    assert_true(board_put(board, 2, STR("shared")));
    assert_true(board_take(board, 0, &got, &lost));
    assert_true(str_eq_c(buf_str(&got), "shared"));
    Buf small = buf_new(NULL, 4); /* too large for who takes it: gone, not in the way */
    assert_false(board_take(board, 1, &small, &lost));
    assert_true(lost);
    assert_false(board_take(board, 1, &got, &lost));
    assert_false(lost);
    buf_done(&got);
    buf_done(&small);
}

static void sleepers_are_woken(void **state) {
    (void)state;
    struct pollfd fd = {.fd = board_wake_fd(board, 0), .events = POLLIN};
    Buf got = buf_new(NULL, 64);
    bool lost;
    assert_true(board_sleep(board, 0));
    assert_int_equal(poll(&fd, 1, 0), 0);
    assert_true(board_put(board, 0, STR("x")));
    assert_int_equal(poll(&fd, 1, 0), 0); /* many are put, then one wake */
    assert_true(board_sleeps(board, 0) && !board_sleeps(board, 1));
    board_wake(board, 0);
    assert_false(board_sleeps(board, 0));
    assert_int_equal(poll(&fd, 1, 0), 1);
    assert_false(board_sleep(board, 0)); /* there is something */
    assert_true(board_take(board, 0, &got, &lost));
    assert_true(board_sleep(board, 0));
    assert_int_equal(poll(&fd, 1, 0), 0);
    buf_done(&got);
}

/* A reader that dies with a copy in hand: its successor gets the next one, not that one again. */
static void a_copy_kills_its_reader_once(void **state) {
    (void)state;
    Buf got = buf_new(NULL, 64);
    bool lost;
    assert_true(board_put(board, 0, STR("poison")) && board_put(board, 0, STR("next")));
    pid_t pid = fork();
    if (pid == 0) {
        (void)board_take(board, 0, &got, &lost);
        (void)raise(SIGKILL);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(board_take(board, 0, &got, &lost));
    assert_true(str_eq_c(buf_str(&got), "next"));
    buf_done(&got);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(limits, setup, teardown),
        cmocka_unit_test_setup_teardown(stages_have_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(a_writer_may_die, setup, teardown),
        cmocka_unit_test_setup_teardown(counts_are_of_all, setup, teardown),
        cmocka_unit_test_setup_teardown(followed_means_everybody, setup, teardown),
        cmocka_unit_test_setup_teardown(quiet_means_everybody, setup, teardown),
        cmocka_unit_test_setup_teardown(rings_keep_order_and_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(sleepers_are_woken, setup, teardown),
        cmocka_unit_test_setup_teardown(a_copy_kills_its_reader_once, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
