/*
 * set.c - one set, one transaction; and what becomes of its members when that fails.
 *
 * A run of a set: before, the action, the messages of those members that are still well, commit in the same flush. What
 * fails as a whole is taken apart: a serialization failure or deadlock is run again as it is (pg_transaction does
 * that); a failure that may be one member's doing sends each by itself, in order of arrival; a database that is away is
 * everybody's outcome at once.
 *
 * Each run works on copies: of the array of members (before may shorten it) and of the ctx (with memory of its own that
 * is given back between runs), so that the n-th run finds what the first found.
 */
#include "resource/engine_internal.h"

typedef struct SetRun {
    Engine *engine;
    Set set; /* who is still to be decided */
    SetBefore before;
    void *data;
    Arena *scratch;
    Ctx ctx;      /* the run's: scratch for memory */
    bool refused; /* the run ended because a member was refused under `before` */
} SetRun;

/* --- outcomes ----------------------------------------------------------------------------------------------------- */

static const char *words_of(Err err) {
    switch (err) {
    case ERR_CONFLICT:
        return "The present state does not allow it.";
    case ERR_INVALID:
        return "A value does not fit.";
    case ERR_NOT_FOUND:
        return "It does not exist.";
    case ERR_UNAVAILABLE:
        return "The database is away; try again.";
    case ERR_TIMEOUT:
        return "It took too long.";
    case ERR_LIMIT:
    case ERR_NO_MEMORY:
        return "It is too much at once.";
    default:
        return "An unexpected error occurred.";
    }
}

void member_fail(Member *member, Err err, Str detail) {
    /* Retried as often as is sensible: for the client this is a server too busy, not a reason to give up. */
    if (err == ERR_RETRY)
        err = ERR_UNAVAILABLE;
    member->outcome = err;
    member->outgoing = NULL;
    member->attached = NULL;
    member->ctx->problem = (Problem){0};
    (void)ctx_problem(member->ctx, err, NULL, "%s", words_of(err));
    if (detail.p != NULL)
        member->detail = arena_str(member->ctx->arena, detail);
}

static void run_fail_all(SetRun *run, Err err, size_t from) {
    Str detail = run->set.ctx->problem.message;
    for (size_t i = from; i < run->set.n; i++) {
        Member *member = run->set.members[i];
        member_fail(member, err, detail);
        if (err == ERR_CONFLICT && run->set.action->conflict_message != NULL)
            member_refuse_conflict(member, run->set.resource, run->set.action);
    }
}

/* Would running the members by themselves only repeat it? Then it is nobody's own doing: the server is away, full (53)
 * or does not know our tables (42), or our time is up. */
static bool concerns_all(Err err) {
    if (err == ERR_UNAVAILABLE || err == ERR_TIMEOUT || err == ERR_CANCELLED)
        return true;
    if (err != ERR_LIMIT && err != ERR_INTERNAL)
        return false;
    const char *state = pg_sqlstate();
    return strncmp(state, "53", 2) == 0 || strncmp(state, "42", 2) == 0;
}

static bool any_refused(const Set *set) {
    for (size_t i = 0; i < set->n; i++)
        if (set->members[i]->outcome != ERR_OK)
            return true;
    return false;
}

static bool any_outgoing(const Set *set) {
    for (size_t i = 0; i < set->n; i++)
        if (set->members[i]->outcome == ERR_OK && set->members[i]->outgoing != NULL)
            return true;
    return false;
}

/* --- one run ------------------------------------------------------------------------------------------------------ */

/* What `after` cannot say fails the set: a write without its message must not be committed. */
static Err announce_all(Set *set) {
    if (set->action->after == NULL)
        return ERR_OK;
    for (size_t i = 0; i < set->n; i++)
        if (set->members[i]->outcome == ERR_OK)
            TRY(set->action->after(set->action, set->members[i]));
    return ERR_OK;
}

static bool any_attached(const Set *set) {
    for (size_t i = 0; i < set->n; i++)
        if (set->members[i]->outcome == ERR_OK && set->members[i]->attached != NULL)
            return true;
    return false;
}

/* Messages, then what is attached: one order for all writers. The last statement takes the COMMIT along, where it
 * may. */
CO_FN static Err write_rest(SetRun *run, PgTx *tx, const Set *set) {
    Engine *engine = run->engine;
    bool attached = any_attached(set);
    PgParams params;
    PgResult result;
    if (set->action->run != NULL && any_outgoing(set)) {
        ASSERT(engine->outbox != NULL);
        pg_params_init(&params, set->ctx->arena);
        compose_outbox_bind(&params, set);
        if (params.data.err != ERR_OK)
            return params.data.err;
        if (!attached && engine->trial_told == NULL)
            return pg_tx_query_commit(tx, &engine->outbox_append, &params, &result);
        pg_tx_send(tx, &engine->outbox_append, &params);
    }
    ASSERT(!attached || engine->attached_writer != NULL);
    return attached ? engine->attached_writer(tx, set, engine->attached_data) : ERR_OK;
}

