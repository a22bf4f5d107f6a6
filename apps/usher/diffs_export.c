/*
 * diffs_export.c - samples as a recording (contracts/README.md): the request, and the old side's answer as the one that
 * is wanted. `usher replay` sends it to any server. What was redacted stays so; replay takes it for equal.
 */
#include "usher/cmd.h"
#include "usher/diffs.h"
#include "json/json.h"

static void write_headers(JsonWriter *w, Str lines) {
    json_array(w);
    while (lines.n > 0) {
        Str value = str_cut(&lines, '\n'), name = str_cut(&value, ':');
        json_array(w);
        json_write_string(w, name);
        json_write_string(w, value.p == NULL ? STR("") : str_trim(value, " "));
        json_array_end(w);
    }
    json_array_end(w);
}

static void write_exchange(JsonWriter *w, const PGresult *r, int row) {
    json_object(w);
    json_name(w, STR("note"));
    json_write_string(w, gateway_field(r, row, 6));
    json_name(w, STR("request"));
    json_object(w);
    json_name(w, STR("method"));
    json_write_string(w, gateway_field(r, row, 0));
    json_name(w, STR("path"));
    json_write_string(w, gateway_field(r, row, 1));
    json_name(w, STR("headers"));
    write_headers(w, gateway_field(r, row, 2));
    if (PQgetlength(r, row, 7) > 0) {
        json_name(w, STR("body"));
        json_write_string(w, gateway_field(r, row, 7));
    }
    json_object_end(w);
    json_name(w, STR("response"));
    json_object(w);
    json_name(w, STR("status"));
    json_write_i64(w, gateway_number(r, row, 3));
    json_name(w, STR("headers"));
    write_headers(w, gateway_field(r, row, 4));
    json_name(w, STR("body"));
    json_write_string(w, gateway_field(r, row, 5));
    json_object_end(w);
    if (PQgetlength(r, row, 8) > 0) {
        json_name(w, STR("effects"));
        json_write_string(w, gateway_field(r, row, 8));
    }
    json_object_end(w);
}

int diffs_export(Invocation *call, PGconn *conn) {
    PGresult *samples CLEANUP(gateway_clear) = NULL;
    const char *values[] = {call->argument_count > 1 ? call->arguments[1] : NULL, option_text(call, "route"),
                            option_text(call, "class")};
    if (gateway_ask(
            call, conn,
            "SELECT DISTINCT ON (s.method, s.target, s.request_body) s.method, s.target, s.request_headers, "
            "s.old_status, s.old_headers, s.old_body, s.differences, s.request_body, s.effects FROM "
            "gateway.samples s JOIN gateway.clusters c ON c.id = "
            "s.cluster_id WHERE ($1::bigint IS NULL OR c.id = $1) AND ($2::text IS NULL OR c.route = $2) AND "
            "($3::text IS NULL OR c.class = $3) ORDER BY s.method, s.target, s.request_body, s.id DESC LIMIT 10000",
            3, values, &samples) != ERR_OK)
        return 2;
    Buf out = buf_new(call->ctx->arena, 128 << 20);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 1);
    json_object(&w);
    json_name(&w, STR("name"));
    json_write_string(&w, STR("diffs"));
    json_name(&w, STR("description"));
    json_write_string(&w, STR("exchanges that differed, exported by `usher diffs export`; the old side's answers"));
    json_name(&w, STR("volatile_headers"));
    json_array(&w);
    json_write_string(&w, STR("Date"));
    json_array_end(&w);
    json_name(&w, STR("captures"));
    json_object(&w);
    json_object_end(&w);
    json_name(&w, STR("exchanges"));
    json_array(&w);
    for (int row = 0; row < PQntuples(samples); row++)
        write_exchange(&w, samples, row);
    json_array_end(&w);
    json_object_end(&w);
    buf_add_char(&out, '\n');
    out_str(buf_str(&out));
    return 0;
}
