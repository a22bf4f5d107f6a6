/*
 * test_clock.c - a clock that can be stopped and shifted, randomness that can be repeated and is not shared by
 * children.
 */
#include "base/clock.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

/* Runs fn in a child with the environment set and returns what it wrote. */
static int in_child(void (*fn)(int out), const char *skew, void *ret, size_t n) {
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (skew != NULL)
            (void)setenv("USHER_CLOCK_SKEW_MS", skew, 1);
        fn(pipes[1]);
        _exit(0);
    }
    (void)close(pipes[1]);
    ssize_t got = read(pipes[0], ret, n);
    (void)close(pipes[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(got, WIFEXITED(status) ? (ssize_t)n : 0);
    return status;
}

static void send_now(int out) {
    Instant now = clock_now();
    (void)!write(out, &now, sizeof now);
}

/* First of all tests: the environment is read at the first question, which the children ask. */
static void skew_from_the_environment(void **state) {
    (void)state;
    Instant plain, ahead, behind;
    in_child(send_now, NULL, &plain, sizeof plain);
    in_child(send_now, "86400000000", &ahead, sizeof ahead); /* 1000 days */
    in_child(send_now, "-86400000000", &behind, sizeof behind);
    const int64_t days = 24LL * 3600 * TICKS_PER_SECOND;
    assert_true(ahead.ticks - plain.ticks >= 1000 * days && ahead.ticks - plain.ticks < 1001 * days);
    assert_true(plain.ticks - behind.ticks <= 1000 * days && plain.ticks - behind.ticks > 999 * days);
    assert_true(plain.ticks > TICKS_PG_EPOCH && plain.offset_minutes == 0);
}

static void frozen_and_shifted(void **state) {
    (void)state;
    Instant t = {TICKS_PG_EPOCH + 7, 0};
    clock_freeze(t);
    assert_int_equal(clock_now().ticks, t.ticks);
    clock_skew_ms(1000);
    assert_int_equal(clock_now().ticks, t.ticks);
    clock_thaw();
    clock_skew_ms(-9000000000000); /* 285 years */
    assert_true(clock_now().ticks < TICKS_UNIX_EPOCH);
    clock_skew_ms(0);
    assert_true(clock_now().ticks > TICKS_PG_EPOCH);
    int64_t before = clock_mono_ns();
    assert_true(clock_mono_ns() >= before && clock_mono_ms() >= before / 1000000);
}

static void send_bytes(int out) {
    uint8_t bytes[16];
    random_bytes(bytes, sizeof bytes);
    (void)!write(out, bytes, sizeof bytes);
}

static void children_do_not_repeat_each_other(void **state) {
    (void)state;
    (void)random_u64(); /* the parent holds a batch, which fork copies */
    uint8_t a[16], b[16], mine[16];
    in_child(send_bytes, NULL, a, sizeof a);
    in_child(send_bytes, NULL, b, sizeof b);
    random_bytes(mine, sizeof mine);
    assert_true(memcmp(a, b, 16) != 0 && memcmp(a, mine, 16) != 0 && memcmp(b, mine, 16) != 0);
}

static void bytes_of_any_length(void **state) {
    (void)state;
    static uint8_t bytes[5000];
    for (size_t n = 0; n <= sizeof bytes; n += 1 + n / 3) {
        memset(bytes, 0, sizeof bytes);
        random_bytes(bytes, n);
        for (size_t i = n; i < sizeof bytes; i++)
            assert_int_equal(bytes[i], 0);
        size_t zeros = 0;
        for (size_t i = 0; i < n; i++)
            zeros += bytes[i] == 0;
        assert_true(n < 16 || zeros < n / 4);
    }
}

static void seeded_and_bounded(void **state) {
    (void)state;
    int hits[7] = {0};
    for (int i = 0; i < 7000; i++)
        hits[random_below(7)]++;
    for (int i = 0; i < 7; i++)
        assert_true(hits[i] > 700 && hits[i] < 1300); /* 10 standard deviations */
    assert_int_equal(random_below(1), 0);
    for (int i = 0; i < 100; i++)
        assert_true(random_below(UINT64_MAX / 2 + 2) <= UINT64_MAX / 2 + 1);
    random_seed(42); /* from here on this process repeats itself */
    Id first = id_random();
    uint64_t second = random_u64();
    random_seed(42);
    assert_true(id_eq(first, id_random()) && second == random_u64());
    random_seed(43);
    assert_true(!id_eq(first, id_random()));
}

static void send_asserted(int out) {
    (void)out;
    assert_failed("the sentence a bug prints", "test_clock.c", 0, "as wanted");
}

static void a_bug_ends_the_process(void **state) {
    (void)state;
    int status = in_child(send_asserted, NULL, &(char){0}, 1);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(skew_from_the_environment),
        cmocka_unit_test(frozen_and_shifted),
        cmocka_unit_test(children_do_not_repeat_each_other),
        cmocka_unit_test(bytes_of_any_length),
        cmocka_unit_test(seeded_and_bounded),
        cmocka_unit_test(a_bug_ends_the_process),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
