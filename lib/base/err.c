#include "base/err.h"
const char *err_name(Err err) { return err == ERR_OK ? "ok" : "x"; }
