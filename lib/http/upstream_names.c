/*
 * upstream_names.c - from URLs to instances, again and again.
 *
 * A literal address is an instance for ever. A name is looked up every resolve_ms, off the loop; addresses that appear
 * join (slowly), those that vanish finish what they have in work. A lookup that fails changes nothing: yesterday's
 * address is better than none. (getaddrinfo tells no TTL, hence the fixed pace.)
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>

#include "base/heap.h"
#include "http/upstream_impl.h"
#include "runtime/log.h"
#include "runtime/lookup.h"

enum { LOOKUP_MS = 10000, LOOKUP_AGAIN_MS = 1000 };

/* --- instances ---------------------------------------------------------------------------------------------------- */

static void address_text(const struct sockaddr_storage *address, char *out, size_t n) {
    char host[INET6_ADDRSTRLEN] = "";
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(out, n, "%s:%d", host, ntohs(in->sin_port));
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host);
        snprintf(out, n, "[%s]:%d", host, ntohs(in->sin6_port));
    } else {
        snprintf(out, n, "unix:%.60s", ((const struct sockaddr_un *)address)->sun_path);
    }
}

Instance *instance_new(Upstream *upstream, const struct sockaddr *address, socklen_t length, UpstreamTls *tls) {
    Instance *instance = upstream->n_instances < UPSTREAM_INSTANCES_MAX ? HEAP_NEW(Instance) : NULL;
    if (instance == NULL)
        return NULL;
    instance->upstream = upstream;
    instance->refs = 1;
    memcpy(&instance->address, address, length);
    instance->address_length = length;
    instance->tls = tls;
    address_text(&instance->address, instance->text, sizeof instance->text);
    Instance **at = &upstream->instances;
    while (*at != NULL)
        at = &(*at)->next;
    *at = instance;
    upstream->n_instances++;
    return instance;
}

void instance_unref(Instance *instance) {
    if (--instance->refs == 0)
        heap_free(instance);
}

/* One address by two URLs that differ in their TLS is two instances. */
static Instance *instance_find(const Upstream *upstream, const struct sockaddr *address, socklen_t length,
                               const UpstreamTls *tls) {
    for (Instance *it = upstream->instances; it != NULL; it = it->next)
        if (it->address_length == length && it->tls == tls && memcmp(&it->address, address, length) == 0)
            return it;
    return NULL;
}

static void instance_drop(Upstream *upstream, Instance *instance) {
    Instance **at = &upstream->instances;
    while (*at != instance)
        at = &(*at)->next;
    *at = instance->next;
    upstream->n_instances--;
    instance->gone = true;
    LOG_I(NULL, "upstream.left", F_STR("upstream", upstream->options.name), F_C("instance", instance->text));
    conns_sweep(instance, INT64_MAX, 0);
    instance_unref(instance);
}

/* Those who waited for the first lookup look again. */
static void looked_up(Upstream *upstream) {
    upstream->looked_up = true;
    for (Waiter *waiter = upstream->first; waiter != NULL; waiter = waiter->next)
        wait_wake(&waiter->wait, ERR_OK);
}

/* --- looking up --------------------------------------------------------------------------------------------------- */

/* Of the URL at that place; NULL: plain. */
static UpstreamTls *tls_of(const Upstream *upstream, size_t at) {
    return upstream->tls[at].context == NULL ? NULL : &upstream->tls[at];
}

static bool is_literal(const UpstreamUrl *url, struct sockaddr_storage *ret, socklen_t *ret_length) {
    char host[64] = "";
    *ret = (struct sockaddr_storage){0};
    if (url->host.p == NULL) {
        struct sockaddr_un *un = (struct sockaddr_un *)ret;
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, url->path.p, url->path.n);
        *ret_length = sizeof *un;
        return true;
    }
    uint64_t port;
    if (url->host.n >= sizeof host || str_to_u64(url->port, 65535, &port) != ERR_OK)
        return false;
    memcpy(host, url->host.p, url->host.n);
    struct sockaddr_in *in = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
    if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        *ret_length = sizeof *in;
        return true;
    }
    if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1)
        return false;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons((uint16_t)port);
    *ret_length = sizeof *in6;
    return true;
}

