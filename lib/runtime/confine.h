/*
 * confine.h - what a worker gives up before it meets its first client.
 *
 * A worker reads bytes of strangers, so it keeps nothing that only somebody who has broken into it would use: no other
 * user's rights, no capability, no way to get either back through a set-user-id program (PR_SET_NO_NEW_PRIVS), and none
 * of the system calls that serving never makes: running a program, forking, tracing or reading another process,
 * mounting, loading modules, name spaces, keys, BPF (the whole list: confine.c). A refused call fails with EPERM; it
 * does not kill, because a library that tries and copes is no attack. docs/adr/0011-operations.md.
 *
 * Undone never: it is inherited by whatever the process would still become.
 */
#pragma once
#include <sys/types.h>

#include "runtime/ctx.h"

typedef struct Confinement {
    bool drop;        /* capabilities, new privileges */
    bool filter;      /* system calls */
    bool switch_user; /* to uid, gid and the groups of user; needs root */
    uid_t uid;
    gid_t gid;
    const char *user;
} Confinement;

/** Applies it to this process, for good. ERR_REFUSED: the user cannot be changed to. ERR_IO: the kernel refuses the
 *  rest (logged in words); nobody should serve then. */
MUST_USE Err confine(const Confinement *confinement);

/** Why system calls are not filtered in this build or on this kernel; NULL: they can be. */
const char *confine_filter_missing(void);

/** "user" or "user:group" (names or numbers) → the numbers. ERR_NOT_FOUND. user must stay valid: it is borrowed. */
MUST_USE Err confine_find_user(Ctx *ctx, Str text, Confinement *ret);
