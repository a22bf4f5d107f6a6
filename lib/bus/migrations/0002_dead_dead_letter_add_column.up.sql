-- 0002_dead_dead_letter_add_column: made by `usher migrate generate`; read it before it runs.

-- dead.dead_letter: add column
ALTER TABLE bus.dead ADD COLUMN dead_letter text COLLATE "C";
