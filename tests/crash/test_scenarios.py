"""Each scenario for a few rounds, by its command: own servers, a new plan every time, shown when it fails."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.scenarios import SCENARIOS

CHECKOUT = Path(__file__).resolve().parents[2]

FIGURES = {
    "accepted",
    "landed",
    "journaled",
    "dead_lettered",
    "dropped",
    "lost_by_server",
    "lost",
    "duplicates",
    "kills",
    "kills_in_flight",
    "ambiguous_commits_resolved",
    "seed",
}


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_every_promise_is_kept(name):
    rounds = len(SCENARIOS[name].targets)  # each target once
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", name, "--rounds", str(rounds), "--json"],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = json.loads(done.stdout)
    assert set(found) >= FIGURES
    assert found["accepted"] == found["landed"] + found["dead_lettered"]
    assert found["landed"] > 0
    assert found["lost"] == found["duplicates"] == 0
    assert found["kills"] >= rounds
    assert 0 < found["kills_in_flight"] <= found["kills"]
