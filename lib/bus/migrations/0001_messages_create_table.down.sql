-- 0001_messages_create_table: taken back.

-- messages: drop table
-- usher: loses data
DROP TABLE bus.messages;

-- dead: drop table
-- usher: loses data
DROP TABLE bus.dead;
