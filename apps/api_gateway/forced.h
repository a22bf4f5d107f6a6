/*
 * forced.h - a tester's own side: a signed header that sends one request to the side of the tester's choice.
 *
 *   Usher-Side: new;1790000000;HEX      side, unix second at which it ends, HMAC-SHA-256 of "side;second" under the
 *   secret
 */
#pragma once
#include "api_gateway/gateway.h"

#define FORCED_HEADER   "usher-side"
#define FORCED_TEXT_MAX 96

/** True when the value is signed with the secret and has not ended at `now`. An empty secret signs nothing. */
bool forced_side(Str value, Str secret, Instant now, GatewaySide *ret);
/** Writes the value; returns its length. */
size_t forced_sign(GatewaySide side, Str secret, Instant until, char out[FORCED_TEXT_MAX]);
