-- 0001_clusters_create_table: taken back.

-- clusters: drop table
-- usher: loses data
DROP TABLE gateway.clusters;

-- samples: drop table
-- usher: loses data
DROP TABLE gateway.samples;

-- expected_differences: drop table
-- usher: loses data
DROP TABLE gateway.expected_differences;

-- stages: drop table
-- usher: loses data
DROP TABLE gateway.stages;

-- stage_changes: drop table
-- usher: loses data
DROP TABLE gateway.stage_changes;

-- tallies: drop table
-- usher: loses data
DROP TABLE gateway.tallies;

-- traffic: drop table
-- usher: loses data
DROP TABLE gateway.traffic;

-- id_pairs: drop table
-- usher: loses data
DROP TABLE gateway.id_pairs;

-- gateways: drop table
-- usher: loses data
DROP TABLE gateway.gateways;

-- callers: drop table
-- usher: loses data
DROP TABLE gateway.callers;
