/*
 * engine_internal.h - what engine.c, action.c, set.c, derived.c and keyed.c share; nobody else includes it.
 *
 * An Engine is one context in one worker. Everything it owns lives in its arena, made once by engine_new. What comes
 * and goes with requests lives on the waiting coroutines' own stacks (Joined, Get) and is only linked here.
 */
#pragma once
#include "base/map.h"
#include "resource/compose.h"
#include "resource/tracing.h"
#include "resource/trial.h"

/* A set's members at most: past a few hundred rows a statement gains nothing, and a commit must not starve the other
 * actions. */
#define SET_MEMBERS_MAX 512
/* How far a forming set looks behind members that clash. */
#define SET_SCAN_MAX 4096
/* How long a set may take when no member brings a deadline. */
#define SET_DEADLINE_MS 30000
/* Memory of one run of a set: parameters and what `run` allocates. */
#define SET_ARENA_BYTES (256u * 1024 * 1024)
/* Keys of one keyed read. */
#define KEYED_MAX 512
/* Keys of one grouped read: each may have many rows, and libpq collects an answer whole. */
#define GROUPED_MAX 16
/* Keyed or grouped reads of one kind on their way: one that Postgres works on, one that it finds when it is done. */
#define READS_AHEAD 2

typedef struct ActionQueue ActionQueue;

/** A member that waits; on its coroutine's stack. */
typedef struct Joined {
    Member member;
    Id clash;
    bool clashes; /* clash is set */
    bool taken;   /* by a set: it may not leave before it is decided */
    bool decided;
    struct Joined *prev, *next;
} Joined;

/** Who waits for one action, in order of arrival. */
struct ActionQueue {
    Engine *engine;
    const Resource *resource;
    const Action *action;
    Statement derived; /* sql NULL: the action has a run of its own, or only reads */
    Joined *first, *last;
    ActionQueue *next_ready; /* ring of queues with somebody waiting */
    bool ready;
};

typedef struct KeyedQueue KeyedQueue;

/** One asker of resource_get or resource_group; on its coroutine's stack. */
typedef struct Get {
    Id key;
    Ctx *ctx;
    void *row; /* resource_get: the answer */
    void *arg; /* resource_group: of take */
    Err outcome;
    bool decided;
    Wait wait;
    struct GetList *in;
    struct Get *prev, *next;
} Get;

typedef struct GetList {
    Get *first, *last;
    size_t n;
} GetList;

struct KeyedQueue {
    Engine *engine;
    const Resource *resource; /* NULL: a grouped read */
    const GroupRead *group;
    KeyedQueue *next; /* among the grouped, which are made when first asked */
    Statement own;    /* of a resource */
    const Statement *statement;
    const char *key;
    const Action *read; /* whose policy resource_get asks; may be NULL */
    GetList waiting;
    size_t running; /* batches on their way */
};

/** What the engine did so far: for metrics and tests. */
typedef struct EngineStats {
    uint64_t sets, members, reruns; /* sets run, members in them, members run again by themselves */
    uint64_t reads, gets;           /* keyed statements, askers answered by them */
} EngineStats;

/* Made by engine_statement. */
typedef struct ExtraStatement {
    Statement statement;
    struct ExtraStatement *next;
} ExtraStatement;

/* One who waits for the outbox; on its coroutine's stack. */
typedef struct OutboxWaiter {
    Wait wait;
    struct OutboxWaiter *next;
} OutboxWaiter;

struct Engine {
    Arena *arena;
    Loop *loop;
    const Context *context;
    PgPool *pool;
    TurnHook hook;
    ActionQueue *actions;
    size_t n_actions;
    ActionQueue *ready_first, *ready_last;
    KeyedQueue *keyed;
    size_t n_keyed;
    KeyedQueue *grouped;
    bool set_running, closed;
    size_t reads_running;
    Joined *taken[SET_MEMBERS_MAX]; /* of the running set */
    Member *members[SET_MEMBERS_MAX];
    size_t n_taken;
    const Resource *outbox;
    Statement outbox_append;
    ExtraStatement *extras;
    const char *outbox_channel;
    AttachedWriter attached_writer; /* NULL: nobody attaches */
    void *attached_data;
    TrialTold trial_told; /* NULL: this is no trial */
    void *trial_data;
    struct ListCache *lists; /* list.c */
    bool listening;
    uint64_t outbox_appends;
    OutboxWaiter *outbox_waiters;
    EngineStats stats;
};

EngineStats engine_stats(const Engine *engine);

/* action.c: the queues. */
ActionQueue *engine_queue(Engine *engine, const Action *action);
void engine_start_set(Engine *engine);
/** The action's .conflict_message, or the standard words. */
void member_refuse_conflict(Member *member, const Resource *resource, const Action *action);
/** A refusal that names the policies asked, or ERR_OK. */
MUST_USE Err action_allow(const Resource *resource, const Action *action, Ctx *ctx, const void *input);

/* keyed.c */
void engine_start_reads(Engine *engine);

/* derived.c: create, update and destroy as declared, with their messages. commit: the COMMIT goes along, nothing
 * follows. */
CO_FN Err derived_run(Engine *engine, PgTx *tx, Set *set, bool commit) MUST_USE;

/* conditions.c: drops the members whose conditions do not hold, their outcome set. */
CO_FN Err conditions_check(Engine *engine, PgTx *tx, Set *set) MUST_USE;
/* keep.c: looks up the keys of a set and drops who is answered already; stores the answers of those still well. */
bool keeps_any(const Set *set);
CO_FN Err keeps_look(Engine *engine, PgTx *tx, Set *set) MUST_USE;
CO_FN Err keeps_store(Engine *engine, PgTx *tx, Set *set) MUST_USE;

/* trial.c: around a set of one, in its transaction. */
typedef struct TrialCounts {
    struct TrialTable *tables;
    size_t n;
} TrialCounts;
CO_FN Err trial_begin(PgTx *tx, const Set *set, TrialCounts *ret) MUST_USE;
CO_FN Err trial_end(Engine *engine, PgTx *tx, const Set *set, const TrialCounts *before) MUST_USE;

/* set.c */
/** Gives a member a failure that is not its own doing; words for clients by code, `detail` for the log. */
void member_fail(Member *member, Err err, Str detail);
