/* Coroutines and memory: arenas, pools, limits, refused allocations, overflow of a stack. */
#include "runtime_test.h"

#include <sys/resource.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/heap.h"

/* --- arenas ------------------------------------------------------------------------------------------------------ */

static int resets;

static void note_reset(void *data) {
    (void)data;
    assert_null(co_self());
    resets++;
}

typedef struct ArenaUser {
    size_t used_at_start, limit;
    bool refused;
} ArenaUser;

static void use_arena(Ctx *ctx, void *arg) {
    ArenaUser *self = arg;
    self->used_at_start = arena_used(ctx->arena);
    self->limit = arena_limit(ctx->arena);
    assert_true(arena_on_reset(ctx->arena, note_reset, NULL));
    assert_non_null(arena_alloc(ctx->arena, 1000));
    self->refused = arena_alloc(ctx->arena, self->limit) == NULL;
}

static void an_arena_is_empty_again_for_the_next(void **state) {
    Loop *loop = *state;
    resets = 0;
    for (int i = 0; i < 3; i++) {
        ArenaUser user = {.used_at_start = 1};
        assert_ok(co_spawn(loop, use_arena, &user, NULL, NULL));
        loop_run(loop);
        assert_int_equal(user.used_at_start, 0);
        assert_int_equal(user.limit, CO_ARENA_DEFAULT);
        assert_true(user.refused);
        assert_int_equal(resets, i + 1);
        assert_int_equal(co_stats(loop).pooled, 1); /* the same one each time */
    }
}

static void an_arena_of_another_limit(void **state) {
    Loop *loop = *state;
    static const size_t limits[] = {16384, 0, 65536, 65536, 0};
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        ArenaUser user = {0};
        assert_ok(co_spawn(loop, use_arena, &user, &(CoOptions){.arena_limit_bytes = limits[i]}, NULL));
        loop_run(loop);
        assert_int_equal(user.limit, limits[i] == 0 ? CO_ARENA_DEFAULT : limits[i]);
    }
}

/* --- traces ------------------------------------------------------------------------------------------------------ */

static void keep_trace(Ctx *ctx, void *arg) {
    Trace *seen = arg;
    assert_ok(co_yield ());
    *seen = ctx->trace;
    seen->state = (Str){NULL, 0};
    assert_string_equal(ctx->trace.state.p, "vendor=1");
}

static void a_trace_is_copied_with_what_it_points_at(void **state) {
    Loop *loop = *state;
    char text[] = "vendor=1";
    Trace trace;
    trace_new(&trace);
    trace.state = str_c(text);
    Trace seen = {0};
    assert_ok(co_spawn(loop, keep_trace, &seen, &(CoOptions){.trace = &trace}, NULL));
    memset(text, 'x', sizeof text - 1); /* whoever gave it is gone */
    loop_run(loop);
    assert_memory_equal(seen.trace_id, trace.trace_id, sizeof trace.trace_id);
    assert_memory_equal(seen.span_id, trace.span_id, sizeof trace.span_id);
}

/* --- limits and refusals ------------------------------------------------------------------------------------------ */

static void do_nothing(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
}

static void one_too_many_is_refused(void **state) {
    Loop *loop = *state;
    co_set_limit(loop, 3);
    for (int i = 0; i < 3; i++)
        assert_ok(co_spawn(loop, do_nothing, NULL, NULL, NULL));
    assert_err(co_spawn(loop, do_nothing, NULL, NULL, NULL), ERR_LIMIT);
    loop_run(loop);
    assert_ok(co_spawn(loop, do_nothing, NULL, NULL, NULL));
    loop_run(loop);
}

/* A burst leaves a bounded pool behind, and what comes out of its cold part still works. */
static void a_burst_leaves_a_bounded_pool(void **state) {
    Loop *loop = *state;
    enum { BURST = 5000 };
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < BURST; i++)
            assert_ok(co_spawn(loop, do_nothing, NULL, NULL, NULL));
        loop_run(loop);
        assert_true(co_stats(loop).pooled > 0);
        assert_true(co_stats(loop).pooled < BURST);
    }
}

static void sleep_shortly(Ctx *ctx, void *arg) {
    (void)ctx;
    Err err = co_sleep(1);
    *(Err *)arg = err;
}

static void wait_for_pipe(Ctx *ctx, void *arg) {
    (void)ctx;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    Err err = co_wait_fd(fds[0], CO_READABLE, clock_mono_ms() + 1);
    *(Err *)arg = err == ERR_TIMEOUT ? ERR_OK : err;
    close(fds[0]);
    close(fds[1]);
}

