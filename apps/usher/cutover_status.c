/*
 * cutover_status.c - what stands where, and what would come next.
 */
#include "usher/cutover.h"
#include "json/json.h"

/* --- status ------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name, *sql;
} TABLES[] = {
    {"stages", "SELECT context, part, route, stage, canary_percent, changed_at, gone_at FROM gateway.stages ORDER BY "
               "context, part, route"},
    {"changes", "SELECT changed_at, context, part, route, from_stage, to_stage, canary_percent, forced, who, why FROM "
                "gateway.stage_changes ORDER BY id DESC LIMIT 20"},
    {"gateways", "SELECT name, workers, seen_at FROM gateway.gateways WHERE seen_at > clock_timestamp() - interval '5 "
                 "seconds' ORDER BY name"},
    {"traffic", "SELECT context, part, side, sum(requests)::bigint AS requests, sum(errors)::bigint AS errors, "
                "(sum(slow_ns_sum) / greatest(sum(requests), 1) / 1000)::bigint AS mean_us FROM gateway.traffic WHERE "
                "minute >= now() - "
                "interval '15 minutes' AND context <> '' GROUP BY context, part, side ORDER BY context, part, side"},
    {"callers", "SELECT route, caller, count, last_seen FROM gateway.callers ORDER BY count DESC LIMIT 50"},
};

static void print_table(const PGresult *r) {
    for (int row = -1; row < PQntuples(r); row++) {
        for (int i = 0; i < PQnfields(r); i++) {
            int width = (int)strlen(PQfname(r, i));
            for (int j = 0; j < PQntuples(r); j++)
                width = MAX_OF(width, PQgetlength(r, j, i));
            out_printf("%-*s%s", i + 1 < PQnfields(r) ? MIN_OF(width, 60) : 0,
                       row < 0 ? PQfname(r, i) : PQgetvalue(r, row, i), i + 1 < PQnfields(r) ? "  " : "\n");
        }
    }
}

static void table_json(JsonWriter *w, const PGresult *r) {
    json_array(w);
    for (int row = 0; row < PQntuples(r); row++) {
        json_object(w);
        for (int i = 0; i < PQnfields(r); i++) {
            Oid type = PQftype(r, i);
            Str text = gateway_field(r, row, i);
            json_name(w, str_c(PQfname(r, i)));
            if (text.p != NULL && (type == OID_INT8 || type == OID_INT4))
                json_write_raw(w, text);
            else if (text.p != NULL && type == OID_BOOL)
                json_write_bool(w, text.p[0] == 't');
            else
                json_write_string(w, text);
        }
        json_object_end(w);
    }
    json_array_end(w);
}

int cutover_status(Cutover *cutover) {
    Buf out = buf_new(cutover->call->ctx->arena, 16 << 20);
    JsonWriter w;
    bool json = option_flag(cutover->call, "json");
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 1);
    json_object(&w);
    for (size_t i = 0; i < ARRAY_LEN(TABLES); i++) {
        PGresult *result CLEANUP(gateway_clear) = NULL;
        if (gateway_ask(cutover->call, cutover->conn, TABLES[i].sql, 0, NULL, &result) != ERR_OK)
            return 2;
        json_name(&w, str_c(TABLES[i].name));
        table_json(&w, result);
        if (json || (i > 0 && PQntuples(result) == 0))
            continue;
        out_printf("%s%s\n", i == 0 ? "" : "\n", TABLES[i].name);
        if (PQntuples(result) == 0)
            out_printf("none: the old side answers everything\n");
        else
            print_table(result);
    }
    json_object_end(&w);
    buf_add_char(&out, '\n');
    if (json)
        out_str(buf_str(&out));
    return 0;
}

/* --- plan --------------------------------------------------------------------------------------------------------- */

static const char *next_step(StageKind kind, StagePart part) {
    if (kind == STAGE_LEGACY && part == PART_WRITES)
        return "shadow: writes are tried on the new side, rolled back and compared; clients still get the old answers";
    static const char *const steps[] = {
        [STAGE_LEGACY] = "shadow: reads are mirrored to the new side and compared; clients still get the old answers",
        [STAGE_SHADOW] = "canary: some callers are answered by the new side, the same ones each time",
        [STAGE_CANARY] = "promote: the new side answers all; it goes back by itself when its error budget is broken",
        [STAGE_NEW] = "retire: says when it ends (Deprecation, Sunset), then answers 410",
        [STAGE_RETIRED] = "nothing: it is at its end",
    };
    return steps[kind];
}

void cutover_print_gates(const Gate *gates, size_t n) {
    for (size_t i = 0; i < n; i++)
        out_printf("  %-12s %-14s %.*s\n", gates[i].name, gate_state_name(gates[i].state), STR_ARG(gates[i].says));
}

static void plan_json(const CutoverTarget *target, const CutoverStage *stage, const Gate *gates, size_t n, Buf *out) {
    JsonWriter w;
    json_writer_init(&w, out, JSON_ESCAPE_MINIMAL, 1);
    json_object(&w);
    const char *const texts[][2] = {{"context", target->context},
                                    {"part", target->part},
                                    {"route", target->route},
                                    {"stage", stage_name(stage->kind)},
                                    {"next", next_step(stage->kind, target->part_number)}};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        json_name(&w, str_c(texts[i][0]));
        json_write_string(&w, str_c(texts[i][1]));
    }
    json_name(&w, STR("gates"));
    json_array(&w);
    for (size_t i = 0; i < n; i++) {
        json_object(&w);
        json_name(&w, STR("name"));
        json_write_string(&w, str_c(gates[i].name));
        json_name(&w, STR("state"));
        json_write_string(&w, str_c(gate_state_name(gates[i].state)));
        json_name(&w, STR("says"));
        json_write_string(&w, gates[i].says);
        json_object_end(&w);
    }
    json_array_end(&w);
    json_name(&w, STR("may_promote"));
    json_write_bool(&w, gates_closed(gates, n) == 0);
    json_object_end(&w);
    buf_add_char(out, '\n');
}

int cutover_plan(Cutover *cutover) {
    Gate gates[GATES_MAX];
    size_t n;
    CutoverStage stage;
    if (cutover_stage(cutover->call, cutover->conn, &cutover->target, &stage) != ERR_OK ||
        cutover_gates(cutover->call, cutover->conn, &cutover->settings, &cutover->target, &cutover->limits, gates,
                      &n) != ERR_OK)
        return 2;
    size_t closed = gates_closed(gates, n);
    if (option_flag(cutover->call, "json")) {
        Buf out = buf_new(cutover->call->ctx->arena, 1 << 20);
        plan_json(&cutover->target, &stage, gates, n, &out);
        out_str(buf_str(&out));
        return closed == 0 ? 0 : 1;
    }
    out_printf("%s %s%s%s is in stage %s\nnext: %s\n", cutover->target.context, cutover->target.part,
               cutover->target.route[0] == 0 ? "" : " ", cutover->target.route, stage_name(stage.kind),
               next_step(stage.kind, cutover->target.part_number));
    if (cutover->target.part_number == PART_WRITES)
        out_printf("writes wait while it is switched, until every gateway has none in work; --pause bounds it\n");
    out_printf("gates of canary and promote:\n");
    cutover_print_gates(gates, n);
    out_printf("%s\n", closed == 0 ? "all hold" : "not all hold: --force needs a --reason");
    return closed == 0 ? 0 : 1;
}
