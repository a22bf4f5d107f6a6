-- 0002_rehearsals_create_table: made by `usher migrate generate`; read it before it runs.

-- rehearsals: create table
CREATE TABLE gateway.rehearsals (
    context text COLLATE "C" NOT NULL,
    part text COLLATE "C" NOT NULL,
    stage text COLLATE "C" NOT NULL,
    began_at timestamp with time zone NOT NULL,
    who text COLLATE "C" NOT NULL,
    why text COLLATE "C" NOT NULL,
    place text COLLATE "C" NOT NULL,
    CONSTRAINT rehearsals_pkey PRIMARY KEY (context)
);

-- gateways.followed_epochs: add column
ALTER TABLE gateway.gateways ADD COLUMN followed_epochs bigint NOT NULL DEFAULT 0;
