/*
 * derived.c - create, update and destroy as the declarations say, a set in one statement.
 *
 * The statement (compose.h) writes all rows, appends the messages of those it wrote and wakes the relay; with the
 * COMMIT in its flush a set is one round trip. Its answer lists the rows it wrote: a created row that is missing was
 * refused by an identity, an updated or destroyed one was not there. Both are outcomes of one member and leave the
 * others alone.
 */
#include "resource/engine_internal.h"

/* Messages are made before the statement: they travel in it, joined to the rows that are really written. */
static void announce_before(Set *set) {
    for (size_t i = 0; set->action->after != NULL && i < set->n; i++) {
        Member *member = set->members[i];
        Err err = set->action->after(set->action, member);
        if (err == ERR_OK || member->outcome != ERR_OK)
            continue;
        if (member->ctx->problem.code == err)
            member->outcome = err; /* it said why */
        else
            member_fail(member, err, (Str){NULL, 0});
    }
}

static size_t count_well(const Set *set) {
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++)
        n += set->members[i]->outcome == ERR_OK;
    return n;
}

static bool any_attached(const Set *set) {
    for (size_t i = 0; i < set->n; i++)
        if (set->members[i]->attached != NULL)
            return true;
    return false;
}

static void refuse_unwritten(const Set *set, Member *member) {
    const Action *action = set->action;
    if (action->kind != ACTION_CREATE) {
        (void)member_refuse(member, ERR_NOT_FOUND, NULL, "This %s does not exist.", set->resource->name);
        return;
    }
    member_refuse_conflict(member, set->resource, action);
}

/* Who waits for which key: open addressing, twice as many slots as members. Made before the statement leaves, because
 * once its commit is done nothing may be left that can fail. */
typedef struct Expected {
    struct {
        Member *member;
        bool written;
    } * slots;
    size_t n;
} Expected;

static Str key_bytes(const Id *key) {
    return (Str){(const char *)key->bytes, sizeof key->bytes};
}

static Err expect_all(const Set *set, Expected *ret) {
    ret->n = set->n * 2;
    ret->slots = arena_alloc_array(set->ctx->arena, ret->n, sizeof *ret->slots);
    if (ret->slots == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < set->n; i++) {
        Member *member = set->members[i];
        if (member->outcome != ERR_OK)
            continue;
        Id key = resource_key_of(set->resource, member->input);
        size_t at = (size_t)str_hash(key_bytes(&key)) % ret->n;
        while (ret->slots[at].member != NULL)
            at = (at + 1) % ret->n;
        ret->slots[at].member = member;
    }
    return ERR_OK;
}

/* A written row is the outcome of whoever brought its key; where several brought it to a create, of the first. */
static void mark_written(const Set *set, Expected *expected, Id key) {
    for (size_t at = (size_t)str_hash(key_bytes(&key)) % expected->n; expected->slots[at].member != NULL;
         at = (at + 1) % expected->n) {
        Id its = resource_key_of(set->resource, expected->slots[at].member->input);
        if (!id_eq(its, key) || expected->slots[at].written)
            continue;
        expected->slots[at].written = true;
        if (set->action->kind == ACTION_CREATE)
            return;
    }
}

static void settle(const Set *set, const PgResult *result, Expected *expected) {
    for (int row = 0; row < result->rows; row++)
        mark_written(set, expected, pg_id(result, row, 0));
    for (size_t at = 0; at < expected->n; at++) {
        Member *member = expected->slots[at].member;
        if (member == NULL)
            continue;
        member->result = member->input;
        if (!expected->slots[at].written)
            refuse_unwritten(set, member);
    }
}

CO_FN Err derived_run(Engine *engine, PgTx *tx, Set *set, bool commit) {
    PgParams params;
    PgResult result;
    Expected expected;
    ActionQueue *queue = engine_queue(engine, set->action);
    ASSERT(queue != NULL && queue->derived.sql != NULL);
    announce_before(set);
    if (count_well(set) == 0)
        return ERR_OK;
    TRY(expect_all(set, &expected));
    pg_params_init(&params, set->ctx->arena);
    TRY(compose_bind(&params, engine_context(engine), set));
    if (commit && !any_attached(set)) /* those wait for the answer: whose row was written */
        TRY(pg_tx_query_commit(tx, &queue->derived, &params, &result));
    else
        TRY(pg_tx_query(tx, &queue->derived, &params, &result));
    settle(set, &result, &expected);
    return ERR_OK;
}
