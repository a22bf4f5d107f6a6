/*
 * request.c - looking things up in a request.
 */
#include "http/connection.h"

Str request_client_subject(const Request *req) {
    const HttpConnection *conn = req->connection;
    return conn->tls == NULL ? (Str){NULL, 0} : tls_peer_subject(conn->tls, req->ctx->arena);
}

Str request_header(const Request *req, const char *name) {
    Str wanted = str_c(name);
    for (size_t i = 0; i < req->header_count; i++) {
        if (req->headers[i].name.n == wanted.n && str_eq_nocase(req->headers[i].name, wanted))
            return req->headers[i].value;
    }
    return (Str){NULL, 0};
}

size_t request_header_count(const Request *req, const char *name) {
    Str wanted = str_c(name);
    size_t count = 0;
    for (size_t i = 0; i < req->header_count; i++)
        count += req->headers[i].name.n == wanted.n && str_eq_nocase(req->headers[i].name, wanted);
    return count;
}
