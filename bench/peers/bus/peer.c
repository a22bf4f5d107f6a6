/*
 * peer.c - the least that a C program can do with the same broker, by librabbitmq: what the bus is held against.
 *
 *   bus_peer publish EXCHANGE KEY COUNT BODY_FILE BATCH BATCHES   persistent, mandatory, confirmed; up to BATCHES
 *                                                                 batches of BATCH messages are under way at once
 *   bus_peer consume QUEUE COUNT PREFETCH ACK_EVERY               acknowledges (multiple) each ACK_EVERY
 *   bus_peer wait QUEUE COUNT SECONDS                             until the queue has COUNT ready messages
 *   bus_peer get QUEUE                                            takes one message, prints its body
 *   bus_peer purge QUEUE
 *
 * The broker is AMQP_URL's. In a body each ############ stands for the message's number, so that ids in it differ.
 * publish and consume print one line of JSON: messages, seconds, cpu_s (user and system, of those seconds).
 */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define NUMBER        "############"
#define NUMBER_DIGITS 12
#define PLACES_MAX    8
#define POLL_NS       (20 * 1000 * 1000)

static amqp_connection_state_t connection;

static void fail(const char *what) {
    fprintf(stderr, "bus_peer: %s\n", what);
    exit(1);
}

static void check(amqp_rpc_reply_t reply, const char *what) {
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        fail(what);
}

