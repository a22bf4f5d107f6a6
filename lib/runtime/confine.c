/*
 * confine.c - giving up rights and system calls.
 *
 * How to add a refused call: a row in REFUSED, with its group. A call that a library of ours makes on its way and can
 * do without belongs there too; one that it cannot do without must not (make test runs every role under the filter).
 */
#include "runtime/confine.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/log.h"

/* Sanitizers' leak check traces its own process at the end; valgrind's server and its threads are not ours to judge. */
#if defined(USHER_ASAN)
#define FILTER_MISSING "not filtered in a sanitizer build: its leak check uses ptrace"
#elif defined(USHER_VALGRIND)
#define FILTER_MISSING "not filtered in a valgrind build: the calls would be valgrind's"
#endif

static const int REFUSED[] = {
    /* another program, another process */
    SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev), SCMP_SYS(process_madvise), SCMP_SYS(pidfd_getfd), SCMP_SYS(kcmp),
    SCMP_SYS(personality), SCMP_SYS(uselib),
    /* another user, other name spaces, another root */
    SCMP_SYS(setuid), SCMP_SYS(setgid), SCMP_SYS(setreuid), SCMP_SYS(setregid), SCMP_SYS(setresuid),
    SCMP_SYS(setresgid), SCMP_SYS(setfsuid), SCMP_SYS(setfsgid), SCMP_SYS(setgroups), SCMP_SYS(unshare),
    SCMP_SYS(setns), SCMP_SYS(chroot), SCMP_SYS(pivot_root),
    /* file systems */
    SCMP_SYS(mount), SCMP_SYS(umount), SCMP_SYS(umount2), SCMP_SYS(move_mount), SCMP_SYS(mount_setattr),
    SCMP_SYS(open_tree), SCMP_SYS(fsopen), SCMP_SYS(fsconfig), SCMP_SYS(fsmount), SCMP_SYS(fspick),
    SCMP_SYS(name_to_handle_at), SCMP_SYS(open_by_handle_at), SCMP_SYS(quotactl), SCMP_SYS(swapon), SCMP_SYS(swapoff),
    SCMP_SYS(fanotify_init), SCMP_SYS(mknod), SCMP_SYS(mknodat),
    /* the kernel and the machine */
    SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(create_module),
    SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(reboot), SCMP_SYS(syslog), SCMP_SYS(acct),
    SCMP_SYS(sethostname), SCMP_SYS(setdomainname), SCMP_SYS(vhangup), SCMP_SYS(iopl), SCMP_SYS(ioperm),
    SCMP_SYS(settimeofday), SCMP_SYS(clock_settime), SCMP_SYS(adjtimex), SCMP_SYS(clock_adjtime), SCMP_SYS(stime),
    SCMP_SYS(lookup_dcookie), SCMP_SYS(nfsservctl), SCMP_SYS(modify_ldt),
    /* much attacked, never used */
    SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd), SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register), SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(keyctl), SCMP_SYS(vmsplice),
    SCMP_SYS(migrate_pages), SCMP_SYS(move_pages), SCMP_SYS(mbind), SCMP_SYS(set_mempolicy)};

/* --- rights ------------------------------------------------------------------------------------------------------- */

/* While we still may: what no program started from here can ever get again. */
static void shrink_bounding_set(void) {
    for (unsigned long capability = 0; capability < 64; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno == EPERM)
            return; /* not root: nothing to drop */
}

static bool drop_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return syscall(SYS_capset, &header, none) == 0;
}

static Err become(const Confinement *confinement) {
    if (geteuid() == confinement->uid && getegid() == confinement->gid)
        return ERR_OK;
    if (initgroups(confinement->user, confinement->gid) == 0 &&
        setresgid(confinement->gid, confinement->gid, confinement->gid) == 0 &&
        setresuid(confinement->uid, confinement->uid, confinement->uid) == 0)
        return ERR_OK;
    LOG_E(NULL, "cannot change the user", F_C("user", confinement->user), F_C("why", strerrordesc_np(errno)));
    return ERR_REFUSED;
}

