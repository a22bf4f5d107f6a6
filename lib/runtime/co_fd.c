/*
 * co_fd.c - waiting for a file descriptor.
 *
 * libuv allows one uv_poll_t per descriptor, while one coroutine may read what another writes: a watch is shared by all
 * that wait for the same descriptor and polls for the union of what they want. It lives only as long as somebody waits,
 * because the owner of the descriptor may close it afterwards without telling us. Closed handles are used again.
 */
#include "base/heap.h"
#include "runtime/loop_impl.h"

#define FD_WATCHES_IDLE_MAX 64

typedef struct FdWaiter {
    Wait wait;
    int events;
    struct FdWaiter *next;
} FdWaiter;

struct FdWatch {
    uv_poll_t poll;
    Loop *loop;
    int fd;
    FdWaiter *waiters;
    FdWatch *next; /* in a bucket, or in the list of free ones */
};

static FdWatch **bucket_of(Loop *loop, int fd) {
    return &loop->watches[(unsigned)fd % FD_BUCKETS];
}

static void on_closed(uv_handle_t *handle) {
    FdWatch *watch = handle->data;
    Loop *loop = watch->loop;
    if (loop->n_watches_free == FD_WATCHES_IDLE_MAX) {
        heap_free(watch);
        return;
    }
    watch->next = loop->watches_free;
    loop->watches_free = watch;
    loop->n_watches_free++;
}

static void on_event(uv_poll_t *handle, int status, int events) {
    FdWatch *watch = handle->data;
    for (FdWaiter *waiter = watch->waiters; waiter != NULL; waiter = waiter->next) {
        bool wanted = ((waiter->events & CO_READABLE) != 0 && (events & UV_READABLE) != 0) ||
                      ((waiter->events & CO_WRITABLE) != 0 && (events & UV_WRITABLE) != 0);
        /* An error counts as ready, as poll(2) has it: the waiter's own call then gets the exact errno. */
        if (wanted || status < 0)
            wait_wake(&waiter->wait, ERR_OK);
    }
}

static int aim(FdWatch *watch) {
    int events = 0;
    for (const FdWaiter *waiter = watch->waiters; waiter != NULL; waiter = waiter->next)
        events |= ((waiter->events & CO_READABLE) != 0 ? UV_READABLE : 0) |
                  ((waiter->events & CO_WRITABLE) != 0 ? UV_WRITABLE : 0);
    return uv_poll_start(&watch->poll, events, on_event);
}

static Err watch_open(Loop *loop, int fd, FdWatch **ret) {
    for (FdWatch *watch = *bucket_of(loop, fd); watch != NULL; watch = watch->next)
        if (watch->fd == fd) {
            *ret = watch;
            return ERR_OK;
        }
    FdWatch *watch = loop->watches_free;
    if (watch != NULL) {
        loop->watches_free = watch->next;
        loop->n_watches_free--;
    } else if ((watch = HEAP_NEW(FdWatch)) == NULL) {
        return ERR_NO_MEMORY;
    }
    int failed = uv_poll_init(&loop->uv, &watch->poll, fd);
    if (failed != 0) {
        heap_free(watch);
        return failed == UV_ENOMEM ? ERR_NO_MEMORY : ERR_IO;
    }
    watch->poll.data = watch;
    watch->loop = loop;
    watch->fd = fd;
    watch->waiters = NULL;
    watch->next = *bucket_of(loop, fd);
    *bucket_of(loop, fd) = watch;
    *ret = watch;
    return ERR_OK;
}

static void watch_close(FdWatch *watch) {
    FdWatch **at = bucket_of(watch->loop, watch->fd);
    while (*at != watch)
        at = &(*at)->next;
    *at = watch->next;
    uv_close((uv_handle_t *)&watch->poll, on_closed); /* stops polling at once; only the memory comes back later */
}

CO_FN Err co_wait_fd(int fd, int events, int64_t deadline_ms) {
    Co *co = co_self();
    ASSERT(co != NULL && fd >= 0 && (events & (CO_READABLE | CO_WRITABLE)) != 0);
    FdWatch *watch = NULL;
    TRY(watch_open(co->loop, fd, &watch));
    FdWaiter self = {.events = events, .next = watch->waiters};
    watch->waiters = &self;
    Err err = aim(watch) == 0 ? co_wait(&self.wait, deadline_ms) : ERR_IO;

    FdWaiter **at = &watch->waiters;
    while (*at != &self)
        at = &(*at)->next;
    *at = self.next;
    if (watch->waiters == NULL)
        watch_close(watch);
    else
        (void)aim(watch); /* narrower than before: cannot fail */
    return err;
}

void co_fd_free_all(Loop *loop) {
    while (loop->watches_free != NULL) {
        FdWatch *watch = loop->watches_free;
        loop->watches_free = watch->next;
        heap_free(watch);
    }
    loop->n_watches_free = 0;
}
