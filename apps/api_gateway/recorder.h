/*
 * recorder.h - live conversations in the form of the recordings (contracts/README.md), so that rare routes get a
 * corpus.
 *
 * One file, a whole document after every exchange, whatever ends the process. Secret and personal values are redacted
 * by rule before anything is written. Ids that the side made (201 with a Location) become captures, so that a replay
 * can put its own in their place.
 */
#pragma once
#include "api_gateway/gateway.h"

typedef struct Recorder Recorder;

/** Makes the file anew. ERR_IO: *ret_why says why (static text). */
MUST_USE Err recorder_open(const char *path, Recorder **ret, const char **ret_why);
/** Adds an exchange whose copies are whole; others are counted. Writes to the file: only for recording. */
void recorder_add(Recorder *recorder, const GatewayExchange *exchange);
void recorder_close(Recorder *recorder);
/** Exchanges written, and left out. */
uint64_t recorder_written(const Recorder *recorder);
uint64_t recorder_left_out(const Recorder *recorder);
