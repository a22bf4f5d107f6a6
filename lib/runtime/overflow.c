/*
 * overflow.c - the last words of a coroutine that ran into its guard.
 *
 * A fault in the guard would otherwise be a bare "Segmentation fault". The handler runs on an alternate stack, says
 * which coroutine it was when the address lies in the running one's guard, puts the former handler back and returns:
 * the fault happens again and takes its usual course (core dump, sanitizer report, death by signal).
 */
#include <signal.h>
#include <unistd.h>

#include "runtime/loop_impl.h"

#define ALT_STACK_BYTES (64 * 1024)

static struct sigaction former;
static char alt_stack[ALT_STACK_BYTES];

static void say(const char *text) {
    ssize_t n = write(STDERR_FILENO, text, strlen(text));
    (void)n; /* nothing is left to be done about it */
}

static void on_fault(int signo, siginfo_t *info, void *context) {
    (void)context;
    const Co *co = co_self();
    const char *address = info->si_addr;
    if (co != NULL && address >= co->stack.map && address < co->stack.low) {
        say("usher: coroutine \"");
        say(co->name);
        say("\" overflowed its stack; move big locals to its arena\n");
    }
    sigaction(signo, &former, NULL);
    if (info->si_code <= 0) /* sent by kill(2): nothing will happen again by itself */
        raise(signo);
}

void overflow_install(void) {
    struct sigaction now;
    if (sigaction(SIGSEGV, NULL, &now) != 0 || now.sa_sigaction == on_fault)
        return;
    stack_t old;
    if (sigaltstack(NULL, &old) == 0 && (old.ss_flags & SS_DISABLE) != 0) {
        stack_t own = {.ss_sp = alt_stack, .ss_size = sizeof alt_stack};
        if (sigaltstack(&own, NULL) != 0)
            return;
    }
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    former = now;
    sigaction(SIGSEGV, &action, NULL);
}
