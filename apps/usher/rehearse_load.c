/*
 * rehearse_load.c - the load: a process of its own, at a bounded rate, that also watches over whom it works for.
 *
 * Of its own, because whoever takes the steps waits for Postgres by blocking, and the load must not. Counts lie in
 * memory that both share, with one writer. A pipe tells the end: a byte when all is well, nothing but its end when we
 * were killed; then this process puts the stage back before it ends too. Requests come due at a steady pace, whether or
 * not earlier ones have been answered, as clients do: what was due while all clients were busy is timed from when it
 * was due. Nothing is asked twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/heap.h"
#include "http/upstream.h"
#include "usher/rehearse.h"

enum { HEAD_MAX = 16384, ANSWER_MS = 30000, BEHIND_MS = 1000, END_MS = 40000, NS_PER_MS = 1000000 };
#define LOOPBACK 0x7f000001u

typedef struct Shared {
    int phase, complaint_n;
    char complaints[LOAD_COMPLAINTS][LOAD_COMPLAINT_MAX];
    LoadPhase phases[LOAD_PHASES_MAX];
} Shared;

struct Load {
    Shared *shared;
    pid_t pid;
    int pipe_fd; /* written to, or closed, by us */
    bool is_dead;
};

/* The process of the load. */
static struct {
    Shared *shared;
    const LoadPlan *plan;
    Loop *loop;
    Upstream *upstreams[LOAD_ADDRESSES_MAX]; /* one for each address that callers come from */
    int64_t next_ns;                         /* when the next request is due */
    uint64_t number;                         /* of the next request */
    int64_t running;                         /* clients */
    int pipe_fd;
    bool ending, orphaned;
} self;

/* --- counting ----------------------------------------------------------------------------------------------------- */

static size_t bucket_of(int64_t us) {
    uint64_t value = (uint64_t)MAX_OF(us, 0);
    if (value < 16)
        return (size_t)value;
    int shift = 63 - __builtin_clzll(value) - 4;
    size_t bucket = (size_t)(shift + 1) * 16 + (size_t)((value >> shift) & 15);
    return MIN_OF(bucket, LOAD_BUCKETS - 1);
}

static int64_t bucket_end(size_t bucket) {
    if (bucket < 16)
        return (int64_t)bucket + 1;
    int shift = (int)(bucket / 16) - 1;
    return ((int64_t)(bucket % 16) + 17) << shift;
}

int64_t load_quantile_us(const LoadPhase *phase, double part) {
    uint64_t below = 0;
    for (size_t i = 0; i < LOAD_BUCKETS; i++) {
        below += phase->buckets[i];
        if (below > 0 && (double)below >= part * (double)phase->requests)
            return MIN_OF(bucket_end(i), phase->longest_us);
    }
    return phase->longest_us;
}

static void add(uint64_t *number, uint64_t n) {
    __atomic_store_n(number, *number + n, __ATOMIC_RELAXED);
}

static void raise_to(int64_t *number, int64_t value) {
    if (value > *number)
        __atomic_store_n(number, value, __ATOMIC_RELAXED);
}

static void complain(const LoadRequest *request, int status, const char *why) {
    Shared *shared = self.shared;
    if (shared->complaint_n == LOAD_COMPLAINTS)
        return;
    (void)snprintf(shared->complaints[shared->complaint_n], LOAD_COMPLAINT_MAX, "%.*s %.*s: %d %s",
                   STR_ARG(request->method), (int)MIN_OF(request->target.n, (size_t)100), request->target.p, status,
                   why);
    __atomic_store_n(&shared->complaint_n, shared->complaint_n + 1, __ATOMIC_RELEASE);
}

/* A 4xx is a client's own mistake, unless the same request was fine at first; and a rate limit has refused a load that
 * is not what it pretends to be. */
static bool is_failure(const LoadRequest *request, int status) {
    return status == 0 || status >= 500 || status == 429 ||
           (status >= 400 && !request->writes && request->status < 400);
}

static void count(LoadPhase *phase, LoadRequest *request, int status, const char *why, int64_t us) {
    if (request->status == 0 && status != 0)
        request->status = status;
    if (is_failure(request, status)) {
        add(&phase->failed, 1);
        add(&phase->unanswered, status == 0);
        complain(request, status, why);
    }
    raise_to(&phase->longest_us, us);
    if (request->writes) {
        raise_to(&phase->longest_write_us, us);
        add(&phase->writes, 1);
    }
    add(&phase->buckets[bucket_of(us)], 1);
    add(&phase->requests, 1);
}

/* --- one request -------------------------------------------------------------------------------------------------- */

static void add_caller(Buf *head, uint64_t number) {
    Str name = self.plan->canary_key, kind = str_cut(&name, ':');
    unsigned long long caller = number % (uint64_t)self.plan->callers;
    if (str_eq_c(kind, "cookie"))
        buf_printf(head, "Cookie: %.*s=rehearsal-%llu\r\n", STR_ARG(name), caller);
    else if (str_eq_c(kind, "header"))
        buf_printf(head, "%.*s: rehearsal-%llu\r\n", STR_ARG(name), caller);
}

