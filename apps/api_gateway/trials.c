/*
 * trials.c - the envelope, written and read.
 */
#include "api_gateway/trials.h"

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void write_tables(JsonWriter *w, const Trial *trial) {
    json_name(w, STR("tables"));
    json_array(w);
    for (size_t i = 0; i < trial->table_n; i++) {
        const TrialTable *table = &trial->tables[i];
        json_object(w);
        json_name(w, STR("table"));
        json_write_string(w, table->name);
        json_name(w, STR("inserted"));
        json_write_i64(w, table->inserted);
        json_name(w, STR("updated"));
        json_write_i64(w, table->updated);
        json_name(w, STR("deleted"));
        json_write_i64(w, table->deleted);
        if (table->rows.p != NULL) {
            json_name(w, STR("rows"));
            json_write_raw(w, table->rows);
        }
        json_object_end(w);
    }
    json_array_end(w);
}

void trial_action_add(Buf *out, const Trial *trial) {
    JsonWriter w;
    if (out->n > 0)
        buf_add_char(out, ',');
    json_writer_init(&w, out, JSON_ESCAPE_MINIMAL, 0);
    json_object(&w);
    json_name(&w, STR("resource"));
    json_write_string(&w, str_c(trial->resource->name));
    json_name(&w, STR("action"));
    json_write_string(&w, str_c(trial->action->name));
    write_tables(&w, trial);
    json_name(&w, STR("messages"));
    json_array(&w);
    for (const Outgoing *message = trial->messages; message != NULL; message = message->next) {
        json_object(&w);
        json_name(&w, STR("type"));
        json_write_string(&w, message->type);
        json_name(&w, STR("message"));
        json_write_raw(&w, message->payload);
        json_object_end(&w);
    }
    json_array_end(&w);
    json_object_end(&w);
}

static void write_headers(JsonWriter *w, Str lines) {
    json_name(w, STR("headers"));
    json_array(w);
    while (lines.p != NULL && lines.n > 0) {
        Str line = str_trim(str_cut(&lines, '\n'), "\r"), name = str_cut(&line, ':');
        if (name.n == 0)
            continue;
        json_array(w);
        json_write_string(w, name);
        json_write_string(w, str_trim(line, " "));
        json_array_end(w);
    }
    json_array_end(w);
}

void trial_envelope(Request *req, Response *res, const Buf *actions, size_t max) {
    Buf out = buf_new(req->ctx->arena, max), list = buf_new(req->ctx->arena, max);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 0);
    json_object(&w);
    json_name(&w, STR("status"));
    json_write_i64(&w, res->status);
    write_headers(&w, buf_str(&res->head));
    json_name(&w, STR("body"));
    json_write_string(&w, buf_str(&res->body));
    json_name(&w, STR("actions"));
    buf_add_char(&list, '[');
    buf_add(&list, buf_str(actions));
    buf_add_char(&list, ']');
    json_write_raw(&w, buf_str(&list));
    json_object_end(&w);
    bool whole = out.err == ERR_OK && list.err == ERR_OK && actions->err == ERR_OK;
    *res = (Response){.status = whole ? 200 : 507,
                      .body = whole ? out : buf_new(req->ctx->arena, 1024),
                      .head = buf_new(req->ctx->arena, 1024)};
    response_header(res, "Content-Type", STR(TRIAL_TYPE));
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static bool is_envelope(const HttpAnswer *got) {
    for (size_t i = 0; i < got->header_count; i++)
        if (str_eq_nocase(got->headers[i].name, STR("content-type")))
            return str_eq_c(got->headers[i].value, TRIAL_TYPE);
    return false;
}

Err trial_answer_read(Arena *arena, const HttpAnswer *got, TrialAnswer *ret) {
    Json *envelope;
    *ret = (TrialAnswer){.answer = *got};
    if (!is_envelope(got))
        return ERR_OK;
    if (got->status != 200)
        return ERR_LIMIT;
    TRY(json_parse(got->body, arena, JSON_DUPLICATES_LAST, &envelope, NULL));
    const Json *pairs = json_member(envelope, "headers");
    Header *headers = ARENA_ARRAY(arena, Header, pairs == NULL ? 1 : pairs->count + 1);
    if (headers == NULL)
        return ERR_NO_MEMORY;
    size_t n = 0;
    for (const Json *pair = pairs == NULL ? NULL : pairs->first; pair != NULL; pair = pair->next)
        headers[n++] = (Header){.name = json_text(json_element(pair, 0)), .value = json_text(json_element(pair, 1))};
    ret->answer = (HttpAnswer){.status = (int)json_i64(json_member(envelope, "status"), 0),
                               .headers = headers,
                               .header_count = n,
                               .body = json_text(json_member(envelope, "body"))};
    ret->actions = json_member(envelope, "actions");
    return ERR_OK;
}
