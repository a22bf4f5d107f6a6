/*
 * pass.c - an answer from another server, given on as it came.
 *
 * Whoever compares an answer with what it would have been without the gateway shall find nothing: fields keep their
 * order and case, the reason its words; no Date, Server or Via is added (a gateway need not: RFC 9110 §7.6.3). What
 * goes is what belongs to the other connection (§7.6.1) and framing that this client cannot have. Fields are copied in
 * runs, so that an answer with nothing to leave out costs one memcpy.
 */
#include "http/h2.h"

static Exchange *exchange_of(Request *req) {
    return (Exchange *)((char *)req - offsetof(Exchange, req));
}

#define NAME_IS(literal) (name.n == sizeof(literal) - 1 && str_eq_nocase(name, STR(literal)))

bool lists_nothing(Str value) {
    return str_eq_nocase(value, STR("keep-alive")) || str_eq_nocase(value, STR("close"));
}

size_t fields_listed(const UpstreamAnswer *answer, Str listed[LISTED_MAX]) {
    size_t n = 0;
    for (size_t i = 0; i < answer->header_count && n < LISTED_MAX; i++) {
        const Header *header = &answer->headers[i];
        if (header->name.n == 10 && str_eq_nocase(header->name, STR("Connection")) && !lists_nothing(header->value))
            listed[n++] = header->value;
    }
    return n;
}

static bool is_listed(Str name, const Str *listed, size_t n) {
    for (size_t i = 0; i < n; i++) {
        Str rest = listed[i];
        while (rest.p != NULL)
            if (str_eq_nocase(str_trim(str_cut(&rest, ','), " \t"), name))
                return true;
    }
    return false;
}

bool field_is_hop(Str name, const Str *listed, size_t n_listed) {
    switch (name.n) { /* most names are let go after one comparison */
    case 2:
        if (NAME_IS("TE"))
            return true;
        break;
    case 7:
        if (NAME_IS("Upgrade"))
            return true;
        break;
    case 10:
        if (NAME_IS("Connection") || NAME_IS("Keep-Alive"))
            return true;
        break;
    case 16:
        if (NAME_IS("Proxy-Connection"))
            return true;
        break;
    case 17:
        if (NAME_IS("Transfer-Encoding"))
            return true;
        break;
    default:
        break;
    }
    /* What frames the message or names its target is never the connection's own, whatever Connection says: leaving it
     * out on a peer's word is how requests get another meaning behind a proxy. */
    return n_listed > 0 && !NAME_IS("Content-Length") && !NAME_IS("Host") && !NAME_IS("Date") &&
           is_listed(name, listed, n_listed);
}

/* What may be kept of the framing. */
typedef struct PassRules {
    bool keeps_coding, keeps_length, keeps_upgrade;
} PassRules;

static bool field_stays(Str name, const PassRules *rules, const Str *listed, size_t n_listed) {
    if (rules->keeps_coding && NAME_IS("Transfer-Encoding"))
        return true;
    if (!rules->keeps_length && NAME_IS("Content-Length"))
        return false;
    if (rules->keeps_upgrade && (NAME_IS("Connection") || NAME_IS("Upgrade")))
        return true;
    return !field_is_hop(name, listed, n_listed);
}

static void lines_pass(const UpstreamAnswer *answer, const PassRules *rules, Buf *out) {
    Str listed[LISTED_MAX];
    size_t n_listed = fields_listed(answer, listed);
    const char *run = answer->lines.p, *end = answer->lines.p + answer->lines.n;
    for (size_t i = 0; i < answer->header_count; i++) {
        if (field_stays(answer->headers[i].name, rules, listed, n_listed))
            continue;
        const char *line = answer->headers[i].name.p;
        buf_add_bytes(out, run, (size_t)(line - run));
        run = i + 1 < answer->header_count ? answer->headers[i + 1].name.p : end;
    }
    buf_add_bytes(out, run, (size_t)(end - run));
}

static void status_line(const UpstreamAnswer *answer, Buf *out) {
    buf_add(out, STR("HTTP/1.1 "));
    buf_add_u64(out, (uint64_t)answer->status);
    buf_add_char(out, ' ');
    buf_add(out, answer->reason);
    buf_add(out, STR("\r\n"));
}

