/*
 * handshake.c - from a connected socket to connection.open-ok (AMQP 0-9-1 §2.2.4, §4.2.2).
 *
 * The broker's own words for a refusal are kept, because they are the only ones that tell an operator which of user,
 * password, vhost or permission it was.
 */
#include <stdio.h>
#include <unistd.h>

#include "amqp/client.h"

/* Reply codes (§1.2, and RabbitMQ's use of them). */
Err reply_code_to_err(uint64_t code) {
    switch (code) {
    case 320: /* CONNECTION_FORCED: an operator, or the broker stops */
        return ERR_UNAVAILABLE;
    case 403: /* ACCESS_REFUSED */
        return ERR_REFUSED;
    case 404: /* NOT_FOUND */
    case 402: /* INVALID_PATH */
    case 530: /* NOT_ALLOWED: the vhost is not there, or not for this user */
        return ERR_NOT_FOUND;
    case 405: /* RESOURCE_LOCKED */
    case 406: /* PRECONDITION_FAILED */
        return ERR_CONFLICT;
    case 506: /* RESOURCE_ERROR */
        return ERR_LIMIT;
    default:
        return ERR_INTERNAL;
    }
}

Err client_closed_by_broker(AmqpClient *client, const AmqpMethod *close) {
    Err err = reply_code_to_err(close->arguments[0].n);
    client_fail(client, err, "the broker closed the connection: %.*s (%llu)", STR_ARG(close->arguments[1].s),
                (unsigned long long)close->arguments[0].n);
    return err;
}

/* Writes at once: the writer's coroutine has nothing to do before the connection is open. */
CO_FN static Err send_now(AmqpClient *client, const AmqpMethod *method) {
    size_t began = amqp_frame_begin(&client->out, AMQP_FRAME_METHOD, 0);
    amqp_method_write(&client->out, method);
    amqp_frame_end(&client->out, began);
    TRY(client->out.err);
    Err err = socket_write(&client->socket, buf_str(&client->out));
    buf_clear(&client->out);
    return err;
}

CO_FN static Err await(AmqpClient *client, AmqpMethodId wanted, int64_t deadline_ms, AmqpMethod *ret) {
    AmqpFrame frame;
    do
        TRY(client_next_frame(client, deadline_ms, &frame));
    while (frame.kind == AMQP_FRAME_HEARTBEAT);
    if (frame.kind != AMQP_FRAME_METHOD || frame.channel != 0 || amqp_method_read(frame.payload, ret) != ERR_OK) {
        client_fail(client, ERR_SYNTAX, "the peer does not speak AMQP 0-9-1: no method where %s was due",
                    amqp_method_name(wanted));
        return ERR_SYNTAX;
    }
    if (ret->id == AMQP_CONNECTION_CLOSE) {
        Err err = client_closed_by_broker(client, ret);
        Err told UNUSED = send_now(client, &(AmqpMethod){.id = AMQP_CONNECTION_CLOSE_OK});
        return err;
    }
    if (ret->id == wanted)
        return ERR_OK;
    client_fail(client, ERR_SYNTAX, "the peer does not speak AMQP 0-9-1: %s where %s was due",
                amqp_method_name(ret->id), amqp_method_name(wanted));
    return ERR_SYNTAX;
}

/* What the broker's tools show of us, and what we understand. */
static void client_properties(const AmqpClient *client, Buf *table) {
    static const char *const capabilities[] = {"publisher_confirms", "exchange_exchange_bindings",
                                               "basic.nack",         "consumer_cancel_notify",
                                               "connection.blocked", "authentication_failure_close"};
    Buf able = buf_new(table->arena, 1024);
    char host[256] = "", pid[24];
    for (size_t i = 0; i < ARRAY_LEN(capabilities); i++)
        amqp_table_add_bool(&able, str_c(capabilities[i]), true);
    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0';
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    amqp_table_add_text(table, STR("product"), STR("usher"));
    amqp_table_add_text(table, STR("version"), STR(USHER_VERSION));
    amqp_table_add_text(table, STR("platform"), STR("C"));
    amqp_table_add_text(table, STR("connection_name"), client->name);
    amqp_table_add_text(table, STR("hostname"), str_c(host));
    amqp_table_add_text(table, STR("process_id"), str_c(pid));
    amqp_table_add_table(table, STR("capabilities"), buf_str(&able));
}

