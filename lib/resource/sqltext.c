/*
 * sqltext.c - a lexer that knows what is not SQL's text: comments, quotes, dollar quotes (Postgres 15 manual, 4.1).
 *
 * Migrations are edited by hand, so what they do is read off them, not remembered from when they were generated. Where
 * the lexer cannot be sure it says "loses data": a needless question is cheaper than a needless loss.
 */
#include "resource/sqltext.h"

typedef enum TokenKind { TOKEN_END, TOKEN_WORD, TOKEN_QUOTED, TOKEN_COMMENT, TOKEN_OTHER } TokenKind;

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80) != 0;
}

/* Behind the closing quote, or the end. escapes: E'…' with backslashes. */
static size_t quoted_end(Str sql, size_t at, bool escapes) {
    char quote = sql.p[at++];
    for (; at < sql.n; at++) {
        if (escapes && sql.p[at] == '\\')
            at++;
        else if (sql.p[at] == quote)
            return at + 1; /* a doubled quote begins another quoted token right here: the same outcome */
    }
    return sql.n;
}

/* $tag$ … $tag$; `at` itself when it is none ($1). */
static size_t dollar_end(Str sql, size_t at) {
    size_t i = at + 1;
    while (i < sql.n && is_word(sql.p[i]))
        i++;
    if (i >= sql.n || sql.p[i] != '$' || (i > at + 1 && sql.p[at + 1] >= '0' && sql.p[at + 1] <= '9'))
        return at;
    Str tag = str_slice(sql, at, i + 1);
    ptrdiff_t end = str_find(str_slice(sql, i + 1, sql.n), tag);
    return end < 0 ? sql.n : i + 1 + (size_t)end + tag.n;
}

static size_t block_comment_end(Str sql, size_t at) {
    int depth = 0; /* they nest, unlike C's */
    for (; at + 1 < sql.n; at++) {
        if (sql.p[at] == '/' && sql.p[at + 1] == '*') {
            depth++;
            at++;
        } else if (sql.p[at] == '*' && sql.p[at + 1] == '/') {
            at++;
            if (--depth == 0)
                return at + 1;
        }
    }
    return sql.n;
}

static TokenKind next_token(Str sql, size_t *at, Str *ret) {
    if (*at >= sql.n)
        return TOKEN_END;
    size_t start = *at;
    char c = sql.p[start], next = start + 1 < sql.n ? sql.p[start + 1] : '\0';
    TokenKind kind = TOKEN_OTHER;
    size_t end = start + 1;
    if (c == '-' && next == '-') {
        while (end < sql.n && sql.p[end] != '\n')
            end++;
        kind = TOKEN_COMMENT;
    } else if (c == '/' && next == '*') {
        end = block_comment_end(sql, start);
        kind = TOKEN_COMMENT;
    } else if ((c == 'e' || c == 'E') && next == '\'') {
        end = quoted_end(sql, start + 1, true);
        kind = TOKEN_QUOTED;
    } else if (c == '\'' || c == '"') {
        end = quoted_end(sql, start, false);
        kind = TOKEN_QUOTED;
    } else if (c == '$' && dollar_end(sql, start) > start) {
        end = dollar_end(sql, start);
        kind = TOKEN_QUOTED;
    } else if (is_word(c)) {
        while (end < sql.n && (is_word(sql.p[end]) || sql.p[end] == '$'))
            end++;
        kind = TOKEN_WORD;
    }
    *ret = str_slice(sql, start, end);
    *at = end;
    return kind;
}

bool sql_next(Str *rest, Str *ret) {
    size_t at = 0, start = 0;
    bool any = false;
    Str token;
    for (TokenKind kind; (kind = next_token(*rest, &at, &token)) != TOKEN_END;) {
        bool space = kind == TOKEN_OTHER && str_trim(token, " \t\r\n\f\v").n == 0;
        if (kind == TOKEN_OTHER && token.p[0] == ';') {
            if (any) {
                *ret = str_slice(*rest, start, at - 1);
                *rest = str_slice(*rest, at, rest->n);
                return true;
            }
            start = at;
        } else if (kind != TOKEN_COMMENT && !space) {
            if (!any)
                start = at - token.n; /* comments before a statement are not sent */
            any = true;
        }
    }
    *ret = str_trim(str_slice(*rest, start, rest->n), " \t\r\n");
    *rest = (Str){0};
    return any;
}

bool sql_no_transaction(Str sql) {
    size_t at = 0;
    Str token;
    for (TokenKind kind; (kind = next_token(sql, &at, &token)) != TOKEN_END;) {
        if (kind == TOKEN_COMMENT && str_starts_with(token, STR("-- usher: no transaction")))
            return true;
    }
    return false;
}

bool sql_has_word(Str sql, const char *word) {
    size_t at = 0;
    Str token;
    for (TokenKind kind; (kind = next_token(sql, &at, &token)) != TOKEN_END;) {
        if (kind == TOKEN_WORD && str_eq_nocase(token, str_c(word)))
            return true;
    }
    return false;
}

/* DROP of these takes no rows with it. */
static bool drop_is_harmless(Str word) {
    static const char *const WORDS[] = {"constraint", "index",    "default", "not",    "identity",
                                        "expression", "function", "trigger", "policy", "rule"};
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        if (str_eq_nocase(word, str_c(WORDS[i])))
            return true;
    }
    return false;
}

bool sql_loses_data(Str sql) {
    size_t at = 0;
    Str token, before = {0};
    for (TokenKind kind; (kind = next_token(sql, &at, &token)) != TOKEN_END;) {
        if (kind == TOKEN_COMMENT && str_starts_with(token, STR("-- usher: loses data")))
            return true;
        /* A DO block's or function's body can hold anything. */
        if (kind == TOKEN_QUOTED && token.p[0] == '$' && token.n > 4)
            return true;
        if (kind == TOKEN_QUOTED && str_eq_nocase(before, STR("drop")))
            return true;
        if (kind != TOKEN_WORD)
            continue;
        if (str_eq_nocase(token, STR("truncate")) ||
            (str_eq_nocase(token, STR("delete")) && !str_eq_nocase(before, STR("on"))) ||
            (str_eq_nocase(before, STR("drop")) && !drop_is_harmless(token)))
            return true;
        before = token;
    }
    return false;
}
