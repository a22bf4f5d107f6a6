/*
 * copies.c - an exchange as bytes, for the ring.
 *
 * A fixed head with the lengths of the texts behind it. It never leaves the machine nor outlives the program, so it has
 * no version and is in the machine's own byte order; what is read is checked all the same.
 */
#include "api_gateway/copies.h"

enum { TEXTS = 9, HEADERS_MAX = 256 };

typedef struct CopyHead {
    uint32_t kind, route, primary, status;
    int64_t at_us, answer_ns;
    uint8_t trace_id[16], span_id[8];
    uint32_t trace_flags, lengths[TEXTS];
} CopyHead;

static void add_lines(Buf *out, const Header *headers, size_t n) {
    for (size_t i = 0; i < n; i++) {
        buf_add(out, headers[i].name);
        buf_add_c(out, ": ");
        buf_add(out, headers[i].value);
        buf_add_char(out, '\n');
    }
}

Err copy_write(Buf *out, const Copy *copy, const Header *request_headers, size_t request_n,
               const Header *answer_headers, size_t answer_n) {
    size_t at = out->n, mark;
    CopyHead head = {.kind = (uint32_t)copy->kind,
                     .route = (uint32_t)copy->route,
                     .primary = (uint32_t)copy->primary,
                     .status = (uint32_t)copy->status,
                     .at_us = copy->at_us,
                     .answer_ns = copy->answer_ns,
                     .trace_flags = copy->trace.flags,
                     .lengths = {(uint32_t)copy->method.n, (uint32_t)copy->target.n, 0, 0, (uint32_t)copy->body.n,
                                 (uint32_t)copy->caller.n, (uint32_t)copy->request_body.n, (uint32_t)copy->sides[0].n,
                                 (uint32_t)copy->sides[1].n}};
    memcpy(head.trace_id, copy->trace.trace_id, sizeof head.trace_id);
    memcpy(head.span_id, copy->trace.span_id, sizeof head.span_id);
    buf_add_bytes(out, &head, sizeof head);
    buf_add(out, copy->method);
    buf_add(out, copy->target);
    mark = out->n;
    add_lines(out, request_headers, request_n);
    head.lengths[2] = (uint32_t)(out->n - mark);
    mark = out->n;
    add_lines(out, answer_headers, answer_n);
    head.lengths[3] = (uint32_t)(out->n - mark);
    buf_add(out, copy->body);
    buf_add(out, copy->caller);
    buf_add(out, copy->request_body);
    buf_add(out, copy->sides[0]);
    buf_add(out, copy->sides[1]);
    if (out->err == ERR_OK)
        memcpy(out->p + at, &head, sizeof head);
    return out->err;
}

Err copy_read(Str record, Copy *ret) {
    CopyHead head;
    if (record.n < sizeof head)
        return ERR_SYNTAX;
    memcpy(&head, record.p, sizeof head);
    Str texts[TEXTS];
    size_t at = sizeof head;
    for (size_t i = 0; i < TEXTS; i++) {
        if (head.lengths[i] > record.n - at)
            return ERR_SYNTAX;
        texts[i] = (Str){record.p + at, head.lengths[i]};
        at += head.lengths[i];
    }
    if (at != record.n || head.route >= BOARD_ROUTES_MAX || head.primary > BOARD_NEW ||
        (head.kind != COPY_EXCHANGE && head.kind != COPY_CALLER))
        return ERR_SYNTAX;
    *ret = (Copy){.kind = (CopyKind)head.kind,
                  .route = head.route,
                  .primary = (BoardSide)head.primary,
                  .status = (int)head.status,
                  .at_us = head.at_us,
                  .answer_ns = head.answer_ns,
                  .method = texts[0],
                  .target = texts[1],
                  .request_lines = texts[2],
                  .answer_lines = texts[3],
                  .body = texts[4],
                  .caller = texts[5],
                  .request_body = texts[6],
                  .sides = {texts[7], texts[8]},
                  .trace = {.flags = (uint8_t)head.trace_flags}};
    memcpy(ret->trace.trace_id, head.trace_id, sizeof head.trace_id);
    memcpy(ret->trace.span_id, head.span_id, sizeof head.span_id);
    return ERR_OK;
}

Err copy_headers(Arena *arena, Str lines, const Header **ret, size_t *ret_n) {
    size_t n = 0, most = 1;
    for (size_t i = 0; i < lines.n; i++)
        most += lines.p[i] == '\n';
    most = MIN_OF(most, (size_t)HEADERS_MAX);
    Header *headers = ARENA_ARRAY(arena, Header, most);
    if (headers == NULL)
        return ERR_NO_MEMORY;
    while (lines.n > 0 && n < most) {
        Str line = str_cut(&lines, '\n'), value = line, name = str_cut(&value, ':');
        headers[n++] = (Header){name, value.p == NULL ? STR("") : str_trim(value, " ")};
    }
    *ret = headers;
    *ret_n = n;
    return ERR_OK;
}
