/*
 * doctor.h - what the checks of `usher doctor` share.
 */
#pragma once
#include "usher/settings.h"
#include "json/json.h"

typedef enum Finding { FINE, WARNING, WRONG } Finding;

typedef struct Doctor {
    Ctx *ctx;
    const Settings *settings;
    JsonWriter *json; /* NULL: for people */
    size_t wrong, warnings;
} Doctor;

/** Tells one finding, with its mend (NULL: needs none). */
void found(Doctor *doctor, Finding finding, const char *subject, Str what, const char *mend);
#define SAY(doctor, ...) arena_printf((doctor)->ctx->arena, __VA_ARGS__)

/** The broker of AMQP_URL: reachable, signed in, its version, the topology, what we may do (doctor_amqp.c). */
void check_broker(Doctor *doctor);
