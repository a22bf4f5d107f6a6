-- 0004_jobs: made by `usher migrate generate`; read it before it runs.

-- job_leases: create table
CREATE TABLE events.job_leases (
    name text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    node bigint NOT NULL,
    until_at timestamp with time zone NOT NULL,
    CONSTRAINT job_leases_pkey PRIMARY KEY (name)
);

-- job_nodes: create table
CREATE TABLE events.job_nodes (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text COLLATE "C" NOT NULL,
    queues text COLLATE "C" NOT NULL,
    draining boolean NOT NULL,
    started_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    CONSTRAINT job_nodes_pkey PRIMARY KEY (id)
) WITH (fillfactor=50);

-- job_queues: create table
CREATE TABLE events.job_queues (
    name text COLLATE "C" NOT NULL,
    paused boolean NOT NULL,
    limit_local integer NOT NULL DEFAULT -1,
    limit_global integer NOT NULL DEFAULT -1,
    rate_from timestamp with time zone,
    rate_used integer NOT NULL,
    CONSTRAINT job_queues_pkey PRIMARY KEY (name)
);

-- job_crons: create table
CREATE TABLE events.job_crons (
    name text COLLATE "C" NOT NULL,
    expression text COLLATE "C" NOT NULL,
    zone text COLLATE "C" NOT NULL,
    last_at timestamp with time zone NOT NULL,
    CONSTRAINT job_crons_pkey PRIMARY KEY (name)
);

-- jobs: create table
CREATE TABLE events.jobs (
    id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    priority smallint NOT NULL,
    state smallint NOT NULL,
    args text COLLATE "C" NOT NULL,
    attempt smallint NOT NULL,
    attempts_max smallint NOT NULL,
    run_at timestamp with time zone NOT NULL,
    node bigint NOT NULL DEFAULT 0,
    claimed_at timestamp with time zone,
    finished_at timestamp with time zone,
    inserted_at timestamp with time zone NOT NULL,
    unique_key text COLLATE "C",
    unique_states smallint NOT NULL,
    cron text COLLATE "C",
    moment timestamp with time zone,
    cancel_asked text COLLATE "C",
    result text COLLATE "C",
    reason text COLLATE "C",
    traceparent text COLLATE "C",
    tracestate text COLLATE "C",
    baggage text COLLATE "C",
    CONSTRAINT jobs_pkey PRIMARY KEY (id),
    CONSTRAINT jobs_state CHECK (state >= 1 AND state <= 5),
    CONSTRAINT jobs_node CHECK ((state = 2) = (node <> 0)),
    CONSTRAINT jobs_finished CHECK ((state >= 3) = (finished_at IS NOT NULL))
) WITH (fillfactor=80);
CREATE UNIQUE INDEX jobs_unique ON events.jobs USING btree (unique_key) WHERE (unique_states >> state::integer & 1 = 1);
CREATE UNIQUE INDEX jobs_cron_once ON events.jobs USING btree (cron, moment) WHERE (cron IS NOT NULL);
CREATE INDEX jobs_waiting ON events.jobs USING btree (queue, priority, run_at, id) WHERE (state = 1);
CREATE INDEX jobs_running ON events.jobs USING btree (queue) WHERE (state = 2);
CREATE INDEX jobs_ended ON events.jobs USING btree (finished_at) WHERE (state >= 3);

-- job_tallies: create table
CREATE TABLE events.job_tallies (
    minute timestamp with time zone NOT NULL,
    node bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    n bigint NOT NULL,
    duration_us bigint NOT NULL,
    longest_us bigint NOT NULL,
    delay_us bigint NOT NULL,
    CONSTRAINT job_tallies_pkey PRIMARY KEY (minute, node, kind, outcome)
);

-- job_audits: create table
CREATE TABLE events.job_audits (
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamp with time zone NOT NULL,
    who text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    target text COLLATE "C" NOT NULL,
    detail text COLLATE "C",
    CONSTRAINT job_audits_pkey PRIMARY KEY (id)
);
