/*
 * asyncapi.c - the AsyncAPI 3.0 document of the messages: which there are, on which exchanges, in what envelope, and
 * which queues receive them (https://www.asyncapi.com/docs/reference/specification/v3.0.0).
 *
 * Made from the same tables as the messages themselves: declarations, and the endpoints of the broker.
 */
#include "api/asyncapi.h"

#include "json/json.h"

#define ASYNCAPI_MAX (4 * 1024 * 1024)

typedef struct Document {
    const AsyncApi *api;
    JsonWriter w;
    Buf out;
} Document;

static void text(Document *d, const char *name, Str value) {
    json_name(&d->w, str_c(name));
    json_write_string(&d->w, value);
}

static void text_c(Document *d, const char *name, const char *value) {
    text(d, name, str_c(value));
}

static void object(Document *d, const char *name) {
    json_name(&d->w, str_c(name));
    json_object(&d->w);
}

/* Keys of channels and messages may hold letters, digits, '.', '-' and '_' only. */
static Str key_of(Document *d, const char *name) {
    Str key = arena_str(d->api->ctx->arena, str_c(name));
    for (size_t i = 0; key.p != NULL && i < key.n; i++)
        if (key.p[i] == ':')
            ((char *)(uintptr_t)key.p)[i] = '.';
    return key;
}

static void reference(Document *d, const char *before, Str key, const char *behind) {
    json_object(&d->w);
    text(d, "$ref", arena_printf(d->api->ctx->arena, "%s%.*s%s", before, STR_ARG(key), behind));
    json_object_end(&d->w);
}

/* --- the envelope ------------------------------------------------------------------------------------------------- */

static void property(Document *d, const char *name, const char *json) {
    json_name(&d->w, str_c(name));
    json_write_raw(&d->w, str_c(json));
}

static const char UUID_OR_NULL[] = "{\"type\":[\"string\",\"null\"],\"format\":\"uuid\"}";
static const char TEXT_OR_NULL[] = "{\"type\":[\"string\",\"null\"]}";

/* One schema per message: the members that MassTransit writes, and the message among them. */
static void write_envelope(Document *d, const MessageType *type) {
    static const char *const ids[] = {"messageId", "requestId", "correlationId", "conversationId", "initiatorId"};
    static const char *const addresses[] = {"sourceAddress", "destinationAddress", "responseAddress", "faultAddress",
                                            "expirationTime"};
    static const char *const host[] = {"machineName",           "processName",      "assembly",
                                       "assemblyVersion",       "frameworkVersion", "massTransitVersion",
                                       "operatingSystemVersion"};
    Str key = key_of(d, type->name);
    json_object(&d->w);
    text_c(d, "type", "object");
    object(d, "properties");
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        property(d, ids[i], UUID_OR_NULL);
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++)
        property(d, addresses[i], TEXT_OR_NULL);
    json_name(&d->w, STR("messageType"));
    json_write_raw(&d->w, arena_printf(d->api->ctx->arena,
                                       "{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"contains\":"
                                       "{\"const\":\"urn:message:%s\"}}",
                                       type->name));
    json_name(&d->w, STR("message"));
    reference(d, "#/components/schemas/message.", key, "");
    property(d, "sentTime", "{\"type\":[\"string\",\"null\"],\"format\":\"date-time\"}");
    property(d, "headers", "{\"type\":[\"object\",\"null\"]}");
    object(d, "host");
    text_c(d, "type", "object");
    object(d, "properties");
    for (size_t i = 0; i < ARRAY_LEN(host); i++)
        property(d, host[i], TEXT_OR_NULL);
    property(d, "processId", "{\"type\":\"integer\"}");
    json_object_end(&d->w);
    json_object_end(&d->w);
    json_object_end(&d->w);
    json_name(&d->w, STR("required"));
    json_write_raw(&d->w, STR("[\"messageType\",\"message\"]"));
    json_object_end(&d->w);
}

/* --- channels and operations -------------------------------------------------------------------------------------- */

/* A channel's AMQP binding: what it is, and the durable exchange or queue behind it. */
static void binding_begin(Document *d, const char *is, const char *kind, const char *name) {
    object(d, "bindings");
    object(d, "amqp");
    text_c(d, "is", is);
    object(d, kind);
    text_c(d, "name", name);
}

static void binding_end(Document *d) {
    property(d, "durable", "true");
    property(d, "autoDelete", "false");
    text_c(d, "vhost", "/");
    json_object_end(&d->w);
    text_c(d, "bindingVersion", "0.3.0");
    json_object_end(&d->w);
    json_object_end(&d->w);
}

static void write_exchange_channel(Document *d, const MessageType *type) {
    Str key = key_of(d, type->name);
    json_name(&d->w, key);
    json_object(&d->w);
    text_c(d, "address", type->name);
    text_c(d, "description", type->doc == NULL ? "" : type->doc);
    object(d, "messages");
    json_name(&d->w, key);
    reference(d, "#/components/messages/", key, "");
    json_object_end(&d->w);
    binding_begin(d, "routingKey", "exchange", type->name);
    text_c(d, "type", "fanout");
    binding_end(d);
    json_object_end(&d->w);
}

static bool is_first_of_queue(const AsyncApi *api, const Binding *binding) {
    return binding == api->endpoints || strcmp(binding[-1].queue, binding->queue) != 0;
}

