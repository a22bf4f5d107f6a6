/*
 * instrument_words.h - the conventions' words for a request, for the server's side and the client's. Internal to
 * lib/telemetry.
 *
 * All live for ever: labels of metrics are known by their address.
 */
#pragma once
#include "http/http.h"

/** "GET", or "_OTHER" for a method that is not known. */
const char *method_name(const Request *req);
/** "404" and such; NULL below 100 or above 999. */
const char *status_text(int status);
/** "1.0", "1.1" or "2". */
const char *protocol_version(const Request *req);
/** "https" when the request came over TLS, else "http". */
const char *url_scheme(const Request *req);
