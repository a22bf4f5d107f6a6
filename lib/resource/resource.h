/*
 * resource.h - a context is declared, not programmed.
 *
 * A resource is a C struct and const tables that say what it is (attributes, identities, indexes, checks,
 * relationships) and what may be done with it (actions, validations, policies). From the same tables come DDL and
 * migrations, prepared SQL, row ↔ struct conversion, the API surfaces and documents. What the compiler cannot see
 * (names in strings) resource_verify() checks at boot and in a unit test.
 *
 * Tables end with a zero row: {0}.
 */
#pragma once
#include "base/decimal.h"
#include "base/uuid.h"
#include "pg/pg.h"
#include "runtime/ctx.h"

/* --- attributes -------------------------------------------------------------------------------------------- */

typedef enum Type {
    TYPE_NONE,
    TYPE_BOOL,    /* bool       boolean                                                       */
    TYPE_INT16,   /* int16_t    smallint                                                      */
    TYPE_INT32,   /* int32_t    integer                                                       */
    TYPE_INT64,   /* int64_t    bigint                                                        */
    TYPE_TEXT,    /* Str        text COLLATE "C"; absent = NULL                               */
    TYPE_ID,      /* Id, OptId  uuid                                                          */
    TYPE_DECIMAL, /* Decimal    numeric (unbounded unless .precision is given)                */
    TYPE_INSTANT, /* Instant, OptInstant: two columns, see below                              */
    TYPE_JSON,    /* JsonText   jsonb                                                         */
} Type;

/* An Instant is stored losslessly in two columns: `name` timestamptz (cut to microseconds) and `name_fine` smallint =
 * offset_minutes * 10 + 100-ns digit. An attribute with .coarse = true has only the first (our own bookkeeping
 * times). */

typedef struct JsonText {
    Str text;
} JsonText;

#define TYPE_OF(member)                                                                                                \
    _Generic((member), bool                                                                                            \
             : TYPE_BOOL, int16_t                                                                                      \
             : TYPE_INT16, int32_t                                                                                     \
             : TYPE_INT32, int64_t                                                                                     \
             : TYPE_INT64, Str                                                                                         \
             : TYPE_TEXT, Id                                                                                           \
             : TYPE_ID, OptId                                                                                          \
             : TYPE_ID, Decimal                                                                                        \
             : TYPE_DECIMAL, Instant                                                                                   \
             : TYPE_INSTANT, OptInstant                                                                                \
             : TYPE_INSTANT, JsonText                                                                                  \
             : TYPE_JSON)
#define OPTIONAL_OF(member) _Generic((member), OptId : true, OptInstant : true, default : false)

typedef struct EnumValue {
    const char *name;
    int32_t number;
} EnumValue;

typedef struct Attribute {
    const char *name; /* column */
    Type type;
    size_t offset;
    bool optional;          /* struct member is an Opt*; also set for a nullable text or json */
    bool key;               /* part of the primary key */
    bool generated;         /* made by us when absent at create (Id: id_random) */
    bool required;          /* NOT NULL */
    bool coarse;            /* instant without its fine column */
    bool identity;          /* int64 GENERATED ALWAYS AS IDENTITY */
    int precision, scale;   /* numeric(precision, scale) */
    const char *references; /* resource of the same context; documentation and relationship checks, and a foreign key */
    const EnumValue *values;  /* names for numbers; ended by name == NULL */
    const char *default_sql;  /* DEFAULT expression */
    const char *stored_sql;   /* GENERATED ALWAYS AS (…) STORED: Postgres computes it from the row's other columns */
    const char *renamed_from; /* declares a rename to `usher migrate generate` */
    const char *legacy;       /* column of the old system */
    bool list;                /* Slice(Id) instead of one Id: arguments of actions only */
    const char *doc;
    char macro_end; /* of ATTR */
} Attribute;

