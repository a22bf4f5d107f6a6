/*
 * board.h - the memory that gateway workers and shadow workers share, mapped before the first fork.
 *
 *   gateway worker   reads the stages; counts its traffic; puts copies of exchanges into its ring
 *   shadow worker 0  writes the stages (as Postgres tells them); reads all counts
 *   shadow worker n  takes the copies of its rings
 *
 * Nobody waits for anybody: counts have one writer each, rings one writer and one reader, the stages a version that odd
 * numbers mark as being written. A worker that dies leaves nothing locked; what it had begun to put is not yet visible,
 * and what it had taken is gone with it, so that a copy that kills its reader kills it once.
 */
#pragma once
#include "api_gateway/stages.h"
#include "base/buf.h"
#include "base/uuid.h"

#define BOARD_ROUTES_MAX  128
#define BOARD_WORKERS_MAX 64

/** BOARD_MIRROR: the other side as asked by the shadow worker; BOARD_TRIAL: writes as tried, and only those that came
 *  to an answer. */
typedef enum BoardSide { BOARD_LEGACY, BOARD_NEW, BOARD_MIRROR, BOARD_TRIAL, BOARD_SIDES } BoardSide;
const char *board_side_name(BoardSide side);

/** Bounds of the time to an answer's head, ns; the last bucket is above all. */
#define TRAFFIC_BUCKETS 16
extern const int64_t TRAFFIC_BOUNDS[TRAFFIC_BUCKETS - 1];

/** One route on one side in one worker; only grows. */
typedef struct Traffic {
    uint64_t requests, errors, ns_sum;
    uint64_t buckets[TRAFFIC_BUCKETS];
} Traffic;

/* Why a copy was not compared. */
#define SKIP_REASONS(X)                                                                                                \
    X(SKIP_SAMPLE, "not_sampled")                                                                                      \
    X(SKIP_FULL, "queue_full")                                                                                         \
    X(SKIP_LARGE, "too_large")                                                                                         \
    X(SKIP_ENCODED, "encoded")       /* a compressed body */                                                           \
    X(SKIP_BROKEN, "no_answer")      /* the primary gave none: nothing to compare with */                              \
    X(SKIP_RECHECK, "recheck")       /* too many wait for their second look */                                         \
    X(SKIP_CANNOT, "cannot")         /* no memory, or over the differ's limits */                                      \
    X(SKIP_NOT_TRIED, "not_tried")   /* the trial's answer is 503: Postgres away, a lock not had, too slow */          \
    X(SKIP_NO_TRIAL, "no_trial")     /* no process for trials, or it gave no whole answer */                           \
    X(SKIP_OWN_RESULT, "own_result") /* a create met what the old side had made of it */
typedef enum SkipReason {
#define SKIP_ENUM(code, name) code,
    SKIP_REASONS(SKIP_ENUM)
#undef SKIP_ENUM
        SKIP_COUNT
} SkipReason;
const char *skip_reason_name(SkipReason reason);

/** A route as the gateway knows it: fixed before the first fork. */
typedef struct BoardRoute {
    char label[STAGE_ROUTE_MAX]; /* "GET /events/{id}"; the first is "other" */
    char context[STAGE_CONTEXT_MAX];
    uint8_t part;
} BoardRoute;

typedef struct Board Board;

typedef struct BoardOptions {
    const BoardRoute *routes;
    size_t route_n;
    size_t gateways, shadows; /* workers */
    size_t ring_bytes;        /* of each gateway worker; made a power of two */
} BoardOptions;

/** ERR_LIMIT: more routes or workers than the maxima; ERR_NO_MEMORY. */
MUST_USE Err board_new(const BoardOptions *options, Board **ret);
void board_free(Board *board);
const BoardRoute *board_route(const Board *board, size_t route);
size_t board_route_count(const Board *board);
size_t board_gateways(const Board *board);
/** What this gateway is known by in Postgres, as long as it runs. */
Id board_id(const Board *board);
size_t board_shadows(const Board *board);

/* --- stages ------------------------------------------------------------------------------------------------------- */

/** Grows when the stages change. 0: none were ever known. */
uint64_t board_version(const Board *board);
/** Copies them when they are not `*version` already. True: copied, and *version is theirs; false: *ret may be
 *  anything. */
bool board_stages(const Board *board, uint64_t *version, StageTable *ret);
void board_stages_put(Board *board, const StageTable *table);

/* --- one gateway worker ------------------------------------------------------------------------------------------- */

/** Takes the worker's place: nothing of the one before is in work any more. */
void board_attach(Board *board, size_t worker);
void board_detach(Board *board, size_t worker);
/** A request begins on a side, or ends there: what a switch of writes waits for. */
void board_begin(Board *board, size_t worker, size_t route, BoardSide side);
void board_end(Board *board, size_t worker, size_t route, BoardSide side, bool error, int64_t ns);
void board_skipped(Board *board, size_t worker, size_t route, SkipReason reason);
/** The worker goes by this version of the stages from now on. */
void board_adopted(Board *board, size_t worker, uint64_t version);
/** False: no room, and nobody waits for any. Wakes nobody. */
bool board_put(Board *board, size_t worker, Str record);
/** The shadow worker of this worker's ring sleeps, though there may be copies: board_wake, now or soon. */
bool board_sleeps(const Board *board, size_t worker);
/** Wakes it, if it sleeps. */
void board_wake(Board *board, size_t worker);
bool board_half_full(const Board *board, size_t worker);

/* --- shadow workers ----------------------------------------------------------------------------------------------- */

/** Readable when there may be copies for this shadow worker. */
int board_wake_fd(const Board *board, size_t shadow);
/** Says that this shadow worker is about to wait for its fd; false: there is something already. */
bool board_sleep(Board *board, size_t shadow);
/** Takes the oldest copy of one of its rings into the Buf. It is off the ring before it is looked at. False: none, or
 *  no memory for it (then it is gone, and *ret_lost is true). */
bool board_take(Board *board, size_t shadow, Buf *ret, bool *ret_lost);
/** For the shadow worker's own traffic (BOARD_MIRROR) and skips: a slot behind those of the gateways. */
size_t board_shadow_slot(const Board *board, size_t shadow);

/** All workers together. */
void board_traffic(const Board *board, size_t route, BoardSide side, Traffic *ret);
uint64_t board_skips(const Board *board, size_t route, SkipReason reason);
/** True when every live gateway worker goes by `version` or a later one, and none has a request of this context's part
 *  (and route, unless empty) in work on that side. */
bool board_quiet(const Board *board, uint64_t version, Str context, StagePart part, Str route, BoardSide side);
/** True when every live gateway worker goes by the stages as they are. */
bool board_followed(const Board *board);
size_t board_attached(const Board *board);
