/*
 * amqp_move.c - dead letters of RabbitMQ back into their queues, or away.
 *
 * Back into its queue: a copy through the default exchange, under its own id and without what the burial added; when
 * the broker has it stored, the dead one is acknowledged. A command that is killed in between leaves both, and doing it
 * again makes a second copy of the same id, which the inbox refuses. A message that came without an id would be taken
 * as new each time it arrives; it is given one, made from its letter, so that it too has one effect.
 */
#include "bus/amqp_desk.h"

#define WINDOW_ARENA_BYTES ((size_t)512 * 1024 * 1024)

static bool all_moved(const Walk *walk) {
    return walk->left == 0;
}

static Str kept(Arena *arena, Str text) {
    return text.p == NULL ? text : arena_str(arena, text);
}

/* The message as it was before it died. */
static Err compose(Walk *walk, const AmqpDelivery *delivery, AmqpMessage *ret) {
    Arena *arena = walk->window;
    MtReceived received;
    AmqpProperties p = delivery->properties;
    Buf table = buf_new(arena, p.headers.n + 1);
    (void)amqp_letter_envelope(walk->ctx, delivery, &received);
    if (!received.message_id.present) {
        Id id = amqp_letter_id(walk->queue, delivery);
        char text[ID_TEXT_LEN];
        id_format(&id, text);
        p.message_id = arena_str(arena, (Str){text, ID_TEXT_LEN});
    }
    amqp_own_headers(&table, p.headers);
    TRY(table.err);
    p.headers = buf_str(&table);
    p.user_id = p.expiration = (Str){NULL, 0}; /* the broker refuses any user but ours */
    p.delivery_mode = 2;
    Str *const texts[] = {&p.content_type, &p.content_encoding, &p.correlation_id, &p.reply_to, &p.message_id, &p.type,
                          &p.app_id};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        bool absent = texts[i]->p == NULL;
        *texts[i] = kept(arena, *texts[i]);
        if (!absent && texts[i]->p == NULL)
            return ERR_NO_MEMORY;
    }
    *ret = (AmqpMessage){.exchange = "", .key = walk->input, .mandatory = true, .properties = p};
    ret->body = arena_str(arena, delivery->body);
    return ret->body.p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static Err move_one(Walk *walk, const AmqpDelivery *delivery) {
    Str handle = amqp_letter_handle(walk->window, walk->queue, delivery);
    if (handle.p == NULL)
        return ERR_NO_MEMORY;
    size_t *wanted = map_get(walk->wanted, handle);
    if (wanted == NULL || *wanted == 0)
        return ERR_OK;
    Caught *caught = &walk->caught[walk->n_caught];
    *caught = (Caught){.tag = delivery->tag};
    if (walk->back)
        TRY(compose(walk, delivery, &caught->message));
    walk->n_caught++;
    (*wanted)--;
    walk->left--;
    return ERR_OK;
}

CO_FN static Err publish_caught(Walk *walk) {
    for (size_t i = 0; i < walk->n_caught; i++)
        TRY(amqp_publish(walk->channel, &walk->caught[i].message, &walk->caught[i].number));
    return amqp_confirms_wait(walk->channel, walk->caught[walk->n_caught - 1].number);
}

static Err not_stored(Walk *walk, AmqpConfirm confirm) {
    if (confirm == AMQP_CONFIRM_RETURNED)
        return ctx_problem(walk->ctx, ERR_REFUSED, NULL,
                           "queue %s is not there, so its letters stay in %s: start whoever consumes it (usher serve "
                           "with the role consume declares its own), then retry",
                           walk->input, walk->queue);
    return ctx_problem(walk->ctx, ERR_UNAVAILABLE, NULL,
                       "the broker did not store a message in %s; its letter stays in %s: look at the broker's log, "
                       "then retry",
                       walk->input, walk->queue);
}

/* Stored ones are acknowledged whatever became of others: they are not to be put back twice. */
CO_FN static Err move_caught(Walk *walk) {
    Err err = ERR_OK;
    uint64_t generation = amqp_channel_generation(walk->channel);
    if (walk->n_caught > 0 && walk->back)
        TRY(publish_caught(walk));
    for (size_t i = 0; i < walk->n_caught; i++) {
        AmqpConfirm confirm = walk->back ? amqp_confirm_of(walk->channel, walk->caught[i].number) : AMQP_CONFIRM_STORED;
        if (confirm == AMQP_CONFIRM_STORED) {
            amqp_ack(walk->channel, generation, walk->caught[i].tag, false);
            walk->moved++;
        } else if (err == ERR_OK) {
            err = not_stored(walk, confirm);
        }
    }
    walk->n_caught = 0;
    arena_reset(walk->window);
    return err;
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

static Err add_wanted(Walk *walk, Str handle) {
    size_t *n = map_get(walk->wanted, handle);
    if (n == NULL) {
        n = ARENA_NEW(walk->ctx->arena, size_t);
        if (n == NULL)
            return ERR_NO_MEMORY;
        TRY(map_put(walk->wanted, handle, n, NULL));
    }
    (*n)++;
    walk->left++;
    return ERR_OK;
}

/* Letters are wanted of one queue at a time: a handle is of its queue only. */
CO_FN static Err move_queue(Walk *walk, const AmqpInbox *inbox, bool skipped, const DeadLetter *letters, size_t n) {
    char name[AMQP_NAME_MAX + 1];
    int64_t in_it;
    walk->queue = amqp_dead_queue(inbox, skipped, name, sizeof name);
    walk->input = inbox->queue;
    walk->left = 0;
    walk->wanted = map_new(walk->ctx->arena, 64);
    if (walk->wanted == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++)
        if (str_eq_c(letters[i].queue, walk->queue))
            TRY(add_wanted(walk, letters[i].handle));
    return walk->left == 0 ? ERR_OK : amqp_walk(walk, &in_it);
}

CO_FN static Err move(Transport *transport, const DeadLetter *letters, size_t n, bool back, size_t *ret_n) {
    AmqpTransport *t = (AmqpTransport *)transport;
    Ctx *ctx = co_ctx(co_self());
    Walk *walk = ARENA_NEW(ctx->arena, Walk);
    CLEANUP(arena_freep) Arena *window = arena_new(WINDOW_ARENA_BYTES);
    if (walk == NULL || window == NULL)
        return ERR_NO_MEMORY;
    *walk = (Walk){
        .t = t, .ctx = ctx, .full = all_moved, .take = move_one, .after = move_caught, .back = back, .window = window};
    for (size_t i = 0; i < 2 * t->n_inboxes; i++)
        TRY(move_queue(walk, &t->inboxes[i / 2], i % 2 == 1, letters, n));
    *ret_n = walk->moved;
    return ERR_OK;
}

CO_FN Err amqp_dead_retry(Transport *transport, const DeadLetter *letters, size_t n, size_t *ret_n) {
    return move(transport, letters, n, true, ret_n);
}

CO_FN Err amqp_dead_discard(Transport *transport, const DeadLetter *letters, size_t n, size_t *ret_n) {
    return move(transport, letters, n, false, ret_n);
}
