/*
 * head.h - the head of a request: from bytes to checked parts. Private to lib/http.
 *
 * Two steps. head_parse frames lines as bytes arrive and checks each line once, remembering offsets (so the buffer may
 * move). head_check then judges the whole: Host, framing, expectations. Both only ever say yes, more, or a status code.
 */
#pragma once
#include "http/http.h"

#define HEAD_FIELDS_MAX 128 /* HttpLimits.headers_count_max is cut to this */

typedef struct HeadField {
    uint32_t name, name_n, value, value_n; /* offsets from the start of the input */
} HeadField;

typedef enum HeadResult {
    HEAD_MORE,  /* nothing wrong yet */
    HEAD_DONE,  /* complete: parser->end bytes belong to it */
    HEAD_BAD,   /* parser->status is the answer; the connection cannot be read on */
    HEAD_SILENT /* an HTTP/2 preface: close without an answer */
} HeadResult;

typedef struct HeadParser {
    uint32_t line; /* where the line being read begins */
    uint32_t scan; /* no LF before this */
    uint32_t fields_start;
    uint32_t end;
    uint32_t method_n, target, target_n, start;
    int minor;
    int status;
    bool has_request_line;
    uint32_t field_count;
    HeadField fields[HEAD_FIELDS_MAX];
} HeadParser;

void head_reset(HeadParser *parser);
/** Looks at p[0..n), of which earlier calls have seen a prefix. */
HeadResult head_parse(HeadParser *parser, const HttpLimits *limits, const char *p, size_t n);

/** What the connection must know of a complete head. */
typedef struct HeadFacts {
    Method method;
    Str method_text, target, path, query;
    const char *allow; /* with status 405: the only method for that form of target */
    BodyKind body_kind;
    uint64_t content_length;
    bool expect_continue, keep_alive;
    int traceparents, tracestates, baggages; /* how many fields there are */
    Str traceparent, tracestate, baggage;    /* of several: the first; traceparent: the last */
} HeadFacts;

/** 0, or the status to refuse with. scratch takes the decoded path: at least target_n + 1 bytes. */
int head_check(const HeadParser *parser, const char *p, char *scratch, HeadFacts *ret);

Method method_of(Str text);
