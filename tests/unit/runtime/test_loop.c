/* The loop: turns, hooks by rank, timers against a sorted model. */
#include "runtime_test.h"

#include "base/clock.h"

/* --- timers ------------------------------------------------------------------------------------------------------ */

enum { TIMERS = 500, STEPS = 20000 };

typedef struct Item {
    Timer timer;
    int64_t due; /* of the model: INT64_MAX when it is not armed */
} Item;

static Item items[TIMERS];
static size_t n_fired;
static int64_t last_fired;

static void fired(Timer *timer) {
    Item *item = (Item *)timer;
    assert_int_equal(timer->heap_index, 0);
    assert_int_equal(item->due, timer->at_ms); /* armed in the model too, for that time */
    assert_true(timer->at_ms >= last_fired);
    last_fired = timer->at_ms;
    item->due = INT64_MAX;
    n_fired++;
}

/* Any sequence of arm, re-arm and disarm leaves timers that fire exactly once each, in order of their time. */
static void timers_fire_in_order(void **state) {
    Loop *loop = *state;
    random_seed(20261123);
    int64_t begin = clock_mono_ms() - 1000000; /* all in the past: nothing has to be waited for */
    for (size_t i = 0; i < TIMERS; i++)
        items[i] = (Item){.timer = {.fn = fired}, .due = INT64_MAX};
    for (int step = 0; step < STEPS; step++) {
        Item *item = &items[random_below(TIMERS)];
        if (random_below(3) == 0) {
            timer_disarm(loop, &item->timer);
            item->due = INT64_MAX;
        } else {
            item->due = begin + (int64_t)random_below(1000);
            assert_ok(timer_arm(loop, &item->timer, item->due));
        }
    }
    size_t armed = 0;
    for (size_t i = 0; i < TIMERS; i++)
        armed += items[i].due != INT64_MAX;
    assert_true(armed > 0);
    n_fired = 0;
    last_fired = INT64_MIN;
    loop_run(loop);
    assert_int_equal(n_fired, armed);
}

static Loop *rearm_loop;
static int rearmed;

static void arm_again(Timer *timer) {
    if (++rearmed < 10)
        assert_ok(timer_arm(rearm_loop, timer, timer->at_ms - 1));
}

static void a_timer_may_arm_itself_for_the_past(void **state) {
    rearm_loop = *state;
    rearmed = 0;
    Timer timer = {.fn = arm_again};
    assert_ok(timer_arm(rearm_loop, &timer, clock_mono_ms()));
    loop_run(rearm_loop);
    assert_int_equal(rearmed, 10);
}

static void a_timer_does_not_fire_early(void **state) {
    Loop *loop = *state;
    random_seed(7);
    int64_t due = clock_mono_ms() + 20;
    items[0] = (Item){.timer = {.fn = fired}, .due = due};
    last_fired = INT64_MIN;
    assert_ok(timer_arm(loop, &items[0].timer, due));
    loop_run(loop);
    assert_true(clock_mono_ms() >= due);
    assert_true(loop_now_ms(loop) >= due);
}

static void a_disarmed_timer_does_not_keep_the_loop(void **state) {
    Loop *loop = *state;
    Timer timer = {.fn = fired};
    assert_ok(timer_arm(loop, &timer, clock_mono_ms() + 3600 * 1000));
    timer_disarm(loop, &timer);
    timer_disarm(loop, &timer);
    loop_run(loop); /* returns */
}

/* --- hooks ------------------------------------------------------------------------------------------------------- */

typedef struct TellingHook {
    TurnHook hook;
    Loop *loop;
    Story *story;
    char letter;
    struct TellingHook *then; /* armed from inside */
    CoFn spawn;               /* started from inside */
} TellingHook;

static void tell_hook(TurnHook *hook) {
    TellingHook *self = (TellingHook *)hook;
    tell(self->story, self->letter);
    if (self->then != NULL) {
        turn_hook_arm(self->loop, &self->then->hook);
        self->then = NULL;
    }
    if (self->spawn != NULL) {
        assert_ok(co_spawn(self->loop, self->spawn, self->story, NULL, NULL));
        self->spawn = NULL;
    }
}

static void tell_c(Ctx *ctx, void *story) {
    (void)ctx;
    tell(story, 'c');
}

static void hooks_run_by_rank(void **state) {
    Loop *loop = *state;
    Story story = {0};
    TellingHook write = {{.fn = tell_hook, .rank = TURN_WRITE}, loop, &story, 'w', NULL, NULL};
    TellingHook flush = {{.fn = tell_hook, .rank = TURN_FLUSH}, loop, &story, 'f', NULL, NULL};
    TellingHook batch = {{.fn = tell_hook, .rank = TURN_BATCH}, loop, &story, 'b', NULL, NULL};
    turn_hook_arm(loop, &write.hook);
    turn_hook_arm(loop, &flush.hook);
    turn_hook_arm(loop, &batch.hook);
    turn_hook_arm(loop, &batch.hook); /* once armed, once run */
    loop_run(loop);
    assert_string_equal(story.text, "bfw");
    loop_run(loop);
    assert_string_equal(story.text, "bfw"); /* not armed: not run */
}

