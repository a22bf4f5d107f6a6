/*
 * lookup.c - a lookup that outlives who asked: libuv's thread cannot be stopped, so what it works on is freed by
 * whichever side is the last to let go.
 */
#include "runtime/lookup.h"

#include <uv.h>

#include "base/heap.h"

typedef struct Lookup {
    uv_getaddrinfo_t request;
    Wait *wait; /* NULL: nobody waits any more */
    struct addrinfo *found;
    bool finished;
} Lookup;

static void on_found(uv_getaddrinfo_t *request, int status, struct addrinfo *found) {
    Lookup *lookup = request->data;
    if (lookup->wait == NULL) {
        uv_freeaddrinfo(found);
        heap_free(lookup);
        return;
    }
    lookup->found = found;
    lookup->finished = true;
    wait_wake(lookup->wait, status == 0 ? ERR_OK : ERR_UNAVAILABLE);
}

CO_FN Err lookup_host(const char *host, const char *port, int64_t deadline_ms, struct addrinfo **ret) {
    Lookup *lookup = HEAP_NEW(Lookup);
    Wait wait = {0};
    if (lookup == NULL)
        return ERR_NO_MEMORY;
    lookup->wait = &wait;
    lookup->request.data = lookup;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    if (uv_getaddrinfo(loop_uv(loop_current()), &lookup->request, on_found, host, port, &hints) != 0) {
        heap_free(lookup);
        return ERR_UNAVAILABLE;
    }
    Err err = co_wait(&wait, deadline_ms);
    if (!lookup->finished) {
        lookup->wait = NULL;
        (void)uv_cancel((uv_req_t *)&lookup->request);
        return err;
    }
    if (err == ERR_OK)
        *ret = lookup->found;
    else
        uv_freeaddrinfo(lookup->found);
    heap_free(lookup);
    return err;
}

void lookup_free(struct addrinfo *found) {
    uv_freeaddrinfo(found);
}
