/*
 * keyed.c - reads by key, of one row or of a group of rows: everything asked in one turn is one statement.
 *
 * Askers wait on their own coroutines, linked into the queue of their resource (Get, on their stacks). At the end of
 * the turn the queue becomes a batch: one coroutine, one `= ANY($1)` on the reader. Unlike a member of a set, an asker
 * may leave at any moment, also while its batch is out: the batch needs nothing of it but the link, and what has left
 * is no longer linked.
 *
 * READS_AHEAD batches of a queue are out at most. What is asked meanwhile makes the next one larger, so that the slower
 * the database, the more a statement is worth. Without that bound a turn's few keys were sent behind all the others
 * (bench/limits.md).
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

static Err answer(const KeyedQueue *queue, const PgResult *result, int first, int n, Get *get) {
    if (queue->group != NULL)
        return queue->group->take(get->ctx, result, first, n, get->arg);
    if (n == 0)
        return ERR_NOT_FOUND;
    get->row = arena_alloc(get->ctx->arena, queue->resource->size);
    if (get->row == NULL)
        return ERR_NO_MEMORY;
    TRY(resource_decode(queue->resource, result, first, get->row));
    return own_texts(queue->resource, get->ctx->arena, get->row);
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

typedef struct Rows {
    Id key;
    int first, n;
} Rows;

/* key → its Rows. There are never more than keys that were asked for. */
static Err index_rows(Ctx *ctx, const PgResult *result, int key_column, size_t keys_max, Map **ret) {
    Map *index = map_new(ctx->arena, keys_max);
    Rows *groups = ARENA_ARRAY(ctx->arena, Rows, keys_max);
    if (index == NULL || groups == NULL)
        return ERR_NO_MEMORY;
    size_t n = 0;
    for (int row = 0; row < result->rows; row++) {
        Id key = pg_id(result, row, key_column);
        if (n == 0 || !id_eq(groups[n - 1].key, key)) {
            ASSERT(n < keys_max); /* otherwise the statement does not order by key */
            groups[n] = (Rows){.key = key, .first = row};
            TRY(map_put(index, key_bytes(&groups[n].key), &groups[n], NULL));
            n++;
        }
        groups[n - 1].n++;
    }
    *ret = index;
    return ERR_OK;
}

/* Whose traces the one statement stands for: copies, since an asker may leave while it runs. */
static void trace_batch(Ctx *ctx, const GetList *list, TraceBatch *batch) {
    *batch = (TraceBatch){0};
    if (!telemetry_traces())
        return;
    const Trace **traces = ARENA_ARRAY(ctx->arena, const Trace *, list->n);
    Trace *copies = ARENA_ARRAY(ctx->arena, Trace, list->n);
    if (traces == NULL || copies == NULL)
        return; /* the work matters more than its links */
    batch->traces = traces;
    for (const Get *get = list->first; get != NULL; get = get->next) {
        copies[batch->n] = get->ctx->trace;
        copies[batch->n].state = copies[batch->n].baggage = (Str){NULL, 0};
        traces[batch->n] = &copies[batch->n];
        batch->n++;
    }
    trace_batch_adopt(ctx, batch);
}

CO_FN static Err run_batch(KeyedQueue *queue, Ctx *ctx, GetList *list) {
    PgParams params;
    PgResult result;
    Map *index;
    TRY(bind_keys(ctx, list, &params));
    const size_t asked = list->n; /* some may leave while the answer is out */
    TRY(pg_query(queue->engine->pool, queue->statement, &params, &result));
    int key_column = PQfnumber(result.raw, queue->key);
    ASSERT(key_column >= 0);
    TRY(index_rows(ctx, &result, key_column, asked, &index));
    while (list->first != NULL) {
        Get *get = list->first;
        const Rows *rows = map_get(index, key_bytes(&get->key));
        get_decide(get, answer(queue, &result, rows == NULL ? 0 : rows->first, rows == NULL ? 0 : rows->n, get));
    }
    return ERR_OK;
}

static size_t batch_max(const KeyedQueue *queue) {
    return queue->group != NULL ? GROUPED_MAX : KEYED_MAX;
}

static int64_t take_batch(KeyedQueue *queue, GetList *list) {
    int64_t latest = 0;
    bool unbounded = false;
    while (queue->waiting.first != NULL && list->n < batch_max(queue)) {
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
        TraceBatch batch;
        trace_batch(ctx, &list, &batch);
        Err err = run_batch(queue, ctx, &list);
        if (err != ERR_OK)
            list_fail(&list, err);
    }
    queue->engine->reads_running--;
    queue->running--;
    if (queue->waiting.n > 0)
        turn_hook_arm(queue->engine->loop, &queue->engine->hook);
}

