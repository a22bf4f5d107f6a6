/*
 * publish.c - publishing with confirms, in any number and without waiting for each.
 *
 * Messages are numbered through the channel's life; on the wire each opening counts from 1, and `base` is what lies
 * between. What became of a number stands in a ring. A loss leaves the unconfirmed ones pending for ever and moves
 * first_pending past them: nobody knows about them, and who waits is told so.
 */
#include "amqp/client.h"
#include "base/heap.h"

enum {
    RING = 4 * AMQP_WINDOW, /* so that an answer is not overwritten before it was asked for */
    RETURNED_BEFORE_ACK = 16
};

static const char NUMBER_HEADER[] = "x-dotnet-pub-seq-no";

static uint8_t *slot(const AmqpChannel *channel, uint64_t number) {
    return &channel->confirms[number % RING];
}

void publish_reset(AmqpChannel *channel) {
    channel->base = channel->next_number - 1;
    channel->first_pending = channel->next_number;
    channel->confirming = false;
}

void publish_lost(AmqpChannel *channel) {
    channel->first_pending = channel->next_number;
    waiters_wake(channel->confirmed, ERR_UNAVAILABLE);
}

CO_FN Err amqp_confirm_select(AmqpChannel *channel) {
    if (channel->confirms == NULL && (channel->confirms = HEAP_ARRAY(uint8_t, RING)) == NULL)
        return ERR_NO_MEMORY;
    AmqpMethod select = {.id = AMQP_CONFIRM_SELECT};
    TRY(channel_ask(channel, &select, AMQP_CONFIRM_SELECT_OK));
    channel->confirming = true;
    return ERR_OK;
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

/* Method, header and body; the table of headers is made in the ctx's arena. */
static Err write_message(AmqpChannel *channel, const AmqpMessage *message, uint64_t number) {
    AmqpClient *client = channel->client;
    Buf *out = &client->out;
    Buf headers = buf_new(co_ctx(co_self())->arena, AMQP_FRAME_MIN + message->properties.headers.n);
    amqp_table_add_i64(&headers, str_c(NUMBER_HEADER), (int64_t)(number - channel->base));
    buf_add(&headers, message->properties.headers);
    TRY(headers.err);
    AmqpMethod publish = {
        .id = AMQP_BASIC_PUBLISH,
        .arguments = {{0}, {.s = str_c(message->exchange)}, {.s = str_c(message->key)}, {.n = message->mandatory}}};
    AmqpProperties properties = message->properties;
    properties.headers = buf_str(&headers);
    if (headers.n + 2048 > client->frame_max)
        return ERR_LIMIT; /* a header frame cannot be split */
    size_t before = out->n, began = amqp_frame_begin(out, AMQP_FRAME_METHOD, channel->id);
    amqp_method_write(out, &publish);
    amqp_frame_end(out, began);
    began = amqp_frame_begin(out, AMQP_FRAME_HEADER, channel->id);
    amqp_header_write(out, &properties, message->body.n);
    amqp_frame_end(out, began);
    size_t piece_max = client->frame_max - AMQP_FRAME_OVERHEAD;
    for (size_t at = 0; at < message->body.n; at += piece_max) {
        began = amqp_frame_begin(out, AMQP_FRAME_BODY, channel->id);
        buf_add(out, str_slice(message->body, at, at + piece_max));
        amqp_frame_end(out, began);
    }
    Err err = out->err;
    if (err != ERR_OK) { /* half a message must not go out */
        out->n = before;
        out->err = ERR_OK;
    }
    return err;
}

static bool has_room(const AmqpChannel *channel) {
    return client_has_room(channel->client) && !channel->stopped &&
           channel->next_number - channel->first_pending < AMQP_WINDOW;
}

CO_FN Err amqp_publish(AmqpChannel *channel, const AmqpMessage *message, uint64_t *ret) {
    for (;;) {
        if (channel->state != CHANNEL_UP || !channel->confirming)
            return channel_problem(channel, ERR_UNAVAILABLE);
        if (has_room(channel))
            break;
        Err err = waiters_wait(&channel->client->room, 0);
        if (err == ERR_TIMEOUT)
            return ctx_problem(co_ctx(co_self()), ERR_TIMEOUT, NULL, "the broker takes no messages%s",
                               channel->client->blocked ? ": it is blocked (memory or disk alarm)" : "");
        TRY(err);
    }
    if (message->body.n > AMQP_BODY_MAX)
        return ERR_LIMIT;
    uint64_t number = channel->next_number;
    TRY(write_message(channel, message, number));
    *slot(channel, number) = AMQP_CONFIRM_PENDING;
    channel->next_number++;
    client_flush(channel->client);
    *ret = number;
    return ERR_OK;
}

/* --- hearing of it ------------------------------------------------------------------------------------------------ */

static void settle(AmqpChannel *channel, uint64_t number, bool stored) {
    uint8_t *state = slot(channel, number);
    if (*state == RETURNED_BEFORE_ACK)
        *state = AMQP_CONFIRM_RETURNED;
    else if (*state == AMQP_CONFIRM_PENDING)
        *state = stored ? AMQP_CONFIRM_STORED : AMQP_CONFIRM_NACKED;
}

static bool is_pending(const AmqpChannel *channel, uint64_t number) {
    return *slot(channel, number) == AMQP_CONFIRM_PENDING || *slot(channel, number) == RETURNED_BEFORE_ACK;
}

void publish_confirmed(AmqpChannel *channel, uint64_t tag, bool multiple, bool stored) {
    if (!channel->confirming || tag > channel->next_number - 1 - channel->base)
        return;
    uint64_t number = tag == 0 ? channel->next_number - 1 : channel->base + tag;
    uint64_t first = multiple ? channel->first_pending : number;
    for (uint64_t at = MAX_OF(first, channel->first_pending); at <= number; at++)
        settle(channel, at, stored);
    while (channel->first_pending < channel->next_number && !is_pending(channel, channel->first_pending))
        channel->first_pending++;
    waiters_wake(channel->confirmed, ERR_OK);
    if (has_room(channel))
        waiters_wake(channel->client->room, ERR_OK);
}

/* It comes before the message's confirmation. Which message it was says the header that we put there. */
void publish_returned(AmqpChannel *channel, const AmqpProperties *properties) {
    AmqpField field;
    if (!channel->confirming || properties->headers.p == NULL ||
        !amqp_table_find(properties->headers, NUMBER_HEADER, &field) || field.number < 1)
        return;
    uint64_t number = channel->base + (uint64_t)field.number;
    if (number >= channel->first_pending && number < channel->next_number)
        *slot(channel, number) = RETURNED_BEFORE_ACK;
}

CO_FN Err amqp_confirms_wait(AmqpChannel *channel, uint64_t last) {
    while (channel->first_pending <= last) {
        Err err = waiters_wait(&channel->confirmed, 0);
        if (err != ERR_OK)
            return channel_problem(channel, err);
    }
    return ERR_OK;
}

AmqpConfirm amqp_confirm_of(const AmqpChannel *channel, uint64_t number) {
    uint8_t state = *slot(channel, number);
    return state == RETURNED_BEFORE_ACK ? AMQP_CONFIRM_PENDING : (AmqpConfirm)state;
}
