/*
 * masstransit.h - MassTransit's envelope (application/vnd.masstransit+json), both ways. Internal to lib/bus.
 *
 * Written to the byte as the recordings show it (contracts/messages): indented by two, every member there, null where
 * nothing is known. Read as tolerantly as the old consumers read (contracts/messages/faults.json): names in any case,
 * missing members, any layout.
 */
#pragma once
#include "amqp/wire.h"
#include "bus/bus.h"

/** Who sends: the `host` member and the MT-Host- headers. */
typedef struct MtHost {
    Str machine_name, process_name;
    int64_t process_id;
    Str assembly, assembly_version, framework_version, mass_transit_version, operating_system_version;
} MtHost;
/** This process; texts live in arena. ERR_NO_MEMORY. */
MUST_USE Err mt_host(Arena *arena, MtHost *ret);

/** One header of the envelope: a text, a number, or (json present) any JSON. */
typedef struct MtHeader {
    const char *name;
    Str text;
    Str json;
    int64_t number;
    bool is_number;
} MtHeader;

/** Absent texts and ids that are not present are written as null. */
typedef struct MtEnvelope {
    OptId message_id, request_id, correlation_id, conversation_id, initiator_id;
    Str source_address, destination_address, response_address, fault_address;
    const Str *types; /* names without "urn:message:" */
    size_t n_types;
    Str message; /* JSON in any layout */
    Instant sent_at;
    const MtHeader *headers;
    size_t n_headers;
    const MtHost *host;
} MtEnvelope;

/** ERR_LIMIT, ERR_NO_MEMORY; ERR_SYNTAX: message is not JSON. */
MUST_USE Err mt_write(const MtEnvelope *envelope, Arena *arena, Str *ret);
/** For composing messages of MassTransit's own (faults): the writer stands where a value is due. */
typedef struct JsonWriter JsonWriter;
void mt_write_host(JsonWriter *w, const MtHost *host);
/** As .NET writes a DateTime in UTC: seven digits without trailing zeros, Z. */
void mt_write_time(JsonWriter *w, Instant t);
/** JSON in any layout, indented as the writer is. ERR_SYNTAX. */
MUST_USE Err mt_write_json(JsonWriter *w, Str json, Arena *arena);

enum { MT_TYPES_MAX = 16 };

/** What was received; texts are borrowed from the body, or from arena where they had escapes. */
typedef struct MtReceived {
    OptId message_id, conversation_id;
    Str types[MT_TYPES_MAX]; /* without "urn:message:" */
    size_t n_types;
    Str message; /* the JSON of the message alone, a view into the body */
    Str fault_address, response_address;
    Str traceparent, tracestate, baggage; /* from the headers, W3C's names before MassTransit's */
} MtReceived;

/** How reading failed: the exception that the old consumers' runtime had for it (for MT-Fault-ExceptionType). */
typedef enum MtUnreadable {
    MT_READABLE,
    MT_NOT_JSON,    /* System.Text.Json.JsonReaderException */
    MT_WRONG_SHAPE, /* System.Text.Json.JsonException */
    MT_NO_ENVELOPE  /* System.ArgumentNullException: JSON, but no envelope */
} MtUnreadable;

/** Reads an envelope. ERR_SYNTAX, ERR_INVALID: ctx's problem has words, *ret_why the kind; ERR_NO_MEMORY. */
MUST_USE Err mt_read(Ctx *ctx, Str body, MtReceived *ret, MtUnreadable *ret_why);
/** What the AMQP headers and properties add: trace context, ids, and for raw JSON (a body without an envelope, whose
 *  type a header MT-MessageType names) everything else. */
MUST_USE Err mt_read_raw(Ctx *ctx, Str body, const AmqpProperties *properties, MtReceived *ret, MtUnreadable *ret_why);
void mt_read_headers(const AmqpProperties *properties, MtReceived *ret);

/** W3C baggage as MassTransit's envelope holds it, a JSON list of {key, value}, and back. Absent: refused. */
Str mt_baggage_json(Str baggage, Arena *arena);
/** The reader stands at the list's beginning. ERR_INVALID: it is something else. */
typedef struct JsonReader JsonReader;
MUST_USE Err mt_baggage_read(JsonReader *r, Arena *arena, Str *ret);

/** The names of the headers that carry the trace. */
#define MT_HEADER_ACTIVITY    "MT-Activity-Id"
#define MT_HEADER_CORRELATION "MT-Activity-Correlation-Context"
