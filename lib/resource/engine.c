/*
 * engine.c - a context at run time: its queues, its turn hook, its outbox's wake-up.
 *
 * All that was asked in a turn is looked at once, at its end (TURN_BATCH): keyed reads leave as one statement per
 * resource, and one set is started unless one is still being committed. An idle turn costs nothing: the hook is armed
 * by who joins.
 */
#include "resource/engine_internal.h"

#define ENGINE_ARENA_BYTES (8u * 1024 * 1024)

static void engine_turn(TurnHook *hook) {
    Engine *engine = (Engine *)((char *)hook - offsetof(Engine, hook));
    if (engine->closed) {
        arena_free(engine->arena);
        return;
    }
    engine_start_reads(engine);
    engine_start_set(engine);
}

static Err make_actions(Engine *engine, const Resource *resource) {
    for (const Action *action = resource->actions; action != NULL && action->name != NULL; action++) {
        ActionQueue *queue = &engine->actions[engine->n_actions++];
        *queue = (ActionQueue){.engine = engine, .resource = resource, .action = action};
        bool derived = action->run == NULL && action->kind != ACTION_READ && action->kind != ACTION_CUSTOM;
        if (derived)
            TRY(compose_action(engine->arena, engine->context, resource, action, &queue->derived));
    }
    return ERR_OK;
}

static Err make_keyed(Engine *engine, const Resource *resource) {
    if (resource->internal || resource_key(resource) == NULL)
        return ERR_OK;
    KeyedQueue *queue = &engine->keyed[engine->n_keyed++];
    *queue = (KeyedQueue){.engine = engine, .resource = resource, .key = resource_key(resource)->name};
    queue->statement = &queue->own;
    for (const Action *action = resource->actions; action != NULL && action->name != NULL; action++)
        if (action->kind == ACTION_READ && queue->read == NULL)
            queue->read = action;
    return compose_get(engine->arena, resource, &queue->own);
}

static Err make_queues(Engine *engine) {
    const Resource *const *resources = engine->context->resources;
    size_t n_actions = 0, n_resources = 0;
    for (; resources[n_resources] != NULL; n_resources++)
        for (const Action *a = resources[n_resources]->actions; a != NULL && a->name != NULL; a++)
            n_actions++;
    engine->actions = ARENA_ARRAY(engine->arena, ActionQueue, n_actions);
    engine->keyed = ARENA_ARRAY(engine->arena, KeyedQueue, n_resources);
    if (engine->actions == NULL || engine->keyed == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n_resources; i++) {
        TRY(make_actions(engine, resources[i]));
        TRY(make_keyed(engine, resources[i]));
    }
    return ERR_OK;
}

static Err make_outbox(Engine *engine) {
    engine->outbox = context_outbox(engine->context);
    if (engine->outbox == NULL)
        return ERR_OK;
    engine->outbox_channel = arena_printf(engine->arena, "%s_outbox", engine->outbox->schema).p;
    if (engine->outbox_channel == NULL)
        return ERR_NO_MEMORY;
    return compose_outbox(engine->arena, engine->context, &engine->outbox_append);
}

Err engine_new(Loop *loop, const Context *context, PgPool *pool, Engine **ret) {
    Arena *arena = arena_new(ENGINE_ARENA_BYTES);
    if (arena == NULL)
        return ERR_NO_MEMORY;
    Engine *engine = ARENA_NEW(arena, Engine);
    if (engine == NULL) {
        arena_free(arena);
        return ERR_NO_MEMORY;
    }
    *engine = (Engine){.arena = arena,
                       .loop = loop,
                       .context = context,
                       .pool = pool,
                       .hook = {.fn = engine_turn, .rank = TURN_BATCH}};
    Err err = make_queues(engine);
    if (err == ERR_OK)
        err = make_outbox(engine);
    if (err != ERR_OK) {
        arena_free(arena);
        return err;
    }
    *ret = engine;
    return ERR_OK;
}

void engine_free(Engine *engine) {
    if (engine == NULL)
        return;
    /* Sets and reads are coroutines that point here: the worker ends its coroutines (co_drain) before its engines. */
    ASSERT(!engine->set_running);
    ASSERT(engine->reads_running == 0);
    engine->closed = true;
    if (!engine->hook.armed) /* otherwise its hook is the last who knows it */
        arena_free(engine->arena);
}

PgPool *engine_pool(Engine *engine) {
    return engine->pool;
}

const Context *engine_context(Engine *engine) {
    return engine->context;
}

Str sql_with_schema(Arena *arena, const char *schema, Str sql) {
    const Str mark = STR("{schema}");
    Buf out = buf_new(arena, 65536);
    for (ptrdiff_t at; (at = str_find(sql, mark)) >= 0; sql = str_slice(sql, (size_t)at + mark.n, sql.n)) {
        buf_add(&out, str_slice(sql, 0, (size_t)at));
        buf_add_c(&out, schema);
    }
    buf_add(&out, sql);
    Str text;
    return buf_finish(&out, &text) == ERR_OK ? arena_str(arena, text) : (Str){NULL, 0};
}

Err engine_statement(Engine *engine, const char *name, const char *sql, bool writes, const Statement **ret) {
    for (const ExtraStatement *extra = engine->extras; extra != NULL; extra = extra->next) {
        if (strcmp(extra->statement.name, name) == 0) {
            *ret = &extra->statement;
            return ERR_OK;
        }
    }
    ExtraStatement *extra = ARENA_NEW(engine->arena, ExtraStatement);
    Str own_name = arena_str(engine->arena, str_c(name));
    Str text = sql_with_schema(engine->arena, engine->context->schema, str_c(sql));
    if (extra == NULL || own_name.p == NULL || text.p == NULL)
        return ERR_NO_MEMORY;
    *extra =
        (ExtraStatement){.statement = {.name = own_name.p, .sql = text.p, .writes = writes}, .next = engine->extras};
    engine->extras = extra;
    *ret = &extra->statement;
    return ERR_OK;
}

const Resource *engine_outbox(Engine *engine) {
    return engine->outbox;
}

void engine_attach(Engine *engine, AttachedWriter writer, void *data) {
    engine->attached_writer = writer;
    engine->attached_data = data;
}

EngineStats engine_stats(const Engine *engine) {
    return engine->stats;
}

/* --- waiting for the outbox --------------------------------------------------------------------------------------- */

static void outbox_appended(Str payload UNUSED, void *data) {
    Engine *engine = data;
    engine->outbox_appends++;
    while (engine->outbox_waiters != NULL) {
        OutboxWaiter *waiter = engine->outbox_waiters;
        engine->outbox_waiters = waiter->next;
        wait_wake(&waiter->wait, ERR_OK);
    }
}

CO_FN Err engine_outbox_wait(Engine *engine, uint64_t *seen, int64_t most_ms) {
    ASSERT(engine->outbox != NULL);
    if (!engine->listening) {
        TRY(pg_listen(engine->pool, engine->outbox_channel, outbox_appended, engine));
        engine->listening = true;
    }
    Err err = ERR_OK;
    if (*seen == engine->outbox_appends) {
        OutboxWaiter waiter = {.next = engine->outbox_waiters};
        engine->outbox_waiters = &waiter;
        err = co_wait(&waiter.wait, clock_mono_ms() + most_ms);
        for (OutboxWaiter **at = &engine->outbox_waiters; *at != NULL; at = &(*at)->next) {
            if (*at == &waiter) {
                *at = waiter.next;
                break;
            }
        }
    }
    *seen = engine->outbox_appends;
    return err == ERR_TIMEOUT ? ERR_OK : err;
}
