/*
 * amqp_desk.c - what an operator asks of RabbitMQ: how much waits, what was put aside, back with it, away with it.
 *
 * A broker has no way to look into a queue; it can only hand out. So the desk takes messages with basic.get and keeps
 * them unacknowledged while it looks, which loses nothing whatever happens: those that it does not acknowledge go back
 * to the places that they had, by a nack at the end or by the broker when the connection is gone. While one desk looks,
 * another sees the rest only.
 *
 * Nothing is declared here: a queue that is not there has no letters, and into one that is not there none is put.
 */
#include "bus/amqp_desk.h"

/* --- the desk's channel ------------------------------------------------------------------------------------------- */

CO_FN static Err set_up_desk(AmqpChannel *channel, void *data) {
    (void)data;
    return amqp_confirm_select(channel);
}

CO_FN static Err reach(AmqpClient *client) {
    Ctx *ctx = co_ctx(co_self());
    Err err = amqp_client_ready(client);
    if (err == ERR_OK)
        return ERR_OK;
    Str words = ctx->problem.message;
    problem_clear(ctx);
    return ctx_problem(ctx, err, NULL, "the broker of AMQP_URL: %.*s; `usher doctor` says more", STR_ARG(words));
}

/* The broker closes the channel over a question for a queue that is not there: it is then opened again first. */
CO_FN static Err desk_ready(AmqpTransport *t) {
    AmqpClient *client;
    TRY(amqp_asking_client(t, &client));
    TRY(reach(client));
    if (t->desk == NULL)
        TRY(amqp_channel_new(client, "desk", set_up_desk, t, &t->desk));
    while (!amqp_channel_is_up(t->desk)) {
        TRY(reach(client));
        TRY(co_sleep(5));
    }
    return ERR_OK;
}

/* How many wait in a queue; -1: there is none. */
CO_FN static Err count_waiting(AmqpTransport *t, const char *name, int64_t *ret) {
    AmqpQueueState state = {0};
    Ctx *ctx = co_ctx(co_self());
    TRY(desk_ready(t));
    Err err = amqp_queue_declare(t->desk, &(AmqpQueue){.name = name, .passive = true}, &state);
    *ret = err == ERR_NOT_FOUND ? -1 : (int64_t)state.messages;
    if (err != ERR_NOT_FOUND)
        return err;
    problem_clear(ctx);
    return ERR_OK;
}

CO_FN Err amqp_desk_status(Transport *transport, QueueState **ret, size_t *ret_n) {
    AmqpTransport *t = (AmqpTransport *)transport;
    QueueState *queues = ARENA_ARRAY(co_ctx(co_self())->arena, QueueState, t->n_inboxes + 1);
    if (queues == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < t->n_inboxes; i++) {
        char name[AMQP_NAME_MAX + 1];
        queues[i] = (QueueState){.name = str_c(t->inboxes[i].queue), .oldest_ms = -1};
        TRY(count_waiting(t, t->inboxes[i].queue, &queues[i].waiting));
        TRY(count_waiting(t, amqp_dead_queue(&t->inboxes[i], false, name, sizeof name), &queues[i].dead));
        queues[i].waiting = MAX_OF(queues[i].waiting, 0);
        queues[i].dead = MAX_OF(queues[i].dead, 0);
    }
    *ret = queues;
    *ret_n = t->n_inboxes;
    return ERR_OK;
}

/* --- walking through a queue -------------------------------------------------------------------------------------- */

/* In the reader's coroutine: may not suspend. */
static void on_got(const AmqpDelivery *delivery, void *data) {
    Walk *walk = data;
    walk->got++;
    walk->largest = MAX_OF(walk->largest, delivery->body.n);
    if (walk->err == ERR_OK)
        walk->err = walk->take(walk, delivery);
}

/* One at first: nobody knows yet how large they are. */
static size_t window_of(const Walk *walk) {
    size_t fitting = walk->looked == 0 ? 1 : DESK_WINDOW_BYTES / MAX_OF(walk->largest, (size_t)1);
    return MIN_OF(MIN_OF(MAX_OF(fitting, (size_t)1), (size_t)DESK_WINDOW_MAX), DESK_LOOKED_MAX - walk->looked);
}

CO_FN static Err look(Walk *walk) {
    for (size_t asked = 1; walk->got == asked || walk->looked == 0;) {
        if (walk->full(walk) || walk->looked == DESK_LOOKED_MAX)
            break;
        asked = window_of(walk);
        walk->got = 0;
        TRY(amqp_get(walk->channel, walk->queue, asked, on_got, walk));
        walk->looked += walk->got;
        TRY(walk->err);
        if (walk->after != NULL)
            TRY(walk->after(walk));
        if (walk->got == 0)
            break;
    }
    return ERR_OK;
}

