/*
 * router.c - a trie of path segments, built once, read by every request.
 *
 * A node has literal children, at most one child for "any text" (a placeholder; its name and kind belong to the route,
 * so two routes may name it differently), and the routes that end there, one per method. Literals win over
 * placeholders; when a literal leads nowhere the placeholder is tried, so the order of tables never matters. A table of
 * regular expressions would read as simple and let two patterns overlap unseen.
 */
#include "http/router.h"

#include "base/uuid.h"

enum { SEGMENTS_MAX = 32, PLACEHOLDERS_MAX = ARRAY_LEN(((Request *)0)->path_values) };

typedef struct Leaf {
    const Route *route;
    uint32_t id_mask; /* which placeholders are declared :id */
    struct Leaf *next;
} Leaf;

typedef struct Node {
    Str text; /* literal; absent for the placeholder */
    struct Node *children, *next, *any;
    Leaf *leaves; /* in order of method names */
    Str allow;
} Node;

struct Router {
    RouterOptions options;
    Node root;
    const Route **routes;
    size_t n;
};

static const char *method_name(Method method) {
    static const char *const names[] = {"",
#define METHOD_NAME(name) #name,
                                        HTTP_METHODS(METHOD_NAME)
#undef METHOD_NAME
    };
    return names[method];
}

static bool segment_eq(const Router *router, Str a, Str b) {
    return router->options.ignore_case ? str_eq_nocase(a, b) : str_eq(a, b);
}

/* --- building
 * ---------------------------------------------------------------------------------------------------------- */

static Err pattern_bad(Ctx *ctx, const Route *route, const char *why) {
    return ctx_problem(ctx, ERR_INVALID, "pattern", "route %s: pattern '%s' %s", route->name, route->pattern, why);
}

static Node *literal_find(const Router *router, const Node *node, Str text) {
    for (Node *child = node->children; child != NULL; child = child->next) {
        if (segment_eq(router, child->text, text))
            return child;
    }
    return NULL;
}

static Err literal_child(const Router *router, Arena *arena, Node *node, Str text, Node **ret) {
    Node *child = literal_find(router, node, text);
    if (child == NULL) {
        child = ARENA_NEW(arena, Node);
        if (child == NULL)
            return ERR_NO_MEMORY;
        child->text = text;
        child->next = node->children;
        node->children = child;
    }
    *ret = child;
    return ERR_OK;
}

