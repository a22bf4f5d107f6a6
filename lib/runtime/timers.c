/*
 * timers.c - many timers on one uv_timer: a binary heap of pointers to embedded Timers.
 *
 * uv_timer_t would do, but each is a handle of 152 bytes that must be closed asynchronously before its memory goes; a
 * Timer is 24 bytes inside the thing that waits and can be forgotten at once. The uv_timer is moved once before each
 * poll instead of at each arm, since most deadlines are disarmed in the turn that armed them.
 */
#include "base/clock.h"
#include "base/heap.h"
#include "runtime/loop_impl.h"

#define TIMERS_MAX ((size_t)1 << 22)

static void put(TimerHeap *heap, size_t i, Timer *timer) {
    heap->at[i] = timer;
    timer->heap_index = i;
}

static void sift_up(TimerHeap *heap, size_t i) {
    Timer *timer = heap->at[i];
    for (; i > 1 && timer->at_ms < heap->at[i / 2]->at_ms; i /= 2)
        put(heap, i, heap->at[i / 2]);
    put(heap, i, timer);
}

static void sift_down(TimerHeap *heap, size_t i) {
    Timer *timer = heap->at[i];
    for (;;) {
        size_t child = 2 * i;
        if (child > heap->n)
            break;
        if (child < heap->n && heap->at[child + 1]->at_ms < heap->at[child]->at_ms)
            child++;
        if (timer->at_ms <= heap->at[child]->at_ms)
            break;
        put(heap, i, heap->at[child]);
        i = child;
    }
    put(heap, i, timer);
}

static Err grow(TimerHeap *heap) {
    size_t capacity = heap->capacity == 0 ? 64 : heap->capacity * 2;
    if (capacity > TIMERS_MAX)
        return ERR_NO_MEMORY;
    Timer **at = heap_realloc(heap->at, heap->capacity * sizeof(Timer *), capacity * sizeof(Timer *));
    if (at == NULL)
        return ERR_NO_MEMORY;
    heap->at = at;
    heap->capacity = capacity;
    return ERR_OK;
}

Err timer_arm(Loop *loop, Timer *timer, int64_t at_ms) {
    TimerHeap *heap = &loop->timers;
    if (timer->heap_index == 0) {
        if (heap->n + 1 >= heap->capacity)
            TRY(grow(heap));
        timer->at_ms = at_ms;
        put(heap, ++heap->n, timer);
        sift_up(heap, heap->n);
        return ERR_OK;
    }
    ASSERT(timer->heap_index <= heap->n && heap->at[timer->heap_index] == timer);
    timer->at_ms = at_ms;
    sift_up(heap, timer->heap_index);
    sift_down(heap, timer->heap_index);
    return ERR_OK;
}

void timer_disarm(Loop *loop, Timer *timer) {
    TimerHeap *heap = &loop->timers;
    size_t i = timer->heap_index;
    if (i == 0)
        return;
    ASSERT(i <= heap->n && heap->at[i] == timer);
    timer->heap_index = 0;
    Timer *last = heap->at[heap->n--];
    if (last == timer)
        return;
    put(heap, i, last);
    sift_up(heap, i);
    sift_down(heap, last->heap_index);
}

void timers_run(Loop *loop) {
    loop->now_ms = clock_mono_ms();
    /* At most as many as are armed now: a timer that arms itself for the past must not keep the loop here for ever. */
    for (size_t budget = loop->timers.n; budget > 0 && loop->timers.n > 0; budget--) {
        Timer *timer = loop->timers.at[1];
        if (timer->at_ms > loop->now_ms)
            break;
        timer_disarm(loop, timer);
        timer->fn(timer);
    }
}

static void timer_fired(uv_timer_t *handle) {
    Loop *loop = handle->data;
    loop->timer_at_ms = 0;
    timers_run(loop);
}

void timers_aim(Loop *loop) {
    if (loop->timers.n == 0) {
        if (loop->timer_at_ms != 0)
            uv_timer_stop(&loop->timer);
        loop->timer_at_ms = 0;
        return;
    }
    int64_t at_ms = loop->timers.at[1]->at_ms;
    if (at_ms == loop->timer_at_ms)
        return;
    uv_update_time(&loop->uv);
    int64_t wait_ms = at_ms - clock_mono_ms();
    uv_timer_start(&loop->timer, timer_fired, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
    loop->timer_at_ms = at_ms;
}

void timers_free(Loop *loop) {
    heap_free(loop->timers.at);
    loop->timers = (TimerHeap){0};
}
