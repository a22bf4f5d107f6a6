/*
 * clock.c - the wall clock that tests can stop, and randomness that tests can repeat.
 *
 * Random bytes come from getrandom in batches, since one system call per identifier costs more than the identifier. A
 * batch is forgotten at fork: two workers must never hand out the same bytes.
 */
#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

static struct {
    bool frozen;
    bool started; /* the environment was read */
    Instant at;
    int64_t skew_ticks;
} wall;

#define TICKS_PER_MS (TICKS_PER_SECOND / 1000)
/* About 290 years: far past any test, and the sum below cannot overflow. */
#define SKEW_MS_MAX 9000000000000LL

static int64_t clock_ns(clockid_t which) {
    struct timespec t;
    ASSERT(clock_gettime(which, &t) == 0);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void skew_from_environment(void) {
    wall.started = true;
    Str text = str_c(getenv("USHER_CLOCK_SKEW_MS"));
    if (text.n == 0)
        return;
    bool back = text.p[0] == '-';
    uint64_t ms = 0;
    bool skew_is_milliseconds = str_to_u64(str_slice(text, back, text.n), SKEW_MS_MAX, &ms) == ERR_OK;
    ASSERT(skew_is_milliseconds); /* USHER_CLOCK_SKEW_MS: a fault test set it wrong and would test nothing */
    wall.skew_ticks = (back ? -(int64_t)ms : (int64_t)ms) * TICKS_PER_MS;
}

Instant clock_now(void) {
    if (wall.frozen)
        return wall.at;
    if (!wall.started)
        skew_from_environment();
    int64_t ticks = TICKS_UNIX_EPOCH + clock_ns(CLOCK_REALTIME) / 100 + wall.skew_ticks;
    return (Instant){.ticks = MIN_OF(MAX_OF(ticks, 0), TICKS_MAX)};
}

int64_t clock_mono_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}

void clock_sleep_ms(int64_t ms) {
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
}

int64_t clock_mono_ms(void) {
    return clock_mono_ns() / 1000000;
}

void clock_freeze(Instant t) {
    wall.frozen = true;
    wall.at = t;
}

void clock_thaw(void) {
    wall.frozen = false;
}

void clock_skew_ms(int64_t delta_ms) {
    ASSERT(delta_ms >= -SKEW_MS_MAX && delta_ms <= SKEW_MS_MAX);
    wall.started = true;
    wall.skew_ticks = delta_ms * TICKS_PER_MS;
}

/* ---- randomness ---- */

#define BATCH 1024

static struct {
    uint8_t bytes[BATCH];
    size_t left; /* unused ones, at the end of bytes */
    bool fork_safe;
    bool seeded;
    uint64_t state; /* of the seeded stream */
} pool;

static void pool_forget(void) {
    memset(pool.bytes, 0, sizeof pool.bytes);
    pool.left = 0;
}

/* The kernel blocks only before its first seeding at boot. */
static void kernel_bytes(uint8_t *out, size_t n) {
    while (n > 0) {
        ssize_t got = getrandom(out, n, 0);
        if (got < 0) {
            ASSERT(errno == EINTR);
            continue;
        }
        out += got;
        n -= (size_t)got;
    }
}

static void pool_fill(void) {
    if (!pool.fork_safe) {
        ASSERT(pthread_atfork(NULL, NULL, pool_forget) == 0);
        pool.fork_safe = true;
    }
    kernel_bytes(pool.bytes, BATCH);
    pool.left = BATCH;
}

/* SplitMix64 (Steele, Lea, Flood): every seed gives a full-period stream. Tests only. */
static uint64_t seeded_u64(void) {
    uint64_t z = pool.state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static void seeded_bytes(uint8_t *out, size_t n) {
    while (n > 0) {
        uint64_t word = seeded_u64();
        size_t part = MIN_OF(n, sizeof word);
        memcpy(out, &word, part);
        out += part;
        n -= part;
    }
}

void random_bytes(void *out, size_t n) {
    if (pool.seeded) {
        seeded_bytes(out, n);
        return;
    }
    if (n > BATCH / 4) {
        kernel_bytes(out, n);
        return;
    }
    if (pool.left < n)
        pool_fill();
    uint8_t *from = pool.bytes + (BATCH - pool.left);
    memcpy(out, from, n);
    memset(from, 0, n); /* what was handed out cannot be read back from here */
    pool.left -= n;
}

uint64_t random_u64(void) {
    uint64_t value;
    random_bytes(&value, sizeof value);
    return value;
}

/* Multiply-shift with rejection (Lemire 2019): no bias, a division only in the rare case. */
uint64_t random_below(uint64_t bound) {
    ASSERT(bound > 0);
    __extension__ typedef unsigned __int128 U128;
    U128 product = (U128)random_u64() * bound;
    if ((uint64_t)product < bound) {
        uint64_t least = (0 - bound) % bound;
        while ((uint64_t)product < least)
            product = (U128)random_u64() * bound;
    }
    return (uint64_t)(product >> 64);
}

void random_seed(uint64_t seed) {
    pool.seeded = true;
    pool.state = seed;
}

/* ---- identifiers ---- */

static void id_stamp(Id *id, uint8_t version) {
    id->bytes[6] = (uint8_t)(version << 4 | (id->bytes[6] & 0x0f));
    id->bytes[8] = (uint8_t)(0x80 | (id->bytes[8] & 0x3f));
}

Id id_random(void) {
    Id id;
    random_bytes(id.bytes, sizeof id.bytes);
    id_stamp(&id, 4);
    return id;
}

/*
 * RFC 9562 §6.2, method 3: the 12 bits behind the milliseconds are a finer part of the time, and a count where the
 * clock does not move. When it jumps back far (an operator, a test) the new time wins over order.
 */
Id id_time_ordered(void) {
    static uint64_t last; /* ms << 12 | 1/4096 ms */
    int64_t since = MAX_OF(clock_now().ticks - TICKS_UNIX_EPOCH, 0);
    uint64_t ms = (uint64_t)(since / TICKS_PER_MS), part = (uint64_t)(since % TICKS_PER_MS) * 4096 / TICKS_PER_MS;
    uint64_t stamp = ms << 12 | part;
    const uint64_t far = (uint64_t)10000 << 12;
    if (stamp <= last && last - stamp < far)
        stamp = last + 1;
    last = stamp;

    Id id;
    random_bytes(id.bytes, sizeof id.bytes);
    uint64_t head = __builtin_bswap64((stamp >> 12) << 16 | (stamp & 0xfff));
    memcpy(id.bytes, &head, sizeof head);
    id_stamp(&id, 7);
    return id;
}
