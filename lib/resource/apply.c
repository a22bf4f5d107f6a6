/*
 * apply.c - migrate_up and migrate_down.
 *
 * A migration and its journal row are one commit, so that a migrator that dies leaves either both or neither.
 * Statements wait for locks at most LOCK_TIMEOUT: behind a waiting ALTER TABLE every reader of that table queues, so
 * giving up and trying again later is kinder than waiting. What is marked `-- usher: no transaction` runs statement by
 * statement and is written to be repeatable; it is recorded when its last statement is done.
 */
#include <stdio.h>

#include "resource/migrate_db.h"
#include "resource/sqltext.h"

#define LOCK_TIMEOUT "2s"
/* CONCURRENTLY and VALIDATE hold up nobody while they wait. */
#define LOCK_TIMEOUT_PATIENT "10min"
#define ATTEMPTS_MAX         10
#define BACKOFF_MS_MAX       2000

static void back_off(Migrator *m, int attempt) {
    migrator_pause(m, MIN_OF((int64_t)50 << attempt, (int64_t)BACKOFF_MS_MAX));
}

static Err journal_write(Migrator *m, const Migration *migration, bool up) {
    char version[16], sql[512];
    snprintf(version, sizeof version, "%d", migration->version);
    const char *values[] = {version, migration->name, migration->up};
    snprintf(sql, sizeof sql,
             up ? "INSERT INTO %s.schema_migrations (version, name, checksum) VALUES ($1, $2, "
                  "encode(sha256(convert_to($3, 'UTF8')), 'hex'))"
                : "DELETE FROM %s.schema_migrations WHERE version = $1",
             m->context->schema);
    return migrator_query(m, sql, up ? 3 : 1, values, NULL);
}

static Err run_in_transaction(Migrator *m, const Migration *migration, bool up) {
    TRY(migrator_exec(m, "BEGIN; SET LOCAL lock_timeout = '" LOCK_TIMEOUT "'; SET LOCAL statement_timeout = 0", NULL));
    TRY(migrator_exec(m, up ? migration->up : migration->down, NULL));
    /* A COMMIT within the file would leave the journal row on its own. */
    if (PQtransactionStatus(m->conn) != PQTRANS_INTRANS)
        return ctx_problem(m->ctx, ERR_INVALID, NULL,
                           "it ends its transaction itself; mark it `-- usher: no transaction`");
    TRY(journal_write(m, migration, up));
    return migrator_exec(m, "COMMIT", NULL);
}

static Err run_statements(Migrator *m, const Migration *migration, bool up) {
    Str rest = str_c(up ? migration->up : migration->down), statement;
    Err err = ERR_OK;
    while (err == ERR_OK && sql_next(&rest, &statement)) {
        Str sql = arena_str(m->ctx->arena, statement);
        if (sql.p == NULL)
            return ERR_NO_MEMORY;
        bool patient = sql_has_word(sql, "concurrently") || sql_has_word(sql, "validate");
        TRY(migrator_execf(m, NULL, "SET lock_timeout = '%s'", patient ? LOCK_TIMEOUT_PATIENT : LOCK_TIMEOUT));
        err = migrator_exec(m, sql.p, NULL);
    }
    TRY(err);
    return journal_write(m, migration, up);
}

static Err run(Migrator *m, const Migration *migration, bool up) {
    const char *sql = up ? migration->up : migration->down;
    bool alone = sql_no_transaction(str_c(sql));
    Err err = ERR_INTERNAL;
    for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        err = alone ? run_statements(m, migration, up) : run_in_transaction(m, migration, up);
        migrator_rollback(m);
        if (err != ERR_RETRY || (m->ctx->deadline_ms > 0 && clock_mono_ms() >= m->ctx->deadline_ms))
            break;
        back_off(m, attempt);
    }
    if (alone && PQstatus(m->conn) == CONNECTION_OK)
        PQclear(PQexec(m->conn, "RESET lock_timeout"));
    Str why = m->ctx->problem.message;
    if (err == ERR_OK) {
        m->ctx->problem = (Problem){0}; /* of an attempt that is forgotten */
        buf_printf(m->report, "%s: %04d_%s %s\n", m->context->name, migration->version, migration->name,
                   up ? "applied" : "taken back");
    } else {
        buf_printf(m->report, "%s: %04d_%s failed: %.*s\n", m->context->name, migration->version, migration->name,
                   STR_ARG(why));
    }
    return err;
}

