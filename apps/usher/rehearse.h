/*
 * rehearse.h - `usher rehearse`: a context's whole way to the new side and back, under load of our own, timed.
 *
 *   rehearse_check.c                       what must be so before anything is changed
 *   rehearse_requests.c, rehearse_file.c   what the load asks
 *   rehearse_ask.c                         one question, before there is a load
 *   rehearse_load.c                        a process that asks it, and counts; it also watches over us
 *   rehearse_steps.c                       the phases, by the same code as `usher cutover`
 *   rehearse_undo.c                        how the stage was before, in Postgres, and how it becomes so again
 *   rehearse_report.c                      what came of it
 */
#pragma once
#include "http/http.h"
#include "usher/cutover.h"

/* --- what is asked ------------------------------------------------------------------------------------------------ */

typedef struct LoadRequest {
    Str method, target, body; /* body absent: none */
    Str content_type;         /* of the body */
    bool writes;
    int status; /* of the first answer; 0: none yet */
} LoadRequest;

/** Requests that are asked as often as those of any other group: all of one route. */
typedef struct LoadGroup {
    size_t first, n;
} LoadGroup;

#define LOAD_REQUESTS_MAX  10000
#define LOAD_GROUPS_MAX    64
#define LOAD_ADDRESSES_MAX 64

typedef struct LoadPlan {
    const char *host;
    int port;
    Str authority;     /* of the Host field */
    Str url;           /* as shown */
    Str dial;          /* the same with what TLS needs to know, as upstream.h takes it */
    Str canary_key;    /* CANARY_KEY: what tells callers apart */
    int64_t rate;      /* requests a second, at most */
    int64_t clients;   /* requests in work at once, at most */
    int64_t addresses; /* so many of 127.0.0.0/8 it comes from; 1: as the system chooses */
    int64_t callers;   /* so many different ones, where the key can be ours to choose */
    LoadRequest *requests;
    size_t n;
    LoadGroup groups[LOAD_GROUPS_MAX];
    size_t group_n;
    Buf notes; /* one line each: what is not asked, what to know of the rest */
} LoadPlan;

/** The GET routes of the context, with ids learnt from the answers of lists. ERR_UNAVAILABLE: nobody answers there. */
MUST_USE Err load_plan_routes(Ctx *ctx, const CutoverTarget *target, LoadPlan *plan);
/** A file of lines `METHOD TARGET [BODY]`, or a recording of contracts/http. Only reads unless `writes`.
 *  ERR_SYNTAX with words: line and what is wrong with it. */
MUST_USE Err load_plan_file(Ctx *ctx, Str text, bool writes, LoadPlan *plan);
/** ERR_LIMIT: too many. */
MUST_USE Err load_plan_add(LoadPlan *plan, Ctx *ctx, const LoadRequest *request);
/** False: it could not stand in a request's first line. */
bool load_target_fits(Str target);

/** GET of the plan's gateway, in its own time; the answer lives in the arena. ERR_UNAVAILABLE: *ret_why says why there
 *  is no whole one, in a word. ERR_NO_MEMORY. */
MUST_USE Err load_ask(Arena *arena, const LoadPlan *plan, Str target, HttpAnswer *ret, const char **ret_why);

/* --- asking it ---------------------------------------------------------------------------------------------------- */

#define LOAD_PHASES_MAX    8
#define LOAD_BUCKETS       640 /* of microseconds: 16 for each power of two, so 6 % wide */
#define LOAD_COMPLAINTS    8
#define LOAD_COMPLAINT_MAX 160

/** What was seen of the requests that were sent in one phase; only grows. */
typedef struct LoadPhase {
    uint64_t begun;
    uint64_t requests;   /* that have ended */
    uint64_t failed;     /* no whole answer, 5xx, 429, or 4xx where there was none at first */
    uint64_t unanswered; /* of these: no whole answer */
    uint64_t unsent;     /* were due, but all clients were busy for more than a second */
    uint64_t writes;
    int64_t longest_us, longest_write_us;
    uint64_t buckets[LOAD_BUCKETS];
} LoadPhase;

/** Upper bound of the time within which so much (0..1) of the requests ended, in µs; 0: there were none. */
int64_t load_quantile_us(const LoadPhase *phase, double part);

typedef struct Load Load;

