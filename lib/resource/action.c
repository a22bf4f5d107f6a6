/*
 * action.c - a request's way into a set: policy, validations, the queue of its action.
 *
 * Members wait on their own coroutines; the queue only links them (Joined, on their stacks). Until a set takes a
 * member, it may leave at any moment: deadline and cancellation unlink it. Once taken, its input, arena and ctx are
 * read and written by the set's coroutine, so it waits shielded until it is decided. The tempting alternative, copying
 * a member so that it can leave at once, would have to know every pointer inside every input struct; and it would
 * answer "timed out" for a purchase that is being committed. What the shielded wait costs is bounded: the set has a
 * deadline of its own, the latest of its members'.
 */
#include <stdarg.h>
#include <stdio.h>

#include "resource/engine_internal.h"
#include "runtime/log.h"
#include "telemetry/metrics.h"

/* --- checks ------------------------------------------------------------------------------------------------------- */

static bool policy_covers(const Policy *policy, const Action *action) {
    return strcmp(policy->action, "*") == 0 || strcmp(policy->action, action->name) == 0;
}

Err action_allow(const Resource *resource, const Action *action, Ctx *ctx, const void *input) {
    for (const Policy *policy = resource->policies; policy != NULL && policy->action != NULL; policy++)
        if (policy_covers(policy, action) && policy->allows(ctx, action, input))
            return ERR_OK;
    Buf asked = buf_new(ctx->arena, 1024);
    for (const Policy *policy = resource->policies; policy != NULL && policy->action != NULL; policy++)
        if (policy_covers(policy, action))
            buf_printf(&asked, "%s%s", asked.n == 0 ? "" : ", ", policy->name);
    Str names = asked.n == 0 ? STR("none is declared") : buf_str(&asked);
    return ctx_problem(ctx, ERR_REFUSED, NULL, "No policy allows %s of %s (asked: %.*s).", action->name, resource->name,
                       STR_ARG(names));
}

Err action_check(const Resource *resource, const Action *action, Ctx *ctx, const void *input) {
    TRY(action_allow(resource, action, ctx, input));
    for (const Validation *v = action->validations; v != NULL && v->name != NULL; v++)
        TRY(v->check(ctx, input));
    return ERR_OK;
}

size_t action_refusals(const Resource *resource, const char *name, Ctx *ctx, const void *input, Problem *ret,
                       size_t max) {
    const Action *action = resource_action(resource, name);
    ASSERT(action != NULL);
    bool allowed = action_allow(resource, action, ctx, input) == ERR_OK;
    size_t n = 0;
    for (const Validation *v = action->validations; allowed && v != NULL && v->name != NULL && n < max; v++) {
        ctx->problem = (Problem){0};
        Err err = v->check(ctx, input);
        if (err == ERR_INVALID || err == ERR_CONFLICT)
            ret[n++] = ctx->problem;
    }
    ctx->problem = (Problem){0};
    return n;
}

/* Which attribute a conflict is about: told by the identities, when there is but one and it has one attribute. */
static const char *conflict_field(const Resource *resource) {
    const Identity *only = resource->identities;
    bool one = only != NULL && only->name != NULL && only[1].name == NULL && only->attributes[1] == NULL;
    return one ? only->attributes[0] : NULL;
}

void member_refuse_conflict(Member *member, const Resource *resource, const Action *action) {
    if (action->conflict_message != NULL)
        (void)member_refuse(member, ERR_CONFLICT, conflict_field(resource), "%s", action->conflict_message);
    else
        (void)member_refuse(member, ERR_CONFLICT, NULL, "This %s exists already.", resource->name);
}

Err member_refuse(Member *member, Err code, const char *field, const char *format, ...) {
    ASSERT(code != ERR_OK);
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    member->outcome = code;
    member->ctx->problem = (Problem){0};
    return ctx_problem(member->ctx, code, field, "%s", text);
}

Err member_announce(Member *member, Str type, Id aggregate, Str payload) {
    Outgoing *message = ARENA_NEW(member->ctx->arena, Outgoing);
    if (message == NULL)
        return ERR_NO_MEMORY;
    *message = (Outgoing){.id = id_time_ordered(), .type = type, .aggregate = aggregate, .payload = payload};
    trace_message_begin(member->ctx, message);
    Outgoing **end = &member->outgoing;
    while (*end != NULL)
        end = &(*end)->next;
    *end = message;
    return ERR_OK;
}

void member_attach(Member *member, Attached *attached) {
    Attached **end = &member->attached;
    while (*end != NULL)
        end = &(*end)->next;
    attached->next = NULL;
    *end = attached;
}

/* --- the queue of an action --------------------------------------------------------------------------------------- */

