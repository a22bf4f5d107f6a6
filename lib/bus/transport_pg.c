/*
 * transport_pg.c - queues in Postgres: what the bus runs on where no broker is.
 *
 * Publishing is one insert and one commit for a batch. A queue is consumed inside one transaction: it holds the queue's
 * advisory lock, reads the oldest that are due, calls the work (which commits its effects elsewhere, by inbox at most
 * once), and marks each message by what became of it. If the connection or the process dies anywhere on the way,
 * nothing is marked and the batch comes again.
 *
 * The lock makes one consumer of a queue at a time, over all processes; the others stand by. SELECT … FOR UPDATE SKIP
 * LOCKED would let them share the queue, and with it hand the second message of an aggregate to one while another still
 * fails at the first: order is what that would cost (README.md).
 */
#include "bus/transport_pg.h"
#include "base/heap.h"
#include "bus/loops.h"
#include "bus_queries.h"

/* Bytes of payload in one batch: messages may be megabytes, batches of them should not be gigabytes. */
#define CONSUME_BYTES_MAX (4 * 1024 * 1024)
#define CONSUME_POLL_MS   1000
/* A batch's transaction, from its first statement to its commit, with the work in between. */
#define CONSUME_DEADLINE_MS 60000
/* While a reset has the gate; it is done within 200 ms. */
#define GATE_RETRY_MS  50
#define QUEUES_MAX     32
#define QUEUE_NAME_MAX 55

/* A queue as this process sees it: who waits for its next message, and how many wake-ups there were. */
typedef struct Queue {
    const char *name;
    char channel[64];
    bool listening;
    bool busy;                /* one caller of consume at a time */
    const Pipeline *pipeline; /* NULL: none was declared */
    uint64_t wakes;
    Wait *waiting;
} Queue;

typedef struct PgTransport {
    Transport transport; /* first */
    PgPool *pool;
    const Binding *bindings;
    Queue queues[QUEUES_MAX];
    size_t n_queues;
} PgTransport;

static Queue *queue_named(PgTransport *t, const char *name) {
    for (size_t i = 0; i < t->n_queues; i++)
        if (strcmp(t->queues[i].name, name) == 0)
            return &t->queues[i];
    return NULL;
}

/* --- publish ------------------------------------------------------------------------------------------------------ */

typedef struct Publish {
    PgTransport *t;
    const Envelope *messages;
    size_t n;
    PgParams rows, queues;
} Publish;

static bool receives(const Binding *binding, const Envelope *message) {
    return str_eq_c(message->type, binding->type->name);
}

/* One column of the rows: each message once for each queue that receives its type. Returns how many rows. */
static size_t bind_column(Publish *p, int column) {
    PgParams *params = &p->rows;
    size_t rows = 0;
    pg_array_begin(params, column == 1 || column == 3 ? OID_UUID_ARRAY : OID_TEXT_ARRAY);
    for (size_t i = 0; i < p->n; i++) {
        const Envelope *m = &p->messages[i];
        for (const Binding *b = p->t->bindings; b->queue != NULL; b++) {
            if (!receives(b, m))
                continue;
            const Str texts[] = {str_c(b->queue), {0},           m->type,   {0}, m->payload,
                                 m->traceparent,  m->tracestate, m->baggage};
            if (column == 1 || column == 3)
                pg_array_id(params, column == 1 ? m->message_id : m->aggregate);
            else
                pg_array_text(params, texts[column]);
            rows++;
        }
    }
    pg_array_end(params);
    return rows;
}

static void bind_queues(Publish *p) {
    pg_array_begin(&p->queues, OID_TEXT_ARRAY);
    for (size_t q = 0; q < p->t->n_queues; q++) {
        bool any = false;
        for (const Binding *b = p->t->bindings; b->queue != NULL && !any; b++)
            for (size_t i = 0; strcmp(b->queue, p->t->queues[q].name) == 0 && i < p->n && !any; i++)
                any = receives(b, &p->messages[i]);
        if (any)
            pg_array_text(&p->queues, str_c(p->t->queues[q].name));
    }
    pg_array_end(&p->queues);
}