/* What stands in the way of going on at all. */
static Err check_journal(Migrator *m, const JournalLine *lines, size_t n, bool up) {
    bool gap = false;
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        const JournalLine *line = &lines[i];
        if (line->checksum_differs) {
            buf_printf(m->report,
                       "%s: %04d_%.*s: its text was changed after it was applied; restore the file, and put the change "
                       "into a migration of its own\n",
                       m->context->name, line->version, STR_ARG(line->name));
            wrong++;
        } else if (line->migration == NULL) {
            buf_printf(m->report, "%s: %04d_%.*s was applied by a newer usher%s\n", m->context->name, line->version,
                       STR_ARG(line->name), up && !gap ? "; nothing to do for this one" : ", which must do this");
            wrong += !up || gap;
        } else if (!line->applied) {
            gap = true;
        } else if (gap) {
            buf_printf(m->report, "%s: %04d_%.*s is applied, but one before it is not\n", m->context->name,
                       line->version, STR_ARG(line->name));
            wrong++;
        }
    }
    return wrong == 0 ? ERR_OK
                      : ctx_problem(m->ctx, ERR_CONFLICT, NULL, "%s: the database's migrations are not this usher's",
                                    m->context->name);
}

static Err up_locked(Migrator *m, int target) {
    JournalLine *lines;
    size_t n = 0;
    TRY(journal_prepare(m));
    TRY(journal_read(m, &lines, &n));
    TRY(check_journal(m, lines, n, true));
    for (size_t i = 0; i < n; i++) {
        if (!lines[i].applied && (target == 0 || lines[i].version <= target))
            TRY(run(m, lines[i].migration, true));
    }
    return grants_apply(m);
}

Err migrate_up(Ctx *ctx, const Context *context, PGconn *conn, int target, Buf *report) {
    Migrator m = {.ctx = ctx, .context = context, .conn = conn, .report = report};
    TRY(migrator_lock(&m));
    Err err = up_locked(&m, target);
    migrator_unlock(&m);
    return err;
}

static Err check_losses(Migrator *m, const JournalLine *lines, size_t n, int target) {
    size_t losses = 0;
    for (size_t i = n; i-- > 0;) {
        if (!lines[i].applied || lines[i].version <= target || !sql_loses_data(str_c(lines[i].migration->down)))
            continue;
        buf_printf(m->report, "%s: refused: taking back %04d_%.*s loses data. To allow it: --allow-data-loss\n",
                   m->context->name, lines[i].version, STR_ARG(lines[i].name));
        losses++;
    }
    return losses == 0 ? ERR_OK : ctx_problem(m->ctx, ERR_REFUSED, NULL, "%s: data would be lost", m->context->name);
}

static Err down_locked(Migrator *m, int target, bool allow_data_loss) {
    JournalLine *lines;
    size_t n = 0;
    TRY(journal_read(m, &lines, &n));
    TRY(check_journal(m, lines, n, false));
    if (!allow_data_loss)
        TRY(check_losses(m, lines, n, target));
    for (size_t i = n; i-- > 0;) {
        if (lines[i].applied && lines[i].version > target)
            TRY(run(m, lines[i].migration, false));
    }
    return ERR_OK;
}

Err migrate_down(Ctx *ctx, const Context *context, PGconn *conn, int target, bool allow_data_loss, Buf *report) {
    Migrator m = {.ctx = ctx, .context = context, .conn = conn, .report = report};
    TRY(migrator_lock(&m));
    Err err = down_locked(&m, target, allow_data_loss);
    migrator_unlock(&m);
    return err;
}
