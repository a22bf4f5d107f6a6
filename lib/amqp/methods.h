/*
 * methods.h - every method of AMQP 0-9-1 that we send or understand, one row each.
 *
 * A row is class, method and the arguments in wire order, one letter each, so that one pair of functions reads and
 * writes all of them and neither can forget a field:
 *
 *   o octet   w short   d long   q long long   s short string   S long string   T field table   t bit
 *
 * Neighbouring bits share an octet, lowest first (AMQP 0-9-1 §4.2.5.2). Letters in order of amqp0-9-1.xml, with
 * RabbitMQ's extensions (confirm, connection.blocked, basic.nack, exchange.bind). How to add one: a row here; nothing
 * else.
 */
#pragma once
#include "base/buf.h"

#define AMQP_METHOD_LIST(X)                                                                                            \
    X(CONNECTION_START, 10, 10, "ooTSS")   /* version, properties, mechanisms, locales */                              \
    X(CONNECTION_START_OK, 10, 11, "TsSs") /* properties, mechanism, response, locale */                               \
    X(CONNECTION_SECURE, 10, 20, "S")                                                                                  \
    X(CONNECTION_SECURE_OK, 10, 21, "S")                                                                               \
    X(CONNECTION_TUNE, 10, 30, "wdw") /* channel_max, frame_max, heartbeat */                                          \
    X(CONNECTION_TUNE_OK, 10, 31, "wdw")                                                                               \
    X(CONNECTION_OPEN, 10, 40, "sst") /* vhost, -, - */                                                                \
    X(CONNECTION_OPEN_OK, 10, 41, "s")                                                                                 \
    X(CONNECTION_CLOSE, 10, 50, "wsww") /* code, text, class, method */                                                \
    X(CONNECTION_CLOSE_OK, 10, 51, "")                                                                                 \
    X(CONNECTION_BLOCKED, 10, 60, "s") /* reason */                                                                    \
    X(CONNECTION_UNBLOCKED, 10, 61, "")                                                                                \
    X(CHANNEL_OPEN, 20, 10, "s")                                                                                       \
    X(CHANNEL_OPEN_OK, 20, 11, "S")                                                                                    \
    X(CHANNEL_FLOW, 20, 20, "t")                                                                                       \
    X(CHANNEL_FLOW_OK, 20, 21, "t")                                                                                    \
    X(CHANNEL_CLOSE, 20, 40, "wsww")                                                                                   \
    X(CHANNEL_CLOSE_OK, 20, 41, "")                                                                                    \
    X(EXCHANGE_DECLARE, 40, 10, "wsstttttT") /* -, name, type, passive, durable, auto-delete, internal, … */         \
    X(EXCHANGE_DECLARE_OK, 40, 11, "")                                                                                 \
    X(EXCHANGE_DELETE, 40, 20, "wstt")                                                                                 \
    X(EXCHANGE_DELETE_OK, 40, 21, "")                                                                                  \
    X(EXCHANGE_BIND, 40, 30, "wssstT") /* -, destination, source, routing key, no-wait, arguments */                   \
    X(EXCHANGE_BIND_OK, 40, 31, "")                                                                                    \
    X(QUEUE_DECLARE, 50, 10, "wstttttT") /* -, name, passive, durable, exclusive, auto-delete, … */                  \
    X(QUEUE_DECLARE_OK, 50, 11, "sdd")   /* name, messages, consumers */                                               \
    X(QUEUE_BIND, 50, 20, "wssstT")      /* -, queue, exchange, routing key, no-wait, arguments */                     \
    X(QUEUE_BIND_OK, 50, 21, "")                                                                                       \
    X(QUEUE_PURGE, 50, 30, "wst")                                                                                      \
    X(QUEUE_PURGE_OK, 50, 31, "d")                                                                                     \
    X(QUEUE_DELETE, 50, 40, "wsttt")                                                                                   \
    X(QUEUE_DELETE_OK, 50, 41, "d")                                                                                    \
    X(BASIC_QOS, 60, 10, "dwt") /* -, prefetch, global */                                                              \
    X(BASIC_QOS_OK, 60, 11, "")                                                                                        \
    X(BASIC_CONSUME, 60, 20, "wssttttT") /* -, queue, tag, no-local, no-ack, exclusive, no-wait, arguments */          \
    X(BASIC_CONSUME_OK, 60, 21, "s")                                                                                   \
    X(BASIC_CANCEL, 60, 30, "st")                                                                                      \
    X(BASIC_CANCEL_OK, 60, 31, "s")                                                                                    \
    X(BASIC_PUBLISH, 60, 40, "wsstt") /* -, exchange, routing key, mandatory, immediate */                             \
    X(BASIC_RETURN, 60, 50, "wsss")   /* code, text, exchange, routing key */                                          \
    X(BASIC_DELIVER, 60, 60, "sqtss") /* consumer tag, delivery tag, redelivered, exchange, routing key */             \
    X(BASIC_GET, 60, 70, "wst")                                                                                        \
    X(BASIC_GET_OK, 60, 71, "qtssd")                                                                                   \
    X(BASIC_GET_EMPTY, 60, 72, "s")                                                                                    \
    X(BASIC_ACK, 60, 80, "qt") /* delivery tag, multiple */                                                            \
    X(BASIC_REJECT, 60, 90, "qt")                                                                                      \
    X(BASIC_NACK, 60, 120, "qtt") /* delivery tag, multiple, requeue */                                                \
    X(CONFIRM_SELECT, 85, 10, "t")                                                                                     \
    X(CONFIRM_SELECT_OK, 85, 11, "")

typedef enum AmqpMethodId {
#define AMQP_METHOD_ENUM(name, class_id, method_id, arguments) AMQP_##name,
    AMQP_METHOD_LIST(AMQP_METHOD_ENUM)
#undef AMQP_METHOD_ENUM
        AMQP_METHODS
} AmqpMethodId;

enum { AMQP_ARGUMENTS_MAX = 9 };

/** Numbers and bits in n; strings and tables (their encoded entries) in s. */
typedef struct AmqpArgument {
    uint64_t n;
    Str s;
} AmqpArgument;

typedef struct AmqpMethod {
    AmqpMethodId id;
    AmqpArgument arguments[AMQP_ARGUMENTS_MAX];
} AmqpMethod;

/** "connection.start" and so on. */
const char *amqp_method_name(AmqpMethodId id);
/** A method frame's payload; strings are borrowed from it, tables have been checked. ERR_NOT_FOUND: a method that is
 *  not in the list; ERR_SYNTAX: cut short, too long, or a table in it is malformed. */
MUST_USE Err amqp_method_read(Str payload, AmqpMethod *ret);
/** Appends the payload. A short string over 255 bytes is a bug of the caller (ASSERT). */
void amqp_method_write(Buf *out, const AmqpMethod *method);
