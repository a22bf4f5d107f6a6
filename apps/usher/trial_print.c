/*
 * trial_print.c - a line per table and per message.
 */
#include "usher/trial_print.h"

#include "usher/cli.h"

#define VALUE_MAX (1024 * 1024)

static void print_value(Arena *arena, const Json *value) {
    Buf text = buf_new(arena, VALUE_MAX);
    JsonWriter w;
    json_writer_init(&w, &text, JSON_ESCAPE_MINIMAL, 0);
    json_write_value(&w, value);
    out_str(buf_str(&text));
}

void trial_print_actions(Arena *arena, const Json *actions) {
    for (const Json *action = actions == NULL ? NULL : actions->first; action != NULL; action = action->next) {
        const Json *tables = json_member(action, "tables"), *messages = json_member(action, "messages");
        for (const Json *row = tables == NULL ? NULL : tables->first; row != NULL; row = row->next) {
            out_printf("  would write   %.*s: %lld new, %lld changed, %lld gone ",
                       STR_ARG(json_text(json_member(row, "table"))),
                       (long long)json_i64(json_member(row, "inserted"), 0),
                       (long long)json_i64(json_member(row, "updated"), 0),
                       (long long)json_i64(json_member(row, "deleted"), 0));
            if (json_member(row, "rows") != NULL)
                print_value(arena, json_member(row, "rows"));
            out_printf("\n");
        }
        for (const Json *row = messages == NULL ? NULL : messages->first; row != NULL; row = row->next) {
            out_printf("  would publish %.*s ", STR_ARG(json_text(json_member(row, "type"))));
            print_value(arena, json_member(row, "message"));
            out_printf("\n");
        }
    }
}
