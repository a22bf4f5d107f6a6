/*
 * proxy_protocol.h - the PROXY protocol's header (haproxy's proxy-protocol.txt, versions 1 and 2): who the client of a
 * load balancer is. Private to lib/http.
 */
#pragma once
#include "http/connection.h"

typedef enum ProxyHeader { PROXY_MORE, PROXY_DONE, PROXY_BAD } ProxyHeader;

enum { PROXY_HEADER_MAX = 2048 }; /* the largest that is taken; senders' are some 50 to 500 bytes */

/**
 * Looks at the first bytes of a connection. PROXY_DONE: *ret_length bytes are the header, and peer is the client's
 * address (left as it is for LOCAL and UNKNOWN, which speak for themselves). PROXY_MORE: all bytes so far belong to it.
 */
ProxyHeader proxy_header_parse(Str bytes, size_t *ret_length, char peer[48]);

/** Reads the header off a connection that awaits it, and not a byte more: what follows may be TLS. Aborts the
 *  connection when it is none. */
void proxy_header_read(HttpConnection *conn);
