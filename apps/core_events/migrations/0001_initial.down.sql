-- 0001_initial: taken back.

-- event_venues: drop table
-- usher: loses data
DROP TABLE events.event_venues;

-- events: drop table
-- usher: loses data
DROP TABLE events.events;

-- outbox: drop table
-- usher: loses data
DROP TABLE events.outbox;
