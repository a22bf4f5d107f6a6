/* Coroutines: switching, waking, deadlines, cancellation, shield, descriptors, drain. */
#include "runtime_test.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "base/clock.h"

static int64_t soon(void) {
    return clock_mono_ms() + 5;
}

static int64_t much_later(void) {
    return clock_mono_ms() + 60000;
}

/* --- switching --------------------------------------------------------------------------------------------------- */

enum { MANY = 3000 };

typedef struct Counter {
    int index, rounds;
    uint64_t sum;
} Counter;

static uint64_t descend(int depth, uint64_t value) {
    volatile uint64_t here = value; /* lives across the switch */
    if (depth > 0)
        here += descend(depth - 1, value * 31 + 1);
    else
        assert_ok(co_yield ());
    return here;
}

static uint64_t descend_without(int depth, uint64_t value) {
    return value + (depth > 0 ? descend_without(depth - 1, value * 31 + 1) : 0);
}

static void count(Ctx *ctx, void *arg) {
    Counter *self = arg;
    assert_ptr_equal(ctx, co_ctx(co_self()));
    uint64_t *in_arena = ARENA_NEW(ctx->arena, uint64_t);
    double quotient = self->index / 3.0; /* floating point registers too */
    for (; self->rounds < 5; self->rounds++)
        *in_arena += descend(20, (uint64_t)self->index);
    self->sum = *in_arena;
    assert_true(quotient == self->index / 3.0);
}

static void thousands_keep_their_stacks_apart(void **state) {
    Loop *loop = *state;
    static Counter counters[MANY];
    for (int i = 0; i < MANY; i++) {
        counters[i] = (Counter){.index = i};
        assert_ok(co_spawn(loop, count, &counters[i], NULL, NULL));
    }
    assert_int_equal(co_stats(loop).live, MANY);
    loop_run(loop);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(counters[i].sum, 5 * descend_without(20, (uint64_t)i));
    assert_int_equal(co_stats(loop).live, 0);
    assert_int_equal(co_stats(loop).peak, MANY);
    assert_int_equal(co_stats(loop).pooled, MANY);
}

/* --- waking ------------------------------------------------------------------------------------------------------ */

typedef struct Waiter {
    Wait wait;
    int64_t deadline_ms;
    Err result, after;
    Story *story;
    char letter;
} Waiter;

static void wait_once(Ctx *ctx, void *arg) {
    (void)ctx;
    Waiter *self = arg;
    self->result = co_wait(&self->wait, self->deadline_ms);
    if (self->story != NULL)
        tell(self->story, self->letter);
}

static void a_wake_brings_its_result(void **state) {
    Loop *loop = *state;
    Waiter waiter = {.result = ERR_INTERNAL};
    assert_ok(co_spawn(loop, wait_once, &waiter, NULL, NULL));
    loop_run(loop); /* nothing is left to do but to wait: returns */
    assert_int_equal(co_stats(loop).live, 1);
    wait_wake(&waiter.wait, ERR_CONFLICT);
    wait_wake(&waiter.wait, ERR_OK); /* ignored */
    loop_run(loop);
    assert_err(waiter.result, ERR_CONFLICT);
    assert_false(waiter.wait.done); /* idle again */
}

static void a_wake_before_the_wait_is_kept(void **state) {
    Loop *loop = *state;
    Waiter waiter = {.result = ERR_INTERNAL};
    wait_wake(&waiter.wait, ERR_EOF);
    assert_ok(co_spawn(loop, wait_once, &waiter, NULL, NULL));
    loop_run(loop);
    assert_err(waiter.result, ERR_EOF);
}

