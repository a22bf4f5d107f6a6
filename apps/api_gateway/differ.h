/*
 * differ.h - do two answers say the same?
 *
 *   answers of the old side (twice) and of the new → differences, each with its place, kind and verdict
 *
 * Compared are the status, chosen headers, and the body: JSON by its structure (numbers and instants exactly, by value;
 * lists in order or as sets, as the route's rule says), anything else byte by byte. What also differs between two
 * answers of the old side, in the same way at the same place, is noise. Ids that each side makes for itself are matched
 * by a learnt bijection (id_pairs.h). What somebody has expected, with a reason and until a date, is told apart.
 *
 * Values that are secret or personal are never in a Difference: see redact.h.
 */
#pragma once
#include "api_gateway/id_pairs.h"
#include "http/http.h"
#include "json/json.h"

/* How a difference shows. To add one: a row; judge it in differ.c. */
#define DIFFERENCE_KINDS(X)                                                                                            \
    X(DIFFERS_STATUS, "status")   /* another status; headers and body are still compared */                            \
    X(DIFFERS_ANSWER, "answer")   /* the new side gave no whole answer */                                              \
    X(DIFFERS_HEADER, "header")   /* another value, or on one side only */                                             \
    X(DIFFERS_BYTES, "bytes")     /* bodies that are not both JSON */                                                  \
    X(DIFFERS_VALUE, "value")     /* of the same type */                                                               \
    X(DIFFERS_TYPE, "type")       /* a string for a number, null for a string */                                       \
    X(DIFFERS_MISSING, "missing") /* the new side lacks a member or an element */                                      \
    X(DIFFERS_EXTRA, "extra")     /* the new side has one more */                                                      \
    X(DIFFERS_ID, "id")           /* an id that stands for another already, or may not differ */                       \
    X(DIFFERS_MESSAGE, "message") /* the new side would publish a message that the old side did not */
typedef enum DifferenceKind {
#define DIFFERENCE_ENUM(code, name) code,
    DIFFERENCE_KINDS(DIFFERENCE_ENUM)
#undef DIFFERENCE_ENUM
        DIFFERENCE_KIND_COUNT
} DifferenceKind;
const char *difference_kind_name(DifferenceKind kind);

/** One answer. status 0: there was none, and body says why in a word. */
typedef struct Answer {
    int status;
    const Header *headers;
    size_t header_count;
    Str body;
    Str effects; /* of a trial: what would have been written and published, JSON; absent: none was told */
} Answer;

/** How answers of one route are compared. */
typedef struct RouteRule {
    const char *route;         /* "GET /events/{id}"; NULL: the end */
    const JsonListRule *lists; /* NULL: all in order */
    const char *id_kind;       /* what a plain "Id" (and the id in Location) is here */
} RouteRule;
/** The rule of a route, or one without lists. */
const RouteRule *route_rule(Str route);

/** A difference that is wanted, for a reason and for a time. */
typedef struct ExpectedDifference {
    int64_t id;
    Str route;   /* "GET /events/{id}"; empty: any */
    Str pointer; /* as Difference.pointer, * for any one segment; absent: any place */
    Str kind;    /* name; empty: any */
    Str reason, owner;
    Instant expires_at;
} ExpectedDifference;

typedef struct Difference {
    DifferenceKind kind;
    Str pointer; /* the cause's place: an element of a list stands as *; a header's name; empty: the whole */
    Str place;   /* the very place: "/3/Price" */
    Str old_value, new_value; /* in a few words; redacted by rule */
    bool noise;
    const ExpectedDifference *expected; /* NULL: nobody expects it (any more) */
    struct Difference *next;
} Difference;

typedef struct Comparison {
    Difference *first;
    size_t n, noise, expected, real; /* n = noise + expected + real */
    IdPair *learnt;                  /* to be stored; NULL: none */
} Comparison;

typedef struct Differ {
    IdPairs *ids;
    const char *const *learn; /* kinds whose ids may differ; NULL-ended; NULL: none */
    const ExpectedDifference *expected;
    size_t expected_n;
    Instant now; /* expected ones that have expired by now count as real */
    bool tries;  /* the new answer is a trial's: nothing is learnt from what does not stay, and since the old side is
                  * not asked again, the traceId of a problem is known to be noise */
    const IdPair *made; /* what each side made: they stand for each other here and nowhere else; NULL: none */
} Differ;

#define DIFFERENCES_MAX 200 /* of one comparison; further ones are not looked for */

/**
 * Compares. @old_again  a second answer of the old side to the same request, for noise; NULL: none was asked for.
 * All of *ret lives in arena. ERR_NO_MEMORY; ERR_LIMIT: the arena's.
 */
MUST_USE Err differ_compare(Differ *differ, Arena *arena, Str route, const Answer *old_answer, const Answer *old_again,
                            const Answer *new_answer, Comparison *ret);
/** Compares a message that a trial would publish with the old side's (NULL: none was seen), and adds what differs to
 *  *comparison: places begin with "message TYPE". Errors of differ_compare. */
MUST_USE Err differ_message(Differ *differ, Arena *arena, Str route, Str type, const Json *old_message,
                            const Json *new_message, Comparison *comparison);
/** The id that an answer says was made: 201, with an id as its body or at the end of Location. */
bool answer_made(const Answer *answer, Id *ret);
/** True when both have the same real differences by place and kind: what did not go away by itself. */
bool comparison_same(const Comparison *a, const Comparison *b);