static Err head_write(Arena *arena, const LoadRequest *request, uint64_t number, Str *ret) {
    Buf head = buf_new(arena, HEAD_MAX);
    buf_printf(&head, "%.*s %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: usher-rehearse\r\nAccept: application/json\r\n",
               STR_ARG(request->method), STR_ARG(request->target), STR_ARG(self.plan->authority));
    add_caller(&head, number);
    if (request->body.p != NULL)
        buf_printf(&head, "Content-Type: %.*s\r\n", STR_ARG(request->content_type));
    if (request->writes)
        buf_printf(&head, "Content-Length: %zu\r\n", request->body.n);
    buf_add_c(&head, "\r\n");
    return buf_finish(&head, ret);
}

/* The final answer's status when all of it has come; else 0 and a word. */
static CO_FN int ask(Ctx *ctx, const LoadRequest *request, uint64_t number, const char **ret_why) {
    UpstreamExchange *exchange CLEANUP(upstream_endp) = NULL;
    UpstreamRequest sent = {.body = request->body, .head_only = str_eq_c(request->method, "HEAD")};
    UpstreamAnswer answer = {0};
    Str piece = STR("");
    Err err = head_write(ctx->arena, request, number, &sent.head);
    ctx->deadline_ms = clock_mono_ms() + ANSWER_MS;
    if (err == ERR_OK)
        err = upstream_begin(ctx, self.upstreams[number % (uint64_t)self.plan->addresses], &sent, &exchange);
    do
        err = err == ERR_OK ? upstream_answer(exchange, &answer) : err;
    while (err == ERR_OK && answer.status < 200);
    do
        err = err == ERR_OK ? upstream_read(exchange, &piece) : err;
    while (err == ERR_OK && piece.n > 0);
    UpstreamFailure failure = exchange == NULL ? UPSTREAM_WELL : upstream_failure(exchange);
    *ret_why = err == ERR_OK ? "" : failure == UPSTREAM_WELL ? err_name(err) : upstream_failure_name(failure);
    ctx->deadline_ms = 0;
    return err == ERR_OK ? answer.status : 0;
}

/* --- clients ------------------------------------------------------------------------------------------------------ */

/* When the next one is due. What could not be sent for a second is given up, and counted. */
static int64_t take_turn(LoadPhase *phase) {
    int64_t now_ns = clock_mono_ns(), step_ns = 1000000000 / self.plan->rate, due_ns = self.next_ns;
    int64_t behind_ns = now_ns - due_ns - (int64_t)BEHIND_MS * NS_PER_MS;
    if (behind_ns > 0) {
        add(&phase->unsent, (uint64_t)(behind_ns / step_ns));
        due_ns += behind_ns / step_ns * step_ns;
    }
    self.next_ns = due_ns + step_ns;
    return due_ns;
}

static LoadPhase *phase_now(void) {
    return &self.shared->phases[__atomic_load_n(&self.shared->phase, __ATOMIC_ACQUIRE)];
}

static CO_FN void client_co(Ctx *ctx, void *arg) {
    (void)arg;
    while (!self.ending) {
        arena_reset(ctx->arena);
        problem_clear(ctx);
        int64_t due_ns = take_turn(phase_now()), wait_ns = due_ns - clock_mono_ns();
        bool late = wait_ns < 0;
        if (wait_ns > 0 && co_sleep(wait_ns / NS_PER_MS + 1) != ERR_OK)
            break;
        if (self.ending)
            break;
        uint64_t number = self.number++;
        const LoadGroup *group = &self.plan->groups[number % self.plan->group_n];
        LoadRequest *request = &self.plan->requests[group->first + (number / self.plan->group_n) % group->n];
        LoadPhase *phase = phase_now();
        const char *why = "";
        int64_t began_ns = late ? due_ns : clock_mono_ns();
        add(&phase->begun, 1);
        int status = ask(ctx, request, number, &why);
        count(phase, request, status, why, (clock_mono_ns() - began_ns) / 1000);
    }
    if (--self.running == 0)
        loop_stop(self.loop);
}

static CO_FN void watch_co(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    char byte;
    ssize_t n = -1;
    while (n < 0) {
        if (co_wait_fd(self.pipe_fd, CO_READABLE, 0) != ERR_OK)
            break;
        n = read(self.pipe_fd, &byte, 1);
    }
    self.orphaned = n == 0;
    self.ending = true;
}

