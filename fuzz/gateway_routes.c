/*
 * gateway_routes.c - fuzzes the gateway's routes file: it is taken, and explained as JSON that can be read, or refused
 * with words, one line a mistake.
 */
#include "api_gateway/gateway_config.h"
#include "json/json.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 16384)
        return 0;
    Buf mistakes = buf_new(NULL, 4 << 20), out = buf_new(NULL, 16 << 20);
    static const Route own[] = {
        {.method = METHOD_GET, .pattern = "/events", .name = "events.list", .context = "events"}, {.pattern = NULL}};
    static const Route *const tables[] = {own};
    GatewayOptions options = {.old_url = STR("http://127.0.0.1:1"),
                              .file_name = STR("f"),
                              .tables = tables,
                              .table_count = 1,
                              .file_text = {size > 0 ? (const char *)data : "", size}};
    size_t n = gateway_check(&options, true, &out, &mistakes);
    FUZZ_CHECK((n == 0) == (mistakes.n == 0) && (n == 0 || mistakes.p[mistakes.n - 1] == '\n'));
    if (n == 0) {
        Arena *arena = arena_new(64 << 20);
        Json *tree;
        FUZZ_CHECK(json_parse(buf_str(&out), arena, JSON_DUPLICATES_REJECT, &tree, NULL) == ERR_OK);
        const Json *routes = json_member(tree, "routes");
        for (const Json *it = routes->first; it != NULL; it = it->next)
            FUZZ_CHECK(pattern_check(json_text(json_member(it, "path"))) == NULL);
        arena_free(arena);
    }
    buf_done(&mistakes);
    buf_done(&out);
    return 0;
}
