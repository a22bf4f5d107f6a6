-- 0001_initial: taken back.

-- users: drop table
-- usher: loses data
DROP TABLE users.users;

-- outbox: drop table
-- usher: loses data
DROP TABLE users.outbox;
