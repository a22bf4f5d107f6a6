/*
 * conditions.c - "only if nobody has changed it": what a row is known by, and looking again under its lock.
 *
 * A row's version is the digest of its content. A counter column would have to be declared, migrated and kept by every
 * statement that writes the row; xmin changes with a restore. Two states that are equal in every attribute have the
 * same digest, which is what a client that read the row would say, too.
 */
#include "base/sha256.h"
#include "resource/engine_internal.h"

Err resource_fingerprint(const Resource *resource, Arena *arena, const void *row, Fingerprint *ret) {
    PgParams params;
    Sha256 hash;
    sha256_begin(&hash);
    for (const Attribute *a = resource->attributes; a->name != NULL; a++) {
        pg_params_init(&params, arena);
        resource_add_value(&params, a, row);
        if (params.data.err != ERR_OK)
            return params.data.err;
        for (int i = 0; i < params.n; i++) {
            int64_t length = params.nulls[i] ? -1 : params.lengths[i];
            sha256_add(&hash, &length, sizeof length);
            if (length > 0)
                sha256_add(&hash, params.data.p + params.at[i], (size_t)length);
        }
    }
    sha256_end(&hash, ret->bytes);
    return ERR_OK;
}

static bool is_conditional(const Member *member) {
    return member->conditions != NULL && member->conditions->unchanged != NULL;
}

/* The rows of all conditional members, locked in order of key. */
CO_FN static Err lock_rows(Engine *engine, PgTx *tx, Set *set, PgResult *ret) {
    const Attribute *key = resource_key(set->resource);
    Buf sql = buf_new(set->ctx->arena, 16384);
    buf_add_c(&sql, "SELECT ");
    resource_columns(set->resource, "", &sql);
    buf_printf(&sql, " FROM %s.%s WHERE %s = ANY((SELECT $1)::uuid[]) ORDER BY %s FOR NO KEY UPDATE",
               set->resource->schema, set->resource->plural, key->name, key->name);
    buf_add_char(&sql, '\0');
    Str text, name = arena_printf(set->ctx->arena, "%s_unchanged", set->resource->name);
    TRY(buf_finish(&sql, &text));
    if (name.p == NULL)
        return ERR_NO_MEMORY;
    const Statement *statement;
    TRY(engine_statement(engine, name.p, text.p, true, &statement));
    PgParams params;
    pg_params_init(&params, set->ctx->arena);
    pg_array_begin(&params, OID_UUID_ARRAY);
    for (size_t i = 0; i < set->n; i++)
        if (is_conditional(set->members[i]))
            pg_array_id(&params, resource_key_of(set->resource, set->members[i]->input));
    pg_array_end(&params);
    return pg_tx_query(tx, statement, &params, ret);
}

/* ERR_OK: as it was. ERR_NOT_FOUND, ERR_CONFLICT: the member's outcome. */
static Err compare(const Set *set, const PgResult *rows, const Member *member, Err *ret_outcome) {
    Id key = resource_key_of(set->resource, member->input);
    void *row = arena_alloc(set->ctx->arena, set->resource->size);
    if (row == NULL)
        return ERR_NO_MEMORY;
    *ret_outcome = ERR_NOT_FOUND;
    for (int i = 0; i < rows->rows; i++) {
        Fingerprint now;
        TRY(resource_decode(set->resource, rows, i, row));
        if (!id_eq(resource_key_of(set->resource, row), key))
            continue;
        TRY(resource_fingerprint(set->resource, set->ctx->arena, row, &now));
        bool same = memcmp(now.bytes, member->conditions->unchanged->bytes, sizeof now.bytes) == 0;
        *ret_outcome = same ? ERR_OK : ERR_CONFLICT;
        break;
    }
    return ERR_OK;
}

CO_FN Err conditions_check(Engine *engine, PgTx *tx, Set *set) {
    size_t conditional = 0;
    for (size_t i = 0; i < set->n; i++)
        conditional += is_conditional(set->members[i]);
    if (conditional == 0)
        return ERR_OK;
    if (set->action->lock != NULL)
        TRY(set->action->lock(tx, set));
    PgResult rows;
    TRY(lock_rows(engine, tx, set, &rows));
    size_t kept = 0;
    for (size_t i = 0; i < set->n; i++) {
        Member *member = set->members[i];
        Err outcome = ERR_OK;
        if (is_conditional(member)) {
            TRY(compare(set, &rows, member, &outcome));
            member->conditions->stale = outcome == ERR_CONFLICT;
        }
        if (outcome == ERR_OK)
            set->members[kept++] = member;
        else
            (void)member_refuse(member, outcome, NULL,
                                outcome == ERR_CONFLICT ? "Somebody has changed this %s meanwhile."
                                                        : "This %s does not exist.",
                                set->resource->name);
    }
    set->n = kept;
    return ERR_OK;
}
