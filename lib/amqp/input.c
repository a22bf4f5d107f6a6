/*
 * input.c - acting on what the broker sends, frame by frame.
 *
 * Strict: a frame where none may be, content without its method, a body longer than announced end the connection with
 * the broker told why (§1.2: 501, 505); what comes for a channel that we have just given up is dropped.
 */
#include "amqp/client.h"

static Err protocol_error(AmqpClient *client, uint64_t code, const char *words) {
    AmqpMethod close = {.id = AMQP_CONNECTION_CLOSE, .arguments = {{.n = code}, {.s = str_c(words)}}};
    size_t began = amqp_frame_begin(&client->out, AMQP_FRAME_METHOD, 0);
    amqp_method_write(&client->out, &close);
    amqp_frame_end(&client->out, began);
    if (!client->writing)
        socket_write_last(&client->socket, buf_str(&client->out));
    client_fail(client, ERR_SYNTAX, "the peer does not speak AMQP 0-9-1: %s", words);
    return ERR_SYNTAX;
}

static AmqpChannel *channel_of(AmqpClient *client, uint16_t id) {
    if (id == 0 || id > client->n_channels)
        return NULL;
    return client->channels[id - 1];
}

/* --- the connection's own methods --------------------------------------------------------------------------------- */

static Err take_connection_method(AmqpClient *client, const AmqpMethod *method) {
    switch (method->id) {
    case AMQP_CONNECTION_CLOSE: {
        Err err = client_closed_by_broker(client, method);
        client_write(client, 0, &(AmqpMethod){.id = AMQP_CONNECTION_CLOSE_OK});
        if (!client->writing)
            socket_write_last(&client->socket, buf_str(&client->out));
        return err;
    }
    case AMQP_CONNECTION_BLOCKED:
        client->blocked = true;
        return ERR_OK;
    case AMQP_CONNECTION_UNBLOCKED:
        client->blocked = false;
        waiters_wake(client->room, ERR_OK);
        return ERR_OK;
    default:
        return protocol_error(client, 503, amqp_method_name(method->id));
    }
}

/* --- content ------------------------------------------------------------------------------------------------------ */

static Err content_complete(AmqpChannel *channel, Str body) {
    AmqpContent *content = &channel->content;
    AmqpMethod method;
    AmqpProperties properties;
    uint64_t size;
    content->state = CONTENT_NONE;
    if (amqp_method_read(buf_str(&content->method), &method) != ERR_OK ||
        amqp_header_read(buf_str(&content->header), &properties, &size) != ERR_OK)
        return protocol_error(channel->client, 501, "a content header is malformed");
    if (method.id == AMQP_BASIC_RETURN) {
        publish_returned(channel, &properties);
        return ERR_OK;
    }
    AmqpDelivery delivery = {.tag = method.arguments[1].n,
                             .redelivered = method.arguments[2].n != 0,
                             .exchange = method.arguments[3].s,
                             .key = method.arguments[4].s,
                             .properties = properties,
                             .body = body};
    if (method.id == AMQP_BASIC_GET_OK) /* has no consumer's tag in front */
        delivery = (AmqpDelivery){.tag = method.arguments[0].n,
                                  .redelivered = method.arguments[1].n != 0,
                                  .exchange = method.arguments[2].s,
                                  .key = method.arguments[3].s,
                                  .properties = properties,
                                  .body = body};
    if (channel->on_delivery != NULL)
        channel->on_delivery(&delivery, channel->on_delivery_data);
    if (method.id == AMQP_BASIC_GET_OK)
        channel_answered(channel, &(AmqpMethod){.id = AMQP_BASIC_GET_EMPTY});
    return ERR_OK;
}

static Err take_header(AmqpChannel *channel, Str payload) {
    AmqpContent *content = &channel->content;
    AmqpProperties properties;
    if (content->state != CONTENT_HEADER)
        return protocol_error(channel->client, 505, "a content header that no method announced");
    if (amqp_header_read(payload, &properties, &content->size) != ERR_OK)
        return protocol_error(channel->client, 501, "a content header is malformed");
    if (content->size > AMQP_BODY_MAX)
        return protocol_error(channel->client, 501, "a body is longer than 128 MiB");
    buf_clear(&content->header);
    buf_add(&content->header, payload);
    buf_clear(&content->body);
    content->state = CONTENT_BODY;
    TRY(content->header.err);
    return content->size == 0 ? content_complete(channel, STR("")) : ERR_OK;
}