static void start_queue(KeyedQueue *queue) {
    size_t batches = (queue->waiting.n + batch_max(queue) - 1) / batch_max(queue);
    for (; batches > 0 && queue->running < READS_AHEAD; batches--) {
        Co *co;
        Err err = co_spawn(queue->engine->loop, batch_co, queue, &(CoOptions){.name = "read"}, &co);
        if (err != ERR_OK) {
            list_fail(&queue->waiting, err);
            return;
        }
        queue->engine->reads_running++;
        queue->running++;
    }
}

void engine_start_reads(Engine *engine) {
    for (size_t i = 0; i < engine->n_keyed; i++)
        start_queue(&engine->keyed[i]);
    for (KeyedQueue *queue = engine->grouped; queue != NULL; queue = queue->next)
        start_queue(queue);
}

/* --- the caller's side -------------------------------------------------------------------------------------------- */

static KeyedQueue *keyed_queue(Engine *engine, const Resource *resource) {
    for (size_t i = 0; i < engine->n_keyed; i++)
        if (engine->keyed[i].resource == resource)
            return &engine->keyed[i];
    return NULL;
}

CO_FN static Err get_wait(KeyedQueue *queue, Get *get) {
    list_add(&queue->waiting, get);
    turn_hook_arm(queue->engine->loop, &queue->engine->hook);
    Err err = co_wait(&get->wait, 0);
    if (get->decided)
        return get->outcome;
    list_remove(get);
    return err;
}

CO_FN static Err join_batch(Engine *engine, const Resource *resource, Ctx *ctx, Id key, void **ret) {
    KeyedQueue *queue = keyed_queue(engine, resource);
    ASSERT(queue != NULL);
    if (queue->read != NULL)
        TRY(action_allow(resource, queue->read, ctx, &key));
    Get get = {.key = key, .ctx = ctx};
    TRY(get_wait(queue, &get));
    *ret = get.row;
    return ERR_OK;
}

static KeyedQueue *grouped_queue(Engine *engine, const GroupRead *read) {
    for (KeyedQueue *queue = engine->grouped; queue != NULL; queue = queue->next)
        if (queue->group == read)
            return queue;
    KeyedQueue *queue = ARENA_NEW(engine->arena, KeyedQueue);
    if (queue == NULL)
        return NULL;
    *queue = (KeyedQueue){
        .engine = engine, .group = read, .statement = read->statement, .key = read->key, .next = engine->grouped};
    engine->grouped = queue;
    return queue;
}

CO_FN Err resource_group(Engine *engine, const GroupRead *read, Ctx *ctx, Id key, void *arg) {
    KeyedQueue *queue = grouped_queue(engine, read);
    if (queue == NULL)
        return ERR_NO_MEMORY;
    Get get = {.key = key, .ctx = ctx, .arg = arg};
    return get_wait(queue, &get);
}

CO_FN Err resource_get(Engine *engine, const Resource *resource, Ctx *ctx, Id key, void **ret) {
    Span span;
    span_begin(ctx, &span);
    Err err = join_batch(engine, resource, ctx, key, ret);
    trace_action_end(ctx, &span, resource, "read", err);
    return err;
}

CO_FN static Err read_list(Engine *engine, const Resource *resource, Ctx *ctx, const Statement *statement,
                           const PgParams *params, void **ret_rows, size_t *ret_n) {
    PgResult result;
    TRY(pg_query(engine->pool, statement, params, &result));
    char *rows = arena_alloc_array(ctx->arena, (size_t)result.rows, resource->size);
    if (rows == NULL)
        return ERR_NO_MEMORY;
    /* Texts stay borrowed from the result, which lives as long as the coroutine that asked. */
    TRY(resource_decode_rows(resource, &result, 0, result.rows, rows, resource->size));
    *ret_rows = rows;
    *ret_n = (size_t)result.rows;
    return ERR_OK;
}

CO_FN Err resource_list(Engine *engine, const Resource *resource, Ctx *ctx, const Statement *statement,
                        const PgParams *params, void **ret_rows, size_t *ret_n) {
    Span span;
    span_begin(ctx, &span);
    Err err = read_list(engine, resource, ctx, statement, params, ret_rows, ret_n);
    trace_action_end(ctx, &span, resource, "list", err);
    return err;
}
