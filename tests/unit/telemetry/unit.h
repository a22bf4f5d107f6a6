/*
 * unit.h - cmocka and what it wants before it.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* behind the others */
#include <cmocka.h>