/* The 1st, 2nd, 3rd … allocation fails: each time it is an error like any other, and the next try works. */
static void every_refused_allocation_is_an_error(void **state) {
    (void)state;
    static void (*const bodies[])(Ctx *, void *) = {do_nothing, sleep_shortly, wait_for_pipe};
    for (size_t b = 0; b < ARRAY_LEN(bodies); b++) {
        size_t refusals = 0;
        for (uint64_t n = 1;; n++) {
            Loop *loop = NULL;
            Err result = ERR_OK;
            heap_fail_nth(n);
            Err err = loop_new(&loop);
            if (err == ERR_OK) {
                err = co_spawn(loop, bodies[b], &result, NULL, NULL);
                loop_run(loop);
            }
            bool reached = heap_allocations() >= n;
            heap_fail_nth(0);
            refusals += err != ERR_OK || result != ERR_OK;
            assert_true(err == ERR_OK || err == ERR_NO_MEMORY);
            assert_true(result == ERR_OK || result == ERR_NO_MEMORY);
            if (loop != NULL) {
                assert_int_equal(co_stats(loop).live, 0);
                assert_ok(co_spawn(loop, bodies[b], &result, NULL, NULL));
                loop_run(loop);
                assert_ok(result);
                loop_free(loop);
            }
            if (!reached)
                break;
        }
        assert_true(refusals >= 3); /* loop, coroutine, arena at least */
    }
}

/* --- stacks ------------------------------------------------------------------------------------------------------ */

/* The compiler is told that somebody else looks at the frame, or it would shrink it and make a loop of the
 * recursion. */
static __attribute__((noinline)) int use_stack(int bytes) {
    char frame[1024];
    memset(frame, 1, sizeof frame);
    __asm__ volatile("" : : "r"(frame) : "memory");
    int below = bytes > 1024 ? use_stack(bytes - 1024) : 0;
    __asm__ volatile("" : : "r"(frame) : "memory");
    return below + frame[0];
}

static void go_deep(Ctx *ctx, void *arg) {
    (void)ctx;
    volatile int sum = use_stack(*(int *)arg);
    (void)sum;
}

static void the_watermark_tells_the_deepest_use(void **state) {
    (void)state;
    assert_int_equal(setenv("USHER_STACK_WATERMARK", "1", 1), 0);
    Loop *loop = NULL;
    assert_ok(loop_new(&loop));
    size_t before = 0;
    for (int bytes = 1024; bytes <= 20 * 1024; bytes += 4 * 1024) {
        assert_ok(co_spawn(loop, go_deep, &bytes, NULL, NULL));
        loop_run(loop);
        size_t now = co_stats(loop).watermark_bytes;
        assert_true(now >= (size_t)bytes && now > before);
        assert_true(now < (size_t)4 * CO_STACK_BYTES);
        before = now;
    }
    loop_free(loop);
    assert_int_equal(unsetenv("USHER_STACK_WATERMARK"), 0);
}

static void without_the_variable_there_is_no_watermark(void **state) {
    Loop *loop = *state;
    assert_ok(co_spawn(loop, go_deep, &(int){4096}, NULL, NULL));
    loop_run(loop);
    assert_int_equal(co_stats(loop).watermark_bytes, 0);
}

static NORETURN void overflow_in_child(int report_fd) {
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGSEGV, SIG_DFL); /* cmocka has its own */
    dup2(report_fd, STDERR_FILENO);
    Loop *loop = NULL;
    if (loop_new(&loop) != ERR_OK)
        _exit(100);
    int bytes = 1 << 30;
    if (co_spawn(loop, go_deep, &bytes, &(CoOptions){.name = "glutton"}, NULL) != ERR_OK)
        _exit(101);
    loop_run(loop);
    _exit(0);
}

static void an_overflow_dies_on_the_guard_and_says_who(void **state) {
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        overflow_in_child(fds[1]);
    close(fds[1]);
    static char text[65536];
    size_t n = 0;
    ssize_t got;
    while ((got = read(fds[0], text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    close(fds[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_non_null(strstr(text, "coroutine \"glutton\" overflowed its stack"));
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LOOP_TEST(an_arena_is_empty_again_for_the_next),
        LOOP_TEST(an_arena_of_another_limit),
        LOOP_TEST(a_trace_is_copied_with_what_it_points_at),
        LOOP_TEST(one_too_many_is_refused),
        LOOP_TEST(a_burst_leaves_a_bounded_pool),
        cmocka_unit_test(every_refused_allocation_is_an_error),
        cmocka_unit_test(the_watermark_tells_the_deepest_use),
        LOOP_TEST(without_the_variable_there_is_no_watermark),
        cmocka_unit_test(an_overflow_dies_on_the_guard_and_says_who),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
