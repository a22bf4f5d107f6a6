/*
 * test_tls.c - a client and a server stream over a socket pair, driven by steps: who is believed, what is chosen, what
 * breaks.
 */
#include "certs.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "base/heap.h"

static char folder[64];
static Arena *arena;
static Ctx ctx;

static Str at(const char *name) {
    return arena_printf(arena, "%s/%s", folder, name);
}

static int set_up(void **state) {
    (void)state;
    folder_make(folder);
    certs_usual(folder);
    arena = arena_new(16 << 20);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    arena_free(arena);
    folder_remove(folder);
    return 0;
}

static int fresh_ctx(void **state) {
    (void)state;
    ctx_init(&ctx, arena, 0);
    return 0;
}

/* --- a pair ------------------------------------------------------------------------------------------------------- */

typedef struct Pair {
    int fds[2];
    TlsStream *server, *client;
    TlsStep server_step, client_step;
} Pair;

static Pair pair_open(TlsContext *server, TlsContext *client, const char *host) {
    Pair pair = {.server_step = TLS_WAIT, .client_step = TLS_WAIT};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair.fds), 0);
    assert_int_equal(tls_server_stream(server, pair.fds[0], &pair.server), ERR_OK);
    if (client != NULL)
        assert_int_equal(tls_client_stream(client, pair.fds[1], str_c(host), &pair.client), ERR_OK);
    return pair;
}

static void pair_close(Pair *pair) {
    tls_stream_free(pair->server);
    tls_stream_free(pair->client);
    close(pair->fds[0]);
    if (pair->fds[1] >= 0)
        close(pair->fds[1]);
}

static void pair_shake(Pair *pair) {
    for (int i = 0; i < 20 && (pair->server_step == TLS_WAIT || pair->client_step == TLS_WAIT); i++) {
        if (pair->client_step == TLS_WAIT)
            pair->client_step = tls_handshake_step(pair->client);
        if (pair->server_step == TLS_WAIT)
            pair->server_step = tls_handshake_step(pair->server);
    }
}

/* What the reader gets of what the writer says, however it is cut. */
static void say(TlsStream *from, TlsStream *to, const char *text) {
    char got[256];
    size_t n = 0, taken = 0;
    assert_int_equal(tls_write_some(from, text, strlen(text), &taken), TLS_DONE);
    assert_int_equal(taken, strlen(text));
    assert_int_equal(tls_read_some(to, got, sizeof got, &n), TLS_DONE);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(got, text, n);
}

static TlsContext *server_of(const char *name, TlsClients clients, TlsTickets *tickets) {
    TlsCertificateFiles files = {at(arena_printf(arena, "%s.crt", name).p), at(arena_printf(arena, "%s.key", name).p)};
    TlsServerOptions options = {.certificates = &files,
                                .n_certificates = 1,
                                .clients = clients,
                                .client_ca = at("ca.crt"),
                                .http2 = true,
                                .tickets = tickets};
    TlsContext *context = NULL;
    if (tls_server_new(&ctx, &options, &context) != ERR_OK)
        fail_msg("%.*s", STR_ARG(ctx.problem.message));
    return context;
}

static TlsContext *client_of(const char *ca, const char *certificate, bool http2) {
    TlsClientOptions options = {.ca = at(ca), .http2 = http2};
    if (certificate != NULL) {
        options.certificate = at(arena_printf(arena, "%s.crt", certificate).p);
        options.key = at(arena_printf(arena, "%s.key", certificate).p);
    }
    TlsContext *context = NULL;
    if (tls_client_new(&ctx, &options, &context) != ERR_OK)
        fail_msg("%.*s", STR_ARG(ctx.problem.message));
    return context;
}

/* --- who is believed ---------------------------------------------------------------------------------------------- */