/* What was not acknowledged goes back; the question behind it is answered when the queue has heard of all that. */
CO_FN static Err put_back(Walk *walk, int64_t *ret_left) {
    amqp_nack(walk->channel, amqp_channel_generation(walk->channel), 0, true, true);
    return count_waiting(walk->t, walk->queue, ret_left);
}

/* *ret_left: what is in it afterwards. */
CO_FN Err amqp_walk(Walk *walk, int64_t *ret_left) {
    TRY(desk_ready(walk->t));
    walk->channel = walk->t->desk;
    walk->looked = walk->got = walk->largest = 0;
    Err err = look(walk);
    *ret_left = 0;
    if (err == ERR_NOT_FOUND && walk->looked == 0) { /* no such queue: nothing has died here yet */
        problem_clear(walk->ctx);
        return ERR_OK;
    }
    if (err == ERR_OK)
        return put_back(walk, ret_left);
    amqp_channel_restart(walk->channel);
    return err;
}

/* --- list --------------------------------------------------------------------------------------------------------- */

static bool is_listed(const DeadFilter *filter, const DeadLetter *letter) {
    return (filter->handle.p == NULL || str_eq(filter->handle, letter->handle)) &&
           (filter->reason.p == NULL || str_eq(filter->reason, letter->reason));
}

static Err list_one(Walk *walk, const AmqpDelivery *delivery) {
    DeadLetter letter;
    const DeadFilter *filter = walk->filter;
    if (walk->full(walk))
        return ERR_OK;
    TRY(amqp_letter_read(walk->ctx, walk->queue, delivery, false, &letter));
    if (!is_listed(filter, &letter))
        return ERR_OK;
    if (filter->payloads)
        TRY(amqp_letter_read(walk->ctx, walk->queue, delivery, true, &letter));
    if (walk->n == walk->room) {
        size_t room = MAX_OF(walk->room * 2, (size_t)64);
        DeadLetter *letters =
            arena_grow(walk->ctx->arena, walk->letters, walk->room * sizeof letter, room * sizeof letter);
        if (letters == NULL)
            return ERR_NO_MEMORY;
        walk->letters = letters;
        walk->room = room;
    }
    walk->letters[walk->n++] = letter;
    return ERR_OK;
}

static bool list_is_full(const Walk *walk) {
    return walk->n >= walk->filter->most || (walk->filter->handle.p != NULL && walk->n > 0);
}

/* Skipped ones are looked at only when their queue is named: nothing failed there, and there may be very many. */
CO_FN static Err list_queue(Walk *walk, const AmqpInbox *inbox, bool skipped) {
    char name[AMQP_NAME_MAX + 1];
    int64_t left;
    Str wanted = walk->filter->queue;
    walk->queue = amqp_dead_queue(inbox, skipped, name, sizeof name);
    walk->input = inbox->queue;
    bool named = wanted.p != NULL && str_eq_c(wanted, walk->queue);
    bool meant = !skipped && (wanted.p == NULL || str_eq_c(wanted, inbox->queue));
    if ((!named && !meant) || list_is_full(walk))
        return ERR_OK;
    TRY(amqp_walk(walk, &left));
    if (walk->filter->ret_more != NULL && left > (int64_t)walk->looked)
        *walk->filter->ret_more = true;
    return ERR_OK;
}

CO_FN static Err list(Transport *transport, const DeadFilter *filter, DeadLetter **ret, size_t *ret_n) {
    AmqpTransport *t = (AmqpTransport *)transport;
    DeadFilter own = *filter;
    Walk *walk = ARENA_NEW(co_ctx(co_self())->arena, Walk);
    if (walk == NULL)
        return ERR_NO_MEMORY;
    own.most = filter->most == 0 ? DEAD_LIST_DEFAULT : filter->most;
    *walk = (Walk){.t = t, .ctx = co_ctx(co_self()), .filter = &own, .full = list_is_full, .take = list_one};
    for (size_t i = 0; i < 2 * t->n_inboxes; i++)
        TRY(list_queue(walk, &t->inboxes[i / 2], i % 2 == 1));
    *ret = walk->letters;
    *ret_n = walk->n;
    return ERR_OK;
}

const DeadOps DEAD_AMQP_OPS = {.list = list, .retry = amqp_dead_retry, .discard = amqp_dead_discard};