ActionQueue *engine_queue(Engine *engine, const Action *action) {
    for (size_t i = 0; i < engine->n_actions; i++)
        if (engine->actions[i].action == action)
            return &engine->actions[i];
    return NULL;
}

static void queue_ready(Engine *engine, ActionQueue *queue) {
    if (queue->ready || queue->first == NULL)
        return;
    queue->ready = true;
    queue->next_ready = NULL;
    if (engine->ready_last == NULL)
        engine->ready_first = queue;
    else
        engine->ready_last->next_ready = queue;
    engine->ready_last = queue;
}

static void queue_add(ActionQueue *queue, Joined *joined) {
    joined->prev = queue->last;
    joined->next = NULL;
    if (queue->last == NULL)
        queue->first = joined;
    else
        queue->last->next = joined;
    queue->last = joined;
}

static void queue_remove(ActionQueue *queue, Joined *joined) {
    if (joined->prev == NULL)
        queue->first = joined->next;
    else
        joined->prev->next = joined->next;
    if (joined->next == NULL)
        queue->last = joined->prev;
    else
        joined->next->prev = joined->prev;
    joined->prev = joined->next = NULL;
}

/* Keys already in the set that forms. Twice the members, so that probing ends. */
typedef struct KeySet {
    const Id *slots[SET_MEMBERS_MAX * 2];
} KeySet;

/* True when it was not there before. */
static bool key_set_add(KeySet *set, const Id *key) {
    size_t at = (size_t)str_hash((Str){(const char *)key->bytes, sizeof key->bytes}) % ARRAY_LEN(set->slots);
    for (; set->slots[at] != NULL; at = (at + 1) % ARRAY_LEN(set->slots))
        if (id_eq(*set->slots[at], *key))
            return false;
    set->slots[at] = key;
    return true;
}

/* Takes members in order of arrival; one that clashes with a taken one stays for the next set, and so do those that
 * clash with it: they have its key. */
static void queue_take(Engine *engine, ActionQueue *queue) {
    KeySet keys = {0};
    size_t scanned = 0, most = engine->trial_told == NULL ? SET_MEMBERS_MAX : 1; /* a trial sees nobody else's writes */
    engine->n_taken = 0;
    for (Joined *joined = queue->first, *next; joined != NULL; joined = next) {
        next = joined->next;
        if (engine->n_taken == most || scanned++ == SET_SCAN_MAX)
            break;
        if (joined->clashes && !key_set_add(&keys, &joined->clash))
            continue;
        queue_remove(queue, joined);
        joined->taken = true;
        engine->taken[engine->n_taken++] = joined;
    }
}

/* --- running a set ------------------------------------------------------------------------------------------------ */

/* After this nothing of the members may be touched: their coroutines end. */
static void decide_all(Engine *engine) {
    for (size_t i = 0; i < engine->n_taken; i++) {
        Joined *joined = engine->taken[i];
        joined->decided = true;
        wait_wake(&joined->member.wait, joined->member.outcome);
    }
    engine->n_taken = 0;
    engine->set_running = false;
    if (engine->ready_first != NULL)
        turn_hook_arm(engine->loop, &engine->hook);
}

static int64_t latest_deadline(const Engine *engine) {
    int64_t longest = clock_mono_ms() + SET_DEADLINE_MS, latest = 0;
    for (size_t i = 0; i < engine->n_taken; i++) {
        int64_t deadline = engine->taken[i]->member.ctx->deadline_ms;
        if (deadline == 0)
            return longest;
        latest = MAX_OF(latest, deadline);
    }
    return latest;
}

/* A failure nobody asked for is logged here, once a set; a refusal is the caller's business. */
static void log_failure(Ctx *ctx, const Set *set) {
    for (size_t i = 0; i < set->n; i++) {
        const Member *member = set->members[i];
        if (member->detail.p == NULL || member->outcome == ERR_CONFLICT || member->outcome == ERR_CANCELLED)
            continue;
        LOG_W(ctx, "set_failed", F_C("resource", set->resource->name), F_C("action", set->action->name),
              F_INT("members", set->n), F_ERR(member->outcome), F_STR("detail", member->detail));
        return;
    }
}

CO_FN static void set_co(Ctx *ctx, void *arg) {
    ActionQueue *queue = arg;
    Engine *engine = queue->engine;
    TraceBatch batch;
    metric_record(METRIC_SET_SIZE, (int64_t)engine->n_taken,
                  LABELS({"usher.resource", queue->resource->name, 0}, {"usher.action", queue->action->name, 0}));
    trace_set(ctx, engine->members, engine->n_taken, &batch);
    Set set = {.resource = queue->resource,
               .action = queue->action,
               .members = engine->members,
               .n = engine->n_taken,
               .ctx = ctx};
    Err err = set_run(engine, &set, NULL, NULL);
    if (err != ERR_OK || ctx->problem.code != ERR_OK)
        log_failure(ctx, &set);
    decide_all(engine);
}