static const struct {
    const char *label;
    const char *server, *host, *ca;
    const char *client; /* its certificate; NULL: none */
    TlsClients clients;
    bool server_fine, client_fine;
    const char *why; /* in the words of the side that broke first */
} shakes[] = {
    {"by name", "server", "localhost", "ca.crt", NULL, TLS_CLIENTS_UNASKED, true, true, NULL},
    {"by address", "server", "127.0.0.1", "ca.crt", NULL, TLS_CLIENTS_UNASKED, true, true, NULL},
    {"a wildcard", "b", "x.b.example", "ca.crt", NULL, TLS_CLIENTS_UNASKED, true, true, NULL},
    {"a wildcard is one label", "b", "x.y.b.example", "ca.crt", NULL, TLS_CLIENTS_UNASKED, false, false,
     "ostname mismatch"},
    {"another name", "server", "other.example", "ca.crt", NULL, TLS_CLIENTS_UNASKED, false, false, "ostname mismatch"},
    {"another address", "server", "127.0.0.2", "ca.crt", NULL, TLS_CLIENTS_UNASKED, false, false,
     "IP address mismatch"},
    {"an authority that is not believed", "server", "localhost", "stranger-ca.crt", NULL, TLS_CLIENTS_UNASKED, false,
     false, "unable to get local issuer certificate"},
    {"expired", "expired", "localhost", "ca.crt", NULL, TLS_CLIENTS_UNASKED, false, false, "certificate has expired"},
    {"a client with a certificate", "server", "localhost", "ca.crt", "client", TLS_CLIENTS_MUST, true, true, NULL},
    {"a client without one", "server", "localhost", "ca.crt", NULL, TLS_CLIENTS_MUST, false, true,
     "peer did not return a certificate"},
    {"a client without one, where it may", "server", "localhost", "ca.crt", NULL, TLS_CLIENTS_MAY, true, true, NULL},
    {"a stranger's", "server", "localhost", "ca.crt", "stranger", TLS_CLIENTS_MUST, false, true,
     "unable to get local issuer certificate"},
    {"a stranger's, where it may have none", "server", "localhost", "ca.crt", "stranger", TLS_CLIENTS_MAY, false, true,
     "unable to get local issuer certificate"},
    {"an expired one", "server", "localhost", "ca.crt", "expired", TLS_CLIENTS_MUST, false, true,
     "certificate has expired"},
};

static void handshakes(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(shakes); i++) {
        TlsContext *server = server_of(shakes[i].server, shakes[i].clients, NULL);
        TlsContext *client = client_of(shakes[i].ca, shakes[i].client, true);
        Pair pair = pair_open(server, client, shakes[i].host);
        pair_shake(&pair);
        TlsStep want_server = shakes[i].server_fine ? TLS_DONE : TLS_BROKEN;
        TlsStep want_client = shakes[i].client_fine ? TLS_DONE : TLS_BROKEN;
        if (pair.server_step != want_server || pair.client_step != want_client)
            fail_msg("%s: server %d (%s), client %d (%s)", shakes[i].label, pair.server_step, tls_why(pair.server),
                     pair.client_step, tls_why(pair.client));
        const char *why = shakes[i].client_fine ? tls_why(pair.server) : tls_why(pair.client);
        if (shakes[i].why != NULL && strstr(why, shakes[i].why) == NULL)
            fail_msg("%s: '%s', awaited '%s'", shakes[i].label, why, shakes[i].why);
        if (shakes[i].server_fine && shakes[i].client_fine) {
            say(pair.client, pair.server, "question");
            say(pair.server, pair.client, "answer");
            assert_true(str_eq_c(tls_version(pair.server), "TLSv1.3"));
            assert_true(str_eq_c(tls_protocol(pair.server), "h2"));
            Str subject = tls_peer_subject(pair.server, arena);
            assert_true(shakes[i].client == NULL ? subject.p == NULL : str_eq_c(subject, "/CN=client"));
        }
        pair_close(&pair);
        tls_context_unref(server);
        tls_context_unref(client);
    }
}

/* --- what is chosen ----------------------------------------------------------------------------------------------- */

