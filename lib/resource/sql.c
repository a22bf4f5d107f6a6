/*
 * sql.c - the statements that follow from declarations, and their parameters.
 *
 * Everything comes in as arrays and is unnested WITH ORDINALITY, so that one text serves sets of every size, prepared
 * once. The alternative, VALUES lists of every length, would need a plan per length; a statement per row would need a
 * round trip or an executor start per row (13k against 52k writes a second).
 *
 * Where rows are looked up by an array it is written (SELECT $1): the planner does not see what is in it, so that sets
 * of every size have the same plan and it is made once. Where it sees that a set is small it finds a plan for this set
 * cheaper than the generic one, each time anew, and planning takes longer than the work: purchases by 8 buyers went
 * from 5,000 to 11,000 a second (bench/limits.md). Inserts cost the same either way. Derived updates are left as they
 * are: with one plan rows would be updated in the table's order where it is small, and of two that meet in an identity
 * the other one would win.
 *
 * Each compose_ function has its bind function right below it. They must name the same parameters in the same order.
 */
#include "resource/compose.h"
#include "resource/tracing.h"

#define SQL_MAX 65536

const Attribute *resource_key(const Resource *resource) {
    const Attribute *key = NULL;
    for (const Attribute *a = resource->attributes; a != NULL && a->name != NULL; a++) {
        if (!a->key)
            continue;
        if (key != NULL || a->type != TYPE_ID || a->optional)
            return NULL;
        key = a;
    }
    return key;
}

Id resource_key_of(const Resource *resource, const void *object) {
    const Attribute *key = resource_key(resource);
    ASSERT(key != NULL);
    Id id;
    memcpy(&id, (const char *)object + key->offset, sizeof id);
    return id;
}

const Resource *context_outbox(const Context *context) {
    for (const Resource *const *r = context->resources; r != NULL && *r != NULL; r++) {
        if (strcmp((*r)->name, "outbox") == 0)
            return *r;
    }
    return NULL;
}

bool action_accepts(const Action *action, const Attribute *attribute) {
    if (attribute->key || attribute->identity)
        return false;
    if (action->accept[0] == NULL)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(action->accept) && action->accept[i] != NULL; i++) {
        if (strcmp(action->accept[i], attribute->name) == 0)
            return true;
    }
    return false;
}

static const char *array_type(Type type) {
    switch (type) {
    case TYPE_BOOL:
        return "boolean[]";
    case TYPE_INT16:
        return "smallint[]";
    case TYPE_INT32:
        return "integer[]";
    case TYPE_INT64:
        return "bigint[]";
    case TYPE_TEXT:
        return "text[]";
    case TYPE_ID:
        return "uuid[]";
    case TYPE_DECIMAL:
        return "numeric[]";
    case TYPE_INSTANT:
        return "timestamptz[]";
    case TYPE_JSON:
        return "jsonb[]";
    case TYPE_NONE:
        break;
    }
    ASSERT(false);
    return NULL;
}

static Err statement_end(Arena *arena, const Buf *sql, Str name, bool writes, Statement *ret) {
    Str text;
    TRY(buf_finish(sql, &text));
    Str copy = arena_str(arena, text);
    if (copy.p == NULL || name.p == NULL)
        return ERR_NO_MEMORY;
    *ret = (Statement){.name = name.p, .sql = copy.p, .writes = writes};
    return ERR_OK;
}

/* --- get --------------------------------------------------------------------------------------------------- */

Err compose_get(Arena *arena, const Resource *resource, Statement *ret) {
    const Attribute *key = resource_key(resource);
    if (key == NULL)
        return ERR_INVALID;
    Buf sql = buf_new(arena, SQL_MAX);
    buf_add_c(&sql, "SELECT ");
    resource_columns(resource, "", &sql);
    buf_printf(&sql, " FROM %s.%s WHERE %s = ANY((SELECT $1::uuid[])::uuid[])", resource->schema, resource->plural,
               key->name);
    return statement_end(arena, &sql, arena_printf(arena, "%s_get", resource->name), false, ret);
}

/* --- the outbox's part ------------------------------------------------------------------------------------- */

#define OUTBOX_COLUMNS "message_id, type, aggregate, payload, traceparent, tracestate, baggage, appended_at"
#define OUTBOX_PARAMS  9 /* row_key first */

