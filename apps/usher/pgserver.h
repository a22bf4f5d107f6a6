/*
 * pgserver.h - the Postgres that `usher dev` runs for itself.
 *
 * Durable (fsync on), on a unix socket only, as another user when started as root, and tied to our life: the kernel
 * tells it to stop when we die in whatever way (PR_SET_PDEATHSIG).
 */
#pragma once
#include <sys/types.h>

#include "usher/dev_data.h"

/** Makes the cluster where there is none. ERR_NOT_FOUND: no Postgres binaries; ERR_IO. Problems say how to mend. */
MUST_USE Err pgserver_init(Ctx *ctx, const DevData *data);
/** Starts it and waits until it answers. */
MUST_USE Err pgserver_start(Ctx *ctx, const DevData *data, pid_t *ret_pid);
/** Creates the database when it is not there. */
MUST_USE Err pgserver_create_database(Ctx *ctx, const DevData *data);
/** Fast shutdown; after 10 s immediate. Waits. */
void pgserver_stop(pid_t pid);