static void names_choose_certificates(void **state) {
    (void)state;
    static const struct {
        const char *host, *file;
    } rows[] = {{"localhost", "server"}, {"a.example", "a"}, {"x.b.example", "b"}, {"A.EXAMPLE", "a"}};
    TlsCertificateFiles files[] = {
        {at("server.crt"), at("server.key")}, {at("a.crt"), at("a.key")}, {at("b.crt"), at("b.key")}};
    TlsServerOptions options = {.certificates = files, .n_certificates = 3};
    TlsContext *server, *client = client_of("ca.crt", NULL, false);
    assert_int_equal(tls_server_new(&ctx, &options, &server), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Pair pair = pair_open(server, client, rows[i].host);
        pair_shake(&pair);
        if (pair.client_step != TLS_DONE)
            fail_msg("%s: %s", rows[i].host, tls_why(pair.client));
        Str want = arena_printf(arena, "/CN=%s", rows[i].file);
        assert_true(str_eq(tls_peer_subject(pair.client, arena), want));
        assert_true(tls_protocol(pair.server).p == NULL); /* none was offered */
        pair_close(&pair);
    }
    tls_context_unref(server);
    tls_context_unref(client);
}

static void old_versions_are_refused(void **state) {
    (void)state;
    TlsContext *client = client_of("ca.crt", NULL, false);
    for (int v = 0; v < 2; v++) {
        TlsCertificateFiles files = {at("server.crt"), at("server.key")};
        TlsServerOptions options = {
            .certificates = &files, .n_certificates = 1, .version_min = v == 0 ? TLS_1_3 : TLS_1_2};
        TlsContext *server;
        assert_int_equal(tls_server_new(&ctx, &options, &server), ERR_OK);
        SSL_CTX *old = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_max_proto_version(old, TLS1_2_VERSION);
        Pair pair = pair_open(server, NULL, NULL);
        SSL *ssl = SSL_new(old);
        SSL_set_fd(ssl, pair.fds[1]);
        for (int i = 0; i < 10 && pair.server_step == TLS_WAIT; i++) {
            (void)SSL_connect(ssl);
            pair.server_step = tls_handshake_step(pair.server);
        }
        assert_int_equal(pair.server_step, v == 0 ? TLS_BROKEN : TLS_DONE);
        assert_true(v == 1 || strstr(tls_why(pair.server), "unsupported protocol") != NULL);
        SSL_free(ssl);
        SSL_CTX_free(old);
        pair_close(&pair);
        tls_context_unref(server);
    }
    tls_context_unref(client);
}

/* --- streams ------------------------------------------------------------------------------------------------------ */

static Pair pair_ready(TlsContext **server, TlsContext **client) {
    *server = server_of("server", TLS_CLIENTS_UNASKED, NULL);
    *client = client_of("ca.crt", NULL, true);
    Pair pair = pair_open(*server, *client, "localhost");
    pair_shake(&pair);
    assert_int_equal(pair.server_step, TLS_DONE);
    assert_int_equal(pair.client_step, TLS_DONE);
    return pair;
}

static void pair_done(Pair *pair, TlsContext *server, TlsContext *client) {
    pair_close(pair);
    tls_context_unref(server);
    tls_context_unref(client);
}

static void a_full_socket_keeps_order(void **state) {
    (void)state;
    enum { ALL = 3 * 1000 * 1000 };
    TlsContext *server, *client;
    Pair pair = pair_ready(&server, &client);
    char *sent = heap_alloc(ALL), *got = heap_alloc(ALL);
    for (size_t i = 0; i < ALL; i++)
        sent[i] = (char)(i * 7 / 3);
    size_t written = 0, read = 0, waits = 0;
    while (read < ALL) {
        size_t n = 0;
        while (written < ALL && tls_write_some(pair.server, sent + written, ALL - written, &n) == TLS_DONE)
            written += n;
        waits += tls_unsent(pair.server) > 0;
        assert_true(tls_unsent(pair.server) <= TLS_WRITE_MAX + 4096);
        assert_true(tls_unsent(pair.server) == 0 || (tls_wants(pair.server) & CO_WRITABLE) != 0);
        while (read < ALL && tls_read_some(pair.client, got + read, 10000, &n) == TLS_DONE)
            read += n;
        (void)tls_flush(pair.server);
    }
    assert_true(waits > 0);
    assert_memory_equal(sent, got, ALL);
    heap_free(sent);
    heap_free(got);
    pair_done(&pair, server, client);
}