CO_FN static Err publish_body(PgTx *tx, void *arg) {
    Publish *p = arg;
    PgResult result;
    pg_tx_send(tx, SQL_BUS_PUBLISH_NOTIFY, &p->queues);
    return pg_tx_query_commit(tx, SQL_BUS_PUBLISH, &p->rows, &result);
}

CO_FN static Err pg_publish(Transport *transport, const Envelope *messages, size_t n) {
    Ctx *ctx = co_ctx(co_self());
    Publish p = {.t = (PgTransport *)transport, .messages = messages, .n = n};
    size_t rows = 0;
    pg_params_init(&p.rows, ctx->arena);
    pg_params_init(&p.queues, ctx->arena);
    for (int column = 0; column < 8; column++)
        rows = bind_column(&p, column);
    bind_queues(&p);
    if (rows == 0) /* nobody receives any of them: published to nobody */
        return ERR_OK;
    TRY(p.rows.data.err);
    TRY(p.queues.data.err);
    return pg_transaction(p.t->pool, publish_body, &p);
}

/* --- consume ------------------------------------------------------------------------------------------------------ */

typedef struct Consume {
    Queue *queue;
    size_t most;
    DeliveryWork work;
    void *data;
    Ctx *ctx;
    bool locked; /* the queue and the gate were free */
    bool gated;  /* a reset has the gate */
    size_t n;    /* messages handled */
    int64_t next_due_ms;
    bool waited;  /* this batch has had its time to fill */
    bool waiting; /* it is not full, and may still fill */
} Consume;

/* The batch; texts are borrowed from the result, which lives as long as the coroutine. */
static Err read_batch(Ctx *ctx, const PgResult *rows, Envelope **ret) {
    Envelope *messages = ARENA_ARRAY(ctx->arena, Envelope, (size_t)rows->rows);
    if (messages == NULL)
        return ERR_NO_MEMORY;
    for (int i = 0; i < rows->rows; i++)
        messages[i] = (Envelope){.tag = pg_i64(rows, i, 0),
                                 .message_id = pg_id(rows, i, 1),
                                 .type = pg_text(rows, i, 2),
                                 .aggregate = pg_id(rows, i, 3),
                                 .payload = pg_text(rows, i, 4),
                                 .traceparent = pg_text(rows, i, 5),
                                 .tracestate = pg_text(rows, i, 6),
                                 .baggage = pg_text(rows, i, 7),
                                 .attempt = pg_i32(rows, i, 8) + 1};
    *ret = messages;
    return ERR_OK;
}

/* Where a pipeline lays its dead; what was only skipped lies under the queue's name, as with a broker. */
static void bind_dead_letters(PgParams *params, const Pipeline *pipeline, const Envelope *messages, size_t n,
                              const DeliveryOutcome *outcomes) {
    const char *own = pipeline == NULL ? NULL : pipeline->dead_letter;
    pg_array_begin(params, OID_TEXT_ARRAY);
    for (size_t i = 0; i < n; i++)
        if (outcomes[i] == DELIVERY_DEAD)
            pg_array_text(params, own == NULL || messages[i].skipped ? (Str){NULL, 0} : str_c(own));
    pg_array_end(params);
}

/* The positions of one outcome, then what goes with them. */
static size_t bind_outcome(PgParams *params, Ctx *ctx, const Envelope *messages, size_t n,
                           const DeliveryOutcome *outcomes, const Str *reasons, DeliveryOutcome outcome) {
    size_t found = 0;
    pg_params_init(params, ctx->arena);
    pg_array_begin(params, OID_INT8_ARRAY);
    for (size_t i = 0; i < n; i++) {
        if (outcomes[i] != outcome)
            continue;
        pg_array_i64(params, messages[i].tag);
        found++;
    }
    pg_array_end(params);
    if (outcome == DELIVERY_DONE)
        return found;
    pg_array_begin(params, outcome == DELIVERY_DEAD ? OID_TEXT_ARRAY : OID_INT8_ARRAY);
    for (size_t i = 0; i < n; i++) {
        if (outcomes[i] != outcome)
            continue;
        if (outcome == DELIVERY_DEAD)
            pg_array_text(params, reasons[i].p == NULL ? STR("no reason given") : reasons[i]);
        else
            pg_array_i64(params, messages[i].delay_ms);
    }
    pg_array_end(params);
    return found;
}

