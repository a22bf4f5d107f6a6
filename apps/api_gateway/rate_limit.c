/*
 * rate_limit.c - a table of 64-bit keys and times, without a lock.
 *
 * A key's place is one of four slots; a stranger's quiet slot is taken over. Two processes that do so at once may let
 * one request too many pass: that is cheaper than a lock on every request's path.
 */
#include "api_gateway/rate_limit.h"

#include <stdatomic.h>
#include <sys/mman.h>

enum { WAYS = 4 };

typedef struct Slot {
    _Atomic uint64_t key;
    _Atomic int64_t in_step_ns; /* theoretical arrival time */
} Slot;

struct RateTable {
    size_t sets, bytes;
    uint64_t seed;
    Slot slots[];
};

RateTable *rate_table_new(size_t slots) {
    size_t sets = 1;
    while (sets * WAYS < slots)
        sets *= 2;
    size_t bytes = sizeof(RateTable) + sets * WAYS * sizeof(Slot);
    RateTable *table = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (table == MAP_FAILED)
        return NULL;
    table->sets = sets;
    table->bytes = bytes;
    return table;
}

void rate_table_free(RateTable *table) {
    if (table != NULL)
        (void)munmap(table, table->bytes);
}

/* The same in all processes, which str_hash need not be; FNV-1a is enough, because a stranger can only collide with
 * addresses that he has. */
static uint64_t key_of(const RateRule *rule, Str key) {
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < rule->name.n; i++)
        hash = (hash ^ (uint8_t)rule->name.p[i]) * 0x100000001b3;
    hash = (hash ^ 0xff) * 0x100000001b3;
    for (size_t i = 0; i < key.n; i++)
        hash = (hash ^ (uint8_t)key.p[i]) * 0x100000001b3;
    hash ^= hash >> 32;
    return hash == 0 ? 1 : hash;
}

static Slot *slot_of(RateTable *table, uint64_t key) {
    Slot *set = &table->slots[(key & (table->sets - 1)) * WAYS], *quiet = set;
    for (int i = 0; i < WAYS; i++) {
        if (atomic_load_explicit(&set[i].key, memory_order_relaxed) == key)
            return &set[i];
        if (atomic_load_explicit(&set[i].in_step_ns, memory_order_relaxed) <
            atomic_load_explicit(&quiet->in_step_ns, memory_order_relaxed))
            quiet = &set[i];
    }
    atomic_store_explicit(&quiet->in_step_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&quiet->key, key, memory_order_relaxed);
    return quiet;
}

static int64_t seconds_up(int64_t ns) {
    return ns <= 0 ? 0 : (ns + 999999999) / 1000000000;
}

RateAnswer rate_take(RateTable *table, const RateRule *rule, Str key, int64_t now_ns) {
    Slot *slot = slot_of(table, key_of(rule, key));
    int64_t window_ns = rule->per_ms * 1000000, step_ns = MAX_OF(window_ns / rule->requests, 1);
    int64_t in_step_ns = atomic_load_explicit(&slot->in_step_ns, memory_order_relaxed), next_ns;
    do {
        next_ns = MAX_OF(in_step_ns, now_ns) + step_ns;
        if (next_ns - now_ns > step_ns * rule->requests)
            return (RateAnswer){.refused = true, .reset_s = seconds_up(next_ns - step_ns * rule->requests - now_ns)};
    } while (!atomic_compare_exchange_weak_explicit(&slot->in_step_ns, &in_step_ns, next_ns, memory_order_relaxed,
                                                    memory_order_relaxed));
    int64_t ahead_ns = next_ns - now_ns;
    return (RateAnswer){.remaining = rule->requests - (ahead_ns + step_ns - 1) / step_ns,
                        .reset_s = seconds_up(ahead_ns)};
}

void rate_headers(const RateRule *rule, const RateAnswer *answer, Buf *out) {
    buf_printf(out, "RateLimit-Policy: \"%.*s\";q=%lld;w=%lld\r\n", STR_ARG(rule->name), (long long)rule->requests,
               (long long)seconds_up(rule->per_ms * 1000000));
    buf_printf(out, "RateLimit: \"%.*s\";r=%lld;t=%lld\r\n", STR_ARG(rule->name), (long long)answer->remaining,
               (long long)answer->reset_s);
    if (answer->refused)
        buf_printf(out, "Retry-After: %lld\r\n", (long long)MAX_OF(answer->reset_s, 1));
}
