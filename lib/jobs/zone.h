/*
 * zone.h - time zones from the system's zoneinfo (TZif, RFC 8536).
 *
 * Not the C library's: that knows one zone per process, switched by an environment variable, and says nothing of times
 * that are skipped or come twice.
 */
#pragma once
#include "runtime/ctx.h"

typedef struct Zone Zone;

/** Reads /usr/share/zoneinfo/NAME, or the folder that ZONEINFO names. "UTC" needs no file. Blocks, a few milliseconds
 *  at most. ERR_NOT_FOUND, ERR_INVALID (no zone's name), ERR_SYNTAX (a broken file): ctx's problem says which. */
MUST_USE Err zone_open(Ctx *ctx, Arena *arena, const char *name, Zone **ret);
/** From a file's bytes, borrowed nowhere. ERR_SYNTAX, ERR_NO_MEMORY. */
MUST_USE Err zone_parse(Arena *arena, Str bytes, Zone **ret);

/** Seconds east of UTC at a moment (seconds since 1970). */
int32_t zone_offset(const Zone *zone, int64_t at);

typedef struct ZoneChange {
    int64_t at;            /* the first moment of the new offset */
    int32_t before, after; /* offsets */
} ZoneChange;
#define ZONE_CHANGES_MAX 8
/** Changes of the offset in (from, to], at most ZONE_CHANGES_MAX; returns how many. */
size_t zone_changes(const Zone *zone, int64_t from, int64_t to, ZoneChange ret[ZONE_CHANGES_MAX]);
