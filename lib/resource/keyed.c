/*
 * keyed.c - get by key: everything asked in one turn is one statement.
 *
 * Askers wait on their own coroutines, linked into the queue of their resource (Get, on their stacks). At the end of
 * the turn the queue becomes a batch: one coroutine, one `= ANY($1)` on the reader. Unlike a member of a set, an asker
 * may leave at any moment, also while its batch is out: the batch needs nothing of it but the link, and what has left
 * is no longer linked.
 *
 * Rows are decoded into each asker's own arena with their texts copied. Sharing the batch's result between askers would
 * save the copy and tie the life of every request to that of the slowest beside it.
 */
#include "resource/engine_internal.h"

/* --- lists -------------------------------------------------------------------------------------------------------- */

static void list_add(GetList *list, Get *get) {
    get->in = list;
    get->prev = list->last;
    get->next = NULL;
    if (list->last == NULL)
        list->first = get;
    else
        list->last->next = get;
    list->last = get;
    list->n++;
}

static void list_remove(Get *get) {
    GetList *list = get->in;
    if (get->prev == NULL)
        list->first = get->next;
    else
        get->prev->next = get->next;
    if (get->next == NULL)
        list->last = get->prev;
    else
        get->next->prev = get->prev;
    list->n--;
    get->in = NULL;
}

static void get_decide(Get *get, Err outcome) {
    list_remove(get);
    get->outcome = outcome;
    get->decided = true;
    wait_wake(&get->wait, outcome);
}