enum { FOUND_MAX = UPSTREAM_INSTANCES_MAX };
typedef struct Found {
    Instance *kept[FOUND_MAX]; /* what some URL leads to now */
    size_t n;
    bool failed;
} Found;

/* The name's addresses. "localhost" leads to two families on one host: the first that the resolver names is enough for
 * a name with one host behind it, but a list may hold many hosts, so all of the first one's family are taken. */
static CO_FN void look_up(Upstream *upstream, Ctx *ctx, const UpstreamUrl *url, UpstreamTls *tls, Found *found) {
    Str host = arena_str(ctx->arena, url->host), port = arena_str(ctx->arena, url->port);
    struct addrinfo *list = NULL;
    Err err = host.p == NULL || port.p == NULL ? ERR_NO_MEMORY
                                               : lookup_host(host.p, port.p, clock_mono_ms() + LOOKUP_MS, &list, NULL);
    if (err != ERR_OK || list == NULL) {
        found->failed = true;
        if (err != ERR_CANCELLED)
            LOG_W(ctx, "upstream.lookup_failed", F_STR("upstream", upstream->options.name), F_STR("host", url->host));
        return;
    }
    for (const struct addrinfo *info = list; info != NULL && found->n < FOUND_MAX; info = info->ai_next) {
        if (info->ai_family != list->ai_family)
            continue;
        Instance *instance = instance_find(upstream, info->ai_addr, info->ai_addrlen, tls);
        if (instance == NULL) {
            instance = instance_new(upstream, info->ai_addr, info->ai_addrlen, tls);
            if (instance != NULL && upstream->looked_up)
                instance->came_at = clock_mono_ms();
        }
        if (instance != NULL)
            found->kept[found->n++] = instance;
    }
    lookup_free(list);
}

static CO_FN bool look_up_all(Upstream *upstream, Ctx *ctx) {
    Found found = {0};
    for (size_t i = 0; i < upstream->options.url_count; i++) {
        UpstreamUrl url;
        const char *why;
        struct sockaddr_storage address;
        socklen_t length;
        if (!upstream_url_read(upstream->options.urls[i], &url, &why))
            continue;
        if (!is_literal(&url, &address, &length))
            look_up(upstream, ctx, &url, tls_of(upstream, i), &found);
        else if (found.n < FOUND_MAX)
            found.kept[found.n++] = instance_find(upstream, (struct sockaddr *)&address, length, tls_of(upstream, i));
    }
    for (Instance *it = upstream->instances, *next; it != NULL && !found.failed; it = next) {
        bool kept = false;
        next = it->next;
        for (size_t i = 0; i < found.n; i++)
            kept = kept || found.kept[i] == it;
        if (!kept)
            instance_drop(upstream, it);
    }
    looked_up(upstream);
    return !found.failed;
}

static CO_FN void namer_run(Ctx *ctx, void *arg) {
    Upstream *upstream = arg;
    Err err = ERR_OK;
    while (err == ERR_OK && !upstream->closing) {
        bool found = look_up_all(upstream, ctx);
        arena_reset(ctx->arena);
        err = co_sleep(found ? upstream->options.limits.resolve_ms : LOOKUP_AGAIN_MS);
    }
    upstream->namer = NULL;
    upstream_release(upstream);
}

Err names_start(Upstream *upstream) {
    bool names = false;
    for (size_t i = 0; i < upstream->options.url_count; i++) {
        UpstreamUrl url;
        const char *why;
        struct sockaddr_storage address;
        socklen_t length;
        if (!upstream_url_read(upstream->options.urls[i], &url, &why))
            return ERR_INVALID;
        if (!is_literal(&url, &address, &length))
            names = true;
        else if (instance_find(upstream, (struct sockaddr *)&address, length, tls_of(upstream, i)) == NULL &&
                 instance_new(upstream, (struct sockaddr *)&address, length, tls_of(upstream, i)) == NULL)
            return ERR_NO_MEMORY;
    }
    upstream->looked_up = !names;
    if (!names)
        return ERR_OK;
    CoOptions options = {.name = "upstream names", .arena_limit_bytes = 256 * 1024};
    upstream_hold(upstream);
    Err err = co_spawn(upstream->loop, namer_run, upstream, &options, &upstream->namer);
    if (err != ERR_OK)
        upstream_release(upstream);
    return err;
}
