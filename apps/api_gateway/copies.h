/*
 * copies.h - what a gateway worker hands to a shadow worker: one exchange as bytes, or a caller of something retired.
 */
#pragma once
#include "api_gateway/board.h"
#include "api_gateway/gateway.h"

typedef enum CopyKind { COPY_EXCHANGE = 1, COPY_CALLER } CopyKind;

/** One exchange, or (COPY_CALLER) only route and caller. Texts are borrowed from the record. */
typedef struct Copy {
    CopyKind kind;
    size_t route; /* of the board */
    BoardSide primary;
    int status;
    int64_t at_us; /* unix: when the request came */
    int64_t answer_ns;
    Str method, target;
    Str request_lines, answer_lines; /* "Name: value\n" each */
    Str body;                        /* of the answer */
    Str request_body;                /* of a write */
    Str sides[2];                    /* names of the upstreams that answer this route, by BOARD_LEGACY and BOARD_NEW */
    Str caller;
    Trace trace; /* of the gateway's own span; without state and baggage, which stand in the request's lines */
} Copy;

/** Appends the record. ERR_LIMIT: over the Buf's maximum. */
MUST_USE Err copy_write(Buf *out, const Copy *copy, const Header *request_headers, size_t request_n,
                        const Header *answer_headers, size_t answer_n);
/** The other way. ERR_SYNTAX: no record. */
MUST_USE Err copy_read(Str record, Copy *ret);
/** Lines as headers, in arena. */
MUST_USE Err copy_headers(Arena *arena, Str lines, const Header **ret, size_t *ret_n);