static void the_woken_run_in_the_order_of_their_wakes(void **state) {
    Loop *loop = *state;
    Story story = {0};
    Waiter waiters[] = {
        {.story = &story, .letter = 'a'}, {.story = &story, .letter = 'b'}, {.story = &story, .letter = 'c'}};
    for (size_t i = 0; i < 3; i++)
        assert_ok(co_spawn(loop, wait_once, &waiters[i], NULL, NULL));
    loop_run(loop);
    wait_wake(&waiters[2].wait, ERR_OK);
    wait_wake(&waiters[0].wait, ERR_OK);
    wait_wake(&waiters[1].wait, ERR_OK);
    loop_run(loop);
    assert_string_equal(story.text, "cab");
}

/* --- deadlines --------------------------------------------------------------------------------------------------- */

enum { NONE, SOON, LATER, PAST };

static int64_t deadline_of(int which) {
    return which == NONE ? 0 : which == SOON ? soon() : which == LATER ? much_later() : 1;
}

static void every_wait_ends_at_the_nearest_deadline(void **state) {
    Loop *loop = *state;
    static const struct {
        const char *label;
        int of_ctx, of_wait;
    } cases[] = {
        {"the wait's own", NONE, SOON},
        {"the context's", SOON, NONE},
        {"the context's when nearer", SOON, LATER},
        {"the wait's when nearer", LATER, SOON},
        {"one that has passed", PAST, LATER},
        {"one of the wait that has passed", NONE, PAST},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Waiter waiter = {.deadline_ms = deadline_of(cases[i].of_wait), .result = ERR_INTERNAL};
        CoOptions options = {.name = cases[i].label, .deadline_ms = deadline_of(cases[i].of_ctx)};
        assert_ok(co_spawn(loop, wait_once, &waiter, &options, NULL));
        loop_run(loop);
        assert_err(waiter.result, ERR_TIMEOUT);
    }
}

/* Deadlines are counted from inside a turn, whose time stands still: however slow the machine, they lie ahead of the
 * waits. */
static void spawn_with_deadlines(Ctx *ctx, void *arg) {
    (void)ctx;
    static const int after_ms[] = {9, 3, 12, 6};
    Waiter *waiters = arg;
    for (size_t i = 0; i < 4; i++) {
        waiters[i].deadline_ms = loop_now_ms(loop_current()) + after_ms[i];
        assert_ok(co_spawn(loop_current(), wait_once, &waiters[i], NULL, NULL));
    }
}

static void deadlines_pass_in_their_order(void **state) {
    Loop *loop = *state;
    Story story = {0};
    Waiter waiters[] = {{.story = &story, .letter = 'c'},
                        {.story = &story, .letter = 'a'},
                        {.story = &story, .letter = 'd'},
                        {.story = &story, .letter = 'b'}};
    assert_ok(co_spawn(loop, spawn_with_deadlines, waiters, NULL, NULL));
    loop_run(loop);
    assert_string_equal(story.text, "abcd");
}

/* The deadline has passed and the waiter is queued; a wake that comes before it runs hands something over and must
 * win. */
typedef struct Race {
    Waiter waiter;
    Timer timer;
} Race;

static void wake_after_deadline(Timer *timer) {
    Race *race = (Race *)((char *)timer - offsetof(Race, timer));
    wait_wake(&race->waiter.wait, ERR_OK);
}

static void start_race(Ctx *ctx, void *arg) {
    (void)ctx;
    Race *race = arg;
    race->waiter.deadline_ms = loop_now_ms(loop_current()) + 5;
    assert_ok(timer_arm(loop_current(), &race->timer, race->waiter.deadline_ms));
    assert_ok(co_spawn(loop_current(), wait_once, &race->waiter, NULL, NULL));
}

static void a_wake_wins_over_a_deadline_in_the_same_turn(void **state) {
    Loop *loop = *state;
    Race race = {.waiter = {.result = ERR_INTERNAL}, .timer = {.fn = wake_after_deadline}};
    assert_ok(co_spawn(loop, start_race, &race, NULL, NULL));
    loop_run(loop);
    assert_ok(race.waiter.result);
}

typedef struct Sleeper {
    int64_t ms, slept_ms;
    Err result;
} Sleeper;

