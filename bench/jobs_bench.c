/*
 * jobs_bench.c - how many jobs one worker inserts and runs, and how soon a job starts.
 *
 *   jobs_bench insert N             N jobs, 10000 a statement, as many as the peers take
 *   jobs_bench run N [keep]         inserts N, then measures running them: rows go with their completion, or are kept
 *   jobs_bench start N              light load: one job every 10 ms; from before its insert to the start of its run
 *
 * Against DATABASE_URL, schema jobs, migrated. Prints one line of JSON. bench/jobs_cases.py runs it beside
 * graphile-worker and pg-boss.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "jobs/jobs.h"

enum { BATCH = 10000, LIGHT_MS = 10, LIMIT = 1000 };

typedef struct Nothing {
    int64_t n;
} Nothing;
static const Attribute arguments[] = {ARGUMENT(Nothing, n), {0}};

static struct {
    Loop *loop;
    PgPool *pool;
    Engine *engine;
    JobRunner *runner;
    int64_t wanted, ran;
    int64_t *starts_ns; /* of each job of `start`: first its insert, then how long it took */
    bool keep;
} self;

static CO_FN JobVerdict run_nothing(Job *job) {
    const Nothing *nothing = job->args;
    if (self.starts_ns != NULL)
        self.starts_ns[nothing->n] = clock_mono_ns() - self.starts_ns[nothing->n];
    self.ran++;
    return JOB_DONE;
}

#define KIND(variable, name_, keep_)                                                                                   \
    static const JobKind variable = {.name = (name_),                                                                  \
                                     .queue = "bench",                                                                 \
                                     .size = sizeof(Nothing),                                                          \
                                     .arguments = arguments,                                                           \
                                     .run = run_nothing,                                                               \
                                     .keep_ms = (keep_)}
KIND(FORGOTTEN, "bench_forgotten", JOB_KEEP_NOT);
KIND(KEPT, "bench_kept", 0);
static const JobKind *const kinds[] = {&FORGOTTEN, &KEPT, NULL};
static const JobQueue queues[] = {{.name = "bench", .limit = LIMIT}, {0}};
static const JobBoard board = {.context = &JOBS_CONTEXT, .kinds = kinds, .queues = queues};

static void must(Err err, const char *what) {
    if (err == ERR_OK)
        return;
    fprintf(stderr, "jobs_bench: %s: %s: %.*s\n", what, err_name(err), STR_ARG(pg_pool_last_error(self.pool)));
    exit(1);
}

static CO_FN void insert(Ctx *ctx, int64_t n) {
    JobRequest *requests = calloc(BATCH, sizeof *requests);
    Nothing *args = calloc(BATCH, sizeof *args);
    for (int64_t at = 0; at < n; at += BATCH) {
        size_t some = (size_t)MIN_OF((int64_t)BATCH, n - at);
        for (size_t i = 0; i < some; i++) {
            args[i].n = at + (int64_t)i;
            requests[i] = (JobRequest){.kind = self.keep ? &KEPT : &FORGOTTEN, .args = &args[i]};
        }
        arena_reset(ctx->arena);
        must(job_insert(self.engine, ctx, requests, some, NULL), "insert");
    }
    free(requests);
    free(args);
}

/* As the peers' programs do before they run. */
static CO_FN void analyze(Ctx *ctx) {
    static const Statement statistics = {.name = "bench_analyze", .sql = "ANALYZE jobs.jobs", .writes = true};
    PgResult rows;
    arena_reset(ctx->arena);
    must(pg_query(self.pool, &statistics, NULL, &rows), "analyze");
}

static CO_FN int64_t left(Ctx *ctx) {
    static const Statement count = {.name = "bench_left", .sql = "SELECT count(*) FROM jobs.jobs WHERE state < 3"};
    PgResult rows;
    arena_reset(ctx->arena);
    must(pg_query(self.pool, &count, NULL, &rows), "count");
    return pg_i64(&rows, 0, 0);
}

static double cpu_s(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)used.ru_utime.tv_sec + (double)used.ru_stime.tv_sec +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void report(int64_t n, int64_t began_ns, double cpu) {
    double seconds = (double)(clock_mono_ns() - began_ns) / 1e9;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"requests\": %lld, \"seconds\": %.4f, \"cpu_s\": %.4f, \"rss_mb\": %.1f}\n", (long long)n, seconds,
           cpu_s() - cpu, (double)used.ru_maxrss / 1024);
}

static void begin(void) {
    static const JobRunnerOptions options = {.board = &board, .node_name = STR_INIT("bench")};
    JobRunnerOptions own = options;
    own.engine = self.engine;
    must(job_runner_start(self.loop, &own, &self.runner), "start");
}

static void inserting(Ctx *ctx, void *arg) {
    int64_t n = *(int64_t *)arg, began_ns = clock_mono_ns();
    double cpu = cpu_s();
    insert(ctx, n);
    report(n, began_ns, cpu);
    loop_stop(self.loop);
}

static void running(Ctx *ctx, void *arg) {
    int64_t n = *(int64_t *)arg;
    insert(ctx, n);
    analyze(ctx);
    int64_t began_ns = clock_mono_ns();
    double cpu = cpu_s();
    begin();
    while (self.ran < n)
        must(co_sleep(1), "sleep");
    while (left(ctx) > 0)
        must(co_sleep(1), "sleep");
    report(n, began_ns, cpu);
    job_runner_drain(self.runner, clock_mono_ms());
    loop_stop(self.loop);
}

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void starting(Ctx *ctx, void *arg) {
    int64_t n = *(int64_t *)arg;
    self.starts_ns = calloc((size_t)n, sizeof *self.starts_ns);
    begin();
    must(co_sleep(1000), "sleep");
    for (int64_t i = 0; i < n; i++) {
        Nothing args = {.n = i};
        arena_reset(ctx->arena);
        self.starts_ns[i] = clock_mono_ns();
        must(job_insert(self.engine, ctx, &(JobRequest){.kind = &FORGOTTEN, .args = &args}, 1, NULL), "insert");
        must(co_sleep(LIGHT_MS), "sleep");
    }
    while (self.ran < n)
        must(co_sleep(1), "sleep");
    qsort(self.starts_ns, (size_t)n, sizeof *self.starts_ns, compare);
    printf("{\"requests\": %lld, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n", (long long)n,
           (double)self.starts_ns[n / 2] / 1e6, (double)self.starts_ns[n * 99 / 100] / 1e6,
           (double)self.starts_ns[n - 1] / 1e6);
    job_runner_drain(self.runner, clock_mono_ms());
    loop_stop(self.loop);
}

int main(int argc, char **argv) {
    if (argc < 3 || getenv("DATABASE_URL") == NULL) {
        fprintf(stderr, "use: jobs_bench insert|run|start N [keep], with DATABASE_URL\n");
        return 2;
    }
    int64_t n = strtoll(argv[2], NULL, 10);
    CoFn what = strcmp(argv[1], "insert") == 0 ? inserting : strcmp(argv[1], "run") == 0 ? running : starting;
    self.keep = argc > 3;
    PgConfig config = {.url = str_c(getenv("DATABASE_URL")), .application_name = STR("bench"), .writers = 3};
    must(loop_new(&self.loop), "loop");
    must(pg_pool_new(self.loop, &config, &self.pool), "pool");
    must(engine_new(self.loop, &JOBS_CONTEXT, self.pool, &self.engine), "engine");
    CoOptions options = {.name = "bench", .arena_limit_bytes = (size_t)64 * 1024 * 1024};
    must(co_spawn(self.loop, what, &n, &options, NULL), "spawn");
    loop_run(self.loop);
    return 0;
}
