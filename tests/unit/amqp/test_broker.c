/*
 * test_broker.c - beside a real RabbitMQ: what it declares, confirms, returns, delivers, refuses.
 */
#include "amqp_test.h"

#include "base/heap.h"

typedef struct Inbox {
    int n;
    uint64_t last_tag;
    char last[64];
    size_t bytes;
    bool redelivered;
    Wait *wait;
    int want;
} Inbox;

static void on_delivery(const AmqpDelivery *delivery, void *data) {
    Inbox *inbox = data;
    inbox->n++;
    inbox->last_tag = delivery->tag;
    inbox->bytes = delivery->body.n;
    inbox->redelivered = delivery->redelivered;
    snprintf(inbox->last, sizeof inbox->last, "%.*s", (int)MIN_OF(delivery->body.n, sizeof inbox->last - 1),
             delivery->body.p);
    if (inbox->wait != NULL && inbox->n >= inbox->want)
        wait_wake(inbox->wait, ERR_OK);
}

CO_FN static Err wait_for(Inbox *inbox, int n) {
    if (inbox->n >= n)
        return ERR_OK;
    Wait wait = {0};
    inbox->want = n;
    inbox->wait = &wait;
    Err err = co_wait(&wait, 0);
    inbox->wait = NULL;
    return err;
}

typedef struct Topology {
    const char *queue;
    Inbox *inbox;
    uint16_t prefetch;
    Str arguments;
} Topology;

CO_FN static Err declare_and_consume(AmqpChannel *channel, void *data) {
    const Topology *t = data;
    AmqpQueue queue = {.name = t->queue, .durable = true, .arguments = t->arguments};
    AmqpExchange exchange = {.name = t->queue, .type = "fanout", .durable = true};
    TRY(amqp_exchange_declare(channel, &exchange));
    TRY(amqp_queue_declare(channel, &queue, NULL));
    TRY(amqp_queue_bind(channel, t->queue, t->queue, ""));
    TRY(amqp_qos(channel, t->prefetch));
    return t->inbox == NULL ? ERR_OK : amqp_consume(channel, t->queue, false, on_delivery, t->inbox);
}

CO_FN static Err confirming(AmqpChannel *channel, void *data) {
    if (data != NULL)
        TRY(declare_and_consume(channel, data));
    return amqp_confirm_select(channel);
}

static AmqpMessage message_to(const char *exchange, Str body) {
    AmqpMessage message = {.exchange = exchange, .key = "", .mandatory = true, .body = body};
    message.properties = AMQP_PROPERTIES_NONE;
    message.properties.delivery_mode = 2;
    return message;
}

/* --- publish, consume --------------------------------------------------------------------------------------------- */

static void round_trip(Ctx *ctx, void *arg) {
    Inbox inbox = {0};
    Topology topology = {.queue = arg, .inbox = &inbox, .prefetch = 0};
    AmqpChannel *in, *out;
    uint64_t number = 0;
    CHECK_ERR(amqp_channel_new(test.client, "in", declare_and_consume, &topology, &in), ERR_OK);
    CHECK_ERR(amqp_channel_new(test.client, "out", confirming, NULL, &out), ERR_OK);
    CHECK_ERR(amqp_channel_ready(in), ERR_OK);
    CHECK_ERR(amqp_channel_ready(out), ERR_OK);
    for (int i = 0; i < 1000; i++) {
        AmqpMessage message = message_to(topology.queue, arena_printf(ctx->arena, "message %d", i));
        CHECK_ERR(amqp_publish(out, &message, &number), ERR_OK);
    }
    CHECK_ERR(amqp_confirms_wait(out, number), ERR_OK);
    for (uint64_t i = 0; i < 1000; i++)
        CHECK(amqp_confirm_of(out, number - i) == AMQP_CONFIRM_STORED);
    CHECK_ERR(wait_for(&inbox, 1000), ERR_OK);
    CHECK(strcmp(inbox.last, "message 999") == 0);
    amqp_ack(in, amqp_channel_generation(in), inbox.last_tag, true);

    /* larger than many frames */
    char *big = heap_alloc(3 * 1024 * 1024);
    AmqpMessage message = message_to(topology.queue, (Str){big, 3 * 1024 * 1024});
    Err err = amqp_publish(out, &message, &number);
    heap_free(big);
    CHECK_ERR(err, ERR_OK);
    CHECK_ERR(amqp_confirms_wait(out, number), ERR_OK);
    CHECK_ERR(wait_for(&inbox, 1001), ERR_OK);
    CHECK(inbox.bytes == 3 * 1024 * 1024);
    amqp_ack(in, amqp_channel_generation(in), inbox.last_tag, false);

    AmqpQueueState state;
    CHECK_ERR(amqp_cancel(in), ERR_OK);
    CHECK_ERR(amqp_queue_declare(in, &(AmqpQueue){.name = topology.queue, .passive = true}, &state), ERR_OK);
    CHECK(state.messages == 0 && state.consumers == 0);
}

