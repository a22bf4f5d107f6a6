/*
 * migrate_db.c - statements, the lock and the journal of migrations.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "resource/migrate_db.h"

void result_clear(PGresult **result) {
    PQclear(*result);
    *result = NULL;
}

static Err error_of(const char *sqlstate) {
    static const struct {
        const char *prefix;
        Err err;
    } TABLE[] = {
        {"55P03", ERR_RETRY}, {"40001", ERR_RETRY},   {"40P01", ERR_RETRY}, {"42501", ERR_REFUSED},
        {"23", ERR_CONFLICT}, {"57014", ERR_TIMEOUT}, {"53", ERR_LIMIT},    {"57P", ERR_UNAVAILABLE},
    };
    for (size_t i = 0; i < ARRAY_LEN(TABLE); i++) {
        if (strncmp(sqlstate, TABLE[i].prefix, strlen(TABLE[i].prefix)) == 0)
            return TABLE[i].err;
    }
    return ERR_INTERNAL;
}

static Err take(Migrator *m, PGresult *result, PGresult **ret) {
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY) {
        if (ret != NULL)
            *ret = result;
        else
            PQclear(result);
        return ERR_OK;
    }
    m->ctx->problem = (Problem){0};
    m->sqlstate[0] = '\0';
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    Err err;
    if (state == NULL) {
        Str words = str_trim(str_c(PQerrorMessage(m->conn)), " \n");
        err = ctx_problem(m->ctx, ERR_UNAVAILABLE, NULL, "%.*s", STR_ARG(words));
    } else {
        snprintf(m->sqlstate, sizeof m->sqlstate, "%s", state);
        const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
        err = ctx_problem(m->ctx, error_of(state), NULL, "%s%s%s (%s)",
                          PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY), detail == NULL ? "" : ": ",
                          detail == NULL ? "" : detail, state);
    }
    PQclear(result);
    return err;
}

Err migrator_exec(Migrator *m, const char *sql, PGresult **ret) {
    return take(m, PQexec(m->conn, sql), ret);
}

Err migrator_query(Migrator *m, const char *sql, int n, const char *const *values, PGresult **ret) {
    return take(m, PQexecParams(m->conn, sql, n, NULL, values, NULL, NULL, 0), ret);
}

Err migrator_execf(Migrator *m, PGresult **ret, const char *format, ...) {
    char sql[4096];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(sql, sizeof sql, format, arguments);
    va_end(arguments);
    if (n < 0 || (size_t)n >= sizeof sql)
        return ERR_LIMIT;
    return migrator_exec(m, sql, ret);
}

void migrator_rollback(Migrator *m) {
    if (PQstatus(m->conn) == CONNECTION_OK && PQtransactionStatus(m->conn) != PQTRANS_IDLE)
        PQclear(PQexec(m->conn, "ROLLBACK"));
}

void migrator_pause(Migrator *m, int64_t ms) {
    char sql[64];
    snprintf(sql, sizeof sql, "SELECT pg_sleep(%lld / 1000.0)", (long long)ms);
    if (PQstatus(m->conn) == CONNECTION_OK)
        PQclear(PQexec(m->conn, sql));
}

/* --- lock -------------------------------------------------------------------------------------------------- */

#define LOCK_KEY     "hashtextextended('usher migrate %s', 0)"
#define LOCK_WAIT_MS 60000
#define LOCK_POLL_MS 20

Err migrator_lock(Migrator *m) {
    int64_t deadline = m->ctx->deadline_ms > 0 ? m->ctx->deadline_ms : clock_mono_ms() + LOCK_WAIT_MS;
    for (;;) {
        PGresult *result = NULL;
        TRY(migrator_execf(m, &result, "SELECT pg_try_advisory_lock(" LOCK_KEY ")", m->context->schema));
        bool got = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
        result_clear(&result);
        if (got)
            return ERR_OK;
        if (clock_mono_ms() >= deadline)
            return ctx_problem(m->ctx, ERR_TIMEOUT, NULL, "%s: another migrator is at work on schema %s",
                               m->context->name, m->context->schema);
        migrator_pause(m, LOCK_POLL_MS);
    }
}

void migrator_unlock(Migrator *m) {
    char sql[256];
    snprintf(sql, sizeof sql, "SELECT pg_advisory_unlock(" LOCK_KEY ")", m->context->schema);
    if (PQstatus(m->conn) == CONNECTION_OK) /* otherwise the server has let go of it by itself */
        PQclear(PQexec(m->conn, sql));
}

/* --- journal ----------------------------------------------------------------------------------------------- */

static Err exists(Migrator *m, const char *sql, bool *ret) {
    PGresult *result = NULL;
    TRY(migrator_execf(m, &result, sql, m->context->schema));
    *ret = PQntuples(result) > 0 && PQgetisnull(result, 0, 0) == 0;
    result_clear(&result);
    return ERR_OK;
}

