/*
 * bus_test.h - two contexts and the bus between them: `unit_src` counts and tells, `unit_dst` notes what it is told.
 *
 * Each has pools of its own, as in production each has processes of its own.
 */
#pragma once
#include "../resource/engine_test.h"
#include "bus/bus.h"

/* --- the message -------------------------------------------------------------------------------------------------- */

typedef enum Mood {
    FINE,
    REFUSED,       /* the action refuses it, always */
    BREAKS,        /* its statement fails, always */
    REFUSED_ONCE,  /* the first attempt only */
    RANDOM_FAILURE /* one attempt of three */
} Mood;

typedef struct Counted {
    Id id;
    int32_t seq;
    int32_t mood;
} Counted;

static const MessageField counted_fields[] = {
    MESSAGE_FIELD(Counted, "id", id),
    MESSAGE_FIELD(Counted, "seq", seq),
    MESSAGE_FIELD(Counted, "mood", mood, .may_lack = true),
    {0},
};
static const MessageType COUNTED = {
    .name = "Unit:Counted",
    .size = sizeof(Counted),
    .fields = counted_fields,
    .aggregate_offset = offsetof(Counted, id),
};
static const MessageType COUNTED_TOO = {
    .name = "Unit:CountedToo",
    .size = sizeof(Counted),
    .fields = counted_fields,
    .aggregate_offset = offsetof(Counted, id),
};
static const MessageType UNHEARD = {.name = "Unit:Unheard", .size = sizeof(Counted), .fields = counted_fields};
static const Binding bindings[] = {
    {"unit-queue", &COUNTED}, {"unit-queue", &COUNTED_TOO}, {"unit-queue", &UNHEARD}, {0}};

static bool anyone(const Ctx *ctx, const Action *action, const void *input) {
    (void)ctx;
    (void)action;
    (void)input;
    return true;
}
static const Policy policies[] = {{"*", "anyone", anyone}, {0}};

/* --- unit_src ----------------------------------------------------------------------------------------------------- */

typedef struct Counter {
    Id id;
    int32_t seq;
} Counter;
static const Attribute counter_attributes[] = {
    ATTR(Counter, id, .key = true, .required = true),
    ATTR(Counter, seq, .required = true),
    {0},
};
/* "count": the next number of a counter, told twice over under two types, so that types alternate on the wire. */
static const Statement COUNT = {"unit_count",
                                "INSERT INTO unit_src.counters AS c (id, seq) SELECT i, 1 FROM unnest($1::uuid[]) AS i"
                                " ORDER BY i ON CONFLICT (id) DO UPDATE SET seq = c.seq + 1 RETURNING id, seq",
                                true};
static CO_FN Err count_run(PgTx *tx, Set *set) {
    PgParams params;
    PgResult result;
    pg_params_init(&params, set->ctx->arena);
    pg_array_begin(&params, OID_UUID_ARRAY);
    for (size_t i = 0; i < set->n; i++)
        pg_array_id(&params, ((Counted *)set->members[i]->input)->id);
    pg_array_end(&params);
    TRY(pg_tx_query(tx, &COUNT, &params, &result));
    for (size_t i = 0; i < set->n; i++) {
        Counted *counted = set->members[i]->input;
        for (int row = 0; row < result.rows; row++)
            if (id_eq(pg_id(&result, row, 0), counted->id))
                counted->seq = pg_i32(&result, row, 1);
    }
    return ERR_OK;
}
static Err count_announce(const Action *action, Member *member) {
    (void)action;
    Counted message = *(Counted *)member->input;
    message.seq = message.seq * 2 - 1;
    TRY(message_announce(member, &COUNTED, &message));
    message.seq++;
    return message_announce(member, &COUNTED_TOO, &message);
}
static Id counted_key(const void *input) {
    return ((const Counted *)input)->id;
}
static const Action counter_actions[] = {{.name = "count",
                                          .kind = ACTION_CUSTOM,
                                          .input_size = sizeof(Counted),
                                          .run = count_run,
                                          .after = count_announce,
                                          .clash_key = counted_key},
                                         {0}};
static const Resource counters = {
    .name = "counter",
    .plural = "counters",
    .schema = "unit_src",
    .size = sizeof(Counter),
    .attributes = counter_attributes,
    .actions = counter_actions,
    .policies = policies,
};
static const Resource src_outbox = BUS_OUTBOX("unit_src"), src_marks = BUS_OUTBOX_MARKS("unit_src");
static const Resource *const src_resources[] = {&counters, &src_outbox, &src_marks, NULL};
static const Context src_context = {.name = "unit_src",
                                    .schema = "unit_src",
                                    .role = "unit_src",
                                    .database_env = "DATABASE_URL",
                                    .resources = src_resources};

