/*
 * declare.c - the questions a setup asks: declare, bind, prefetch, consume; and the answers to deliveries.
 */
#include "amqp/client.h"

CO_FN Err amqp_exchange_declare(AmqpChannel *channel, const AmqpExchange *exchange) {
    AmqpMethod declare = {.id = AMQP_EXCHANGE_DECLARE,
                          .arguments = {{0},
                                        {.s = str_c(exchange->name)},
                                        {.s = str_c(exchange->type)},
                                        {.n = exchange->passive},
                                        {.n = exchange->durable},
                                        {.n = exchange->auto_delete},
                                        {.n = exchange->internal},
                                        {0},
                                        {.s = exchange->arguments}}};
    return channel_ask(channel, &declare, AMQP_EXCHANGE_DECLARE_OK);
}

CO_FN Err amqp_queue_declare(AmqpChannel *channel, const AmqpQueue *queue, AmqpQueueState *ret) {
    AmqpMethod declare = {.id = AMQP_QUEUE_DECLARE,
                          .arguments = {{0},
                                        {.s = str_c(queue->name)},
                                        {.n = queue->passive},
                                        {.n = queue->durable},
                                        {.n = queue->exclusive},
                                        {.n = queue->auto_delete},
                                        {0},
                                        {.s = queue->arguments}}};
    TRY(channel_ask(channel, &declare, AMQP_QUEUE_DECLARE_OK));
    if (ret != NULL)
        *ret =
            (AmqpQueueState){.messages = (uint32_t)channel->answered[1], .consumers = (uint32_t)channel->answered[2]};
    return ERR_OK;
}

CO_FN Err amqp_queue_bind(AmqpChannel *channel, const char *queue, const char *exchange, const char *key) {
    AmqpMethod bind = {.id = AMQP_QUEUE_BIND,
                       .arguments = {{0}, {.s = str_c(queue)}, {.s = str_c(exchange)}, {.s = str_c(key)}}};
    return channel_ask(channel, &bind, AMQP_QUEUE_BIND_OK);
}

CO_FN Err amqp_exchange_bind(AmqpChannel *channel, const char *to, const char *from, const char *key) {
    AmqpMethod bind = {.id = AMQP_EXCHANGE_BIND,
                       .arguments = {{0}, {.s = str_c(to)}, {.s = str_c(from)}, {.s = str_c(key)}}};
    return channel_ask(channel, &bind, AMQP_EXCHANGE_BIND_OK);
}

CO_FN Err amqp_qos(AmqpChannel *channel, uint16_t prefetch) {
    AmqpMethod qos = {.id = AMQP_BASIC_QOS, .arguments = {{0}, {.n = prefetch}}};
    return channel_ask(channel, &qos, AMQP_BASIC_QOS_OK);
}

static const char CONSUMER_TAG[] = "usher";

CO_FN Err amqp_consume(AmqpChannel *channel, const char *queue, bool exclusive, AmqpOnDelivery on_delivery,
                       void *data) {
    AmqpMethod consume = {
        .id = AMQP_BASIC_CONSUME,
        .arguments = {{0}, {.s = str_c(queue)}, {.s = str_c(CONSUMER_TAG)}, {0}, {0}, {.n = exclusive}}};
    /* Before the question: deliveries may come with the answer. */
    channel->on_delivery = on_delivery;
    channel->on_delivery_data = data;
    TRY(channel_ask(channel, &consume, AMQP_BASIC_CONSUME_OK));
    channel->consuming = true;
    return ERR_OK;
}

CO_FN Err amqp_cancel(AmqpChannel *channel) {
    if (!channel->consuming)
        return ERR_OK;
    channel->consuming = false;
    AmqpMethod cancel = {.id = AMQP_BASIC_CANCEL, .arguments = {{.s = str_c(CONSUMER_TAG)}}};
    return channel_ask(channel, &cancel, AMQP_BASIC_CANCEL_OK);
}

/* Either answer counts: input.c tells a message as the other one too, when it is there as a whole. */
CO_FN Err amqp_get(AmqpChannel *channel, const char *queue, size_t n, AmqpOnDelivery on_delivery, void *data) {
    AmqpMethod get = {.id = AMQP_BASIC_GET, .arguments = {{0}, {.s = str_c(queue)}}};
    channel->on_delivery = on_delivery;
    channel->on_delivery_data = data;
    return channel_ask_times(channel, &get, AMQP_BASIC_GET_EMPTY, n);
}

static bool is_current(const AmqpChannel *channel, uint64_t generation) {
    return channel->state != CHANNEL_AWAY && channel->generation == generation;
}

void amqp_ack(AmqpChannel *channel, uint64_t generation, uint64_t tag, bool multiple) {
    AmqpMethod ack = {.id = AMQP_BASIC_ACK, .arguments = {{.n = tag}, {.n = multiple}}};
    if (is_current(channel, generation))
        client_write(channel->client, channel->id, &ack);
}

void amqp_nack(AmqpChannel *channel, uint64_t generation, uint64_t tag, bool multiple, bool requeue) {
    AmqpMethod nack = {.id = AMQP_BASIC_NACK, .arguments = {{.n = tag}, {.n = multiple}, {.n = requeue}}};
    if (is_current(channel, generation))
        client_write(channel->client, channel->id, &nack);
}
