/*
 * fuzz.h - what a fuzz target needs. A target is one file fuzz/NAME.c with LLVMFuzzerTestOneInput; its seeds stand in
 * fuzz/corpus/NAME/. It does more than not crash: FUZZ_CHECK states what must hold for every input.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** Ends the run, keeping the input, when the property does not hold. */
#define FUZZ_CHECK(property) ASSERT(property)
