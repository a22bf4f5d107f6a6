/*
 * cmd_schema.c - usher schema: the JSON Schemas of all bodies as files, and the OpenAPI document.
 */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/asyncapi.h"
#include "api/schema.h"
#include "messaging/messages.h"
#include "usher/app.h"
#include "usher/cmd.h"
#include "usher/files.h"
#include "json/json.h"

#define SCHEMA_MAX (4 * 1024 * 1024)

const Option OPTIONS_schema[] = {
    {"out", OPTION_TEXT, "DIR", "where to write (default: contracts/schemas)"},
    {"check", OPTION_FLAG, NULL, "write nothing, exit 1 when a file is stale, missing or left over"},
    {"openapi", OPTION_FLAG, NULL, "print the OpenAPI document instead"},
    {.name = NULL},
};

typedef struct Out {
    Invocation *call;
    const char *folder;
    bool check;
    size_t n, stale;
    Str names[512];
} Out;

static Err pretty(Ctx *ctx, Str name, Str json, Str *ret) {
    Json *tree;
    JsonWriter w;
    Buf out = buf_new(ctx->arena, SCHEMA_MAX);
    TRY(json_parse(json, ctx->arena, JSON_DUPLICATES_REJECT, &tree, NULL));
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 2);
    if (name.p == NULL) {
        json_write_value(&w, tree);
    } else {
        json_object(&w);
        json_name(&w, STR("$schema"));
        json_write_string(&w, STR("https://json-schema.org/draft/2020-12/schema"));
        json_name(&w, STR("$id"));
        json_write_string(&w, name);
        for (const Json *member = tree->first; member != NULL; member = member->next) {
            json_name(&w, member->name);
            json_write_value(&w, member);
        }
        json_object_end(&w);
    }
    buf_add_char(&out, '\n');
    return buf_finish(&out, ret);
}

static Err each(Str name, Str json, void *data) {
    Out *out = data;
    Ctx *ctx = out->call->ctx;
    Str text, have, file = arena_printf(ctx->arena, "%.*s.json", STR_ARG(name));
    Str path = arena_printf(ctx->arena, "%s/%.*s", out->folder, STR_ARG(file));
    if (path.p == NULL || out->n == ARRAY_LEN(out->names))
        return ERR_NO_MEMORY;
    out->names[out->n++] = file;
    TRY(pretty(ctx, file, json, &text));
    if (!out->check)
        return file_write(ctx, path.p, text);
    Err err = access(path.p, R_OK) == 0 ? file_read(ctx, path.p, SCHEMA_MAX, &have) : ERR_NOT_FOUND;
    if (err == ERR_OK && str_eq(have, text))
        return ERR_OK;
    err_printf("%s is %s; run `usher schema`\n", path.p, err == ERR_OK ? "stale" : "missing");
    out->stale++;
    return ERR_OK;
}

/* Files of schemas that are no more. */
static void find_left_over(Out *out) {
    DIR *folder = opendir(out->folder);
    for (const struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        Str name = str_c(entry->d_name);
        bool known = !str_ends_with(name, STR(".json"));
        for (size_t i = 0; i < out->n; i++)
            known = known || str_eq(out->names[i], name);
        if (known)
            continue;
        err_printf("%s/%s belongs to no schema; remove it\n", out->folder, entry->d_name);
        out->stale++;
    }
    if (folder != NULL)
        closedir(folder);
}

int cmd_schema(Invocation *call) {
    Ctx *ctx = call->ctx;
    JsonApi *api;
    if (jsonapi_new(ctx, ctx->arena, CONTEXTS, &api) != ERR_OK)
        return cli_fail(ctx, 2, "schema");
    if (option_flag(call, "openapi")) {
        Str text;
        if (pretty(ctx, (Str){NULL, 0}, api->openapi, &text) != ERR_OK)
            return cli_fail(ctx, 2, "schema");
        out_str(text);
        return 0;
    }
    Out *out = ARENA_NEW(ctx->arena, Out);
    if (out == NULL)
        return cli_fail(ctx, 2, "schema");
    const char *folder = option_text(call, "out");
    *out = (Out){
        .call = call, .folder = folder == NULL ? "contracts/schemas" : folder, .check = option_flag(call, "check")};
    if (!out->check)
        (void)mkdir(out->folder, 0777); /* what is wrong with it, writing tells */
    Schemas schemas = {.ctx = ctx, .api = api, .messages = MESSAGES, .ref_before = "", .ref_behind = ".json"};
    if (schemas_each(&schemas, each, out) != ERR_OK)
        return cli_fail(ctx, 2, "schema");
    find_left_over(out);
    return out->stale > 0 ? 1 : 0;
}

/* --- asyncapi ----------------------------------------------------------------------------------------------------- */

const Option OPTIONS_asyncapi[] = {{.name = NULL}};

int cmd_asyncapi(Invocation *call) {
    Ctx *ctx = call->ctx;
    JsonApi *api;
    Str json, text;
    if (jsonapi_new(ctx, ctx->arena, CONTEXTS, &api) != ERR_OK)
        return cli_fail(ctx, 2, "asyncapi");
    AsyncApi document = {.ctx = ctx, .json_api = api, .messages = MESSAGES, .endpoints = ENDPOINTS};
    if (asyncapi_make(&document, &json) != ERR_OK || pretty(ctx, (Str){NULL, 0}, json, &text) != ERR_OK)
        return cli_fail(ctx, 2, "asyncapi");
    out_str(text);
    return 0;
}