static void coroutines_run_before_hooks_and_again_between_them(void **state) {
    Loop *loop = *state;
    Story story = {0};
    TellingHook flush = {{.fn = tell_hook, .rank = TURN_FLUSH}, loop, &story, 'f', NULL, NULL};
    TellingHook batch = {{.fn = tell_hook, .rank = TURN_BATCH}, loop, &story, 'b', NULL, tell_c};
    turn_hook_arm(loop, &flush.hook);
    turn_hook_arm(loop, &batch.hook);
    assert_ok(co_spawn(loop, tell_c, &story, NULL, NULL));
    loop_run(loop);
    assert_string_equal(story.text, "cbcf"); /* what the batch made ready still gets into this flush */
}

static void a_hook_may_arm_a_lower_rank(void **state) {
    Loop *loop = *state;
    Story story = {0};
    TellingHook batch = {{.fn = tell_hook, .rank = TURN_BATCH}, loop, &story, 'b', NULL, NULL};
    TellingHook flush = {{.fn = tell_hook, .rank = TURN_FLUSH}, loop, &story, 'f', &batch, NULL};
    TellingHook write = {{.fn = tell_hook, .rank = TURN_WRITE}, loop, &story, 'w', NULL, NULL};
    turn_hook_arm(loop, &write.hook);
    turn_hook_arm(loop, &flush.hook);
    loop_run(loop);
    assert_string_equal(story.text, "fbw");
}

static void a_disarmed_hook_does_not_run(void **state) {
    Loop *loop = *state;
    Story story = {0};
    TellingHook flush = {{.fn = tell_hook, .rank = TURN_FLUSH}, loop, &story, 'f', NULL, NULL};
    TellingHook batch = {{.fn = tell_hook, .rank = TURN_BATCH}, loop, &story, 'b', NULL, NULL};
    turn_hook_arm(loop, &batch.hook);
    turn_hook_arm(loop, &flush.hook);
    turn_hook_disarm(loop, &flush.hook);
    turn_hook_disarm(loop, &flush.hook);
    loop_run(loop);
    assert_string_equal(story.text, "b");
    turn_hook_arm(loop, &flush.hook);
    loop_run(loop);
    assert_string_equal(story.text, "bf");
}

/* --- running and stopping ---------------------------------------------------------------------------------------- */

static void stop_it(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    loop_stop(loop_current());
}

static void yield_for_ever(Ctx *ctx, void *arg) {
    (void)ctx;
    int *rounds = arg;
    while (co_yield () == ERR_OK)
        (*rounds)++;
}

static void stop_ends_the_turn_though_something_is_ready(void **state) {
    Loop *loop = *state;
    int rounds = 0;
    assert_ok(co_spawn(loop, yield_for_ever, &rounds, NULL, NULL));
    assert_ok(co_spawn(loop, stop_it, NULL, NULL, NULL));
    loop_run(loop);
    assert_int_equal(co_stats(loop).live, 1);
    assert_ok(co_drain(loop, clock_mono_ms() + 10000));
}

static void stop_from_timer(Timer *timer) {
    (void)timer;
    loop_stop(loop_current());
}

/* Busy coroutines, whether they yield or wake each other, do not keep timers and sockets from being served. */
static void yielding_does_not_starve_the_loop(void **state) {
    Loop *loop = *state;
    int rounds = 0;
    Timer timer = {.fn = stop_from_timer};
    assert_ok(timer_arm(loop, &timer, clock_mono_ms() + 5));
    assert_ok(co_spawn(loop, yield_for_ever, &rounds, NULL, NULL));
    loop_run(loop);
    assert_true(rounds > 0);
    assert_ok(co_drain(loop, clock_mono_ms() + 10000));
}

typedef struct Player {
    Wait wait;
    struct Player *other;
} Player;

static void play(Ctx *ctx, void *arg) {
    (void)ctx;
    Player *self = arg;
    while (co_wait(&self->wait, 0) == ERR_OK)
        wait_wake(&self->other->wait, ERR_OK);
}

static void waking_each_other_does_not_starve_the_loop(void **state) {
    Loop *loop = *state;
    Player ping = {0};
    Player pong = {.other = &ping};
    ping.other = &pong;
    Timer timer = {.fn = stop_from_timer};
    assert_ok(timer_arm(loop, &timer, clock_mono_ms() + 5));
    assert_ok(co_spawn(loop, play, &ping, NULL, NULL));
    assert_ok(co_spawn(loop, play, &pong, NULL, NULL));
    wait_wake(&ping.wait, ERR_OK);
    loop_run(loop); /* returns by the timer */
    assert_int_equal(co_stats(loop).live, 2);
    assert_ok(co_drain(loop, clock_mono_ms() + 10000));
}

static void the_loop_is_the_current_one(void **state) {
    assert_ptr_equal(loop_current(), *state);
    assert_non_null(loop_uv(*state));
    assert_null(co_self());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LOOP_TEST(timers_fire_in_order),
        LOOP_TEST(a_timer_may_arm_itself_for_the_past),
        LOOP_TEST(a_timer_does_not_fire_early),
        LOOP_TEST(a_disarmed_timer_does_not_keep_the_loop),
        LOOP_TEST(hooks_run_by_rank),
        LOOP_TEST(coroutines_run_before_hooks_and_again_between_them),
        LOOP_TEST(a_hook_may_arm_a_lower_rank),
        LOOP_TEST(a_disarmed_hook_does_not_run),
        LOOP_TEST(stop_ends_the_turn_though_something_is_ready),
        LOOP_TEST(yielding_does_not_starve_the_loop),
        LOOP_TEST(waking_each_other_does_not_starve_the_loop),
        LOOP_TEST(the_loop_is_the_current_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
