/*
 * gateway_config.c - reading the routes file: one table row per member.
 *
 * How to add a member: 1. a field in gateway_config.h; 2. a row in the table of its object; 3. its meaning in
 * docs/gateway.md. Unknown members are mistakes: a word misspelt must not be a rule that silently never holds. Reading
 * goes on behind a mistake, so that all of them are told at once; only broken JSON ends it.
 */
#include "api_gateway/gateway_config.h"

#include <stdarg.h>
#include <stdio.h>

#include "runtime/config.h"

enum { CONFIG_DEPTH_MAX = 16, MESSAGE_MAX = 1024 };

typedef struct Reading {
    JsonReader json;
    GatewayConfig *config;
    Buf *mistakes;
    bool broken;
    size_t upstream_room, route_room;
} Reading;

typedef enum MemberKind {
    MEMBER_TEXT,
    MEMBER_TEXTS,
    MEMBER_DURATION,
    MEMBER_COUNT,
    MEMBER_BOOL,
    MEMBER_OBJECT
} MemberKind;

typedef struct FileMember {
    const char *name;
    MemberKind kind;
    size_t offset;
    int64_t min, max;                             /* of MEMBER_COUNT and MEMBER_DURATION */
    void (*read)(Reading *reading, void *target); /* MEMBER_OBJECT: whatever stands there */
} FileMember;

void config_mistake(Buf *mistakes, Str file, const JsonPosition *at, const char *format, ...) {
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (at != NULL)
        buf_printf(mistakes, "%.*s:%lld:%lld: ", STR_ARG(file), (long long)at->line + 1, (long long)at->column + 1);
    buf_add(mistakes, (Str){message, (size_t)MIN_OF(MAX_OF(n, 0), MESSAGE_MAX - 1)});
    buf_add_char(mistakes, '\n');
}

#define MISTAKE(reading, ...)                                                                                          \
    do {                                                                                                               \
        JsonPosition at_ = json_token_position(&(reading)->json);                                                      \
        config_mistake((reading)->mistakes, (reading)->config->file, &at_, __VA_ARGS__);                               \
    } while (0)

/* The next token; what cannot be read is told once. */
static bool next(Reading *reading) {
    if (reading->broken)
        return false;
    if (json_next(&reading->json) == ERR_OK)
        return true;
    JsonPosition at = json_position(&reading->json);
    config_mistake(reading->mistakes, reading->config->file, &at,
                   "this is not JSON: look for a missing comma, quote or bracket");
    reading->broken = true;
    return false;
}

