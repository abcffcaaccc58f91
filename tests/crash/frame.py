"""Runs a scenario: a victim under load, killed or left without its server at moments drawn from a seed.

The seed fixes what is killed, when after the last sign of progress, and for how long a server stays down. It
does not fix what the machine does in between, so the same seed repeats the plan and not every interleaving.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.crash.account import Account, Found, Promise, compare
from tests.crash.witness import Witness

PROGRESS_SECONDS = 60.0
FAREWELL_SECONDS = 60.0

Target = str
"""What is killed: "victim", "server", "both", or what else the scenario knows by a name of its own."""


class CrashError(Exception):
    """The run is void: something failed that was not the promise under test."""


class Scenario(ABC):
    """What is broken, and how it is looked at afterwards. ``directory`` is the run's own, gone at its end."""

    name: str
    promise: Promise
    targets: Sequence[Target] = ("victim", "server", "both")
    calls_between = 50  # accepted calls between two kills: the sign that all works again
    quiet = (0.05, 0.6)  # seconds between that sign and the kill
    down = (0.0, 0.5)  # seconds from the kill to the restart

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @abstractmethod
    def setup(self) -> None:
        """Start the servers and make what the victim writes into."""

    @abstractmethod
    def victim_command(self, witness: Path) -> list[str]:
        """The victim's command line. It reports to ``witness`` and ends with status 0 after a SIGTERM."""

    def victim_environment(self) -> dict[str, str]:
        """The victim's environment: where secrets go, which a command line would show to everybody."""
        return dict(os.environ)

    def kill_server(self) -> None:
        """SIGKILL to the server. Only for scenarios with the targets "server" and "both"."""
        raise NotImplementedError

    def restart_server(self) -> None:
        """Start it again on what it has left, and return when it is ready."""
        raise NotImplementedError

    def kill(self, target: Target) -> None:
        """SIGKILL to one of the scenario's own targets, those beside "victim", "server" and "both"."""
        raise NotImplementedError

    def in_flight(self, counts: Mapping[str, Any]) -> int:
        """How much is under way that a kill of such a target would meet; ``counts`` are the witness's."""
        return int(counts["open"])

    def restore(self, target: Target) -> None:
        """Start it again on what it has left, and return when it is ready."""
        raise NotImplementedError

    @abstractmethod
    def find(self) -> Found:
        """Read everything back, after the victim has ended."""

    @abstractmethod
    def teardown(self) -> None:
        """Stop the servers, whatever state they are in. Called on every way out."""


@dataclass(frozen=True)
class Round:
    """One entry of the plan. Times in seconds."""

    target: Target
    quiet: float
    down: float


def plan(scenario: type[Scenario] | Scenario, rounds: int, seed: int) -> list[Round]:
    """The rounds: every target as often as the others (some one more), in random order, at random times."""
    source = random.Random(seed)
    targets = [scenario.targets[index % len(scenario.targets)] for index in range(rounds)]
    source.shuffle(targets)
    return [
        Round(target, source.uniform(*scenario.quiet), source.uniform(*scenario.down)) for target in targets
    ]


