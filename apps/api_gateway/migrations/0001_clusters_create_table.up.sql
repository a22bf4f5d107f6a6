-- 0001_clusters_create_table: made by `usher migrate generate`; read it before it runs.

-- clusters: create table
CREATE TABLE gateway.clusters (
    id bigint GENERATED ALWAYS AS IDENTITY,
    route text COLLATE "C" NOT NULL,
    pointer text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    class text COLLATE "C" NOT NULL,
    count bigint NOT NULL,
    first_seen timestamp with time zone NOT NULL,
    last_seen timestamp with time zone NOT NULL,
    old_value text COLLATE "C" NOT NULL,
    new_value text COLLATE "C" NOT NULL,
    resolved_at timestamp with time zone,
    CONSTRAINT clusters_pkey PRIMARY KEY (id),
    CONSTRAINT clusters_by_cause UNIQUE (route, pointer, kind, class),
    CONSTRAINT clusters_class CHECK (class IN ('real', 'lag', 'expected')),
    CONSTRAINT clusters_size CHECK (octet_length(route) + octet_length(pointer) + octet_length(kind) < 2000)
) WITH (fillfactor=70);

-- samples: create table
CREATE TABLE gateway.samples (
    id bigint GENERATED ALWAYS AS IDENTITY,
    cluster_id bigint NOT NULL,
    taken_at timestamp with time zone NOT NULL,
    method text COLLATE "C" NOT NULL,
    target text COLLATE "C" NOT NULL,
    request_headers text COLLATE "C" NOT NULL,
    request_body text COLLATE "C" NOT NULL,
    old_status integer NOT NULL,
    old_headers text COLLATE "C" NOT NULL,
    old_body text COLLATE "C" NOT NULL,
    new_status integer NOT NULL,
    new_headers text COLLATE "C" NOT NULL,
    new_body text COLLATE "C" NOT NULL,
    differences text COLLATE "C" NOT NULL,
    CONSTRAINT samples_pkey PRIMARY KEY (id)
);
CREATE INDEX samples_cluster ON gateway.samples USING btree (cluster_id, id);

-- expected_differences: create table
CREATE TABLE gateway.expected_differences (
    id bigint GENERATED ALWAYS AS IDENTITY,
    route text COLLATE "C" NOT NULL,
    pointer text COLLATE "C",
    kind text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    created_by text COLLATE "C" NOT NULL,
    CONSTRAINT expected_differences_pkey PRIMARY KEY (id)
);

-- stages: create table
CREATE TABLE gateway.stages (
    context text COLLATE "C" NOT NULL,
    part text COLLATE "C" NOT NULL,
    route text COLLATE "C" NOT NULL,
    stage text COLLATE "C" NOT NULL,
    canary_percent integer NOT NULL,
    epoch bigint NOT NULL,
    paused_until timestamp with time zone,
    deprecated_at timestamp with time zone,
    gone_at timestamp with time zone,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT stages_pkey PRIMARY KEY (context, part, route),
    CONSTRAINT stages_stage CHECK (stage IN ('legacy', 'shadow', 'canary', 'new', 'retired')),
    CONSTRAINT stages_part CHECK (part IN ('reads', 'writes')),
    CONSTRAINT stages_percent CHECK (canary_percent BETWEEN 0 AND 100)
);

-- stage_changes: create table
CREATE TABLE gateway.stage_changes (
    id bigint GENERATED ALWAYS AS IDENTITY,
    context text COLLATE "C" NOT NULL,
    part text COLLATE "C" NOT NULL,
    route text COLLATE "C" NOT NULL,
    from_stage text COLLATE "C" NOT NULL,
    to_stage text COLLATE "C" NOT NULL,
    canary_percent integer NOT NULL,
    forced boolean NOT NULL,
    who text COLLATE "C" NOT NULL,
    why text COLLATE "C" NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT stage_changes_pkey PRIMARY KEY (id)
);

-- tallies: create table
CREATE TABLE gateway.tallies (
    route text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    minute timestamp with time zone NOT NULL,
    context text COLLATE "C" NOT NULL,
    part text COLLATE "C" NOT NULL,
    compared bigint NOT NULL,
    equal bigint NOT NULL,
    real bigint NOT NULL,
    lag bigint NOT NULL,
    expected bigint NOT NULL,
    noisy bigint NOT NULL,
    skipped bigint NOT NULL,
    CONSTRAINT tallies_pkey PRIMARY KEY (route, source, minute)
) WITH (fillfactor=70);

-- traffic: create table
CREATE TABLE gateway.traffic (
    gateway uuid NOT NULL,
    route text COLLATE "C" NOT NULL,
    side text COLLATE "C" NOT NULL,
    minute timestamp with time zone NOT NULL,
    context text COLLATE "C" NOT NULL,
    part text COLLATE "C" NOT NULL,
    requests bigint NOT NULL,
    errors bigint NOT NULL,
    slow_ns_sum bigint NOT NULL,
    buckets text COLLATE "C" NOT NULL,
    CONSTRAINT traffic_pkey PRIMARY KEY (gateway, route, side, minute)
) WITH (fillfactor=70);
CREATE INDEX traffic_minute ON gateway.traffic USING btree (minute);

-- id_pairs: create table
CREATE TABLE gateway.id_pairs (
    kind text COLLATE "C" NOT NULL,
    old_id uuid NOT NULL,
    new_id uuid NOT NULL,
    learnt_at timestamp with time zone NOT NULL,
    CONSTRAINT id_pairs_pkey PRIMARY KEY (kind, old_id),
    CONSTRAINT id_pairs_by_new UNIQUE (kind, new_id)
);

-- gateways: create table
CREATE TABLE gateway.gateways (
    id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    holding_epoch bigint NOT NULL,
    workers integer NOT NULL,
    CONSTRAINT gateways_pkey PRIMARY KEY (id)
) WITH (fillfactor=50);

-- callers: create table
CREATE TABLE gateway.callers (
    route text COLLATE "C" NOT NULL,
    caller text COLLATE "C" NOT NULL,
    count bigint NOT NULL,
    first_seen timestamp with time zone NOT NULL,
    last_seen timestamp with time zone NOT NULL,
    CONSTRAINT callers_pkey PRIMARY KEY (route, caller)
) WITH (fillfactor=70);
