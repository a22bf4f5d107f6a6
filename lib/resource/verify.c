/*
 * verify.c - context_verify: the mistakes that the compiler cannot see.
 *
 * Runs at boot and in a unit test. Each sentence says where, what, and what to do, because its reader has just added a
 * row to a table and wants to go on. Attributes are in verify_attribute.c, actions in verify_action.c.
 */
#include <stdarg.h>
#include <stdio.h>

#include "resource/model.h"
#include "resource/verify.h"

void mistake(Verifier *v, const char *format, ...) {
    if (v->resource != NULL)
        buf_printf(v->mistakes, "resource %s: ", v->resource->name == NULL ? "(no name)" : v->resource->name);
    else
        buf_printf(v->mistakes, "context %s: ", v->context->name == NULL ? "(no name)" : v->context->name);
    char words[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    buf_add_c(v->mistakes, words);
    buf_add_char(v->mistakes, '\n');
    v->n++;
}

const Resource *verify_find_resource(const Context *context, const char *name) {
    for (const Resource *const *r = context->resources; *r != NULL; r++) {
        if ((*r)->name != NULL && (*r)->plural != NULL &&
            (strcmp((*r)->name, name) == 0 || strcmp((*r)->plural, name) == 0))
            return *r;
    }
    return NULL;
}

static void verify_names(Verifier *v) {
    const Context *c = v->context;
    const struct { const char *what, *name; } names[] = {{"name", c->name}, {"schema", c->schema}, {"role", c->role}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!name_is_plain(str_c(names[i].name)) || name_is_reserved(str_c(names[i].name)))
            mistake(v, ".%s must be a lower-case SQL name that is no reserved word", names[i].what);
    }
    if (c->database_env == NULL)
        mistake(v, "set .database_env to the environment variable of its database");
}

static void verify_identities(Verifier *v) {
    for (const Identity *i = v->resource->identities; i != NULL && i->name != NULL; i++) {
        bool text = false;
        if (i->attributes[0] == NULL)
            mistake(v, "identity %s names no attribute", i->name);
        for (size_t k = 0; k < ARRAY_LEN(i->attributes) && i->attributes[k] != NULL; k++) {
            const Attribute *a = resource_attribute(v->resource, i->attributes[k]);
            if (a == NULL)
                mistake(v, "identity %s: there is no attribute '%s'", i->name, i->attributes[k]);
            text |= a != NULL && a->type == TYPE_TEXT;
        }
        if (i->hashed && !text)
            mistake(v, "identity %s: .hashed is for texts; take it away", i->name);
    }
    for (const Index *i = v->resource->indexes; i != NULL && i->name != NULL; i++) {
        if (i->columns == NULL || i->columns[0] == '\0')
            mistake(v, "index %s names no columns", i->name);
    }
    for (const Check *c = v->resource->checks; c != NULL && c->name != NULL; c++) {
        if (c->sql == NULL || c->sql[0] == '\0')
            mistake(v, "check %s has no .sql", c->name);
    }
}

static void verify_relationships(Verifier *v) {
    for (const Relationship *r = v->resource->relationships; r != NULL && r->name != NULL; r++) {
        const Resource *other = r->resource == NULL ? NULL : verify_find_resource(v->context, r->resource);
        if (other == NULL) {
            mistake(v, "relationship %s: there is no resource '%s' in this context; others are reached by message",
                    r->name, r->resource == NULL ? "" : r->resource);
            continue;
        }
        const Resource *holder = r->kind == HAS_MANY ? other : v->resource;
        if (r->kind != BELONGS_TO && r->kind != HAS_MANY)
            mistake(v, "relationship %s: .kind is BELONGS_TO or HAS_MANY", r->name);
        else if (r->attribute == NULL || resource_attribute(holder, r->attribute) == NULL)
            mistake(v, "relationship %s: resource %s has no attribute '%s'", r->name, holder->name,
                    r->attribute == NULL ? "" : r->attribute);
    }
}

static void verify_resource(Verifier *v) {
    const Resource *r = v->resource;
    if (r->name == NULL || !name_is_plain(str_c(r->name)) || r->plural == NULL || !name_is_plain(str_c(r->plural)) ||
        name_is_reserved(str_c(r->plural))) {
        mistake(v, ".name and .plural must be lower-case SQL names, .plural no reserved word");
        return;
    }
    if (r->schema == NULL || v->context->schema == NULL || strcmp(r->schema, v->context->schema) != 0)
        mistake(v, ".schema must be its context's, '%s'", v->context->schema == NULL ? "" : v->context->schema);
    for (const Resource *const *other = v->context->resources; *other != r; other++) {
        if ((*other)->plural != NULL &&
            (strcmp((*other)->plural, r->plural) == 0 || strcmp((*other)->name, r->name) == 0))
            mistake(v, "another resource of this context has its name or plural");
    }
    if (strcmp(r->plural, "schema_migrations") == 0)
        mistake(v, "schema_migrations is the journal's table; choose another .plural");
    if (r->attributes == NULL || r->attributes[0].name == NULL || r->size == 0) {
        mistake(v, "it needs .size = sizeof(its struct) and .attributes");
        return;
    }
    verify_attributes(v);
    verify_identities(v);
    verify_relationships(v);
    if (!r->internal)
        verify_actions(v);
    else if (r->actions != NULL && r->actions[0].name != NULL)
        mistake(v, "an internal resource has no actions; they would be open to nobody's policies");
}

