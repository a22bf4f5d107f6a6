-- 0001_initial: made by `usher migrate generate`; read it before it runs.

-- event_venues: create table
CREATE TABLE tickets.event_venues (
    number integer NOT NULL,
    code text COLLATE "C" NOT NULL,
    title text COLLATE "C" NOT NULL,
    capacity integer NOT NULL,
    CONSTRAINT event_venues_pkey PRIMARY KEY (number),
    CONSTRAINT event_venues_capacity_positive CHECK (capacity > 0)
);
INSERT INTO tickets.event_venues (number, code, title, capacity) VALUES
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

-- tickets: create table
CREATE TABLE tickets.tickets (
    id uuid NOT NULL,
    event_id uuid NOT NULL,
    price numeric NOT NULL,
    seat_number integer NOT NULL,
    user_id uuid,
    purchased_at timestamp with time zone,
    purchased_at_fine smallint NOT NULL DEFAULT 0,
    CONSTRAINT tickets_pkey PRIMARY KEY (id),
    CONSTRAINT tickets_purchased_at_fine_range CHECK (purchased_at_fine BETWEEN -8400 AND 8409),
    CONSTRAINT tickets_by_seat UNIQUE (event_id, seat_number),
    CONSTRAINT tickets_sold_to_somebody CHECK ((user_id IS NULL) = (purchased_at IS NULL)),
    CONSTRAINT tickets_seat_number_positive CHECK (seat_number > 0)
) WITH (fillfactor=70);

-- reservations: create table
CREATE TABLE tickets.reservations (
    event_id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    user_id uuid NOT NULL,
    until_at timestamp with time zone NOT NULL,
    CONSTRAINT reservations_pkey PRIMARY KEY (event_id, ticket_id)
) WITH (fillfactor=70);

-- events: create table
CREATE TABLE tickets.events (
    id uuid NOT NULL,
    event_name text COLLATE "C",
    start_date timestamp with time zone NOT NULL,
    start_date_fine smallint NOT NULL DEFAULT 0,
    end_date timestamp with time zone,
    end_date_fine smallint NOT NULL DEFAULT 0,
    venue integer NOT NULL,
    price numeric NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (id),
    CONSTRAINT events_start_date_fine_range CHECK (start_date_fine BETWEEN -8400 AND 8409),
    CONSTRAINT events_end_date_fine_range CHECK (end_date_fine BETWEEN -8400 AND 8409)
);

-- users: create table
CREATE TABLE tickets.users (
    id uuid NOT NULL,
    full_name text COLLATE "C" NOT NULL,
    email text COLLATE "C" NOT NULL,
    CONSTRAINT users_pkey PRIMARY KEY (id)
);

-- inbox: create table
CREATE TABLE tickets.inbox (
    message_id uuid NOT NULL,
    consumer text COLLATE "C" NOT NULL,
    received_at timestamp with time zone NOT NULL,
    CONSTRAINT inbox_pkey PRIMARY KEY (message_id, consumer)
);
CREATE INDEX inbox_received_at ON tickets.inbox USING btree (received_at);
