/*
 * replay.h - recorded conversations against a live server.
 *
 * The rules of comparison are those of the recordings' own README: status, body text after ids captured from this
 * server's answers stand in the place of the recorded ones, and the headers a client can see. Not compared: Date,
 * Server, framing, header order, reason phrase, HTTP version; trace ids by form only. A list without a defined order is
 * sorted by its recorded key first.
 */
#pragma once
#include "http/client.h"
#include "json/json.h"

/** recorded id → this server's id, in order of capture. */
typedef struct Ids {
    Str *from, *to;
    size_t n, capacity;
} Ids;

/** Text with every captured id replaced, in each spelling a GUID is recorded in (lower, upper, without dashes). */
MUST_USE Err ids_swap(const Ids *ids, Arena *arena, Str text, Str *ret);
/** Remembers (or renews) one pair; what is longer than any id is passed over. ERR_NO_MEMORY. */
MUST_USE Err ids_put(Ids *ids, Arena *arena, Str from, Str to);
/** The value in this answer that stands where the recorded one stood; absent when there is none. */
Str capture_value(Arena *arena, const Json *capture, const HttpAnswer *got);

/** Adds what the recording's captures say of this exchange, taken from this answer. ERR_NO_MEMORY. */
MUST_USE Err replay_captures(Arena *arena, const Json *captures, int64_t index, const HttpAnswer *got, Ids *ids);

/** What is to be compared: recorded, with ids already swapped. */
typedef struct Expected {
    int status; /* 0: no answer, the connection was closed */
    const Header *headers;
    size_t header_count;
    Str body;
    Str unordered_by; /* absent: order matters */
} Expected;

/** The whole of a recording file. ERR_SYNTAX: it is none, the problem says why; ERR_NO_MEMORY. */
MUST_USE Err replay_parse(Ctx *ctx, const char *path, Str text, const Json **ret);
/** What an exchange of it expects. ERR_NO_MEMORY, ERR_LIMIT: swapped ids made it too large. */
MUST_USE Err replay_expected(Arena *arena, const Ids *ids, const Json *exchange, Expected *ret);

/** Appends one line per difference. Returns how many. */
MUST_USE Err replay_compare(Arena *arena, const Expected *want, const HttpAnswer *got, Buf *out, size_t *ret_n);

/** The bytes of one recorded request. */
MUST_USE Err replay_request_bytes(Arena *arena, const Ids *ids, const Json *request, Str *ret);

typedef struct ReplayDifference {
    Str scenario;
    int64_t exchange;
    Str note, request, lines;
    struct ReplayDifference *next;
} ReplayDifference;

typedef struct ReplayTarget {
    HttpTarget server;     /* without a host nothing is sent, only `before` is told */
    int64_t settle_ms;     /* how long a GET behind a message may take to become equal */
    int64_t pause_ms;      /* how long to wait where the recorder waited for messages */
    int64_t speed_percent; /* of the recorded pace (at_ms); 0: without pauses */
    /** Told each exchange that was compared; may be NULL. */
    void (*compared)(void *data, int64_t exchange, const Json *request);
    /** Told each exchange before it is sent, with the ids known so far; may be NULL. An error ends the replay. */
    Err (*before)(void *data, Arena *arena, const Ids *ids, const Json *captures, int64_t index, const Json *exchange);
    void *data;
} ReplayTarget;

typedef struct ReplayResult {
    Str name;
    size_t exchanges, differing;
    ReplayDifference *first, **last;
} ReplayResult;

/** A target with the usual times from a URL (http_target_read); replay_target_done behind it. ERR_INVALID: the problem
 *  names the option. */
MUST_USE Err replay_target(Ctx *ctx, const char *option, Str url, ReplayTarget *ret);
void replay_target_done(ReplayTarget *target);
/** Replays one recording file. ERR_IO: no connection; ERR_SYNTAX: not a recording. */
MUST_USE Err replay_scenario(Ctx *ctx, const char *path, const ReplayTarget *target, ReplayResult *ret);
