/*
 * forward.c - rewriting a request's head (RFC 9110 §7.6, RFC 7239).
 *
 * What is said about the client must not be said by the client: Forwarded and X-Forwarded-* of a peer that is not
 * trusted are dropped, ours take their place. Everything else goes on as it came, in order and case; framing is said
 * anew, in one way, so that the next reader cannot read it in another.
 */
#include "http/forward.h"

#include "http/chars.h"
#include "http/connection.h"

enum { VALUES_MAX = 16 };

/* What is noticed of the client's fields on the way. */
typedef struct Noticed {
    Str listed[LISTED_MAX];
    size_t n_listed;
    Str chain[VALUES_MAX]; /* X-Forwarded-For, by a trusted peer */
    size_t n_chain;
    Str forwarded[VALUES_MAX];
    size_t n_forwarded;
    bool proto, host; /* X-Forwarded-Proto and -Host stay */
    bool trailers;    /* TE: trailers */
} Noticed;

#define NAME_IS(literal) (name.n == sizeof(literal) - 1 && str_eq_nocase(name, STR(literal)))

static bool list_has(Str value, Str token) {
    while (value.p != NULL)
        if (str_eq_nocase(str_trim(str_cut(&value, ','), " \t"), token))
            return true;
    return false;
}

static void keep(Str value, Str *values, size_t *n) {
    if (*n < VALUES_MAX)
        values[(*n)++] = value;
}

/* Fields that say where a request came from. True: it does not go on as it is. */
static bool origin_field(Str name, Str value, bool trusted, Noticed *noticed) {
    if (NAME_IS("Forwarded")) {
        if (trusted)
            keep(value, noticed->forwarded, &noticed->n_forwarded);
        return true;
    }
    if (name.n < 12 || !str_eq_nocase(str_slice(name, 0, 12), STR("X-Forwarded-")))
        return false;
    if (NAME_IS("X-Forwarded-For")) {
        if (trusted)
            keep(value, noticed->chain, &noticed->n_chain);
        return true;
    }
    noticed->proto = noticed->proto || (trusted && NAME_IS("X-Forwarded-Proto"));
    noticed->host = noticed->host || (trusted && NAME_IS("X-Forwarded-Host"));
    return !trusted;
}

static bool field_goes_on(const Header *header, const ForwardRules *rules, const ForwardBody *body, bool trusted,
                          Noticed *noticed) {
    Str name = header->name;
    if (NAME_IS("Content-Length"))
        return false; /* said anew */
    if (NAME_IS("Expect"))
        return body->expect_continue;
    if (NAME_IS("TE"))
        noticed->trailers = noticed->trailers || list_has(header->value, STR("trailers"));
    if (rules->traces && NAME_IS("traceparent"))
        return false;
    return !origin_field(name, header->value, trusted, noticed) &&
           !field_is_hop(name, noticed->listed, noticed->n_listed);
}

/* RFC 9110 §7.6.2: how many may still pass it on. */
static bool counts_down(const Request *req, const Header *header, uint64_t *ret_left) {
    Str name = header->name;
    return (req->method == METHOD_OPTIONS || req->method == METHOD_TRACE) && NAME_IS("Max-Forwards") &&
           str_to_u64(header->value, INT64_MAX, ret_left) == ERR_OK && *ret_left > 0;
}

static void field_add(Buf *out, Str name, Str value) {
    buf_add(out, name);
    buf_add_bytes(out, ": ", 2);
    buf_add(out, value);
    buf_add_bytes(out, "\r\n", 2);
}

/* RFC 7239 §6: an IPv6 address stands in brackets and hence in quotes. */
static void forwarded_add(const Request *req, Str host, const Noticed *noticed, Buf *out) {
    buf_add(out, STR("Forwarded: "));
    for (size_t i = 0; i < noticed->n_forwarded; i++) {
        buf_add(out, noticed->forwarded[i]);
        buf_add(out, STR(", "));
    }
    bool v6 = str_index(req->peer, ':') >= 0, no_address = str_eq(req->peer, STR("unix"));
    buf_add(out, v6 ? STR("for=\"[") : STR("for="));
    buf_add(out, no_address ? STR("unknown") : req->peer);
    buf_add(out, v6 ? STR("]\"") : STR(""));
    if (host.n > 0 && chars_all(host, CHAR_TOKEN)) {
        buf_add(out, STR(";host="));
        buf_add(out, host);
    } else if (host.n > 0) { /* a port's colon needs the quotes; a host has neither quotes nor backslashes in it */
        buf_add(out, STR(";host=\""));
        buf_add(out, host);
        buf_add_char(out, '"');
    }
    buf_add(out, req->secure ? STR(";proto=https\r\n") : STR(";proto=http\r\n"));
}

