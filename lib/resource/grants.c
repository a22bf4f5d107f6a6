/*
 * grants.c - each context's least-privilege role.
 *
 * The role owns nothing and cannot log in: workers connect as somebody else and SET ROLE. It may use its schema and
 * read and write the rows of its own tables; the journal of migrations it may only read. Nothing of another context is
 * granted, so a query that strays there fails. What is partitioned is emptied by the partition: those it may TRUNCATE.
 * A default that asks for lastval() needs SELECT on the sequence. A connection that may not make roles (a managed
 * Postgres) is told so in the report and goes on: the tables stand either way, and `usher doctor` says what is missing.
 */
#include "resource/migrate_db.h"

static Err role_exists(Migrator *m, const char *role, bool *ret) {
    const char *values[] = {role};
    PGresult *result = NULL;
    TRY(migrator_query(m, "SELECT 1 FROM pg_roles WHERE rolname = $1", 1, values, &result));
    *ret = PQntuples(result) > 0;
    result_clear(&result);
    return ERR_OK;
}

/* Two contexts' or databases' migrators may meet here: roles belong to the whole cluster, our lock to one schema of one
 * database. */
static Err make_role(Migrator *m, const char *role) {
    Err err = migrator_execf(m, NULL, "CREATE ROLE %s NOLOGIN", role);
    if (err != ERR_OK && (strcmp(m->sqlstate, "42710") == 0 || strcmp(m->sqlstate, "23505") == 0)) {
        m->ctx->problem = (Problem){0};
        return ERR_OK;
    }
    return err;
}

static Err grant_membership(Migrator *m, const char *role) {
    /* Since 16 whoever makes a role is its member at once, but may not yet SET ROLE to it. */
    const char *values[] = {role, PQserverVersion(m->conn) >= 160000 ? "SET" : "MEMBER"};
    PGresult *result = NULL;
    TRY(migrator_query(m, "SELECT pg_has_role(current_user, $1, $2)", 2, values, &result));
    bool member = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
    result_clear(&result);
    return member ? ERR_OK : migrator_execf(m, NULL, "GRANT %s TO CURRENT_USER", role);
}

static Err grant_all(Migrator *m) {
    const char *schema = m->context->schema, *role = m->context->role;
    return migrator_execf(m, NULL,
                          "BEGIN; SET LOCAL lock_timeout = '2s'; GRANT USAGE ON SCHEMA %s TO %s; "
                          "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %s TO %s; "
                          "GRANT SELECT ON ALL SEQUENCES IN SCHEMA %s TO %s; "
                          "REVOKE INSERT, UPDATE, DELETE ON %s.schema_migrations FROM %s; "
                          "DO $$ BEGIN EXECUTE coalesce((SELECT string_agg(format('GRANT TRUNCATE ON %%s TO %s', "
                          "c.oid::regclass), '; ') FROM pg_class c WHERE c.relnamespace = '%s'::regnamespace "
                          "AND c.relispartition AND c.relkind = 'r'), 'SELECT 1'); END $$; COMMIT",
                          schema, role, schema, role, schema, role, schema, role, role, schema);
}

static Err need_role(Migrator *m, const char *role) {
    bool there;
    TRY(role_exists(m, role, &there));
    if (!there)
        TRY(make_role(m, role));
    return grant_membership(m, role);
}

/* The declared grants of tables to roles beside the context's own; a table may still be to come (`up --to`). */
static Err grant_declared(Migrator *m) {
    const char *schema = m->context->schema;
    for (const Resource *const *r = m->context->resources; *r != NULL; r++)
        for (const Grant *grant = (*r)->grants; grant != NULL && grant->role != NULL; grant++) {
            TRY(need_role(m, grant->role));
            TRY(migrator_execf(m, NULL,
                               "SET lock_timeout = '2s'; DO $$ BEGIN IF to_regclass('%s.%s') IS NOT NULL THEN "
                               "GRANT USAGE ON SCHEMA %s TO %s; GRANT %s ON %s.%s TO %s; END IF; END $$; "
                               "RESET lock_timeout",
                               schema, (*r)->plural, schema, grant->role, grant->privileges, schema, (*r)->plural,
                               grant->role));
        }
    return ERR_OK;
}

