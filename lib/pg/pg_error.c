/*
 * pg_error.c - from SQLSTATE to Err.
 *
 * Classes are those of the SQL standard and of Postgres (appendix A of its manual). The server's own words go into the
 * problem for logs; no surface shows them to clients.
 */
#include "pg/pg_private.h"

/* How to add one: a prefix of the state, longest first among those that overlap. */
static const struct {
    const char *prefix;
    Err err;
} table[] = {
    {"08", ERR_UNAVAILABLE},    /* connection exception */
    {"22", ERR_INVALID},        /* data exception */
    {"23", ERR_CONFLICT},       /* integrity constraint violation */
    {"25006", ERR_UNAVAILABLE}, /* read-only: we talk to a standby while the primary moves */
    {"40001", ERR_RETRY},       /* serialization failure */
    {"40P01", ERR_RETRY},       /* deadlock */
    {"53", ERR_LIMIT},          /* disk full, memory, connections */
    {"54", ERR_LIMIT},          /* program limit */
    {"55P03", ERR_TIMEOUT},     /* lock_timeout */
    {"57014", ERR_TIMEOUT},     /* statement_timeout, or our own cancel */
    {"57P", ERR_UNAVAILABLE},   /* shutting down, starting up */
};

Err sqlstate_to_err(const char *sqlstate) {
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (strncmp(sqlstate, table[i].prefix, strlen(table[i].prefix)) == 0)
            return table[i].err;
    }
    return ERR_INTERNAL;
}

/* The last failed statement's state and whose it was. One place for all coroutines: it is set right before the caller
 * goes on, so it holds until that caller waits again. */
static struct {
    const Co *co;
    char state[6];
} last;

void sqlstate_reset(void) {
    last.co = NULL;
    last.state[0] = '\0';
}

const char *pg_sqlstate(void) {
    return last.co == co_self() ? last.state : "";
}

Err error_from_result(Ctx *ctx, const PGresult *error) {
    const char *state = PQresultErrorField(error, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(error, PG_DIAG_MESSAGE_PRIMARY);
    const char *constraint = PQresultErrorField(error, PG_DIAG_CONSTRAINT_NAME);
    last.co = co_self();
    snprintf(last.state, sizeof last.state, "%s", state == NULL ? "" : state);
    if (message == NULL)
        message = PQresultErrorMessage(error);
    /* No state: libpq's own words, and those are about the connection. */
    Err code = state == NULL ? ERR_UNAVAILABLE : sqlstate_to_err(state);
    /* A problem borrows its field's name, and the result is about to go. A refused copy: no field. */
    Str field = constraint == NULL ? (Str){NULL, 0} : arena_str(ctx->arena, str_c(constraint));
    return ctx_problem(ctx, code, field.p, "%s", message);
}

Err error_plain(Ctx *ctx, Err code, const char *message) {
    return ctx_problem(ctx, code, NULL, "%s", message[0] == '\0' ? "Postgres does not answer" : message);
}

bool error_is_of_plan(const PGresult *error, bool *ret_stale) {
    const char *state = PQresultErrorField(error, PG_DIAG_SQLSTATE);
    const char *function = PQresultErrorField(error, PG_DIAG_SOURCE_FUNCTION);
    if (state == NULL)
        return false;
    /* "cached plan must not change result type": the message may be translated, the C function's name is not. */
    *ret_stale = strcmp(state, "0A000") == 0 && function != NULL && strcmp(function, "RevalidateCachedQuery") == 0;
    /* "prepared statement does not exist": DEALLOCATE ALL, or a pooler that changed the server under us. */
    return *ret_stale || strcmp(state, "26000") == 0;
}