/* "{name}" or "{name:id}" */
static Err placeholder_child(Ctx *ctx, Arena *arena, const Route *route, Str inner, Node *node, bool *is_id,
                             Node **ret) {
    Str kind = inner, name = str_cut(&kind, ':');
    *is_id = str_eq(kind, STR("id"));
    if (name.n == 0 || (kind.p != NULL && !*is_id) || str_index(inner, '{') >= 0 || str_index(inner, '}') >= 0)
        return pattern_bad(ctx, route, "has a placeholder that is neither {name} nor {name:id}");
    if (node->any == NULL)
        node->any = ARENA_NEW(arena, Node);
    *ret = node->any;
    return node->any == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static Err leaf_add(Ctx *ctx, Arena *arena, Node *node, const Route *route, uint32_t id_mask) {
    Leaf **at = &node->leaves;
    while (*at != NULL && strcmp(method_name((*at)->route->method), method_name(route->method)) < 0)
        at = &(*at)->next;
    if (*at != NULL && (*at)->route->method == route->method)
        return ctx_problem(ctx, ERR_INVALID, "pattern", "routes %s and %s both claim %s %s", (*at)->route->name,
                           route->name, method_name(route->method), route->pattern);
    Leaf *leaf = ARENA_NEW(arena, Leaf);
    if (leaf == NULL)
        return ERR_NO_MEMORY;
    *leaf = (Leaf){route, id_mask, *at};
    *at = leaf;
    Buf allow = buf_new(arena, 256);
    for (const Leaf *each = node->leaves; each != NULL; each = each->next) {
        buf_add_c(&allow, each == node->leaves ? "" : ", ");
        buf_add_c(&allow, method_name(each->route->method));
    }
    return buf_finish(&allow, &node->allow);
}

static Err route_add(Ctx *ctx, Arena *arena, Router *router, const Route *route) {
    if (route->pattern[0] != '/')
        return pattern_bad(ctx, route, "does not begin with '/'");
    if (route->method == METHOD_OTHER)
        return pattern_bad(ctx, route, "has no method");
    Node *node = &router->root;
    uint32_t id_mask = 0, placeholders = 0;
    size_t segments = 0;
    Str rest = str_slice(str_c(route->pattern), 1, SIZE_MAX);
    while (rest.n > 0) {
        Str segment = str_cut(&rest, '/');
        if (segment.n == 0 || (rest.p != NULL && rest.n == 0))
            return pattern_bad(ctx, route, "has an empty segment");
        if (++segments > SEGMENTS_MAX)
            return pattern_bad(ctx, route, "has too many segments");
        if (segment.p[0] != '{') {
            TRY(literal_child(router, arena, node, segment, &node));
            continue;
        }
        if (segment.p[segment.n - 1] != '}' || placeholders >= PLACEHOLDERS_MAX)
            return pattern_bad(ctx, route, "has too many placeholders, or text behind one");
        bool is_id;
        TRY(placeholder_child(ctx, arena, route, str_slice(segment, 1, segment.n - 1), node, &is_id, &node));
        id_mask |= (uint32_t)is_id << placeholders++;
    }
    return leaf_add(ctx, arena, node, route, id_mask);
}

Err router_new(Ctx *ctx, Arena *arena, const Route *const *tables, size_t n_tables, RouterOptions options,
               Router **ret) {
    Router *router = ARENA_NEW(arena, Router);
    size_t total = 0;
    for (size_t i = 0; i < n_tables; i++) {
        for (const Route *route = tables[i]; route->pattern != NULL; route++)
            total++;
    }
    if (router == NULL || (router->routes = ARENA_ARRAY(arena, const Route *, total)) == NULL)
        return ERR_NO_MEMORY;
    router->options = options;
    for (size_t i = 0; i < n_tables; i++) {
        for (const Route *route = tables[i]; route->pattern != NULL; route++) {
            TRY(route_add(ctx, arena, router, route));
            router->routes[router->n++] = route;
        }
    }
    *ret = router;
    return ERR_OK;
}

const Route *router_each(const Router *router, size_t *at) {
    return *at < router->n ? router->routes[(*at)++] : NULL;
}

/* --- matching
 * ---------------------------------------------------------------------------------------------------------- */

typedef struct Walk {
    const Router *router;
    const Str *segments;
    size_t n;
    Str values[PLACEHOLDERS_MAX];
} Walk;

/* Depth is bounded by the patterns' own, since a node without children ends it. */
static const Node *walk(Walk *w, const Node *node, size_t at, size_t values) {
    if (at == w->n)
        return node->leaves != NULL ? node : NULL;
    const Node *literal = literal_find(w->router, node, w->segments[at]);
    const Node *found = literal != NULL ? walk(w, literal, at + 1, values) : NULL;
    if (found != NULL || node->any == NULL || w->segments[at].n == 0)
        return found;
    w->values[values] = w->segments[at];
    return walk(w, node->any, at + 1, values + 1);
}

/* false: more segments than any pattern has, or not a path. */
static bool path_split(const Router *router, Str path, Str *segments, size_t *ret_n) {
    if (path.n == 0 || path.p[0] != '/')
        return false;
    /* One trailing slash; of "/events//" none may go, because an empty segment is a segment. */
    if (router->options.trailing_slash && path.n > 1 && path.p[path.n - 1] == '/' && path.p[path.n - 2] != '/')
        path.n--;
    Str rest = str_slice(path, 1, path.n);
    size_t n = 0;
    if (rest.n == 0)
        rest = (Str){NULL, 0};
    while (rest.p != NULL) {
        if (n == SEGMENTS_MAX)
            return false;
        segments[n++] = str_cut(&rest, '/');
    }
    *ret_n = n;
    return true;
}

static const Leaf *leaf_find(const Router *router, const Node *node, const Request *req) {
    for (const Leaf *leaf = node->leaves; leaf != NULL; leaf = leaf->next) {
        if (leaf->route->method == req->method ||
            (router->options.method_ignores_case &&
             str_eq_nocase(req->method_text, str_c(method_name(leaf->route->method)))))
            return leaf;
    }
    return NULL;
}

RouteOutcome router_match(const Router *router, Request *req, Str *allow) {
    Str segments[SEGMENTS_MAX];
    Walk w = {.router = router, .segments = segments};
    if (!path_split(router, req->path, segments, &w.n))
        return ROUTE_NO_PATH;
    const Node *node = walk(&w, &router->root, 0, 0);
    if (node == NULL)
        return ROUTE_NO_PATH;
    const Leaf *leaf = leaf_find(router, node, req);
    if (leaf == NULL) {
        *allow = node->allow;
        return ROUTE_NO_METHOD;
    }
    Id id;
    for (size_t i = 0; i < PLACEHOLDERS_MAX; i++) {
        if ((leaf->id_mask >> i & 1) != 0 && id_parse(w.values[i], ID_FORM_ANY, &id) != ERR_OK)
            return ROUTE_BAD_ID;
    }
    req->route = leaf->route;
    req->method = leaf->route->method;
    memcpy(req->path_values, w.values, sizeof(w.values));
    return ROUTE_FOUND;
}