static void what_is_published_is_delivered(void **state) {
    (void)state;
    NEED_BROKER();
    test_run(getenv("AMQP_URL"), round_trip, "unit-round-trip");
}

static void the_same_goes_under_tls(void **state) {
    (void)state;
    NEED_BROKER();
    if (getenv("AMQPS_URL") == NULL)
        skip();
    test_run(getenv("AMQPS_URL"), round_trip, "unit-tls");
}

/* --- unroutable, prefetch, redelivery ----------------------------------------------------------------------------- */

static void returned(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    AmqpChannel *out;
    uint64_t first, second;
    CHECK_ERR(amqp_channel_new(test.client, "out", confirming, NULL, &out), ERR_OK);
    CHECK_ERR(amqp_channel_ready(out), ERR_OK);
    AmqpMessage message = message_to("amq.fanout", STR("to nobody"));
    CHECK_ERR(amqp_publish(out, &message, &first), ERR_OK);
    message.mandatory = false;
    CHECK_ERR(amqp_publish(out, &message, &second), ERR_OK);
    CHECK_ERR(amqp_confirms_wait(out, second), ERR_OK);
    CHECK(amqp_confirm_of(out, first) == AMQP_CONFIRM_RETURNED);
    CHECK(amqp_confirm_of(out, second) == AMQP_CONFIRM_STORED);

    /* An exchange that does not exist closes the channel; it is set up again, and the next batch goes through. */
    message.exchange = "no-such-exchange";
    CHECK_ERR(amqp_publish(out, &message, &first), ERR_OK);
    CHECK_ERR(amqp_confirms_wait(out, first), ERR_UNAVAILABLE);
    problem_clear(co_ctx(co_self()));
    message.exchange = "amq.fanout";
    while (!amqp_channel_is_up(out))
        CHECK_ERR(co_sleep(5), ERR_OK);
    CHECK_ERR(amqp_publish(out, &message, &first), ERR_OK);
    CHECK_ERR(amqp_confirms_wait(out, first), ERR_OK);
    CHECK(amqp_confirm_of(out, first) == AMQP_CONFIRM_STORED);
}

static void the_unroutable_is_noticed(void **state) {
    (void)state;
    NEED_BROKER();
    test_run(getenv("AMQP_URL"), returned, NULL);
}

static void prefetch(Ctx *ctx, void *arg) {
    (void)ctx;
    (void)arg;
    Inbox inbox = {0};
    Topology topology = {.queue = "unit-prefetch", .inbox = &inbox, .prefetch = 3};
    AmqpChannel *in, *out;
    uint64_t number = 0;
    CHECK_ERR(amqp_channel_new(test.client, "in", declare_and_consume, &topology, &in), ERR_OK);
    CHECK_ERR(amqp_channel_new(test.client, "out", confirming, NULL, &out), ERR_OK);
    CHECK_ERR(amqp_channel_ready(in), ERR_OK);
    CHECK_ERR(amqp_channel_ready(out), ERR_OK);
    for (int i = 0; i < 10; i++) {
        AmqpMessage message = message_to(topology.queue, STR("x"));
        CHECK_ERR(amqp_publish(out, &message, &number), ERR_OK);
    }
    CHECK_ERR(amqp_confirms_wait(out, number), ERR_OK);
    CHECK_ERR(wait_for(&inbox, 3), ERR_OK);
    /* An answer from the broker on this channel: whatever it had sent before has arrived. */
    CHECK_ERR(amqp_queue_declare(in, &(AmqpQueue){.name = topology.queue, .passive = true}, NULL), ERR_OK);
    CHECK(inbox.n == 3);

    /* Opened again: what was not acknowledged comes again, and prefetch holds as before. */
    uint64_t generation = amqp_channel_generation(in);
    inbox.n = 0;
    amqp_channel_restart(in);
    CHECK_ERR(wait_for(&inbox, 3), ERR_OK);
    CHECK(inbox.redelivered && amqp_channel_generation(in) == generation + 1);
    amqp_ack(in, generation, 1, false); /* of the former life: without effect */
    CHECK_ERR(amqp_queue_declare(in, &(AmqpQueue){.name = topology.queue, .passive = true}, NULL), ERR_OK);
    CHECK(inbox.n == 3);
    amqp_ack(in, generation + 1, inbox.last_tag, true);
    CHECK_ERR(wait_for(&inbox, 6), ERR_OK);
    amqp_nack(in, generation + 1, inbox.last_tag, true, false);
    CHECK_ERR(wait_for(&inbox, 9), ERR_OK);
    amqp_ack(in, generation + 1, inbox.last_tag, true);
    CHECK_ERR(wait_for(&inbox, 10), ERR_OK);
    amqp_ack(in, generation + 1, inbox.last_tag, true);
}

