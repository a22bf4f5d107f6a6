/*
 * instrument_words.c - words of HTTP for spans and metrics (semantic conventions: HTTP, stable).
 */
#include "telemetry/instrument_words.h"

#include <stdio.h>

const char *method_name(const Request *req) {
    static const char *const names[] = {[METHOD_OTHER] = "_OTHER",
#define METHOD_NAME(name) [METHOD_##name] = #name,
                                        HTTP_METHODS(METHOD_NAME)
#undef METHOD_NAME
    };
    return names[req->method];
}

const char *status_text(int status) {
    static char texts[1000][4];
    if (status < 100 || status > 999)
        return NULL;
    if (texts[status][0] == '\0')
        (void)snprintf(texts[status], sizeof texts[status], "%u", (unsigned)status % 1000);
    return texts[status];
}

const char *protocol_version(const Request *req) {
    return req->major == 2 ? "2" : req->minor == 0 ? "1.0" : "1.1";
}

const char *url_scheme(const Request *req) {
    return req->secure ? "https" : "http";
}
