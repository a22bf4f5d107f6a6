/*
 * amqp_dead.c - where a message goes that nothing here can do: NAME_error or NAME_skipped, as MassTransit keeps them.
 *
 * The copy is published and confirmed before the original is acknowledged: a crash in between leaves both, which is one
 * too many to look at; the other order could leave none. Beside the copy goes a fault message on an exchange of its
 * type, for whoever has bound a queue there; recorded: nobody had.
 *
 * What the old consumers' runtime called an exception has a name here by the kind of failure; tools that group dead
 * messages by MT-Fault-ExceptionType find the old and the new ones together.
 */
#include <stdio.h>

#include "bus/amqp_transport.h"
#include "json/json.h"

#define FAULT_MAX (64u * 1024 * 1024)

static const char FAULT_EXCHANGE[] = "MassTransit:Fault";
static const char RECEIVE_FAULT[] = "MassTransit:ReceiveFault";

/* --- words -------------------------------------------------------------------------------------------------------- */

static bool is_unreadable(const Held *held) {
    return !held->read || held->envelope.failure == ERR_SYNTAX;
}

static const char *exception_type(const Held *held) {
    if (!held->read)
        switch (held->unreadable) {
        case MT_NOT_JSON:
            return "System.Text.Json.JsonReaderException";
        case MT_NO_ENVELOPE:
            return "System.ArgumentNullException";
        default:
            return "System.Text.Json.JsonException";
        }
    switch (held->envelope.failure) {
    case ERR_SYNTAX:
        return "System.Text.Json.JsonException";
    case ERR_NOT_FOUND:
        return "System.InvalidOperationException";
    case ERR_INVALID:
    case ERR_CONFLICT:
    case ERR_REFUSED:
        return "System.ComponentModel.DataAnnotations.ValidationException";
    case ERR_TIMEOUT:
        return "System.TimeoutException";
    default:
        return "System.Exception";
    }
}

/* "Integration.Events.Messaging:EventUpserted" is a .NET type Integration.Events.Messaging.EventUpserted. */
static Str type_as_dotnet(Arena *arena, Str type) {
    Str name = arena_str(arena, type);
    for (size_t i = 0; name.p != NULL && i < name.n; i++)
        if (name.p[i] == ':')
            ((char *)(uintptr_t)name.p)[i] = '.';
    return name;
}

static Str time_text(Arena *arena, Instant now) {
    char text[INSTANT_TEXT_MAX];
    now.offset_minutes = 0;
    size_t n = instant_format(now, text);
    /* All seven digits, as .NET's round-trip form has them. */
    size_t digits = n - 6 > 19 ? n - 6 - 20 : 0;
    return arena_printf(arena, "%.19s.%.*s%.*sZ", text, (int)digits, text + 20, (int)(7 - digits), "0000000");
}

static void add_host(Buf *table, const MtHost *host) {
    char pid[24];
    snprintf(pid, sizeof pid, "%lld", (long long)host->process_id);
    amqp_table_add_text(table, STR("MT-Host-MachineName"), host->machine_name);
    amqp_table_add_text(table, STR("MT-Host-ProcessName"), host->process_name);
    amqp_table_add_text(table, STR("MT-Host-ProcessId"), str_c(pid));
    amqp_table_add_text(table, STR("MT-Host-Assembly"), host->assembly);
    amqp_table_add_text(table, STR("MT-Host-AssemblyVersion"), host->assembly_version);
    amqp_table_add_text(table, STR("MT-Host-MassTransitVersion"), host->mass_transit_version);
    amqp_table_add_text(table, STR("MT-Host-FrameworkVersion"), host->framework_version);
    amqp_table_add_text(table, STR("MT-Host-OperatingSystemVersion"), host->operating_system_version);
}

/* One fault, as its headers and its message tell it. */
typedef struct Fault {
    AmqpInbox *inbox;
    const Held *held;
    Arena *arena;
    Str words, stack, input_address, consumer, type, timestamp;
    Instant now;
} Fault;

static Err fault_of(AmqpInbox *inbox, const Held *held, Str reason, Fault *ret) {
    Arena *arena = co_ctx(co_self())->arena;
    *ret =
        (Fault){.inbox = inbox,
                .held = held,
                .arena = arena,
                .words = reason.p == NULL ? STR("no reason given") : reason,
                .stack = arena_printf(arena, "   at usher, queue %s", inbox->queue),
                .input_address = arena_printf(arena, "%.*s%s", STR_ARG(inbox->transport->address_prefix), inbox->queue),
                .consumer = arena_printf(arena, "usher.%s", inbox->queue),
                .type = type_as_dotnet(arena, held->read ? held->envelope.type : STR("")),
                .now = clock_now()};
    ret->timestamp = time_text(arena, ret->now);
    bool refused = ret->stack.p == NULL || ret->input_address.p == NULL || ret->consumer.p == NULL ||
                   ret->type.p == NULL || ret->timestamp.p == NULL;
    return refused ? ERR_NO_MEMORY : ERR_OK;
}