static void the_end_is_said_or_missed(void **state) {
    (void)state;
    for (int cut = 0; cut < 2; cut++) {
        TlsContext *server, *client;
        Pair pair = pair_ready(&server, &client);
        say(pair.client, pair.server, "last words");
        char byte;
        size_t n;
        if (cut == 0) {
            assert_int_equal(tls_shutdown_step(pair.client), TLS_DONE);
            assert_int_equal(tls_read_some(pair.server, &byte, 1, &n), TLS_END);
            say(pair.server, pair.client, "answers still go out");
        } else {
            shutdown(pair.fds[1], SHUT_WR);
            assert_int_equal(tls_read_some(pair.server, &byte, 1, &n), TLS_BROKEN);
            assert_string_equal(tls_why(pair.server), "the connection was cut without close_notify");
            assert_int_equal(tls_write_some(pair.server, "x", 1, &n), TLS_BROKEN);
        }
        pair_done(&pair, server, client);
    }
}

/* A peer may answer and leave before it has read all: its answer is read, though nothing can be written any more. */
static void what_came_before_a_failing_write_is_read(void **state) {
    (void)state;
    TlsContext *server, *client;
    Pair pair = pair_ready(&server, &client);
    char got[64];
    size_t n = 0;
    assert_int_equal(tls_write_some(pair.server, "no", 2, &n), TLS_DONE);
    close(pair.fds[0]);
    pair.fds[0] = dup(pair.fds[1]); /* something that pair_close may close */
    assert_int_equal(tls_write_some(pair.client, "much", 4, &n), TLS_BROKEN);
    assert_int_equal(tls_write_some(pair.client, "much", 4, &n), TLS_BROKEN);
    assert_int_equal(tls_flush(pair.client), TLS_BROKEN);
    assert_int_equal(tls_unsent(pair.client), 0);
    assert_string_equal(tls_why(pair.client), "Broken pipe");
    assert_null(tls_mend(pair.client));
    assert_int_equal(tls_read_some(pair.client, got, sizeof got, &n), TLS_DONE);
    assert_int_equal(n, 2);
    assert_memory_equal(got, "no", 2);
    assert_int_equal(tls_read_some(pair.client, got, sizeof got, &n), TLS_BROKEN);
    pair_done(&pair, server, client);
}

/* --- sessions of a client ----------------------------------------------------------------------------------------- */

static bool resumed(TlsContext *server, TlsContext *client, const char *host) {
    Pair pair = pair_open(server, client, host);
    pair_shake(&pair);
    assert_int_equal(pair.client_step, TLS_DONE);
    say(pair.server, pair.client, "tickets come before this");
    bool both = tls_resumed(pair.client);
    assert_int_equal(tls_resumed(pair.server), both);
    pair_close(&pair);
    return both;
}

static void sessions_are_resumed(void **state) {
    (void)state;
    TlsTickets tickets;
    tls_tickets_init(&tickets);
    TlsClientOptions options = {.ca = at("ca.crt"), .resumes = true};
    TlsContext *server = server_of("server", TLS_CLIENTS_UNASKED, &tickets), *client = NULL, *other = NULL;
    assert_int_equal(tls_client_new(&ctx, &options, &client), ERR_OK);
    assert_int_equal(tls_client_new(&ctx, &options, &other), ERR_OK);
    assert_false(resumed(server, client, "localhost"));
    for (int i = 0; i < 20; i++) /* more than are kept */
        assert_true(resumed(server, client, "localhost"));
    assert_false(resumed(server, client, "127.0.0.1")); /* another host, of the same context */
    assert_true(resumed(server, client, "localhost"));
    assert_false(resumed(server, other, "localhost")); /* what one context was told, another one was not */
    TlsContext *stranger = server_of("server", TLS_CLIENTS_UNASKED, NULL); /* whose tickets are not these */
    assert_false(resumed(stranger, client, "localhost"));
    tls_context_unref(server);
    tls_context_unref(stranger);
    tls_context_unref(client);
    tls_context_unref(other);
}

/* --- what to do about it ------------------------------------------------------------------------------------------ */

