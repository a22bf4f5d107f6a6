"""All recorded conversations through the gateway, usher itself behind it: clients of the old system must not notice it."""
import pytest

from gatewaylib import Gateway
from test_replay import PAUSE_MS, RECORDINGS, WANTED, places


@pytest.fixture(scope="module")
def gateway(shared_server):
    with Gateway(legacy=shared_server.base) as running:
        yield running


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda p: p.stem)
def test_only_the_wanted_differences(server, gateway, recording):
    done = server.cli("replay", str(recording), "--against", gateway.base, "--reset", "--data", server.data, "--json",
                      "--pause", f"{PAUSE_MS}ms")
    assert places(done.stdout) == {p for p in WANTED if p[0] == recording.stem}, done.stdout + done.stderr
