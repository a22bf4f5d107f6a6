/*
 * loop.c - turns over libuv.
 *
 * libuv's iteration is: timers, idle, prepare, poll, check, closing. A turn runs in check, for what the poll brought,
 * and once more in prepare, for what timers and closing handles made ready, so that nothing ready ever waits through a
 * blocking poll. The idle handle is active only when a turn had to leave something over; its only effect is that the
 * poll returns at once.
 *
 * docs/adr/0003-event-loop-libuv.md says why libuv and not epoll by hand.
 */
#include "base/clock.h"
#include "base/heap.h"
#include "runtime/loop_impl.h"

/* Two coroutines that wake each other for ever must not keep the loop from its sockets. */
#define TURN_ROUNDS_MAX 256

static _Thread_local Loop *current;

void co_queue_add(CoQueue *queue, Co *co) {
    co->next = NULL;
    if (queue->last == NULL)
        queue->first = co;
    else
        queue->last->next = co;
    queue->last = co;
    queue->n++;
}

Co *co_queue_take(CoQueue *queue) {
    Co *co = queue->first;
    if (co == NULL)
        return NULL;
    queue->first = co->next;
    if (queue->first == NULL)
        queue->last = NULL;
    queue->n--;
    co->next = NULL;
    return co;
}

/* --- turns ------------------------------------------------------------------------------------------------------- */

void turn_hook_arm(Loop *loop, TurnHook *hook) {
    if (hook->armed)
        return;
    hook->armed = true;
    TurnHook **at = &loop->hooks;
    while (*at != NULL && (*at)->rank <= hook->rank)
        at = &(*at)->next;
    hook->next = *at;
    *at = hook;
}

void turn_hook_disarm(Loop *loop, TurnHook *hook) {
    if (!hook->armed)
        return;
    TurnHook **at = &loop->hooks;
    while (*at != hook)
        at = &(*at)->next;
    *at = hook->next;
    hook->next = NULL;
    hook->armed = false;
}

static void run_first_hook(Loop *loop) {
    TurnHook *hook = loop->hooks;
    loop->hooks = hook->next;
    hook->next = NULL;
    hook->armed = false;
    hook->fn(hook);
}

static void run_hooks_once(Loop *loop) {
    size_t n = 0;
    for (TurnHook *hook = loop->hooks; hook != NULL; hook = hook->next)
        n++;
    while (n-- > 0 && loop->hooks != NULL)
        run_first_hook(loop);
}

static bool something_ready(const Loop *loop) {
    return loop->ready.n > 0 || loop->yielded.n > 0 || loop->hooks != NULL;
}

static void turn(Loop *loop) {
    loop->now_ms = clock_mono_ms();
    for (Co *co = co_queue_take(&loop->yielded); co != NULL; co = co_queue_take(&loop->yielded))
        co_queue_add(&loop->ready, co);
    for (int round = 0; round < TURN_ROUNDS_MAX; round++) {
        if (loop->ready.n > 0)
            co_run_ready(loop);
        else if (loop->hooks != NULL)
            run_first_hook(loop); /* one at a time: what it makes ready runs before the next rank */
        else
            return;
    }
    run_hooks_once(loop);
}

static void on_idle(uv_idle_t *handle) {
    (void)handle; /* its being active is all that counts */
}

static void on_prepare(uv_prepare_t *handle) {
    Loop *loop = handle->data;
    turn(loop);
    timers_aim(loop);
    if (something_ready(loop))
        uv_idle_start(&loop->idle, on_idle);
    else
        uv_idle_stop(&loop->idle);
}

static void on_check(uv_check_t *handle) {
    turn(handle->data);
}

/* --- life -------------------------------------------------------------------------------------------------------- */

Err loop_new(Loop **ret) {
    ASSERT(current == NULL); /* one loop per process */
    Loop *loop = HEAP_NEW(Loop);
    if (loop == NULL)
        return ERR_NO_MEMORY;
    int failed = uv_loop_init(&loop->uv);
    if (failed != 0) {
        heap_free(loop);
        return failed == UV_ENOMEM ? ERR_NO_MEMORY : ERR_IO;
    }
    loop->uv.data = loop;
    uv_prepare_init(&loop->uv, &loop->prepare);
    uv_check_init(&loop->uv, &loop->check);
    uv_idle_init(&loop->uv, &loop->idle);
    uv_timer_init(&loop->uv, &loop->timer);
    loop->prepare.data = loop->check.data = loop->idle.data = loop->timer.data = loop;
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_check_start(&loop->check, on_check);
    uv_unref((uv_handle_t *)&loop->prepare);
    uv_unref((uv_handle_t *)&loop->check);
    loop->now_ms = clock_mono_ms();
    co_init(loop);
    overflow_install();
    current = loop;
    *ret = loop;
    return ERR_OK;
}

void loop_run(Loop *loop) {
    ASSERT(!loop->running && loop->self == NULL);
    loop->running = true;
    while (!loop->stopping) {
        on_prepare(&loop->prepare); /* before uv_run, which returns at once when no handle is active */
        if (loop->stopping)
            break;
        uv_run(&loop->uv, UV_RUN_DEFAULT);
        if (!something_ready(loop) && !uv_loop_alive(&loop->uv))
            break;
    }
    loop->running = false;
    loop->stopping = false;
}

void loop_stop(Loop *loop) {
    loop->stopping = true;
    uv_stop(&loop->uv);
}

static void close_handle(uv_handle_t *handle, void *data) {
    (void)data;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void loop_free(Loop *loop) {
    if (loop == NULL)
        return;
    ASSERT(!loop->running && loop->n_live == 0);
    uv_walk(&loop->uv, close_handle, NULL);
    while (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0)
        ;
    ASSERT(uv_loop_close(&loop->uv) == 0);
    co_fd_free_all(loop);
    co_free_all(loop);
    timers_free(loop);
    current = NULL;
    heap_free(loop);
}

uv_loop_t *loop_uv(Loop *loop) {
    return &loop->uv;
}

Loop *loop_current(void) {
    return current;
}

int64_t loop_now_ms(Loop *loop) {
    return loop->now_ms;
}
