-- 0003_effects_create_table: made by `usher migrate generate`; read it before it runs.

-- effects: create table
CREATE TABLE gateway.effects (
    route text COLLATE "C" NOT NULL,
    what text COLLATE "C" NOT NULL,
    inserted bigint NOT NULL,
    updated bigint NOT NULL,
    deleted bigint NOT NULL,
    published bigint NOT NULL,
    CONSTRAINT effects_pkey PRIMARY KEY (route, what)
) WITH (fillfactor=70);

-- samples.effects: add column
ALTER TABLE gateway.samples ADD COLUMN effects text COLLATE "C" NOT NULL DEFAULT '';