/* --- system calls ------------------------------------------------------------------------------------------------- */

/* Threads may be made (libuv looks names up in one), processes not. clone3 hides its flags in memory, where no filter
 * sees them; ENOSYS makes the C library use clone. */
static int refuse_processes(scmp_filter_ctx filter) {
    int error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    struct scmp_arg_cmp no_thread = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0);
    return error != 0 ? error : seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, no_thread);
}

static int fill_filter(scmp_filter_ctx filter) {
    int error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree: a few comparisons, not one per row */
    /* The mitigation that old kernels switch on with a filter slows all code; ours runs nobody else's. */
    if (error == 0)
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    for (size_t i = 0; error == 0 && i < ARRAY_LEN(REFUSED); i++) {
        error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), REFUSED[i], 0);
        error = error == -EDOM ? 0 : error; /* no such call on this machine */
    }
    return error == 0 ? refuse_processes(filter) : error;
}

static Err filter_calls(void) {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int error = filter == NULL ? -ENOMEM : fill_filter(filter);
    if (error == 0)
        error = seccomp_load(filter);
    if (filter != NULL)
        seccomp_release(filter);
    if (error == 0)
        return ERR_OK;
    LOG_E(NULL, "cannot filter system calls; CONFINE=false serves without", F_C("why", strerrordesc_np(-error)));
    return ERR_IO;
}

const char *confine_filter_missing(void) {
#ifdef FILTER_MISSING
    return FILTER_MISSING;
#else
    uint32_t action = SECCOMP_RET_ERRNO;
    bool known = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
    return known ? NULL : "not filtered: this kernel has no seccomp filters";
#endif
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

Err confine(const Confinement *confinement) {
    if (confinement->drop)
        shrink_bounding_set();
    if (confinement->switch_user)
        TRY(become(confinement));
    if (confinement->drop && (!drop_capabilities() || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)) {
        LOG_E(NULL, "cannot drop privileges", F_C("why", strerrordesc_np(errno)));
        return ERR_IO;
    }
    return confinement->filter && confine_filter_missing() == NULL ? filter_calls() : ERR_OK;
}

/* --- whom to become ----------------------------------------------------------------------------------------------- */

static const struct passwd *find_user(const char *text) {
    uint64_t number;
    const struct passwd *user = getpwnam(text);
    return user == NULL && str_to_u64(str_c(text), UINT32_MAX - 1, &number) == ERR_OK ? getpwuid((uid_t)number) : user;
}

static const struct group *find_group(const char *text) {
    uint64_t number;
    const struct group *group = getgrnam(text);
    return group == NULL && str_to_u64(str_c(text), UINT32_MAX - 1, &number) == ERR_OK ? getgrgid((gid_t)number)
                                                                                       : group;
}

Err confine_find_user(Ctx *ctx, Str text, Confinement *ret) {
    Str group_text = text;
    Str user_text = str_cut(&group_text, ':');
    const char *name = arena_str(ctx->arena, user_text).p;
    const char *group_name = group_text.p == NULL ? NULL : arena_str(ctx->arena, group_text).p;
    if (name == NULL || (group_text.p != NULL && group_name == NULL))
        return ERR_NO_MEMORY;
    const struct passwd *user = find_user(name);
    if (user == NULL)
        return ctx_problem(ctx, ERR_NOT_FOUND, NULL, "there is no user %s", name);
    const struct group *group = group_name == NULL ? NULL : find_group(group_name);
    if (group_name != NULL && group == NULL)
        return ctx_problem(ctx, ERR_NOT_FOUND, NULL, "there is no group %s", group_name);
    ret->switch_user = true;
    ret->uid = user->pw_uid;
    ret->gid = group == NULL ? user->pw_gid : group->gr_gid;
    ret->user = arena_str(ctx->arena, str_c(user->pw_name)).p;
    return ret->user == NULL ? ERR_NO_MEMORY : ERR_OK;
}
