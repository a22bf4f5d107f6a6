/*
 * diffs.h - what cmd_diffs.c and diffs_export.c share.
 */
#pragma once
#include "usher/gateway_db.h"

/** Samples (of one cause, or all) as a recording for `usher replay`, on stdout. */
int diffs_export(Invocation *call, PGconn *conn);