static void add_fault(Buf *table, const Fault *fault) {
    amqp_table_add_text(table, STR("MT-Reason"), STR("fault"));
    amqp_table_add_text(table, STR("MT-Fault-ExceptionType"), str_c(exception_type(fault->held)));
    amqp_table_add_text(table, STR("MT-Fault-InputAddress"), fault->input_address);
    amqp_table_add_text(table, STR("MT-Fault-Message"), fault->words);
    amqp_table_add_text(table, STR("MT-Fault-Timestamp"), fault->timestamp);
    amqp_table_add_text(table, STR("MT-Fault-StackTrace"), fault->stack);
    if (is_unreadable(fault->held)) /* no consumer was reached */
        return;
    amqp_table_add_text(table, STR("MT-Fault-ConsumerType"), fault->consumer);
    amqp_table_add_text(table, STR("MT-Fault-MessageType"), fault->type);
    amqp_table_add_i32(table, STR("MT-Fault-RetryCount"), fault->held->attempt - 1);
}

/* --- the copy ----------------------------------------------------------------------------------------------------- */

/* Its own headers first, without those that a former burial or the publisher's client put there. */
void amqp_own_headers(Buf *table, Str headers) {
    Str name;
    AmqpField field;
    while (headers.n > 0 && amqp_table_next(&headers, &name, &field)) {
        bool renewed = str_eq_c(name, "MT-Reason") || str_eq_c(name, "x-dotnet-pub-seq-no") ||
                       str_starts_with(name, STR("MT-Fault-")) || str_starts_with(name, STR("MT-Host-"));
        if (!renewed)
            amqp_table_add_field(table, name, &field);
    }
}

CO_FN static Err publish_copy(AmqpChannel *channel, const Fault *fault, const char *name, uint64_t *ret) {
    const Held *held = fault->held;
    Buf table = buf_new(fault->arena, AMQP_FRAME_MIN * 28);
    amqp_own_headers(&table, held->properties.headers);
    add_host(&table, &fault->inbox->transport->host);
    if (held->read && held->envelope.skipped)
        amqp_table_add_text(&table, STR("MT-Reason"), STR("dead-letter"));
    else
        add_fault(&table, fault);
    TRY(table.err);
    AmqpMessage message = {.exchange = name, .key = "", .mandatory = true, .properties = held->properties};
    message.properties.headers = buf_str(&table);
    message.properties.delivery_mode = 2;
    message.properties.user_id = (Str){NULL, 0}; /* the broker refuses any but ours */
    message.properties.expiration = (Str){NULL, 0};
    message.body = held->body;
    return amqp_publish(channel, &message, ret);
}

/* --- the fault message -------------------------------------------------------------------------------------------- */

static void write_exceptions(JsonWriter *w, const Fault *fault) {
    json_name(w, STR("exceptions"));
    json_array(w);
    json_object(w);
    json_name(w, STR("exceptionType"));
    json_write_string(w, str_c(exception_type(fault->held)));
    json_name(w, STR("innerException"));
    json_write_null(w);
    json_name(w, STR("stackTrace"));
    json_write_string(w, fault->stack);
    json_name(w, STR("message"));
    json_write_string(w, fault->words);
    json_name(w, STR("source"));
    json_write_string(w, STR("usher"));
    json_name(w, STR("data"));
    json_write_null(w);
    json_object_end(w);
    json_array_end(w);
}

static void write_faulted_id(JsonWriter *w, const Held *held) {
    json_name(w, STR("faultedMessageId"));
    if (held->read)
        json_write_id(w, held->envelope.message_id);
    else
        json_write_null(w);
}

/* Fault<T> and ReceiveFault differ in order and in two members, as recorded. */
static Err write_fault(const Fault *fault, Str *ret) {
    const Held *held = fault->held;
    Buf out = buf_new(fault->arena, FAULT_MAX);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_RELAXED, 0);
    json_object(&w);
    json_name(&w, STR("faultId"));
    json_write_id(&w, id_time_ordered());
    if (!is_unreadable(held))
        write_faulted_id(&w, held);
    json_name(&w, STR("timestamp"));
    mt_write_time(&w, fault->now);
    if (is_unreadable(held))
        write_faulted_id(&w, held);
    write_exceptions(&w, fault);
    json_name(&w, STR("host"));
    mt_write_host(&w, &fault->inbox->transport->host);
    json_name(&w, STR("faultMessageTypes"));
    if (is_unreadable(held)) {
        json_write_null(&w);
        json_name(&w, STR("contentType"));
        json_write_string(&w, held->properties.content_type);
    } else {
        json_array(&w);
        json_write_string(&w, arena_printf(fault->arena, "urn:message:%.*s", STR_ARG(held->envelope.type)));
        json_array_end(&w);
        json_name(&w, STR("message"));
        json_write_raw(&w, held->envelope.payload);
    }
    json_object_end(&w);
    return buf_finish(&out, ret);
}