/** What the load's process does when we were killed. */
typedef struct LoadGuard {
    void (*orphaned)(void *data);
    int closed_fd; /* ours alone, to be closed there: the connection to Postgres */
    void *data;
} LoadGuard;

/** Forks the process. It begins with phase 0. ERR_NO_MEMORY, ERR_IO. */
MUST_USE Err load_start(const LoadPlan *plan, const LoadGuard *guard, Load **ret);
/** What is sent from now on belongs to this phase. */
void load_enter(Load *load, int phase);
void load_look(const Load *load, int phase, LoadPhase *ret);
/** Has every request of the phases before this one ended? */
bool load_has_ended_before(const Load *load, int phase);
/** A few of what failed; "" behind the last. */
const char *load_complaint(const Load *load, int i);
/** False: the process has died. */
bool load_lives(Load *load);
/** Ends it: no request is sent any more, those in work end. */
void load_end(Load *load);

/* --- the rehearsal ------------------------------------------------------------------------------------------------ */

typedef struct PhaseReport {
    const char *name;
    StageKind stage;
    int64_t began_ms, ended_ms;
    int64_t acted_ms; /* from the change until every worker acted on it; -1: no change */
    int64_t pause_ms; /* writers waited; -1: nobody had to */
    Gate gates[GATES_MAX];
    size_t gate_n; /* looked at in the end of the phase, before the next step */
} PhaseReport;

typedef enum RehearsalOutcome { REHEARSAL_PASSED, REHEARSAL_FAILED, REHEARSAL_INTERRUPTED } RehearsalOutcome;

#define REHEARSAL_PROBLEMS_MAX 16

typedef struct Rehearsal {
    Invocation *call;
    PGconn *conn; /* NULL or broken while Postgres is away */
    Settings settings;
    CutoverTarget target;
    GateLimits limits;
    LoadPlan plan;
    Load *load;
    int64_t phase_ms, gates_ms, pause_ms, percent, failures_max, slack;
    const char *force;          /* why, although gates cannot say yes; NULL: not */
    const char *breaks, *mends; /* commands; NULL: none */
    bool broken;                /* breaks was run, mends was not yet */
    CutoverStage before;
    CutoverStage now; /* as we left it */
    PhaseReport phases[LOAD_PHASES_MAX];
    int phase_n;
    int64_t stepped_back_ms; /* from the fault until the old side answered; -1: not tried, or it did not */
    RehearsalOutcome outcome;
    Str problems[REHEARSAL_PROBLEMS_MAX];
    size_t problem_n;
    const char *restored; /* what became of the stage in the end */
    bool is_restored;
} Rehearsal;

/** Says why it is not begun; the exit status. */
int rehearsal_refuse(Invocation *call, int status, const char *format, ...) PRINTF_LIKE(3, 4);
/** May it begin? Reads the plan on the way. 0, or the exit status, and why is printed. */
int rehearsal_check(Rehearsal *r);
/** One more reason why it has not passed. */
void rehearsal_problem(Rehearsal *r, const char *format, ...) PRINTF_LIKE(2, 3);
/** Waits; false when a signal asks us to end, or the load has died (and then it is a problem). */
bool rehearsal_wait(Rehearsal *r, int64_t ms);
/** False, and a problem: more requests have failed than may. */
bool rehearsal_clients_are_well(Rehearsal *r);
/** All phases up to the way back. What went wrong stands in the problems. */
void rehearsal_run(Rehearsal *r);
/** Runs a command of the operator's; false and a problem when it fails. */
bool rehearsal_command(Rehearsal *r, const char *option, const char *command);

/** Notes in Postgres how the stage is. ERR_CONFLICT: another rehearsal of this context is not over. */
MUST_USE Err rehearsal_note(Rehearsal *r);

typedef enum UndoResult {
    UNDO_NOTHING, /* there is no rehearsal */
    UNDO_AS_WAS,  /* nothing was to be done */
    UNDO_PUT_BACK,
    UNDO_NOT_OURS, /* somebody else has changed the stage since: it is left as they made it */
} UndoResult;
/** Puts the context's stage back as the note says, and takes the note away. */
MUST_USE Err rehearsal_undo(Invocation *call, PGconn *conn, const char *context, const char *why, UndoResult *ret);
/** The same, waiting for Postgres for a minute; connects anew where needed. */
void rehearsal_put_back(Rehearsal *r, const char *why);

/** Report to stdout: text, or JSON. */
void rehearsal_print(const Rehearsal *r);