static const struct {
    const char *label, *server, *host, *ca, *client;
    TlsClients clients;
    const char *mend; /* NULL: nothing to mend */
    const char *names;
} mends[] = {
    {"well", "server", "localhost", "ca.crt", NULL, TLS_CLIENTS_UNASKED, NULL, "localhost, 127.0.0.1"},
    {"a stranger", "server", "localhost", "stranger-ca.crt", NULL, TLS_CLIENTS_UNASKED, "cacertfile=FILE",
     "localhost, 127.0.0.1"},
    {"another name", "server", "other.example", "ca.crt", NULL, TLS_CLIENTS_UNASKED, "server_name_indication=NAME",
     "localhost, 127.0.0.1"},
    {"another address", "server", "127.0.0.2", "ca.crt", NULL, TLS_CLIENTS_UNASKED, "server_name_indication=NAME",
     "localhost, 127.0.0.1"},
    {"expired", "expired", "localhost", "ca.crt", NULL, TLS_CLIENTS_UNASKED, "renew the certificate",
     "localhost, 127.0.0.1"},
    {"ours is wanted", "server", "localhost", "ca.crt", NULL, TLS_CLIENTS_MUST, "certfile=FILE",
     "localhost, 127.0.0.1"},
    {"ours is a stranger's", "server", "localhost", "ca.crt", "stranger", TLS_CLIENTS_MUST, "certfile=FILE",
     "localhost, 127.0.0.1"},
};

static void a_client_is_told_what_to_mend(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(mends); i++) {
        TlsContext *server = server_of(mends[i].server, mends[i].clients, NULL);
        TlsContext *client = client_of(mends[i].ca, mends[i].client, false);
        Pair pair = pair_open(server, client, mends[i].host);
        char byte;
        size_t n;
        pair_shake(&pair);
        (void)tls_read_some(pair.client, &byte, 1, &n); /* what the server thinks of us comes behind our own word */
        const char *mend = tls_mend(pair.client);
        if (mends[i].mend == NULL ? mend != NULL : mend == NULL || strstr(mend, mends[i].mend) == NULL)
            fail_msg("%s: '%s', awaited '%s'", mends[i].label, mend, mends[i].mend);
        Str names = tls_peer_names(pair.client, arena);
        if (!str_eq_c(names, mends[i].names))
            fail_msg("%s: names '%.*s'", mends[i].label, STR_ARG(names));
        pair_done(&pair, server, client);
    }
}

static void what_is_not_tls(void **state) {
    (void)state;
    static const struct {
        const char *label, *bytes;
        bool http;
    } rows[] = {
        {"a request", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", true},
        {"another method", "DELETE /x HTTP/1.1\r\nHost: x\r\n\r\n", true},
        {"garbage", "\x01\x02\x03\x04\x05\x06\x07\x08\x09", false},
        {"a record that is too long", "\x16\x03\x01\xff\xff\x01\x00\x00\x00\x00", false},
        {"SSLv2", "\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10\x01\x00\x80", false},
    };
    TlsContext *server = server_of("server", TLS_CLIENTS_UNASKED, NULL);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Pair pair = pair_open(server, NULL, NULL);
        size_t n = strlen(rows[i].bytes) > 9 ? strlen(rows[i].bytes) : 10;
        assert_int_equal(write(pair.fds[1], rows[i].bytes, n), n);
        shutdown(pair.fds[1], SHUT_WR);
        TlsStep step = tls_handshake_step(pair.server);
        if (step != TLS_BROKEN || tls_was_plain_http(pair.server) != rows[i].http || tls_why(pair.server)[0] == 0)
            fail_msg("%s: %d '%s'", rows[i].label, step, tls_why(pair.server));
        char alert[64];
        if (rows[i].http)
            assert_int_equal(recv(pair.fds[1], alert, sizeof alert, MSG_DONTWAIT), -1);
        pair_close(&pair);
    }
    tls_context_unref(server);
}

/* --- mistakes in files -------------------------------------------------------------------------------------------- */

static void write_file(const char *name, const char *text) {
    char path[256];
    FILE *file = cert_file(folder, name, path);
    fputs(text, file);
    fclose(file);
}

