/*
 * verify_database.c - does the server understand every statement, and do its columns fit the structs they are decoded
 * into?
 *
 * Each statement is prepared and described, never run: parse and plan are where a renamed column or a changed type
 * shows. A query that says which resource it returns (`-- name: x :many Ticket`) must have all of that resource's
 * columns with their types, because resource_decode would otherwise leave members zero without a word.
 */
#include "resource/migrate_db.h"
#include "resource/verify.h"

typedef struct Checker {
    Verifier v;
    Migrator m;
} Checker;

static Oid column_oid(Type type) {
    static const Oid OIDS[] = {[TYPE_BOOL] = OID_BOOL,       [TYPE_INT16] = OID_INT2,          [TYPE_INT32] = OID_INT4,
                               [TYPE_INT64] = OID_INT8,      [TYPE_TEXT] = OID_TEXT,           [TYPE_ID] = OID_UUID,
                               [TYPE_DECIMAL] = OID_NUMERIC, [TYPE_INSTANT] = OID_TIMESTAMPTZ, [TYPE_JSON] = OID_JSONB};
    return OIDS[type];
}

static int field_of(PGresult *description, const char *name, const char *suffix) {
    size_t n = strlen(name);
    for (int i = 0; i < PQnfields(description); i++) {
        const char *have = PQfname(description, i);
        if (strncmp(have, name, n) == 0 && strcmp(have + n, suffix) == 0)
            return i;
    }
    return -1;
}

static void check_column(Checker *c, const char *query, PGresult *description, const Resource *resource,
                         const char *name, const char *suffix, Oid want) {
    int field = field_of(description, name, suffix);
    if (field < 0)
        mistake(&c->v, "query %s returns %s rows, but lacks column %s%s", query, resource->name, name, suffix);
    else if (PQftype(description, field) != want)
        mistake(&c->v, "query %s: column %s%s has type %u, %s needs %u", query, name, suffix,
                PQftype(description, field), resource->name, want);
}

static void check_columns(Checker *c, const char *query, PGresult *description, const Resource *resource) {
    for (const Attribute *a = resource->attributes; a->name != NULL; a++) {
        check_column(c, query, description, resource, a->name, "", column_oid(a->type));
        if (attribute_has_fine(a))
            check_column(c, query, description, resource, a->name, FINE_SUFFIX, OID_INT2);
    }
}

/* Prepared as the unnamed statement, which the next replaces. */
static void check_statement(Checker *c, const Statement *statement, const Resource *returns, bool rows) {
    PGresult *result = PQprepare(c->m.conn, "", statement->sql, 0, NULL);
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        const char *words = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
        const char *position = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
        mistake(&c->v, "statement %s: %s%s%s", statement->name, words == NULL ? "no answer from the server" : words,
                position == NULL ? "" : " at character ", position == NULL ? "" : position);
        PQclear(result);
        return;
    }
    PQclear(result);
    result = PQdescribePrepared(c->m.conn, "");
    if (PQresultStatus(result) == PGRES_COMMAND_OK) {
        if (PQnparams(result) > PG_PARAMS_MAX)
            mistake(&c->v, "statement %s has more than %d parameters", statement->name, PG_PARAMS_MAX);
        if (rows && PQnfields(result) == 0)
            mistake(&c->v, "query %s says it returns rows, but does not; write :exec", statement->name);
        else if (returns != NULL)
            check_columns(c, statement->name, result, returns);
    } else {
        mistake(&c->v, "statement %s could not be described", statement->name);
    }
    PQclear(result);
}

/* "many Ticket" → the resource ticket; other words are a struct of the context's own. */
static const Resource *returned_resource(const Context *context, const char *returns) {
    const char *space = returns == NULL ? NULL : strchr(returns, ' ');
    for (const Resource *const *r = context->resources; space != NULL && *r != NULL; r++) {
        if (str_eq_nocase(str_c(space + 1), str_c((*r)->name)))
            return *r;
    }
    return NULL;
}

static void check_resource(Checker *c, const Resource *resource) {
    Arena *arena = c->m.ctx->arena;
    Statement statement;
    Err err = ERR_OK;
    if (resource_key(resource) != NULL) {
        err = compose_get(arena, resource, &statement);
        if (err == ERR_OK)
            check_statement(c, &statement, resource, true);
    }
    for (const Action *a = resource->actions; err == ERR_OK && a != NULL && a->name != NULL; a++) {
        if (a->run != NULL || a->kind == ACTION_READ || a->kind == ACTION_CUSTOM)
            continue;
        err = compose_action(arena, c->m.context, resource, a, &statement);
        if (err == ERR_OK)
            check_statement(c, &statement, NULL, true);
    }
    if (err != ERR_OK)
        mistake(&c->v, "resource %s: its statements cannot be composed (%s)", resource->name, err_name(err));
}

size_t context_verify_database(Ctx *ctx, const Context *context, PGconn *conn, Buf *mistakes) {
    Checker c = {.v = {.context = context, .mistakes = mistakes}, .m = {.ctx = ctx, .context = context, .conn = conn}};
    for (const Resource *const *r = context->resources; *r != NULL; r++)
        check_resource(&c, *r);
    Statement append;
    if (context_outbox(context) != NULL && compose_outbox(ctx->arena, context, &append) == ERR_OK)
        check_statement(&c, &append, NULL, true);
    for (const Query *q = context->queries; q != NULL && q->statement.name != NULL; q++) {
        bool rows = q->returns != NULL && strncmp(q->returns, "exec", 4) != 0;
        check_statement(&c, &q->statement, returned_resource(context, q->returns), rows);
    }
    return c.v.n;
}