/* One set at a time: there is one connection for writing, and while it commits the next set gathers. Queues take
 * turns. */
void engine_start_set(Engine *engine) {
    while (!engine->set_running && engine->ready_first != NULL) {
        ActionQueue *queue = engine->ready_first;
        engine->ready_first = queue->next_ready;
        if (engine->ready_first == NULL)
            engine->ready_last = NULL;
        queue->ready = false;
        queue_take(engine, queue);
        queue_ready(engine, queue);
        if (engine->n_taken == 0) /* all left again */
            continue;
        for (size_t i = 0; i < engine->n_taken; i++)
            engine->members[i] = &engine->taken[i]->member;
        engine->set_running = true;
        engine->stats.sets++;
        engine->stats.members += engine->n_taken;
        Co *co;
        Err err = co_spawn(engine->loop, set_co, queue,
                           &(CoOptions){.name = "set",
                                        .arena_limit_bytes = SET_ARENA_BYTES,
                                        .deadline_ms = latest_deadline(engine),
                                        .trace = trace_of_set(engine->members, engine->n_taken)},
                           &co);
        if (err == ERR_OK)
            return;
        for (size_t i = 0; i < engine->n_taken; i++)
            member_fail(engine->members[i], err, (Str){NULL, 0});
        decide_all(engine);
    }
}

/* --- the caller's side -------------------------------------------------------------------------------------------- */

static void make_generated(const Resource *resource, void *input) {
    for (const Attribute *a = resource->attributes; a->name != NULL; a++) {
        if (!a->generated || a->type != TYPE_ID || a->optional)
            continue;
        Id *id = (Id *)((char *)input + a->offset);
        if (id_is_zero(*id))
            *id = id_random();
    }
}

/* Derived actions clash by their row unless they say otherwise: one statement writes a row once, and tells whose
 * messages go out by the row's key. */
static void find_clash(const ActionQueue *queue, Joined *joined) {
    const Action *action = queue->action;
    joined->clashes = true;
    if (action->clash_key != NULL)
        joined->clash = action->clash_key(joined->member.input);
    else if (queue->derived.sql != NULL)
        joined->clash = resource_key_of(queue->resource, joined->member.input);
    else
        joined->clashes = false;
}

/* Waits for the decision; leaves early only while no set has it. */
CO_FN static Err member_wait(ActionQueue *queue, Joined *joined) {
    Err err = co_wait(&joined->member.wait, 0);
    if (joined->decided)
        return joined->member.outcome;
    ASSERT(err != ERR_OK);
    if (!joined->taken) {
        queue_remove(queue, joined);
        return err;
    }
    bool former = co_shield(true);
    while (!joined->decided) {
        joined->member.wait = (Wait){0};
        err = co_wait(&joined->member.wait, 0);
        ASSERT(err == ERR_OK || joined->decided); /* nothing else ends a shielded wait without a deadline */
    }
    co_shield(former);
    return joined->member.outcome;
}

CO_FN static Err join_set(Engine *engine, const Resource *resource, const char *name, Ctx *ctx, void *input,
                          Conditions *conditions, void **result) {
    const Action *action = resource_action(resource, name);
    ASSERT(action != NULL);
    ActionQueue *queue = engine_queue(engine, action);
    ASSERT(queue != NULL && (action->run != NULL || queue->derived.sql != NULL));
    TRY(action_check(resource, action, ctx, input));
    if (action->kind == ACTION_CREATE && action->input_size == 0)
        make_generated(resource, input);

    Joined joined = {.member = {.ctx = ctx, .input = input, .conditions = conditions}};
    find_clash(queue, &joined);
    queue_add(queue, &joined);
    queue_ready(engine, queue);
    turn_hook_arm(engine->loop, &engine->hook);
    TRY(member_wait(queue, &joined));
    if (result != NULL)
        *result = joined.member.result;
    return ERR_OK;
}

CO_FN Err action_run(Engine *engine, const Resource *resource, const char *name, Ctx *ctx, void *input, void **result) {
    return action_run_with(engine, resource, name, ctx, input, NULL, result);
}

CO_FN Err action_run_with(Engine *engine, const Resource *resource, const char *name, Ctx *ctx, void *input,
                          Conditions *conditions, void **result) {
    Span span;
    span_begin(ctx, &span);
    Err err = join_set(engine, resource, name, ctx, input, conditions, result);
    trace_action_end(ctx, &span, resource, resource_action(resource, name)->name, err);
    return err;
}