CO_FN static Err run_action(SetRun *run, PgTx *tx, Set *set) {
    bool keeps = keeps_any(set);
    if (set->action->run == NULL)
        TRY(derived_run(run->engine, tx, set, run->before == NULL && !keeps && run->engine->trial_told == NULL));
    else {
        TRY(set->action->run(tx, set));
        TRY(announce_all(set));
    }
    if (run->before != NULL && any_refused(set)) {
        run->refused = true;
        return ERR_REFUSED; /* rolls back */
    }
    if (keeps)
        TRY(keeps_store(run->engine, tx, set));
    return write_rest(run, tx, set);
}

/* May be called several times for one set: begins by forgetting what the last time left. */
CO_FN static Err run_body(PgTx *tx, void *arg) {
    SetRun *run = arg;
    arena_reset(run->scratch);
    run->refused = false; /* it may be called several times */
    run->set.ctx->problem = (Problem){0};
    run->ctx = *run->set.ctx;
    run->ctx.arena = run->scratch;
    Set set = run->set;
    set.ctx = &run->ctx;
    set.members = ARENA_ARRAY(run->scratch, Member *, set.n);
    if (set.members == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < set.n; i++) {
        Member *member = set.members[i] = run->set.members[i];
        member->outcome = ERR_OK;
        member->outgoing = NULL;
        member->attached = NULL;
        member->result = NULL;
        member->detail = (Str){NULL, 0};
        member->ctx->problem = (Problem){0};
    }
    if (run->before != NULL)
        TRY(run->before(tx, &set, run->data));
    TrialCounts counts;
    bool tries = run->engine->trial_told != NULL;
    if (tries)
        TRY(trial_begin(tx, &set, &counts));
    TRY(keeps_look(run->engine, tx, &set));
    TRY(conditions_check(run->engine, tx, &set));
    if (set.n > 0)
        TRY(run_action(run, tx, &set));
    return tries && set.n > 0 ? trial_end(run->engine, tx, &set, &counts) : ERR_OK;
}

CO_FN static Err run_once(SetRun *run) {
    run->refused = false; /* the body is not even called when there is no connection */
    run->ctx.problem = (Problem){0};
    Err err = pg_transaction(engine_pool(run->engine), run_body, run);
    /* What run itself said through its ctx is words too; they lie in scratch and must outlive it. */
    if (err != ERR_OK && run->set.ctx->problem.code == ERR_OK && run->ctx.problem.code != ERR_OK)
        (void)ctx_problem(run->set.ctx, run->ctx.problem.code, NULL, "%.*s", STR_ARG(run->ctx.problem.message));
    return err;
}

/* --- the set ------------------------------------------------------------------------------------------------------ */

/* The refused keep their outcome and drop out. */
static void drop_refused(SetRun *run) {
    size_t kept = 0;
    for (size_t i = 0; i < run->set.n; i++)
        if (run->set.members[i]->outcome == ERR_OK)
            run->set.members[kept++] = run->set.members[i];
    ASSERT(kept < run->set.n);
    run->set.n = kept;
}

CO_FN static Err run_alone(SetRun *run, size_t i) {
    SetRun alone = *run;
    alone.set.members = &run->set.members[i];
    alone.set.n = 1;
    run->engine->stats.reruns++;
    Err err = run_once(&alone);
    if (err == ERR_OK || alone.refused)
        return ERR_OK;
    bool all = concerns_all(err);
    run_fail_all(&alone, err, 0);
    return all ? alone.set.members[0]->outcome : ERR_OK;
}

CO_FN static Err run_singly(SetRun *run) {
    for (size_t i = 0; i < run->set.n; i++) {
        Err err = run_alone(run, i);
        if (err != ERR_OK) {
            run_fail_all(run, err, i + 1);
            return err;
        }
    }
    return ERR_OK;
}

CO_FN static Err run_until_decided(SetRun *run) {
    while (run->set.n > 0) {
        Err err = run_once(run);
        if (err == ERR_OK)
            return ERR_OK;
        if (run->refused) {
            drop_refused(run);
            continue;
        }
        bool all = concerns_all(err);
        if (!all && run->set.n > 1)
            return run_singly(run);
        run_fail_all(run, err, 0);
        return all ? run->set.members[0]->outcome : ERR_OK;
    }
    return ERR_OK;
}

CO_FN Err set_run(Engine *engine, Set *set, SetBefore before, void *data) {
    CLEANUP(arena_freep) Arena *scratch = arena_new(SET_ARENA_BYTES);
    SetRun run = {.engine = engine, .set = *set, .before = before, .data = data, .scratch = scratch};
    run.set.members = ARENA_ARRAY(set->ctx->arena, Member *, set->n);
    if (scratch == NULL || run.set.members == NULL) {
        run.set.members = set->members;
        run_fail_all(&run, ERR_NO_MEMORY, 0);
        return ERR_OK;
    }
    for (size_t i = 0; i < set->n; i++)
        run.set.members[i] = set->members[i];
    Err err = run_until_decided(&run);
    if (engine->trial_told == NULL)
        trace_messages_end(set, engine->outbox);
    return err;
}
