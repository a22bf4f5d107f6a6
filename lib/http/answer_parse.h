/*
 * answer_parse.h - the head of an upstream's answer: from bytes to checked parts. Private to lib/http.
 */
#pragma once
#include "http/http.h"

/* Zeroed is the beginning. Offsets, so that the buffer may move between calls. */
typedef struct AnswerScan {
    uint32_t at;    /* where the line being looked for begins */
    uint32_t lines; /* complete ones so far, the status line included */
    uint32_t end;   /* bytes of the whole head, once it is there */
} AnswerScan;

typedef enum AnswerResult { ANSWER_MORE, ANSWER_DONE, ANSWER_BAD, ANSWER_TOO_LARGE } AnswerResult;

/** Looks whether p[0..n), of which earlier calls have seen a prefix, holds a whole head of at most head_max bytes. */
AnswerResult answer_scan(AnswerScan *scan, const char *p, size_t n, size_t head_max);

/* What was asked decides what an answer may be. */
typedef struct AnswerAsked {
    bool head_only, upgrade;
} AnswerAsked;

/** The parts of a head that answer_scan has found; copied into the arena once. *ret_keeps: the connection may be used
 *  again when the body has been read. ERR_SYNTAX: it is no answer, or in doubt where it ends; ERR_NO_MEMORY. */
MUST_USE Err answer_parse(const AnswerScan *scan, const char *p, AnswerAsked asked, Arena *arena, UpstreamAnswer *ret,
                          bool *ret_keeps);
