/*
 * instrument_pg.c - a client span and a metric for each wait for Postgres (semantic conventions: database client spans,
 * stable).
 *
 * A wait is one round trip: a query of the reader, or what a transaction sent since its last wait. A batch that serves
 * many requests is one span, in the trace of the first that is sampled, with links to the others.
 *
 * The statement's name is its summary. Its text has parameters in place of all values, so it tells nothing of any
 * client and may be shown.
 */
#include "telemetry/instrument.h"
#include "telemetry/span.h"
#include "telemetry/state.h"

static const char SYSTEM[] = "postgresql";

/* The statement's first word, upper case, from a closed list; NULL: none of them. */
static const char *operation_of(const Statement *statement) {
    static const char *const known[] = {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "BEGIN", "COMMIT", "SET"};
    const char *sql = statement->sql;
    while (*sql == ' ' || *sql == '\n' || *sql == '\t')
        sql++;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        size_t n = strlen(known[i]);
        if (strncmp(sql, known[i], n) == 0 && (sql[n] == ' ' || sql[n] == '\n' || sql[n] == '\0'))
            return known[i];
    }
    return NULL;
}

/* SQLSTATEs are few; each is kept once, because labels are known by their address. */
static const char *state_text(const char *state) {
    static char kept[64][6];
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        if (kept[i][0] == '\0')
            (void)snprintf(kept[i], sizeof kept[i], "%.5s", state);
        if (strcmp(kept[i], state) == 0)
            return kept[i];
    }
    return "other";
}

static void write_span(const PgObservation *o, const char *state, const char *failure, int64_t ended_ns) {
    Trace trace = o->ctx->trace;
    memcpy(trace.parent_id, o->ctx->trace.span_id, 8);
    span_new_id(&o->ctx->trace, trace.span_id);
    SpanInfo info = {.trace = &trace,
                     .name = str_c(o->statement->name),
                     .kind = SPAN_CLIENT,
                     .began_ns = o->began_ns,
                     .ended_ns = ended_ns,
                     .failed = failure != NULL,
                     .links = o->ctx->batch};
    if (!span_write(&info))
        return;
    PgEndpoint endpoint;
    pg_pool_endpoint(o->pool, &endpoint);
    span_text("db.system.name", str_c(SYSTEM));
    span_text("db.namespace", endpoint.database);
    span_text("db.query.summary", str_c(o->statement->name));
    span_text("db.query.text", str_c(o->statement->sql));
    span_text("db.operation.name", str_c(operation_of(o->statement)));
    if (o->ctx->batch != NULL && o->ctx->batch->n > 1)
        span_int("db.operation.batch.size", (int64_t)o->ctx->batch->n);
    span_text("server.address", endpoint.host);
    if (endpoint.port > 0)
        span_int("server.port", endpoint.port);
    span_text("db.response.status_code", str_c(state));
    span_text("error.type", str_c(failure));
    span_close();
}

static void on_done(const PgObservation *o) {
    const char *state = o->err != ERR_OK && o->sqlstate[0] != '\0' ? state_text(o->sqlstate) : NULL;
    const char *failure = o->err == ERR_OK ? NULL : state != NULL ? state : err_name(o->err);
    int64_t ended_ns = clock_mono_ns();
    metric_record(METRIC_DB_DURATION, ended_ns - o->began_ns,
                  LABELS({"db.system.name", SYSTEM, 0}, {"db.query.summary", o->statement->name, 0},
                         {failure == NULL ? NULL : "error.type", failure, 0},
                         {state == NULL ? NULL : "db.response.status_code", state, 0}));
    if (telemetry.tracing)
        write_span(o, state, failure, ended_ns);
}

const PgObserver *telemetry_pg_observer(void) {
    static const PgObserver observer = {.done = on_done};
    return telemetry.recording ? &observer : NULL;
}
