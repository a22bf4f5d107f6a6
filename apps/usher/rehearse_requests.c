/*
 * rehearse_requests.c - the load from the routes: every GET of the context, with ids that lists have just answered.
 *
 * A placeholder's ids come from the route before it ("/events/{id}" from "GET /events"), else from the list that its
 * name says ("{userId}" from "GET /users").
 */
#include <stdio.h>

#include "usher/rehearse.h"
#include "json/json.h"

enum { IDS_MAX = 32, LISTS_MAX = 16, ID_MAX = 128, LEARN_BYTES = 192 << 20, PLACES_MAX = 4 };

typedef struct IdList {
    Str path;
    Str ids[IDS_MAX];
    size_t n;
} IdList;

typedef struct Learning {
    Ctx *ctx;
    LoadPlan *plan;
    IdList lists[LISTS_MAX];
    size_t n;
} Learning;

static bool id_fits(Str id) {
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
            return false;
    }
    return id.n > 0 && id.n <= ID_MAX;
}

static Err take_ids(Learning *learning, Arena *arena, const HttpAnswer *answer, IdList *list) {
    Json *rows;
    if (answer->status != 200 || json_parse(answer->body, arena, JSON_DUPLICATES_LAST, &rows, NULL) != ERR_OK)
        return ERR_OK;
    for (const Json *row = rows->kind == JSON_ARRAY_START ? rows->first : NULL; row != NULL && list->n < IDS_MAX;
         row = row->next) {
        const Json *member = json_member(row, "Id");
        Str id = json_text(member == NULL ? json_member(row, "id") : member);
        if (!id_fits(id))
            continue;
        list->ids[list->n] = arena_str(learning->ctx->arena, id);
        if (list->ids[list->n++].p == NULL)
            return ERR_NO_MEMORY;
    }
    return ERR_OK;
}

/* The ids in a list's answer, asked for once. NULL: no more lists are remembered. */
static Err ids_of(Learning *learning, Str path, const IdList **ret) {
    for (size_t i = 0; i < learning->n; i++)
        if (str_eq(learning->lists[i].path, path)) {
            *ret = &learning->lists[i];
            return ERR_OK;
        }
    Arena *arena CLEANUP(arena_freep) = arena_new(LEARN_BYTES);
    HttpAnswer answer;
    *ret = NULL;
    if (learning->n == LISTS_MAX)
        return ERR_OK;
    IdList *list = &learning->lists[learning->n++];
    *list = (IdList){.path = path};
    const LoadPlan *plan = learning->plan;
    const char *why = "";
    if (arena == NULL)
        return ERR_NO_MEMORY;
    Err err = load_ask(arena, plan, path, &answer, &why);
    if (err == ERR_UNAVAILABLE)
        return ctx_problem(learning->ctx, err, NULL, "GET %.*s%.*s: %s", STR_ARG(plan->url), STR_ARG(path), why);
    TRY(err);
    *ret = list;
    return take_ids(learning, arena, &answer, list);
}

/* --- patterns ----------------------------------------------------------------------------------------------------- */

static bool is_list_route(Str path) {
    size_t n;
    const Route *const *tables = app_route_tables(&n);
    for (size_t i = 0; i < n; i++)
        for (const Route *route = tables[i]; route->pattern != NULL; route++)
            if (route->method == METHOD_GET && str_eq_c(path, route->pattern))
                return true;
    return false;
}

/* Where the ids of the placeholder `name` behind `prefix` are listed; absent: nowhere. */
static Str list_of(Ctx *ctx, Str prefix, Str name) {
    if (is_list_route(prefix))
        return prefix;
    if (name.n <= 2 || !str_ends_with(name, STR("Id")))
        return (Str){NULL, 0};
    Str path = arena_printf(ctx->arena, "/%.*ss", STR_ARG(str_slice(name, 0, name.n - 2)));
    return path.p != NULL && is_list_route(path) ? path : (Str){NULL, 0};
}

/* A pattern as literal pieces around its placeholders, each with ids. */
typedef struct Pattern {
    Str pieces[PLACES_MAX + 1];
    const IdList *lists[PLACES_MAX];
    size_t n;
    size_t targets;
} Pattern;

/* The word that says why it cannot be asked, or NULL. */
static Err pattern_read(Learning *learning, const char *text, Pattern *ret, const char **ret_why) {
    Str rest = str_c(text), whole = rest;
    *ret = (Pattern){.targets = 1};
    *ret_why = NULL;
    for (;;) {
        ret->pieces[ret->n] = str_cut(&rest, '{');
        if (rest.p == NULL)
            return ERR_OK;
        Str place = str_cut(&rest, '}'), name = str_cut(&place, ':');
        size_t at = (size_t)(name.p - whole.p) - 1;
        Str list = ret->n == PLACES_MAX ? (Str){NULL, 0}
                                        : list_of(learning->ctx, str_slice(whole, 0, MAX_OF(at, 1) - 1), name);
        *ret_why = "no list tells its ids; --requests FILE can";
        if (list.p == NULL)
            return ERR_OK;
        TRY(ids_of(learning, list, &ret->lists[ret->n]));
        if (ret->lists[ret->n] == NULL || ret->lists[ret->n]->n == 0) {
            *ret_why = "its list is empty; --requests FILE can name ids";
            return ERR_OK;
        }
        *ret_why = NULL;
        ret->targets = MAX_OF(ret->targets, ret->lists[ret->n]->n);
        ret->n++;
        if (rest.p == NULL)
            rest = STR("");
    }
}

static Err add_route(Learning *learning, const Route *route, const char *label) {
    LoadPlan *plan = learning->plan;
    Pattern pattern;
    const char *why;
    TRY(pattern_read(learning, route->pattern, &pattern, &why));
    if (why != NULL || plan->group_n == LOAD_GROUPS_MAX) {
        buf_printf(&plan->notes, "%s is not asked: %s\n", label, why == NULL ? "too many routes" : why);
        return ERR_OK;
    }
    LoadGroup *group = &plan->groups[plan->group_n++];
    *group = (LoadGroup){plan->n, pattern.targets};
    for (size_t i = 0; i < pattern.targets; i++) {
        Buf target = buf_new(learning->ctx->arena, 8192);
        LoadRequest request = {.method = STR("GET")};
        buf_add(&target, pattern.pieces[0]);
        for (size_t j = 0; j < pattern.n; j++) {
            buf_add(&target, pattern.lists[j]->ids[i % pattern.lists[j]->n]);
            buf_add(&target, pattern.pieces[j + 1]);
        }
        TRY(buf_finish(&target, &request.target));
        TRY(load_plan_add(plan, learning->ctx, &request));
    }
    return ERR_OK;
}

Err load_plan_routes(Ctx *ctx, const CutoverTarget *target, LoadPlan *plan) {
    Learning *learning = ARENA_NEW(ctx->arena, Learning);
    size_t n;
    const Route *const *tables = app_route_tables(&n);
    if (learning == NULL)
        return ERR_NO_MEMORY;
    *learning = (Learning){.ctx = ctx, .plan = plan};
    for (size_t i = 0; i < n; i++)
        for (const Route *route = tables[i]; route->pattern != NULL; route++) {
            char label[STAGE_ROUTE_MAX];
            switch_label(route, label);
            if (route->method == METHOD_GET && strcmp(route->context, target->context) == 0)
                TRY(add_route(learning, route, label));
        }
    if (plan->n == 0)
        return ctx_problem(ctx, ERR_NOT_FOUND, NULL, "there is nothing to ask; give --requests FILE");
    return ERR_OK;
}
