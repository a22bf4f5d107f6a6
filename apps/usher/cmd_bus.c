/*
 * cmd_bus.c - `usher bus`: what waits between the contexts, and what was put aside.
 *
 * The dead are grouped by queue, type and reason, because a hundred letters mostly have one cause. The
 * questions are put through the transport's interface; on Postgres the dead lie in bus.dead, on RabbitMQ in the queues
 * NAME_error and NAME_skipped. A retry may be killed and repeated: what is back in its queue is no longer among the
 * dead, or has the id that it had, and the inbox knows ids that have had their effect.
 */
#include "base/map.h"
#include "usher/amqp.h"
#include "usher/app.h"
#include "usher/cmd.h"
#include "json/json.h"

#define BUS_DEADLINE_MS 60000
#define DRAIN_MS        5000
#define GROUP_MAX       100000
#define SHOW_MAX        100

const Option OPTIONS_bus[] = {
    {"queue", OPTION_TEXT, "NAME", "dead: only of this queue (RabbitMQ: or of NAME_error, NAME_skipped)"},
    {"reason", OPTION_TEXT, "TEXT", "dead: only with exactly this reason, as `dead list` shows it"},
    {"all", OPTION_FLAG, NULL, "dead retry, discard: all that --queue and --reason leave, without naming letters"},
    {"json", OPTION_FLAG, NULL, "print JSON"},
    {.name = NULL},
};

typedef struct BusCall {
    Invocation *call;
    const Settings *settings;
    Loop *loop;
    App app;
    Pipeline pipelines[CONSUMED_QUEUES_MAX];
    Buf out;
    JsonWriter *json; /* NULL: words */
    bool more;        /* there are more letters than were looked at */
    Err err;
    int status;
} BusCall;

typedef CO_FN Err (*BusCommand)(BusCall *bus, Ctx *ctx);

/* --- status ------------------------------------------------------------------------------------------------------- */

static void json_number(JsonWriter *w, const char *name, int64_t value) {
    json_name(w, str_c(name));
    json_write_i64(w, value);
}

static void json_text_member(JsonWriter *w, const char *name, Str value) {
    json_name(w, str_c(name));
    if (value.p == NULL)
        json_write_null(w);
    else
        json_write_string(w, value);
}

CO_FN static Err outboxes(BusCall *bus) {
    for (size_t i = 0; CONTEXTS[i] != NULL; i++) {
        OutboxState state;
        Engine *engine = bus->app.engines[i];
        if (engine == NULL || engine_outbox(engine) == NULL)
            continue;
        TRY(outbox_state(engine, &state));
        if (bus->json == NULL) {
            buf_printf(&bus->out, "outbox %-28s %8lld waiting, the oldest for %lld ms\n", CONTEXTS[i]->name,
                       (long long)state.depth, (long long)(state.age_ns / 1000000));
            continue;
        }
        json_object(bus->json);
        json_text_member(bus->json, "context", str_c(CONTEXTS[i]->name));
        json_number(bus->json, "waiting", state.depth);
        json_number(bus->json, "oldest_ms", state.age_ns / 1000000);
        json_object_end(bus->json);
    }
    return ERR_OK;
}

static void add_queue(BusCall *bus, const QueueState *queue) {
    if (bus->json == NULL) {
        buf_printf(&bus->out, "queue  %-28.*s %8lld waiting (%lld for a retry), %lld dead", STR_ARG(queue->name),
                   (long long)queue->waiting, (long long)queue->retrying, (long long)queue->dead);
        if (queue->oldest_ms >= 0)
            buf_printf(&bus->out, ", the oldest for %lld ms", (long long)queue->oldest_ms);
        buf_add_char(&bus->out, '\n');
        return;
    }
    json_object(bus->json);
    json_text_member(bus->json, "queue", queue->name);
    json_number(bus->json, "waiting", queue->waiting);
    json_number(bus->json, "retrying", queue->retrying);
    json_number(bus->json, "dead", queue->dead);
    json_number(bus->json, "oldest_ms", queue->oldest_ms);
    json_object_end(bus->json);
}

