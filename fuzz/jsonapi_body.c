/*
 * jsonapi_body.c - any document is refused with pointers to what is really there, or becomes a struct whose values are
 * written as JSON that reads the same.
 *
 * Input: 1 byte, which route; then the document.
 */
#include "jsonapi_call.h"

#define ARENA_BYTES ((size_t)64 << 20)
#define SOME_ID     "af317840-0e9a-4383-9d78-9fab510448c4"

/* The n-th route that takes a document of this surface's own. */
static const ApiRoute *pick_route(const JsonApi *api, size_t n) {
    const ApiRoute *taking[64];
    size_t count = 0;
    for (const Route *route = api->routes; route->pattern != NULL; route++) {
        const ApiRoute *own = route->data;
        bool takes = own->op == API_OP_CREATE || own->op == API_OP_UPDATE || own->op == API_OP_ACTION;
        if (takes && count < ARRAY_LEN(taking))
            taking[count++] = own;
    }
    FUZZ_CHECK(count > 0);
    return taking[n % count];
}

static void check_pointers(const ApiCall *call, const Json *document) {
    for (size_t i = 0; i < call->n_errors; i++)
        if (call->errors[i].pointer.p != NULL)
            FUZZ_CHECK(json_pointer(document, call->errors[i].pointer) != NULL);
}

static Str written(Arena *arena, const Attribute *a, const void *object) {
    Buf out = buf_new(arena, 1 << 20);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 0);
    api_write_value(&w, a, object);
    FUZZ_CHECK(out.err == ERR_OK);
    return buf_str(&out);
}

/* What was taken can be shown, and what is shown can be sent. */
static void check_value(Arena *arena, const Attribute *a, size_t object_size, const void *object) {
    Json *value;
    const char *why;
    if (a->list || !attribute_is_present(a, object))
        return;
    void *back = arena_alloc(arena, object_size);
    Str text = written(arena, a, object);
    FUZZ_CHECK(json_parse(text, arena, JSON_DUPLICATES_REJECT, &value, NULL) == ERR_OK);
    FUZZ_CHECK(api_read_value(a, value, arena, back, &why) == ERR_OK);
    FUZZ_CHECK(str_eq(written(arena, a, back), text));
}

static void check(Arena *arena, const ApiRoute *route, Str body) {
    FuzzCall f;
    const Json *document = NULL;
    bool changed = false;
    fuzz_call(&f, arena, route);
    Err err = api_parse_document(&f.call, body, &document);
    if (err == ERR_OK && route->op == API_OP_ACTION) {
        void *input = arena_alloc(arena, route->action->input_size);
        err = api_read_arguments(&f.call, document, route->action, input);
        for (const Attribute *a = route->action->arguments; err == ERR_OK && a->name != NULL; a++)
            check_value(arena, a, route->action->input_size, input);
    } else if (err == ERR_OK) {
        const Resource *resource = route->type->sources[0].resource;
        void *object = arena_alloc(arena, resource->size);
        Str id = route->op == API_OP_UPDATE ? STR(SOME_ID) : (Str){NULL, 0};
        err = api_read_resource(&f.call, document, id, route->action, object, &changed);
        FUZZ_CHECK(f.call.n_named <= API_RELS_MAX);
        for (const Attribute *a = resource->attributes; err == ERR_OK && changed && a->name != NULL; a++)
            check_value(arena, a, resource->size, object);
    }
    if (err == ERR_OK)
        return;
    if (document != NULL)
        check_pointers(&f.call, document);
    fuzz_check_refusal(&f, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    Arena *arena = arena_new(ARENA_BYTES);
    check(arena, pick_route(fuzz_api(), data[0]), (Str){(const char *)data + 1, size - 1});
    arena_free(arena);
    return 0;
}
