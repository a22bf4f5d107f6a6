/*
 * media_type.c - RFC 9110 §8.3.1 and §12.5.1, with the old framework's ways: what follows the first media type is not
 * looked at, an Accept with a bare wildcard counts as none, parameters in Accept that we do not have make an entry
 * match nothing.
 */
#include "api/media_type.h"

typedef struct MediaType {
    Str type, subtype;
    Str parameters; /* behind the first ';' */
} MediaType;

static bool is_token_byte(char c) {
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
           (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static Str take_token(Str *rest) {
    size_t n = 0;
    while (n < rest->n && is_token_byte(rest->p[n]))
        n++;
    Str token = str_slice(*rest, 0, n);
    *rest = str_slice(*rest, n, rest->n);
    return token;
}

static bool parse(Str text, MediaType *ret) {
    Str rest = str_trim(text, " \t");
    ret->type = take_token(&rest);
    if (ret->type.n == 0 || rest.n == 0 || rest.p[0] != '/')
        return false;
    rest = str_slice(rest, 1, rest.n);
    ret->subtype = take_token(&rest);
    rest = str_trim(rest, " \t");
    ret->parameters = rest.n > 0 && rest.p[0] == ';' ? str_slice(rest, 1, rest.n) : (Str){0};
    return ret->subtype.n > 0;
}

static Str unquote(Str s) {
    return s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"' ? str_slice(s, 1, s.n - 1) : s;
}

/** The value of a parameter, or absent. */
static Str parameter(Str parameters, Str name) {
    Str found = {0};
    while (parameters.p != NULL && found.p == NULL) {
        Str value = str_cut(&parameters, ';');
        Str key = str_trim(str_cut(&value, '='), " \t");
        if (value.p != NULL && str_eq_nocase(key, name))
            found = unquote(str_trim(value, " \t"));
    }
    return found;
}

static bool is_json(const MediaType *m) {
    if (str_eq_nocase(m->type, STR("text")))
        return str_eq_nocase(m->subtype, STR("json"));
    if (!str_eq_nocase(m->type, STR("application")))
        return false;
    Str suffix = str_slice(m->subtype, m->subtype.n > 5 ? m->subtype.n - 5 : 0, m->subtype.n);
    return str_eq_nocase(m->subtype, STR("json")) || (m->subtype.n > 5 && str_eq_nocase(suffix, STR("+json")));
}

BodyType body_type(Str content_type) {
    MediaType m;
    if (content_type.p == NULL || !parse(content_type, &m))
        return BODY_TYPE_UNSUPPORTED;
    if (str_eq_nocase(m.type, STR("multipart")) && str_eq_nocase(m.subtype, STR("form-data")))
        return BODY_TYPE_FORM;
    if (!is_json(&m))
        return BODY_TYPE_UNSUPPORTED;
    Str charset = parameter(m.parameters, STR("charset"));
    if (charset.p == NULL || str_eq_nocase(charset, STR("utf-8")))
        return BODY_TYPE_UTF8;
    bool utf16 = str_eq_nocase(charset, STR("utf-16")) || str_eq_nocase(charset, STR("utf-16le")) ||
                 str_eq_nocase(charset, STR("unicode"));
    return utf16 ? BODY_TYPE_UTF16 : BODY_TYPE_UNSUPPORTED;
}

/** Thousandths; 1000 without q; -1: another parameter is there, which we cannot satisfy. */
static int quality(Str parameters) {
    int q = 1000;
    while (parameters.p != NULL) {
        Str value = str_cut(&parameters, ';');
        Str key = str_trim(str_cut(&value, '='), " \t");
        if (key.n == 0 || str_eq_nocase(key, STR("charset")))
            continue;
        if (!str_eq_nocase(key, STR("q")))
            return -1;
        Str text = str_trim(value, " \t");
        q = text.n > 0 && text.p[0] == '1' ? 1000 : 0;
        for (size_t i = 2, unit = 100; q < 1000 && i < text.n && unit > 0; i++, unit /= 10) {
            if (text.p[i] >= '0' && text.p[i] <= '9')
                q += (int)unit * (text.p[i] - '0');
        }
    }
    return q;
}

static bool names(Str pattern, Str name) {
    return str_eq_c(pattern, "*") || str_eq_nocase(pattern, name);
}

AnswerType answer_type(Str accept) {
    AnswerType best = ANSWER_TYPE_NONE;
    int best_quality = -1;
    bool any = false;
    for (Str rest = accept; rest.p != NULL && rest.n > 0;) {
        MediaType m;
        if (!parse(str_cut(&rest, ','), &m))
            continue;
        any = true;
        if (str_eq_c(m.type, "*"))
            return ANSWER_TYPE_JSON; /* browsers send it; the old system then ignored the rest */
        int q = quality(m.parameters);
        bool application = names(m.type, STR("application")), text = names(m.type, STR("text"));
        if (q <= best_quality || !(application || text) || !names(m.subtype, STR("json")))
            continue;
        best = application ? ANSWER_TYPE_JSON : ANSWER_TYPE_TEXT_JSON;
        best_quality = q;
    }
    return any ? best : ANSWER_TYPE_JSON;
}

/** Does the client take type/json? The most specific range that matches decides; a list without one range says
 *  nothing. */
static bool takes(Str accept, Str type) {
    int q = 0, depth = 0;
    bool any = false;
    for (Str rest = accept; rest.p != NULL && rest.n > 0;) {
        MediaType m;
        if (!parse(str_cut(&rest, ','), &m))
            continue;
        any = true;
        int m_depth = str_eq_c(m.type, "*") ? 1 : str_eq_c(m.subtype, "*") ? 2 : 3, m_q = quality(m.parameters);
        if (m_q < 0 || m_depth < depth || !names(m.type, type) || !names(m.subtype, STR("json")))
            continue;
        q = m_q;
        depth = m_depth;
    }
    return !any || q > 0;
}

bool accepts_json(Str accept) {
    return takes(accept, STR("application")) || takes(accept, STR("text"));
}