/* --- names that live in one space per schema --------------------------------------------------------------- */

static bool claim_name(Map *names, Str name, const char *owner, const char **ret_old) {
    void *old = NULL;
    if (map_put(names, name, (void *)(uintptr_t)owner, &old) != ERR_OK)
        return true;
    *ret_old = old;
    return old == NULL;
}

/* Tables and indexes (those of constraints too) share the names of a schema; other constraints those of their table. */
static void verify_schema_names(Verifier *v, Arena *arena) {
    Model model;
    Map *names = map_new(arena, 64);
    if (names == NULL || model_from_context(arena, v->context, &model) != ERR_OK) {
        mistake(v, "its declarations do not fit the limits of model.h");
        return;
    }
    const char *other = NULL;
    for (size_t t = 0; t < model.table_n; t++) {
        const Table *table = &model.tables[t];
        v->resource = v->context->resources[t];
        if (!claim_name(names, table->name, v->resource->name, &other))
            mistake(v, "the name %.*s is already taken by resource %s", STR_ARG(table->name), other);
        for (size_t i = 0; i < table->rule_n; i++) {
            const Rule *rule = &table->rules[i];
            bool indexed = rule->kind == RULE_PRIMARY || rule->kind == RULE_UNIQUE;
            if (!name_is_plain(rule->name))
                mistake(v, "constraint name '%.*s' is no lower-case SQL name of at most 63 bytes", STR_ARG(rule->name));
            else if (table_rule(table, rule->name) != rule)
                mistake(v, "two constraints are named %.*s", STR_ARG(rule->name));
            else if (indexed && !claim_name(names, rule->name, v->resource->name, &other))
                mistake(v, "the name %.*s is already taken by resource %s", STR_ARG(rule->name), other);
        }
        for (size_t i = 0; i < table->index_n; i++) {
            Str name = table->indexes[i].name;
            if (!name_is_plain(name))
                mistake(v, "index name '%.*s' is no lower-case SQL name of at most 63 bytes", STR_ARG(name));
            else if (!claim_name(names, name, v->resource->name, &other))
                mistake(v, "the name %.*s is already taken by resource %s", STR_ARG(name), other);
        }
    }
    v->resource = NULL;
}

/* Statements are prepared under their names, one space per pool: those composed here and those of queries.sql. */
static void verify_queries(Verifier *v, Arena *arena) {
    Map *names = map_new(arena, 64);
    const char *other = NULL;
    for (const Resource *const *r = v->context->resources; names != NULL && *r != NULL; r++) {
        claim_name(names, arena_printf(arena, "%s_get", (*r)->name), "a keyed read", &other);
        for (const Action *a = (*r)->actions; a != NULL && a->name != NULL; a++) {
            if (a->run == NULL && a->kind != ACTION_READ &&
                !claim_name(names, arena_printf(arena, "%s_%s", (*r)->name, a->name), "a derived action", &other))
                mistake(v, "the statement of action %s_%s already is the name of %s; rename one", (*r)->name, a->name,
                        other);
        }
    }
    claim_name(names, STR("outbox_append"), "the outbox", &other);
    for (const Query *q = v->context->queries; q != NULL && q->statement.name != NULL; q++) {
        if (!claim_name(names, str_c(q->statement.name), "another query", &other))
            mistake(v, "query %s: its name is already taken by %s; rename it in queries.sql", q->statement.name, other);
        if (q->statement.sql == NULL || q->statement.sql[0] == '\0')
            mistake(v, "query %s has no SQL", q->statement.name);
    }
}

static void verify_migrations(Verifier *v) {
    int want = 1;
    for (const Migration *m = v->context->migrations; m != NULL && m->name != NULL; m++, want++) {
        if (m->version != want)
            mistake(v, "migration %s has number %d, want %d", m->name, m->version, want);
        if (m->up == NULL || m->down == NULL || m->snapshot == NULL)
            mistake(v, "migration %s lacks its up, down or snapshot", m->name);
    }
}

size_t context_verify(const Context *context, Buf *mistakes) {
    Verifier v = {.context = context, .mistakes = mistakes};
    verify_names(&v);
    if (context->resources == NULL || context->resources[0] == NULL) {
        mistake(&v, "it has no .resources");
        return v.n;
    }
    for (const Resource *const *r = context->resources; *r != NULL; r++) {
        v.resource = *r;
        verify_resource(&v);
    }
    v.resource = NULL;
    verify_migrations(&v);
    if (v.n > 0) /* what follows composes SQL, which needs sound declarations */
        return v.n;
    Arena *arena = arena_new(16 * 1024 * 1024);
    if (arena == NULL) {
        mistake(&v, "no memory to look at it");
        return v.n;
    }
    verify_schema_names(&v, arena);
    verify_queries(&v, arena);
    arena_free(arena);
    return v.n;
}