CO_FN static Err publish_fault(AmqpChannel *channel, const Fault *fault, uint64_t *ret) {
    const Held *held = fault->held;
    AmqpTransport *t = fault->inbox->transport;
    bool receive = is_unreadable(held);
    Str name = receive ? str_c(RECEIVE_FAULT)
                       : arena_printf(fault->arena, "MassTransit:Fault--%.*s--", STR_ARG(held->envelope.type));
    Str types[] = {receive ? str_c(RECEIVE_FAULT)
                           : arena_printf(fault->arena, "MassTransit:Fault[[%.*s]]", STR_ARG(held->envelope.type)),
                   str_c(FAULT_EXCHANGE)};
    MtHeader retries = {.name = "MT-Fault-RetryCount", .number = held->attempt - 1, .is_number = true};
    Id id = id_time_ordered();
    char id_text[ID_TEXT_LEN];
    MtEnvelope envelope = {
        .message_id = {id, true},
        .conversation_id = {held->read && !id_is_zero(held->envelope.conversation_id) ? held->envelope.conversation_id
                                                                                      : id,
                            true},
        .source_address = fault->input_address,
        .destination_address = arena_printf(fault->arena, "%.*s%.*s", STR_ARG(t->address_prefix), STR_ARG(name)),
        .types = types,
        .n_types = 2,
        .sent_at = fault->now,
        .headers = &retries,
        .n_headers = receive ? 0 : 1,
        .host = &t->host};
    AmqpMessage message = {.exchange = name.p, .key = ""};
    Buf table = buf_new(fault->arena, 256);
    if (name.p == NULL || types[0].p == NULL || envelope.destination_address.p == NULL)
        return ERR_NO_MEMORY;
    TRY(write_fault(fault, &envelope.message));
    TRY(mt_write(&envelope, fault->arena, &message.body));
    TRY(amqp_declare_once(t, channel, name.p, false, FAULT_EXCHANGE));
    id_format(&id, id_text);
    message.properties = amqp_message_properties("application/vnd.masstransit+json", (Str){id_text, ID_TEXT_LEN});
    if (!receive)
        amqp_table_add_i32(&table, str_c(retries.name), (int32_t)retries.number);
    message.properties.headers = buf_str(&table);
    return amqp_publish(channel, &message, ret);
}

const char *amqp_dead_queue(const AmqpInbox *inbox, bool skipped, char *name, size_t room) {
    const char *own = inbox->pipeline == NULL ? NULL : inbox->pipeline->dead_letter;
    if (own != NULL && !skipped)
        return own;
    snprintf(name, room, "%s_%s", inbox->queue, skipped ? "skipped" : "error");
    return name;
}

/* --- both --------------------------------------------------------------------------------------------------------- */

CO_FN static Err publish_dead(AmqpInbox *inbox, AmqpChannel *channel, const Held *held, Str reason, uint64_t *ret) {
    AmqpTransport *t = inbox->transport;
    Fault fault;
    char name[AMQP_NAME_MAX + 1];
    uint64_t announced;
    bool skipped = held->read && held->envelope.skipped;
    TRY(fault_of(inbox, held, reason, &fault));
    const char *queue = amqp_dead_queue(inbox, skipped, name, sizeof name);
    TRY(amqp_declare_once(t, channel, queue, true, NULL));
    if (!skipped && held->fault_address.p == NULL) /* recorded: with a faultAddress nothing is published to the type */
        TRY(publish_fault(channel, &fault, &announced));
    return publish_copy(channel, &fault, queue, ret);
}

CO_FN static Err bury(AmqpInbox *inbox, Held *const *dead, const Str *reasons, size_t n) {
    Ctx *ctx = co_ctx(co_self());
    AmqpChannel *channel;
    uint64_t *copies = ARENA_ARRAY(ctx->arena, uint64_t, n);
    if (copies == NULL)
        return ERR_NO_MEMORY;
    TRY(amqp_publisher(inbox->transport, &channel));
    for (size_t i = 0; i < n; i++)
        TRY(publish_dead(inbox, channel, dead[i], reasons[i], &copies[i]));
    TRY(amqp_confirms_wait(channel, copies[n - 1]));
    for (size_t i = 0; i < n; i++) {
        if (amqp_confirm_of(channel, copies[i]) == AMQP_CONFIRM_STORED)
            continue;
        amqp_channel_restart(channel); /* what it had declared is gone */
        return ctx_problem(ctx, ERR_UNAVAILABLE, NULL, "the broker did not store the copy of a dead message of %s",
                           inbox->queue);
    }
    return ERR_OK;
}

CO_FN Err amqp_bury(AmqpInbox *inbox, Held *const *dead, const Str *reasons, size_t n) {
    AmqpTransport *t = inbox->transport;
    AmqpChannel *channel;
    TRY(amqp_publisher(t, &channel));
    amqp_client_hold(t->out);
    Err err = bury(inbox, dead, reasons, n);
    amqp_client_release(t->out);
    return err;
}
