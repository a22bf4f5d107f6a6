/*
 * settings.h - what usher can be told through its environment.
 *
 * SETTINGS (settings.c) is the one table: it parses, checks, documents and shows each. `usher config` prints it.
 */
#pragma once
#include "runtime/config.h"

typedef struct Settings {
    Str database_url, events_database_url, users_database_url, tickets_database_url, bus_database_url,
        jobs_database_url;
    Str gateway_database_url;
    int64_t shadow_workers, shadow_queue_bytes, shadow_concurrency, shadow_rechecks, shadow_timeout_ms,
        shadow_recheck_ms, shadow_trials, shadow_message_wait_ms;
    int64_t shadow_samples;
    Str shadow_sample, shadow_learn_ids, shadow_redact, canary_key, tester_secret, error_budget, gateway_record;
    bool shadow_back;
    Str listen;
    int64_t http_workers;
    Str roles;
    Str log_level, log_format;
    Str quirks_off;
    int64_t drain_ms, request_ms, idle_ms, body_max_bytes, memory_max_bytes, connections_max;
    Str redeliver;
    int64_t inbox_keep_ms;
    bool database_pooled;
    int64_t relay_workers, relay_batch, relay_poll_ms, consumer_batch;
    int64_t jobs_workers, jobs_poll_ms, jobs_heartbeat_ms, jobs_rescue_ms;
    int64_t restart_intensity, restart_period_ms;
    bool set_role;
    Str gateway_listen, legacy_url, new_url, gateway_routes, gateway_trusted_proxies;
    Str gateway_access_log, gateway_access_format;
    int64_t gateway_workers;
    bool gateway_proxy_protocol;
    Str amqp_url, amqp_queues, amqp_queue_type;
    int64_t amqp_prefetch;
    bool amqp_exclusive;
    int64_t handover_ms;
    Str pidfile, run_as;
    bool confine;
    Str tls_cert, tls_key, tls_client_ca, tls_client_auth, tls_min_version;
    bool http2, http2_cleartext;
    Str admin_listen;
    bool otel_disabled;
    Str otel_service_name, otel_resource_attributes;
    Str otel_endpoint, otel_traces_endpoint, otel_metrics_endpoint, otel_logs_endpoint;
    Str otel_headers, otel_protocol;
    Str otel_traces_exporter, otel_metrics_exporter, otel_logs_exporter;
    Str otel_sampler, otel_sampler_arg;
    int64_t otel_timeout_ms, otel_delay_ms, otel_metric_interval_ms, otel_queue_max, otel_batch_max;
} Settings;

extern const Setting SETTINGS[];

#define REDELIVERIES_MAX 16
/** "5m,15m" as DELAYS in ret, of REDELIVERIES_MAX + 1; NULL where the text is empty. */
const int64_t *settings_delays(Str text, int64_t *ret);

/* Checks of the message settings (bus_settings.c). */
Err check_delays(Ctx *ctx, Str value);

/** The URL of a context by its database_env, falling back to DATABASE_URL; absent when neither is set. */
Str settings_database_url(const Settings *settings, const char *database_env);