static void write_queue_channel(Document *d, const Binding *endpoint) {
    json_name(&d->w, key_of(d, endpoint->queue));
    json_object(&d->w);
    text_c(d, "address", endpoint->queue);
    text_c(d, "description",
           "A queue behind an exchange of its own name, which is bound to the exchanges of its messages. "
           "What fails goes to NAME_error, what nobody takes to NAME_skipped.");
    object(d, "messages");
    for (const Binding *b = endpoint; b->queue != NULL && strcmp(b->queue, endpoint->queue) == 0; b++) {
        json_name(&d->w, key_of(d, b->type->name));
        reference(d, "#/components/messages/", key_of(d, b->type->name), "");
    }
    json_object_end(&d->w);
    binding_begin(d, "queue", "queue", endpoint->queue);
    property(d, "exclusive", "false");
    binding_end(d);
    json_object_end(&d->w);
}

static void write_channels(Document *d) {
    object(d, "channels");
    for (const MessageType *const *type = d->api->messages; *type != NULL; type++)
        write_exchange_channel(d, *type);
    for (const Binding *b = d->api->endpoints; b->queue != NULL; b++)
        if (is_first_of_queue(d->api, b))
            write_queue_channel(d, b);
    json_object_end(&d->w);
}

static void write_operation(Document *d, const char *action, const char *address, const char *summary) {
    Str key = key_of(d, address);
    json_name(&d->w, arena_printf(d->api->ctx->arena, "%s.%.*s", action, STR_ARG(key)));
    json_object(&d->w);
    text_c(d, "action", action);
    json_name(&d->w, STR("channel"));
    reference(d, "#/channels/", key, "");
    text_c(d, "summary", summary);
    if (strcmp(action, "send") == 0) {
        object(d, "bindings");
        object(d, "amqp");
        property(d, "deliveryMode", "2");
        property(d, "mandatory", "true");
        text_c(d, "bindingVersion", "0.3.0");
        json_object_end(&d->w);
        json_object_end(&d->w);
    }
    json_object_end(&d->w);
}

static void write_operations(Document *d) {
    object(d, "operations");
    for (const MessageType *const *type = d->api->messages; *type != NULL; type++)
        write_operation(d, "send", (*type)->name, "Published after the commit of its cause, at least once.");
    for (const Binding *b = d->api->endpoints; b->queue != NULL; b++)
        if (is_first_of_queue(d->api, b))
            write_operation(d, "receive", b->queue, "Consumed in order per aggregate; each message id has one effect.");
    json_object_end(&d->w);
}

/* --- components --------------------------------------------------------------------------------------------------- */

static void write_messages(Document *d) {
    object(d, "messages");
    for (const MessageType *const *type = d->api->messages; *type != NULL; type++) {
        json_name(&d->w, key_of(d, (*type)->name));
        json_object(&d->w);
        text_c(d, "name", (*type)->name);
        text_c(d, "title", (*type)->name);
        text_c(d, "summary", (*type)->doc == NULL ? "" : (*type)->doc);
        text_c(d, "contentType", "application/vnd.masstransit+json");
        json_name(&d->w, STR("headers"));
        json_write_raw(&d->w, STR("{\"type\":\"object\",\"properties\":{\"traceparent\":{\"type\":\"string\"},"
                                  "\"tracestate\":{\"type\":\"string\"},\"baggage\":{\"type\":\"string\"},"
                                  "\"MT-Activity-Id\":{\"type\":\"string\"},"
                                  "\"x-dotnet-pub-seq-no\":{\"type\":\"integer\"}}}"));
        json_name(&d->w, STR("payload"));
        write_envelope(d, *type);
        json_object_end(&d->w);
    }
    json_object_end(&d->w);
}

static Err write_schema(Str name, Str json, void *data) {
    Document *d = data;
    if (!str_starts_with(name, STR("message.")))
        return ERR_OK;
    json_name(&d->w, name);
    json_write_raw(&d->w, json);
    return ERR_OK;
}

static Err write_components(Document *d) {
    Schemas schemas = {
        .ctx = d->api->ctx, .api = d->api->json_api, .messages = d->api->messages, .ref_before = "", .ref_behind = ""};
    object(d, "components");
    write_messages(d);
    object(d, "schemas");
    TRY(schemas_each(&schemas, write_schema, d));
    json_object_end(&d->w);
    json_object_end(&d->w);
    return ERR_OK;
}

Err asyncapi_make(const AsyncApi *api, Str *ret) {
    Document d = {.api = api, .out = buf_new(api->ctx->arena, ASYNCAPI_MAX)};
    json_writer_init(&d.w, &d.out, JSON_ESCAPE_MINIMAL, 0);
    json_object(&d.w);
    text_c(&d, "asyncapi", "3.0.0");
    object(&d, "info");
    text_c(&d, "title", "usher: messages");
    text_c(&d, "version", USHER_VERSION);
    text_c(&d, "description", "What the contexts tell each other, in the shapes of the system that usher takes over.");
    json_object_end(&d.w);
    text_c(&d, "defaultContentType", "application/vnd.masstransit+json");
    object(&d, "servers");
    object(&d, "broker");
    text_c(&d, "host", "localhost:5672");
    text_c(&d, "protocol", "amqp");
    text_c(&d, "protocolVersion", "0.9.1");
    text_c(&d, "description", "AMQP_URL");
    json_object_end(&d.w);
    json_object_end(&d.w);
    write_channels(&d);
    write_operations(&d);
    TRY(write_components(&d));
    json_object_end(&d.w);
    return buf_finish(&d.out, ret);
}
