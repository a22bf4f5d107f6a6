/*
 * listeners.h - the listening sockets of all roles: bound, inherited, dealt out to workers, handed on.
 *
 * A *set* is what one setting asks for: "http" (LISTEN), "admin" (ADMIN_LISTEN). The supervisor opens every set before
 * its first fork and keeps the sockets, so that a worker that dies leaves its backlog to the next and a successor finds
 * them all. How to add one: listeners_open in serve.c's prepare, listeners_of in the role's start.
 */
#pragma once
#include "runtime/ctx.h"

#define LISTENERS_PER_WORKER 64

/**
 * Sockets of a set for `workers` workers. Of each address every worker gets its own (SO_REUSEPORT), first those that a
 * predecessor had on that address: none of these is closed, as it may hold connections that wait; where there are more
 * than workers, some get several. A unix socket is shared by all. Sockets that systemd passed under the set's name (or,
 * for "http", under that of a .socket unit) are shared by all, and `addresses` are then not bound.
 *
 * @addresses  a comma list (http_listen_socket); empty: none
 * @setting    names it in the log
 *
 * Failures are logged. ERR_CONFLICT, ERR_IO, ERR_INVALID of http_listen_socket; ERR_LIMIT.
 */
MUST_USE Err listeners_open(const char *set, Str addresses, const char *setting, int workers, Arena *arena);
/** One socket for each worker on a loopback port that the kernel chooses: for this program's own processes. Not handed
 *  on: a successor has its own. Failures are logged. ERR_IO, ERR_LIMIT. */
MUST_USE Err listeners_open_loopback(const char *set, int workers, int *ret_ports, Arena *arena);
/** The worker's sockets of a set; returns how many. */
size_t listeners_of(const char *set, int worker, int fds[LISTENERS_PER_WORKER]);
/** Closes what this worker does not serve, in its process. set NULL: all. */
void listeners_close_but(const char *set, int worker);