/* --- unit_dst ----------------------------------------------------------------------------------------------------- */

typedef struct Note {
    int64_t position;
    Id counter;
    int32_t seq;
    Str trace;
} Note;
static const Attribute note_attributes[] = {
    ATTR(Note, position, .key = true, .identity = true, .required = true),
    ATTR(Note, counter, .required = true),
    ATTR(Note, seq, .required = true),
    ATTR(Note, trace),
    {0},
};
static const Statement NOTE = {
    "unit_note",
    "INSERT INTO unit_dst.notes (counter, seq, trace) SELECT c, s, t FROM"
    " unnest($1::uuid[], $2::int4[], $3::text[]) WITH ORDINALITY AS n (c, s, t, o) ORDER BY o",
    true};
static const Statement BREAK = {"unit_break", "SELECT 1 / (octet_length($1::text) - octet_length($1::text))", false};

static int refused_once;

static CO_FN Err note_moods(PgTx *tx, Set *set) {
    for (size_t i = 0; i < set->n; i++) {
        Member *member = set->members[i];
        const Counted *counted = member->input;
        bool refuse = counted->mood == REFUSED || (counted->mood == REFUSED_ONCE && refused_once++ == 0) ||
                      (counted->mood == RANDOM_FAILURE && random_below(3) == 0);
        if (refuse)
            (void)member_refuse(member, ERR_INVALID, NULL, "Number %d is not wanted.", counted->seq);
        if (counted->mood == BREAKS) {
            PgParams params;
            PgResult result;
            pg_params_init(&params, set->ctx->arena);
            pg_add_text(&params, STR("x"));
            TRY(pg_tx_query(tx, &BREAK, &params, &result));
        }
    }
    return ERR_OK;
}
static CO_FN Err note_run(PgTx *tx, Set *set) {
    static const Oid oids[] = {OID_UUID_ARRAY, OID_INT4_ARRAY, OID_TEXT_ARRAY};
    PgParams params;
    TRY(note_moods(tx, set));
    pg_params_init(&params, set->ctx->arena);
    for (int column = 0; column < 3; column++) {
        pg_array_begin(&params, oids[column]);
        for (size_t i = 0; i < set->n; i++) {
            const Counted *counted = set->members[i]->input;
            char trace[TRACEPARENT_LEN];
            trace_format(&set->members[i]->ctx->trace, trace);
            if (set->members[i]->outcome != ERR_OK)
                continue;
            if (column == 0)
                pg_array_id(&params, counted->id);
            else if (column == 1)
                pg_array_i32(&params, counted->seq);
            else
                pg_array_text(&params, (Str){trace + 3, 32});
        }
        pg_array_end(&params);
    }
    pg_tx_send(tx, &NOTE, &params);
    return ERR_OK;
}
static const Action note_actions[] = {
    {.name = "note", .kind = ACTION_CUSTOM, .input_size = sizeof(Counted), .run = note_run},
    {0},
};
static const Resource notes = {
    .name = "note",
    .plural = "notes",
    .schema = "unit_dst",
    .size = sizeof(Note),
    .attributes = note_attributes,
    .actions = note_actions,
    .policies = policies,
};
static const Resource dst_inbox = BUS_INBOX("unit_dst");
static const Resource *const dst_resources[] = {&notes, &dst_inbox, NULL};
static const Context dst_context = {.name = "unit_dst",
                                    .schema = "unit_dst",
                                    .role = "unit_dst",
                                    .database_env = "DATABASE_URL",
                                    .resources = dst_resources};
static const Subscription subscriptions[] = {{&COUNTED, &notes, "note"}, {&COUNTED_TOO, &notes, "note"}, {0}};

/* --- all of it running -------------------------------------------------------------------------------------------- */

typedef struct TestBus {
    PgPool *src_pool, *relay_pool, *dst_pool, *bus_pool;
    Engine *src, *relay_engine, *dst;
    Transport *transport;
    Relay relay;
    Pipeline pipeline;
    Consumer consumer;
    Co *relay_co, *consumer_co;
} TestBus;
static TestBus bus;

UNUSED static int bus_set_up_all(void **state) {
    (void)state;
    if (test_skipped())
        return 0;
    test_schema(&BUS_CONTEXT);
    test_schema(&src_context);
    test_schema(&dst_context);
    return 0;
}