CO_FN static Err bus_status(BusCall *bus, Ctx *ctx) {
    const TransportOps *ops = bus->app.transport->ops;
    QueueState *queues;
    size_t n;
    (void)ctx;
    if (bus->json != NULL) {
        json_object(bus->json);
        json_name(bus->json, STR("outboxes"));
        json_array(bus->json);
    }
    TRY(outboxes(bus));
    TRY(ops->status(bus->app.transport, &queues, &n));
    if (bus->json != NULL) {
        json_array_end(bus->json);
        json_name(bus->json, STR("queues"));
        json_array(bus->json);
    }
    for (size_t i = 0; i < n; i++)
        add_queue(bus, &queues[i]);
    if (bus->json != NULL) {
        json_array_end(bus->json);
        json_object_end(bus->json);
    }
    return ERR_OK;
}

/* --- dead list ---------------------------------------------------------------------------------------------------- */

typedef struct Group {
    const DeadLetter *first, *last;
    int64_t n;
} Group;

/* Letters of one cause have one key: its three texts, each behind its length. */
static Str cause_key(Arena *arena, const DeadLetter *l) {
    return arena_printf(arena, "%zu %.*s %zu %.*s %.*s", l->queue.n, STR_ARG(l->queue), l->type.n, STR_ARG(l->type),
                        STR_ARG(l->reason));
}

/* Few causes, many letters; but words may differ in each, so the group is looked up. */
static Err group(Arena *arena, const DeadLetter *letters, size_t n, Group *groups, size_t *ret_n) {
    Map *found = map_new(arena, 64);
    if (found == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        Str key = cause_key(arena, &letters[i]);
        Group *g = key.p == NULL ? NULL : map_get(found, key);
        if (key.p == NULL)
            return ERR_NO_MEMORY;
        if (g == NULL) {
            g = &groups[map_count(found)];
            *g = (Group){.first = &letters[i]};
            TRY(map_put(found, key, g, NULL));
        }
        g->last = &letters[i];
        g->n++;
    }
    *ret_n = map_count(found);
    return ERR_OK;
}

static DeadFilter filter_of(BusCall *bus, bool payloads) {
    return (DeadFilter){.queue = str_c(option_text(bus->call, "queue")),
                        .reason = str_c(option_text(bus->call, "reason")),
                        .most = GROUP_MAX,
                        .payloads = payloads,
                        .ret_more = &bus->more};
}

static void add_group(BusCall *bus, const Group *g) {
    const DeadLetter *first = g->first;
    if (bus->json == NULL) {
        buf_printf(&bus->out, "%6lld  %.*s  %.*s\n        %.*s\n        from %.*s to %.*s, the first is %.*s\n",
                   (long long)g->n, STR_ARG(first->queue), STR_ARG(first->type), STR_ARG(first->reason),
                   STR_ARG(first->died_at), STR_ARG(g->last->died_at), STR_ARG(first->handle));
        return;
    }
    json_object(bus->json);
    json_number(bus->json, "count", g->n);
    json_text_member(bus->json, "queue", first->queue);
    json_text_member(bus->json, "type", first->type);
    json_text_member(bus->json, "reason", first->reason);
    json_text_member(bus->json, "first_died_at", first->died_at);
    json_text_member(bus->json, "last_died_at", g->last->died_at);
    json_text_member(bus->json, "first", first->handle);
    json_object_end(bus->json);
}

CO_FN static Err dead_list(BusCall *bus, Ctx *ctx) {
    Transport *transport = bus->app.transport;
    DeadFilter filter = filter_of(bus, false);
    DeadLetter *letters;
    size_t n, found;
    TRY(transport->ops->dead->list(transport, &filter, &letters, &n));
    Group *groups = ARENA_ARRAY(ctx->arena, Group, n);
    if (groups == NULL)
        return ERR_NO_MEMORY;
    TRY(group(ctx->arena, letters, n, groups, &found));
    if (bus->json != NULL)
        json_array(bus->json);
    for (size_t i = 0; i < found; i++)
        add_group(bus, &groups[i]);
    if (bus->json != NULL)
        json_array_end(bus->json);
    else if (n == 0)
        buf_add_c(&bus->out, "no dead letters\n");
    return ERR_OK;
}