/* Looked for first: CREATE … IF NOT EXISTS asks for the privilege to create even where there is nothing to create. */
Err journal_prepare(Migrator *m) {
    bool there;
    TRY(exists(m, "SELECT to_regnamespace('%s')", &there));
    if (!there)
        TRY(migrator_execf(m, NULL, "CREATE SCHEMA IF NOT EXISTS %s", m->context->schema));
    TRY(exists(m, "SELECT to_regclass('%s.schema_migrations')", &there));
    if (!there)
        TRY(migrator_execf(
            m, NULL,
            "CREATE TABLE IF NOT EXISTS %s.schema_migrations (version integer PRIMARY KEY, name text NOT "
            "NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())",
            m->context->schema));
    return ERR_OK;
}

static size_t count_embedded(const Context *context) {
    size_t n = 0;
    while (context->migrations != NULL && context->migrations[n].name != NULL)
        n++;
    return n;
}

static JournalLine *find_line(JournalLine *lines, size_t n, int version) {
    for (size_t i = 0; i < n; i++) {
        if (lines[i].version == version)
            return &lines[i];
    }
    return NULL;
}

static Err checksum_differs(Migrator *m, const Migration *migration, const char *checksum, bool *ret) {
    const char *values[] = {migration->up, checksum};
    PGresult *result = NULL;
    TRY(migrator_query(m, "SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex') <> $2", 2, values, &result));
    *ret = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
    result_clear(&result);
    return ERR_OK;
}

static Err merge_applied(Migrator *m, PGresult *rows, JournalLine *lines, size_t *n) {
    for (int row = 0; row < PQntuples(rows); row++) {
        int version = (int)strtol(PQgetvalue(rows, row, 0), NULL, 10);
        JournalLine *line = find_line(lines, *n, version);
        if (line == NULL) {
            line = &lines[(*n)++];
            *line =
                (JournalLine){.version = version, .name = arena_str(m->ctx->arena, str_c(PQgetvalue(rows, row, 1)))};
        }
        line->applied = true;
        line->applied_at = arena_str(m->ctx->arena, str_c(PQgetvalue(rows, row, 3)));
        if (line->name.p == NULL || line->applied_at.p == NULL)
            return ERR_NO_MEMORY;
        if (line->migration != NULL)
            TRY(checksum_differs(m, line->migration, PQgetvalue(rows, row, 2), &line->checksum_differs));
    }
    return ERR_OK;
}

static void sort_lines(JournalLine *lines, size_t n) {
    for (size_t i = 1; i < n; i++) {
        JournalLine line = lines[i];
        size_t j = i;
        for (; j > 0 && lines[j - 1].version > line.version; j--)
            lines[j] = lines[j - 1];
        lines[j] = line;
    }
}

Err journal_read(Migrator *m, JournalLine **ret, size_t *ret_n) {
    bool there;
    size_t n = count_embedded(m->context);
    PGresult *rows = NULL;
    TRY(exists(m, "SELECT to_regclass('%s.schema_migrations')", &there));
    if (there)
        TRY(migrator_execf(m, &rows,
                           "SELECT version, name, checksum, applied_at FROM %s.schema_migrations ORDER BY version",
                           m->context->schema));
    JournalLine *lines = ARENA_ARRAY(m->ctx->arena, JournalLine, n + (rows == NULL ? 0 : (size_t)PQntuples(rows)));
    if (lines == NULL) {
        PQclear(rows);
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < n; i++) {
        const Migration *migration = &m->context->migrations[i];
        lines[i] = (JournalLine){.version = migration->version, .name = str_c(migration->name), .migration = migration};
    }
    Err err = rows == NULL ? ERR_OK : merge_applied(m, rows, lines, &n);
    PQclear(rows);
    TRY(err);
    sort_lines(lines, n);
    *ret = lines;
    *ret_n = n;
    return ERR_OK;
}

Err migrate_status(Ctx *ctx, const Context *context, PGconn *conn, MigrationStatus **ret, size_t *ret_n) {
    Migrator m = {.ctx = ctx, .context = context, .conn = conn};
    JournalLine *lines;
    size_t n = 0;
    TRY(journal_read(&m, &lines, &n));
    MigrationStatus *status = ARENA_ARRAY(ctx->arena, MigrationStatus, n);
    if (status == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++)
        status[i] = (MigrationStatus){.version = lines[i].version,
                                      .name = lines[i].name.p,
                                      .applied = lines[i].applied,
                                      .checksum_differs = lines[i].checksum_differs,
                                      .unknown_here = lines[i].migration == NULL,
                                      .applied_at = lines[i].applied_at};
    *ret = status;
    *ret_n = n;
    return ERR_OK;
}
