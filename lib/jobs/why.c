/*
 * why.c - why is this job not running? Answered from the rows that decide it, never from a guess.
 *
 * One query gathers all facts at one moment; here they become sentences, the ones that hold the job back first. Several
 * may hold at once (a paused queue whose only worker is dead), and all of them are said: mending one of two is no help.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "jobs/cron.h"
#include "jobs/desk_internal.h"

typedef struct Facts {
    const JobDesk *desk;
    const PGresult *row;
    JobFact *first, **end;
    bool refused; /* memory */
} Facts;

static void fact(Facts *f, const char *code, const char *format, ...) PRINTF_LIKE(3, 4);
static void fact(Facts *f, const char *code, const char *format, ...) {
    char text[1500];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    JobFact *made = ARENA_NEW(f->desk->ctx->arena, JobFact);
    Str words = arena_str(f->desk->ctx->arena, (Str){text, MIN_OF((size_t)MAX_OF(n, 0), sizeof text - 1)});
    if (made == NULL || words.p == NULL) {
        f->refused = true;
        return;
    }
    *made = (JobFact){.code = code, .text = words};
    *f->end = made;
    f->end = &made->next;
}

static const char *text_of(const Facts *f, const char *column) {
    int at = PQfnumber(f->row, column);
    ASSERT(at >= 0);
    return PQgetisnull(f->row, 0, at) ? NULL : PQgetvalue(f->row, 0, at);
}

static const char *words_of(const Facts *f, const char *column) {
    const char *text = text_of(f, column);
    return text == NULL ? "-" : text;
}

static long long number_of(const Facts *f, const char *column) {
    const char *text = text_of(f, column);
    return text == NULL ? 0 : strtoll(text, NULL, 10);
}

static bool is_true(const Facts *f, const char *column) {
    const char *text = text_of(f, column);
    return text != NULL && text[0] == 't';
}

/* --- running, ended ----------------------------------------------------------------------------------------------- */

static void say_leader(Facts *f) {
    if (is_true(f, "led"))
        return;
    if (text_of(f, "epoch") == NULL)
        fact(f, "no_leader", "nobody has ever led this context's jobs: no worker with role jobs has run");
    else
        fact(
            f, "no_leader",
            "nobody leads this context's jobs since %s (epoch %lld): cron lines and rescue wait for a worker with role "
            "jobs",
            words_of(f, "until_at"), number_of(f, "epoch"));
}

static void say_running(Facts *f) {
    fact(f, "running", "it is running: attempt %lld of %lld, on %s, since %s", number_of(f, "attempt"),
         number_of(f, "attempts_max"), words_of(f, "node"), words_of(f, "claimed_at"));
    if (text_of(f, "cancel_asked") != NULL)
        fact(f, "cancel_asked", "%s asked to cancel it; its worker has not ended it yet", words_of(f, "cancel_asked"));
    if (is_true(f, "node_lives"))
        return;
    if (text_of(f, "node") == NULL)
        fact(f, "orphan", "its worker is gone; the leader gives the job to another within moments");
    else
        fact(f, "orphan", "its worker %s has been silent for %lld s; after %lld s the leader gives its jobs to others",
             words_of(f, "node"), number_of(f, "silent"), (long long)f->desk->rescue_ms / 1000);
    say_leader(f);
}

