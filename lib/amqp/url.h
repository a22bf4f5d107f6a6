/*
 * url.h - amqp://user:password@host:port/vhost?parameters (RabbitMQ's URI specification and its query parameters).
 */
#pragma once
#include "runtime/ctx.h"

/** All NUL-terminated, in the arena they were read into. */
typedef struct AmqpUrl {
    Str host, user, password, vhost;
    int port;
    bool tls;
    bool external;         /* auth_mechanism=EXTERNAL: the client certificate says who we are */
    int heartbeat_s;       /* what we ask for; 0: none */
    int64_t connection_ms; /* for everything until connection.open-ok */
    int channel_max;
    Str ca, certificate, key; /* cacertfile, certfile, keyfile; absent: not given */
    Str server_name;          /* server_name_indication; absent: host */
    bool verify;              /* verify=verify_none switches it off */
} AmqpUrl;

/**
 * Parameters: heartbeat (seconds), connection_timeout (milliseconds), channel_max, auth_mechanism (plain, external),
 * cacertfile, certfile, keyfile, server_name_indication, verify (verify_peer, verify_none).
 * ERR_INVALID: ctx's problem says what and how it is written. ERR_NO_MEMORY.
 */
MUST_USE Err amqp_url_read(Ctx *ctx, Str text, Arena *arena, AmqpUrl *ret);
