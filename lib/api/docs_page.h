/*
 * docs_page.h - the page that shows /openapi.json: one document, no asset from elsewhere. Internal to lib/api.
 */
#pragma once

extern const char DOCS_PAGE[];
/**
 * Content-Security-Policy of the page: nothing but its own style and script, named by their SHA-256 (CSP 3, section
 * 2.3.1), and /openapi.json. Who changes either takes the new hash from what test_documents_are_served says.
 */
#define DOCS_POLICY                                                                                                    \
    "default-src 'none'; style-src 'sha256-4S0Qf8kR7MDI1toKPgVwYNyi1lPwwBi62bXZjM5TO/0='; script-src "                 \
    "'sha256-ZWPGVEIZV+IDPNLenk5d80zqPe3IX3GDR0vdqlGOyt0='; connect-src 'self'; base-uri 'none'; form-action 'none'; " \
    "frame-ancestors 'none'"