CO_FN Err response_interim(Request *req, const UpstreamAnswer *answer) {
    Exchange *ex = exchange_of(req);
    ASSERT(!ex->res.streaming && answer->status >= 100 && answer->status < 200);
    if (req->minor == 0)
        return ERR_OK; /* RFC 9110 §15.2 */
    if (ex->stream != NULL)
        return h2_interim(ex, answer);
    TRY(exchange_turn(ex));
    if (ex->conn->sealed)
        return ERR_EOF;
    Buf head = buf_new(req->ctx->arena, answer->lines.n + 256);
    status_line(answer, &head);
    lines_pass(answer, &(PassRules){0}, &head);
    buf_add(&head, STR("\r\n"));
    TRY(head.err);
    if (answer->status == 100)
        ex->continue_sent = true;
    return output_send(ex, buf_str(&head), (Str){NULL, 0});
}

/* How the body goes out to this client. */
BodyKind pass_kind(const Request *req, const UpstreamAnswer *answer) {
    if (answer->body_kind == BODY_TUNNEL)
        return BODY_TUNNEL;
    if (req->method == METHOD_HEAD || !status_has_body(answer->status) || answer->body_kind == BODY_NONE)
        return BODY_NONE;
    if (answer->body_kind == BODY_LENGTH)
        return BODY_LENGTH;
    return req->minor == 0 ? BODY_UNTIL_CLOSE : BODY_CHUNKED;
}

/* From here on the client's bytes are nobody's requests. */
static Err tunnel_open(Exchange *ex) {
    HttpConnection *conn = ex->conn;
    if (conn->input != IN_HEAD || conn->first != ex || conn->last != ex || conn->refusal != 0)
        return ERR_CONFLICT; /* it has asked something else meanwhile */
    conn->body = (BodyInput){.owner = ex, .kind = BODY_TUNNEL};
    conn->input = IN_BODY;
    conn->head_at = 0;
    ex->body_ended = false;
    ex->req.body_kind = BODY_TUNNEL;
    return ERR_OK;
}

CO_FN Err response_pass_begin(Request *req, Response *res, const UpstreamAnswer *answer) {
    Exchange *ex = exchange_of(req);
    HttpConnection *conn = ex->conn;
    ASSERT(!res->streaming && answer->status >= 100 && answer->status <= 999);
    if (ex->stream != NULL)
        return h2_pass_begin(ex, answer);
    TRY(exchange_turn(ex));
    if (conn->sealed)
        return ERR_EOF;
    BodyKind kind = pass_kind(req, answer);
    bool no_body = kind == BODY_NONE && req->method != METHOD_HEAD;
    PassRules rules = {.keeps_coding = answer->body_kind == BODY_CHUNKED && req->minor == 1 && !no_body,
                       .keeps_length = answer->status >= 200 && answer->status != 204,
                       .keeps_upgrade = kind == BODY_TUNNEL};
    if (kind == BODY_TUNNEL)
        TRY(tunnel_open(ex));
    /* A body that is still unread might not be read before the end, and the head goes out now: the connection
     * closes. */
    bool close =
        res->close || !ex->keep_alive || connection_ends_with(conn, ex) || !ex->body_ended || kind == BODY_UNTIL_CLOSE;
    Buf head = buf_new(req->ctx->arena, answer->lines.n + res->head.n + 512);
    buf_reserve(&head, answer->lines.n + res->head.n + 128);
    status_line(answer, &head);
    lines_pass(answer, &rules, &head);
    buf_add(&head, buf_str(&res->head));
    if (kind == BODY_CHUNKED && !rules.keeps_coding)
        buf_add(&head, STR("Transfer-Encoding: chunked\r\n"));
    if (close && kind != BODY_TUNNEL)
        buf_add(&head, STR("Connection: close\r\n"));
    buf_add(&head, STR("\r\n"));
    TRY(res->head.err);
    TRY(head.err);
    res->status = answer->status;
    res->streaming = true;
    res->close = close;
    ex->stream_open = true;
    ex->stream_kind = kind;
    ex->stream_left = answer->content_length;
    if (close)
        conn->final = true;
    return output_send(ex, buf_str(&head), (Str){NULL, 0});
}
