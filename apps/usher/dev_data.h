/*
 * dev_data.h - the folder of a development database: where its parts are, and who may use it.
 *
 *   DIR/usher.env     DATABASE_URL of the running or last run Postgres, for the other commands
 *   DIR/lock          held while `usher dev` runs, so that two never share a folder
 *   DIR/postgres      the cluster; DIR/postgres.log its log
 *   DIR/run           the unix socket (elsewhere when that path would be too long for one)
 */
#pragma once
#include "runtime/ctx.h"

typedef struct DevData {
    const char *directory; /* absolute */
    const char *cluster, *log, *run;
    const char *url;
    int lock;
} DevData;

/** Makes the folder and works out the paths. ERR_IO, ERR_CONFLICT: another `usher dev` runs on it; the problem says how
 *  to mend. */
MUST_USE Err dev_data_open(Ctx *ctx, const char *directory, DevData *ret);
/** Writes usher.env. */
MUST_USE Err dev_data_publish(Ctx *ctx, const DevData *data);
/** Sets DATABASE_URL of this process from DIR/usher.env; ERR_NOT_FOUND when `usher dev` never ran there. */
MUST_USE Err dev_data_environment(Ctx *ctx, const char *directory);