static void add_told(Buf *sql, const char *schema, int first, const char *key) {
    buf_printf(sql, "told AS (INSERT INTO %s.outbox (" OUTBOX_COLUMNS ")\n", schema);
    buf_add_c(sql, "  SELECT m.message_id, m.type, m.aggregate, m.payload, m.traceparent, m.tracestate, m.baggage, "
                   "m.appended_at\n");
    buf_printf(sql,
               "  FROM unnest($%d::uuid[], $%d::uuid[], $%d::text[], $%d::uuid[], $%d::text[], $%d::text[], "
               "$%d::text[], $%d::text[], $%d::timestamptz[])\n",
               first, first + 1, first + 2, first + 3, first + 4, first + 5, first + 6, first + 7, first + 8);
    buf_add_c(sql, "  WITH ORDINALITY AS m (row_key, " OUTBOX_COLUMNS ", ord)");
    if (key != NULL)
        buf_printf(sql, " JOIN done ON done.%s = m.row_key", key);
    buf_add_c(sql, "\n  ORDER BY m.ord RETURNING 1),\n");
    buf_printf(sql, "woken AS (SELECT pg_notify('%s_outbox', '') WHERE EXISTS (SELECT 1 FROM told))\n", schema);
}

/* Walks the messages of all members that are still well: *member NULL starts, false ends. */
static bool next_outgoing(const Set *set, size_t *at, const Outgoing **message) {
    if (*message != NULL && (*message)->next != NULL) {
        *message = (*message)->next;
        return true;
    }
    for (size_t i = *message == NULL ? 0 : *at + 1; i < set->n; i++) {
        if (set->members[i]->outcome == ERR_OK && set->members[i]->outgoing != NULL) {
            *at = i;
            *message = set->members[i]->outgoing;
            return true;
        }
    }
    return false;
}

static void bind_outgoing(PgParams *params, const Set *set, int column, const Member *member, const Outgoing *message) {
    char traceparent[TRACEPARENT_LEN];
    const Trace *trace = &member->ctx->trace;
    Trace own;
    switch (column) {
    case 0:
        pg_array_id(params,
                    set->action->run == NULL ? resource_key_of(set->resource, member->input) : message->aggregate);
        break;
    case 1:
        pg_array_id(params, message->id);
        break;
    case 2:
        pg_array_text(params, message->type);
        break;
    case 3:
        pg_array_id(params, message->aggregate);
        break;
    case 4:
        pg_array_text(params, message->payload); /* text: see OutboxRow */
        break;
    case 5:
        own = *trace;
        trace_message_ids(message, &own);
        trace_format(&own, traceparent);
        pg_array_text(params, (Str){traceparent, TRACEPARENT_LEN});
        break;
    case 6:
        pg_array_text(params, trace->state);
        break;
    case 7:
        pg_array_text(params, trace->baggage);
        break;
    default:
        pg_array_instant(params, member->ctx->now);
        break;
    }
}

size_t compose_outbox_bind(PgParams *params, const Set *set) {
    static const Oid OIDS[OUTBOX_PARAMS] = {OID_UUID_ARRAY, OID_UUID_ARRAY, OID_TEXT_ARRAY,
                                            OID_UUID_ARRAY, OID_TEXT_ARRAY, OID_TEXT_ARRAY,
                                            OID_TEXT_ARRAY, OID_TEXT_ARRAY, OID_TIMESTAMPTZ_ARRAY};
    size_t n = 0;
    for (int column = 0; column < OUTBOX_PARAMS; column++) {
        size_t at = 0;
        const Outgoing *message = NULL;
        pg_array_begin(params, OIDS[column]);
        for (n = 0; next_outgoing(set, &at, &message); n++)
            bind_outgoing(params, set, column, set->members[at], message);
        pg_array_end(params);
    }
    return n;
}

Err compose_outbox(Arena *arena, const Context *context, Statement *ret) {
    const Resource *outbox = context_outbox(context);
    if (outbox == NULL)
        return ERR_INVALID;
    Buf sql = buf_new(arena, SQL_MAX);
    buf_add_c(&sql, "WITH ");
    add_told(&sql, outbox->schema, 1, NULL);
    buf_add_c(&sql, "SELECT count(*) FROM woken");
    return statement_end(arena, &sql, STR("outbox_append"), true, ret);
}

/* --- derived actions --------------------------------------------------------------------------------------- */

/* Which columns does the action write, the key first? Calls add for each; also what bind walks. */
static bool action_writes(const Action *action, const Attribute *a) {
    return a->key || (action->kind != ACTION_DESTROY && action_accepts(action, a));
}

static void add_input(Buf *sql, const Resource *resource, const Action *action, int *parameter) {
    buf_add_c(sql, "WITH input AS (SELECT * FROM unnest(");
    const char *comma = "";
    for (const Attribute *a = resource->attributes; a->name != NULL; a++) {
        if (!action_writes(action, a))
            continue;
        buf_printf(sql, "%s$%d::%s", comma, (*parameter)++, array_type(a->type));
        if (attribute_has_fine(a))
            buf_printf(sql, ", $%d::smallint[]", (*parameter)++);
        comma = ", ";
    }
    buf_add_c(sql, ") WITH ORDINALITY AS i (");
    for (const Attribute *a = resource->attributes; a->name != NULL; a++) {
        if (!action_writes(action, a))
            continue;
        buf_printf(sql, "%s, ", a->name);
        if (attribute_has_fine(a))
            buf_printf(sql, "%s" FINE_SUFFIX ", ", a->name);
    }
    buf_add_c(sql, "ord)),\n");
}

