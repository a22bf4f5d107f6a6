/*
 * lookup.h - names to addresses without stopping the loop.
 *
 * getaddrinfo(3) blocks; libuv runs it in a thread of its own and the coroutine waits.
 */
#pragma once
#include <netdb.h>

#include "runtime/co.h"

/** Looks up host (a name or a literal address) and port. *ret is released by lookup_free. ret_why (may be NULL) gets
 *  the resolver's words with ERR_UNAVAILABLE: unknown, or nobody to ask. ERR_TIMEOUT, ERR_CANCELLED, ERR_NO_MEMORY. */
CO_FN Err lookup_host(const char *host, const char *port, int64_t deadline_ms, struct addrinfo **ret,
                      const char **ret_why) MUST_USE;
void lookup_free(struct addrinfo *found);
