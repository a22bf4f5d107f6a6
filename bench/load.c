/*
 * load.c - a load generator that is not the bottleneck: one thread, epoll, keep-alive connections.
 *
 *   load ADDR:PORT CONNECTIONS SECONDS FILE [--once] [--from LINE] [--count N]
 *
 * Each line of FILE is one request: "METHOD PATH" or "METHOD PATH<TAB>JSON BODY". The lines are asked for in order, by
 * whichever connection is free, and over again from the top; with --once no line is asked for twice and the run ends
 * when all are answered. The eight digits "00000000" in a line are replaced by the request's own number plus N, so that
 * one line is many different users. Prints one JSON object.
 *
 * Why not wrk: its POST bodies need a Lua call per request, which costs more than the server does, and it cannot hand
 * out each free seat once. What this does not do: HTTP beyond what the servers measured here answer (Content-Length,
 * chunked to its last chunk, 204).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NUMBER      "00000000"
#define ANSWER_MAX  (4u * 1024 * 1024)
#define MICROS_MAX  2000000u /* what took longer counts as this long */
#define EVENTS      512
#define CONNECTIONS 4096

typedef struct Line {
    char *bytes;
    size_t n;
    char *number; /* where it goes, or NULL */
} Line;

typedef struct Connection {
    int fd;
    bool busy;
    int64_t sent_ns;
    char *in;
    size_t n, cap;
} Connection;

typedef struct Run {
    struct sockaddr_in address;
    Line *lines;
    size_t n_lines, next, first_number;
    bool once;
    int epoll;
    Connection connections[CONNECTIONS];
    int n_connections, in_flight;
    int64_t start_ns, end_ns, last_ns, gap_ns;
    uint64_t answers, errors, status[600];
    uint32_t micros[MICROS_MAX + 1];
} Run;

static Run run;

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static Line line_make(char *text) {
    char *body = strchr(text, '\t');
    if (body != NULL)
        *body++ = '\0';
    char *bytes = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&bytes, &n);
    if (out == NULL)
        die("open_memstream");
    fprintf(out, "%s HTTP/1.1\r\nHost: 127.0.0.1\r\n", text);
    if (body != NULL)
        fprintf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    else
        fprintf(out, "\r\n");
    fclose(out);
    return (Line){bytes, n, strstr(bytes, NUMBER)};
}

static void lines_read(const char *path) {
    FILE *in = fopen(path, "r");
    if (in == NULL)
        die(path);
    char *text = NULL;
    size_t cap = 0, room = 0;
    for (ssize_t n; (n = getline(&text, &cap, in)) > 0;) {
        if (text[n - 1] == '\n')
            text[n - 1] = '\0';
        if (run.n_lines == room) {
            room = room == 0 ? 1024 : room * 2;
            run.lines = realloc(run.lines, room * sizeof *run.lines);
            if (run.lines == NULL)
                die("realloc");
        }
        run.lines[run.n_lines++] = line_make(text);
    }
    free(text);
    fclose(in);
    if (run.n_lines == 0) {
        fprintf(stderr, "load: no lines in %s\n", path);
        exit(2);
    }
}