/* --- dead show ---------------------------------------------------------------------------------------------------- */

static void add_letter(BusCall *bus, const DeadLetter *l) {
    if (bus->json == NULL) {
        buf_printf(&bus->out, "letter   %.*s\nqueue    %.*s\ntype     %.*s\nid       %.*s\ndied at  %.*s\n",
                   STR_ARG(l->handle), STR_ARG(l->queue), STR_ARG(l->type), STR_ARG(l->message_id),
                   STR_ARG(l->died_at));
        buf_printf(&bus->out, "fault    %.*s\nheaders  %.*s\nbody     %.*s\n\n", STR_ARG(l->reason),
                   STR_ARG(l->headers), STR_ARG(l->payload));
        return;
    }
    json_object(bus->json);
    json_text_member(bus->json, "letter", l->handle);
    json_text_member(bus->json, "queue", l->queue);
    json_text_member(bus->json, "type", l->type);
    json_text_member(bus->json, "id", l->message_id);
    json_text_member(bus->json, "died_at", l->died_at);
    json_text_member(bus->json, "fault", l->reason);
    json_name(bus->json, STR("headers"));
    json_write_raw(bus->json, l->headers.p == NULL ? STR("{}") : l->headers);
    json_text_member(bus->json, "body", l->payload); /* as text: a malformed one may be why it lies here */
    json_object_end(bus->json);
}

/* The letters that the arguments name, or (none) that the options leave. */
CO_FN static Err chosen(BusCall *bus, Ctx *ctx, bool payloads, size_t most, DeadLetter **ret, size_t *ret_n) {
    Transport *transport = bus->app.transport;
    const Invocation *call = bus->call;
    DeadFilter filter = filter_of(bus, payloads);
    size_t named = call->argument_count > 2 ? (size_t)call->argument_count - 2 : 0, n = 0;
    filter.most = most;
    if (named == 0)
        return transport->ops->dead->list(transport, &filter, ret, ret_n);
    DeadLetter *letters = ARENA_ARRAY(ctx->arena, DeadLetter, named);
    if (letters == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < named; i++) {
        DeadLetter *one;
        size_t found;
        filter.handle = str_c(call->arguments[i + 2]);
        TRY(transport->ops->dead->list(transport, &filter, &one, &found));
        if (found == 0)
            return ctx_problem(ctx, ERR_NOT_FOUND, NULL, "there is no dead letter %s; `usher bus dead list` shows them",
                               call->arguments[i + 2]);
        letters[n++] = one[0];
    }
    *ret = letters;
    *ret_n = n;
    return ERR_OK;
}

CO_FN static Err dead_show(BusCall *bus, Ctx *ctx) {
    DeadLetter *letters;
    size_t n;
    TRY(chosen(bus, ctx, true, SHOW_MAX, &letters, &n));
    if (bus->json != NULL)
        json_array(bus->json);
    for (size_t i = 0; i < n; i++)
        add_letter(bus, &letters[i]);
    if (bus->json != NULL)
        json_array_end(bus->json);
    return ERR_OK;
}

/* --- dead retry, dead discard ------------------------------------------------------------------------------------- */

CO_FN static Err move_all(BusCall *bus, Ctx *ctx, bool retry) {
    Transport *transport = bus->app.transport;
    const DeadOps *dead = transport->ops->dead;
    DeadLetter *letters = NULL;
    size_t n = 0, moved = 0;
    if (bus->call->argument_count < 3 && !option_flag(bus->call, "all"))
        return ctx_problem(ctx, ERR_REFUSED, NULL, "name letters, or say --all (with --queue, --reason)");
    TRY(chosen(bus, ctx, false, GROUP_MAX, &letters, &n));
    TRY((retry ? dead->retry : dead->discard)(transport, letters, n, &moved));
    if (bus->json != NULL) {
        json_object(bus->json);
        json_number(bus->json, retry ? "retried" : "discarded", (int64_t)moved);
        json_object_end(bus->json);
    } else {
        buf_printf(&bus->out, "%zu %s\n", moved, retry ? "back in their queues" : "discarded");
    }
    return ERR_OK;
}

