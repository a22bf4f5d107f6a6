-- 0001_initial: made by `usher migrate generate`; read it before it runs.

-- event_venues: create table
CREATE TABLE events.event_venues (
    number integer NOT NULL,
    code text COLLATE "C" NOT NULL,
    title text COLLATE "C" NOT NULL,
    capacity integer NOT NULL,
    CONSTRAINT event_venues_pkey PRIMARY KEY (number)
);
INSERT INTO events.event_venues (number, code, title, capacity) VALUES
    (0, 'O2ArenaLondon', 'The O2 Arena, London', 10),
    (1, 'WembleyStadiumLondon', 'Wembley Stadium, London', 11),
    (2, 'ManchesterArena', 'Manchester Arena', 12),
    (3, 'UtilitaArenaBirmingham', 'Utilita Arena, Birmingham', 13),
    (4, 'SSEHydroGlasgow', 'The SSE Hydro, Glasgow', 14),
    (5, 'FirstDirectArenaLeeds', 'First Direct Arena, Leeds', 15),
    (6, 'PrincipalityStadiumCardiff', 'Principality Stadium, Cardiff', 16),
    (7, 'EmiratesOldTraffordManchester', 'Emirates Old Trafford, Manchester', 17),
    (8, 'RoyalAlbertHallLondon', 'Royal Albert Hall, London', 18),
    (9, 'RoundhouseLondon', 'Roundhouse, London', 20)
ON CONFLICT DO NOTHING;

-- events: create table
CREATE TABLE events.events (
    id uuid NOT NULL,
    event_name text COLLATE "C" NOT NULL,
    start_date timestamp with time zone NOT NULL,
    start_date_fine smallint NOT NULL DEFAULT 0,
    end_date timestamp with time zone NOT NULL,
    end_date_fine smallint NOT NULL DEFAULT 0,
    venue integer NOT NULL,
    price numeric NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (id),
    CONSTRAINT events_start_date_fine_range CHECK (start_date_fine BETWEEN -8400 AND 8409),
    CONSTRAINT events_end_date_fine_range CHECK (end_date_fine BETWEEN -8400 AND 8409),
    CONSTRAINT events_end_not_before_start CHECK (end_date >= start_date)
);
CREATE INDEX events_by_start ON events.events USING btree (start_date, id);
CREATE INDEX events_by_slot ON events.events USING gist (tstzrange(start_date, end_date, '[]'::text));

-- outbox: create table
CREATE TABLE events.outbox (
    position bigint GENERATED ALWAYS AS IDENTITY,
    message_id uuid NOT NULL,
    type text COLLATE "C" NOT NULL,
    aggregate uuid NOT NULL,
    payload text COLLATE "C" NOT NULL,
    traceparent text COLLATE "C",
    tracestate text COLLATE "C",
    baggage text COLLATE "C",
    appended_at timestamp with time zone NOT NULL,
    CONSTRAINT outbox_pkey PRIMARY KEY (position)
);