static double clock_s(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_s(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void connect_broker(void) {
    struct amqp_connection_info info;
    char *url = strdup(getenv("AMQP_URL") == NULL ? "" : getenv("AMQP_URL"));
    amqp_default_connection_info(&info);
    if (url == NULL || amqp_parse_url(url, &info) != AMQP_STATUS_OK)
        fail("AMQP_URL is not set, or no URL");
    connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(connection);
    if (socket == NULL || amqp_socket_open(socket, info.host, info.port) != AMQP_STATUS_OK)
        fail("cannot connect");
    const char *vhost = info.vhost[0] == '\0' ? "/" : info.vhost;
    check(amqp_login(connection, vhost, 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, info.user, info.password),
          "cannot sign in");
    amqp_channel_open(connection, 1);
    check(amqp_get_rpc_reply(connection), "cannot open a channel");
    free(url);
}

static void print_result(unsigned long n, double since_s, double cpu_since_s) {
    printf("{\"messages\": %lu, \"seconds\": %.6f, \"cpu_s\": %.6f}\n", n, clock_s(CLOCK_MONOTONIC) - since_s,
           cpu_s() - cpu_since_s);
}

/* --- publishing --------------------------------------------------------------------------------------------------- */

typedef struct Body {
    char *bytes;
    size_t n;
    char *places[PLACES_MAX];
    size_t n_places;
} Body;

static Body read_body(const char *path) {
    static char bytes[1 << 20];
    Body body = {.bytes = bytes};
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail("cannot read the body");
    body.n = fread(bytes, 1, sizeof bytes - 1, file);
    fclose(file);
    for (char *at = bytes; (at = strstr(at, NUMBER)) != NULL && body.n_places < PLACES_MAX; at += NUMBER_DIGITS)
        body.places[body.n_places++] = at;
    return body;
}

static void number_body(Body *body, unsigned long number) {
    char digits[32];
    snprintf(digits, sizeof digits, "%0*lu", NUMBER_DIGITS, number);
    for (size_t i = 0; i < body->n_places; i++)
        memcpy(body->places[i], digits, NUMBER_DIGITS);
}

/* Confirms come in order of their tags but for multiple, which covers all before: `confirmed` counts them. */
static unsigned long confirmed;

/* Without a queue of its own for what is out of order: RabbitMQ may confirm singly, and each is counted once. */
static void read_confirm(void) {
    static unsigned char seen[1 << 26];
    static unsigned long below = 1;
    amqp_frame_t frame;
    amqp_maybe_release_buffers(connection);
    if (amqp_simple_wait_frame(connection, &frame) != AMQP_STATUS_OK)
        fail("the connection was lost");
    if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
        fail("no confirm, but a nack, a return or an exception");
    const amqp_basic_ack_t *ack = frame.payload.method.decoded;
    if (ack->delivery_tag >= sizeof seen)
        fail("too many messages");
    for (unsigned long tag = ack->multiple ? below : ack->delivery_tag; tag <= ack->delivery_tag; tag++) {
        confirmed += !seen[tag];
        seen[tag] = 1;
    }
    while (seen[below])
        below++;
}

static amqp_table_entry_t header(const char *name, const char *text) {
    return (amqp_table_entry_t){.key = amqp_cstring_bytes(name),
                                .value = {.kind = AMQP_FIELD_KIND_UTF8, .value = {.bytes = amqp_cstring_bytes(text)}}};
}

/* The properties of usher's messages: the broker keeps and forwards them as it does the body. */
static void publish(const char *exchange, const char *key, unsigned long count, Body body, unsigned long batch,
                    unsigned long batches) {
    static const char traceparent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    amqp_table_entry_t headers[] = {header("MT-Activity-Id", traceparent), header("traceparent", traceparent)};
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG |
                                                    AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_HEADERS_FLAG,
                                          .content_type = amqp_cstring_bytes("application/vnd.masstransit+json"),
                                          .delivery_mode = 2,
                                          .message_id = amqp_cstring_bytes("00000000-0000-4000-8000-000000000000"),
                                          .headers = {.num_entries = 2, .entries = headers}};
    amqp_confirm_select(connection, 1);
    check(amqp_get_rpc_reply(connection), "no confirms");
    double since_s = clock_s(CLOCK_MONOTONIC), cpu_since_s = cpu_s();
    for (unsigned long sent = 0; sent < count;) {
        unsigned long end = sent + batch < count ? sent + batch : count;
        for (; sent < end; sent++) {
            number_body(&body, sent + 1);
            amqp_bytes_t bytes = {.len = body.n, .bytes = body.bytes};
            if (amqp_basic_publish(connection, 1, amqp_cstring_bytes(exchange), amqp_cstring_bytes(key), 1, 0,
                                   &properties, bytes) != AMQP_STATUS_OK)
                fail("cannot publish");
        }
        while (confirmed + batch * (batches - 1) < sent)
            read_confirm();
    }
    while (confirmed < count)
        read_confirm();
    print_result(count, since_s, cpu_since_s);
}

/* --- consuming, and the rest -------------------------------------------------------------------------------------- */

static void consume(const char *queue, unsigned long count, unsigned long prefetch, unsigned long ack_every) {
    amqp_basic_qos(connection, 1, 0, (uint16_t)prefetch, 0);
    check(amqp_get_rpc_reply(connection), "no prefetch");
    double since_s = clock_s(CLOCK_MONOTONIC), cpu_since_s = cpu_s();
    amqp_basic_consume(connection, 1, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
    check(amqp_get_rpc_reply(connection), "cannot consume");
    for (unsigned long n = 1; n <= count; n++) {
        amqp_envelope_t envelope;
        amqp_maybe_release_buffers(connection);
        check(amqp_consume_message(connection, &envelope, NULL, 0), "no delivery");
        if ((n % ack_every == 0 || n == count) &&
            amqp_basic_ack(connection, 1, envelope.delivery_tag, ack_every > 1) != 0)
            fail("cannot acknowledge");
        amqp_destroy_envelope(&envelope);
    }
    print_result(count, since_s, cpu_since_s);
}

static void wait_for(const char *queue, unsigned long count, double seconds) {
    for (double until_s = clock_s(CLOCK_MONOTONIC) + seconds; clock_s(CLOCK_MONOTONIC) < until_s;) {
        const amqp_queue_declare_ok_t *state =
            amqp_queue_declare(connection, 1, amqp_cstring_bytes(queue), 1, 0, 0, 0, amqp_empty_table);
        check(amqp_get_rpc_reply(connection), "no such queue");
        unsigned long ready = state->message_count;
        amqp_maybe_release_buffers(connection);
        if (ready == count)
            return;
        nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
    }
    fail("the queue does not come to that many messages");
}

static void get(const char *queue) {
    amqp_message_t message;
    amqp_rpc_reply_t reply = amqp_basic_get(connection, 1, amqp_cstring_bytes(queue), 1);
    check(reply, "cannot get");
    if (reply.reply.id != AMQP_BASIC_GET_OK_METHOD)
        fail("the queue is empty");
    check(amqp_read_message(connection, 1, &message, 0), "cannot read the message");
    fwrite(message.body.bytes, 1, message.body.len, stdout);
}

int main(int argc, char **argv) {
    const char *verb = argc < 3 ? "" : argv[1];
    connect_broker();
    if (strcmp(verb, "publish") == 0 && argc == 8)
        publish(argv[2], argv[3], strtoul(argv[4], NULL, 10), read_body(argv[5]), strtoul(argv[6], NULL, 10),
                strtoul(argv[7], NULL, 10));
    else if (strcmp(verb, "consume") == 0 && argc == 6)
        consume(argv[2], strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10));
    else if (strcmp(verb, "wait") == 0 && argc == 5)
        wait_for(argv[2], strtoul(argv[3], NULL, 10), strtod(argv[4], NULL));
    else if (strcmp(verb, "get") == 0)
        get(argv[2]);
    else if (strcmp(verb, "purge") == 0)
        amqp_queue_purge(connection, 1, amqp_cstring_bytes(argv[2])),
            check(amqp_get_rpc_reply(connection), "cannot purge");
    else
        fail("publish | consume | wait | get | purge, see peer.c");
    amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(connection);
    return 0;
}
