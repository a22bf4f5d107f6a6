/*
 * target.c - what a request-target names.
 *
 * The path is decoded once, here, and everybody behind sees the same one: percent escapes first, then dot segments (so
 * that "%2e%2e" is no way round), as WHATWG and the old system do. "%2f" stays as it is: it is not a separator. What
 * cannot be text is refused: "%00", a broken escape, bytes that are not UTF-8. Empty segments ("//") mean something and
 * are kept. A '#' is no delimiter on the wire (§3.2 has no fragment); it stays in the path and so matches no route.
 */
#include "http/target.h"

#include "base/utf8.h"
#include "http/chars.h"

/* Decodes into out (which has room for path.n); false: not text. */
static bool percent_decode(Str path, char *out, size_t *ret_n) {
    size_t n = 0;
    for (size_t i = 0; i < path.n; i++) {
        if (path.p[i] != '%') {
            out[n++] = path.p[i];
            continue;
        }
        if (path.n - i < 3)
            return false;
        int high = hex_value(path.p[i + 1]), low = hex_value(path.p[i + 2]);
        if (high < 0 || low < 0 || high + low == 0)
            return false;
        char byte = (char)(high * 16 + low);
        if (byte == '/') {
            memcpy(out + n, path.p + i, 3);
            n += 3;
        } else {
            out[n++] = byte;
        }
        i += 2;
    }
    *ret_n = n;
    return utf8_valid((Str){out, n});
}

/* RFC 3986 §5.2.4 in place; path begins with '/'. */
static size_t dots_remove(char *path, size_t n) {
    size_t out = 0, at = 0;
    while (at < n) { /* path[at] is '/' */
        size_t end = at + 1;
        while (end < n && path[end] != '/')
            end++;
        size_t length = end - at - 1;
        bool dot = length == 1 && path[at + 1] == '.';
        bool dots = length == 2 && path[at + 1] == '.' && path[at + 2] == '.';
        if (dots) {
            while (out > 0 && path[--out] != '/') {
            }
        }
        if (!dot && !dots) {
            memmove(path + out, path + at, end - at);
            out += end - at;
        } else if (end == n) {
            path[out++] = '/'; /* "/a/.." and "/a/." name a folder */
        }
        at = end;
    }
    return out;
}

static bool path_is_plain(Str path) {
    for (size_t i = 0; i < path.n; i++) {
        if (path.p[i] == '%' || (path.p[i] == '.' && path.p[i - 1] == '/')) /* [0] is '/' */
            return false;
    }
    return true;
}

static int path_parse(Str text, char *scratch, Target *ret) {
    ptrdiff_t mark = str_index(text, '?');
    ret->query = mark < 0 ? (Str){NULL, 0} : str_slice(text, (size_t)mark + 1, text.n);
    Str path = mark < 0 ? text : str_slice(text, 0, (size_t)mark);
    if (path.n == 0)
        path = STR("/"); /* absolute form: "http://host" and "http://host?q" */
    if (path_is_plain(path)) {
        ret->path = path;
        return 0;
    }
    size_t n;
    if (!percent_decode(path, scratch, &n))
        return 400;
    ret->path = (Str){scratch, dots_remove(scratch, n)};
    return 0;
}

static int absolute_parse(Str target, char *scratch, Target *ret) {
    Str prefix = str_eq_nocase(str_slice(target, 0, 7), STR("http://")) ? STR("http://") : STR("https://");
    ret->https = prefix.n == 8;
    Str rest = str_slice(target, prefix.n, target.n);
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?' && rest.p[n] != '#')
        n++;
    ret->authority = str_slice(rest, 0, n);
    /* An empty host, or user information (RFC 9110 §4.2.4), is refused. */
    if (n == 0 || !authority_is_valid(ret->authority))
        return 400;
    Str path = str_slice(rest, n, rest.n);
    if (path.n > 0 && path.p[0] == '#')
        return 400;
    return path_parse(path, scratch, ret);
}

int target_parse(Str target, Method method, char *scratch, Target *ret) {
    *ret = (Target){0};
    if (target.n > 0 && target.p[0] == '/')
        return path_parse(target, scratch, ret);
    if (str_eq(target, STR("*"))) {
        ret->path = target;
        ret->allow = "OPTIONS";
        return method == METHOD_OPTIONS ? 0 : 405;
    }
    if (method != METHOD_CONNECT && (str_eq_nocase(str_slice(target, 0, 7), STR("http://")) ||
                                     str_eq_nocase(str_slice(target, 0, 8), STR("https://"))))
        return absolute_parse(target, scratch, ret);
    /* What is left is the authority form, which belongs to CONNECT; recorded so for "GET events". */
    if (target.n == 0 || !authority_is_valid(target))
        return 400;
    ret->path = target;
    ret->allow = "CONNECT";
    return method == METHOD_CONNECT ? 0 : 405;
}

static bool port_is_valid(Str port) {
    uint64_t number;
    return port.n == 0 || str_to_u64(port, 65535, &number) == ERR_OK;
}

static bool ip_literal_is_valid(Str inner) {
    bool colon = false;
    for (size_t i = 0; i < inner.n; i++) {
        if (inner.p[i] == ':')
            colon = true;
        else if (hex_value(inner.p[i]) < 0 && inner.p[i] != '.')
            return false;
    }
    return colon && inner.n >= 2 && inner.n <= 45;
}

bool authority_is_valid(Str authority) {
    if (authority.n > 0 && authority.p[0] == '[') {
        ptrdiff_t end = str_index(authority, ']');
        if (end < 0 || !ip_literal_is_valid(str_slice(authority, 1, (size_t)end)))
            return false;
        Str rest = str_slice(authority, (size_t)end + 1, authority.n);
        return rest.n == 0 || (rest.p[0] == ':' && port_is_valid(str_slice(rest, 1, rest.n)));
    }
    ptrdiff_t colon = str_index(authority, ':');
    Str host = colon < 0 ? authority : str_slice(authority, 0, (size_t)colon);
    if (colon == 0 || (colon > 0 && !port_is_valid(str_slice(authority, (size_t)colon + 1, authority.n))))
        return false;
    for (size_t i = 0; i < host.n; i++) {
        if (!char_is(host.p[i], CHAR_HOST))
            return false;
        if (host.p[i] == '%' && (host.n - i < 3 || hex_value(host.p[i + 1]) < 0 || hex_value(host.p[i + 2]) < 0))
            return false;
    }
    return true;
}

static Str default_port_strip(Str authority, bool https) {
    Str tail = https ? STR(":443") : STR(":80");
    if (str_ends_with(authority, tail))
        return str_slice(authority, 0, authority.n - tail.n);
    return str_ends_with(authority, STR(":")) ? str_slice(authority, 0, authority.n - 1) : authority;
}

bool authority_same(Str a, Str b, bool https) {
    return str_eq_nocase(default_port_strip(a, https), default_port_strip(b, https));
}
