-- 0002_rehearsals_create_table: taken back.

-- rehearsals: drop table
-- usher: loses data
DROP TABLE gateway.rehearsals;

-- gateways.followed_epochs: drop column
-- usher: loses data
ALTER TABLE gateway.gateways DROP COLUMN followed_epochs;
