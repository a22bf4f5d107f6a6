/*
 * amqp_desk.h - what looking at dead letters and moving them share: a walk through a dead queue. Internal to lib/bus.
 */
#pragma once
#include "base/map.h"
#include "bus/amqp_transport.h"

enum {
    DESK_LOOKED_MAX = 100000,           /* messages of a queue that are kept unacknowledged at once */
    DESK_WINDOW_MAX = 256,              /* asked for at once */
    DESK_WINDOW_BYTES = 4 * 1024 * 1024 /* of bodies that are expected in one window */
};

typedef struct Caught {
    uint64_t tag, number;
    AmqpMessage message;
} Caught;

/* One dead queue on its way through our hands. */
typedef struct Walk {
    AmqpTransport *t;
    Ctx *ctx;
    AmqpChannel *channel;
    const char *queue;  /* where the letters lie */
    const char *input;  /* where they came from */
    size_t got, looked; /* in this window; in all */
    size_t largest;     /* body so far */
    bool (*full)(const struct Walk *walk);
    Err (*take)(struct Walk *walk, const AmqpDelivery *delivery); /* may not suspend */
    CO_FN Err (*after)(struct Walk *walk);                        /* each window; NULL: nothing */
    Err err;                                                      /* of take, which has nobody to return it to */
    /* to list */
    const DeadFilter *filter;
    DeadLetter *letters;
    size_t n, room;
    /* to move */
    bool back;   /* into the queue they came from */
    Map *wanted; /* handle → size_t, how many of it are still wanted */
    size_t left;
    Arena *window;
    Caught caught[DESK_WINDOW_MAX];
    size_t n_caught, moved;
} Walk;

/** Takes all of walk->queue in hand, as far as walk->full lets it, and gives back what was not acknowledged. *ret_left:
 *  what is in it afterwards. A queue that is not there is an empty one. Suspends. */
CO_FN Err amqp_walk(Walk *walk, int64_t *ret_left) MUST_USE;

/* --- amqp_move.c --- */
CO_FN Err amqp_dead_retry(Transport *transport, const DeadLetter *letters, size_t n, size_t *ret_n) MUST_USE;
CO_FN Err amqp_dead_discard(Transport *transport, const DeadLetter *letters, size_t n, size_t *ret_n) MUST_USE;

/* --- amqp_letter.c --- */
/** Names a letter, the same each time it is looked at. Absent: refused. */
Str amqp_letter_handle(Arena *arena, const char *queue, const AmqpDelivery *delivery);
/** An id for a message that came without one: the same each time. */
Id amqp_letter_id(const char *queue, const AmqpDelivery *delivery);
/** False, and only what its properties say: it has no envelope that could be read. */
bool amqp_letter_envelope(Ctx *ctx, const AmqpDelivery *delivery, MtReceived *ret);
/** Texts in ctx's arena. ERR_NO_MEMORY, ERR_LIMIT. */
MUST_USE Err amqp_letter_read(Ctx *ctx, const char *queue, const AmqpDelivery *delivery, bool payloads,
                              DeadLetter *ret);
