"""`usher shadow-write`: recorded writes are run, compared with the old side, and nothing of them stays."""
import json
import subprocess

import pytest

from conftest import ROOT, Usher

RECORDINGS = [ROOT / f"contracts/http/{name}.json" for name in ("01-events-basic", "07-events-update", "08-users-crud", "10-users-email",
                                                                "11-tickets-reserve", "12-tickets-purchase")]
EXCEPTIONS = ROOT / "contracts/exceptions.json"
USERS = ROOT / "contracts/http/08-users-crud.json"
USER_MESSAGES = ROOT / "contracts/messages/08-users-crud.json"


def shadow_write(server, recording, *args):
    return server.cli("shadow-write", str(recording), "--data", server.data, "--json", *args)


def advanced(server, recording, *args):
    server.reset()
    return shadow_write(server, recording, "--advance", server.base, "--expect", str(EXCEPTIONS), *args)


def rows(server):
    """How many rows each table holds."""
    query = """SELECT format('%I.%I', schemaname, relname),
                      (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %I.%I', schemaname, relname), false, true, '')))[1]
                 FROM pg_stat_user_tables ORDER BY 1"""
    return server.sql(query)


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda p: p.stem)
def test_the_new_side_would_do_what_the_old_side_did(server, recording):
    done = advanced(server, recording)
    report = json.loads(done.stdout)
    assert done.returncode == 0, [w for w in report["writes"] if w["differences"] and not w["expected"]]
    assert report["tried"] > 0 and report["failed"] == 0