static void prefetch_holds_also_after_recovery(void **state) {
    (void)state;
    NEED_BROKER();
    test_run(getenv("AMQP_URL"), prefetch, NULL);
}

/* --- refusals ----------------------------------------------------------------------------------------------------- */

static void differing(Ctx *ctx, void *arg) {
    (void)arg;
    Topology first = {.queue = "unit-differs"}, second = {.queue = "unit-differs"};
    Buf arguments = buf_new(ctx->arena, 256);
    amqp_table_add_text(&arguments, STR("x-queue-type"), STR("quorum"));
    second.arguments = buf_str(&arguments);
    AmqpChannel *one, *two;
    CHECK_ERR(amqp_channel_new(test.client, "one", declare_and_consume, &first, &one), ERR_OK);
    CHECK_ERR(amqp_channel_ready(one), ERR_OK);
    CHECK_ERR(amqp_channel_new(test.client, "two", declare_and_consume, &second, &two), ERR_OK);
    CHECK_ERR(amqp_channel_ready(two), ERR_CONFLICT);
    CHECK(str_find(ctx->problem.message, STR("queue unit-differs in vhost / exists and was declared differently: its "
                                             "x-queue-type is")) >= 0);
    /* The others on the connection live on. */
    CHECK(amqp_channel_is_up(one) && amqp_client_is_up(test.client));
}

static void a_difference_is_said_and_nothing_crashes(void **state) {
    (void)state;
    NEED_BROKER();
    test_run(getenv("AMQP_URL"), differing, NULL);
}

static void refused(Ctx *ctx, void *arg) {
    const char *words = arg;
    Err err = amqp_client_ready(test.client);
    CHECK(err == ERR_REFUSED || err == ERR_NOT_FOUND || err == ERR_TIMEOUT);
    CHECK(str_find(ctx->problem.message, str_c(words)) >= 0);
}

static void wrong_credentials_and_vhosts_are_told_apart(void **state) {
    (void)state;
    NEED_BROKER();
    const char *at = strchr(getenv("AMQP_URL"), '@');
    char url[300];
    snprintf(url, sizeof url, "amqp://guest:wrong%s", at);
    test_run(url, refused, "ACCESS_REFUSED");
    snprintf(url, sizeof url, "%snowhere", getenv("AMQP_URL"));
    test_run(url, refused, "vhost nowhere not found");
}

/* The reason is there after the first handshake, which takes seconds under valgrind on a busy machine. */
static void untrusted(Ctx *ctx, void *arg) {
    (void)arg;
    bool said = false;
    for (int i = 0; i < 40 && !said; i++) {
        problem_clear(ctx); /* the first stands otherwise */
        ctx->deadline_ms = clock_mono_ms() + 1000;
        CHECK_ERR(amqp_client_ready(test.client), ERR_TIMEOUT);
        said = str_find(ctx->problem.message, STR("TLS")) >= 0;
    }
    CHECK(said);
}

static void a_certificate_that_nobody_vouches_for_is_refused(void **state) {
    (void)state;
    NEED_BROKER();
    if (getenv("AMQPS_URL") == NULL)
        skip();
    char url[300];
    snprintf(url, sizeof url, "%.*s", (int)(strchr(getenv("AMQPS_URL"), '?') - getenv("AMQPS_URL")),
             getenv("AMQPS_URL"));
    test_run(url, untrusted, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_published_is_delivered, test_open, test_close),
        cmocka_unit_test_setup_teardown(the_same_goes_under_tls, test_open, test_close),
        cmocka_unit_test_setup_teardown(a_certificate_that_nobody_vouches_for_is_refused, test_open, test_close),
        cmocka_unit_test_setup_teardown(the_unroutable_is_noticed, test_open, test_close),
        cmocka_unit_test_setup_teardown(prefetch_holds_also_after_recovery, test_open, test_close),
        cmocka_unit_test_setup_teardown(a_difference_is_said_and_nothing_crashes, test_open, test_close),
        cmocka_unit_test_setup_teardown(wrong_credentials_and_vhosts_are_told_apart, test_open, test_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
