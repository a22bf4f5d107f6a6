/*
 * wire.c - frames and content headers.
 */
#include "amqp/wire.h"

#include "amqp/wire_read.h"

#define FRAME_END 0xCE
/* basic, the only class that has content. */
#define CONTENT_CLASS 60

uint64_t wire_number(WireReader *r, size_t bytes) {
    if (r->bad || r->rest.n < bytes) {
        r->bad = true;
        return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | (uint8_t)r->rest.p[i];
    r->rest = str_slice(r->rest, bytes, r->rest.n);
    return value;
}

Str wire_bytes(WireReader *r, size_t n) {
    if (r->bad || r->rest.n < n) {
        r->bad = true;
        return STR("");
    }
    Str bytes = {r->rest.p, n};
    r->rest = str_slice(r->rest, n, r->rest.n);
    return bytes;
}

/* --- frames ------------------------------------------------------------------------------------------------------- */

Err amqp_frame_read(Str in, size_t frame_max, AmqpFrame *ret, size_t *ret_n) {
    WireReader r = {.rest = in};
    uint64_t kind = wire_number(&r, 1), channel = wire_number(&r, 2), size = wire_number(&r, 4);
    if (in.n > 0 && in.p[0] != AMQP_FRAME_METHOD && in.p[0] != AMQP_FRAME_HEADER && in.p[0] != AMQP_FRAME_BODY &&
        in.p[0] != AMQP_FRAME_HEARTBEAT)
        return ERR_SYNTAX;
    if (r.bad)
        return ERR_EOF;
    if (size > frame_max - AMQP_FRAME_OVERHEAD)
        return ERR_LIMIT;
    Str payload = wire_bytes(&r, (size_t)size);
    uint64_t end = wire_number(&r, 1);
    if (r.bad)
        return ERR_EOF;
    if (end != FRAME_END)
        return ERR_SYNTAX;
    *ret = (AmqpFrame){.kind = (AmqpFrameKind)kind, .channel = (uint16_t)channel, .payload = payload};
    *ret_n = (size_t)size + AMQP_FRAME_OVERHEAD;
    return ERR_OK;
}

size_t amqp_frame_begin(Buf *out, AmqpFrameKind kind, uint16_t channel) {
    size_t began = out->n;
    buf_add_char(out, (char)kind);
    buf_add_be16(out, channel);
    buf_add_be32(out, 0);
    return began;
}

void amqp_frame_end(Buf *out, size_t began) {
    buf_add_char(out, (char)FRAME_END);
    if (out->err != ERR_OK)
        return;
    uint32_t size = (uint32_t)(out->n - began - AMQP_FRAME_OVERHEAD);
    for (size_t i = 0; i < 4; i++)
        out->p[began + 3 + i] = (char)(size >> 8 * (3 - i));
}

/* --- content headers ---------------------------------------------------------------------------------------------- */

/* In wire order, highest bit first (§4.2.6.1). cluster-id is read and dropped. */
enum {
    HAS_CONTENT_TYPE = 1 << 15,
    HAS_CONTENT_ENCODING = 1 << 14,
    HAS_HEADERS = 1 << 13,
    HAS_DELIVERY_MODE = 1 << 12,
    HAS_PRIORITY = 1 << 11,
    HAS_CORRELATION_ID = 1 << 10,
    HAS_REPLY_TO = 1 << 9,
    HAS_EXPIRATION = 1 << 8,
    HAS_MESSAGE_ID = 1 << 7,
    HAS_TIMESTAMP = 1 << 6,
    HAS_TYPE = 1 << 5,
    HAS_USER_ID = 1 << 4,
    HAS_APP_ID = 1 << 3,
    HAS_CLUSTER_ID = 1 << 2
};

/* The short strings, with where they stand. */
typedef struct TextProperty {
    int flag;
    size_t offset;
} TextProperty;
#define TEXT(flag, member)                                                                                             \
    { flag, offsetof(AmqpProperties, member) }
static const TextProperty BEFORE_HEADERS[] = {TEXT(HAS_CONTENT_TYPE, content_type),
                                              TEXT(HAS_CONTENT_ENCODING, content_encoding)};
static const TextProperty BEFORE_TIMESTAMP[] = {TEXT(HAS_CORRELATION_ID, correlation_id), TEXT(HAS_REPLY_TO, reply_to),
                                                TEXT(HAS_EXPIRATION, expiration), TEXT(HAS_MESSAGE_ID, message_id)};
static const TextProperty BEHIND_TIMESTAMP[] = {TEXT(HAS_TYPE, type), TEXT(HAS_USER_ID, user_id),
                                                TEXT(HAS_APP_ID, app_id)};

static void read_texts(WireReader *r, uint64_t flags, const TextProperty *texts, size_t n, AmqpProperties *ret) {
    for (size_t i = 0; i < n; i++)
        if ((flags & (uint64_t)texts[i].flag) != 0)
            *(Str *)((char *)ret + texts[i].offset) = wire_short_string(r);
}

Err amqp_header_read(Str payload, AmqpProperties *ret, uint64_t *ret_body_size) {
    WireReader r = {.rest = payload};
    *ret = AMQP_PROPERTIES_NONE;
    uint64_t class_id = wire_number(&r, 2);
    (void)wire_number(&r, 2); /* weight: always 0, and of no meaning */
    *ret_body_size = wire_number(&r, 8);
    uint64_t flags = wire_number(&r, 2);
    if (r.bad || class_id != CONTENT_CLASS || (flags & 3) != 0) /* bit 0 would announce more flags: basic has none */
        return ERR_SYNTAX;
    read_texts(&r, flags, BEFORE_HEADERS, ARRAY_LEN(BEFORE_HEADERS), ret);
    if ((flags & HAS_HEADERS) != 0) {
        ret->headers = wire_long_string(&r);
        if (!r.bad)
            TRY(amqp_table_check(ret->headers));
    }
    if ((flags & HAS_DELIVERY_MODE) != 0)
        ret->delivery_mode = (int)wire_number(&r, 1);
    if ((flags & HAS_PRIORITY) != 0)
        ret->priority = (int)wire_number(&r, 1);
    read_texts(&r, flags, BEFORE_TIMESTAMP, ARRAY_LEN(BEFORE_TIMESTAMP), ret);
    if ((flags & HAS_TIMESTAMP) != 0)
        ret->timestamp = (int64_t)(wire_number(&r, 8) & INT64_MAX);
    read_texts(&r, flags, BEHIND_TIMESTAMP, ARRAY_LEN(BEHIND_TIMESTAMP), ret);
    if ((flags & HAS_CLUSTER_ID) != 0)
        (void)wire_short_string(&r);
    return r.bad || r.rest.n > 0 ? ERR_SYNTAX : ERR_OK;
}

static int text_flags(const AmqpProperties *properties, const TextProperty *texts, size_t n) {
    int flags = 0;
    for (size_t i = 0; i < n; i++)
        if (((const Str *)((const char *)properties + texts[i].offset))->p != NULL)
            flags |= texts[i].flag;
    return flags;
}

static void write_texts(Buf *out, const AmqpProperties *properties, const TextProperty *texts, size_t n) {
    for (size_t i = 0; i < n; i++) {
        Str text = *(const Str *)((const char *)properties + texts[i].offset);
        if (text.p == NULL)
            continue;
        ASSERT(text.n <= 255);
        buf_add_char(out, (char)text.n);
        buf_add(out, text);
    }
}

void amqp_header_write(Buf *out, const AmqpProperties *p, uint64_t body_size) {
    int flags = text_flags(p, BEFORE_HEADERS, ARRAY_LEN(BEFORE_HEADERS)) |
                text_flags(p, BEFORE_TIMESTAMP, ARRAY_LEN(BEFORE_TIMESTAMP)) |
                text_flags(p, BEHIND_TIMESTAMP, ARRAY_LEN(BEHIND_TIMESTAMP));
    flags |= (p->headers.p != NULL ? HAS_HEADERS : 0) | (p->delivery_mode != 0 ? HAS_DELIVERY_MODE : 0) |
             (p->priority >= 0 ? HAS_PRIORITY : 0) | (p->timestamp >= 0 ? HAS_TIMESTAMP : 0);
    buf_add_be16(out, CONTENT_CLASS);
    buf_add_be16(out, 0);
    buf_add_be64(out, body_size);
    buf_add_be16(out, (uint16_t)flags);
    write_texts(out, p, BEFORE_HEADERS, ARRAY_LEN(BEFORE_HEADERS));
    if (p->headers.p != NULL) {
        buf_add_be32(out, (uint32_t)p->headers.n);
        buf_add(out, p->headers);
    }
    if (p->delivery_mode != 0)
        buf_add_char(out, (char)p->delivery_mode);
    if (p->priority >= 0)
        buf_add_char(out, (char)p->priority);
    write_texts(out, p, BEFORE_TIMESTAMP, ARRAY_LEN(BEFORE_TIMESTAMP));
    if (p->timestamp >= 0)
        buf_add_be64(out, (uint64_t)p->timestamp);
    write_texts(out, p, BEHIND_TIMESTAMP, ARRAY_LEN(BEHIND_TIMESTAMP));
}
