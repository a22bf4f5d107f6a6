/*
 * verify_action.c - context_verify's look at the actions and policies of one resource.
 */
#include "resource/model.h"
#include "resource/verify.h"

static bool is_derived(const Action *action) {
    return action->run == NULL &&
           (action->kind == ACTION_CREATE || action->kind == ACTION_UPDATE || action->kind == ACTION_DESTROY);
}

static void verify_accept(Verifier *v, const Action *action) {
    for (size_t i = 0; i < ARRAY_LEN(action->accept) && action->accept[i] != NULL; i++) {
        const Attribute *a = resource_attribute(v->resource, action->accept[i]);
        if (a == NULL)
            mistake(v, "action %s accepts '%s', which is no attribute", action->name, action->accept[i]);
        else if (a->key || a->identity)
            mistake(v, "action %s accepts %s; keys and identities are not taken from .accept", action->name, a->name);
    }
    if (action->accept[ARRAY_LEN(action->accept) - 1] != NULL)
        mistake(v, "action %s: .accept is full; it ends with NULL, so leave its last place empty", action->name);
}

static void verify_derived(Verifier *v, const Action *action) {
    int parameters = 9; /* the outbox's */
    size_t accepted = 0;
    if (resource_key(v->resource) == NULL)
        mistake(v, "action %s is derived, which needs exactly one .key, an Id; give the action a .run", action->name);
    for (const Attribute *a = v->resource->attributes; a->name != NULL; a++) {
        bool takes = action_accepts(action, a);
        accepted += takes;
        parameters += takes || a->key ? 1 + attribute_has_fine(a) : 0;
        if (action->kind == ACTION_CREATE && !takes && !a->key && !a->identity && a->required && a->default_sql == NULL)
            mistake(v, "action %s never sets %s, which is .required; accept it or give it a .default_sql", action->name,
                    a->name);
    }
    if (action->kind == ACTION_UPDATE && accepted == 0)
        mistake(v, "action %s has nothing to update", action->name);
    if (parameters > PG_PARAMS_MAX)
        mistake(v, "action %s needs %d parameters, at most %d are possible; accept fewer attributes", action->name,
                parameters, PG_PARAMS_MAX);
    if (action->input_size != 0 && action->input_size != v->resource->size)
        mistake(v, "action %s is derived, so its input is the resource's struct; leave .input_size out", action->name);
}

static void verify_action(Verifier *v, const Action *action) {
    if (!name_is_plain(str_c(action->name)))
        mistake(v, "action '%s': want a lower-case name with underscores", action->name);
    for (const Action *other = v->resource->actions; other < action; other++) {
        if (strcmp(other->name, action->name) == 0)
            mistake(v, "action %s is there twice", action->name);
    }
    if (action->kind < ACTION_READ || action->kind > ACTION_CUSTOM)
        mistake(v, "action %s has no .kind", action->name);
    if (action->kind == ACTION_CUSTOM && action->run == NULL)
        mistake(v, "action %s is ACTION_CUSTOM and needs a .run", action->name);
    for (const Validation *rule = action->validations; rule != NULL && rule->name != NULL; rule++) {
        if (rule->check == NULL)
            mistake(v, "action %s: validation %s has no .check", action->name, rule->name);
    }
    size_t size = action->input_size != 0 ? action->input_size : v->resource->size;
    for (const Attribute *a = action->arguments; a != NULL && a->name != NULL; a++) {
        if (a->offset >= size)
            mistake(v, "action %s: argument %s lies outside of the input; is .input_size right?", action->name,
                    a->name);
    }
    verify_accept(v, action);
    if (is_derived(action))
        verify_derived(v, action);
}

static bool is_covered(const Resource *resource, const Action *action) {
    for (const Policy *p = resource->policies; p != NULL && p->action != NULL; p++) {
        if (strcmp(p->action, "*") == 0 || strcmp(p->action, action->name) == 0)
            return true;
    }
    return false;
}

void verify_actions(Verifier *v) {
    for (const Action *action = v->resource->actions; action != NULL && action->name != NULL; action++) {
        verify_action(v, action);
        if (!is_covered(v->resource, action))
            mistake(v, "no policy covers action '%s'; add a row to its policies", action->name);
    }
    for (const Policy *p = v->resource->policies; p != NULL && p->action != NULL; p++) {
        if (strcmp(p->action, "*") != 0 && resource_action(v->resource, p->action) == NULL)
            mistake(v, "policy for '%s': there is no such action", p->action);
        if (p->name == NULL || p->allows == NULL)
            mistake(v, "policy for '%s' needs a .name and .allows", p->action);
    }
}
