-- 0001_initial: taken back.

-- event_venues: drop table
-- usher: loses data
DROP TABLE tickets.event_venues;

-- tickets: drop table
-- usher: loses data
DROP TABLE tickets.tickets;

-- reservations: drop table
-- usher: loses data
DROP TABLE tickets.reservations;

-- events: drop table
-- usher: loses data
DROP TABLE tickets.events;

-- users: drop table
-- usher: loses data
DROP TABLE tickets.users;

-- inbox: drop table
-- usher: loses data
DROP TABLE tickets.inbox;
