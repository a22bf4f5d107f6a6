/*
 * shadow_write_messages.c - one message of the old side for each that would be published: of its type, about the same
 * thing, the earliest not yet taken.
 *
 * What other than commands publish (a consumer's message to its own context) is not looked for.
 */
#include "usher/shadow_write_messages.h"

#include "messaging/messages.h"
#include "usher/files.h"

#define MESSAGES_MAX      (256 * 1024 * 1024)
#define DIFFERENCES_LINES 20

static const char *beside(Ctx *ctx, const char *recording) {
    Str rest = str_c(recording), folder = {0}, name = rest;
    for (size_t i = 0; i < rest.n; i++) {
        if (rest.p[i] == '/') {
            folder = str_slice(rest, 0, i + 1);
            name = str_slice(rest, i + 1, rest.n);
        }
    }
    return arena_printf(ctx->arena, "%.*s../messages/%.*s", STR_ARG(folder), STR_ARG(name)).p;
}

Err seen_messages_read(Ctx *ctx, const char *recording, const char *path, SeenMessages *ret) {
    Str text;
    Json *document;
    *ret = (SeenMessages){0};
    const char *file = path == NULL ? beside(ctx, recording) : path;
    if (file == NULL)
        return ERR_NO_MEMORY;
    Err err = file_read(ctx, file, MESSAGES_MAX, &text);
    if (err == ERR_NOT_FOUND && path == NULL) {
        ctx->problem = (Problem){0};
        return ERR_OK;
    }
    TRY(err);
    if (json_parse(text, ctx->arena, JSON_DUPLICATES_LAST, &document, NULL) != ERR_OK ||
        json_member(document, "messages") == NULL)
        return ctx_problem(ctx, ERR_SYNTAX, NULL, "%s: a document with a list \"messages\" is wanted", file);
    const Json *list = json_member(document, "messages");
    ret->rows = ARENA_ARRAY(ctx->arena, SeenMessage, list->count + 1);
    if (ret->rows == NULL)
        return ERR_NO_MEMORY;
    for (const Json *row = list->first; row != NULL; row = row->next)
        ret->rows[ret->n++] =
            (SeenMessage){.type = json_text(json_member(row, "exchange")), .body = json_text(json_member(row, "body"))};
    return ERR_OK;
}

/* The message within its envelope, with this trial's ids. NULL: there is none to read. */
static Err message_of(Arena *arena, const Ids *ids, Str body, const Json **ret) {
    Json *envelope;
    *ret = NULL;
    if (body.p == NULL)
        return ERR_OK;
    TRY(ids_swap(ids, arena, body, &body));
    if (json_parse(body, arena, JSON_DUPLICATES_LAST, &envelope, NULL) == ERR_OK)
        *ret = json_member(envelope, "message");
    return ERR_OK;
}

static Err compare(Str type, const Json *want, const Json *would, Buf *lines, Buf *scratch, size_t *ret_n) {
    JsonDiffOptions options = {0};
    size_t n = json_diff(want, would, &options, DIFFERENCES_LINES, scratch);
    Str rest = buf_str(scratch);
    while (rest.p != NULL && rest.n > 0) {
        Str line = str_cut(&rest, '\n');
        buf_printf(lines, "message %.*s %.*s\n", STR_ARG(type), STR_ARG(line));
    }
    *ret_n += n;
    return lines->err;
}

Err seen_messages_compare(SeenMessages *seen, Arena *arena, const Ids *ids, Str type, const Json *would, Buf *lines,
                          size_t *ret_n) {
    if (seen->rows == NULL)
        return ERR_OK;
    SeenMessage *unread = NULL;
    for (size_t i = 0; i < seen->n; i++) {
        SeenMessage *row = &seen->rows[i];
        const Json *want;
        if (row->used || !str_eq(row->type, type))
            continue;
        TRY(message_of(arena, ids, row->body, &want));
        if (want == NULL && unread == NULL)
            unread = row;
        if (want == NULL || !str_eq(json_text(json_member(want, "id")), json_text(json_member(would, "id"))))
            continue;
        row->used = true;
        Buf scratch = buf_new(arena, 1024 * 1024);
        return compare(type, want, would, lines, &scratch, ret_n);
    }
    if (unread != NULL) { /* its body was left out of the recording: that it came is all that can be said */
        unread->used = true;
        return ERR_OK;
    }
    buf_printf(lines, "message %.*s: no message seen\n", STR_ARG(type));
    *ret_n += 1;
    return lines->err;
}

static bool is_commands(Str type) {
    for (const MessageType *const *row = MESSAGES; *row != NULL; row++)
        if (*row != &MESSAGE_TICKETS_EVENT_UPSERTED && str_eq_c(type, (*row)->name))
            return true;
    return false;
}

size_t seen_messages_left(const SeenMessages *seen, Buf *lines) {
    size_t n = 0;
    for (size_t i = 0; i < seen->n; i++) {
        if (seen->rows[i].used || !is_commands(seen->rows[i].type))
            continue;
        buf_printf(lines, "message %.*s: seen, and would not be published\n", STR_ARG(seen->rows[i].type));
        n++;
    }
    return n;
}
