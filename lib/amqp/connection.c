/*
 * connection.c - the client's life: away, connecting, up, lost, away ….
 *
 * A loss is noticed in one place, the reader: the socket ends, or nothing came for two heartbeats, or the writer failed
 * and has cut the socket. Then every wait on the connection fails with ERR_UNAVAILABLE, and the channels' coroutines
 * wait for the next connection to set themselves up again.
 */
#include <stdarg.h>
#include <stdio.h>

#include "amqp/client.h"
#include "base/heap.h"
#include "runtime/log.h"

/* How often a stopping reader looks whether work in hand still needs the connection. */
#define LINGER_MS 20
#define OUT_MAX   ((size_t)AMQP_BODY_MAX + 64u * 1024 * 1024)

/* --- waits -------------------------------------------------------------------------------------------------------- */

CO_FN Err waiters_wait(AmqpWaiter **list, int64_t deadline_ms) {
    AmqpWaiter self = {.next = *list};
    *list = &self;
    Err err = co_wait(&self.wait, deadline_ms);
    AmqpWaiter **at = list;
    while (*at != &self)
        at = &(*at)->next;
    *at = self.next;
    return err;
}

void waiters_wake(AmqpWaiter *list, Err result) {
    for (; list != NULL; list = list->next)
        wait_wake(&list->wait, result);
}

