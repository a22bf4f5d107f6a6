"""jobs_cases.py - the job engine beside graphile-worker and pg-boss: bulk insert, a run of no-op jobs, and how soon one starts.

Each side is a process that prints one line of JSON about its own part; what it cost Postgres is measured here. How many jobs:
bench/run --count.
"""
import json
import shutil
import subprocess

import cases
import measure
from measure import ROOT, sql

STARTS = 1000
PROGRAM = ROOT / "build" / "jobs_bench"
PEERS = ROOT / "bench" / "peers" / "jobs"
START_BAR_MS = 5.0  # job insert to start at light load, p99


def build():
    """bench/jobs_bench.c against the release libraries, in their order in the Makefile's layers."""
    subprocess.run(["make", "-s", "build/obj/bench/jobs_bench.o"], cwd=ROOT, check=True)
    libraries = [f"build/liblib_{name}.a" for name in ("jobs", "resource", "pg", "json", "telemetry", "runtime", "base")]
    subprocess.run(["gcc", "-pie", "-o", str(PROGRAM), "build/obj/bench/jobs_bench.o", "-Wl,--start-group", *libraries, "-Wl,--end-group",
                    "-lpq", "-luv", "-l:libboost_context.a", "-lpthread", "-lm"], cwd=ROOT, check=True)


def peers():
    """Those that are on this machine: name → argv in front of `insert|run N`."""
    if not shutil.which("node") or not (PEERS / "node_modules").is_dir():
        return {}
    return {"graphile-worker": ["node", str(PEERS / "graphile.mjs")], "pg-boss": ["node", str(PEERS / "pgboss.mjs")]}


def empty():
    """Every side begins with empty tables and nothing to checkpoint; the peers empty their own."""
    sql("TRUNCATE jobs.jobs")
    cases.settle("jobs.jobs")


def measured(argv):
    """One run of a side: its own figures, and what it cost Postgres over all of it (inserting too)."""
    empty()
    machine, before = measure.machine_cpu(), measure.cpu_of(measure.postmaster())
    ran = subprocess.run(argv, cwd=PEERS, stdout=subprocess.PIPE, text=True)
    if ran.returncode != 0:
        raise RuntimeError(f"{argv} ended with {ran.returncode}: {ran.stdout[-500:]}")
    result = json.loads(ran.stdout.splitlines()[-1])
    database = measure.cpu_of(measure.postmaster()) - before
    done = result["requests"]
    result["database_us"] = database / done * 1e6
    if "seconds" in result:
        result["rps"] = done / result["seconds"]
        result["server_us"] = result["cpu_s"] / done * 1e6
        result["others_percent"] = measure.others_percent(machine, database + result["cpu_s"])
    return result


class Jobs(cases.Case):
    """One figure for both halves would hide which is slow, so each is a side of its own, with its own bars."""
    name = "jobs"
    title = "Jobs: insert them, and run as many that do nothing, durable"
    counted = True
    bars = tuple((what, f"usher, {side}", f"{peer}, {side}", 1.5)
                 for side, what in (("insert", "inserting"), ("run", "running")) for peer in ("graphile-worker", "pg-boss"))
    telling = "Inserted 10,000 a statement; run by one worker process each. CPU each is the worker's; Postgres' is " \
              "that of the whole side, with `run` also of the inserting before it. The bar is against the faster peer. `kept`: " \
              "rows of ended jobs stay as history, as pg-boss's do; graphile-worker deletes them, as usher's other side does."

    def sides(self):
        build()
        n = str(self.count)
        ours = {f"usher, {side}": lambda s, a=arguments: measured([str(PROGRAM), *a])
                for side, arguments in (("insert", ["insert", n]), ("run", ["run", n]), ("run, kept", ["run", n, "keep"]))}
        theirs = {f"{name}, {side}": lambda s, a=(*argv, side, n): measured(list(a))
                  for name, argv in peers().items() for side in ("insert", "run")}
        return {**ours, **theirs}


class JobStart(cases.Case):
    name = "job-start"
    title = "A job from before its insert to the start of its run, one every 10 ms"
    bars = (("insert to start, p99 of light load", "usher", None, START_BAR_MS, "p99_ms", True),)
    counted = True
    count = STARTS
    telling = "The durable commit of the insert is in it."

    def sides(self):
        build()

        def usher(seconds):
            result = measured([str(PROGRAM), "start", str(min(STARTS, self.count))])
            del result["database_us"]  # mostly of looking whether there is work: says nothing of a job
            return result
        return {"usher": usher}


CASES = {case.name: case for case in (Jobs, JobStart)}
