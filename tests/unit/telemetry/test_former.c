/*
 * test_former.c - the counts of generations before: added while they are alive, folded when they are gone, refused when
 * they have another form.
 */
#include "unit.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/heirloom.h"
#include "telemetry/former.h"

static const TelemetryRole roles[] = {{"http", 1, true}, {0}};

static Err open_generation(void) {
    TelemetryConfig config = {.sampler = {.threshold = SAMPLER_ALL}, .queue_max = 16, .batch_max = 8};
    return telemetry_open(&config, roles);
}

/* What exec does: the descriptors stay, everything else is forgotten. */
static void next_generation(void) {
    int fds[FORMERS_MAX + 2];
    size_t n = 0;
    while ((fds[n] = heirloom_remove("usher-telemetry")) >= 0)
        n++;
    telemetry_close();
    for (size_t i = 0; i < n; i++)
        assert_int_equal(heirloom_add("usher-telemetry", fds[i]), ERR_OK);
    assert_int_equal(open_generation(), ERR_OK);
}

static int setup(void **state) {
    *state = arena_new(16 * 1024 * 1024);
    assert_int_equal(open_generation(), ERR_OK);
    return 0;
}

static int teardown(void **state) {
    telemetry_close();
    arena_free(*state);
    return 0;
}

static int64_t value_of(Arena *arena, MetricId id, const char *labels) {
    MetricPoint *points;
    size_t n;
    assert_int_equal(metrics_collect(arena, &points, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        if (points[i].id == id && str_eq_c(points[i].labels, labels))
            return points[i].value;
    return -1;
}

static void attach_and_count(int64_t by) {
    telemetry_attach("http", 0);
    metric_add(METRIC_MESSAGING_SENT, by, LABELS({"a", "x", 0}));
    metric_record(METRIC_SET_SIZE, by, NULL, 0);
    metric_set(METRIC_CONNECTIONS, by, NULL, 0);
}

/* A process that has ended: its number is free, or another's who counts nothing here. */
static pid_t dead_pid(void) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return pid;
}

static void test_a_living_predecessor_is_added(void **state) {
    attach_and_count(5); /* our own pid stands for a worker that still drains */
    int64_t began = telemetry.region->began_unix_ns;
    next_generation();
    assert_int_equal(telemetry.n_formers, 1);
    assert_int_equal(value_of(*state, METRIC_MESSAGING_SENT, "a=x"), 5);
    attach_and_count(7);
    assert_int_equal(value_of(*state, METRIC_MESSAGING_SENT, "a=x"), 12);
    assert_int_equal(value_of(*state, METRIC_SET_SIZE, ""), 2);
    assert_int_equal(value_of(*state, METRIC_CONNECTIONS, ""), 7); /* its connections are not ours */
    assert_true(telemetry.region->began_unix_ns == began);
    next_generation();
    assert_int_equal(telemetry.n_formers, 2);
    assert_int_equal(value_of(*state, METRIC_MESSAGING_SENT, "a=x"), 12);
}

static void test_a_dead_predecessor_is_folded(void **state) {
    attach_and_count(5);
    telemetry.slot->pid = dead_pid();
    telemetry.region->exported_spans = 3;
    telemetry.region->slots[0].ring.dropped = 2;
    next_generation();
    assert_int_equal(telemetry.n_formers, 0);
    assert_int_equal(value_of(*state, METRIC_MESSAGING_SENT, "a=x"), 5);
    assert_int_equal(value_of(*state, METRIC_SPANS_EXPORTED, ""), 3);
    assert_int_equal(value_of(*state, METRIC_SPANS_DROPPED, ""), 2);
    attach_and_count(1);
    next_generation();
    assert_int_equal(value_of(*state, METRIC_MESSAGING_SENT, "a=x"), 6); /* once each, through two generations */
}

static void test_many_hand_overs_within_one_drain(void **state) {
    for (int i = 0; i < FORMERS_MAX + 4; i++) {
        attach_and_count(1);
        next_generation();
        assert_int_equal(value_of(*state, METRIC_MESSAGING_SENT, "a=x"), i + 1);
    }
    assert_int_equal(telemetry.n_formers, FORMERS_MAX);
}

static void test_folding_has_room_for_every_metric(void **state) {
    char names[SLOT_SERIES_MAX][16];
    for (int generation = 0; generation < 2; generation++) {
        telemetry_attach("http", 0);
        for (size_t i = 0; i < SLOT_SERIES_MAX - METRIC_COUNT - 10; i++) {
            snprintf(names[i], sizeof names[i], "%d.%zu", generation, i);
            metric_add(METRIC_MESSAGING_SENT, 1, LABELS({"a", names[i], 0}));
        }
        telemetry.slot->pid = dead_pid();
        next_generation();
    }
    MetricPoint *points;
    size_t n;
    int64_t sum = 0;
    assert_int_equal(metrics_collect(*state, &points, &n), ERR_OK);
    for (size_t i = 0; i < n; i++)
        sum += points[i].id == METRIC_MESSAGING_SENT ? points[i].value : 0;
    assert_int_equal(sum, 2 * (SLOT_SERIES_MAX - METRIC_COUNT - 10));
    assert_true(value_of(*state, METRIC_MESSAGING_SENT, "otel.metric.overflow=true") > 0);
}

static void break_layout(Region *region) {
    region->layout++;
}
static void break_slots(Region *region) {
    region->n_slots = 1000000;
}
static void break_size(Region *region) {
    region->ring_bytes *= 2;
}

static void test_another_form_is_not_read(void **state) {
    static void (*const cases[])(Region * region) = {break_layout, break_slots, break_size};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        attach_and_count(5);
        int fd = heirloom_remove("usher-telemetry");
        telemetry_close();
        Region *again = mmap(NULL, sizeof *again, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_ptr_not_equal(again, MAP_FAILED);
        cases[i](again);
        munmap(again, sizeof *again);
        assert_int_equal(heirloom_add("usher-telemetry", fd), ERR_OK);
        assert_int_equal(open_generation(), ERR_OK);
        assert_int_equal(telemetry.n_formers, 0);
        assert_int_equal(value_of(*state, METRIC_MESSAGING_SENT, "a=x"), -1);
    }
}

static void test_what_is_no_region_is_not_read(void **state) {
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    telemetry_close();
    assert_int_equal(heirloom_add("usher-telemetry", fds[0]), ERR_OK);
    assert_int_equal(heirloom_add("usher-telemetry", memfd_create("short", MFD_CLOEXEC)), ERR_OK);
    assert_int_equal(open_generation(), ERR_OK);
    assert_int_equal(telemetry.n_formers, 0);
    assert_int_equal(value_of(*state, METRIC_MESSAGING_SENT, "a=x"), -1);
    close(fds[1]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_living_predecessor_is_added),    TEST(test_a_dead_predecessor_is_folded),
        TEST(test_many_hand_overs_within_one_drain), TEST(test_folding_has_room_for_every_metric),
        TEST(test_another_form_is_not_read),         TEST(test_what_is_no_region_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
