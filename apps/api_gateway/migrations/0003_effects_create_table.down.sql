-- 0003_effects_create_table: taken back.

-- effects: drop table
-- usher: loses data
DROP TABLE gateway.effects;

-- samples.effects: drop column
-- usher: loses data
ALTER TABLE gateway.samples DROP COLUMN effects;
