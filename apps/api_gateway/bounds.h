/*
 * bounds.h - what a rate may be, when k of n were seen: exact (Clopper-Pearson) one-sided bounds.
 *
 * With probability `confidence` or more the true rate is not above the upper (below the lower) bound. Exact means that
 * it holds for small numbers too, where Wilson's approximation promises too much: 0 of 100 leaves up to 2.95 % at 95 %.
 * Rates are the one thing here that floating point is good enough for.
 */
#pragma once
#include <stdint.h>

/** 1 when n is 0: nothing is known. */
double rate_upper_bound(uint64_t k, uint64_t n, double confidence);
/** 0 when k is 0. */
double rate_lower_bound(uint64_t k, uint64_t n, double confidence);
