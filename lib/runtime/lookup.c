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
    int status;
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
    lookup->status = status;
    lookup->finished = true;
    wait_wake(lookup->wait, status == 0 ? ERR_OK : ERR_UNAVAILABLE);
}

static Err unknown(int status, const char **ret_why) {
    if (ret_why != NULL)
        *ret_why = uv_strerror(status);
    return ERR_UNAVAILABLE;
}

CO_FN Err lookup_host(const char *host, const char *port, int64_t deadline_ms, struct addrinfo **ret,
                      const char **ret_why) {
    Lookup *lookup = HEAP_NEW(Lookup);
    Wait wait = {0};
    if (lookup == NULL)
        return ERR_NO_MEMORY;
    lookup->wait = &wait;
    lookup->request.data = lookup;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int status = uv_getaddrinfo(loop_uv(loop_current()), &lookup->request, on_found, host, port, &hints);
    if (status != 0) {
        heap_free(lookup);
        return unknown(status, ret_why);
    }
    Err err = co_wait(&wait, deadline_ms);
    if (!lookup->finished) {
        lookup->wait = NULL;
        (void)uv_cancel((uv_req_t *)&lookup->request);
        return err;
    }
    if (lookup->status != 0 && err == ERR_UNAVAILABLE)
        err = unknown(lookup->status, ret_why);
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
