/*
 * docs_page.h - the page that shows /openapi.json: one document, no asset from elsewhere. Internal to lib/api.
 */
#pragma once

extern const char DOCS_PAGE[];
/** Content-Security-Policy of the page: nothing but itself and /openapi.json. */
#define DOCS_POLICY                                                                                                    \
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'"
