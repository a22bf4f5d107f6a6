/*
 * bench_co.c - what a switch and a coroutine cost. Not a test: lib/runtime/README.md says how to run it and what it
 * gave.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "runtime/co.h"

/* A ring: each waits for its predecessor and wakes its successor. One step is a wake, a suspension and a resumption:
 * two jumps. */
typedef struct Link {
    Wait wait;
    struct Link *next;
} Link;

static long steps_left;

static void pass_on(Ctx *ctx, void *arg) {
    (void)ctx;
    Link *self = arg;
    while (co_wait(&self->wait, 0) == ERR_OK && steps_left > 0) {
        steps_left--;
        wait_wake(&self->next->wait, ERR_OK);
    }
}

static void do_nothing(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
}

/* Of this process: what else the machine does is not counted. */
static int64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

static void need(Err err) {
    if (err != ERR_OK) {
        fprintf(stderr, "%s\n", err_name(err));
        exit(1);
    }
}

static double ring(Loop *loop, size_t n, size_t tokens, long steps) {
    Link *links = calloc(n, sizeof(Link));
    for (size_t i = 0; i < n; i++) {
        links[i].next = &links[(i + 1) % n];
        need(co_spawn(loop, pass_on, &links[i], NULL, NULL));
    }
    steps_left = 0;
    loop_run(loop); /* all wait */
    steps_left = steps;
    for (size_t i = 0; i < tokens; i++)
        wait_wake(&links[i * (n / tokens)].wait, ERR_OK);
    int64_t begin = cpu_ns();
    loop_run(loop);
    double ns = (double)(cpu_ns() - begin) / (double)steps;
    need(co_drain(loop, clock_mono_ms() + 60000));
    free(links);
    return ns;
}

static double create(Loop *loop, int rounds, int batch) {
    int64_t begin = cpu_ns();
    for (int i = 0; i < rounds; i++) {
        for (int j = 0; j < batch; j++)
            need(co_spawn(loop, do_nothing, NULL, NULL, NULL));
        loop_run(loop);
    }
    return (double)(cpu_ns() - begin) / ((double)rounds * batch);
}

int main(void) {
    Loop *loop;
    need(loop_new(&loop));
    (void)create(loop, 10, 100);
    (void)ring(loop, 100, 100, 100000);
    printf("wait + wake, 64 hot coroutines:      %6.1f ns\n", ring(loop, 64, 64, 20000000));
    printf("wait + wake, round 10,000:           %6.1f ns\n", ring(loop, 10000, 10000, 20000000));
    printf("spawn + run + end, pooled, by 100:   %6.1f ns\n", create(loop, 20000, 100));
    int64_t begin = cpu_ns();
    (void)create(loop, 1, 30000);
    printf("spawn + run + end, 30,000 at once:   %6.1f ns\n", (double)(cpu_ns() - begin) / 30000);
    loop_free(loop);
    return 0;
}
