/*
 * settings.c - the table of settings.
 *
 * How to add one: 1. a member in Settings; 2. a row here; 3. use it. Help, `usher config` and doctor follow from the
 * row.
 */
#include "usher/settings.h"

#include "legacy/quirks.h"

static Err check_quirks(Ctx *ctx, Str value) {
    return quirks_check(ctx, value);
}

static Err check_role_names(Ctx *ctx, Str value) {
    Str rest = value;
    while (rest.p != NULL) {
        Str role = str_trim(str_cut(&rest, ','), " ");
        if (!str_eq_c(role, "http") && !str_eq_c(role, "relay") && !str_eq_c(role, "consume"))
            return ctx_problem(ctx, ERR_INVALID, "ROLES", "there is no role \"%.*s\"; roles are http, relay, consume",
                               STR_ARG(role));
    }
    return ERR_OK;
}

#define S(member) offsetof(Settings, member)

const Setting SETTINGS[] = {
    {.env = "DATABASE_URL",
     .kind = SETTING_URL,
     .offset = S(database_url),
     .secret = true,
     .doc = "Postgres of all contexts that have no URL of their own, e.g. postgresql://user@host/db."},
    {.env = "EVENTS_DATABASE_URL",
     .kind = SETTING_URL,
     .offset = S(events_database_url),
     .secret = true,
     .doc = "Postgres of the events context; default DATABASE_URL."},
    {.env = "USERS_DATABASE_URL",
     .kind = SETTING_URL,
     .offset = S(users_database_url),
     .secret = true,
     .doc = "Postgres of the users context; default DATABASE_URL."},
    {.env = "TICKETS_DATABASE_URL",
     .kind = SETTING_URL,
     .offset = S(tickets_database_url),
     .secret = true,
     .doc = "Postgres of the tickets context; default DATABASE_URL."},
    {.env = "BUS_DATABASE_URL",
     .kind = SETTING_URL,
     .offset = S(bus_database_url),
     .secret = true,
     .doc = "Postgres of the built-in message transport; default DATABASE_URL."},
    {.env = "SET_ROLE",
     .kind = SETTING_BOOL,
     .offset = S(set_role),
     .fallback = "true",
     .doc =
         "Take on each context's least-privilege role (usher_events …) after connecting; false where each URL has its "
         "own user."},
    {.env = "LISTEN",
     .kind = SETTING_TEXT,
     .offset = S(listen),
     .fallback = "127.0.0.1:5000",
     .doc = "Where to serve HTTP: ADDR:PORT, [ADDR6]:PORT, :PORT or unix:/path; several separated by commas."},
    {.env = "HTTP_WORKERS",
     .kind = SETTING_INT,
     .offset = S(http_workers),
     .fallback = "1",
     .min = 1,
     .max = 256,
     .doc = "How many single-threaded HTTP workers; one per two cores measured best beside a local Postgres."},
    {.env = "ROLES",
     .kind = SETTING_TEXT,
     .offset = S(roles),
     .fallback = "http,relay,consume",
     .check = check_role_names,
     .doc = "Which kinds of worker this machine runs."},
    {.env = "LOG_LEVEL",
     .kind = SETTING_TEXT,
     .offset = S(log_level),
     .fallback = "info",
     .reload = true,
     .doc = "debug, info, warn or error."},
    {.env = "LOG_FORMAT",
     .kind = SETTING_TEXT,
     .offset = S(log_format),
     .fallback = "auto",
     .doc = "auto (text on a terminal, else json), text or json."},
    {.env = "QUIRKS_OFF",
     .kind = SETTING_TEXT,
     .offset = S(quirks_off),
     .fallback = "",
     .check = check_quirks,
     .reload = true,
     .doc = "Habits of the old system to leave off, by name (see `usher quirks`); all switches every one off."},
    {.env = "DRAIN_TIMEOUT",
     .kind = SETTING_DURATION_MS,
     .offset = S(drain_ms),
     .fallback = "10s",
     .min = 0,
     .max = 3600000,
     .doc = "How long work in flight may finish after SIGTERM."},
    {.env = "REQUEST_TIMEOUT",
     .kind = SETTING_DURATION_MS,
     .offset = S(request_ms),
     .fallback = "5s",
     .min = 10,
     .max = 3600000,
     .doc = "How long one request may take, waiting for Postgres included; then 503."},
    {.env = "IDLE_TIMEOUT",
     .kind = SETTING_DURATION_MS,
     .offset = S(idle_ms),
     .fallback = "130s",
     .min = 100,
     .max = 86400000,
     .doc = "How long a keep-alive connection may stay without a request."},
    {.env = "BODY_MAX",
     .kind = SETTING_BYTES,
     .offset = S(body_max_bytes),
     .fallback = "30000000B",
     .min = 1,
     .max = 1000000000,
     .doc = "Largest request body."},
    {.env = "CONNECTIONS_MAX",
     .kind = SETTING_INT,
     .offset = S(connections_max),
     .fallback = "10000",
     .min = 1,
     .max = 1000000,
     .doc = "Client connections per HTTP worker; further ones wait in the backlog."},
    {.env = "RELAY_BATCH",
     .kind = SETTING_INT,
     .offset = S(relay_batch),
     .fallback = "500",
     .min = 1,
     .max = 10000,
     .doc = "Outbox rows published at once."},
    {.env = "RELAY_POLL",
     .kind = SETTING_DURATION_MS,
     .offset = S(relay_poll_ms),
     .fallback = "1s",
     .min = 10,
     .max = 3600000,
     .doc = "How often the relay looks at the outbox besides being woken by NOTIFY."},
    {.env = "CONSUMER_BATCH",
     .kind = SETTING_INT,
     .offset = S(consumer_batch),
     .fallback = "100",
     .min = 1,
     .max = 10000,
     .doc = "Messages consumed in one commit."},
    {.env = "RESTART_INTENSITY",
     .kind = SETTING_INT,
     .offset = S(restart_intensity),
     .fallback = "20",
     .min = 1,
     .max = 1000000,
     .doc = "Give up when workers of one role die this often within RESTART_PERIOD."},
    {.env = "RESTART_PERIOD",
     .kind = SETTING_DURATION_MS,
     .offset = S(restart_period_ms),
     .fallback = "60s",
     .min = 1000,
     .max = 86400000,
     .doc = "See RESTART_INTENSITY."},
    {.env = NULL},
};

Str settings_database_url(const Settings *settings, const char *database_env) {
    for (const Setting *row = SETTINGS; row->env != NULL; row++) {
        if (strcmp(row->env, database_env) != 0)
            continue;
        Str own;
        memcpy(&own, (const char *)settings + row->offset, sizeof own);
        if (own.p != NULL && own.n > 0)
            return own;
    }
    return settings->database_url;
}