static Err mark_batch(PgTx *tx, const Consume *c, const Envelope *messages, size_t n, const DeliveryOutcome *outcomes,
                      const Str *reasons) {
    static const struct {
        DeliveryOutcome outcome;
        const Statement *statement;
    } marks[] = {
        {DELIVERY_DONE, SQL_BUS_ACKNOWLEDGE},
        {DELIVERY_RETRY, SQL_BUS_RETRY},
        {DELIVERY_DEAD, SQL_BUS_BURY},
    };
    for (size_t i = 0; i < ARRAY_LEN(marks); i++) {
        PgParams params;
        if (bind_outcome(&params, c->ctx, messages, n, outcomes, reasons, marks[i].outcome) == 0)
            continue;
        if (marks[i].outcome == DELIVERY_DEAD)
            bind_dead_letters(&params, c->queue->pipeline, messages, n, outcomes);
        TRY(params.data.err);
        pg_tx_send(tx, marks[i].statement, &params);
    }
    return ERR_OK;
}

/* The locks are taken by a statement of their own: the next one's snapshot then sees all that the last holder
 * committed. */
CO_FN static Err take_locks(PgTx *tx, Consume *c) {
    PgParams params;
    PgResult result;
    pg_params_init(&params, c->ctx->arena);
    pg_add_i64(&params, BUS_GATE_LOCK);
    pg_add_text(&params, str_c(c->queue->name));
    TRY(pg_tx_query(tx, SQL_BUS_CONSUME_LOCKS, &params, &result));
    c->gated = !pg_bool(&result, 0, 0);
    c->locked = !c->gated && pg_bool(&result, 0, 1);
    return ERR_OK;
}

CO_FN static Err find_next_due(PgTx *tx, Consume *c) {
    PgParams params;
    PgResult result;
    pg_params_init(&params, c->ctx->arena);
    pg_add_text(&params, str_c(c->queue->name));
    TRY(pg_tx_query_commit(tx, SQL_BUS_CONSUME_NEXT_DUE, &params, &result));
    c->next_due_ms = pg_is_null(&result, 0, 0) ? INT64_MAX : pg_i64(&result, 0, 0);
    return ERR_OK;
}

static bool may_fill(const Consume *c, size_t n) {
    const Pipeline *pipeline = c->queue->pipeline;
    return pipeline != NULL && pipeline->batch_ms > 0 && !c->waited && n < c->most;
}

CO_FN static Err consume_body(PgTx *tx, void *arg) {
    Consume *c = arg;
    PgParams params;
    PgResult rows;
    Envelope *messages;
    c->n = 0;
    c->next_due_ms = INT64_MAX;
    c->waiting = false;
    pg_tx_send(tx, &ASYNC_COMMIT, NULL);
    TRY(take_locks(tx, c));
    if (!c->locked)
        return ERR_OK;
    pg_params_init(&params, c->ctx->arena);
    pg_add_text(&params, str_c(c->queue->name));
    pg_add_i32(&params, (int32_t)c->most);
    pg_add_i64(&params, CONSUME_BYTES_MAX);
    pg_add_i16(&params, c->queue->pipeline == NULL ? PARTITION_AGGREGATE : (int16_t)c->queue->pipeline->partition);
    TRY(pg_tx_query(tx, SQL_BUS_CONSUME, &params, &rows));
    if (rows.rows == 0)
        return find_next_due(tx, c);
    c->waiting = may_fill(c, (size_t)rows.rows);
    if (c->waiting)
        return ERR_OK;

    size_t n = (size_t)rows.rows;
    DeliveryOutcome *outcomes = ARENA_ARRAY(c->ctx->arena, DeliveryOutcome, n);
    Str *reasons = ARENA_ARRAY(c->ctx->arena, Str, n);
    TRY(read_batch(c->ctx, &rows, &messages));
    if (outcomes == NULL || reasons == NULL)
        return ERR_NO_MEMORY;
    TRY(c->work(messages, n, outcomes, reasons, c->data));
    c->n = n;
    return mark_batch(tx, c, messages, n, outcomes, reasons);
}

static void queue_woken(Str payload UNUSED, void *data) {
    Queue *queue = data;
    queue->wakes++;
    if (queue->waiting != NULL)
        wait_wake(queue->waiting, ERR_OK);
}