CO_FN static Err dead_retry(BusCall *bus, Ctx *ctx) {
    return move_all(bus, ctx, true);
}

CO_FN static Err dead_discard(BusCall *bus, Ctx *ctx) {
    return move_all(bus, ctx, false);
}

/* --- the command -------------------------------------------------------------------------------------------------- */

static const struct {
    const char *first, *second;
    BusCommand run;
} commands[] = {
    {"status", NULL, bus_status},  {"dead", "list", dead_list},       {"dead", "show", dead_show},
    {"dead", "retry", dead_retry}, {"dead", "discard", dead_discard},
};

static BusCommand command_of(const Invocation *call) {
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(call->arguments[0], commands[i].first) != 0)
            continue;
        if (commands[i].second == NULL ||
            (call->argument_count > 1 && strcmp(call->arguments[1], commands[i].second) == 0))
            return commands[i].run;
    }
    return NULL;
}

CO_FN static Err run_command(BusCall *bus, Ctx *ctx) {
    return command_of(bus->call)(bus, ctx);
}

CO_FN static void bus_main(Ctx *ctx, void *arg) {
    BusCall *bus = arg;
    bus->err = run_command(bus, ctx);
    if (bus->err != ERR_OK)
        (void)ctx_problem(bus->call->ctx, bus->err, NULL, "%.*s",
                          STR_ARG(ctx->problem.message.p != NULL ? ctx->problem.message : str_c(err_name(bus->err))));
    if (bus->json != NULL)
        buf_add_char(&bus->out, '\n');
    loop_stop(bus->loop);
}

/* The transport hears of the pipelines: they say where their dead lie. */
static Err open_bus(BusCall *bus) {
    TRY(app_open(&bus->app, bus->loop, bus->settings, NULL));
    const Transport *transport = bus->app.transport;
    size_t n = app_pipelines(&bus->app, bus->pipelines);
    for (size_t i = 0; i < n; i++)
        TRY(transport->ops->declare(bus->app.transport, &bus->pipelines[i]));
    return ERR_OK;
}

static Err run_in_loop(BusCall *bus) {
    CoOptions options = {.name = "bus",
                         .deadline_ms = clock_mono_ms() + BUS_DEADLINE_MS,
                         .arena_limit_bytes = (size_t)512 * 1024 * 1024};
    TRY(loop_new(&bus->loop));
    Err err = open_bus(bus);
    if (err == ERR_OK)
        err = co_spawn(bus->loop, bus_main, bus, &options, NULL);
    if (err == ERR_OK) {
        loop_run(bus->loop);
        err = co_drain(bus->loop, clock_mono_ms() + DRAIN_MS); /* a transport may have coroutines of its own */
        err = err != ERR_OK ? err : bus->err;
    }
    app_close(&bus->app);
    loop_free(bus->loop);
    return err;
}

int cmd_bus(Invocation *call) {
    Settings settings;
    int status;
    if (command_of(call) == NULL) {
        err_printf("bus: say status, or dead list, dead show, dead retry, dead discard");
        return 2;
    }
    if (!cli_settings(call, &settings, &status))
        return status;
    BusCall bus = {.call = call, .settings = &settings, .err = ERR_INTERNAL};
    bus.out = buf_new(NULL, (size_t)512 * 1024 * 1024);
    JsonWriter w;
    json_writer_init(&w, &bus.out, JSON_ESCAPE_MINIMAL, 1);
    bus.json = option_flag(call, "json") ? &w : NULL;
    Err err = run_in_loop(&bus);
    if (err == ERR_OK)
        out_str(buf_str(&bus.out));
    if (err == ERR_OK && bus.more)
        err_printf("bus: there are more dead letters than these; narrow it with --queue and --reason, or say it again "
                   "when these are gone");
    buf_done(&bus.out);
    return err == ERR_OK ? 0 : cli_fail(call->ctx, err == ERR_NOT_FOUND ? 1 : 2, "bus");
}
