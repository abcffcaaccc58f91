"""The frame of the crash tests: a good victim passes, each broken one is found out, nothing is left."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

import tests.crash.__main__ as command_line
from tests.crash.account import Found, Promise, compare, item
from tests.crash.frame import CrashError, Scenario, plan, python, run
from tests.crash.scenarios import SCENARIOS
from tests.crash.victims.sample import FAULTS
from tests.crash.witness import Kind, Ledger, Reporter, Witness

CHECKOUT = Path(__file__).resolve().parents[2]


class Sample(Scenario):
    """Numbers appended to a file; see tests/crash/victims/sample.py."""

    name = "sample"
    promise = Promise("every number once")
    targets = ("victim",)
    calls_between = 100
    quiet = (0.01, 0.1)
    down = (0.0, 0.02)
    fault = "none"

    def setup(self) -> None:
        self.file = self.directory / "numbers"

    def victim_command(self, witness: Path) -> list[str]:
        return python("tests.crash.victims.sample", str(witness), str(self.file), self.fault)

    def find(self) -> Found:
        lines = self.file.read_text(encoding="ascii").split()
        return Found(landed=Counter(item(*map(int, line.split(":"))) for line in lines))

    def teardown(self) -> None:
        """The file goes with the directory."""


def with_fault(fault: str) -> type[Sample]:
    return type("Faulty", (Sample,), {"fault": fault})


def test_a_good_victim_passes():
    result = run(Sample, rounds=4, seed=1)
    assert result.broken == []
    assert result.account.accepted == result.account.landed > 400
    assert result.kills == 4
    assert 1 <= result.kills_in_flight <= 4
    assert result.account.duplicates == result.account.repeats == result.account.lost == 0


@pytest.mark.parametrize(
    ("fault", "figure"),
    [
        ("drops", "lost"),
        ("hasty", "lost"),
        ("duplicates", "duplicates"),
        ("invents", "unexpected"),
        ("forgets", "duplicates"),
    ],
)
def test_a_broken_victim_is_found_out(fault, figure):
    for seed in range(1, 6):  # "hasty" and "forgets" show only when the kill falls into their gap
        result = run(with_fault(fault), rounds=4, seed=seed)
        if getattr(result.account, figure):
            break
    assert getattr(result.account, figure) > 0
    assert result.broken
    assert result.account.examples


def test_every_fault_is_tested():
    marks = test_a_broken_victim_is_found_out.pytestmark[0].args[1]
    assert {fault for fault, _ in marks} | {"none"} == set(FAULTS)


def test_repeats_are_counted_apart_where_they_are_promised():
    class Repeating(Sample):
        fault = "forgets"
        promise = Promise("a number again only after a kill", repeats=True)

    for seed in range(1, 6):
        result = run(Repeating, rounds=4, seed=seed)
        assert result.broken == []
        assert result.account.duplicates == 0
        if result.account.repeats:
            break
    assert result.account.repeats > 0


def test_a_victim_that_ends_by_itself_makes_the_run_void_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(CrashError, match="unknown fault 'no such fault'"):
        run(with_fault("no such fault"), rounds=1, seed=1)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_follows_from_its_seed():
    class Three(Sample):
        targets = ("victim", "server", "both")

    assert plan(Three, 7, seed=5) == plan(Three, 7, seed=5)
    assert plan(Three, 7, seed=5) != plan(Three, 7, seed=6)
    assert Counter(step.target for step in plan(Three, 7, seed=5)) == {"victim": 3, "server": 2, "both": 2}


@pytest.fixture
def witness(tmp_path):
    witness = Witness(tmp_path)
    yield witness
    witness.close()


def test_the_witness_has_every_record_of_a_killed_sender(witness):
    """A process is killed while it sends as fast as it can; what it counted in shared memory has arrived."""
    program = (
        "import mmap, sys; from pathlib import Path; from tests.crash.witness import Reporter\n"
        "shared = memoryview(mmap.mmap(int(sys.argv[2]), 8)).cast('Q')\n"
        "reporter = Reporter(Path(sys.argv[1]))\n"
        "for number in range(10**9):\n"
        "    reporter.begin(0, number); reporter.accepted(0, number); shared[0] = number + 1\n"
    )
    memory = os.memfd_create("count")
    os.truncate(memory, 8)
    sender = subprocess.Popen(
        [sys.executable, "-c", program, str(witness.path), str(memory)], pass_fds=[memory], cwd=CHECKOUT
    )
    while witness.counts()["accepted"] < 500:
        assert sender.poll() is None
        time.sleep(0.01)
    sender.kill()
    sender.wait()
    counts = witness.counts()
    said = int.from_bytes(os.pread(memory, 8, 0), sys.byteorder)
    os.close(memory)
    # Between the packet and the store the sender may have died: the witness has one more than it counted,
    # never fewer.
    assert counts["accepted"] in {said, said + 1}
    assert counts["open"] in {0, 1}


def test_a_successor_goes_on_with_the_call_in_doubt(witness):
    first = Reporter(witness.path)
    assert first.resume() == {}
    first.begin(0, 0)
    first.accepted(0, 0)
    first.begin(0, 1)
    first.begin(7, 0)
    first.unknown(7, 0)
    first.begin(8, 0)
    first.refused(8, 0)
    second = Reporter(witness.path)
    assert second.resume() == {0: 1, 7: 0, 8: 1}
    second.begin(0, 1)
    second.resolved(0, 1)
    ledger = witness.ledger()
    assert (ledger.accepted, ledger.resolved, ledger.open, ledger.faults) == (2, 1, 0, [])
    assert ledger.attempts == {0: {1: 2}}
    assert {caller: list(calls) for caller, calls in ledger.outcomes.items()} == {0: [2, 2], 7: [4], 8: [3]}


@pytest.mark.parametrize(
    "records",
    [
        [(Kind.ACCEPTED, 0, 0)],
        [(Kind.BEGIN, 0, 1)],
        [(Kind.BEGIN, 0, 0), (Kind.BEGIN, 0, 1)],
        [(Kind.BEGIN, 0, 0), (Kind.ACCEPTED, 0, 0), (Kind.ACCEPTED, 0, 0)],
        [(Kind.BEGIN, 0, 0), (Kind.ACCEPTED, 0, 0), (Kind.BEGIN, 0, 0)],
        [(Kind.BEGIN, 0, 0), (Kind.REFUSED, 0, 0), (Kind.BEGIN, 0, 0)],
    ],
)
def test_a_victim_cannot_say_what_cannot_be(records):
    ledger = Ledger()
    for record in records:
        ledger.record(*record)
    assert len(ledger.faults) == 1


def test_the_witness_ends_with_the_process_that_started_it(tmp_path):
    program = (
        "import sys; from pathlib import Path; from tests.crash.witness import Witness\n"
        "witness = Witness(Path(sys.argv[1])); print(witness._process.pid, flush=True); sys.stdin.read()\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=CHECKOUT,
    )
    pid = int(starter.stdout.readline())
    starter.kill()
    starter.communicate()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/cmdline").exists() and b"witness" in Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ledger_of(*outcomes: str, attempts: dict[int, dict[int, int]] | None = None) -> Ledger:
    return Ledger.from_json(
        {
            "outcomes": dict(enumerate(outcomes)),
            "attempts": attempts or {},
            "accepted": sum(digits.count("2") for digits in outcomes),
            "resolved": 0,
            "open": 0,
            "faults": [],
        }
    )


def test_the_account_adds_up():
    ledger = ledger_of("2222221", attempts={0: {1: 2}})
    found = Found(
        landed=Counter({item(0, 0): 1, item(0, 1): 2, item(0, 6): 1}),
        journaled={item(0, 2)},
        dead_lettered={item(0, 3)},
        dropped={"queue full": 1},
        lost_by_server=1,
    )
    account = compare(ledger, found, Promise("", repeats=True))
    assert (account.accepted, account.landed, account.journaled, account.dead_lettered) == (6, 2, 1, 1)
    assert (account.dropped, account.lost_by_server, account.lost) == (1, 1, 0)
    assert (account.repeats, account.duplicates, account.in_doubt, account.recovered) == (1, 0, 1, 1)
    assert account.broken == []


@pytest.mark.parametrize(
    ("ledger", "found", "promise", "complaint"),
    [
        (ledger_of("2"), Found(Counter()), Promise(""), "1 accepted items are nowhere"),
        (ledger_of("2"), Found(Counter({item(0, 0): 1}), dropped={"full": 1}), Promise(""), "claim 1 more"),
        (ledger_of("2"), Found(Counter({item(0, 0): 2})), Promise(""), "1 copies too many"),
        (ledger_of("2"), Found(Counter({item(0, 0): 2})), Promise("", repeats=True), "1 copies too many"),
        (
            ledger_of("2", attempts={0: {0: 2}}),
            Found(Counter({item(0, 0): 1}), surplus=1),
            Promise("", repeats=True),
            "1 copies too many",
        ),
        (
            ledger_of("2"),
            Found(Counter({item(0, 0): 1}), wrong=["it was upside down"]),
            Promise(""),
            "upside down",
        ),
        (ledger_of("3"), Found(Counter({item(0, 0): 1})), Promise(""), "refused or never sent"),
        (
            ledger_of("2"),
            Found(Counter({item(0, 0): 1, item(5, 0): 1})),
            Promise(""),
            "refused or never sent",
        ),
        (
            ledger_of("2"),
            Found(Counter({item(0, 0): 1, item(0, 0, 1): 1})),
            Promise(""),
            "refused or never sent",
        ),
        (
            ledger_of("1"),
            Found(Counter({item(0, 0, 1): 1})),
            Promise("", units=2, atomic=True),
            "landed in part",
        ),
        (
            ledger_of("2"),
            Found(Counter({item(0, 0, 1): 1})),
            Promise("", units=2, atomic=True),
            "1 accepted items",
        ),
    ],
)
def test_each_broken_promise_has_its_complaint(ledger, found, promise, complaint):
    broken = compare(ledger, found, promise).broken
    assert len(broken) == 1
    assert complaint in broken[0]


def test_a_call_in_doubt_may_have_landed_or_not():
    for landed in (Counter(), Counter({item(0, 0): 1, item(0, 0, 1): 1})):
        account = compare(ledger_of("1"), Found(landed), Promise("", units=2, atomic=True))
        assert account.broken == []
        assert (account.accepted, account.in_doubt, account.recovered) == (0, 2, landed.total())


@pytest.fixture
def main(monkeypatch):
    """A function that runs the command in this process, for the sample with a fault."""
    usual = signal.getsignal(signal.SIGTERM)

    def call(fault, *arguments):
        monkeypatch.setitem(SCENARIOS, "sample", with_fault(fault))
        monkeypatch.setattr(sys, "argv", ["crash", "sample", "--rounds", "2", *arguments])
        return command_line.main()

    yield call
    signal.signal(signal.SIGTERM, usual)


def test_the_command_says_that_promises_were_kept(main, capsys):
    assert main("none", "--json", "--seed", "17") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seed"] == 17
    assert found["broken"] == []
    assert found["accepted"] == found["landed"] > 0
    assert found["kills"] == 2


def test_the_command_says_which_promise_was_broken(main, capsys):
    assert main("drops") == 1
    shown = capsys.readouterr()
    assert "BROKEN: " in shown.out
    assert "accepted items are nowhere" in shown.out
    assert "missing, for example: caller " in shown.out
    assert "round 1/2: " in shown.err


def test_the_command_says_that_a_run_was_void(main, capsys):
    assert main("no such fault") == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "void: the victim ended by itself with status 1" in shown.err


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.crash", *arguments],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments", [[], ["no-such-scenario"], ["produce", "--rounds", "0"], ["produce", "--seed", "x"]]
)
def test_a_wrong_argument_is_one_clear_line(arguments):
    done = command(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("python -m tests.crash: error:")
