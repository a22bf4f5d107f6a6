/*
 * clock.h - the only sources of time and randomness.
 *
 * Everything that wants to know the time or a random number asks here (banned.h stops the rest), so that a test or a
 * simulation can set the clock, step it, and seed the generator.
 */
#pragma once
#include "base/instant.h"
#include "base/uuid.h"

/** Wall clock, UTC. */
Instant clock_now(void);
/** Milliseconds and nanoseconds that never go back; not related to the wall clock. */
int64_t clock_mono_ms(void);
int64_t clock_mono_ns(void);
/** Blocks the whole process. For the command line only: a worker waits with co_sleep. */
void clock_sleep_ms(int64_t ms);

/** Tests: the wall clock stands still at t until clock_thaw; monotonic time goes on. */
void clock_freeze(Instant t);
void clock_thaw(void);
/** Sets how far this process's wall clock runs beside the real one; 0 is the real one (environment USHER_CLOCK_SKEW_MS
 *  sets it at start; fault tests use both). A frozen clock stays where it is. */
void clock_skew_ms(int64_t delta_ms);

/** Cryptographic bytes from the kernel, buffered; after random_seed a reproducible stream instead (tests only). */
void random_bytes(void *out, size_t n);
uint64_t random_u64(void);
/** Uniform in [0, bound); bound > 0. */
uint64_t random_below(uint64_t bound);
void random_seed(uint64_t seed);
/** Random Id, version 4, and time-ordered Id, version 7 (RFC 9562). */
Id id_random(void);
Id id_time_ordered(void);