static Err take_body(AmqpChannel *channel, Str payload) {
    AmqpContent *content = &channel->content;
    if (content->state != CONTENT_BODY || payload.n > content->size - content->body.n)
        return protocol_error(channel->client, 505, "a piece of a body that no header announced");
    if (payload.n == content->size) /* the usual case: not copied here */
        return content_complete(channel, payload);
    buf_add(&content->body, payload);
    TRY(content->body.err);
    if (content->body.n < content->size)
        return ERR_OK;
    Err err = content_complete(channel, buf_str(&content->body));
    if (content->body.capacity > 1024 * 1024)
        buf_done(&content->body); /* one giant must not be paid for ever after */
    return err;
}

/* --- methods of channels ------------------------------------------------------------------------------------------ */

/* It could not even be opened, or our closing and the broker's have crossed. */
static void channel_refused(AmqpChannel *channel, const AmqpMethod *close) {
    client_write(channel->client, channel->id, &(AmqpMethod){.id = AMQP_CHANNEL_CLOSE_OK});
    explain_close(close->arguments[1].s, channel->last_error, sizeof channel->last_error);
    if (channel->answer != NULL)
        wait_wake(channel->answer, reply_code_to_err(close->arguments[0].n));
}

static void take_channel_close(AmqpChannel *channel, const AmqpMethod *close) {
    char words[AMQP_ERROR_MAX];
    client_write(channel->client, channel->id, &(AmqpMethod){.id = AMQP_CHANNEL_CLOSE_OK});
    explain_close(close->arguments[1].s, words, sizeof words);
    channel_lost(channel, reply_code_to_err(close->arguments[0].n), str_c(words));
}

static Err take_channel_method(AmqpChannel *channel, const AmqpMethod *method, Str payload) {
    AmqpContent *content = &channel->content;
    if (content->state != CONTENT_NONE)
        return protocol_error(channel->client, 505, "a method within another one's content");
    switch (method->id) {
    case AMQP_CHANNEL_CLOSE:
        take_channel_close(channel, method);
        return ERR_OK;
    case AMQP_CHANNEL_FLOW: {
        AmqpMethod ok = {.id = AMQP_CHANNEL_FLOW_OK, .arguments = {{.n = method->arguments[0].n}}};
        channel->stopped = method->arguments[0].n == 0;
        client_write(channel->client, channel->id, &ok);
        waiters_wake(channel->client->room, ERR_OK);
        return ERR_OK;
    }
    case AMQP_BASIC_DELIVER:
    case AMQP_BASIC_GET_OK:
    case AMQP_BASIC_RETURN:
        buf_clear(&content->method);
        buf_add(&content->method, payload);
        content->state = CONTENT_HEADER;
        return content->method.err;
    case AMQP_BASIC_ACK:
    case AMQP_BASIC_NACK:
        publish_confirmed(channel, method->arguments[0].n, method->arguments[1].n != 0, method->id == AMQP_BASIC_ACK);
        return ERR_OK;
    case AMQP_BASIC_CANCEL: /* the queue is gone, or has moved: set up again, which declares it */
        amqp_channel_restart(channel);
        return ERR_OK;
    default:
        channel_answered(channel, method);
        return ERR_OK;
    }
}

Err client_take_frame(AmqpClient *client, const AmqpFrame *frame) {
    AmqpMethod method = {0};
    if (frame->kind == AMQP_FRAME_HEARTBEAT)
        return frame->channel == 0 ? ERR_OK : protocol_error(client, 501, "a heartbeat on a channel");
    if (frame->kind == AMQP_FRAME_METHOD && amqp_method_read(frame->payload, &method) != ERR_OK)
        return protocol_error(client, 501, "a method is malformed");
    if (frame->channel == 0)
        return frame->kind == AMQP_FRAME_METHOD ? take_connection_method(client, &method)
                                                : protocol_error(client, 504, "content on channel 0");
    AmqpChannel *channel = channel_of(client, frame->channel);
    if (channel == NULL)
        return protocol_error(client, 504, "a frame of a channel that is not open");
    if (channel->state == CHANNEL_AWAY) { /* we have given it up; only the answer to that matters */
        if (frame->kind == AMQP_FRAME_METHOD && method.id == AMQP_CHANNEL_CLOSE)
            channel_refused(channel, &method);
        else if (frame->kind == AMQP_FRAME_METHOD)
            channel_answered(channel, &method);
        return ERR_OK;
    }
    if (frame->kind == AMQP_FRAME_METHOD)
        return take_channel_method(channel, &method, frame->payload);
    return frame->kind == AMQP_FRAME_HEADER ? take_header(channel, frame->payload) : take_body(channel, frame->payload);
}
