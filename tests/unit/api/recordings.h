/*
 * recordings.h - walks the recorded conversations of the old system (contracts/http). A test is one .c file, hence the
 * code here.
 */
#pragma once
#include <stdio.h>

#include "json/json.h"

typedef struct Recorded {
    const char *file;
    size_t index;
    Str method, path;
    Str body; /* as sent, generators and base64 resolved; absent: sent raw, head and all */
    const Json *request, *response;
    int64_t status;
    Str answer; /* body of the response */
} Recorded;

static const char *const RECORDINGS[] = {
    "01-events-basic",    "02-events-names",     "03-events-dates", "04-events-venue",      "05-events-price",
    "06-events-overlap",  "07-events-update",    "08-users-crud",   "09-users-names",       "10-users-email",
    "11-tickets-reserve", "12-tickets-purchase", "13-http-bodies",  "14-http-content-type", "15-http-routing",
    "16-http-cors",       "17-http-protocol",
};

static inline Str recording_read(const char *name, Arena *arena) {
    char path[128];
    snprintf(path, sizeof path, "contracts/http/%s.json", name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    Buf out = buf_new(arena, 4 << 20);
    for (;;) {
        char *room = buf_reserve(&out, 65536);
        assert_non_null(room);
        size_t n = fread(room, 1, 65536, file);
        out.n += n;
        if (n == 0)
            break;
    }
    fclose(file);
    return buf_str(&out);
}

static inline Str recording_base64(Str text, Arena *arena) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    Buf out = buf_new(arena, text.n + 4);
    uint32_t bits = 0;
    int have = 0;
    for (size_t i = 0; i < text.n && text.p[i] != '='; i++) {
        bits = bits << 6 | (uint32_t)(strchr(digits, text.p[i]) - digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            buf_add_char(&out, (char)(bits >> have & 0xFF));
        }
    }
    return buf_str(&out);
}

static inline Str recording_body(const Json *request, Arena *arena) {
    const Json *generator = json_member(request, "body_generator");
    if (generator != NULL) {
        Buf out = buf_new(arena, 40 << 20);
        buf_add(&out, json_text(json_member(generator, "prefix")));
        for (int64_t n = json_i64(json_member(generator, "count"), 0); n > 0; n--)
            buf_add(&out, json_text(json_member(generator, "repeat")));
        buf_add(&out, json_text(json_member(generator, "suffix")));
        return buf_str(&out);
    }
    if (json_member(request, "raw") != NULL)
        return (Str){0};
    if (json_member(request, "body_base64") != NULL)
        return recording_base64(json_text(json_member(request, "body_base64")), arena);
    Str body = json_text(json_member(request, "body"));
    return body.p == NULL ? STR("") : body;
}

/** Calls fn for each exchange of each recording; what it is given lives until it returns. Returns how many there
 *  were. */
static inline size_t recordings_each(void (*fn)(const Recorded *recorded, Arena *arena)) {
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(RECORDINGS); i++) {
        Arena *arena = arena_new(256 << 20);
        Json *root;
        JsonProblem problem;
        Err err = json_parse(recording_read(RECORDINGS[i], arena), arena, JSON_DUPLICATES_REJECT, &root, &problem);
        if (err != ERR_OK)
            fail_msg("%s: %.*s", RECORDINGS[i], STR_ARG(problem.message));
        const Json *exchange = json_member(root, "exchanges")->first;
        for (size_t index = 0; exchange != NULL; exchange = exchange->next, index++) {
            const Json *request = json_member(exchange, "request"), *response = json_member(exchange, "response");
            Recorded recorded = {
                .file = RECORDINGS[i],
                .index = index,
                .method = json_text(json_member(request, "method")),
                .path = json_text(json_member(request, "path")),
                .body = recording_body(request, arena),
                .request = request,
                .response = response,
                .status = json_i64(json_member(response, "status"), 0),
                .answer = json_text(json_member(response, "body")),
            };
            fn(&recorded, arena);
            n++;
        }
        arena_free(arena);
    }
    return n;
}

/** First header of that name in a request or response, or absent. */
static inline Str recorded_header(const Json *message, const char *name) {
    const Json *headers = json_member(message, "headers");
    for (const Json *header = headers == NULL ? NULL : headers->first; header != NULL; header = header->next) {
        if (str_eq_nocase(json_text(json_element(header, 0)), str_c(name)))
            return json_text(json_element(header, 1));
    }
    return (Str){0};
}
