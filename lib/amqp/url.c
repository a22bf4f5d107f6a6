/*
 * url.c - reading a broker's URL.
 *
 * What cannot be understood is refused with words: a mistyped parameter that was silently left out is found only when
 * the broker goes down.
 */
#include "amqp/url.h"

#define HEARTBEAT_DEFAULT_S   10
#define CONNECTION_DEFAULT_MS 10000
#define TEXT_MAX              255 /* a short string on the wire */

static int digit_of(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 32) >= 'a' && (c | 32) <= 'f')
        return (c | 32) - 'a' + 10;
    return -1;
}

static Err decode(Ctx *ctx, Str text, Arena *arena, const char *what, Str *ret) {
    Buf out = buf_new(arena, TEXT_MAX + 1);
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] != '%') {
            buf_add_char(&out, text.p[i]);
            continue;
        }
        bool both = i + 2 < text.n;
        int high = both ? digit_of(text.p[i + 1]) : -1, low = both ? digit_of(text.p[i + 2]) : -1;
        if (high < 0 || low < 0 || high + low == 0)
            return ctx_problem(ctx, ERR_INVALID, NULL, "its %s has a %% without two hexadecimal digits behind it",
                               what);
        buf_add_char(&out, (char)(high * 16 + low));
        i += 2;
    }
    if (out.err == ERR_LIMIT || out.n > TEXT_MAX)
        return ctx_problem(ctx, ERR_INVALID, NULL, "its %s is longer than %d bytes", what, TEXT_MAX);
    TRY(out.err);
    *ret = arena_str(arena, buf_str(&out));
    return ret->p == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* --- parameters --------------------------------------------------------------------------------------------------- */

static Err number(Ctx *ctx, Str name, Str value, uint64_t max, int64_t *ret) {
    uint64_t n;
    if (str_to_u64(value, max, &n) != ERR_OK)
        return ctx_problem(ctx, ERR_INVALID, NULL, "its parameter %.*s is a number from 0 to %llu, not \"%.*s\"",
                           STR_ARG(name), (unsigned long long)max, STR_ARG(value));
    *ret = (int64_t)n;
    return ERR_OK;
}

static Err choice(Ctx *ctx, Str name, Str value, const char *yes, const char *no, bool *ret) {
    if (!str_eq_nocase(value, str_c(yes)) && !str_eq_nocase(value, str_c(no)))
        return ctx_problem(ctx, ERR_INVALID, NULL, "its parameter %.*s is %s or %s, not \"%.*s\"", STR_ARG(name), yes,
                           no, STR_ARG(value));
    *ret = str_eq_nocase(value, str_c(yes));
    return ERR_OK;
}

static Err read_parameter(Ctx *ctx, Str name, Str value, AmqpUrl *url) {
    static const struct {
        const char *name;
        size_t offset;
    } texts[] = {
        {"cacertfile", offsetof(AmqpUrl, ca)},
        {"certfile", offsetof(AmqpUrl, certificate)},
        {"keyfile", offsetof(AmqpUrl, key)},
        {"server_name_indication", offsetof(AmqpUrl, server_name)},
    };
    int64_t n = 0;
    if (str_eq_c(name, "heartbeat")) {
        TRY(number(ctx, name, value, 65535, &n));
        url->heartbeat_s = (int)n;
        return ERR_OK;
    }
    if (str_eq_c(name, "connection_timeout"))
        return number(ctx, name, value, 3600000, &url->connection_ms);
    if (str_eq_c(name, "channel_max")) {
        TRY(number(ctx, name, value, 65535, &n));
        url->channel_max = (int)n;
        return ERR_OK;
    }
    if (str_eq_c(name, "auth_mechanism"))
        return choice(ctx, name, value, "external", "plain", &url->external);
    if (str_eq_c(name, "verify"))
        return choice(ctx, name, value, "verify_peer", "verify_none", &url->verify);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (!str_eq_c(name, texts[i].name))
            continue;
        *(Str *)((char *)url + texts[i].offset) = value;
        return ERR_OK;
    }
    return ctx_problem(ctx, ERR_INVALID, NULL,
                       "it has an unknown parameter %.*s; known are heartbeat, connection_timeout, channel_max, "
                       "auth_mechanism, cacertfile, certfile, keyfile, server_name_indication, verify",
                       STR_ARG(name));
}