static void list_fail(GetList *list, Err err) {
    while (list->first != NULL)
        get_decide(list->first, err);
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

/* Decoding borrows texts from the result; the asker outlives it. */
static Err own_texts(const Resource *resource, Arena *arena, void *row) {
    for (const Attribute *a = resource->attributes; a->name != NULL; a++) {
        Str *text = NULL;
        if (a->type == TYPE_TEXT)
            text = (Str *)((char *)row + a->offset);
        else if (a->type == TYPE_JSON)
            text = &((JsonText *)((char *)row + a->offset))->text;
        if (text == NULL || text->p == NULL)
            continue;
        *text = arena_str(arena, *text);
        if (text->p == NULL)
            return ERR_NO_MEMORY;
    }
    return ERR_OK;
}

static Err answer(const Resource *resource, const PgResult *result, int row, Get *get) {
    get->row = arena_alloc(get->ctx->arena, resource->size);
    if (get->row == NULL)
        return ERR_NO_MEMORY;
    TRY(resource_decode(resource, result, row, get->row));
    return own_texts(resource, get->ctx->arena, get->row);
}

static Str key_bytes(const Id *key) {
    return (Str){(const char *)key->bytes, sizeof key->bytes};
}

/* --- one batch ---------------------------------------------------------------------------------------------------- */

/* Each key once. */
static Err bind_keys(Ctx *ctx, const GetList *list, PgParams *params) {
    Map *seen = map_new(ctx->arena, list->n);
    if (seen == NULL)
        return ERR_NO_MEMORY;
    pg_params_init(params, ctx->arena);
    pg_array_begin(params, OID_UUID_ARRAY);
    for (Get *get = list->first; get != NULL; get = get->next) {
        if (map_get(seen, key_bytes(&get->key)) != NULL)
            continue;
        Id *key = ARENA_NEW(ctx->arena, Id); /* the asker may leave while the map lives */
        if (key == NULL)
            return ERR_NO_MEMORY;
        *key = get->key;
        TRY(map_put(seen, key_bytes(key), key, NULL));
        pg_array_id(params, *key);
    }
    pg_array_end(params);
    return params->data.err;
}

/* key → row number + 1 */
static Err index_rows(Ctx *ctx, const PgResult *result, int key_column, Map **ret) {
    Map *rows = map_new(ctx->arena, (size_t)result->rows);
    Id *keys = ARENA_ARRAY(ctx->arena, Id, (size_t)result->rows);
    if (rows == NULL || keys == NULL)
        return ERR_NO_MEMORY;
    for (int row = 0; row < result->rows; row++) {
        keys[row] = pg_id(result, row, key_column);
        TRY(map_put(rows, key_bytes(&keys[row]), (void *)(intptr_t)(row + 1), NULL));
    }
    *ret = rows;
    return ERR_OK;
}

CO_FN static Err run_batch(KeyedQueue *queue, Ctx *ctx, GetList *list) {
    PgParams params;
    PgResult result;
    Map *rows;
    TRY(bind_keys(ctx, list, &params));
    TRY(pg_query(queue->engine->pool, &queue->statement, &params, &result));
    int key_column = PQfnumber(result.raw, resource_key(queue->resource)->name);
    ASSERT(key_column >= 0);
    TRY(index_rows(ctx, &result, key_column, &rows));
    while (list->first != NULL) {
        Get *get = list->first;
        int row = (int)(intptr_t)map_get(rows, key_bytes(&get->key)) - 1;
        get_decide(get, row < 0 ? ERR_NOT_FOUND : answer(queue->resource, &result, row, get));
    }
    return ERR_OK;
}

static int64_t take_batch(KeyedQueue *queue, GetList *list) {
    int64_t latest = 0;
    bool unbounded = false;
    while (queue->waiting.first != NULL && list->n < KEYED_MAX) {
        Get *get = queue->waiting.first;
        list_remove(get);
        list_add(list, get);
        unbounded = unbounded || get->ctx->deadline_ms == 0;
        latest = MAX_OF(latest, get->ctx->deadline_ms);
    }
    return unbounded ? clock_mono_ms() + SET_DEADLINE_MS : latest;
}

CO_FN static void batch_co(Ctx *ctx, void *arg) {
    KeyedQueue *queue = arg;
    GetList list = {0};
    ctx->deadline_ms = take_batch(queue, &list);
    if (list.n > 0) {
        queue->engine->stats.reads++;
        queue->engine->stats.gets += list.n;
        Err err = run_batch(queue, ctx, &list);
        if (err != ERR_OK)
            list_fail(&list, err);
    }
    queue->engine->reads_running--;
}

void engine_start_reads(Engine *engine) {
    for (size_t i = 0; i < engine->n_keyed; i++) {
        KeyedQueue *queue = &engine->keyed[i];
        size_t batches = (queue->waiting.n + KEYED_MAX - 1) / KEYED_MAX;
        for (; batches > 0; batches--) {
            Co *co;
            Err err = co_spawn(engine->loop, batch_co, queue, &(CoOptions){.name = "read"}, &co);
            if (err != ERR_OK) {
                list_fail(&queue->waiting, err);
                break;
            }
            engine->reads_running++;
        }
    }
}

/* --- the caller's side -------------------------------------------------------------------------------------------- */

static KeyedQueue *keyed_queue(Engine *engine, const Resource *resource) {
    for (size_t i = 0; i < engine->n_keyed; i++)
        if (engine->keyed[i].resource == resource)
            return &engine->keyed[i];
    return NULL;
}

CO_FN Err resource_get(Engine *engine, const Resource *resource, Ctx *ctx, Id key, void **ret) {
    KeyedQueue *queue = keyed_queue(engine, resource);
    ASSERT(queue != NULL);
    if (queue->read != NULL)
        TRY(action_allow(resource, queue->read, ctx, &key));
    Get get = {.key = key, .ctx = ctx};
    list_add(&queue->waiting, &get);
    turn_hook_arm(engine->loop, &engine->hook);
    Err err = co_wait(&get.wait, 0);
    if (!get.decided) {
        list_remove(&get);
        return err;
    }
    if (get.outcome == ERR_OK)
        *ret = get.row;
    return get.outcome;
}

CO_FN Err resource_list(Engine *engine, const Resource *resource, Ctx *ctx, const Statement *statement,
                        const PgParams *params, void **ret_rows, size_t *ret_n) {
    PgResult result;
    TRY(pg_query(engine->pool, statement, params, &result));
    char *rows = arena_alloc_array(ctx->arena, (size_t)result.rows, resource->size);
    if (rows == NULL)
        return ERR_NO_MEMORY;
    /* Texts stay borrowed from the result, which lives as long as the coroutine that asked. */
    for (int row = 0; row < result.rows; row++)
        TRY(resource_decode(resource, &result, row, rows + (size_t)row * resource->size));
    *ret_rows = rows;
    *ret_n = (size_t)result.rows;
    return ERR_OK;
}