static Err run(const LoadPlan *plan) {
    UpstreamOptions options = {
        .name = STR("rehearsal"), .urls = &plan->dial, .url_count = 1, .limits = UPSTREAM_LIMITS_DEFAULT};
    options.limits.failures_max = INT32_MAX; /* every failure is to be seen, none avoided */
    options.limits.retry_percent = 0;
    options.limits.keep_ms = 10000;
    options.limits.requests_max = plan->clients;
    options.limits.slow_start_ms = 0;
    TRY(loop_new(&self.loop));
    for (int64_t i = 0; i < plan->addresses; i++) {
        options.from = plan->addresses == 1 ? 0 : LOOPBACK + (uint32_t)i;
        TRY(upstream_new(self.loop, &options, &self.upstreams[i]));
    }
    TRY(co_spawn(self.loop, watch_co, NULL, &(CoOptions){.name = "watch"}, NULL));
    self.next_ns = clock_mono_ns();
    for (int64_t i = 0; i < plan->clients; i++) {
        TRY(co_spawn(self.loop, client_co, NULL, &(CoOptions){.name = "client"}, NULL));
        self.running++;
    }
    loop_run(self.loop);
    return ERR_OK;
}

static NORETURN void process_run(const LoadPlan *plan, const LoadGuard *guard) {
    /* A Ctrl-C at the terminal is for whoever takes the steps; we must be here when that is killed. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    close(guard->closed_fd);
    self.plan = plan;
    Err err = run(plan);
    if (err != ERR_OK)
        err_printf("the load cannot run: %s\n", err_name(err));
    if (self.orphaned)
        guard->orphaned(guard->data);
    _exit(err == ERR_OK ? 0 : 1);
}

/* --- whoever takes the steps -------------------------------------------------------------------------------------- */

Err load_start(const LoadPlan *plan, const LoadGuard *guard, Load **ret) {
    int fds[2];
    Load *load = HEAP_NEW(Load);
    Shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (load == NULL || shared == MAP_FAILED)
        return ERR_NO_MEMORY;
    if (pipe2(fds, O_CLOEXEC) != 0)
        return ERR_IO;
    (void)fflush(NULL); /* or both would write it */
    self.shared = shared;
    self.pipe_fd = fds[0];
    pid_t pid = fork();
    if (pid < 0)
        return ERR_IO;
    if (pid == 0) {
        close(fds[1]);
        process_run(plan, guard);
    }
    close(fds[0]);
    *load = (Load){.shared = shared, .pid = pid, .pipe_fd = fds[1]};
    *ret = load;
    return ERR_OK;
}

void load_enter(Load *load, int phase) {
    ASSERT(phase < LOAD_PHASES_MAX);
    __atomic_store_n(&load->shared->phase, phase, __ATOMIC_RELEASE);
}

void load_look(const Load *load, int phase, LoadPhase *ret) {
    const LoadPhase *from = &load->shared->phases[phase];
    ret->begun = __atomic_load_n(&from->begun, __ATOMIC_RELAXED);
    ret->requests = __atomic_load_n(&from->requests, __ATOMIC_RELAXED);
    ret->failed = __atomic_load_n(&from->failed, __ATOMIC_RELAXED);
    ret->unanswered = __atomic_load_n(&from->unanswered, __ATOMIC_RELAXED);
    ret->unsent = __atomic_load_n(&from->unsent, __ATOMIC_RELAXED);
    ret->writes = __atomic_load_n(&from->writes, __ATOMIC_RELAXED);
    ret->longest_us = __atomic_load_n(&from->longest_us, __ATOMIC_RELAXED);
    ret->longest_write_us = __atomic_load_n(&from->longest_write_us, __ATOMIC_RELAXED);
    for (size_t i = 0; i < LOAD_BUCKETS; i++)
        ret->buckets[i] = __atomic_load_n(&from->buckets[i], __ATOMIC_RELAXED);
}

bool load_has_ended_before(const Load *load, int phase) {
    LoadPhase before;
    for (int i = 0; i < phase; i++) {
        load_look(load, i, &before);
        if (before.requests != before.begun)
            return false;
    }
    return true;
}

const char *load_complaint(const Load *load, int i) {
    return i < __atomic_load_n(&load->shared->complaint_n, __ATOMIC_ACQUIRE) ? load->shared->complaints[i] : "";
}

bool load_lives(Load *load) {
    int status;
    if (!load->is_dead && waitpid(load->pid, &status, WNOHANG) == load->pid)
        load->is_dead = true;
    return !load->is_dead;
}

void load_end(Load *load) {
    char byte = 'e';
    int64_t until_ms = clock_mono_ms() + END_MS;
    ssize_t n = write(load->pipe_fd, &byte, 1);
    (void)n; /* it has died: there is nobody to tell */
    while (load_lives(load) && clock_mono_ms() < until_ms)
        clock_sleep_ms(5);
    if (!load->is_dead) {
        (void)kill(load->pid, SIGKILL);
        (void)waitpid(load->pid, NULL, 0);
        load->is_dead = true;
    }
    close(load->pipe_fd);
}
