/*
 * explain.c - a broker's refusal in words that say what to do.
 *
 * RabbitMQ says which argument of a declaration differs, in one fixed sentence. An operator needs the other half: that
 * somebody else declared it so, and which of the two must go.
 */
#include <stdio.h>

#include "amqp/client.h"

/* What stands behind `before`, up to the next quote. Absent: not there. */
static Str quoted(Str words, const char *before) {
    ptrdiff_t at = str_find(words, str_c(before));
    if (at < 0)
        return (Str){NULL, 0};
    Str rest = str_slice(words, (size_t)at + strlen(before), words.n);
    return str_cut(&rest, '\'');
}

static bool explain_difference(Str words, char *out, size_t room) {
    Str argument = quoted(words, "inequivalent arg '");
    Str queue = quoted(words, "' for queue '"), exchange = quoted(words, "' for exchange '");
    Str name = queue.p != NULL ? queue : exchange;
    Str vhost = quoted(words, "' in vhost '");
    const char *kind = queue.p != NULL ? "queue" : "exchange";
    if (argument.p == NULL || name.p == NULL || vhost.p == NULL)
        return false;
    ptrdiff_t at = str_find(words, STR("': received "));
    Str values = at < 0 ? STR("") : str_slice(words, (size_t)at + 12, words.n);
    ptrdiff_t but = str_find(values, STR(" but current is "));
    Str ours = but < 0 ? values : str_slice(values, 0, (size_t)but);
    Str theirs = but < 0 ? STR("another") : str_slice(values, (size_t)but + 16, values.n);
    snprintf(out, room,
             "%s %.*s in vhost %.*s exists and was declared differently: its %.*s is %.*s, usher declares %.*s. "
             "Either let usher declare it as it is, or drain it, stop whoever declares it so, and delete it "
             "(rabbitmqctl delete_%s %.*s); usher tries again by itself",
             kind, STR_ARG(name), STR_ARG(vhost), STR_ARG(argument), STR_ARG(theirs), STR_ARG(ours),
             queue.p != NULL ? "queue" : "exchange", STR_ARG(name));
    return true;
}

void explain_close(Str words, char *out, size_t room) {
    if (explain_difference(words, out, room))
        return;
    snprintf(out, room, "the broker refused: %.*s", STR_ARG(words));
}
