/*
 * rate_limit.h - so many requests in so long a time, for each client and rule.
 *
 * The generic cell rate algorithm: one time per key says when the next request would be in step. Keys of all workers
 * stand in one table of shared memory, of fixed size; where it is full, the key that has been quiet for longest makes
 * room. (State in memory on purpose: a limit that must ask a database cannot protect it.)
 */
#pragma once
#include "base/buf.h"

typedef struct RateRule {
    int64_t requests; /* 0: no limit */
    int64_t per_ms;
    Str name; /* in RateLimit-Policy */
} RateRule;

typedef struct RateTable RateTable;
/** Shared by all processes forked later. slots: rounded up to a power of two. NULL: refused. */
RateTable *rate_table_new(size_t slots);
void rate_table_free(RateTable *table);

typedef struct RateAnswer {
    bool refused;
    int64_t remaining; /* requests that are left now */
    int64_t reset_s;   /* seconds until all of them are back, or (refused) until one is */
} RateAnswer;
/** Takes one request of key's share at now_ns (clock_mono_ns). */
RateAnswer rate_take(RateTable *table, const RateRule *rule, Str key, int64_t now_ns);
/** RateLimit-Policy, RateLimit (draft-ietf-httpapi-ratelimit-headers-10), and Retry-After when refused, as lines. */
void rate_headers(const RateRule *rule, const RateAnswer *answer, Buf *out);
