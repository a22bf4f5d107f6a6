/*
 * rehearse_report.c - what came of a rehearsal: a table for people, JSON for machines.
 */
#include "usher/rehearse.h"
#include "json/json.h"

static const char *outcome_name(const Rehearsal *r) {
    static const char *const names[] = {"passed", "failed", "interrupted"};
    return names[r->outcome];
}

static double ms(int64_t us) {
    return (double)us / 1000;
}

/* --- text --------------------------------------------------------------------------------------------------------- */

static void number_or_dash(int64_t value, int width) {
    if (value < 0)
        out_printf("  %*s", width, "-");
    else
        out_printf("  %*lld", width, (long long)value);
}

static void print_phases(const Rehearsal *r) {
    out_printf("%-10s %-7s %8s %9s %8s %7s %7s %9s %9s %11s  %9s  %8s\n", "phase", "stage", "seconds", "requests",
               "rate", "unsent", "failed", "p50 ms", "p99 ms", "longest ms", "acted ms", "pause ms");
    for (int i = 0; i < r->phase_n; i++) {
        const PhaseReport *phase = &r->phases[i];
        LoadPhase load;
        double seconds = (double)(phase->ended_ms - phase->began_ms) / 1000;
        load_look(r->load, i, &load);
        out_printf("%-10s %-7s %8.1f %9llu %8.0f %7llu %7llu %9.2f %9.2f %11.2f", phase->name, stage_name(phase->stage),
                   seconds, (unsigned long long)load.requests, seconds > 0 ? (double)load.requests / seconds : 0,
                   (unsigned long long)load.unsent, (unsigned long long)load.failed, ms(load_quantile_us(&load, 0.5)),
                   ms(load_quantile_us(&load, 0.99)), ms(load.longest_us));
        number_or_dash(phase->acted_ms, 9);
        number_or_dash(phase->pause_ms, 8);
        out_printf("\n");
    }
}

static void print_text(const Rehearsal *r) {
    out_printf("rehearsal of %s %s through %.*s: %s\n", r->target.context, r->target.part, STR_ARG(r->plan.url),
               outcome_name(r));
    print_phases(r);
    for (int i = 0; i < r->phase_n; i++) {
        const PhaseReport *phase = &r->phases[i];
        if (phase->gate_n == 0)
            continue;
        out_printf("gates behind %s%s%s:\n", phase->name,
                   r->force == NULL ? "" : ", overridden where they cannot know: ", r->force == NULL ? "" : r->force);
        cutover_print_gates(phase->gates, phase->gate_n);
    }
    if (r->stepped_back_ms >= 0)
        out_printf("%lld ms after --break began the old side answered again, by usher's own decision\n",
                   (long long)r->stepped_back_ms);
    Str notes = buf_str(&r->plan.notes);
    while (notes.n > 0)
        out_printf("note: %.*s\n", STR_ARG(str_cut(&notes, '\n')));
    for (int i = 0; i < LOAD_COMPLAINTS && load_complaint(r->load, i)[0] != 0; i++)
        out_printf("failed: %s\n", load_complaint(r->load, i));
    for (size_t i = 0; i < r->problem_n; i++)
        out_printf("problem: %.*s\n", STR_ARG(r->problems[i]));
    out_printf("the stages of %s: %s\n", r->target.context, r->restored);
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

static void member_text(JsonWriter *w, const char *name, Str value) {
    json_name(w, str_c(name));
    json_write_string(w, value);
}

static void member_number(JsonWriter *w, const char *name, int64_t value) {
    json_name(w, str_c(name));
    json_write_i64(w, value);
}

/* null where there was nothing to be timed. */
static void member_time(JsonWriter *w, const char *name, int64_t value) {
    json_name(w, str_c(name));
    if (value < 0)
        json_write_null(w);
    else
        json_write_i64(w, value);
}

static void gates_json(JsonWriter *w, const PhaseReport *phase) {
    json_name(w, STR("gates"));
    json_array(w);
    for (size_t i = 0; i < phase->gate_n; i++) {
        json_object(w);
        member_text(w, "name", str_c(phase->gates[i].name));
        member_text(w, "state", str_c(gate_state_name(phase->gates[i].state)));
        member_text(w, "says", phase->gates[i].says);
        json_object_end(w);
    }
    json_array_end(w);
}

static void phase_json(JsonWriter *w, const Rehearsal *r, int i) {
    const PhaseReport *phase = &r->phases[i];
    LoadPhase load;
    load_look(r->load, i, &load);
    json_object(w);
    member_text(w, "name", str_c(phase->name));
    member_text(w, "stage", str_c(stage_name(phase->stage)));
    member_number(w, "took_ms", phase->ended_ms - phase->began_ms);
    member_number(w, "requests", (int64_t)load.requests);
    member_number(w, "writes", (int64_t)load.writes);
    member_number(w, "failed", (int64_t)load.failed);
    member_number(w, "unanswered", (int64_t)load.unanswered);
    member_number(w, "unsent", (int64_t)load.unsent);
    member_number(w, "p50_us", load_quantile_us(&load, 0.5));
    member_number(w, "p99_us", load_quantile_us(&load, 0.99));
    member_number(w, "longest_us", load.longest_us);
    member_number(w, "longest_write_us", load.longest_write_us);
    member_time(w, "acted_ms", phase->acted_ms);
    member_time(w, "pause_ms", phase->pause_ms);
    gates_json(w, phase);
    json_object_end(w);
}

static void lines_json(JsonWriter *w, const char *name, Str lines) {
    json_name(w, str_c(name));
    json_array(w);
    while (lines.n > 0)
        json_write_string(w, str_cut(&lines, '\n'));
    json_array_end(w);
}

static void print_json(const Rehearsal *r) {
    Buf out = buf_new(r->call->ctx->arena, 16 << 20);
    JsonWriter w;
    json_writer_init(&w, &out, JSON_ESCAPE_MINIMAL, 1);
    json_object(&w);
    member_text(&w, "context", str_c(r->target.context));
    member_text(&w, "part", str_c(r->target.part));
    member_text(&w, "url", r->plan.url);
    member_text(&w, "outcome", str_c(outcome_name(r)));
    member_text(&w, "forced", str_c(r->force));
    member_number(&w, "rate", r->plan.rate);
    json_name(&w, STR("phases"));
    json_array(&w);
    for (int i = 0; i < r->phase_n; i++)
        phase_json(&w, r, i);
    json_array_end(&w);
    member_time(&w, "stepped_back_ms", r->stepped_back_ms);
    lines_json(&w, "notes", buf_str(&r->plan.notes));
    json_name(&w, STR("failed"));
    json_array(&w);
    for (int i = 0; i < LOAD_COMPLAINTS && load_complaint(r->load, i)[0] != 0; i++)
        json_write_string(&w, str_c(load_complaint(r->load, i)));
    json_array_end(&w);
    json_name(&w, STR("problems"));
    json_array(&w);
    for (size_t i = 0; i < r->problem_n; i++)
        json_write_string(&w, r->problems[i]);
    json_array_end(&w);
    json_name(&w, STR("restored"));
    json_write_bool(&w, r->is_restored);
    member_text(&w, "stages", str_c(r->restored));
    json_object_end(&w);
    buf_add_char(&out, '\n');
    out_str(buf_str(&out));
}

void rehearsal_print(const Rehearsal *r) {
    if (option_flag(r->call, "json"))
        print_json(r);
    else
        print_text(r);
}
