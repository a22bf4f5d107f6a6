/*
 * api_gateway.h - front door of the gateway: old and new behind one address, compared answer by answer, switched route
 * by route.
 */
#pragma once
#include "api_gateway/gateway.h"
#include "resource/resource.h"

/** Schema gateway: differences, stages, counts. */
extern const Context GATEWAY_CONTEXT;