Err grants_apply(Migrator *m) {
    if (m->context->role == NULL)
        return ERR_OK;
    Err err = need_role(m, m->context->role);
    if (err == ERR_OK)
        err = grant_all(m);
    if (err == ERR_OK)
        err = grant_declared(m);
    migrator_rollback(m);
    if (err != ERR_REFUSED)
        return err;
    buf_printf(m->report, "%s: role %s could not be made or given its privileges: %.*s; have an administrator do it\n",
               m->context->name, m->context->role, STR_ARG(m->ctx->problem.message));
    m->ctx->problem = (Problem){0};
    return ERR_OK;
}

static const char VERIFY_SQL[] =
    "SELECT c.relname, p.privilege, p.wanted FROM pg_class c\n"
    "CROSS JOIN LATERAL (VALUES ('SELECT', true), ('INSERT', c.relname <> 'schema_migrations'),\n"
    "  ('UPDATE', c.relname <> 'schema_migrations'), ('DELETE', c.relname <> 'schema_migrations'), ('TRUNCATE', "
    "c.relispartition))\n"
    "  AS p (privilege, wanted)\n"
    "WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p')\n"
    "  AND has_table_privilege($2, c.oid, p.privilege) <> p.wanted\n"
    "ORDER BY 1, 2";

static const char VERIFY_DECLARED_SQL[] =
    "SELECT p.privilege, position(p.privilege in $4) > 0\n"
    "FROM (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE'), ('TRUNCATE')) AS p (privilege)\n"
    "WHERE EXISTS (SELECT FROM pg_roles WHERE rolname = $2) AND to_regclass($1 || '.' || $3) IS NOT NULL\n"
    "  AND has_table_privilege($2, to_regclass($1 || '.' || $3)::oid, p.privilege) <> (position(p.privilege in $4) > "
    "0)\n"
    "ORDER BY 1";

static Err verify_declared(Migrator *m, const Resource *resource, const Grant *grant, size_t *mistakes) {
    const char *values[] = {m->context->schema, grant->role, resource->plural, grant->privileges};
    PGresult *result = NULL;
    TRY(migrator_query(m, VERIFY_DECLARED_SQL, 4, values, &result));
    for (int row = 0; row < PQntuples(result); row++) {
        bool wanted = strcmp(PQgetvalue(result, row, 1), "t") == 0;
        buf_printf(m->report, "%s: role %s %s %s on %s.%s\n", m->context->name, grant->role,
                   wanted ? "lacks" : "should not have", PQgetvalue(result, row, 0), m->context->schema,
                   resource->plural);
        (*mistakes)++;
    }
    result_clear(&result);
    return ERR_OK;
}

Err grants_verify(Migrator *m, size_t *mistakes) {
    const char *role = m->context->role;
    bool there;
    if (role == NULL)
        return ERR_OK;
    for (const Resource *const *r = m->context->resources; *r != NULL; r++)
        for (const Grant *grant = (*r)->grants; grant != NULL && grant->role != NULL; grant++)
            TRY(verify_declared(m, *r, grant, mistakes));
    TRY(role_exists(m, role, &there));
    if (!there) {
        buf_printf(m->report, "%s: role %s is not there; run usher migrate up as a user that may create roles\n",
                   m->context->name, role);
        (*mistakes)++;
        return ERR_OK;
    }
    const char *values[] = {m->context->schema, role};
    PGresult *result = NULL;
    TRY(migrator_query(m, VERIFY_SQL, 2, values, &result));
    for (int row = 0; row < PQntuples(result); row++) {
        bool wanted = strcmp(PQgetvalue(result, row, 2), "t") == 0;
        buf_printf(m->report, "%s: role %s %s %s on %s.%s\n", m->context->name, role,
                   wanted ? "lacks" : "should not have", PQgetvalue(result, row, 1), m->context->schema,
                   PQgetvalue(result, row, 0));
        (*mistakes)++;
    }
    result_clear(&result);
    return ERR_OK;
}
