/*
 * verify.c - what the compiler cannot see in a board: names in strings, lines that mean nothing, limits that forbid
 * all.
 */
#include <stdarg.h>

#include "jobs/cron.h"
#include "jobs/internal.h"

typedef struct Verifier {
    const JobBoard *board;
    Buf *mistakes;
    size_t n;
} Verifier;

static void mistake(Verifier *v, const char *format, ...) PRINTF_LIKE(2, 3);
static void mistake(Verifier *v, const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buf_printf(v->mistakes, "jobs of %s: %s\n", v->board->context->name, text);
    v->n++;
}

const JobKind *job_kind(const JobBoard *board, Str name) {
    for (const JobKind *const *kind = board->kinds; *kind != NULL; kind++)
        if (str_eq_c(name, (*kind)->name))
            return *kind;
    return NULL;
}

static bool has_queue(const JobBoard *board, const char *name) {
    for (const JobQueue *queue = board->queues; queue->name != NULL; queue++)
        if (strcmp(queue->name, name) == 0)
            return true;
    return false;
}

/* Names go into rows, notifications and labels. */
static bool name_fits(const char *name) {
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i++)
        if ((name[i] < 'a' || name[i] > 'z') && (name[i] < '0' || name[i] > '9') && name[i] != '_')
            return false;
    return n > 0 && n <= 48;
}

static void check_unique(Verifier *v, const JobKind *kind) {
    const JobUnique *unique = &kind->unique;
    if (!unique->on) {
        if (unique->fields[0] != NULL || unique->period_ms != 0 || unique->states != 0)
            mistake(v, "kind %s says how it is unique, but not that it is; add .on = true", kind->name);
        return;
    }
    for (const char *const *field = unique->fields; *field != NULL; field++) {
        bool found = false;
        for (const Attribute *a = kind->arguments; a != NULL && a->name != NULL; a++)
            found = found || strcmp(a->name, *field) == 0;
        if (!found)
            mistake(v, "kind %s is unique by \"%s\", which is none of its arguments", kind->name, *field);
    }
    if (unique->states != 0 && (unique->states & ~(unsigned)0x3E) != 0)
        mistake(v, "kind %s is unique in states that do not exist; use JOB_STATE_BIT", kind->name);
    if (unique->period_ms < 0)
        mistake(v, "kind %s has a negative .period_ms", kind->name);
}

static void check_arguments(Verifier *v, const JobKind *kind) {
    size_t n = 0;
    for (const Attribute *a = kind->arguments; a != NULL && a->name != NULL; a++, n++)
        if (a->offset >= kind->size)
            mistake(v, "argument %s of kind %s lies outside its struct; is .size right?", a->name, kind->name);
    if (n > 64)
        mistake(v, "kind %s has more than 64 arguments", kind->name);
}

static void check_kind(Verifier *v, const JobKind *kind, size_t at) {
    if (!name_fits(kind->name))
        mistake(v, "kind \"%s\": a name is lower-case letters, digits and _, at most 48", kind->name);
    for (size_t i = 0; i < at; i++)
        if (strcmp(v->board->kinds[i]->name, kind->name) == 0)
            mistake(v, "kind %s is declared twice", kind->name);
    if (kind->run == NULL)
        mistake(v, "kind %s has no .run", kind->name);
    const char *queue = kind->queue == NULL ? "default" : kind->queue;
    if (!has_queue(v->board, queue))
        mistake(v, "kind %s goes to queue %s, which is not declared; add a row to queues", kind->name, queue);
    if (kind->attempts < 0 || kind->attempts > 1000)
        mistake(v, "kind %s: .attempts is 1 to 1000", kind->name);
    if (kind->timeout_ms < 0)
        mistake(v, "kind %s has a negative .timeout_ms", kind->name);
    if (kind->keep_ms < JOB_KEEP_NOT)
        mistake(v, "kind %s: .keep_ms is milliseconds, 0 or JOB_KEEP_NOT", kind->name);
    if (kind->priority < JOB_URGENT || kind->priority > JOB_IDLE)
        mistake(v, "kind %s: .priority is JOB_URGENT to JOB_IDLE", kind->name);
    check_arguments(v, kind);
    check_unique(v, kind);
}

static void check_queue(Verifier *v, const JobQueue *queue) {
    if (!name_fits(queue->name))
        mistake(v, "queue \"%s\": a name is lower-case letters, digits and _, at most 48", queue->name);
    if (queue->limit < 0 || queue->limit_global < 0 || queue->rate < 0)
        mistake(v, "queue %s has a negative limit", queue->name);
    if ((queue->rate > 0) != (queue->rate_ms > 0))
        mistake(v, "queue %s: .rate and .rate_ms go together", queue->name);
    for (const JobQueue *other = v->board->queues; other != queue; other++)
        if (strcmp(other->name, queue->name) == 0)
            mistake(v, "queue %s is declared twice", queue->name);
}

static void check_cron(Verifier *v, const JobCron *line) {
    Arena *arena CLEANUP(arena_freep) = arena_new(1024 * 1024);
    Cron cron;
    Zone *zone;
    Ctx ctx;
    Instant next;
    if (arena == NULL)
        return;
    ctx_init(&ctx, arena, 0);
    if (!name_fits(line->name))
        mistake(v, "cron line \"%s\": a name is lower-case letters, digits and _, at most 48", line->name);
    for (const JobCron *other = v->board->crons; other != line; other++)
        if (strcmp(other->name, line->name) == 0)
            mistake(v, "cron line %s is declared twice", line->name);
    if (line->kind == NULL || job_kind(v->board, str_c(line->kind->name)) != line->kind)
        mistake(v, "cron line %s inserts a kind that is not on this board", line->name);
    if (cron_parse(&ctx, line->expression, &cron) != ERR_OK ||
        zone_open(&ctx, arena, line->zone == NULL ? "UTC" : line->zone, &zone) != ERR_OK)
        mistake(v, "cron line %s: %.*s", line->name, STR_ARG(ctx.problem.message));
    else if (cron_next(&cron, zone, (Instant){.ticks = TICKS_PG_EPOCH}, &next) != ERR_OK)
        mistake(v, "cron line %s: \"%s\" never comes", line->name, line->expression);
}

size_t jobs_verify(const JobBoard *board, Buf *mistakes) {
    Verifier v = {.board = board, .mistakes = mistakes};
    size_t at = 0, queues = 0;
    for (const JobKind *const *kind = board->kinds; *kind != NULL; kind++, at++)
        check_kind(&v, *kind, at);
    for (const JobQueue *queue = board->queues; queue->name != NULL; queue++, queues++)
        check_queue(&v, queue);
    if (queues > JOB_QUEUES_MAX)
        mistake(&v, "there are more than %d queues", JOB_QUEUES_MAX);
    for (const JobCron *line = board->crons; line != NULL && line->name != NULL; line++)
        check_cron(&v, line);
    bool has_table = false;
    for (const Resource *const *r = board->context->resources; *r != NULL; r++)
        has_table = has_table || strcmp((*r)->plural, "jobs") == 0;
    if (!has_table)
        mistake(&v, "the context declares no job tables; add JOB_TABLES and JOB_RESOURCES");
    return v.n;
}
