/*
 * user.h - somebody who books or runs things: a name, an e-mail address that nobody else has, a type.
 */
#pragma once
#include "resource/resource.h"

typedef struct User {
    Id id;
    Str full_name;
    Str email;
    int32_t user_type; /* USER_TYPES; other numbers are kept and shown as numbers */
} User;

extern const EnumValue USER_TYPES[];
extern const Resource USER_RESOURCE;
