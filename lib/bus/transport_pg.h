/*
 * transport_pg.h - what the files of the Postgres transport share. Internal to lib/bus.
 */
#pragma once
#include "bus/bus.h"

PgPool *transport_pg_pool(Transport *transport);

/* dead_pg.c */
extern const DeadOps DEAD_PG_OPS;
CO_FN Err dead_pg_status(Transport *transport, QueueState **ret, size_t *ret_n) MUST_USE;