static PgPool *bus_pool(const char *name, int writers) {
    PgConfig config = test_config();
    PgPool *pool = NULL;
    config.application_name = str_c(name);
    config.writers = writers;
    assert_int_equal(pg_pool_new(test.loop, &config, &pool), ERR_OK);
    return pool;
}

UNUSED static int bus_set_up(void **state) {
    if (test_open(state) != 0)
        return 1;
    if (test_skipped())
        return 0;
    refused_once = 0;
    random_seed(20261123);
    test_sql("TRUNCATE bus.messages, bus.dead, unit_src.counters, unit_src.outbox, unit_src.outbox_marks, "
             "unit_dst.notes, unit_dst.inbox");
    bus = (TestBus){.src_pool = bus_pool("usher src", 1),
                    .relay_pool = bus_pool("usher relay", 1),
                    .dst_pool = bus_pool("usher dst", 1),
                    .bus_pool = bus_pool("usher bus", 2)};
    assert_int_equal(engine_new(test.loop, &src_context, bus.src_pool, &bus.src), ERR_OK);
    assert_int_equal(engine_new(test.loop, &src_context, bus.relay_pool, &bus.relay_engine), ERR_OK);
    assert_int_equal(engine_new(test.loop, &dst_context, bus.dst_pool, &bus.dst), ERR_OK);
    assert_int_equal(transport_pg_new(test.loop, bus.bus_pool, bindings, &bus.transport), ERR_OK);
    bus.relay = (Relay){.engine = bus.relay_engine, .transport = bus.transport};
    bus.pipeline = (Pipeline){.queue = "unit-queue", .bindings = bindings, .subscriptions = subscriptions};
    bus.consumer = (Consumer){.pipeline = &bus.pipeline, .engine = bus.dst, .transport = bus.transport};
    return 0;
}

UNUSED static void bus_start(void) {
    assert_int_equal(relay_start(test.loop, &bus.relay, &bus.relay_co), ERR_OK);
    assert_int_equal(consumer_start(test.loop, &bus.consumer, &bus.consumer_co), ERR_OK);
}

UNUSED static int bus_tear_down(void **state) {
    if (!test_skipped()) {
        assert_int_equal(co_drain(test.loop, clock_mono_ms() + 20000), ERR_OK);
        engine_free(bus.src);
        engine_free(bus.relay_engine);
        engine_free(bus.dst);
        pg_pool_free(bus.src_pool);
        pg_pool_free(bus.relay_pool);
        pg_pool_free(bus.dst_pool);
        pg_pool_free(bus.bus_pool);
        bus.transport->ops->free(bus.transport);
        bus = (TestBus){0};
    }
    return test_close(state);
}

/* Asks from a coroutine, over the test's own pool: each asking lets everything else run. */
UNUSED static CO_FN long long ask_number(const Statement *statement) {
    PgResult result;
    PgParams params;
    pg_params_init(&params, co_ctx(co_self())->arena);
    if (pg_query(test.pool, statement, &params, &result) != ERR_OK)
        return -1;
    return pg_i64(&result, 0, 0);
}

/* Rows of unit_src.outbox that no mark covers yet. */
#define SRC_WAITING                                                                                                    \
    "(SELECT count(*) FROM unit_src.outbox o LEFT JOIN LATERAL (SELECT * FROM unit_src.outbox_marks m"                 \
    " WHERE m.bucket = o.bucket ORDER BY m.position DESC LIMIT 1) m ON true"                                           \
    " WHERE NOT coalesce(txid_visible_in_snapshot(o.xid, m.from_snapshot::txid_snapshot) OR (o.position <= m.after"    \
    " AND txid_visible_in_snapshot(o.xid, m.to_snapshot::txid_snapshot)), false))"

/* Notes out of order within their counter, missing, or doubled: none, ever. */
UNUSED static long long count_disorder(void) {
    return test_sql(
               "SELECT count(*) FROM (SELECT seq, row_number() OVER (PARTITION BY counter ORDER BY position) AS want"
               " FROM unit_dst.notes) AS n WHERE seq <> want") +
           test_sql("SELECT count(*) FROM (SELECT c.id, c.seq * 2 AS want, count(n.*) AS got FROM unit_src.counters c"
                    " LEFT JOIN unit_dst.notes n ON n.counter = c.id GROUP BY c.id, c.seq) AS t WHERE want <> got");
}
