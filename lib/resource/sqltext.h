/*
 * sqltext.h - just enough reading of SQL to split a file into statements and to see what would lose data. Internal.
 */
#pragma once
#include "base/str.h"

/** Cuts the next statement (without its semicolon) off *rest; comments, quotes and $tag$ bodies are respected. false:
 *  no more. */
bool sql_next(Str *rest, Str *ret);
/** Does a comment line say `-- usher: no transaction`? */
bool sql_no_transaction(Str sql);
/** Might it lose rows or values? True for the marker `-- usher: loses data`, TRUNCATE, DELETE, and DROP of anything
 *  that holds any. */
bool sql_loses_data(Str sql);
/** Does the bare word stand in it, outside of comments and quotes? `word` in lower case. */
bool sql_has_word(Str sql, const char *word);
