/*
 * utf8.h - reading and checking UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing over U+10FFFF).
 */
#pragma once
#include "base/buf.h"
#include "base/str.h"

/** True when all of s is well formed. */
bool utf8_valid(Str s);
/** Decodes the code point at *at and moves *at behind it; -1 (and one byte on) where it is malformed. Needs *at <
 *  s.n. */
int32_t utf8_next(Str s, size_t *at);
void buf_add_utf8(Buf *buf, uint32_t code_point);
/** UTF-16LE/BE bytes (a BOM decides, little-endian without) to UTF-8. ERR_SYNTAX: odd length or lone surrogate. */
MUST_USE Err utf8_from_utf16(Str bytes, Buf *out);
/** Unicode White_Space as .NET's Regex \s and char.IsWhiteSpace see it (U+0009-000D, 0020, 0085, 00A0, 1680, 2000-200A,
 *  2028, 2029, 202F, 205F, 3000). */
bool unicode_is_space(uint32_t code_point);
