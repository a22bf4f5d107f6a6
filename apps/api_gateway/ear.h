/*
 * ear.h - what goes over the bus of the old side, as one shadow worker hears it.
 *
 * A queue of its own (exclusive, gone with the connection) is bound to the exchanges of the message types, so that
 * nobody gets a message less. What was heard lately is kept, bounded; ear_has_all says whether that is all there was.
 */
#pragma once
#include "base/uuid.h"
#include "runtime/co.h"

typedef struct EarOptions {
    Str url;                  /* AMQP */
    const char *const *types; /* message types: the exchanges' names; NULL-ended; stay the caller's */
} EarOptions;

typedef struct Ear Ear;

/** One message. Valid until the next wait. */
typedef struct Heard {
    Str type, body; /* the envelope */
    Id about;       /* message.id; zero: it has none */
    int64_t at_us;  /* unix: when it came */
    bool taken;     /* the caller's mark: it stands for something already */
} Heard;

/** Begins to listen. ERR_INVALID: the URL; ERR_NO_MEMORY. */
MUST_USE Err ear_new(Ctx *ctx, Loop *loop, const EarOptions *options, Ear **ret);
/** When the loop's coroutines have ended. NULL is allowed. */
void ear_free(Ear *ear);

/** The oldest one at or after *at that is of this type, about this, not taken, and came at since_us or later; moves *at
 *  behind it, which begins at 0. NULL: there are no more. */
Heard *ear_next(Ear *ear, Str type, Id about, int64_t since_us, uint64_t *at);
/** True when whatever went over the bus since then has been heard and is still kept. */
bool ear_has_all(const Ear *ear, int64_t since_us);

/* What hears, apart from the broker; for tests too. */
/** Without a broker: deaf until ear_opened. */
MUST_USE Err ear_new_deaf(Ear **ret);
void ear_opened(Ear *ear);
void ear_closed(Ear *ear);
void ear_hear(Ear *ear, Str type, Str body);