static void sleep_once(Ctx *ctx, void *arg) {
    (void)ctx;
    Sleeper *self = arg;
    int64_t begin = clock_mono_ms();
    self->result = co_sleep(self->ms);
    self->slept_ms = clock_mono_ms() - begin;
}

static void sleep_ends_well_or_by_the_deadline(void **state) {
    Loop *loop = *state;
    static const struct {
        int64_t ms;
        int deadline;
        Err want;
    } cases[] = {
        {3, NONE, ERR_OK}, {3, LATER, ERR_OK}, {0, NONE, ERR_OK}, {60000, SOON, ERR_TIMEOUT}, {0, PAST, ERR_TIMEOUT}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Sleeper sleeper = {.ms = cases[i].ms, .result = ERR_INTERNAL};
        CoOptions options = {.deadline_ms = deadline_of(cases[i].deadline)};
        assert_ok(co_spawn(loop, sleep_once, &sleeper, &options, NULL));
        loop_run(loop);
        assert_err(sleeper.result, cases[i].want);
        if (cases[i].want == ERR_OK)
            assert_true(sleeper.slept_ms >= cases[i].ms); /* never shorter than asked */
    }
}

/* --- cancellation ------------------------------------------------------------------------------------------------ */

static int pipe_fds[2];

static Err wait_in_wait(void) {
    Wait wait = {0};
    return co_wait(&wait, 0);
}
static Err wait_in_wait_with_deadline(void) {
    Wait wait = {0};
    return co_wait(&wait, much_later());
}
static Err wait_in_sleep(void) {
    return co_sleep(60000);
}
static Err wait_in_yield(void) {
    Err err;
    while ((err = co_yield ()) == ERR_OK)
        ;
    return err;
}
static Err wait_in_fd(void) {
    return co_wait_fd(pipe_fds[0], CO_READABLE, 0);
}

typedef struct Victim {
    Err (*wait)(void);
    Err first, second;
    bool cleaned, knew;
} Victim;

static void set_true(bool **flag) {
    **flag = true;
}

static void be_cancelled(Ctx *ctx, void *arg) {
    (void)ctx;
    Victim *self = arg;
    bool *cleaned CLEANUP(set_true) = &self->cleaned;
    (void)cleaned;
    self->first = self->wait();
    self->knew = co_is_cancelled();
    self->second = self->wait();
}

static void cancel_it(Ctx *ctx, void *arg) {
    (void)ctx;
    co_cancel(arg);
    co_cancel(arg);
}

