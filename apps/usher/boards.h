/*
 * boards.h - which contexts have background work, and the workers that do it.
 */
#pragma once
#include "jobs/jobs.h"
#include "runtime/supervisor.h"
#include "usher/app.h"

/** Of all contexts, and of schema jobs; NULL-ended. */
extern const JobBoard *const BOARDS[];
#define BOARDS_MAX 8
const JobBoard *board_of(const char *context);

/* The role "jobs". */
MUST_USE Err jobs_start(Worker *worker, App *app);
/** Finishes what runs, or gives it back at the drain's deadline; then the worker is drained. */
void jobs_drain(Worker *worker);
