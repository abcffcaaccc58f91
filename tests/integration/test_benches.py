"""Each bench that needs a server, in its quick form: on one of its own, it measures what its aims ask."""

import json
import subprocess
import sys
from typing import Any

import pytest

from bench import frame
from bench.benches import BENCHES

pytestmark = pytest.mark.long


def quick(name: str) -> Any:
    """The result of the bench."""
    command = [sys.executable, "-m", "bench", name, "--quick", "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=frame.CHECKOUT, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result["results"]) == {contender.name for contender in BENCHES[name].contenders}
    assert set(result["aims"]) == {aim.ratio for aim in frame.load_aims(name)}
    return result


def test_produce_runs_on_a_broker() -> None:
    assert quick("produce")["machine"]["versions"]["librdkafka"]


@pytest.mark.parametrize("name", ["enqueue", "drain", "query", "outage", "overhead"])
def test_those_of_events_run_on_a_database(name: str) -> None:
    assert "fsync=on, synchronous_commit=on" in quick(name)["machine"]["versions"]["PostgreSQL"]


def test_doris_runs_on_the_emulator() -> None:
    result = quick("doris")
    assert result["ratios"]["save_mysql_over_load"] > 1


def test_flow_reads_the_same_changes_by_all() -> None:
    result = quick("flow")
    assert result["ratios"]["rate_over_recvlogical"] > 0
    assert "wal_level=logical" in result["machine"]["versions"]["PostgreSQL"]