static void x_forwarded_add(const Request *req, Str host, const Noticed *noticed, Buf *out) {
    bool no_address = str_eq(req->peer, STR("unix"));
    if (!no_address || noticed->n_chain > 0) {
        buf_add(out, STR("X-Forwarded-For: "));
        for (size_t i = 0; i < noticed->n_chain; i++) {
            buf_add(out, noticed->chain[i]);
            if (i + 1 < noticed->n_chain || !no_address)
                buf_add(out, STR(", "));
        }
        buf_add(out, no_address ? STR("") : req->peer);
        buf_add_bytes(out, "\r\n", 2);
    }
    if (!noticed->proto)
        field_add(out, STR("X-Forwarded-Proto"), req->secure ? STR("https") : STR("http"));
    if (!noticed->host && host.n > 0)
        field_add(out, STR("X-Forwarded-Host"), host);
}

static void framing_add(const ForwardBody *body, const Noticed *noticed, Str upgrade, Buf *out) {
    if (body->kind == BODY_LENGTH) {
        buf_add(out, STR("Content-Length: "));
        buf_add_u64(out, body->length);
        buf_add_bytes(out, "\r\n", 2);
    } else if (body->kind == BODY_CHUNKED) {
        buf_add(out, STR("Transfer-Encoding: chunked\r\n"));
    }
    if (body->upgrade) {
        buf_add(out, STR("Connection: Upgrade\r\n"));
        field_add(out, STR("Upgrade"), upgrade);
    } else if (noticed->trailers) { /* RFC 9110 §10.1.4: it concerns one connection, and ours can do it too */
        buf_add(out, STR("Connection: TE\r\nTE: trailers\r\n"));
    }
}

/* The protocol that a client may and wants to switch to; absent: none. */
static Str upgrade_of(const Request *req, const ForwardRules *rules) {
    bool asked = false;
    Str protocol = {NULL, 0};
    for (size_t i = 0; i < req->header_count; i++) {
        Str name = req->headers[i].name;
        if (NAME_IS("Connection"))
            asked = asked || list_has(req->headers[i].value, STR("upgrade"));
        else if (NAME_IS("Upgrade") && protocol.p == NULL)
            protocol = req->headers[i].value;
        else if (NAME_IS("Upgrade"))
            return (Str){NULL, 0};
    }
    for (size_t i = 0; asked && i < rules->upgrade_count; i++)
        if (str_eq_nocase(protocol, rules->upgrades[i]))
            return protocol;
    return (Str){NULL, 0};
}

ForwardBody forward_body(const Request *req, const ForwardRules *rules) {
    ForwardBody body = {.kind = req->body_kind, .length = req->content_length, .expect_continue = req->expect_continue};
    if (req->body_kind == BODY_NONE && req->minor == 1)
        body.upgrade = upgrade_of(req, rules).p != NULL;
    /* "Content-Length: 0" says that there is a body, and that it is empty: some servers want to hear it. */
    if (req->body_kind == BODY_NONE && request_header(req, "Content-Length").p != NULL)
        body.kind = BODY_LENGTH;
    return body;
}

Str forward_client(const Request *req, const ForwardRules *rules) {
    Str values[VALUES_MAX];
    size_t n = 0;
    if (rules->trusted.n == 0)
        return req->peer;
    for (size_t i = 0; i < req->header_count; i++) {
        Str name = req->headers[i].name;
        if (NAME_IS("X-Forwarded-For"))
            keep(req->headers[i].value, values, &n);
    }
    return cidr_client(&rules->trusted, req->peer, values, n);
}

