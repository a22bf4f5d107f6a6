"""The books of a chaos run: what is noted while it goes, and what must then be true.

Notes are written by triggers, in the transaction that does what they tell of, so that no fault can come between. What reached
RabbitMQ is told by a recording consumer instead (carriers.py). Proofs are statements that list the first few who break a rule.

How to add a proof: what it needs in NOTES, and a row in PROOFS.
"""
from faultlib import SEATS

# The harness's own repetitions say so (chaos.again) and are not noted as published.
NOTES = """
CREATE SCHEMA chaos;
CREATE TABLE chaos.said (n bigserial, message_id uuid PRIMARY KEY, aggregate uuid, position bigint, type text, payload text);
CREATE TABLE chaos.published (n bigserial, message_id uuid, queue text);
CREATE TABLE chaos.effects (n bigserial, aggregate uuid, value text);
CREATE INDEX ON chaos.published (message_id);
CREATE INDEX ON chaos.effects (aggregate, value);
CREATE FUNCTION chaos.say() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos.said (message_id, aggregate, position, type, payload)
    VALUES (NEW.message_id, NEW.aggregate, NEW.position, NEW.type, NEW.payload);
    RETURN NEW;
END $$;
CREATE FUNCTION chaos.publish() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
    IF coalesce(current_setting('chaos.again', true), '') = '' THEN
        INSERT INTO chaos.published (message_id, queue) VALUES (NEW.message_id, NEW.queue);
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION chaos.event() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos.effects (aggregate, value) VALUES (NEW.id, NEW.price::text);
    RETURN NEW;
END $$;
CREATE FUNCTION chaos.person() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos.effects (aggregate, value) VALUES (NEW.id, NEW.full_name);
    RETURN NEW;
END $$;
CREATE TRIGGER say AFTER INSERT ON events.outbox FOR EACH ROW EXECUTE FUNCTION chaos.say();
CREATE TRIGGER say AFTER INSERT ON users.outbox FOR EACH ROW EXECUTE FUNCTION chaos.say();
CREATE TRIGGER publish AFTER INSERT ON bus.messages FOR EACH ROW EXECUTE FUNCTION chaos.publish();
CREATE TRIGGER effect AFTER INSERT OR UPDATE ON tickets.events FOR EACH ROW EXECUTE FUNCTION chaos.event();
CREATE TRIGGER effect AFTER INSERT OR UPDATE ON tickets.users FOR EACH ROW EXECUTE FUNCTION chaos.person();
"""

# Jobs: each insert and each end. Kills do not use up attempts here: a job that was discarded for having killed its worker three
# times would look like a lost one. A unique job's statements take a lock that tells whether another run of it is in the middle of
# one, and take a while.
JOB_NOTES = """
CREATE TABLE chaos.jobs (n bigserial, id uuid PRIMARY KEY, schema text, kind text, is_unique boolean, cron text, moment timestamptz);
CREATE TABLE chaos.job_ends (n bigserial, id uuid, state integer);
CREATE TABLE chaos.job_runs (n bigserial, kind text, alone boolean);
CREATE INDEX ON chaos.job_ends (id);
CREATE FUNCTION chaos.job_patience() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
    NEW.attempts_max := 10000;
    RETURN NEW;
END $$;
CREATE FUNCTION chaos.job_begin() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos.jobs (id, schema, kind, is_unique, cron, moment)
    VALUES (NEW.id, TG_TABLE_SCHEMA, NEW.kind, NEW.unique_key IS NOT NULL, NEW.cron, NEW.moment);
    RETURN NEW;
END $$;
CREATE FUNCTION chaos.job_end() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos.job_ends (id, state) VALUES (NEW.id, NEW.state);
    RETURN NEW;
END $$;
CREATE FUNCTION chaos.job_run() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
    IF current_query() LIKE '%%interval ''1 hour''%%' THEN
        INSERT INTO chaos.job_runs (kind, alone) VALUES ('reservations_prune', pg_try_advisory_xact_lock(20261126));
        PERFORM pg_sleep(0.05);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER run BEFORE DELETE ON tickets.reservations FOR EACH STATEMENT EXECUTE FUNCTION chaos.job_run();
""" + "".join(f"""
CREATE TRIGGER patience BEFORE INSERT ON {schema}.jobs FOR EACH ROW EXECUTE FUNCTION chaos.job_patience();
CREATE TRIGGER begin AFTER INSERT ON {schema}.jobs FOR EACH ROW EXECUTE FUNCTION chaos.job_begin();
CREATE TRIGGER ending AFTER UPDATE ON {schema}.jobs FOR EACH ROW WHEN (OLD.state < 3 AND NEW.state >= 3) EXECUTE FUNCTION chaos.job_end();
DROP INDEX {schema}.jobs_cron_once;
""" for schema in ("events", "users", "tickets", "jobs"))
# jobs_cron_once is the last of three reasons why a moment has one job. Without it the other two, the lease's epoch and the line's
# moving on, must hold by themselves.