static Err read_parameters(Ctx *ctx, Str query, Arena *arena, AmqpUrl *url) {
    while (query.n > 0) {
        Str value = str_cut(&query, '&'), name = str_cut(&value, '=');
        Str decoded = {0};
        TRY(decode(ctx, value.p == NULL ? STR("") : value, arena, "parameter", &decoded));
        TRY(read_parameter(ctx, name, decoded, url));
    }
    return ERR_OK;
}

/* --- the rest ----------------------------------------------------------------------------------------------------- */

static Err read_address(Ctx *ctx, Str address, Arena *arena, AmqpUrl *url) {
    Str host = address, port = {NULL, 0};
    if (address.n > 0 && address.p[0] == '[') {
        ptrdiff_t end = str_index(address, ']');
        if (end < 0)
            return ctx_problem(ctx, ERR_INVALID, NULL, "its host begins with [ and has no ]");
        host = str_slice(address, 1, (size_t)end);
        port = str_slice(address, (size_t)end + 1, address.n);
        if (port.n > 0 && port.p[0] != ':')
            return ctx_problem(ctx, ERR_INVALID, NULL, "behind its host's ] stands no :PORT");
        port = port.n > 0 ? str_slice(port, 1, port.n) : (Str){NULL, 0};
    } else {
        port = address;
        host = str_cut(&port, ':');
    }
    uint64_t n = url->tls ? 5671 : 5672;
    if (port.p != NULL && (str_to_u64(port, 65535, &n) != ERR_OK || n == 0))
        return ctx_problem(ctx, ERR_INVALID, NULL, "its port is a number from 1 to 65535, not \"%.*s\"", STR_ARG(port));
    url->port = (int)n;
    return decode(ctx, host.n == 0 ? STR("localhost") : host, arena, "host", &url->host);
}

static Err read_user(Ctx *ctx, Str credentials, Arena *arena, AmqpUrl *url) {
    Str user = str_cut(&credentials, ':');
    TRY(decode(ctx, user, arena, "user name", &url->user));
    return decode(ctx, credentials.p == NULL ? STR("") : credentials, arena, "password", &url->password);
}

Err amqp_url_read(Ctx *ctx, Str text, Arena *arena, AmqpUrl *ret) {
    AmqpUrl url = {.heartbeat_s = HEARTBEAT_DEFAULT_S,
                   .connection_ms = CONNECTION_DEFAULT_MS,
                   .channel_max = 2047,
                   .user = STR("guest"),
                   .password = STR("guest"),
                   .verify = true};
    url.tls = str_starts_with(text, STR("amqps://"));
    if (!url.tls && !str_starts_with(text, STR("amqp://")))
        return ctx_problem(ctx, ERR_INVALID, NULL, "it is written amqp://USER:PASSWORD@HOST:PORT/VHOST or amqps://…");
    Str rest = str_slice(text, url.tls ? 8 : 7, text.n);
    Str query = rest, path;
    rest = str_cut(&query, '?');
    path = rest;
    Str authority = str_cut(&path, '/');
    ptrdiff_t at = -1;
    for (size_t i = 0; i < authority.n; i++)
        if (authority.p[i] == '@')
            at = (ptrdiff_t)i;
    if (at >= 0)
        TRY(read_user(ctx, str_slice(authority, 0, (size_t)at), arena, &url));
    TRY(read_address(ctx, str_slice(authority, (size_t)(at + 1), authority.n), arena, &url));
    /* An empty path names the vhost "" by the letter, "/" by the custom of every client. */
    TRY(decode(ctx, path.n == 0 ? STR("/") : path, arena, "vhost", &url.vhost));
    TRY(read_parameters(ctx, query.p == NULL ? STR("") : query, arena, &url));
    if (url.connection_ms == 0)
        url.connection_ms = CONNECTION_DEFAULT_MS;
    if (url.channel_max == 0)
        url.channel_max = 2047;
    if (url.server_name.p == NULL)
        url.server_name = url.host;
    *ret = url;
    return ERR_OK;
}