static void skip(Reading *reading) {
    if (reading->broken || json_skip(&reading->json) == ERR_OK)
        return;
    reading->broken = true;
    MISTAKE(reading, "this is not JSON");
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static bool text_read(Reading *reading, Str *ret) {
    if (reading->json.token != JSON_STRING) {
        MISTAKE(reading, "a text in quotes is wanted here");
        skip(reading);
        return false;
    }
    Str text;
    if (json_string(&reading->json, reading->config->arena, &text) != ERR_OK) {
        MISTAKE(reading, "this text is not UTF-8");
        return false;
    }
    *ret = arena_str(reading->config->arena, text);
    return true;
}

/* One text, or a list of them. */
static void texts_read(Reading *reading, Slice(Str) * ret) {
    Str *items = ARENA_ARRAY(reading->config->arena, Str, CONFIG_LIST_MAX);
    size_t n = 0;
    if (items == NULL)
        return;
    if (reading->json.token != JSON_ARRAY_START) {
        n = text_read(reading, &items[0]) ? 1 : 0;
    } else {
        while (next(reading) && reading->json.token != JSON_ARRAY_END) {
            if (n == CONFIG_LIST_MAX) {
                MISTAKE(reading, "a list has at most %d members", CONFIG_LIST_MAX);
                skip(reading);
            } else if (text_read(reading, &items[n])) {
                n++;
            }
        }
    }
    *ret = (Slice(Str)){items, n};
}

static void duration_read(Reading *reading, const FileMember *member, int64_t *ret) {
    Str text;
    int64_t ms;
    if (reading->json.token != JSON_STRING) {
        MISTAKE(reading, "%s is a duration in quotes: \"250ms\", \"2s\", \"5m\"", member->name);
        skip(reading);
    } else if (text_read(reading, &text)) {
        if (config_parse_duration(text, &ms) != ERR_OK || ms < member->min || ms > member->max)
            MISTAKE(reading, "%s is a duration from %lld to %lld ms: \"250ms\", \"2s\", \"5m\"", member->name,
                    (long long)member->min, (long long)member->max);
        else
            *ret = ms;
    }
}

static void count_read(Reading *reading, const FileMember *member, int64_t *ret) {
    uint64_t value;
    if (reading->json.token != JSON_NUMBER ||
        str_to_u64(reading->json.lexeme, (uint64_t)member->max, &value) != ERR_OK || (int64_t)value < member->min) {
        MISTAKE(reading, "%s is a whole number from %lld to %lld", member->name, (long long)member->min,
                (long long)member->max);
        skip(reading);
        return;
    }
    *ret = (int64_t)value;
}

static void bool_read(Reading *reading, const FileMember *member, bool *ret) {
    if (reading->json.token != JSON_TRUE && reading->json.token != JSON_FALSE) {
        MISTAKE(reading, "%s is true or false", member->name);
        skip(reading);
        return;
    }
    *ret = reading->json.token == JSON_TRUE;
}

static void member_read(Reading *reading, const FileMember *member, void *target) {
    void *place = (char *)target + member->offset;
    switch (member->kind) {
    case MEMBER_TEXT:
        (void)text_read(reading, place);
        break;
    case MEMBER_TEXTS:
        texts_read(reading, place);
        break;
    case MEMBER_DURATION:
        duration_read(reading, member, place);
        break;
    case MEMBER_COUNT:
        count_read(reading, member, place);
        break;
    case MEMBER_BOOL:
        bool_read(reading, member, place);
        break;
    case MEMBER_OBJECT:
        member->read(reading, place);
        break;
    }
}

static void unknown_member(Reading *reading, const FileMember *members, const char *what, Str name) {
    char known[512];
    size_t n = 0;
    for (const FileMember *it = members; it->name != NULL && n < sizeof known; it++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n > 0 ? ", " : "", it->name);
    MISTAKE(reading, "%s has no member \"%.*s\"; it has %s", what, STR_ARG(name), known);
}

static void object_read(Reading *reading, const FileMember *members, const char *what, void *target) {
    if (reading->json.token != JSON_OBJECT_START) {
        MISTAKE(reading, "%s is an object { … }", what);
        skip(reading);
        return;
    }
    while (next(reading) && reading->json.token == JSON_NAME) {
        Str name = reading->json.lexeme;
        const FileMember *member = members;
        while (member->name != NULL && !str_eq_c(name, member->name))
            member++;
        if (member->name == NULL)
            unknown_member(reading, members, what, name);
        if (!next(reading))
            return;
        if (member->name == NULL)
            skip(reading);
        else
            member_read(reading, member, target);
    }
}

/* --- the objects -------------------------------------------------------------------------------------------------- */

#define HOUR 3600000
#define LIMIT(name_, kind_, member, min_, max_)                                                                        \
    { .name = name_, .kind = kind_, .offset = offsetof(ConfigUpstream, limits.member), .min = min_, .max = max_ }

static const FileMember UPSTREAM_MEMBERS[] = {
    {.name = "urls", .kind = MEMBER_TEXTS, .offset = offsetof(ConfigUpstream, urls)},
    {.name = "check", .kind = MEMBER_TEXT, .offset = offsetof(ConfigUpstream, check)},
    LIMIT("check_interval", MEMBER_DURATION, check_ms, 10, HOUR),
    LIMIT("check_timeout", MEMBER_DURATION, check_timeout_ms, 10, HOUR),
    LIMIT("check_rise", MEMBER_COUNT, check_rise, 1, 100),
    LIMIT("check_fall", MEMBER_COUNT, check_fall, 1, 100),
    LIMIT("connect_timeout", MEMBER_DURATION, connect_ms, 1, HOUR),
    LIMIT("first_byte_timeout", MEMBER_DURATION, first_byte_ms, 1, 24 * HOUR),
    LIMIT("idle_timeout", MEMBER_DURATION, idle_ms, 1, 24 * HOUR),
    LIMIT("total_timeout", MEMBER_DURATION, total_ms, 0, 24 * HOUR),
    LIMIT("tunnel_idle_timeout", MEMBER_DURATION, tunnel_idle_ms, 1, 24 * HOUR),
    LIMIT("keep_alive", MEMBER_DURATION, keep_ms, 0, 24 * HOUR),
    LIMIT("keep_alive_max", MEMBER_COUNT, keep_max, 0, 65536),
    LIMIT("requests_max", MEMBER_COUNT, requests_max, 1, 65536),
    LIMIT("queue_max", MEMBER_COUNT, queue_max, 0, 65536),
    LIMIT("queue_timeout", MEMBER_DURATION, queue_ms, 1, HOUR),
    LIMIT("retry_percent", MEMBER_COUNT, retry_percent, 0, 100),
    LIMIT("failures_max", MEMBER_COUNT, failures_max, 1, 1000000),
    LIMIT("aside", MEMBER_DURATION, aside_ms, 1, HOUR),
    LIMIT("slow_start", MEMBER_DURATION, slow_start_ms, 0, HOUR),
    LIMIT("resolve_interval", MEMBER_DURATION, resolve_ms, 100, 24 * HOUR),
    {.name = NULL},
};

static const FileMember RATE_MEMBERS[] = {
    {.name = "requests", .kind = MEMBER_COUNT, .offset = offsetof(RateRule, requests), .min = 1, .max = 1000000000},
    {.name = "per", .kind = MEMBER_DURATION, .offset = offsetof(RateRule, per_ms), .min = 1000, .max = 24 * HOUR},
    {.name = "name", .kind = MEMBER_TEXT, .offset = offsetof(RateRule, name)},
    {.name = NULL},
};

static void rate_read(Reading *reading, void *target) {
    RateRule *rule = target;
    *rule = (RateRule){.per_ms = 1000, .name = STR("default")};
    object_read(reading, RATE_MEMBERS, "a rate limit", rule);
    for (size_t i = 0; i < rule->name.n; i++)
        if (rule->name.p[i] < ' ' || rule->name.p[i] > '~' || rule->name.p[i] == '"' || rule->name.p[i] == '\\') {
            MISTAKE(reading, "a rate limit's name is plain ASCII without quotes");
            break;
        }
}

static const FileMember ROUTE_MEMBERS[] = {
    {.name = "name", .kind = MEMBER_TEXT, .offset = offsetof(ConfigRoute, name)},
    {.name = "methods", .kind = MEMBER_TEXTS, .offset = offsetof(ConfigRoute, methods)},
    {.name = "path", .kind = MEMBER_TEXT, .offset = offsetof(ConfigRoute, path)},
    {.name = "host", .kind = MEMBER_TEXT, .offset = offsetof(ConfigRoute, host)},
    {.name = "context", .kind = MEMBER_TEXT, .offset = offsetof(ConfigRoute, context)},
    {.name = "group", .kind = MEMBER_TEXT, .offset = offsetof(ConfigRoute, group)},
    {.name = "old", .kind = MEMBER_TEXT, .offset = offsetof(ConfigRoute, old_side)},
    {.name = "new", .kind = MEMBER_TEXT, .offset = offsetof(ConfigRoute, new_side)},
    {.name = "always", .kind = MEMBER_TEXT, .offset = offsetof(ConfigRoute, always)},
    {.name = "rate_limit", .kind = MEMBER_OBJECT, .offset = offsetof(ConfigRoute, rate), .read = rate_read},
    {.name = NULL},
};

static void upstreams_read(Reading *reading, void *target) {
    GatewayConfig *config = reading->config;
    (void)target;
    if (reading->json.token != JSON_OBJECT_START) {
        MISTAKE(reading, "upstreams is an object { \"name\": { \"urls\": […] } }");
        skip(reading);
        return;
    }
    while (next(reading) && reading->json.token == JSON_NAME) {
        ConfigUpstream spare, *upstream = &spare;
        bool room = config->upstream_count < CONFIG_UPSTREAMS_MAX;
        if (room)
            upstream = &config->upstreams[config->upstream_count++];
        else
            MISTAKE(reading, "there are at most %d upstreams", CONFIG_UPSTREAMS_MAX);
        *upstream = (ConfigUpstream){.limits = UPSTREAM_LIMITS_DEFAULT, .at = json_token_position(&reading->json)};
        Str name;
        if (json_string(&reading->json, config->arena, &name) == ERR_OK)
            upstream->name = arena_str(config->arena, name);
        if (!next(reading))
            return;
        object_read(reading, UPSTREAM_MEMBERS, "an upstream", upstream);
    }
}

static void routes_read(Reading *reading, void *target) {
    GatewayConfig *config = reading->config;
    (void)target;
    if (reading->json.token != JSON_ARRAY_START) {
        MISTAKE(reading, "routes is a list [ { \"path\": … } ]");
        skip(reading);
        return;
    }
    while (next(reading) && reading->json.token != JSON_ARRAY_END) {
        ConfigRoute spare, *route = &spare;
        if (config->route_count < CONFIG_ROUTES_MAX)
            route = &config->routes[config->route_count++];
        else
            MISTAKE(reading, "there are at most %d routes", CONFIG_ROUTES_MAX);
        *route = (ConfigRoute){.at = json_token_position(&reading->json)};
        object_read(reading, ROUTE_MEMBERS, "a route", route);
    }
}

static const FileMember CONFIG_MEMBERS[] = {
    {.name = "upstreams", .kind = MEMBER_OBJECT, .read = upstreams_read},
    {.name = "routes", .kind = MEMBER_OBJECT, .read = routes_read},
    {.name = "old", .kind = MEMBER_TEXT, .offset = offsetof(GatewayConfig, old_side)},
    {.name = "new", .kind = MEMBER_TEXT, .offset = offsetof(GatewayConfig, new_side)},
    {.name = "trusted_proxies", .kind = MEMBER_TEXTS, .offset = offsetof(GatewayConfig, trusted_texts)},
    {.name = "upgrades", .kind = MEMBER_TEXTS, .offset = offsetof(GatewayConfig, upgrades)},
    {.name = "forwarded", .kind = MEMBER_TEXTS, .offset = offsetof(GatewayConfig, forwarded)},
    {.name = "rate_limit", .kind = MEMBER_OBJECT, .offset = offsetof(GatewayConfig, rate), .read = rate_read},
    {.name = "without_contexts", .kind = MEMBER_BOOL, .offset = offsetof(GatewayConfig, without_contexts)},
    {.name = NULL},
};

/* Reads the file's text into the config, which holds room for routes and upstreams. */
void gateway_config_parse(GatewayConfig *config, Str text, Buf *mistakes) {
    Reading reading = {.config = config, .mistakes = mistakes};
    json_reader_init(&reading.json, text, CONFIG_DEPTH_MAX);
    if (!next(&reading))
        return;
    object_read(&reading, CONFIG_MEMBERS, "the routes file", config);
    if (!reading.broken && next(&reading) && reading.json.token != JSON_END)
        MISTAKE(&reading, "something stands behind the end of the document");
}