# For cron lines, and for nothing else, an hour goes by in thirty seconds: leaders ask the database what time it is in this one
# statement.
HURRY = 120
FAST_CLOCK = f"""
CREATE SCHEMA chaos_clock;
CREATE TABLE chaos_clock.began AS SELECT pg_catalog.clock_timestamp() AS at;
CREATE FUNCTION chaos_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE SECURITY DEFINER AS $$
    SELECT CASE WHEN current_query() LIKE '%%SELECT name, last_at, clock_timestamp() FROM %%'
        THEN (SELECT at + (pg_catalog.clock_timestamp() - at) * {HURRY} FROM chaos_clock.began)
        ELSE pg_catalog.clock_timestamp() END $$;
GRANT USAGE ON SCHEMA chaos_clock TO public;
ALTER DATABASE usher SET search_path = chaos_clock, pg_catalog, public;
"""

VALUE = "CASE WHEN right(s.type, 13) = 'EventUpserted' THEN s.payload::json->>'price' ELSE s.payload::json->>'fullName' END"
SAID = f"SELECT s.message_id, s.aggregate, s.position, {VALUE} AS value FROM chaos.said s"
MISSING_EFFECTS = f"""SELECT count(*) FROM ({SAID}) s
    WHERE NOT EXISTS (SELECT FROM chaos.effects e WHERE e.aggregate = s.aggregate AND e.value = s.value)"""
# Cron lines go on firing while the books are looked at: those jobs belong to the next round.
JOBS_OPEN = "SELECT count(*) FROM chaos.jobs j WHERE j.n <= %s AND NOT EXISTS (SELECT FROM chaos.job_ends e WHERE e.id = j.id)"

# (rule, statement); {n}: the last job that belongs to the round.
PROOFS = [
    ("lost", f"SELECT s.* FROM ({SAID}) s WHERE NOT EXISTS (SELECT FROM chaos.published p WHERE p.message_id = s.message_id)"),
    ("order", f"""SELECT * FROM (SELECT s.aggregate, s.value, p.n, lag(p.n) OVER (PARTITION BY s.aggregate ORDER BY s.position) AS before
        FROM ({SAID}) s JOIN (SELECT message_id, min(n) AS n FROM chaos.published GROUP BY 1) p USING (message_id)) o WHERE n < before"""),
    ("effects", f"""SELECT s.aggregate, s.value, count(e.n) FROM ({SAID}) s LEFT JOIN chaos.effects e
        ON e.aggregate = s.aggregate AND e.value = s.value GROUP BY s.message_id, s.aggregate, s.value HAVING count(e.n) <> 1"""),
    ("effects", f"""SELECT * FROM (SELECT s.aggregate, s.value, e.n, lag(e.n) OVER (PARTITION BY s.aggregate ORDER BY s.position) AS before
        FROM ({SAID}) s JOIN chaos.effects e ON e.aggregate = s.aggregate AND e.value = s.value) o WHERE n < before"""),
    ("effects", f"""SELECT e.* FROM chaos.effects e
        WHERE NOT EXISTS (SELECT FROM ({SAID}) s WHERE s.aggregate = e.aggregate AND s.value = e.value)"""),
    ("effects", f"""SELECT e.id, (SELECT count(*) FROM tickets.tickets t WHERE t.event_id = e.id) FROM events.events e
        WHERE (SELECT count(*) FROM tickets.tickets t WHERE t.event_id = e.id) <> {SEATS}"""),
    ("dead", "SELECT queue, type, reason FROM bus.dead"),
    ("jobs lost", """SELECT j.*, e.state FROM chaos.jobs j LEFT JOIN chaos.job_ends e ON e.id = j.id
        WHERE j.n <= {n} AND e.state IS DISTINCT FROM 3"""),
    ("jobs ended twice", "SELECT id, count(*) FROM chaos.job_ends GROUP BY 1 HAVING count(*) > 1"),
    ("cron", "SELECT schema, cron, moment, count(*) FROM chaos.jobs WHERE cron IS NOT NULL GROUP BY 1, 2, 3 HAVING count(*) > 1"),
    ("cron", """SELECT * FROM (SELECT schema, cron, moment, lag(moment) OVER (PARTITION BY schema, cron ORDER BY n) AS before
        FROM chaos.jobs WHERE cron IS NOT NULL) o WHERE moment <= before"""),
    ("unique", "SELECT * FROM chaos.job_runs WHERE NOT alone"),
]