/* A word of a space-separated list. */
static bool offers(Str list, Str word) {
    while (list.p != NULL)
        if (str_eq(str_cut(&list, ' '), word))
            return true;
    return false;
}

CO_FN static Err answer_start(AmqpClient *client, Ctx *ctx, const AmqpMethod *start) {
    const AmqpUrl *url = &client->url;
    Str mechanism = url->external ? STR("EXTERNAL") : STR("PLAIN");
    buf_clear(&client->broker);
    buf_add(&client->broker, start->arguments[2].s);
    if (!offers(start->arguments[3].s, mechanism)) {
        client_fail(client, ERR_REFUSED, "the broker offers %.*s to sign in, not %.*s", STR_ARG(start->arguments[3].s),
                    STR_ARG(mechanism));
        return ERR_REFUSED;
    }
    Buf properties = buf_new(ctx->arena, 4096), response = buf_new(ctx->arena, 1024);
    client_properties(client, &properties);
    if (!url->external) {
        buf_add_char(&response, '\0');
        buf_add(&response, url->user);
        buf_add_char(&response, '\0');
        buf_add(&response, url->password);
    }
    TRY(properties.err);
    TRY(response.err);
    AmqpMethod ok = {
        .id = AMQP_CONNECTION_START_OK,
        .arguments = {{.s = buf_str(&properties)}, {.s = mechanism}, {.s = buf_str(&response)}, {.s = STR("en_US")}}};
    return send_now(client, &ok);
}

/* Of two limits where 0 is none. */
static uint64_t lower(uint64_t a, uint64_t b) {
    return a == 0 || b == 0 ? MAX_OF(a, b) : MIN_OF(a, b);
}

CO_FN static Err answer_tune(AmqpClient *client, const AmqpMethod *tune) {
    uint64_t channel_max = lower(tune->arguments[0].n, (uint64_t)client->url.channel_max);
    uint64_t frame_max = lower(tune->arguments[1].n, client->frame_max_wanted);
    /* 0 from the broker: it has no opinion; 0 from the URL: no heartbeats, whatever the broker says. */
    uint64_t heartbeat =
        client->url.heartbeat_s == 0 ? 0 : lower(tune->arguments[2].n, (uint64_t)client->url.heartbeat_s);
    if (frame_max < AMQP_FRAME_MIN) {
        client_fail(client, ERR_SYNTAX, "the broker's frame_max %llu is below the protocol's %d",
                    (unsigned long long)frame_max, AMQP_FRAME_MIN);
        return ERR_SYNTAX;
    }
    client->frame_max = (size_t)frame_max;
    client->channel_max = (uint16_t)channel_max;
    client->heartbeat_s = (uint16_t)heartbeat;
    AmqpMethod ok = {.id = AMQP_CONNECTION_TUNE_OK,
                     .arguments = {{.n = channel_max}, {.n = frame_max}, {.n = heartbeat}}};
    return send_now(client, &ok);
}

CO_FN static Err shake_hands(AmqpClient *client, Ctx *ctx, int64_t deadline_ms) {
    AmqpMethod method;
    TRY(socket_write(&client->socket, STR("AMQP\0\0\x09\x01")));
    TRY(await(client, AMQP_CONNECTION_START, deadline_ms, &method));
    TRY(answer_start(client, ctx, &method));
    TRY(await(client, AMQP_CONNECTION_TUNE, deadline_ms, &method));
    TRY(answer_tune(client, &method));
    AmqpMethod open = {.id = AMQP_CONNECTION_OPEN, .arguments = {{.s = client->url.vhost}}};
    TRY(send_now(client, &open));
    return await(client, AMQP_CONNECTION_OPEN_OK, deadline_ms, &method);
}

CO_FN Err client_handshake(AmqpClient *client) {
    client->frame_max = client->frame_max_wanted;
    client->failure = ERR_OK;
    Err err = shake_hands(client, co_ctx(co_self()), clock_mono_ms() + client->url.connection_ms);
    if (err == ERR_TIMEOUT)
        client_fail(client, ERR_UNAVAILABLE, "the broker did not answer within %lld ms",
                    (long long)client->url.connection_ms);
    else if (err == ERR_EOF || err == ERR_IO)
        client_fail(client, ERR_UNAVAILABLE, "the broker closed the connection while signing in");
    return err;
}
