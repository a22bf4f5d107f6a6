/*
 * client.h - what the files of lib/amqp share: the connection, its channels, who waits for what. Private.
 *
 * Three kinds of coroutine belong to a client. The *reader* connects, shakes hands, and then reads frames for as long
 * as the connection lives; all that arrives is acted on there. The *writer* sends what the turn gathered. Each channel
 * has one of its own that opens it and runs its setup. They never call each other: they wake each other's Waits.
 */
#pragma once
#include "amqp/amqp.h"
#include "amqp/socket.h"

enum {
    AMQP_FRAME_MAX = 131072,
    AMQP_BACKOFF_MIN_MS = 100,
    AMQP_BACKOFF_MAX_MS = 5000,
    AMQP_BACKOFF_REFUSED_MS = 30000, /* credentials and declarations do not mend themselves */
    AMQP_READ_CHUNK = 256 * 1024,
    AMQP_OUT_HIGH = 4 * 1024 * 1024, /* publishers wait while more is unsent */
    AMQP_ERROR_MAX = 768
};

/* --- waits: lists of coroutines that want to know of one thing --- */

typedef struct AmqpWaiter {
    Wait wait;
    struct AmqpWaiter *next;
} AmqpWaiter;

/** Waits in a list until waiters_wake. */
CO_FN Err waiters_wait(AmqpWaiter **list, int64_t deadline_ms) MUST_USE;
void waiters_wake(AmqpWaiter *list, Err result);

/* --- content being assembled: a method that has one, its header, its body --- */

typedef enum AmqpContentState { CONTENT_NONE, CONTENT_HEADER, CONTENT_BODY } AmqpContentState;

typedef struct AmqpContent {
    AmqpContentState state;
    Buf method, header; /* payloads as they came */
    Buf body;
    uint64_t size;
} AmqpContent;

typedef enum AmqpChannelState {
    CHANNEL_AWAY,
    CHANNEL_OPENING, /* open, and being set up */
    CHANNEL_UP
} AmqpChannelState;

struct AmqpChannel {
    AmqpClient *client;
    uint16_t id;
    const char *name;
    AmqpSetup setup;
    void *data;
    Co *co;
    AmqpChannelState state;
    uint64_t generation;
    AmqpWaiter *ready, *lost;
    char last_error[AMQP_ERROR_MAX];
    Err failure; /* of the last opening; ERR_OK since it is up */

    /* one question at a time */
    bool asking;
    AmqpWaiter *askers;
    Wait *answer; /* NULL: nobody waits any more */
    AmqpMethodId awaited;
    size_t unanswered; /* of a question that was put several times */
    uint64_t answered[AMQP_ARGUMENTS_MAX];

    AmqpContent content;
    AmqpOnDelivery on_delivery;
    void *on_delivery_data;
    bool consuming;

    /* publishing: the numbers [first_pending, next_number) are unconfirmed */
    bool confirming, stopped; /* stopped: channel.flow */
    uint64_t next_number, first_pending, base;
    uint8_t *confirms; /* a ring of AMQP_WINDOW AmqpConfirm, RETURNED_BEFORE_ACK while both are possible */
    AmqpWaiter *confirmed;
};

typedef enum AmqpClientState { CLIENT_AWAY, CLIENT_CONNECTING, CLIENT_UP } AmqpClientState;

struct AmqpClient {
    Loop *loop;
    Arena *arena; /* configuration, and nothing that grows */
    AmqpUrl url;
    Str name;
    int64_t rpc_ms;
    size_t frame_max, frame_max_wanted;
    uint16_t channel_max, heartbeat_s;
    AmqpClientState state;
    Err failure; /* why it is away */
    char last_error[AMQP_ERROR_MAX];
    bool outage; /* told in the log */
    bool once;
    int held; /* by work whose last words should still go out when the process stops */
    Co *reader, *writer;

    AmqpSocket socket;
    Buf in;
    size_t in_at; /* read up to here */
    Buf out, sending;
    TurnHook flush;
    Wait *idle_writer; /* it waits for something to send */
    bool writing;      /* it has the socket */
    AmqpWaiter *writer_done, *room, *up;
    Timer heartbeat;
    int64_t written_ms;
    bool blocked;
    Buf broker; /* its properties, an encoded table */

    AmqpChannel *channels[AMQP_CHANNELS_MAX];
    size_t n_channels;
};

/* connection.c: the client's life */
void client_fail(AmqpClient *client, Err failure, const char *words, ...) PRINTF_LIKE(3, 4);
/** Something was written to client->out: it leaves at the end of the turn. */
void client_flush(AmqpClient *client);
void client_write(AmqpClient *client, uint16_t channel, const AmqpMethod *method);
/** Whether whoever publishes may write more. */
bool client_has_room(const AmqpClient *client);

/* handshake.c: from a connected socket to connection.open-ok, or the broker's words for why not */
CO_FN Err client_handshake(AmqpClient *client) MUST_USE;
/** The next frame; reads when there is none in client->in. ERR_EOF, ERR_IO, ERR_TIMEOUT; ERR_SYNTAX: garbage. */
CO_FN Err client_next_frame(AmqpClient *client, int64_t deadline_ms, AmqpFrame *ret) MUST_USE;
/** The broker's code and words for closing, kept as the client's failure. */
Err client_closed_by_broker(AmqpClient *client, const AmqpMethod *close);
/** An AMQP reply code as an Err. */
Err reply_code_to_err(uint64_t code);

/* input.c: acting on what arrives */
/** ERR_OK: go on; else the connection is beyond use, and the client's failure says why. */
MUST_USE Err client_take_frame(AmqpClient *client, const AmqpFrame *frame);

/* channel.c */
void channel_connected(AmqpChannel *channel);
/** Everything that waits on it fails; its coroutine opens it again when it can. */
void channel_lost(AmqpChannel *channel, Err failure, Str words);
void channel_free(AmqpChannel *channel);
CO_FN Err channel_ask(AmqpChannel *channel, const AmqpMethod *question, AmqpMethodId awaited) MUST_USE;
/** Puts it so many times at once, and waits for as many answers. */
CO_FN Err channel_ask_times(AmqpChannel *channel, const AmqpMethod *question, AmqpMethodId awaited,
                            size_t times) MUST_USE;
void channel_answered(AmqpChannel *channel, const AmqpMethod *answer);
/** Leaves the channel's or client's words in the running coroutine's problem. */
Err channel_problem(const AmqpChannel *channel, Err err);

/* publish.c */
void publish_reset(AmqpChannel *channel); /* opened anew: numbers on the wire begin at 1 */
void publish_lost(AmqpChannel *channel);
void publish_confirmed(AmqpChannel *channel, uint64_t tag, bool multiple, bool stored);
void publish_returned(AmqpChannel *channel, const AmqpProperties *properties);

/* explain.c */
/** "PRECONDITION_FAILED - inequivalent arg …" in words that say what differs and how to mend it; others as they are. */
void explain_close(Str words, char *out, size_t room);
