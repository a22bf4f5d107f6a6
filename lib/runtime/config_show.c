/*
 * config_show.c - settings as an operator may see them: no password ever leaves.
 */
#include "runtime/config_impl.h"

static size_t last_at(Str url, size_t from, size_t to) {
    while (to > from && url.p[to - 1] != '@')
        to--;
    return to == from ? SIZE_MAX : to - 1;
}

/* user:password@ → user:***@, up to where the host begins; returns how far it came. By RFC 3986 §3.2 the first of / ? #
 * ends the authority, but a password that should have been percent-encoded may hold any of them, so the last @ counts:
 * better to mask a piece of path than to show a piece of password. */
static size_t add_user_masked(Buf *out, Str url, size_t from) {
    ptrdiff_t question = str_index(url, '?');
    size_t at = last_at(url, from, question < 0 ? url.n : (size_t)question);
    if (at == SIZE_MAX)
        at = last_at(url, from, url.n);
    if (at == SIZE_MAX)
        return from;
    Str user = str_slice(url, from, at);
    ptrdiff_t colon = str_index(user, ':');
    buf_add(out, colon < 0 ? user : str_slice(user, 0, (size_t)colon + 1));
    buf_add_c(out, colon < 0 ? "" : "***");
    return at;
}

static bool is_password_key(Str key) {
    static const char *const keys[] = {"password", "sslpassword", "secret", "token"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (str_eq_nocase(key, str_c(keys[i])))
            return true;
    return str_index(key, '%') >= 0; /* libpq decodes names, too: pass%77ord */
}

static void add_parameter_masked(Buf *out, Str parameter) {
    ptrdiff_t equals = str_index(parameter, '=');
    if (equals < 0 || !is_password_key(str_slice(parameter, 0, (size_t)equals))) {
        buf_add(out, parameter);
        return;
    }
    buf_add(out, str_slice(parameter, 0, (size_t)equals + 1));
    buf_add_c(out, "***");
}

void config_add_url_masked(Buf *out, Str url) {
    ptrdiff_t scheme = str_find(url, STR("://"));
    size_t at = 0;
    if (scheme >= 0) {
        at = (size_t)scheme + 3;
        buf_add(out, str_slice(url, 0, at));
        at = add_user_masked(out, url, at);
    }
    while (at < url.n && url.p[at] != '?') {
        buf_add_char(out, url.p[at++]);
    }
    if (at == url.n)
        return;
    buf_add_char(out, '?');
    Str rest = str_slice(url, at + 1, url.n);
    for (bool first = true; rest.p != NULL; first = false) {
        if (!first)
            buf_add_char(out, '&');
        add_parameter_masked(out, str_cut(&rest, '&'));
    }
}

void config_show(const Setting *setting, const void *settings, Buf *out) {
    const char *member = (const char *)settings + setting->offset;
    if (setting->kind == SETTING_TEXT || setting->kind == SETTING_URL) {
        Str text;
        memcpy(&text, member, sizeof text);
        if (text.p == NULL)
            return;
        if (setting->kind == SETTING_URL)
            config_add_url_masked(out, text);
        else
            buf_add(out, setting->secret ? STR("***") : text);
        return;
    }
    if (setting->secret) {
        buf_add_c(out, "***");
        return;
    }
    if (setting->kind == SETTING_BOOL) {
        bool value;
        memcpy(&value, member, sizeof value);
        buf_add_c(out, value ? "true" : "false");
        return;
    }
    int64_t number;
    memcpy(&number, member, sizeof number);
    config_add_number(out, setting->kind, number);
}
