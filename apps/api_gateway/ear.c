/*
 * ear.c - a ring of the latest messages, and the queue that fills it.
 *
 * Messages are acknowledged as they come: whoever hears them owes nobody anything. A lost connection makes deaf from
 * the last sign of life to the next opening; nothing is said of writes in between.
 */
#include "api_gateway/ear.h"

#include <stdio.h>

#include "amqp/amqp.h"
#include "base/clock.h"
#include "base/heap.h"
#include "runtime/log.h"
#include "json/json.h"

enum {
    KEPT_MAX = 4096,
    KEPT_BYTES_MAX = 32 << 20,
    BODY_MAX = 256 * 1024,
    SCRATCH_BYTES = 8 << 20,
    PREFETCH = 1000,
    NAME_BYTES = 64
};

struct Ear {
    EarOptions options;
    AmqpClient *client;
    AmqpChannel *channel;
    Arena *scratch;
    Heard *kept[KEPT_MAX]; /* by number modulo KEPT_MAX; NULL: dropped */
    uint64_t first, next;  /* numbers of the oldest and of the one to come */
    size_t bytes;
    bool open;
    int64_t all_since_us; /* nothing that came since then is missing, while it is open */
};

static int64_t now_us(void) {
    return instant_to_unix_us(clock_now());
}

/* --- what was heard ----------------------------------------------------------------------------------------------- */

static void forget_oldest(Ear *ear) {
    Heard **at = &ear->kept[ear->first++ % KEPT_MAX];
    ear->all_since_us = MAX_OF(ear->all_since_us, (*at)->at_us + 1);
    ear->bytes -= (*at)->body.n;
    heap_free(*at);
    *at = NULL;
}

/* The envelope's message.id; zero where there is none to read. */
static Id about_of(Ear *ear, Str body) {
    Json *envelope;
    Id id = {{0}};
    arena_reset(ear->scratch);
    if (json_parse(body, ear->scratch, JSON_DUPLICATES_LAST, &envelope, NULL) != ERR_OK)
        return id;
    const Json *message = json_member(envelope, "message");
    Str text = json_text(message == NULL ? NULL : json_member(message, "id"));
    if (id_parse(text, ID_FORM_D, &id) != ERR_OK)
        return (Id){{0}};
    return id;
}

void ear_hear(Ear *ear, Str type, Str body) {
    Heard *heard = body.n > BODY_MAX ? NULL : heap_alloc(sizeof *heard + type.n + body.n);
    if (heard == NULL) {
        ear->all_since_us = now_us() + 1;
        return;
    }
    char *bytes = (char *)(heard + 1);
    if (type.n > 0)
        memcpy(bytes, type.p, type.n);
    if (body.n > 0)
        memcpy(bytes + type.n, body.p, body.n);
    *heard = (Heard){.type = {bytes, type.n}, .body = {bytes + type.n, body.n}, .at_us = now_us()};
    heard->about = about_of(ear, heard->body);
    while (ear->next - ear->first >= KEPT_MAX || (ear->next > ear->first && ear->bytes + body.n > KEPT_BYTES_MAX))
        forget_oldest(ear);
    ear->kept[ear->next++ % KEPT_MAX] = heard;
    ear->bytes += body.n;
}

Heard *ear_next(Ear *ear, Str type, Id about, int64_t since_us, uint64_t *at) {
    for (*at = MAX_OF(*at, ear->first); *at < ear->next;) {
        Heard *heard = ear->kept[(*at)++ % KEPT_MAX];
        if (!heard->taken && heard->at_us >= since_us && id_eq(heard->about, about) && str_eq(heard->type, type))
            return heard;
    }
    return NULL;
}

void ear_opened(Ear *ear) {
    ear->open = true;
    ear->all_since_us = now_us() + 1;
}

void ear_closed(Ear *ear) {
    ear->open = false;
}

bool ear_has_all(const Ear *ear, int64_t since_us) {
    bool up = ear->channel == NULL || amqp_channel_is_up(ear->channel);
    return ear->open && up && since_us >= ear->all_since_us;
}

/* --- the queue ---------------------------------------------------------------------------------------------------- */

static void on_delivery(const AmqpDelivery *delivery, void *data) {
    Ear *ear = data;
    ear_hear(ear, delivery->exchange, delivery->body);
    amqp_ack(ear->channel, amqp_channel_generation(ear->channel), delivery->tag, false);
}

/* A name of its own each time: the broker may not have noticed yet that the one before is nobody's. */
CO_FN static Err set_up(AmqpChannel *channel, void *data) {
    Ear *ear = data;
    char name[NAME_BYTES] = "usher-shadow-";
    Id id = id_random();
    id_format(&id, name + strlen(name));
    ear_closed(ear);
    AmqpQueue queue = {.name = name, .exclusive = true, .auto_delete = true};
    TRY(amqp_queue_declare(channel, &queue, NULL));
    for (const char *const *type = ear->options.types; *type != NULL; type++) {
        AmqpExchange exchange = {.name = *type, .type = "fanout", .durable = true};
        TRY(amqp_exchange_declare(channel, &exchange));
        TRY(amqp_queue_bind(channel, name, *type, ""));
    }
    TRY(amqp_qos(channel, PREFETCH));
    TRY(amqp_consume(channel, name, true, on_delivery, ear));
    ear_opened(ear);
    LOG_I(NULL, "listening to the old side's messages");
    return ERR_OK;
}

Err ear_new_deaf(Ear **ret) {
    Ear *ear = HEAP_NEW(Ear);
    if (ear == NULL)
        return ERR_NO_MEMORY;
    ear->scratch = arena_new(SCRATCH_BYTES);
    if (ear->scratch == NULL) {
        heap_free(ear);
        return ERR_NO_MEMORY;
    }
    *ret = ear;
    return ERR_OK;
}

static Err open_queue(Ctx *ctx, Loop *loop, Ear *ear) {
    AmqpConfig config = {.url = ear->options.url, .name = STR("usher shadow")};
    TRY(amqp_client_new(ctx, loop, &config, &ear->client));
    return amqp_channel_new(ear->client, "ear", set_up, ear, &ear->channel);
}

Err ear_new(Ctx *ctx, Loop *loop, const EarOptions *options, Ear **ret) {
    Ear *ear;
    TRY(ear_new_deaf(&ear));
    ear->options = *options;
    *ret = ear; /* its coroutines may run already: freed by the caller, also when what follows fails */
    return open_queue(ctx, loop, ear);
}

void ear_free(Ear *ear) {
    if (ear == NULL)
        return;
    amqp_client_free(ear->client);
    while (ear->first < ear->next)
        forget_oldest(ear);
    arena_free(ear->scratch);
    heap_free(ear);
}
