-- 0002_dead_dead_letter_add_column: taken back.

-- dead.dead_letter: drop column
-- usher: loses data
ALTER TABLE bus.dead DROP COLUMN dead_letter;
