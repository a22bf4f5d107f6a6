/*
 * target.h - request targets (RFC 9112 §3.2): forms, percent-decoding, dot segments. Private to lib/http.
 */
#pragma once
#include "http/http.h"

typedef struct Target {
    Str path;      /* into the target or into scratch */
    Str query;     /* absent: no '?' */
    Str authority; /* absolute form only, else absent */
    bool https;    /* absolute form with scheme https */
    const char *allow;
} Target;

/** 0, or 400; or 405 with ret->allow: a form that only another method may use. scratch: at least target.n + 1 bytes. */
int target_parse(Str target, Method method, char *scratch, Target *ret);

/** host [":" port], as Host and authorities have it (RFC 3986 §3.2.2, §3.2.3); the empty one too. */
bool authority_is_valid(Str authority);
/** The same host and port in any case, the scheme's default port left out or not. */
bool authority_same(Str a, Str b, bool https);
