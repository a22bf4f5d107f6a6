-- 0001_jobs: taken back.

-- job_leases: drop table
-- usher: loses data
DROP TABLE jobs.job_leases;

-- job_nodes: drop table
-- usher: loses data
DROP TABLE jobs.job_nodes;

-- job_queues: drop table
-- usher: loses data
DROP TABLE jobs.job_queues;

-- job_crons: drop table
-- usher: loses data
DROP TABLE jobs.job_crons;

-- jobs: drop table
-- usher: loses data
DROP TABLE jobs.jobs;

-- job_tallies: drop table
-- usher: loses data
DROP TABLE jobs.job_tallies;

-- job_audits: drop table
-- usher: loses data
DROP TABLE jobs.job_audits;
