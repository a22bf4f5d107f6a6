/*
 * json_bench.c - lib/json beside yajl, jansson and json-c on the documents that usher sees.
 *
 * Built four times by bench/json-against-others, with -DOURS, -DYAJL, -DJANSSON or -DJSON_C (the libraries share names,
 * so no program can have two); usher links none of them. Prints MB per second of processor time, the best of five
 * rounds. docs/adr/0004-json.md keeps the figures that decided.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/buf.h"

enum { ROUNDS = 5, ROUND_MS = 200 };

static void must(bool condition, const char *what) {
    if (!condition) {
        fprintf(stderr, "json_bench: %s failed\n", what);
        exit(1);
    }
}

/* Each library: what it does to a document, and what it keeps between calls to write it out again. */
#if defined(OURS)
#include "json/json.h"
static Arena *arena, *held;
static Json *kept;

static void keep(Str document) {
    arena = arena != NULL ? arena : arena_new(256 << 20);
    held = held != NULL ? held : arena_new(256 << 20);
    must(json_parse(document, held, JSON_DUPLICATES_REJECT, &kept, NULL) == ERR_OK, "json_parse");
}

static size_t read_tokens(Str document) {
    JsonReader r;
    size_t n = 0;
    json_reader_init(&r, document, JSON_DEPTH_MAX);
    do {
        must(json_next(&r) == ERR_OK, "json_next");
        n++;
    } while (r.token != JSON_END);
    return n;
}

static size_t read_tree(Str document) {
    Json *root;
    arena_reset(arena);
    must(json_parse(document, arena, JSON_DUPLICATES_REJECT, &root, NULL) == ERR_OK, "json_parse");
    return root->count;
}

static size_t write_as(JsonEscaping escaping) {
    arena_reset(arena);
    Buf out = buf_new(arena, 64 << 20);
    JsonWriter w;
    json_writer_init(&w, &out, escaping, 0);
    json_write_value(&w, kept);
    return out.n;
}

static size_t write_minimal(Str document) {
    (void)document;
    return write_as(JSON_ESCAPE_MINIMAL);
}

static size_t write_relaxed(Str document) {
    (void)document;
    return write_as(JSON_ESCAPE_RELAXED);
}
#define TASKS                                                                                                          \
    {"read tokens", read_tokens}, {"read a tree", read_tree}, {"write", write_minimal}, {                              \
        "write as .NET", write_relaxed                                                                                 \
    }

#elif defined(YAJL)
#include <yajl/yajl_parse.h>

static void keep(Str document) {
    (void)document;
}

static int on_event(void *data) {
    ++*(size_t *)data;
    return 1;
}

static int on_bool(void *data, int value) {
    (void)value;
    return on_event(data);
}

static int on_number(void *data, const char *text, size_t n) {
    (void)text;
    (void)n;
    return on_event(data);
}

static int on_string(void *data, const unsigned char *text, size_t n) {
    (void)text;
    (void)n;
    return on_event(data);
}

static size_t read_tokens(Str document) {
    static yajl_callbacks callbacks = {on_event, on_bool,   NULL,     NULL,     on_number, on_string,
                                       on_event, on_string, on_event, on_event, on_event};
    size_t n = 0;
    yajl_handle handle = yajl_alloc(&callbacks, NULL, &n);
    must(yajl_parse(handle, (const unsigned char *)document.p, document.n) == yajl_status_ok &&
             yajl_complete_parse(handle) == yajl_status_ok,
         "yajl_parse");
    yajl_free(handle);
    return n;
}
#define TASKS                                                                                                          \
    { "read tokens", read_tokens }

#elif defined(JANSSON)
#include <jansson.h>
static json_t *kept;

static void keep(Str document) {
    kept = json_loadb(document.p, document.n, 0, NULL);
    must(kept != NULL, "json_loadb");
}

static size_t read_tree(Str document) {
    json_t *root = json_loadb(document.p, document.n, JSON_REJECT_DUPLICATES, NULL);
    must(root != NULL, "json_loadb");
    json_decref(root);
    return 1;
}

