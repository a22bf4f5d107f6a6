/*
 * desk_internal.h - what desk.c and why.c share.
 */
#pragma once
#include "jobs/desk.h"
#include "jobs/internal.h"

/** Runs a query over the board's schema with parameters as text. */
MUST_USE Err desk_ask(const JobDesk *desk, const Statement *query, int n, const char *const *values, PGresult **ret);