/* Absolute form is for proxies: the next server gets origin form (RFC 9112 §3.2.2). */
static Str target_of(const Request *req, bool *ret_options_star) {
    Str target = req->target;
    *ret_options_star = false;
    if (target.n > 0 && (target.p[0] == '/' || target.p[0] == '*'))
        return target;
    ptrdiff_t scheme = str_find(target, STR("://"));
    if (scheme < 0)
        return target;
    Str rest = str_slice(target, (size_t)scheme + 3, target.n);
    size_t at = 0;
    while (at < rest.n && rest.p[at] != '/' && rest.p[at] != '?')
        at++;
    *ret_options_star = at == rest.n && req->method == METHOD_OPTIONS;
    return str_slice(rest, at, rest.n);
}

static void request_line(const Request *req, Buf *out) {
    bool star;
    Str target = target_of(req, &star);
    buf_add(out, req->method_text);
    buf_add_char(out, ' ');
    if (star)
        buf_add_char(out, '*');
    else if (target.n == 0 || target.p[0] == '?')
        buf_add_char(out, '/');
    buf_add(out, target);
    buf_add(out, STR(" HTTP/1.1\r\n"));
}

void forward_head(const Request *req, const ForwardRules *rules, const ForwardBody *body, Ctx *ctx, Buf *out) {
    Noticed noticed;
    noticed.n_listed = noticed.n_chain = noticed.n_forwarded = 0;
    noticed.proto = noticed.host = noticed.trailers = false;
    for (size_t i = 0; i < req->header_count && noticed.n_listed < LISTED_MAX; i++) {
        Str name = req->headers[i].name;
        if (NAME_IS("Connection") && !lists_nothing(req->headers[i].value))
            noticed.listed[noticed.n_listed++] = req->headers[i].value;
    }
    bool trusted = cidr_has(&rules->trusted, req->peer);
    Str host = {NULL, 0};
    buf_reserve(out, 1024);
    request_line(req, out);
    for (size_t i = 0; i < req->header_count; i++) {
        const Header *header = &req->headers[i];
        if (header->name.n == 4 && str_eq_nocase(header->name, STR("Host")))
            host = header->value;
        uint64_t left;
        if (counts_down(req, header, &left))
            buf_printf(out, "Max-Forwards: %llu\r\n", (unsigned long long)(left - 1));
        else if (field_goes_on(header, rules, body, trusted, &noticed))
            field_add(out, header->name, header->value);
    }
    if (host.p == NULL) /* HTTP/1.0 without one; the next server speaks 1.1, which wants it */
        buf_add(out, STR("Host: \r\n"));
    framing_add(body, &noticed, body->upgrade ? upgrade_of(req, rules) : (Str){NULL, 0}, out);
    if (!rules->hides_x)
        x_forwarded_add(req, host, &noticed, out);
    if (!rules->hides_forwarded)
        forwarded_add(req, host, &noticed, out);
    if (rules->via.n > 0) {
        buf_add(out, req->major == 2 ? STR("Via: 2.0 ") : req->minor == 0 ? STR("Via: 1.0 ") : STR("Via: 1.1 "));
        buf_add(out, rules->via);
        buf_add_bytes(out, "\r\n", 2);
    }
    if (rules->traces) {
        char parent[TRACEPARENT_LEN];
        trace_format(&ctx->trace, parent);
        field_add(out, STR("traceparent"), (Str){parent, TRACEPARENT_LEN});
    }
    buf_add_bytes(out, "\r\n", 2);
}

void forward_trailers(Str lines, Buf *out) {
    static const char *const refused[] = {"Content-Length", "Host",          "Trailer",      "Expect",
                                          "Authorization",  "Cache-Control", "Max-Forwards", "Content-Encoding",
                                          "Content-Type",   "Content-Range", "Set-Cookie",   NULL};
    while (lines.p != NULL && lines.n > 0) {
        Str line = str_cut(&lines, '\n'), name = line;
        name = str_cut(&name, ':');
        bool goes_on = name.n > 0 && !field_is_hop(name, NULL, 0);
        for (const char *const *it = refused; goes_on && *it != NULL; it++)
            goes_on = !str_eq_nocase(name, str_c(*it));
        if (!goes_on)
            continue;
        buf_add(out, line);
        buf_add_char(out, '\n');
    }
}