static void connection_send(Connection *c) {
    if (now_ns() >= run.end_ns || (run.once && run.next >= run.n_lines))
        return;
    Line *line = &run.lines[run.next % run.n_lines];
    if (line->number != NULL) {
        size_t number = run.first_number + run.next;
        for (int at = (int)strlen(NUMBER) - 1; at >= 0; at--, number /= 10)
            line->number[at] = (char)('0' + number % 10);
    }
    run.next++;
    c->busy = true;
    c->n = 0;
    c->sent_ns = now_ns();
    run.in_flight++;
    if (send(c->fd, line->bytes, line->n, MSG_NOSIGNAL) != (ssize_t)line->n)
        die("send");
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

/* Is the answer in c->in complete? -1: it is none. */
static int answer_status(Connection *c) {
    c->in[c->n] = '\0';
    char *end = strstr(c->in, "\r\n\r\n");
    if (end == NULL)
        return 0;
    int status = atoi(c->in + 9);
    if (status < 100 || status > 599)
        return -1;
    size_t head = (size_t)(end + 4 - c->in);
    *end = '\0';
    char *length = strcasestr(c->in, "\r\nContent-Length:");
    bool chunked = length == NULL && strcasestr(c->in, "\r\nTransfer-Encoding: chunked") != NULL;
    *end = '\r';
    if (chunked)
        return c->n - head >= 5 && memcmp(c->in + c->n - 5, "0\r\n\r\n", 5) == 0 ? status : 0;
    size_t body = length == NULL ? 0 : strtoul(length + 17, NULL, 10);
    return c->n >= head + body ? status : 0;
}

static void connection_open(Connection *c);

static void connection_failed(Connection *c) {
    if (c->busy) {
        run.errors++;
        run.in_flight--;
        c->busy = false;
    }
    close(c->fd);
    if (run.errors > 100000) {
        fprintf(stderr, "load: too many errors\n");
        exit(1);
    }
    if (now_ns() < run.end_ns)
        connection_open(c);
}

static void answer_count(Connection *c, int status) {
    int64_t now = now_ns();
    int64_t micros = (now - c->sent_ns) / 1000;
    run.micros[micros > MICROS_MAX ? MICROS_MAX : micros]++;
    run.status[status]++;
    run.answers++;
    if (now - run.last_ns > run.gap_ns)
        run.gap_ns = now - run.last_ns;
    run.last_ns = now;
    run.in_flight--;
    c->busy = false;
    connection_send(c);
}

static void connection_ready(Connection *c) {
    if (c->cap - c->n < 4096) {
        c->cap = c->cap == 0 ? 65536 : c->cap * 2; /* most answers in one read */
        if (c->cap > ANSWER_MAX || (c->in = realloc(c->in, c->cap)) == NULL)
            die("answer");
    }
    ssize_t n = recv(c->fd, c->in + c->n, c->cap - c->n - 1, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || !c->busy) {
        connection_failed(c);
        return;
    }
    c->n += (size_t)n;
    int status = answer_status(c);
    if (status < 0)
        connection_failed(c);
    else if (status > 0)
        answer_count(c, status);
}

static void connection_open(Connection *c) {
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&run.address, sizeof run.address) != 0)
        die("connect");
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(run.epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
        die("epoll_ctl");
    connection_send(c);
}

/* --- the run ------------------------------------------------------------------------------------------------------ */

static void run_all(void) {
    static struct epoll_event events[EVENTS];
    for (int i = 0; i < run.n_connections; i++)
        connection_open(&run.connections[i]);
    while (run.in_flight > 0) {
        int n = epoll_wait(run.epoll, events, EVENTS, 1000);
        for (int i = 0; i < n; i++)
            connection_ready(events[i].data.ptr);
        if (now_ns() > run.end_ns + 10000000000) /* an answer that never comes is an error */
            break;
    }
    run.errors += (uint64_t)run.in_flight;
}

static double percentile_ms(double share) {
    uint64_t want = (uint64_t)((double)run.answers * share), seen = 0;
    for (uint32_t i = 0; i <= MICROS_MAX; i++) {
        seen += run.micros[i];
        if (seen > want)
            return i / 1000.0;
    }
    return 0;
}

static void print_result(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double seconds = (double)(run.last_ns - run.start_ns) / 1e9;
    double cpu = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf(
        "{\"requests\": %lu, \"seconds\": %.3f, \"rps\": %.1f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, "
        "\"gap_ms\": %.3f, \"errors\": %lu, \"next\": %zu, \"load_cpu_s\": %.2f, \"status\": {",
        (unsigned long)run.answers, seconds, (double)run.answers / seconds, percentile_ms(0.5), percentile_ms(0.99),
        percentile_ms(1.0 - 1.0 / (double)(run.answers + 1)), (double)run.gap_ns / 1e6, (unsigned long)run.errors,
        run.next, cpu);
    const char *comma = "";
    for (int i = 100; i < 600; i++) {
        if (run.status[i] == 0)
            continue;
        printf("%s\"%d\": %lu", comma, i, (unsigned long)run.status[i]);
        comma = ", ";
    }
    printf("}}\n");
}

int main(int argc, char **argv) {
    char *colon = argc < 5 ? NULL : strchr(argv[1], ':');
    if (colon == NULL) {
        fprintf(stderr, "use: load ADDR:PORT CONNECTIONS SECONDS FILE [--once] [--from LINE] [--count N]\n");
        return 2;
    }
    *colon = '\0';
    run.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1))};
    inet_pton(AF_INET, argv[1], &run.address.sin_addr);
    run.n_connections = atoi(argv[2]);
    if (run.n_connections < 1 || run.n_connections > CONNECTIONS)
        return 2;
    for (int i = 5; i < argc; i++) {
        if (strcmp(argv[i], "--once") == 0)
            run.once = true;
        else if (strcmp(argv[i], "--from") == 0 && i + 1 < argc)
            run.next = strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--count") == 0 && i + 1 < argc)
            run.first_number = strtoul(argv[++i], NULL, 10);
    }
    lines_read(argv[4]);
    run.epoll = epoll_create1(EPOLL_CLOEXEC);
    run.start_ns = run.last_ns = now_ns();
    run.end_ns = run.start_ns + (int64_t)(atof(argv[3]) * 1e9);
    run_all();
    print_result();
    return 0;
}
