/*
 * channel.c - a channel's life: opened and set up with each connection, and again whenever it was lost.
 *
 * The broker answers a wrong question by closing the channel. That is no reason to crash, nor to ask again at once: the
 * words are kept and logged when they change, whoever waits for the channel gets them, and it is tried again after a
 * back-off that grows to half a minute, in case an operator has mended the cause.
 */
#include <stdio.h>

#include "amqp/client.h"
#include "base/heap.h"
#include "runtime/log.h"

static bool is_refusal(Err err) {
    return err == ERR_REFUSED || err == ERR_CONFLICT || err == ERR_NOT_FOUND || err == ERR_INVALID;
}

Err channel_problem(const AmqpChannel *channel, Err err) {
    const char *words = channel->last_error[0] != '\0' ? channel->last_error : channel->client->last_error;
    return ctx_problem(co_ctx(co_self()), err, NULL, "%s", words[0] != '\0' ? words : "the broker is not connected");
}

/* --- questions ---------------------------------------------------------------------------------------------------- */

void channel_answered(AmqpChannel *channel, const AmqpMethod *answer) {
    if (!channel->asking || answer->id != channel->awaited)
        return;
    for (size_t i = 0; i < AMQP_ARGUMENTS_MAX; i++)
        channel->answered[i] = answer->arguments[i].n;
    if (--channel->unanswered == 0 && channel->answer != NULL)
        wait_wake(channel->answer, ERR_OK);
}

/* An answer that nobody waited for to the end would be taken for the next question's: the channel is then opened anew,
 * except when it is its own closing that is asked for. */
CO_FN static Err ask(AmqpChannel *channel, const AmqpMethod *question, AmqpMethodId awaited, size_t times) {
    Wait wait = {0};
    channel->awaited = awaited;
    channel->unanswered = times;
    channel->answer = &wait;
    for (size_t i = 0; i < times; i++)
        client_write(channel->client, channel->id, question);
    Err err = co_wait(&wait, clock_mono_ms() + channel->client->rpc_ms);
    channel->answer = NULL;
    if ((err == ERR_TIMEOUT || err == ERR_CANCELLED) && question->id != AMQP_CHANNEL_CLOSE) {
        snprintf(channel->last_error, sizeof channel->last_error, "no answer to %s in time",
                 amqp_method_name(question->id));
        amqp_channel_restart(channel);
    }
    return err == ERR_OK ? ERR_OK : channel_problem(channel, err);
}

CO_FN Err channel_ask_times(AmqpChannel *channel, const AmqpMethod *question, AmqpMethodId awaited, size_t times) {
    while (channel->asking)
        TRY(waiters_wait(&channel->askers, 0));
    if (channel->state == CHANNEL_AWAY)
        return channel_problem(channel, ERR_UNAVAILABLE);
    channel->asking = true;
    Err err = ask(channel, question, awaited, times);
    channel->asking = false;
    waiters_wake(channel->askers, ERR_OK);
    return err;
}

CO_FN Err channel_ask(AmqpChannel *channel, const AmqpMethod *question, AmqpMethodId awaited) {
    return channel_ask_times(channel, question, awaited, 1);
}

/* --- losing and opening ------------------------------------------------------------------------------------------- */

void channel_lost(AmqpChannel *channel, Err failure, Str words) {
    if (channel->state == CHANNEL_AWAY)
        return;
    channel->state = CHANNEL_AWAY;
    channel->failure = failure;
    channel->consuming = false;
    channel->stopped = false;
    channel->content.state = CONTENT_NONE;
    snprintf(channel->last_error, sizeof channel->last_error, "%.*s", STR_ARG(words));
    publish_lost(channel);
    if (channel->answer != NULL)
        wait_wake(channel->answer, failure);
    waiters_wake(channel->lost, failure);
    waiters_wake(channel->client->room, ERR_OK); /* publishers of this channel see that it is gone */
}

void amqp_channel_restart(AmqpChannel *channel) {
    if (channel->state == CHANNEL_AWAY)
        return;
    AmqpMethod close = {.id = AMQP_CHANNEL_CLOSE, .arguments = {{.n = 200}, {.s = STR("set up again")}}};
    client_write(channel->client, channel->id, &close);
    channel_lost(channel, ERR_UNAVAILABLE, STR("the channel is set up again"));
}

/* Until the broker agrees that it is closed, its number cannot be used again. Frames that come meanwhile are dropped:
 * the state is AWAY. */
CO_FN static Err open(AmqpChannel *channel) {
    AmqpMethod question = {.id = AMQP_CHANNEL_OPEN};
    channel->asking = true;
    Err err = ask(channel, &question, AMQP_CHANNEL_OPEN_OK, 1);
    channel->asking = false;
    waiters_wake(channel->askers, ERR_OK);
    TRY(err);
    channel->state = CHANNEL_OPENING;
    channel->generation++;
    publish_reset(channel);
    if (channel->setup != NULL)
        TRY(channel->setup(channel, channel->data));
    if (channel->state != CHANNEL_OPENING)
        return channel_problem(channel, ERR_UNAVAILABLE);
    channel->state = CHANNEL_UP;
    channel->failure = ERR_OK;
    channel->last_error[0] = '\0';
    return ERR_OK;
}

