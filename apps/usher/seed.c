/*
 * seed.c - sample data, made by the contexts' own actions.
 *
 * The events and users come into being exactly as if clients had asked for them: with messages in the outbox, which the
 * relay and the consumers turn into tickets once they run. Dates are relative to now, so that sample events never run
 * out.
 */
#include "core_events/core_events.h"
#include "core_users/core_users.h"
#include "runtime/co.h"
#include "usher/app.h"

#define SEED_DEADLINE_MS 30000
#define DAY_TICKS        (86400LL * TICKS_PER_SECOND)

static const struct {
    const char *name;
    int32_t venue;
    int days_ahead, start_hour, hours;
    const char *price;
} SAMPLE_EVENTS[] = {
    {"Opening Night", 0, 14, 19, 3, "45.00"},   {"Jazz in the Round", 9, 21, 20, 2, "32.50"},
    {"City Derby", 7, 30, 15, 2, "28.00"},      {"Comedy Gala", 8, 37, 19, 3, "39.95"},
    {"Winter Symphony", 5, 45, 19, 2, "52.25"}, {"Indie All Dayer", 2, 60, 12, 10, "64.00"},
};

static const struct {
    const char *name, *email;
    int32_t type;
} SAMPLE_USERS[] = {
    {"Ada Customer", "ada@example.com", 0},
    {"Grace Customer", "grace@example.com", 0},
    {"Alan Administrator", "alan@example.com", 1},
};

typedef struct Seeding {
    App app;
    const Settings *settings;
    Loop *loop;
    Ctx *report_to;
    Buf *report;
    Err err;
} Seeding;

static CO_FN Err count_rows(Seeding *seeding, const char *context, const char *sql, int64_t *ret) {
    Statement statement = {.name = sql, .sql = sql};
    Ctx *ctx = co_ctx(co_self());
    PgParams params;
    PgResult result;
    pg_params_init(&params, ctx->arena);
    TRY(pg_query(app_pool(&seeding->app, context), &statement, &params, &result));
    *ret = pg_i64(&result, 0, 0);
    return ERR_OK;
}

static CO_FN Err seed_events(Seeding *seeding, Ctx *ctx) {
    Instant today = {.ticks = ctx->now.ticks - ctx->now.ticks % DAY_TICKS};
    for (size_t i = 0; i < ARRAY_LEN(SAMPLE_EVENTS); i++) {
        Event *event = ARENA_NEW(ctx->arena, Event);
        if (event == NULL)
            return ERR_NO_MEMORY;
        event->id = id_random();
        event->event_name = str_c(SAMPLE_EVENTS[i].name);
        event->venue = SAMPLE_EVENTS[i].venue;
        event->start_date.ticks = today.ticks + SAMPLE_EVENTS[i].days_ahead * DAY_TICKS +
                                  SAMPLE_EVENTS[i].start_hour * 3600 * TICKS_PER_SECOND;
        event->end_date.ticks = event->start_date.ticks + SAMPLE_EVENTS[i].hours * 3600 * TICKS_PER_SECOND;
        TRY(decimal_parse(str_c(SAMPLE_EVENTS[i].price), &event->price));
        TRY(action_run(app_engine(&seeding->app, "events"), &EVENT_RESOURCE, "create", ctx, event, NULL));
    }
    return ERR_OK;
}

static CO_FN Err seed_users(Seeding *seeding, Ctx *ctx) {
    for (size_t i = 0; i < ARRAY_LEN(SAMPLE_USERS); i++) {
        User *user = ARENA_NEW(ctx->arena, User);
        if (user == NULL)
            return ERR_NO_MEMORY;
        user->id = id_random();
        user->full_name = str_c(SAMPLE_USERS[i].name);
        user->email = str_c(SAMPLE_USERS[i].email);
        user->user_type = SAMPLE_USERS[i].type;
        TRY(action_run(app_engine(&seeding->app, "users"), &USER_RESOURCE, "create", ctx, user, NULL));
    }
    return ERR_OK;
}

static CO_FN Err seed_all(Seeding *seeding, Ctx *ctx) {
    int64_t events = 0, users = 0;
    TRY(count_rows(seeding, "events", "SELECT count(*) FROM events.events", &events));
    TRY(count_rows(seeding, "users", "SELECT count(*) FROM users.users", &users));
    if (events > 0 || users > 0) {
        buf_printf(seeding->report, "there are %lld events and %lld users already; nothing added\n", (long long)events,
                   (long long)users);
        return ERR_OK;
    }
    TRY(seed_events(seeding, ctx));
    TRY(seed_users(seeding, ctx));
    buf_printf(seeding->report, "added %zu events and %zu users\n", ARRAY_LEN(SAMPLE_EVENTS), ARRAY_LEN(SAMPLE_USERS));
    return ERR_OK;
}

static CO_FN void seed_main(Ctx *ctx, void *arg) {
    Seeding *seeding = arg;
    seeding->err = seed_all(seeding, ctx);
    if (seeding->err != ERR_OK)
        (void)ctx_problem(seeding->report_to, seeding->err, NULL, "%.*s", STR_ARG(ctx->problem.message));
    app_close(&seeding->app);
    loop_stop(seeding->loop);
}

Err app_seed(Ctx *ctx, const Settings *settings, Buf *report) {
    Seeding seeding = {.settings = settings, .report = report, .report_to = ctx, .err = ERR_INTERNAL};
    TRY(loop_new(&seeding.loop));
    Err err = app_open(&seeding.app, seeding.loop, settings, (const char *const[]){"events", "users", NULL});
    CoOptions options = {.name = "seed", .deadline_ms = clock_mono_ms() + SEED_DEADLINE_MS};
    if (err == ERR_OK)
        err = co_spawn(seeding.loop, seed_main, &seeding, &options, NULL);
    if (err == ERR_OK) {
        loop_run(seeding.loop);
        err = seeding.err;
    }
    loop_free(seeding.loop);
    return err;
}