static void say_ended(Facts *f, JobState state) {
    const char *reason = words_of(f, "reason");
    if (state == JOB_COMPLETED)
        fact(f, "completed", "it is done, since %s", words_of(f, "finished_at"));
    else if (state == JOB_CANCELLED)
        fact(f, "cancelled", "it was cancelled at %s: %s", words_of(f, "finished_at"), reason);
    else
        fact(f, "discarded", "it was given up at %s after attempt %lld of %lld: %s", words_of(f, "finished_at"),
             number_of(f, "attempt"), number_of(f, "attempts_max"), reason);
    if (text_of(f, "other") != NULL && is_true(f, "unique_waiting"))
        fact(f, "unique_conflict", "it cannot be retried: job %s holds the same unique values", words_of(f, "other"));
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

static const JobQueue *queue_of(const Facts *f) {
    for (const JobQueue *queue = f->desk->board->queues; queue->name != NULL; queue++)
        if (strcmp(queue->name, words_of(f, "queue")) == 0)
            return queue;
    return NULL;
}

static void say_when(Facts *f) {
    if (number_of(f, "due_in") <= 0)
        return;
    if (number_of(f, "attempt") > 0)
        fact(f, "retry_wait", "attempt %lld of %lld ended with: %s; the next is due at %s, in %lld s",
             number_of(f, "attempt"), number_of(f, "attempts_max"), words_of(f, "reason"), words_of(f, "run_at"),
             number_of(f, "due_in"));
    else
        fact(f, "scheduled", "it is scheduled for %s, in %lld s", words_of(f, "run_at"), number_of(f, "due_in"));
}

static void say_workers(Facts *f) {
    const char *queue = words_of(f, "queue"), *known = text_of(f, "known_workers");
    if (number_of(f, "workers") > 0)
        return;
    if (known == NULL)
        fact(f, "no_worker", "no worker serves queue %s: start one with role jobs", queue);
    else
        fact(f, "no_worker", "no living worker serves queue %s; ending or silent: %s", queue, known);
}

static void say_limits(Facts *f) {
    const JobQueue *queue = queue_of(f);
    if (queue == NULL) {
        fact(f, "unknown_queue", "queue %s is not declared by this usher", words_of(f, "queue"));
        return;
    }
    long long global = number_of(f, "limit_global"), local = number_of(f, "limit_local");
    long long running = number_of(f, "running"), workers = number_of(f, "workers");
    global = global < 0 ? queue->limit_global : global;
    local = local < 0 ? (queue->limit == 0 ? JOB_LIMIT_DEFAULT : queue->limit) : local;
    if (global > 0 && running >= global)
        fact(f, "global_limit", "the global limit of queue %s is reached, %lld of %lld run: %s", queue->name, running,
             global, words_of(f, "holders"));
    else if (workers > 0 && running >= workers * local)
        fact(f, "local_limit", "the %lld workers of queue %s run %lld jobs each at most, %lld run: %s", workers,
             queue->name, local, running, words_of(f, "holders"));
    long long left_ms = queue->rate_ms - number_of(f, "rate_age");
    if (queue->rate > 0 && text_of(f, "rate_from") != NULL && left_ms > 0 && number_of(f, "rate_used") >= queue->rate)
        fact(f, "rate_limit",
             "the rate of queue %s is spent: %lld of %d per %lld ms since %s; the next begins in %lld ms", queue->name,
             number_of(f, "rate_used"), queue->rate, (long long)queue->rate_ms, words_of(f, "rate_from"), left_ms);
}

static void say_waiting(Facts *f) {
    if (is_true(f, "paused"))
        fact(f, "paused", "queue %s is paused; `usher jobs resume %s` lets it go on", words_of(f, "queue"),
             words_of(f, "queue"));
    say_when(f);
    say_workers(f);
    if (job_kind(f->desk->board, str_c(words_of(f, "kind"))) == NULL)
        fact(f, "unknown_kind", "this usher declares no kind %s; one that does must run", words_of(f, "kind"));
    say_limits(f);
    long long ahead = number_of(f, "ahead");
    bool held = f->first != NULL;
    if (ahead > 0)
        fact(f, "behind", "%lld%s due jobs of queue %s come before it", ahead, ahead == 10000 ? " or more" : "",
             words_of(f, "queue"));
    else if (!held)
        fact(f, "next", "nothing holds it back: a worker of queue %s takes it within moments", words_of(f, "queue"));
}

Err desk_why(const JobDesk *desk, Id id, JobFact **ret) {
    char text[ID_TEXT_LEN + 1] = {0};
    id_format(&id, text);
    const char *values[] = {text, arena_printf(desk->ctx->arena, "%lld", (long long)desk->rescue_ms).p};
    PGresult *rows;
    TRY(desk_ask(desk, SQL_JOBS_DESK_WHY, 2, values, &rows));
    if (PQntuples(rows) == 0) {
        PQclear(rows);
        return ctx_problem(desk->ctx, ERR_NOT_FOUND, NULL, "there is no job %s in %s", text,
                           desk->board->context->name);
    }
    Facts f = {.desk = desk, .row = rows};
    f.end = &f.first;
    JobState state = (JobState)number_of(&f, "state");
    if (state == JOB_WAITING)
        say_waiting(&f);
    else if (state == JOB_RUNNING)
        say_running(&f);
    else
        say_ended(&f, state);
    PQclear(rows);
    *ret = f.first;
    return f.refused ? ERR_NO_MEMORY : ERR_OK;
}

/* --- cron lines --------------------------------------------------------------------------------------------------- */

static const JobCron *line_named(const JobBoard *board, const char *name) {
    for (const JobCron *line = board->crons; line != NULL && line->name != NULL; line++)
        if (strcmp(line->name, name) == 0)
            return line;
    return NULL;
}

static Err next_moment(const JobDesk *desk, const JobCron *line, Str *ret) {
    char text[INSTANT_TEXT_MAX];
    Cron cron;
    Zone *zone;
    Instant next;
    TRY(cron_parse(desk->ctx, line->expression, &cron));
    TRY(zone_open(desk->ctx, desk->ctx->arena, line->zone == NULL ? "UTC" : line->zone, &zone));
    TRY(cron_next(&cron, zone, clock_now(), &next));
    *ret = arena_str(desk->ctx->arena, (Str){text, instant_format(next, text)});
    return ret->p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

Err desk_why_cron(const JobDesk *desk, const char *name, JobFact **ret) {
    const JobCron *line = line_named(desk->board, name);
    const char *values[] = {name};
    PGresult *rows;
    Str next;
    if (line == NULL)
        return ctx_problem(desk->ctx, ERR_NOT_FOUND, NULL, "%s has no cron line %s", desk->board->context->name, name);
    TRY(next_moment(desk, line, &next));
    TRY(desk_ask(desk, SQL_JOBS_DESK_WHY_CRON, 1, values, &rows));
    Facts f = {.desk = desk, .row = rows};
    f.end = &f.first;
    if (PQntuples(rows) == 0) {
        fact(&f, "no_leader", "nobody has led this context's jobs since the line was declared");
    } else {
        say_leader(&f);
        if (is_true(&f, "led"))
            fact(&f, "led", "%s leads under epoch %lld", words_of(&f, "leader"), number_of(&f, "epoch"));
        fact(&f, "latest", "its latest moment with a job, or the one it began after, is %s; job: %s",
             words_of(&f, "last_at"), words_of(&f, "latest"));
    }
    fact(&f, "next_moment", "\"%s\" in %s comes next at %.*s", line->expression,
         line->zone == NULL ? "UTC" : line->zone, STR_ARG(next));
    PQclear(rows);
    *ret = f.first;
    return f.refused ? ERR_NO_MEMORY : ERR_OK;
}
