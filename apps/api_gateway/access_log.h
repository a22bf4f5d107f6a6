/*
 * access_log.h - one line for each request, written in batches.
 *
 * A line never waits for the disk: what does not fit into the buffer while writing fails is dropped and counted.
 */
#pragma once
#include "api_gateway/gateway.h"
#include "http/proxy.h"

typedef struct AccessLog AccessLog;

/** target: "stdout" or a path, made if it is not there, appended to. ERR_IO: it cannot be opened. */
MUST_USE Err access_log_new(Loop *loop, Str target, bool combined, AccessLog **ret);
/** Opens the path anew, for whoever has moved the file away. */
void access_log_reopen(AccessLog *log);
/** Writes what waits; NULL is allowed. */
void access_log_free(AccessLog *log);

typedef struct AccessEntry {
    const Request *req;
    const ProxyResult *result; /* NULL: the gateway answered */
    const GatewayRoute *route;
    const char *side; /* NULL: nobody was asked */
    Str client, upstream;
    int status; /* 0: none */
    int64_t began_ns, ended_ns;
} AccessEntry;
void access_log_add(AccessLog *log, const AccessEntry *entry);
uint64_t access_log_dropped(const AccessLog *log);