# One break of each proof, in the order of PROOFS: at the end of a run each is done to the books and taken back, and its proof must find
# it. Books that hold against that were never kept.
SOME = "(SELECT message_id FROM chaos.said s JOIN chaos.published USING (message_id) ORDER BY s.n LIMIT 1)"
SABOTAGE = [
    f"DELETE FROM chaos.published WHERE message_id = {SOME}",
    "UPDATE chaos.published SET n = -n",
    """INSERT INTO chaos.effects (aggregate, value) SELECT aggregate, value FROM chaos.effects ORDER BY n LIMIT 1""",
    "UPDATE chaos.effects SET n = -n",
    "INSERT INTO chaos.effects (aggregate, value) VALUES (gen_random_uuid(), 'nobody said so')",
    "DELETE FROM tickets.tickets WHERE id = (SELECT t.id FROM tickets.tickets t JOIN events.events e ON e.id = t.event_id LIMIT 1)",
    """INSERT INTO bus.dead (queue, message_id, type, aggregate, payload, attempt, reason, enqueued_at, died_at)
       SELECT 'chaos', gen_random_uuid(), 'chaos', gen_random_uuid(), '{}', 1, 'chaos', now(), now()""",
    "DELETE FROM chaos.job_ends WHERE id = (SELECT id FROM chaos.jobs ORDER BY n LIMIT 1)",
    "INSERT INTO chaos.job_ends (id, state) SELECT id, 3 FROM chaos.job_ends LIMIT 1",
    """INSERT INTO chaos.jobs (id, schema, kind, is_unique, cron, moment) SELECT gen_random_uuid(), schema, kind, is_unique, cron, moment
       FROM chaos.jobs WHERE cron IS NOT NULL LIMIT 1""",
    """INSERT INTO chaos.jobs (id, schema, kind, is_unique, cron, moment) SELECT gen_random_uuid(), schema, kind, is_unique, cron,
       moment - interval '1 second' FROM chaos.jobs WHERE cron IS NOT NULL LIMIT 1""",
    "UPDATE chaos.job_runs SET alone = false WHERE n = (SELECT min(n) FROM chaos.job_runs)",
]
assert len(SABOTAGE) == len(PROOFS)

# What the run has seen; where one of them is nothing, nothing was proved.
COUNTS = [
    ("messages", "SELECT count(*) FROM chaos.said"),
    ("aggregates", "SELECT count(DISTINCT aggregate) FROM chaos.said"),
    ("published", "SELECT count(*) FROM chaos.published"),
    ("effects", "SELECT count(*) FROM chaos.effects"),
    ("one-shot jobs", "SELECT count(*) FROM chaos.jobs WHERE NOT is_unique AND cron IS NULL"),
    ("unique jobs", "SELECT count(*) FROM chaos.jobs WHERE is_unique AND cron IS NULL"),
    ("cron moments", "SELECT count(*) FROM chaos.jobs WHERE cron IS NOT NULL"),
    ("runs of a unique job", "SELECT count(*) FROM chaos.job_runs"),
]


def install(cluster):
    cluster.sql(NOTES)
    cluster.sql(JOB_NOTES)
    cluster.sql(FAST_CLOCK)


def blind(connect, last_job):
    """Rules whose proof does not see what breaks it."""
    found = []
    for (rule, text), break_it in zip(PROOFS, SABOTAGE):
        connection = connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(break_it)
                assert cursor.rowcount > 0, f"nothing to break for {rule}"
                cursor.execute(text.replace("{n}", str(last_job)) + " LIMIT 1")
                if not cursor.fetchall():
                    found.append(rule)
        finally:
            connection.rollback()
            connection.close()
    return found


def prove(sql, last_job, answered):
    """[(rule, rows that break it)]; `answered`: (aggregate, value) of commands that were answered 2xx."""
    found = [(rule, rows) for rule, text in PROOFS if (rows := sql(text.replace("{n}", str(last_job)) + " LIMIT 5"))]
    stored = set(sql(f"SELECT s.aggregate::text, s.value FROM ({SAID}) s"))
    lost = [a for a in answered if a not in stored]
    return found + [("answers", lost[:5])] * bool(lost)


def count(sql):
    return [(name, sql(text)[0][0]) for name, text in COUNTS]
