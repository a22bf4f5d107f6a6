/*
 * upstream_url.c - reading an upstream's URL.
 *
 * Its parameters have the names that amqps:// URLs use for the same things (docs/amqp.md), so that there is one way to
 * say whom one believes. What cannot be understood is refused: a mistyped parameter that was left out silently would be
 * a connection that is verified in another way than its owner thinks.
 */
#include <sys/un.h>

#include "http/chars.h"
#include "http/target.h"
#include "http/upstream_impl.h"

static bool escapes_are_whole(Str text) {
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == '%' && (text.n - i < 3 || hex_value(text.p[i + 1]) < 0 || hex_value(text.p[i + 2]) < 0 ||
                                 (text.p[i + 1] == '0' && text.p[i + 2] == '0')))
            return false;
    return true;
}

static const char *parameter_read(Str name, Str value, UpstreamUrl *url) {
    const struct {
        const char *name;
        Str *place;
    } texts[] = {{"cacertfile", &url->ca},
                 {"certfile", &url->certificate},
                 {"keyfile", &url->key},
                 {"server_name_indication", &url->server_name}};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (!str_eq_c(name, texts[i].name))
            continue;
        if (value.n == 0 || !escapes_are_whole(value))
            return "a parameter has a value, and in it two hexadecimal digits behind each %";
        *texts[i].place = value;
        return NULL;
    }
    if (!str_eq_c(name, "verify"))
        return "its parameters are cacertfile, certfile, keyfile, server_name_indication and verify";
    if (!str_eq_c(value, "verify_peer") && !str_eq_c(value, "verify_none"))
        return "verify is verify_peer or verify_none";
    url->believe_it = str_eq_c(value, "verify_none");
    return NULL;
}

/* NULL: all is well. */
static const char *parameters_read(Str query, UpstreamUrl *url) {
    if (!url->tls)
        return "parameters are for https:// only";
    while (query.p != NULL) {
        Str value = str_cut(&query, '&'), name = str_cut(&value, '=');
        const char *why = parameter_read(name, value.p == NULL ? STR("") : value, url);
        if (why != NULL)
            return why;
    }
    return url->key.p != NULL && url->certificate.p == NULL ? "keyfile wants certfile beside it" : NULL;
}

static bool address_read(Str authority, UpstreamUrl *ret) {
    uint64_t port;
    if (authority.n == 0 || str_index(authority, '/') >= 0 || !authority_is_valid(authority))
        return false;
    ptrdiff_t bracket = authority.p[0] == '[' ? str_index(authority, ']') : -1;
    Str tail = str_slice(authority, bracket < 0 ? 0 : (size_t)bracket + 1, authority.n);
    ptrdiff_t colon = str_index(tail, ':');
    size_t host_end = colon < 0 ? authority.n : authority.n - tail.n + (size_t)colon;
    ret->port = colon >= 0 ? str_slice(tail, (size_t)colon + 1, tail.n) : ret->tls ? STR("443") : STR("80");
    ret->host = bracket < 0 ? str_slice(authority, 0, host_end) : str_slice(authority, 1, (size_t)bracket);
    return ret->host.n > 0 && str_to_u64(ret->port, 65535, &port) == ERR_OK && port > 0;
}

bool upstream_url_read(Str url, UpstreamUrl *ret, const char **ret_why) {
    *ret = (UpstreamUrl){0};
    if (str_starts_with(url, STR("unix:"))) {
        ret->path = str_slice(url, 5, url.n);
        *ret_why = "the path of a unix socket has 1 to 107 bytes";
        return ret->path.n > 0 && ret->path.n < sizeof((struct sockaddr_un *)NULL)->sun_path;
    }
    *ret_why = "write http://host, http://host:port, http://[::1]:port, https://… or unix:/path";
    ret->tls = str_starts_with(url, STR("https://"));
    if (!ret->tls && !str_starts_with(url, STR("http://")))
        return false;
    Str query = str_slice(url, ret->tls ? 8 : 7, url.n);
    Str authority = str_cut(&query, '?');
    if (str_ends_with(authority, STR("/")))
        authority.n--;
    if (!address_read(authority, ret))
        return false;
    const char *why = query.p == NULL ? NULL : parameters_read(query, ret);
    if (why != NULL)
        *ret_why = why;
    return why == NULL;
}

bool upstream_url_fits(Str url, const char **ret_why) {
    UpstreamUrl parts;
    return upstream_url_read(url, &parts, ret_why);
}

Str upstream_url_text(Str raw, Arena *arena) {
    Buf out = buf_new(arena, raw.n + 1);
    for (size_t i = 0; i < raw.n; i++) {
        bool escaped = raw.p[i] == '%';
        buf_add_char(&out, escaped ? (char)(hex_value(raw.p[i + 1]) * 16 + hex_value(raw.p[i + 2])) : raw.p[i]);
        i += escaped ? 2 : 0;
    }
    return out.err == ERR_OK ? arena_str(arena, buf_str(&out)) : (Str){NULL, 0};
}
