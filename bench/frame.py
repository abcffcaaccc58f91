"""How a comparison is made, whatever is compared.

Contenders take turns: round 1 runs A B C, round 2 B C A, and so on, so that no one always follows the same
neighbour or meets the machine at the same moment. A ratio is taken within each round and the median of those
is reported, so a slow minute slows both of its sides. Every number comes with its spread, and the machine's
load stands beside them.
"""

import json
import math
import statistics
import subprocess
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench import machine

CHECKOUT = Path(__file__).resolve().parent.parent
AIMS = Path(__file__).parent / "aims.toml"


class BenchError(Exception):
    """A run that cannot be judged: a contender failed, or the comparison would not have been fair."""


@dataclass(frozen=True)
class Sample:
    """One run of one contender: its figures by name, and the libraries that it ran on.

    Every bench has the figures ``value`` (the headline), ``cpu`` and ``memory``; a bench, or one of its
    contenders, may have more.
    """

    figures: Mapping[str, float]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Contender:
    """One side of a comparison. ``title`` says in words what it does, for the table."""

    name: str
    title: str


@dataclass(frozen=True)
class Ratio:
    """A number that compares: ``of``'s figure over ``to``'s, or ``of``'s own where ``to`` is None."""

    name: str
    figure: str
    of: str
    to: str | None = None


class Bench(Protocol):
    """One comparison. ``prepare`` sets up what all rounds share; what it gives runs one contender once."""

    name: str
    title: str
    units: Mapping[str, str]  # of each figure of its samples
    contenders: Sequence[Contender]
    ratios: Sequence[Ratio]
    rounds: int
    quick_rounds: int

    def prepare(self, *, quick: bool) -> AbstractContextManager[Callable[[str], Sample]]: ...


@dataclass(frozen=True)
class Aim:
    """A promise about one ratio: it stays on one side of ``bound``."""

    ratio: str
    at_most: bool
    bound: float

    def met(self, value: float) -> bool:
        """Whether ``value`` keeps the promise."""
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"at {'most' if self.at_most else 'least'} {self.bound:g}"


def load_aims(bench: str, path: Path = AIMS) -> list[Aim]:
    """The aims of ``bench``. Raises :class:`BenchError` for an entry that cannot be read."""
    table = tomllib.loads(path.read_text(encoding="utf-8")).get(bench, {})
    aims = []
    for ratio, entry in table.items():
        bounds = [key for key in ("at_most", "at_least") if key in entry]
        if len(bounds) != 1:
            raise BenchError(f"{path.name}: [{bench}.{ratio}] needs one of at_most and at_least")
        aims.append(Aim(ratio=ratio, at_most=bounds[0] == "at_most", bound=float(entry[bounds[0]])))
    return aims


def run_contender(
    command: Sequence[str], *, timeout: float, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run one contender in a process of its own and give the JSON object it printed (see bench.measure).

    ``timeout`` is in seconds. Raises :class:`BenchError` with the contender's last words when it fails, hangs
    or prints something else.
    """
    label = " ".join(Path(part).name if part.startswith("/") else part for part in command)
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
            cwd=CHECKOUT,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{label}: no result after {timeout:g} s") from error
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-15:])
        raise BenchError(f"{label}: exit status {done.returncode}\n{tail}")
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise BenchError(f"{label}: printed no result, but {done.stdout[-200:]!r}")
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Least, greatest and interquartile range (0 for fewer than two values)."""
    iqr = 0.0
    if len(values) > 1:
        lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
        iqr = upper - lower
    return {"min": min(values), "max": max(values), "iqr": iqr}


def same_versions(samples: Mapping[str, Sequence[Sample]]) -> dict[str, str]:
    """The libraries that the contenders say they ran on. Raises :class:`BenchError` where two differ."""
    found: dict[str, tuple[str, str]] = {}
    for contender, runs in samples.items():
        for sample in runs:
            for library, version in sample.versions.items():
                first, theirs = found.setdefault(library, (contender, version))
                if theirs != version:
                    raise BenchError(
                        f"not comparable: {first} ran on {library} {theirs}, {contender} on {version}"
                    )
    return {library: version for library, (_, version) in found.items()}


def compute_ratio(ratio: Ratio, samples: Mapping[str, Sequence[Sample]]) -> float:
    """The median over the rounds. Raises :class:`BenchError` where nothing was measured."""
    values = []
    for index, sample in enumerate(samples[ratio.of]):
        value = sample.figures[ratio.figure]
        if ratio.to is not None:
            base = samples[ratio.to][index].figures[ratio.figure]
            value = value / base if base else math.nan
        if not math.isfinite(value):
            raise BenchError(f"{ratio.name}: round {index + 1} measured nothing to compare")
        values.append(value)
    return statistics.median(values)


def run(
    bench: Bench, *, rounds: int | None = None, quick: bool = False, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Run ``bench`` and give its result: ``name``, ``machine``, ``results``, ``ratios``, ``aims`` and more.

    ``rounds`` overrides the bench's own number; ``quick`` asks for a smoke run whose figures prove nothing
    but that the bench works. ``progress`` gets a line for each run. Raises :class:`BenchError` when the run
    cannot be judged.
    """
    count = rounds or (bench.quick_rounds if quick else bench.rounds)
    aims = load_aims(bench.name)
    if unknown := {aim.ratio for aim in aims} - {ratio.name for ratio in bench.ratios}:
        raise BenchError(f"aims for ratios that {bench.name} does not have: {', '.join(sorted(unknown))}")
    about = machine.describe()
    before = machine.load()
    names = [contender.name for contender in bench.contenders]
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    with bench.prepare(quick=quick) as run_once:
        for index in range(count):
            turn = index % len(names)
            for name in (*names[turn:], *names[:turn]):
                sample = run_once(name)
                samples[name].append(sample)
                shown = (
                    f"{sample.figures[figure]:,.4g} {bench.units[figure]}" for figure in ("value", "cpu")
                )
                progress(f"round {index + 1}/{count}  {name}: {', '.join(shown)}")
    about["versions"] |= same_versions(samples)
    about["load"] = {"before": before, "after": machine.load()}
    ratios = {ratio.name: compute_ratio(ratio, samples) for ratio in bench.ratios}
    return {
        "name": bench.name,
        "title": bench.title,
        "quick": quick,
        "rounds": count,
        "machine": about,
        "results": {
            contender.name: summarise(contender, samples[contender.name], bench.units)
            for contender in bench.contenders
        },
        "ratios": ratios,
        "aims": {
            aim.ratio: {"aim": str(aim), "value": ratios[aim.ratio], "met": aim.met(ratios[aim.ratio])}
            for aim in aims
        },
    }


def summarise(contender: Contender, samples: Sequence[Sample], units: Mapping[str, str]) -> dict[str, Any]:
    """A contender's figures with median and spread: the headline's in front, the others by their names."""

    def figure(name: str) -> dict[str, Any]:
        values = [sample.figures[name] for sample in samples]
        return {"unit": units[name], "median": statistics.median(values), "spread": spread(values)}

    others = {name: figure(name) for name in units if name != "value" and name in samples[0].figures}
    return {"title": contender.title, **figure("value"), **others}
