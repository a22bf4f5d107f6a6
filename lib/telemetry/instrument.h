/*
 * instrument.h - what watches lib/http and lib/pg.
 *
 * Those two are below and know nothing of spans: each takes an observer when it is opened, and asks one branch where
 * there is none.
 */
#pragma once
#include "http/http.h"
#include "pg/pg.h"

/** NULL where nothing is recorded. */
const HttpObserver *telemetry_http_observer(void);
const PgObserver *telemetry_pg_observer(void);