static size_t write_minimal(Str document) {
    (void)document;
    char *text = json_dumps(kept, JSON_COMPACT);
    size_t n = strlen(text);
    free(text);
    return n;
}
#define TASKS                                                                                                          \
    {"read a tree", read_tree}, {                                                                                      \
        "write", write_minimal                                                                                         \
    }

#elif defined(JSON_C)
#include <json-c/json.h>
static json_object *kept;

static json_object *parse(Str document) {
    json_tokener *tokener = json_tokener_new();
    json_object *root = json_tokener_parse_ex(tokener, document.p, (int)document.n);
    must(root != NULL, "json_tokener_parse_ex");
    json_tokener_free(tokener);
    return root;
}

static void keep(Str document) {
    kept = parse(document);
}

static size_t read_tree(Str document) {
    json_object_put(parse(document));
    return 1;
}

static size_t write_minimal(Str document) {
    (void)document;
    size_t n;
    json_object_to_json_string_length(kept, JSON_C_TO_STRING_PLAIN, &n);
    return n;
}
#define TASKS                                                                                                          \
    {"read a tree", read_tree}, {                                                                                      \
        "write", write_minimal                                                                                         \
    }
#endif

static const struct {
    const char *name;
    size_t (*run)(Str document); /* returns something that depends on the work */
} tasks[] = {TASKS};

/** Processor time of this process, so that what else runs on the machine matters little. */
static int64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/** Bytes of the document per second, in MB. */
static double measure(size_t task, Str document) {
    double best = 0;
    size_t repeat = 1 + 100000 / document.n;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t runs = 0;
        int64_t start = cpu_ns(), end;
        do {
            for (size_t i = 0; i < repeat; i++)
                must(tasks[task].run(document) > 0, "a task");
            runs += repeat;
            end = cpu_ns();
        } while (end - start < ROUND_MS * 1000000LL);
        double rate = (double)(runs * document.n) * 1e3 / (double)(end - start);
        best = rate > best ? rate : best;
    }
    return best;
}

static void bench(const char *library, const char *label, Str document) {
    keep(document);
    for (size_t i = 0; i < ARRAY_LEN(tasks); i++)
        printf("%-26s %-14s %-9s %7.0f MB/s\n", label, tasks[i].name, library, measure(i, document));
}

static Str list_of_events(Arena *memory, size_t n) {
    Buf out = buf_new(memory, 8 << 20);
    for (size_t i = 0; i < n; i++)
        buf_printf(&out,
                   "%s{\"EventName\":\"An evening with number %zu\",\"StartDate\":\"2095-01-25T10:00:00+00:00\","
                   "\"EndDate\":\"2095-01-25T12:00:00+00:00\",\"Venue\":\"FirstDirectArenaLeeds\",\"Price\":%zu.50,"
                   "\"Id\":\"c3086f78-6003-4144-9614-e2e4c8ad%04zx\"}",
                   i == 0 ? "[" : ",", i, i, i);
    buf_add_char(&out, ']');
    return buf_str(&out);
}

static Str recording(Arena *memory) {
    FILE *in = fopen("contracts/http/05-events-price.json", "rb");
    must(in != NULL, "opening a recording");
    Buf out = buf_new(memory, 4 << 20);
    char *room = buf_reserve(&out, 2 << 20);
    must(room != NULL, "reading a recording");
    out.n = fread(room, 1, 2 << 20, in);
    fclose(in);
    return buf_str(&out);
}

int main(int argc, char **argv) {
    must(argc == 2, "usage: json_bench LIBRARY;");
    Arena *memory = arena_new(64 << 20);
    must(memory != NULL, "memory");
    bench(argv[1], "a POST body, 126 B",
          STR("{\"EventName\":\"Edge\",\"StartDate\":\"2095-02-01T10:00:00Z\",\"EndDate\":\"2095-02-01T12:00:00Z\","
              "\"Venue\":\"O2ArenaLondon\",\"Price\":12.50}"));
    bench(argv[1], "100 events, 21 kB", list_of_events(memory, 100));
    bench(argv[1], "a recording, 275 kB", recording(memory));
    arena_free(memory);
    return 0;
}
