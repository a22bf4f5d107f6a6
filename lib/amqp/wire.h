/*
 * wire.h - frames, field tables and content headers of AMQP 0-9-1, both ways.
 *
 * Strict and bounded: a frame is refused by its first seven bytes when it is longer than was agreed, and nothing is
 * believed about a length before the bytes are there. Views are borrowed from the input. Field types are those that
 * RabbitMQ and its clients speak (its errata to §4.2.1), not the letters of the specification, which nobody uses.
 */
#pragma once
#include "amqp/methods.h"

typedef enum AmqpFrameKind {
    AMQP_FRAME_METHOD = 1,
    AMQP_FRAME_HEADER = 2,
    AMQP_FRAME_BODY = 3,
    AMQP_FRAME_HEARTBEAT = 8
} AmqpFrameKind;

enum {
    AMQP_FRAME_OVERHEAD = 8, /* seven bytes in front, the end octet behind */
    AMQP_FRAME_MIN = 4096,   /* what both sides must take (§4.2.3) */
    AMQP_TABLE_DEPTH_MAX = 16
};

typedef struct AmqpFrame {
    AmqpFrameKind kind;
    uint16_t channel;
    Str payload;
} AmqpFrame;

/** The first frame of `in`. ERR_EOF: more bytes are needed; ERR_SYNTAX: not a frame; ERR_LIMIT: longer than frame_max
 *  (all of it, overhead included). *ret_n is how many bytes it took. */
MUST_USE Err amqp_frame_read(Str in, size_t frame_max, AmqpFrame *ret, size_t *ret_n);
/** Opens a frame in out; returns where it began, for amqp_frame_end. */
size_t amqp_frame_begin(Buf *out, AmqpFrameKind kind, uint16_t channel);
void amqp_frame_end(Buf *out, size_t began);

/* --- field tables ------------------------------------------------------------------------------------------------- */

/** One value. Kinds: t bool, b B s u I i l L integers, T timestamp (seconds), f d floating, D decimal, S text, x bytes,
 *  A array, F table, V nothing. */
typedef struct AmqpField {
    char kind;
    int64_t number; /* t b B s u I i l L T; L (unsigned) as its bits */
    Str bytes;      /* S x: the bytes; A F: the encoded elements; f d D: the raw bytes */
} AmqpField;

/** Whether every entry of an encoded table is well-formed, nested ones included. ERR_SYNTAX, ERR_LIMIT (too deep). */
MUST_USE Err amqp_table_check(Str table);
/** Takes the next entry off a checked table: false at the end. */
bool amqp_table_next(Str *rest, Str *ret_name, AmqpField *ret);
/** Takes the next element off a checked array. */
bool amqp_array_next(Str *rest, AmqpField *ret);
/** The first entry of that name: false when there is none. */
bool amqp_table_find(Str table, const char *name, AmqpField *ret);
/** A text entry, or absent. */
Str amqp_table_text(Str table, const char *name);

/* Building: append entries to a Buf whose contents are then a table. Names are at most 255 bytes (ASSERT). */
void amqp_table_add_text(Buf *table, Str name, Str value);
void amqp_table_add_i64(Buf *table, Str name, int64_t value);
void amqp_table_add_i32(Buf *table, Str name, int32_t value);
void amqp_table_add_bool(Buf *table, Str name, bool value);
void amqp_table_add_table(Buf *table, Str name, Str value);
/** Any value as it was read. */
void amqp_table_add_field(Buf *table, Str name, const AmqpField *field);

/* --- content headers ---------------------------------------------------------------------------------------------- */

/** Absent texts and zero delivery_mode are properties that are not there. */
typedef struct AmqpProperties {
    Str content_type, content_encoding;
    Str headers;       /* an encoded table; absent: none */
    int delivery_mode; /* 2: persistent; 0: not given */
    int priority;      /* -1: not given */
    Str correlation_id, reply_to, expiration, message_id;
    int64_t timestamp; /* seconds; -1: not given */
    Str type, user_id, app_id;
} AmqpProperties;
#define AMQP_PROPERTIES_NONE ((AmqpProperties){.priority = -1, .timestamp = -1})

/** A header frame's payload. ERR_SYNTAX. */
MUST_USE Err amqp_header_read(Str payload, AmqpProperties *ret, uint64_t *ret_body_size);
/** Appends the payload of a basic content's header frame. */
void amqp_header_write(Buf *out, const AmqpProperties *properties, uint64_t body_size);