CO_FN static Err queue_wait(Queue *queue, uint64_t seen, int64_t ms) {
    if (queue->wakes != seen)
        return ERR_OK;
    Wait wait = {0};
    queue->waiting = &wait;
    Err err = co_wait(&wait, clock_mono_ms() + ms);
    queue->waiting = NULL;
    return err == ERR_TIMEOUT ? ERR_OK : err;
}

/* A batch that is not full waits for more, as long as its pipeline says. It holds nothing meanwhile. */
CO_FN static Err fill_batch(PgTransport *t, Consume *c, uint64_t seen) {
    int64_t until_ms = clock_mono_ms() + c->queue->pipeline->batch_ms;
    Err err = ERR_OK;
    while (err == ERR_OK && c->waiting) {
        TRY(queue_wait(c->queue, seen, MAX_OF(until_ms - clock_mono_ms(), 0)));
        seen = c->queue->wakes;
        c->waited = clock_mono_ms() >= until_ms;
        err = pg_transaction(t->pool, consume_body, c);
    }
    return err;
}

CO_FN static Err consume_once(PgTransport *t, Consume *c) {
    if (!c->queue->listening) {
        TRY(pg_listen(t->pool, c->queue->channel, queue_woken, c->queue));
        c->queue->listening = true;
    }
    uint64_t seen = c->queue->wakes;
    c->ctx->deadline_ms = clock_mono_ms() + CONSUME_DEADLINE_MS;
    Err err = pg_transaction(t->pool, consume_body, c);
    if (err == ERR_OK && c->waiting)
        err = fill_batch(t, c, seen);
    c->ctx->deadline_ms = 0;
    if (err != ERR_OK || c->n > 0)
        return err;
    if (c->gated)
        return co_sleep(GATE_RETRY_MS);
    int64_t ms = MIN_OF(CONSUME_POLL_MS, MAX_OF(c->next_due_ms, 1));
    return queue_wait(c->queue, seen, ms);
}

CO_FN static Err pg_consume(Transport *transport, const char *name, size_t most, DeliveryWork work, void *data) {
    PgTransport *t = (PgTransport *)transport;
    Queue *queue = queue_named(t, name);
    ASSERT(queue != NULL && !queue->busy);
    Consume c = {.queue = queue, .most = most, .work = work, .data = data, .ctx = co_ctx(co_self())};
    queue->busy = true;
    Err err = consume_once(t, &c);
    queue->busy = false;
    return err;
}

PgPool *transport_pg_pool(Transport *transport) {
    return ((PgTransport *)transport)->pool;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static void pg_free(Transport *transport) {
    heap_free(transport);
}

static Err pg_declare(Transport *transport, const Pipeline *pipeline) {
    Queue *queue = queue_named((PgTransport *)transport, pipeline->queue);
    if (queue == NULL)
        return ERR_INVALID;
    queue->pipeline = pipeline;
    return ERR_OK;
}

static const TransportOps ops = {.publish = pg_publish,
                                 .consume = pg_consume,
                                 .free = pg_free,
                                 .declare = pg_declare,
                                 .dead = &DEAD_PG_OPS,
                                 .status = dead_pg_status};

static Err add_queue(PgTransport *t, const char *name) {
    if (queue_named(t, name) != NULL)
        return ERR_OK;
    if (t->n_queues == QUEUES_MAX || strlen(name) > QUEUE_NAME_MAX)
        return ERR_LIMIT;
    Queue *queue = &t->queues[t->n_queues++];
    queue->name = name;
    snprintf(queue->channel, sizeof queue->channel, "bus_%s", name);
    return ERR_OK;
}

Err transport_pg_new(Loop *loop UNUSED, PgPool *pool, const Binding *bindings, Transport **ret) {
    PgTransport *t = HEAP_NEW(PgTransport);
    if (t == NULL)
        return ERR_NO_MEMORY;
    t->transport.ops = &ops;
    t->pool = pool;
    t->bindings = bindings;
    for (const Binding *b = bindings; b->queue != NULL; b++) {
        Err err = add_queue(t, b->queue);
        if (err != ERR_OK) {
            heap_free(t);
            return err;
        }
    }
    *ret = &t->transport;
    return ERR_OK;
}