static void cancellation_reaches_every_wait(void **state) {
    Loop *loop = *state;
    static Err (*const waits[])(void) = {wait_in_wait, wait_in_wait_with_deadline, wait_in_sleep, wait_in_yield,
                                         wait_in_fd};
    assert_int_equal(pipe(pipe_fds), 0);
    for (size_t i = 0; i < ARRAY_LEN(waits); i++)
        for (int before_start = 0; before_start < 2; before_start++) {
            Victim victim = {.wait = waits[i]};
            Co *co = NULL;
            assert_ok(co_spawn(loop, be_cancelled, &victim, NULL, &co));
            if (before_start)
                co_cancel(co);
            else
                assert_ok(co_spawn(loop, cancel_it, co, NULL, NULL));
            loop_run(loop);
            assert_err(victim.first, ERR_CANCELLED);
            assert_err(victim.second, ERR_CANCELLED);
            assert_true(victim.cleaned);
            assert_true(victim.knew);
        }
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void a_wake_wins_over_a_cancellation_in_the_same_turn(void **state) {
    Loop *loop = *state;
    Waiter waiter = {.result = ERR_INTERNAL};
    Co *co = NULL;
    assert_ok(co_spawn(loop, wait_once, &waiter, NULL, &co));
    loop_run(loop);
    co_cancel(co);
    wait_wake(&waiter.wait, ERR_OK);
    loop_run(loop);
    assert_ok(waiter.result);
}

static void wait_shielded(Ctx *ctx, void *arg) {
    (void)ctx;
    Waiter *self = arg;
    assert_false(co_shield(true));
    assert_true(co_shield(true));
    self->result = co_wait(&self->wait, self->deadline_ms);
    assert_false(co_is_cancelled());
    assert_true(co_shield(false));
    Wait wait = {0};
    self->after = co_wait(&wait, 0);
}

static void a_shield_holds_cancellation_back(void **state) {
    Loop *loop = *state;
    Waiter waiter = {.result = ERR_INTERNAL};
    Co *co = NULL;
    assert_ok(co_spawn(loop, wait_shielded, &waiter, NULL, &co));
    loop_run(loop);
    co_cancel(co);
    loop_run(loop);
    assert_int_equal(co_stats(loop).live, 1); /* still waits */
    wait_wake(&waiter.wait, ERR_OK);
    loop_run(loop);
    assert_ok(waiter.result);
    assert_err(waiter.after, ERR_CANCELLED);
}

static void a_shield_holds_the_contexts_deadline_back_but_not_the_waits(void **state) {
    Loop *loop = *state;
    Waiter waiter = {.result = ERR_INTERNAL, .deadline_ms = soon()};
    assert_ok(co_spawn(loop, wait_shielded, &waiter, &(CoOptions){.deadline_ms = 1}, NULL));
    loop_run(loop);
    assert_err(waiter.result, ERR_TIMEOUT); /* not at once: it did wait, for its own deadline */
    assert_true(clock_mono_ms() >= waiter.deadline_ms);
    assert_err(waiter.after, ERR_TIMEOUT);
}

/* --- descriptors ------------------------------------------------------------------------------------------------- */

typedef struct FdUser {
    int fd, events;
    Err result;
    int64_t deadline_ms;
} FdUser;

static void wait_fd(Ctx *ctx, void *arg) {
    (void)ctx;
    FdUser *self = arg;
    self->result = co_wait_fd(self->fd, self->events, self->deadline_ms);
}

static void write_byte(Ctx *ctx, void *arg) {
    (void)ctx;
    assert_ok(co_yield ());
    assert_int_equal(write(*(int *)arg, "x", 1), 1);
}

static void many_may_wait_for_one_descriptor(void **state) {
    Loop *loop = *state;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    FdUser reader = {.fd = fds[0], .events = CO_READABLE, .result = ERR_INTERNAL};
    FdUser both = {.fd = fds[0], .events = CO_READABLE | CO_WRITABLE, .result = ERR_INTERNAL};
    FdUser writer = {.fd = fds[0], .events = CO_WRITABLE, .result = ERR_INTERNAL};
    FdUser late = {.fd = fds[1], .events = CO_READABLE, .result = ERR_INTERNAL, .deadline_ms = soon()};
    assert_ok(co_spawn(loop, wait_fd, &reader, NULL, NULL));
    assert_ok(co_spawn(loop, wait_fd, &both, NULL, NULL));
    assert_ok(co_spawn(loop, wait_fd, &writer, NULL, NULL));
    assert_ok(co_spawn(loop, wait_fd, &late, NULL, NULL));
    assert_ok(co_spawn(loop, write_byte, &fds[1], NULL, NULL));
    loop_run(loop);
    assert_ok(reader.result);
    assert_ok(both.result);
    assert_ok(writer.result);
    assert_err(late.result, ERR_TIMEOUT);
    close(fds[0]);
    close(fds[1]);
}

static void the_end_of_the_other_side_is_readable(void **state) {
    Loop *loop = *state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    close(fds[1]);
    FdUser reader = {.fd = fds[0], .events = CO_READABLE, .result = ERR_INTERNAL};
    assert_ok(co_spawn(loop, wait_fd, &reader, NULL, NULL));
    loop_run(loop);
    assert_ok(reader.result);
    close(fds[0]);
}

static void a_regular_file_cannot_be_waited_for(void **state) {
    Loop *loop = *state;
    int fd = open("/proc/self/exe", O_RDONLY);
    assert_true(fd >= 0);
    FdUser reader = {.fd = fd, .events = CO_READABLE, .result = ERR_OK};
    assert_ok(co_spawn(loop, wait_fd, &reader, NULL, NULL));
    loop_run(loop);
    assert_err(reader.result, ERR_IO);
    close(fd);
}

static void a_descriptor_may_be_waited_for_again_and_again(void **state) {
    Loop *loop = *state;
    for (int i = 0; i < 200; i++) { /* more than the free list of watches holds */
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        FdUser reader = {.fd = fds[0], .events = CO_READABLE, .result = ERR_INTERNAL};
        assert_ok(co_spawn(loop, wait_fd, &reader, NULL, NULL));
        assert_ok(co_spawn(loop, write_byte, &fds[1], NULL, NULL));
        loop_run(loop);
        assert_ok(reader.result);
        close(fds[0]);
        close(fds[1]);
    }
}

/* --- drain ------------------------------------------------------------------------------------------------------- */

static void spawn_another(Ctx *ctx, void *arg) {
    (void)ctx;
    Victim *late = arg;
    Wait wait = {0};
    assert_err(co_wait(&wait, 0), ERR_CANCELLED);
    assert_ok(co_spawn(loop_current(), be_cancelled, late, NULL, NULL));
}

static void drain_ends_all_even_what_is_born_meanwhile(void **state) {
    Loop *loop = *state;
    Victim late = {.wait = wait_in_wait};
    Victim early = {.wait = wait_in_sleep};
    assert_ok(co_spawn(loop, be_cancelled, &early, NULL, NULL));
    assert_ok(co_spawn(loop, spawn_another, &late, NULL, NULL));
    loop_stop(loop);
    loop_run(loop);
    assert_ok(co_drain(loop, much_later()));
    assert_true(early.cleaned && late.cleaned);
    assert_err(late.first, ERR_CANCELLED);
    assert_ok(co_drain(loop, 1)); /* nothing lives: nothing to wait for */
}

static void drain_gives_up_at_its_deadline(void **state) {
    Loop *loop = *state;
    Waiter stubborn = {.result = ERR_INTERNAL};
    assert_ok(co_spawn(loop, wait_shielded, &stubborn, NULL, NULL));
    loop_run(loop);
    assert_err(co_drain(loop, soon()), ERR_TIMEOUT);
    wait_wake(&stubborn.wait, ERR_OK);
    loop_run(loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LOOP_TEST(thousands_keep_their_stacks_apart),
        LOOP_TEST(a_wake_brings_its_result),
        LOOP_TEST(a_wake_before_the_wait_is_kept),
        LOOP_TEST(the_woken_run_in_the_order_of_their_wakes),
        LOOP_TEST(every_wait_ends_at_the_nearest_deadline),
        LOOP_TEST(deadlines_pass_in_their_order),
        LOOP_TEST(a_wake_wins_over_a_deadline_in_the_same_turn),
        LOOP_TEST(sleep_ends_well_or_by_the_deadline),
        LOOP_TEST(cancellation_reaches_every_wait),
        LOOP_TEST(a_wake_wins_over_a_cancellation_in_the_same_turn),
        LOOP_TEST(a_shield_holds_cancellation_back),
        LOOP_TEST(a_shield_holds_the_contexts_deadline_back_but_not_the_waits),
        LOOP_TEST(many_may_wait_for_one_descriptor),
        LOOP_TEST(the_end_of_the_other_side_is_readable),
        LOOP_TEST(a_regular_file_cannot_be_waited_for),
        LOOP_TEST(a_descriptor_may_be_waited_for_again_and_again),
        LOOP_TEST(drain_ends_all_even_what_is_born_meanwhile),
        LOOP_TEST(drain_gives_up_at_its_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