static void mistakes_are_sentences(void **state) {
    (void)state;
    write_file("empty.crt", "");
    write_file("half.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    static const struct {
        const char *certificate, *key, *ca;
        TlsClients clients;
        const char *want;
    } rows[] = {
        {"nowhere.crt", "server.key", NULL, TLS_CLIENTS_UNASKED, "nowhere.crt cannot be opened; OpenSSL: No such file"},
        {"server.crt", "nowhere.key", NULL, TLS_CLIENTS_UNASKED, "the key file"},
        {"server.crt", "a.key", NULL, TLS_CLIENTS_UNASKED, "does not belong to the certificate in"},
        {"server.crt", "a.key", NULL, TLS_CLIENTS_UNASKED, "key values mismatch (x509_cmp.c:"},
        {"empty.crt", "server.key", NULL, TLS_CLIENTS_UNASKED, "there is no certificate (PEM) in"},
        {"half.crt", "server.key", NULL, TLS_CLIENTS_UNASKED, "there is no certificate (PEM) in"},
        {"server.crt", NULL, NULL, TLS_CLIENTS_UNASKED, "there is no private key (PEM) in"},
        {"server.crt", "server.crt", NULL, TLS_CLIENTS_UNASKED, "there is no private key (PEM) in"},
        {"server.crt", "server.key", "empty.crt", TLS_CLIENTS_MUST, "the clients' authorities cannot be read from"},
        {"server.crt", "server.key", "nowhere.crt", TLS_CLIENTS_MAY, "the clients' authorities cannot be read from"},
        {"server.crt", "server.key", NULL, TLS_CLIENTS_MUST, "no authority is named"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        TlsCertificateFiles files = {at(rows[i].certificate), rows[i].key == NULL ? (Str){NULL, 0} : at(rows[i].key)};
        TlsServerOptions options = {.certificates = &files,
                                    .n_certificates = 1,
                                    .clients = rows[i].clients,
                                    .client_ca = rows[i].ca == NULL ? (Str){NULL, 0} : at(rows[i].ca)};
        TlsContext *context = NULL;
        problem_clear(&ctx);
        assert_int_equal(tls_server_new(&ctx, &options, &context), ERR_INVALID);
        if (str_find(ctx.problem.message, str_c(rows[i].want)) < 0)
            fail_msg("'%.*s', awaited '%s'", STR_ARG(ctx.problem.message), rows[i].want);
    }
}

static void facts_for_operators(void **state) {
    (void)state;
    TlsContext *server = server_of("expired", TLS_CLIENTS_UNASKED, NULL);
    TlsCertificateFacts facts;
    assert_true(tls_certificate_facts(server, 0, arena, &facts));
    assert_true(str_eq_c(facts.subject, "/CN=expired"));
    assert_true(str_eq_c(facts.names, "localhost, 127.0.0.1"));
    assert_true(instant_compare(facts.not_after, clock_now()) < 0);
    assert_true(instant_to_unix_us(facts.not_after) > instant_to_unix_us(clock_now()) - 2 * 3600 * 1000000LL);
    assert_false(facts.self_signed);
    assert_true(facts.chain_complete);
    assert_false(facts.key_readable_by_others);
    assert_non_null(facts.distrust);
    assert_false(tls_certificate_facts(server, 1, arena, &facts));
    tls_context_unref(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(handshakes, fresh_ctx),
        cmocka_unit_test_setup(names_choose_certificates, fresh_ctx),
        cmocka_unit_test_setup(old_versions_are_refused, fresh_ctx),
        cmocka_unit_test_setup(a_full_socket_keeps_order, fresh_ctx),
        cmocka_unit_test_setup(the_end_is_said_or_missed, fresh_ctx),
        cmocka_unit_test_setup(what_came_before_a_failing_write_is_read, fresh_ctx),
        cmocka_unit_test_setup(sessions_are_resumed, fresh_ctx),
        cmocka_unit_test_setup(a_client_is_told_what_to_mend, fresh_ctx),
        cmocka_unit_test_setup(what_is_not_tls, fresh_ctx),
        cmocka_unit_test_setup(mistakes_are_sentences, fresh_ctx),
        cmocka_unit_test_setup(facts_for_operators, fresh_ctx),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
