/*
 * coverage.h - which recordings exercise which route.
 */
#pragma once
#include "http/router.h"

/** One recording a row, one route a column: how many of its exchanges belong to the route. */
typedef struct Coverage {
    const Router *router;
    size_t n;
    Str *names;      /* of the recordings */
    size_t **counts; /* [recording][route's place in the router] */
} Coverage;

/** Reads <folder>/http/(name).json and matches every exchange. ERR_NOT_FOUND: no such folder. Everything in ctx's
 *  arena. */
MUST_USE Err coverage_read(Ctx *ctx, const Router *router, const char *folder, Coverage *ret);
size_t coverage_count(const Coverage *coverage, size_t recording, const Route *route);
