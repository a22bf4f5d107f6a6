/*
 * masstransit_write.c - composing the envelope.
 *
 * The payload's own lexemes go out as they are: its numbers, its escapes and the order of its members were settled when
 * it was written, only the layout changes.
 */
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bus/masstransit.h"
#include "json/json.h"

#define ENVELOPE_MAX  (64u * 1024 * 1024)
#define ENVELOPE_ROOM 2048

/* The version whose shapes these are; consumers of the old side may look at it. */
static const char SHAPES_OF[] = "8.5.12.0";

Err mt_host(Arena *arena, MtHost *ret) {
    struct utsname system;
    if (uname(&system) != 0)
        return ERR_IO;
    MtHost host = {.machine_name = arena_str(arena, str_c(system.nodename)),
                   .process_name = STR("usher"),
                   .process_id = getpid(),
                   .assembly = STR("usher"),
                   .assembly_version = STR(USHER_VERSION),
                   .framework_version = STR(USHER_VERSION),
                   .mass_transit_version = str_c(SHAPES_OF),
                   .operating_system_version = arena_printf(arena, "Unix %s", system.release)};
    if (host.machine_name.p == NULL || host.operating_system_version.p == NULL)
        return ERR_NO_MEMORY;
    *ret = host;
    return ERR_OK;
}

/* --- pieces ------------------------------------------------------------------------------------------------------- */

static void write_text(JsonWriter *w, const char *name, Str value) {
    json_name(w, str_c(name));
    json_write_string(w, value);
}

static void write_id(JsonWriter *w, const char *name, OptId id) {
    json_name(w, str_c(name));
    if (id.present)
        json_write_id(w, id.value);
    else
        json_write_null(w);
}

void mt_write_time(JsonWriter *w, Instant t) {
    char text[INSTANT_TEXT_MAX];
    t.offset_minutes = 0;
    size_t n = instant_format(t, text);
    text[n - 6] = 'Z'; /* for +00:00 */
    json_write_string(w, (Str){text, n - 5});
}

void mt_write_host(JsonWriter *w, const MtHost *host) {
    json_object(w);
    write_text(w, "machineName", host->machine_name);
    write_text(w, "processName", host->process_name);
    json_name(w, STR("processId"));
    json_write_i64(w, host->process_id);
    write_text(w, "assembly", host->assembly);
    write_text(w, "assemblyVersion", host->assembly_version);
    write_text(w, "frameworkVersion", host->framework_version);
    write_text(w, "massTransitVersion", host->mass_transit_version);
    write_text(w, "operatingSystemVersion", host->operating_system_version);
    json_object_end(w);
}

static Err write_name(JsonWriter *w, const JsonReader *r, Arena *arena) {
    Str name;
    TRY(json_string(r, arena, &name));
    json_name(w, name);
    return ERR_OK;
}

Err mt_write_json(JsonWriter *w, Str json, Arena *arena) {
    JsonReader r;
    json_reader_init(&r, json, JSON_DEPTH_MAX);
    for (;;) {
        TRY(json_next(&r));
        switch (r.token) {
        case JSON_END:
            return ERR_OK;
        case JSON_OBJECT_START:
            json_object(w);
            break;
        case JSON_OBJECT_END:
            json_object_end(w);
            break;
        case JSON_ARRAY_START:
            json_array(w);
            break;
        case JSON_ARRAY_END:
            json_array_end(w);
            break;
        case JSON_NAME:
            TRY(write_name(w, &r, arena));
            break;
        default: /* as it stands, a string with its quotes */
            json_write_raw(w, str_slice(json, r.token_at, r.at));
        }
    }
}

static void write_types(JsonWriter *w, const MtEnvelope *envelope) {
    json_name(w, STR("messageType"));
    json_array(w);
    for (size_t i = 0; i < envelope->n_types; i++) {
        char urn[512];
        int n = snprintf(urn, sizeof urn, "urn:message:%.*s", STR_ARG(envelope->types[i]));
        json_write_string(w, (Str){urn, MIN_OF((size_t)n, sizeof urn - 1)});
    }
    json_array_end(w);
}

static Err write_headers(JsonWriter *w, const MtEnvelope *envelope, Arena *arena) {
    json_name(w, STR("headers"));
    json_object(w);
    for (size_t i = 0; i < envelope->n_headers; i++) {
        const MtHeader *header = &envelope->headers[i];
        json_name(w, str_c(header->name));
        if (header->json.p != NULL)
            TRY(mt_write_json(w, header->json, arena));
        else if (header->is_number)
            json_write_i64(w, header->number);
        else
            json_write_string(w, header->text);
    }
    json_object_end(w);
    return ERR_OK;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

Err mt_write(const MtEnvelope *envelope, Arena *arena, Str *ret) {
    Buf out = buf_new(arena, ENVELOPE_MAX);
    JsonWriter w;
    if (buf_reserve(&out, ENVELOPE_ROOM + envelope->message.n) == NULL)
        return out.err;
    json_writer_init(&w, &out, JSON_ESCAPE_RELAXED, 2);
    json_object(&w);
    write_id(&w, "messageId", envelope->message_id);
    write_id(&w, "requestId", envelope->request_id);
    write_id(&w, "correlationId", envelope->correlation_id);
    write_id(&w, "conversationId", envelope->conversation_id);
    write_id(&w, "initiatorId", envelope->initiator_id);
    write_text(&w, "sourceAddress", envelope->source_address);
    write_text(&w, "destinationAddress", envelope->destination_address);
    write_text(&w, "responseAddress", envelope->response_address);
    write_text(&w, "faultAddress", envelope->fault_address);
    write_types(&w, envelope);
    json_name(&w, STR("message"));
    TRY(mt_write_json(&w, envelope->message, arena));
    json_name(&w, STR("expirationTime"));
    json_write_null(&w);
    json_name(&w, STR("sentTime"));
    mt_write_time(&w, envelope->sent_at);
    TRY(write_headers(&w, envelope, arena));
    json_name(&w, STR("host"));
    mt_write_host(&w, envelope->host);
    json_object_end(&w);
    return buf_finish(&out, ret);
}