void client_fail(AmqpClient *client, Err failure, const char *words, ...) {
    va_list arguments;
    va_start(arguments, words);
    vsnprintf(client->last_error, sizeof client->last_error, words, arguments);
    va_end(arguments);
    client->failure = failure;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

bool client_has_room(const AmqpClient *client) {
    return client->state == CLIENT_UP && !client->blocked && client->out.n + client->sending.n < AMQP_OUT_HIGH;
}

void client_flush(AmqpClient *client) {
    turn_hook_arm(client->loop, &client->flush);
}

static void flush_hook(TurnHook *hook) {
    AmqpClient *client = (AmqpClient *)((char *)hook - offsetof(AmqpClient, flush));
    if (client->idle_writer != NULL && client->state == CLIENT_UP && client->out.n > 0)
        wait_wake(client->idle_writer, ERR_OK);
}

void client_write(AmqpClient *client, uint16_t channel, const AmqpMethod *method) {
    size_t began = amqp_frame_begin(&client->out, AMQP_FRAME_METHOD, channel);
    amqp_method_write(&client->out, method);
    amqp_frame_end(&client->out, began);
    client_flush(client);
}

CO_FN static void writer_sleep(AmqpClient *client) {
    Wait wait = {0};
    client->idle_writer = &wait;
    Err woken UNUSED = co_wait(&wait, 0);
    client->idle_writer = NULL;
}

/* Shielded: what is in hand when the process is told to stop must still go out. It ends when the reader has. */
CO_FN static void writer_co(Ctx *ctx UNUSED, void *arg) {
    AmqpClient *client = arg;
    (void)co_shield(true);
    while (client->reader != NULL) {
        if (client->state != CLIENT_UP || client->out.n == 0) {
            writer_sleep(client);
            continue;
        }
        Buf full = client->out;
        client->out = client->sending;
        client->sending = full;
        client->writing = true;
        Err err = full.err == ERR_OK ? socket_write(&client->socket, buf_str(&client->sending)) : full.err;
        client->writing = false;
        buf_clear(&client->sending);
        client->written_ms = clock_mono_ms();
        if (err != ERR_OK)
            socket_abort(&client->socket); /* the reader sees it, and counts the loss */
        waiters_wake(client->writer_done, ERR_OK);
        waiters_wake(client->room, ERR_OK);
    }
    client->writer = NULL;
}

/* --- heartbeats --------------------------------------------------------------------------------------------------- */

static void heartbeat_due(Timer *timer) {
    AmqpClient *client = (AmqpClient *)((char *)timer - offsetof(AmqpClient, heartbeat));
    if (client->state != CLIENT_UP || client->heartbeat_s == 0)
        return;
    int64_t half_ms = client->heartbeat_s * 500LL;
    if (clock_mono_ms() - client->written_ms >= half_ms && !client->writing && client->out.n == 0) {
        amqp_frame_end(&client->out, amqp_frame_begin(&client->out, AMQP_FRAME_HEARTBEAT, 0));
        client_flush(client);
    }
    if (timer_arm(client->loop, timer, clock_mono_ms() + half_ms) != ERR_OK)
        socket_abort(&client->socket); /* without heartbeats the broker would cut us off, later and unexplained */
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

CO_FN Err client_next_frame(AmqpClient *client, int64_t deadline_ms, AmqpFrame *ret) {
    for (;;) {
        size_t n = 0;
        Str unread = str_slice(buf_str(&client->in), client->in_at, client->in.n);
        Err err = amqp_frame_read(unread, client->frame_max, ret, &n);
        if (err == ERR_OK) {
            client->in_at += n;
            return ERR_OK;
        }
        if (err != ERR_EOF) {
            client_fail(client, err, "the peer does not speak AMQP 0-9-1: %s",
                        err == ERR_LIMIT ? "a frame is longer than was agreed" : "bytes that are no frame");
            return err;
        }
        buf_consume(&client->in, client->in_at);
        client->in_at = 0;
        char *room = buf_reserve(&client->in, AMQP_READ_CHUNK);
        if (room == NULL)
            return client->in.err;
        size_t got = 0;
        TRY(socket_read(&client->socket, room, AMQP_READ_CHUNK, deadline_ms, &got));
        client->in.n += got;
        if (got == AMQP_READ_CHUNK)
            TRY(co_yield ()); /* more is there than one turn should take */
    }
}

/* The next frame; a process that was told to stop stays connected while work in hand holds the client, looking now and
 * then whether it still does. */
CO_FN static Err read_frame(AmqpClient *client, AmqpFrame *ret) {
    int64_t silence_ms = client->heartbeat_s * 2000LL;
    int64_t until_ms = silence_ms == 0 ? INT64_MAX : clock_mono_ms() + silence_ms;
    for (;;) {
        bool lingering = co_is_cancelled() && client->held > 0;
        int64_t deadline_ms = lingering ? MIN_OF(until_ms, clock_mono_ms() + LINGER_MS) : until_ms;
        bool was = lingering && co_shield(true);
        Err err = client_next_frame(client, deadline_ms == INT64_MAX ? 0 : deadline_ms, ret);
        if (lingering)
            (void)co_shield(was);
        bool again = (err == ERR_CANCELLED && client->held > 0) || (err == ERR_TIMEOUT && deadline_ms != until_ms);
        if (!again)
            return err;
        if (lingering && client->held == 0)
            return ERR_CANCELLED;
    }
}

CO_FN static Err read_frames(AmqpClient *client) {
    for (;;) {
        AmqpFrame frame = {0};
        Err err = read_frame(client, &frame);
        if (err == ERR_TIMEOUT)
            client_fail(client, ERR_UNAVAILABLE, "no heartbeat from the broker for %d s", client->heartbeat_s * 2);
        else if (err == ERR_EOF || err == ERR_IO)
            client_fail(client, ERR_UNAVAILABLE, "the broker has closed the connection without a word");
        TRY(err);
        TRY(client_take_frame(client, &frame));
    }
}

/* --- up and away -------------------------------------------------------------------------------------------------- */

static void went_up(AmqpClient *client) {
    client->state = CLIENT_UP;
    client->failure = ERR_OK;
    client->written_ms = clock_mono_ms();
    if (client->outage)
        LOG_I(NULL, "amqp is back", F_STR("for", client->name));
    client->outage = false;
    heartbeat_due(&client->heartbeat);
    waiters_wake(client->up, ERR_OK);
    waiters_wake(client->room, ERR_OK);
}

static void say_good_bye(AmqpClient *client) {
    AmqpMethod close = {.id = AMQP_CONNECTION_CLOSE, .arguments = {{.n = 200}, {.s = STR("usher ends")}}};
    size_t began = amqp_frame_begin(&client->out, AMQP_FRAME_METHOD, 0);
    amqp_method_write(&client->out, &close);
    amqp_frame_end(&client->out, began);
    socket_write_last(&client->socket, buf_str(&client->out));
}

/* The writer may still hold the socket: it is cut first, and closed when the writer has let go. */
CO_FN static void went_away(AmqpClient *client) {
    client->state = CLIENT_AWAY;
    client->blocked = false;
    timer_disarm(client->loop, &client->heartbeat);
    if (!client->outage && !client->once && !co_is_cancelled())
        LOG_W(NULL, "amqp is away", F_STR("for", client->name), F_C("reason", client->last_error));
    client->outage = true;
    for (size_t i = 0; i < client->n_channels; i++)
        channel_lost(client->channels[i], ERR_UNAVAILABLE, str_c(client->last_error));
    waiters_wake(client->room, ERR_UNAVAILABLE);
    if (co_is_cancelled() && !client->writing && client->socket.fd >= 0)
        say_good_bye(client);
    socket_abort(&client->socket);
    bool was = co_shield(true);
    while (client->writing)
        if (waiters_wait(&client->writer_done, 0) != ERR_OK)
            break;
    (void)co_shield(was);
    socket_close(&client->socket);
    buf_clear(&client->in);
    buf_clear(&client->out);
    client->in_at = 0;
}

CO_FN static Err connect_once(AmqpClient *client) {
    char why[AMQP_ERROR_MAX] = "";
    int64_t deadline_ms = clock_mono_ms() + client->url.connection_ms;
    client->state = CLIENT_CONNECTING;
    Err err = socket_connect(&client->socket, &client->url, deadline_ms, why, sizeof why);
    if (err != ERR_OK) {
        client_fail(client, err == ERR_TIMEOUT ? ERR_UNAVAILABLE : err, "%s", why);
        return err;
    }
    return client_handshake(client);
}

CO_FN static void reader_co(Ctx *ctx, void *arg) {
    AmqpClient *client = arg;
    int64_t backoff_ms = AMQP_BACKOFF_MIN_MS;
    while (!co_is_cancelled()) {
        Err err = connect_once(client);
        if (err == ERR_OK) {
            backoff_ms = AMQP_BACKOFF_MIN_MS;
            went_up(client);
            Err ended UNUSED = read_frames(client); /* client->failure says more */
        }
        went_away(client);
        waiters_wake(client->up, ERR_RETRY); /* who waits for us asks why, and waits on if that may mend itself */
        arena_reset(ctx->arena);
        int64_t most_ms = client->failure == ERR_REFUSED || client->failure == ERR_NOT_FOUND ? AMQP_BACKOFF_REFUSED_MS
                                                                                             : AMQP_BACKOFF_MAX_MS;
        int64_t wait_ms = backoff_ms / 2 + (int64_t)random_below((uint64_t)backoff_ms / 2 + 1);
        backoff_ms = MIN_OF(backoff_ms * 2, most_ms);
        if (co_sleep(wait_ms) == ERR_CANCELLED)
            break;
    }
    client->reader = NULL;
    waiters_wake(client->up, ERR_CANCELLED);
    if (client->idle_writer != NULL)
        wait_wake(client->idle_writer, ERR_CANCELLED);
}

CO_FN Err amqp_client_ready(AmqpClient *client) {
    Ctx *ctx = co_ctx(co_self());
    while (client->state != CLIENT_UP) {
        bool mends =
            client->failure != ERR_REFUSED && client->failure != ERR_NOT_FOUND && client->failure != ERR_INVALID;
        if (client->failure != ERR_OK && (client->once || !mends))
            return ctx_problem(ctx, client->failure, NULL, "%s", client->last_error);
        if (client->reader == NULL)
            return ERR_CANCELLED;
        Err err = waiters_wait(&client->up, 0);
        if (err == ERR_TIMEOUT)
            return ctx_problem(ctx, ERR_TIMEOUT, NULL, "the broker was not reached in time: %s", client->last_error);
        if (err != ERR_RETRY)
            TRY(err);
    }
    return ERR_OK;
}

bool amqp_client_is_up(const AmqpClient *client) {
    return client->state == CLIENT_UP;
}

bool amqp_client_is_blocked(const AmqpClient *client) {
    return client->blocked;
}

Str amqp_client_last_error(const AmqpClient *client) {
    return str_c(client->last_error);
}

Str amqp_client_broker(const AmqpClient *client, const char *property) {
    return amqp_table_text(buf_str(&client->broker), property);
}

/* --- birth and end ------------------------------------------------------------------------------------------------ */

static Err start(AmqpClient *client, Ctx *ctx, const AmqpConfig *config) {
    TRY(amqp_url_read(ctx, config->url, client->arena, &client->url));
    client->name = arena_str(client->arena, config->name);
    if (client->name.p == NULL)
        return ERR_NO_MEMORY;
    TRY(co_spawn(client->loop, reader_co, client, &(CoOptions){.name = "amqp reader"}, &client->reader));
    Err err = co_spawn(client->loop, writer_co, client, &(CoOptions){.name = "amqp writer"}, &client->writer);
    if (err != ERR_OK)
        co_cancel(client->reader);
    return err;
}

Err amqp_client_new(Ctx *ctx, Loop *loop, const AmqpConfig *config, AmqpClient **ret) {
    AmqpClient *client = HEAP_NEW(AmqpClient);
    if (client == NULL)
        return ERR_NO_MEMORY;
    client->loop = loop;
    client->socket.fd = -1;
    client->once = config->once;
    client->rpc_ms = config->rpc_ms == 0 ? 30000 : config->rpc_ms;
    client->frame_max_wanted = config->frame_max == 0 ? AMQP_FRAME_MAX : (size_t)config->frame_max;
    client->frame_max = client->frame_max_wanted;
    client->flush = (TurnHook){.fn = flush_hook, .rank = TURN_WRITE};
    client->heartbeat.fn = heartbeat_due;
    client->in = buf_new(NULL, client->frame_max_wanted + 2 * (size_t)AMQP_READ_CHUNK);
    client->out = client->sending = buf_new(NULL, OUT_MAX);
    client->broker = buf_new(NULL, 64 * 1024);
    client->arena = arena_new(64 * 1024);
    Err err = client->arena == NULL ? ERR_NO_MEMORY : start(client, ctx, config);
    if (err != ERR_OK) {
        if (client->reader == NULL)
            amqp_client_free(client); /* else its coroutine frees it: see reader_co */
        return err;
    }
    *ret = client;
    return ERR_OK;
}

void amqp_client_free(AmqpClient *client) {
    if (client == NULL)
        return;
    ASSERT(client->reader == NULL && client->writer == NULL);
    turn_hook_disarm(client->loop, &client->flush);
    timer_disarm(client->loop, &client->heartbeat);
    socket_close(&client->socket);
    for (size_t i = 0; i < client->n_channels; i++)
        channel_free(client->channels[i]);
    buf_done(&client->in);
    buf_done(&client->out);
    buf_done(&client->sending);
    buf_done(&client->broker);
    arena_freep(&client->arena);
    heap_free(client);
}

void amqp_client_stop(AmqpClient *client) {
    for (size_t i = 0; i < client->n_channels; i++)
        if (client->channels[i]->co != NULL)
            co_cancel(client->channels[i]->co);
    if (client->reader != NULL)
        co_cancel(client->reader);
}

void amqp_client_hold(AmqpClient *client) {
    client->held++;
}

void amqp_client_release(AmqpClient *client) {
    ASSERT(client->held > 0);
    client->held--;
}