/* The appended member lets ATTR(T, field) stand without further arguments: C17 wants one for the dots. */
#define ATTR(T, ...) ATTR_(T, __VA_ARGS__, .macro_end = 0)
#define ATTR_(T, field, ...)                                                                                           \
    {                                                                                                                  \
        .name = #field, .type = TYPE_OF(((T *)0)->field), .offset = offsetof(T, field),                                \
        .optional = OPTIONAL_OF(((T *)0)->field), __VA_ARGS__                                                          \
    }

/** An action's argument: ARGUMENT(TicketWish, user_id); of several ids ARGUMENT_LIST(TicketWish, ticket_ids). */
#define ARGUMENT(T, ...) ATTR(T, __VA_ARGS__)
#define ARGUMENT_LIST(T, field, ...)                                                                                   \
    { .name = #field, .type = TYPE_ID, .offset = offsetof(T, field), .list = true, __VA_ARGS__ }

/** A unique rule. hashed: through sha256 of the text, so that values may be longer than an index row. */
typedef struct Identity {
    const char *name;          /* constraint or index name */
    const char *attributes[4]; /* NULL-ended */
    bool hashed;
    const char *where; /* partial */
} Identity;

typedef struct Index {
    const char *name;
    const char *columns; /* SQL column list */
    const char *where;
    const char *method; /* NULL: btree */
} Index;

typedef struct Check {
    const char *name;
    const char *sql;
} Check;

typedef struct Relationship {
    const char *name;
    enum { BELONGS_TO = 1, HAS_MANY } kind;
    const char *resource;  /* of the same context */
    const char *attribute; /* ours for BELONGS_TO, theirs for HAS_MANY */
} Relationship;

/* --- actions ----------------------------------------------------------------------------------------------- */

typedef struct Resource Resource;
typedef struct Action Action;
typedef struct Set Set;

/** A message that an action leaves in its context's outbox, in the same commit. */
typedef struct Outgoing {
    Id id;
    uint8_t span_id[8]; /* of its span in the member's trace; zero: not sampled */
    int64_t began_ns;
    Str type;     /* MessageType name, e.g. "Integration.Events.Messaging:EventUpserted" */
    Id aggregate; /* order is kept per aggregate */
    Str payload;  /* JSON */
    struct Outgoing *next;
} Outgoing;

/** SHA-256 of a row's content: all its attributes as they are sent to the database. */
typedef struct Fingerprint {
    uint8_t bytes[32];
} Fingerprint;

struct Keep;

/** What a caller of action_run_with wants to hold inside the set's transaction. */
typedef struct Conditions {
    const Fingerprint *unchanged; /* the row must still have this content, seen under its lock */
    bool stale;                   /* out: it had not (the outcome is ERR_CONFLICT) */
    struct Keep *keep;            /* an idempotency key and the answer to store beside it (keep.h) */
} Conditions;

/** One request's part of a set. */
typedef struct Member {
    Ctx *ctx;                  /* the request's: problem goes here, memory of results too */
    void *input;               /* the resource's struct for create/update, the action's own input struct otherwise */
    void *result;              /* set by run where the action has one (in ctx's arena) */
    Err outcome;               /* ERR_OK until decided otherwise */
    Outgoing *outgoing;        /* written only when outcome is ERR_OK */
    struct Attached *attached; /* rows of a layer above in the same commit; written only when outcome is ERR_OK */
    Str detail; /* the database's words when the set failed: for logs and dead letters, never for clients */
    Wait wait;
    Conditions *conditions; /* NULL: none */
    struct Member *next;
} Member;

struct Set {
    const Resource *resource;
    const Action *action;
    Member **members; /* in order of arrival */
    size_t n;
    Ctx *ctx; /* the set's own: memory for statements and results; deadline */
};

typedef enum ActionKind { ACTION_READ = 1, ACTION_CREATE, ACTION_UPDATE, ACTION_DESTROY, ACTION_CUSTOM } ActionKind;

/** One rule over a member's input, checked before the action runs, in table order. Refusing: ctx_problem and its
 *  code. */
typedef struct Validation {
    const char *name;
    Err (*check)(Ctx *ctx, const void *input);
} Validation;

struct Action {
    const char *name;
    ActionKind kind;
    const char *doc;
    const char *accept[16]; /* attributes taken from input; NULL-ended; empty for create/update: all but the key */
    const Validation *validations;
    size_t input_size;          /* of the input struct; 0: the resource's */
    const Attribute *arguments; /* of the action's own input struct, for documents; may be NULL */
    /** Two actions whose key is equal may not share a set (two updates of one row). NULL: never clash. */
    Id (*clash_key)(const void *input);
    /**
     * Runs a whole set inside a transaction: decides each member's outcome, sends the writes. NULL: derived from kind.
     * The engine opens the transaction, calls run, then after() for members still ERR_OK, inserts their outbox rows and
     * commits in one flush; last writes should therefore be pg_tx_send, not pg_tx_query. Returning an error fails the
     * whole set: with ERR_RETRY it is run again; otherwise, when n > 1, each member is run again by itself. Outcomes
     * and outgoing are reset before each run.
     */
    CO_FN Err (*run)(PgTx *tx, Set *set);
    /** Appends messages with member_announce. Runs after `run`, or for derived actions before the statement (input is
     *  complete by then). */
    Err (*after)(const Action *action, Member *member);
    const char *conflict_message; /* problem message when an identity refuses a derived create/update */
    /** Takes the locks that run takes first, where those come before the row's own: a Conditions.unchanged locks rows
     *  before run, and two orders would be a deadlock. NULL: run begins with the rows. */
    CO_FN Err (*lock)(PgTx *tx, Set *set);
    bool needs_key; /* an Idempotency-Key must come with it on the JSON:API surface */
};

typedef struct Policy {
    const char *action; /* name, or "*" */
    const char *name;   /* shown in refusals and logs */
    bool (*allows)(const Ctx *ctx, const Action *action, const void *input);
} Policy;

/** What a role beside the context's own may do with the table: operators' tools have such roles. */
typedef struct Grant {
    const char *role;
    const char *privileges; /* "SELECT, INSERT" */
} Grant;

/** How the APIs show a resource. Copies show no collection of their own: they are the same thing, as another context
 *  remembers it, and serve the relationships that context declares. */
typedef enum ApiShow { API_HIDDEN, API_SHOWN, API_COPY } ApiShow;

struct Resource {
    const char *name;   /* "event" */
    const char *plural; /* "events": table and route segment */
    const char *schema; /* the context's */
    const char *doc;
    size_t size;
    const Attribute *attributes;
    const Identity *identities;
    const Index *indexes;
    const Check *checks;
    const Relationship *relationships;
    const Action *actions;
    const Policy *policies;
    const Grant *grants; /* may be NULL */
    const char *storage; /* WITH (…) parameters, e.g. "fillfactor=70" */
    /** Partitioned by LIST of this smallint attribute (part of the key), with a partition `plural_N` for each value N
     *  from 0 to partitions - 1. A partition can be emptied at once (the context's role may TRUNCATE it). */
    const char *partition_by;
    int partitions;
    ApiShow api;
    bool internal; /* engine tables (outbox, inbox): no actions, no policies needed */
    const char
        *seed_sql; /* rows that belong to the schema (INSERT … ON CONFLICT DO NOTHING), part of the first migration */
};

/** SQL of an embedded queries.sql entry; made by tools/embed-sql at build time. */
typedef struct Query {
    Statement statement;
    const char *returns; /* "many Ticket", "one", "exec": as written behind the name */
} Query;

/** One embedded migration file pair. */
typedef struct Migration {
    int version;
    const char *name;
    const char *up, *down;
    const char *snapshot; /* JSON of the declarations after it */
} Migration;

/** A bounded context: what apps/usher wires. Each context's front door exports one. */
typedef struct Context {
    const char *name;                 /* "events" */
    const char *schema;               /* Postgres schema */
    const char *role;                 /* least-privilege role */
    const char *database_env;         /* "EVENTS_DATABASE_URL" */
    const Resource *const *resources; /* NULL-ended; includes OUTBOX and INBOX of lib/bus where used */
    const Query *queries;             /* generated; ended by statement.name == NULL */
    const Migration *migrations;      /* generated; ended by name == NULL */
    const struct Route *routes;       /* ended by pattern == NULL */
} Context;

/* --- what the engine gives --------------------------------------------------------------------------------- */

/** A context at run time in one worker: its pool, its sets, its keyed reads. */
typedef struct Engine Engine;
MUST_USE Err engine_new(Loop *loop, const Context *context, PgPool *pool, Engine **ret);
void engine_free(Engine *engine);
PgPool *engine_pool(Engine *engine);
const Context *engine_context(Engine *engine);

/**
 * Runs an action for one member: policy, validations, then joins the set that forms in this turn and waits for its
 * outcome.
 * @input   of action->input_size (or the resource's struct); stays the caller's, read until the call returns
 * @result  may be NULL; receives Member.result
 * ERR_REFUSED, ERR_INVALID, ERR_NOT_FOUND, ERR_CONFLICT (ctx's problem says what); ERR_UNAVAILABLE, ERR_TIMEOUT,
 * ERR_LIMIT. Suspends. A set is one or two round trips.
 */
CO_FN Err action_run(Engine *engine, const Resource *resource, const char *name, Ctx *ctx, void *input,
                     void **result) MUST_USE;

/** As action_run, under conditions (may be NULL) that are checked inside the transaction. ERR_CONFLICT with
 *  conditions->stale, or with the keep's state, says which did not hold. */
CO_FN Err action_run_with(Engine *engine, const Resource *resource, const char *name, Ctx *ctx, void *input,
                          Conditions *conditions, void **result) MUST_USE;

/** What a row's content is known by. ERR_NO_MEMORY. */
MUST_USE Err resource_fingerprint(const Resource *resource, Arena *arena, const void *row, Fingerprint *ret);

/** The policy and the validations of an action for one input, as action_run checks them first. ERR_REFUSED, or what the
 *  first refusing validation says. */
MUST_USE Err action_check(const Resource *resource, const Action *action, Ctx *ctx, const void *input);
/** What every validation refuses (ERR_INVALID, ERR_CONFLICT) into at most `max` problems; returns how many. None when
 *  no policy allows the action: action_run says so. For surfaces that report all mistakes of a request at once. */
size_t action_refusals(const Resource *resource, const char *name, Ctx *ctx, const void *input, Problem *ret,
                       size_t max);

/**
 * Runs a ready-made set in one transaction, with `before` (may be NULL) first in it: the consumer writes its inbox rows
 * there. before may shorten the set it is given (a copy, made anew for each run); who is left out keeps ERR_OK. With a
 * `before`, a refused member takes no part in the commit: the set is run again without it, so that what before wrote
 * for it does not stay. Used by action_run itself and by lib/bus.
 *
 * ERR_OK: each member has its own outcome (which may be a failure). Otherwise the database was away, or time was up,
 * for all whose outcome is this error: ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_CANCELLED, and ERR_LIMIT or ERR_INTERNAL where
 * the server cannot serve anybody.
 */
typedef CO_FN Err (*SetBefore)(PgTx *tx, Set *set, void *data);
CO_FN Err set_run(Engine *engine, Set *set, SetBefore before, void *data) MUST_USE;

/** Get by key: all of one turn become one `= ANY($1)`. *ret (resource->size bytes, zeroed) in ctx's arena.
 *  ERR_NOT_FOUND. */
CO_FN Err resource_get(Engine *engine, const Resource *resource, Ctx *ctx, Id key, void **ret) MUST_USE;
/**
 * A read of the rows that have one key (the tickets of an event): all of one turn become one statement. Const data; its
 * address is its identity.
 */
typedef struct GroupRead {
    const Statement *statement; /* $1 uuid[]: the keys; rows of one key stand together */
    const char *key;            /* the column */
    /** Rows first … first+n-1 into the asker's arg. May not suspend; copies what it keeps: result ends with the
     *  batch. */
    Err (*take)(Ctx *ctx, const PgResult *result, int first, int n, void *arg);
} GroupRead;
/** take is called once, with n = 0 where no row has the key. What take fails with; otherwise as resource_get. */
CO_FN Err resource_group(Engine *engine, const GroupRead *read, Ctx *ctx, Id key, void *arg) MUST_USE;
/** Runs a read statement whose columns are the resource's (any order, by name) and decodes the rows into an array in
 *  ctx's arena. */
CO_FN Err resource_list(Engine *engine, const Resource *resource, Ctx *ctx, const Statement *statement,
                        const PgParams *params, void **ret_rows, size_t *ret_n) MUST_USE;

/**
 * The statement of that name over the context's own tables: {schema} in sql stands for the context's schema. Made the
 * first time and kept as long as the engine (a prepared statement is known by its address). ERR_NO_MEMORY.
 */
MUST_USE Err engine_statement(Engine *engine, const char *name, const char *sql, bool writes, const Statement **ret);
/** sql with the schema's name for each {schema}, NUL-terminated, in the arena. Absent: no memory. */
Str sql_with_schema(Arena *arena, const char *schema, Str sql);
/** The context's outbox among its resources, or NULL. */
const Resource *engine_outbox(Engine *engine);
/**
 * Waits until something was appended to the outbox since *seen (start with 0) by any process, at most most_ms; moves
 * *seen. May return early. ERR_CANCELLED.
 */
CO_FN Err engine_outbox_wait(Engine *engine, uint64_t *seen, int64_t most_ms) MUST_USE;

/** Begins what a layer above hangs on a member in the action's `run` or `after`, to be written in its commit: jobs. */
typedef struct Attached {
    struct Attached *next;
} Attached;
/** Sends (pg_tx_send) what is attached to the members that are well, in order of arrival. May not wait. An error fails
 *  the set. */
typedef Err (*AttachedWriter)(PgTx *tx, const Set *set, void *data);
void engine_attach(Engine *engine, AttachedWriter writer, void *data);
/** Appends to the member's attached. */
void member_attach(Member *member, Attached *attached);

/** Adds a message to the member's outgoing. Payload is borrowed from the member's arena. */
MUST_USE Err member_announce(Member *member, Str type, Id aggregate, Str payload);
/** Member's refusal: sets outcome and its ctx's problem. Returns code. */
Err member_refuse(Member *member, Err code, const char *field, const char *format, ...) PRINTF_LIKE(4, 5);

const Attribute *resource_attribute(const Resource *resource, const char *name);
const Action *resource_action(const Resource *resource, const char *name);
/** Appends one array parameter (two for lossless instants) holding this attribute of n structs: for `unnest`. */
void resource_add_array(PgParams *params, const Attribute *attribute, const void *const *structs, size_t n);
/** Appends one scalar parameter (two for lossless instants). */
void resource_add_value(PgParams *params, const Attribute *attribute, const void *object);
/** Decodes row `row` into `object` by column names (columns that are no attribute are ignored). */
MUST_USE Err resource_decode(const Resource *resource, const PgResult *result, int row, void *object);
/** Rows first … first+n-1 into an array of structs that begin with the resource's, `stride` bytes apart. */
MUST_USE Err resource_decode_rows(const Resource *resource, const PgResult *result, int first, int n, void *objects,
                                  size_t stride);
/** "id, event_name, start_date, start_date_fine, …": all columns, for queries and tests. */
void resource_columns(const Resource *resource, const char *prefix, Buf *out);

/** Checks a context's declarations (names in strings, table ends, policies covering actions, types, queries, …).
 *  Appends one sentence per mistake: what, where, what to do. Returns how many. */
size_t context_verify(const Context *context, Buf *mistakes);
/** Prepares every composed statement and every query on a migrated database and compares parameter and column types. */
size_t context_verify_database(Ctx *ctx, const Context *context, PGconn *conn, Buf *mistakes);
