/*
 * heirloom.h - descriptors that outlive the program that opened them: what is handed to a successor, and was handed to
 * us.
 *
 * The protocol is systemd's (sd_listen_fds(3)): descriptors from 3 on, LISTEN_FDS says how many, LISTEN_FDNAMES how
 * each is called, LISTEN_PID for whom they are. So a socket unit and a predecessor look the same to us, and tell apart
 * by names: those that begin with "usher-" were made by an usher. Whoever makes a socket that shall survive gives it a
 * name with heirloom_add; whoever needs one first looks with heirloom_take whether it is there already.
 *
 * For the supervisor before its first fork, single-threaded; workers inherit descriptors, not this table's promises.
 */
#pragma once
#include "runtime/ctx.h"

#define HEIRLOOMS_MAX     2048
#define HEIRLOOM_NAME_MAX 255 /* systemd's too */

/**
 * Takes in what the environment says was handed over, marks it close-on-exec and clears the variables, so that no
 * program started later believes they are for it. Does nothing when they are for another process, or on a second call.
 *
 * ERR_INVALID  the variables contradict each other, or a descriptor is not open
 * ERR_LIMIT    more than HEIRLOOMS_MAX
 */
MUST_USE Err heirlooms_inherit(void);

typedef bool (*HeirloomFits)(int fd, const char *name, void *data);
/** The next inherited descriptor that nobody has taken and `fits` says yes to; it is then taken, and handed on at the
 *  next hand-over. -1: none. */
int heirloom_take(HeirloomFits fits, void *data);
/** A descriptor of ours to hand on. ERR_LIMIT. The name has no ':' and at most HEIRLOOM_NAME_MAX bytes. */
MUST_USE Err heirloom_add(const char *name, int fd);
/** Takes the first of that name out of the table: it is the caller's, and not handed on. -1: none. */
int heirloom_remove(const char *name);
/** Closes what was inherited and nobody has taken. Returns how many. */
size_t heirlooms_close_untaken(void);

/** What is handed on now: fds[0..n) (of HEIRLOOMS_MAX places) and their names as LISTEN_FDNAMES wants them. */
size_t heirlooms_list(int *fds, Buf *names);