static void log_opening(const AmqpChannel *channel, Err err, const char *words, char *last, size_t room) {
    if (strncmp(last, words, room - 1) == 0)
        return;
    if (err != ERR_OK)
        LOG_W(NULL, "amqp channel", F_C("name", channel->name), F_ERR(err), F_C("detail", words));
    else
        LOG_I(NULL, "amqp channel", F_C("name", channel->name), F_C("state", "works again"));
    snprintf(last, room, "%s", words);
}

CO_FN static void channel_co(Ctx *ctx, void *arg) {
    AmqpChannel *channel = arg;
    AmqpClient *client = channel->client;
    int64_t backoff_ms = AMQP_BACKOFF_MIN_MS;
    char last[AMQP_ERROR_MAX] = "";
    while (!co_is_cancelled()) {
        arena_reset(ctx->arena);
        problem_clear(ctx);
        if (client->state != CLIENT_UP) {
            Err err = client->reader == NULL ? ERR_CANCELLED : waiters_wait(&client->up, 0);
            if (err == ERR_CANCELLED)
                break;
            continue;
        }
        Err err = open(channel);
        if (err == ERR_OK) {
            log_opening(channel, err, "", last, sizeof last);
            backoff_ms = AMQP_BACKOFF_MIN_MS;
            waiters_wake(channel->ready, ERR_OK);
            if (waiters_wait(&channel->lost, 0) == ERR_CANCELLED)
                break;
        } else if (client->state == CLIENT_UP && err != ERR_CANCELLED) {
            channel->failure = err;
            if (channel->state != CHANNEL_AWAY) { /* the setup failed by its own doing: the broker does not know */
                snprintf(channel->last_error, sizeof channel->last_error, "%.*s", STR_ARG(ctx->problem.message));
                Err failure = err;
                amqp_channel_restart(channel);
                channel->failure = failure;
            }
            log_opening(channel, err, channel->last_error, last, sizeof last);
            waiters_wake(channel->ready, ERR_RETRY);
        }
        if (client->state != CLIENT_UP)
            continue;
        int64_t most_ms = is_refusal(channel->failure) ? AMQP_BACKOFF_REFUSED_MS : AMQP_BACKOFF_MAX_MS;
        if (co_sleep(backoff_ms / 2 + (int64_t)random_below((uint64_t)backoff_ms / 2 + 1)) == ERR_CANCELLED)
            break;
        backoff_ms = MIN_OF(backoff_ms * 2, most_ms);
    }
    channel->co = NULL;
}

CO_FN Err amqp_channel_ready(AmqpChannel *channel) {
    while (channel->state != CHANNEL_UP) {
        if (is_refusal(channel->failure))
            return channel_problem(channel, channel->failure);
        if (channel->client->state != CLIENT_UP)
            TRY(amqp_client_ready(channel->client));
        if (channel->state == CHANNEL_UP)
            break;
        if (channel->co == NULL)
            return ERR_CANCELLED;
        Err err = waiters_wait(&channel->ready, 0);
        if (err == ERR_TIMEOUT)
            return channel_problem(channel, ERR_TIMEOUT);
        if (err != ERR_RETRY)
            TRY(err);
    }
    return ERR_OK;
}

uint64_t amqp_channel_generation(const AmqpChannel *channel) {
    return channel->generation;
}

bool amqp_channel_is_up(const AmqpChannel *channel) {
    return channel->state == CHANNEL_UP;
}

/* --- birth and end ------------------------------------------------------------------------------------------------ */

Err amqp_channel_new(AmqpClient *client, const char *name, AmqpSetup setup, void *data, AmqpChannel **ret) {
    if (client->n_channels == AMQP_CHANNELS_MAX || client->n_channels >= (size_t)client->url.channel_max)
        return ERR_LIMIT;
    AmqpChannel *channel = HEAP_NEW(AmqpChannel);
    if (channel == NULL)
        return ERR_NO_MEMORY;
    *channel = (AmqpChannel){.client = client,
                             .id = (uint16_t)(client->n_channels + 1),
                             .name = name,
                             .setup = setup,
                             .data = data,
                             .next_number = 1,
                             .first_pending = 1};
    channel->content.method = buf_new(NULL, 1024);
    channel->content.header = buf_new(NULL, AMQP_FRAME_MAX);
    channel->content.body = buf_new(NULL, AMQP_BODY_MAX);
    Err err = co_spawn(client->loop, channel_co, channel, &(CoOptions){.name = "amqp channel"}, &channel->co);
    if (err != ERR_OK) {
        channel_free(channel);
        return err;
    }
    client->channels[client->n_channels++] = channel;
    *ret = channel;
    return ERR_OK;
}

void channel_free(AmqpChannel *channel) {
    ASSERT(channel->co == NULL);
    buf_done(&channel->content.method);
    buf_done(&channel->content.header);
    buf_done(&channel->content.body);
    heap_free(channel->confirms);
    heap_free(channel);
}