static void add_create(Buf *sql, const Resource *resource, const Action *action, const char *key) {
    buf_printf(sql, "done AS (INSERT INTO %s.%s (", resource->schema, resource->plural);
    for (int pass = 0; pass < 2; pass++) {
        const char *comma = "";
        for (const Attribute *a = resource->attributes; a->name != NULL; a++) {
            if (!action_writes(action, a))
                continue;
            /* An absent value means "the default" where there is one: NULL would be refused or stored. */
            if (pass == 1 && a->default_sql != NULL)
                buf_printf(sql, "%sCOALESCE(input.%s, %s)", comma, a->name, a->default_sql);
            else
                buf_printf(sql, "%s%s%s", comma, pass == 1 ? "input." : "", a->name);
            if (attribute_has_fine(a))
                buf_printf(sql, ", %s%s" FINE_SUFFIX, pass == 1 ? "input." : "", a->name);
            comma = ", ";
        }
        buf_add_c(sql, pass == 0 ? ")\n  SELECT " : "");
    }
    buf_printf(sql, " FROM input ORDER BY input.ord ON CONFLICT DO NOTHING RETURNING %s)", key);
}

static void add_update(Buf *sql, const Resource *resource, const Action *action, const char *key) {
    buf_printf(sql, "done AS (UPDATE %s.%s AS t SET ", resource->schema, resource->plural);
    const char *comma = "";
    for (const Attribute *a = resource->attributes; a->name != NULL; a++) {
        if (a->key || !action_writes(action, a))
            continue;
        buf_printf(sql, "%s%s = input.%s", comma, a->name, a->name);
        if (attribute_has_fine(a))
            buf_printf(sql, ", %s" FINE_SUFFIX " = input.%s" FINE_SUFFIX, a->name, a->name);
        comma = ", ";
    }
    buf_printf(sql, "\n  FROM input WHERE t.%s = input.%s RETURNING t.%s)", key, key, key);
}

Err compose_action(Arena *arena, const Context *context, const Resource *resource, const Action *action,
                   Statement *ret) {
    const Attribute *key = resource_key(resource);
    if (key == NULL)
        return ERR_INVALID;
    const Resource *outbox = context_outbox(context);
    Buf sql = buf_new(arena, SQL_MAX);
    int parameter = 1;
    add_input(&sql, resource, action, &parameter);
    switch (action->kind) {
    case ACTION_CREATE:
        add_create(&sql, resource, action, key->name);
        break;
    case ACTION_UPDATE:
        add_update(&sql, resource, action, key->name);
        break;
    case ACTION_DESTROY:
        buf_printf(&sql, "done AS (DELETE FROM %s.%s AS t USING input WHERE t.%s = input.%s RETURNING t.%s)",
                   resource->schema, resource->plural, key->name, key->name, key->name);
        break;
    case ACTION_READ:
    case ACTION_CUSTOM:
        return ERR_INVALID;
    }
    if (outbox != NULL) {
        buf_add_c(&sql, ",\n");
        add_told(&sql, outbox->schema, parameter, key->name);
        /* A CTE that only selects runs only where it is read: hence the second column. */
        buf_printf(&sql, "SELECT done.%s, (SELECT count(*) FROM woken) AS woken FROM done", key->name);
    } else {
        buf_printf(&sql, "\nSELECT done.%s FROM done", key->name);
    }
    return statement_end(arena, &sql, arena_printf(arena, "%s_%s", resource->name, action->name), true, ret);
}

/* Insertion sort by key: sets are small and mostly of one. Shell gaps keep a bulk set of thousands from being
 * quadratic. */
static void sort_by_key(const Resource *resource, const void **rows, size_t n) {
    for (size_t gap = n / 2; gap > 0; gap /= 2) {
        for (size_t i = gap; i < n; i++) {
            const void *row = rows[i];
            Id id = resource_key_of(resource, row);
            size_t j = i;
            for (; j >= gap && id_compare(resource_key_of(resource, rows[j - gap]), id) > 0; j -= gap)
                rows[j] = rows[j - gap];
            rows[j] = row;
        }
    }
}

Err compose_bind(PgParams *params, const Context *context, const Set *set) {
    const void **rows = ARENA_ARRAY(set->ctx->arena, const void *, set->n);
    if (rows == NULL)
        return ERR_NO_MEMORY;
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++) {
        if (set->members[i]->outcome == ERR_OK)
            rows[n++] = set->members[i]->input;
    }
    if (set->action->kind != ACTION_CREATE)
        sort_by_key(set->resource, rows, n);
    for (const Attribute *a = set->resource->attributes; a->name != NULL; a++) {
        if (action_writes(set->action, a))
            resource_add_array(params, a, rows, n);
    }
    if (context_outbox(context) != NULL)
        compose_outbox_bind(params, set);
    return params->data.err;
}