class Victim:
    """The process that is killed, and its successors. What it prints goes to a file, shown when it fails."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command, self._environment, self._log = list(command), environment, log
        self.start()

    def start(self) -> None:
        """Start it, or the successor of one that is gone."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise CrashError when it has ended by itself."""
        if (status := self._process.poll()) is not None:
            raise CrashError(f"the victim ended by itself with status {status}:\n{self.last_words()}")

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone: whatever it sent is in the witness's queue then."""
        self.check()
        self.end()

    def farewell(self) -> None:
        """Ask it to end. Raises CrashError when it does not, or says that something was wrong."""
        self.check()
        self._process.terminate()
        try:
            status = self._process.wait(FAREWELL_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise CrashError(f"the victim did not end:\n{self.last_words()}") from error
        if status != 0:
            raise CrashError(f"the victim ended with status {status}:\n{self.last_words()}")

    def end(self) -> None:
        """SIGKILL without a question."""
        self._process.kill()
        self._process.wait()

    def last_words(self) -> str:
        """The end of what it and its predecessors printed."""
        text = self._log.read_text(encoding="utf-8", errors="replace").strip()
        return "\n".join(text.splitlines()[-20:]) or "(it printed nothing)"


@dataclass(frozen=True)
class Result:
    """A run's account, and what was done to get it."""

    scenario: str
    promise: str
    seed: int
    rounds: int
    account: Account
    kills: int
    kills_in_flight: int
    ambiguous_commits_resolved: int
    seconds: float

    @property
    def broken(self) -> list[str]:
        """What was not kept. A run that broke or accepted nothing has shown nothing, and counts as broken."""
        complaints = self.account.broken
        if not self.account.accepted:
            complaints.append("nothing was accepted: the run shows nothing")
        if not self.kills_in_flight:
            complaints.append("no kill met a call in flight: the run shows nothing")
        return complaints

    def to_json(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario,
            "promise": self.promise,
            "seed": self.seed,
            "rounds": self.rounds,
            **asdict(self.account),
            "kills": self.kills,
            "kills_in_flight": self.kills_in_flight,
            "ambiguous_commits_resolved": self.ambiguous_commits_resolved,
            "seconds": round(self.seconds, 1),
            "broken": self.broken,
        }


class Run:
    """One scenario, from the servers' start to the account."""

    def __init__(
        self, scenario: Scenario, witness: Witness, rounds: Sequence[Round], progress: Callable[[str], None]
    ) -> None:
        self.scenario, self.witness, self.rounds, self.progress = scenario, witness, rounds, progress
        self.kills = self.in_flight = 0

    def break_it(self) -> None:
        """Load, the rounds, and a clean end."""
        victim = Victim(
            self.scenario.victim_command(self.witness.path),
            self.scenario.victim_environment(),
            self.scenario.directory / "victim.log",
        )
        try:
            for index, step in enumerate(self.rounds):
                accepted = self.wait_for_progress(victim)
                self.progress(
                    f"round {index + 1}/{len(self.rounds)}: {accepted} calls accepted; "
                    f"killing {step.target} in {step.quiet:.2f} s"
                )
                time.sleep(step.quiet)
                self.strike(victim, step)
            self.wait_for_progress(victim)
            victim.farewell()
        finally:
            victim.end()

    def wait_for_progress(self, victim: Victim) -> int:
        """Wait until some more calls have been accepted; says how many there are in all."""
        start = self.witness.counts()["accepted"]
        deadline = time.monotonic() + PROGRESS_SECONDS
        while True:
            victim.check()
            counts = self.witness.counts()
            if counts["faults"]:
                raise CrashError("the victim broke the rules of reporting: " + "; ".join(counts["faults"]))
            if counts["accepted"] >= start + self.scenario.calls_between:
                return int(counts["accepted"])
            if time.monotonic() > deadline:
                raise CrashError(
                    f"no progress: {counts['accepted'] - start} calls accepted in {PROGRESS_SECONDS:g} s, "
                    f"{counts['open']} open:\n{victim.last_words()}"
                )
            time.sleep(0.02)

    def strike(self, victim: Victim, step: Round) -> None:
        """Kill, note whether a call was in flight, and bring back what was killed."""
        if step.target not in {"victim", "server", "both"}:
            in_flight = self.scenario.in_flight(self.witness.counts())
            self.scenario.kill(step.target)
            self.count(in_flight)
            time.sleep(step.down)
            self.scenario.restore(step.target)
            return
        if step.target in {"server", "both"}:
            before = self.witness.counts()["open"]
            self.scenario.kill_server()
            self.count(min(before, self.witness.counts()["open"]))
        if step.target == "both":
            time.sleep(step.down / 2)  # the victim has met the missing server by then, or is about to
        if step.target in {"victim", "both"}:
            victim.kill()
            self.count(self.witness.counts()["open"])
        time.sleep(step.down)
        if step.target in {"server", "both"}:
            self.scenario.restart_server()
        if step.target in {"victim", "both"}:
            victim.start()

    def count(self, in_flight: int) -> None:
        self.kills += 1
        self.in_flight += in_flight > 0


def run(
    scenario: type[Scenario], *, rounds: int, seed: int, progress: Callable[[str], None] = lambda _line: None
) -> Result:
    """Run ``scenario`` with ``rounds`` rounds of the plan that ``seed`` gives, and account for everything.

    Raises :class:`CrashError` when the run is void. A broken promise is no error but part of the result
    (``Result.broken``). Servers, processes and files are gone when it returns, however it does.
    """
    begun = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="dbint-crash-"))
    subject = scenario(directory)
    try:
        progress(f"seed {seed}: starting the servers of {scenario.name}")
        subject.setup()
        witness = Witness(directory)
        try:
            trial = Run(subject, witness, plan(scenario, rounds, seed), progress)
            trial.break_it()
            ledger = witness.ledger()
        finally:
            witness.close()
        if ledger.faults:
            raise CrashError("the victim broke the rules of reporting: " + "; ".join(ledger.faults))
        progress(f"{ledger.accepted} calls accepted; reading everything back")
        found = subject.find()
        account = compare(ledger, found, scenario.promise)
    finally:
        try:
            subject.teardown()
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    return Result(
        scenario=scenario.name,
        promise=scenario.promise.words,
        seed=seed,
        rounds=rounds,
        account=account,
        kills=trial.kills,
        kills_in_flight=trial.in_flight,
        ambiguous_commits_resolved=ledger.resolved + found.ambiguous_resolved,
        seconds=time.monotonic() - begun,
    )


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with the interpreter that runs this one."""
    return [sys.executable, "-m", module, *arguments]
