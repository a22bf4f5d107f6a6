/*
 * doctor_amqp.c - what usher needs of the broker.
 *
 * Nothing is changed: an exchange or queue is declared only when it is known to be there, and then a declaration that
 * is equal does nothing, one that differs is refused with the difference. Bindings cannot be asked for over AMQP;
 * usher declares them whenever it connects.
 */
#include "amqp/amqp.h"
#include "usher/amqp.h"
#include "usher/doctor.h"

static const char SUBJECT[] = "broker";

#define CHECK_MS       30000
#define RECENT_VERSION "3.8"

typedef struct BrokerCheck {
    Doctor *doctor;
    AmqpClient *client;
    AmqpChannel *channel;
    Loop *loop;
    size_t absent;
} BrokerCheck;

static void tell(BrokerCheck *check, Finding finding, Str what, const char *mend) {
    found(check->doctor, finding, SUBJECT, what, mend);
}

static void tell_version(BrokerCheck *check) {
    Str product = amqp_client_broker(check->client, "product"), version = amqp_client_broker(check->client, "version");
    bool known = str_eq_c(product, "RabbitMQ");
    tell(check, known ? FINE : WARNING,
         SAY(check->doctor, "%.*s %.*s", (int)product.n, product.p == NULL ? "" : product.p, (int)version.n,
             version.p == NULL ? "" : version.p),
         known ? NULL : "usher is tested with RabbitMQ " RECENT_VERSION " and newer");
}

/* The broker closes the channel with each refusal; it is open again soon. */
CO_FN static Err channel_again(BrokerCheck *check) {
    while (!amqp_channel_is_up(check->channel))
        TRY(co_sleep(10));
    return ERR_OK;
}

typedef CO_FN Err (*Declare)(BrokerCheck *check, const char *name, bool passive);

CO_FN static Err declare_exchange(BrokerCheck *check, const char *name, bool passive) {
    AmqpExchange exchange = {.name = name, .type = "fanout", .durable = true, .passive = passive};
    return amqp_exchange_declare(check->channel, &exchange);
}

CO_FN static Err declare_queue(BrokerCheck *check, const char *name, bool passive) {
    Buf arguments = buf_new(check->doctor->ctx->arena, 256);
    if (str_eq_c(check->doctor->settings->amqp_queue_type, "quorum"))
        amqp_table_add_text(&arguments, STR("x-queue-type"), STR("quorum"));
    AmqpQueue queue = {.name = name, .durable = true, .passive = passive, .arguments = buf_str(&arguments)};
    return amqp_queue_declare(check->channel, &queue, NULL);
}

CO_FN static Err check_one(BrokerCheck *check, Declare declare, const char *kind, const char *name) {
    Ctx *ctx = co_ctx(co_self());
    problem_clear(ctx);
    TRY(channel_again(check));
    Err err = declare(check, name, true);
    if (err == ERR_NOT_FOUND) {
        check->absent++;
        return ERR_OK;
    }
    if (err == ERR_OK)
        err = declare(check, name, false);
    if (err == ERR_OK)
        return ERR_OK;
    Str words = arena_str(check->doctor->ctx->arena, ctx->problem.message);
    tell(check, WRONG, SAY(check->doctor, "%s %s: %.*s", kind, name, STR_ARG(words)),
         err == ERR_REFUSED
             ? "give AMQP_URL's user the permissions configure, write and read (rabbitmqctl set_permissions)"
             : "declare it as usher does, or delete it once it is drained");
    return err == ERR_CANCELLED || err == ERR_TIMEOUT ? err : ERR_OK;
}

CO_FN static Err check_topology(BrokerCheck *check, Ctx *ctx) {
    const Binding *endpoints;
    size_t wrong = check->doctor->wrong;
    TRY(amqp_endpoints(ctx, check->doctor->settings->amqp_queues, check->doctor->ctx->arena, &endpoints));
    TRY(amqp_channel_new(check->client, "doctor", NULL, NULL, &check->channel));
    for (const Binding *b = endpoints; b->queue != NULL; b++) {
        TRY(check_one(check, declare_exchange, "exchange", b->type->name));
        if (b > endpoints && strcmp(b[-1].queue, b->queue) == 0)
            continue;
        TRY(check_one(check, declare_exchange, "exchange", b->queue));
        TRY(check_one(check, declare_queue, "queue", b->queue));
    }
    if (check->absent > 0)
        tell(check, WARNING, SAY(check->doctor, "%zu exchanges and queues are not there yet", check->absent),
             "usher serve declares them when it connects");
    else if (check->doctor->wrong == wrong)
        tell(check, FINE, STR("the topology is as declared"), NULL);
    return ERR_OK;
}

CO_FN static void check_co(Ctx *ctx, void *arg) {
    BrokerCheck *check = arg;
    Err err = amqp_client_ready(check->client);
    if (err == ERR_OK) {
        tell_version(check);
        err = check_topology(check, ctx);
    }
    if (err != ERR_OK)
        tell(check, WRONG, arena_str(check->doctor->ctx->arena, ctx->problem.message),
             "is RabbitMQ running, and does AMQP_URL name the right host, user, password and vhost?");
    loop_stop(check->loop);
}

static Err run_check(BrokerCheck *check) {
    AmqpConfig config = {.url = check->doctor->settings->amqp_url, .name = STR("usher doctor"), .once = true};
    TRY(loop_new(&check->loop));
    Err err = amqp_client_new(check->doctor->ctx, check->loop, &config, &check->client);
    if (err == ERR_OK)
        err = co_spawn(check->loop, check_co, check,
                       &(CoOptions){.name = "doctor", .deadline_ms = clock_mono_ms() + CHECK_MS}, NULL);
    if (err == ERR_OK)
        loop_run(check->loop);
    Err drained = co_drain(check->loop, clock_mono_ms() + CHECK_MS);
    if (drained == ERR_OK) {
        amqp_client_free(check->client);
        loop_free(check->loop);
    }
    return err;
}

void check_broker(Doctor *doctor) {
    BrokerCheck check = {.doctor = doctor};
    if (doctor->settings->amqp_url.n == 0)
        return;
    if (run_check(&check) != ERR_OK)
        tell(&check, WRONG, doctor->ctx->problem.message, "see AMQP_URL");
}
