/*
 * answers.h - recorded answers as the differ takes them, and a differ to compare them with.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../api/recordings.h"
#include "api_gateway/differ.h"

static const char *const ALL_KINDS[] = {"event", "user", "ticket", "id", NULL};

static inline Str path_of(const Recorded *recorded) {
    Str path = recorded->path;
    return str_cut(&path, '?');
}

/** The route of a recorded request, as route_rules.c names it; absent: none of those. */
static inline Str route_of(const Recorded *recorded) {
    Str rest = path_of(recorded), method = recorded->method;
    Str parts[8] = {{0}};
    size_t n = 0;
    for (str_cut(&rest, '/'); rest.p != NULL && n < ARRAY_LEN(parts);)
        parts[n++] = str_cut(&rest, '/');
    bool events = n > 0 && str_eq_nocase(parts[0], STR("events")),
         users = n > 0 && str_eq_nocase(parts[0], STR("users"));
    bool get = str_eq_nocase(method, STR("get"));
    if (events && n == 3 && get && str_eq_nocase(parts[2], STR("tickets")))
        return STR("GET /events/{id}/tickets");
    if (events && n == 5 && get)
        return STR("GET /events/{id}/tickets/user/{userId}");
    if (n == 1 && events)
        return get ? STR("GET /events") : STR("POST /events");
    if (n == 1 && users)
        return get ? STR("GET /users") : STR("POST /users");
    if (n == 2 && (events || users))
        return get ? (events ? STR("GET /events/{id}") : STR("GET /users/{id}"))
                   : (events ? STR("PUT /events/{id}") : STR("PUT /users/{id}"));
    return STR("");
}

static inline Answer answer_of(const Recorded *recorded, Arena *arena) {
    const Json *pairs = json_member(recorded->response, "headers");
    Header *headers = ARENA_ARRAY(arena, Header, pairs == NULL ? 1 : pairs->count + 1);
    Answer answer = {.status = (int)recorded->status, .headers = headers, .body = recorded->answer};
    for (const Json *pair = pairs == NULL ? NULL : pairs->first; pair != NULL; pair = pair->next)
        headers[answer.header_count++] = (Header){json_text(json_element(pair, 0)), json_text(json_element(pair, 1))};
    if (answer.body.p == NULL)
        answer.body = STR("");
    return answer;
}
