"""A bench's result as a table and as a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def number(value: float) -> str:
    """Three digits that matter, thousands set apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(result: Mapping[str, Any], console: Console) -> None:
    """Print contenders, ratios and aims."""
    about = result["machine"]
    load = about["load"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    console.print(
        f"{about['cpu_count']} x {about['cpu_model']}, Linux {about['kernel']}, {about['python']}\n"
        f"load {load['before'][0]:g} before, {load['after'][0]:g} after; {versions}"
    )
    if result["quick"]:
        console.print(
            "A quick run: it shows that the bench works, its figures are too few to judge by.", style="yellow"
        )
    first = next(iter(result["results"].values()))
    figures = Table(title=f"{result['name']}: medians of {result['rounds']} rounds", title_justify="left")
    figures.add_column("contender")
    for unit in (first["unit"], "min - max", first["cpu"]["unit"], f"peak {first['memory']['unit']}"):
        figures.add_column(unit, justify="right")
    for entry in result["results"].values():
        figures.add_row(
            entry["title"],
            number(entry["median"]),
            f"{number(entry['spread']['min'])} - {number(entry['spread']['max'])}",
            number(entry["cpu"]["median"]),
            number(entry["memory"]["median"]),
        )
    console.print(figures)
    ratios = Table(title="ratios", title_justify="left")
    for heading in ("ratio", "value", "aim", ""):
        ratios.add_column(heading, justify="right" if heading == "value" else "left")
    for name, value in result["ratios"].items():
        aim = result["aims"].get(name)
        verdict = "" if aim is None else "[green]met[/]" if aim["met"] else "[red]not met[/]"
        ratios.add_row(name, number(value), aim["aim"] if aim else "", verdict)
    console.print(ratios)


def picture(result: Mapping[str, Any], path: Path) -> None:
    """Draw the headline figure and the CPU time of each contender into ``path``.

    The format follows the file's suffix; a suffix that matplotlib does not know raises ValueError.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    entries = list(result["results"].values())
    names = [entry["title"] for entry in entries]
    drawing, axes = plt.subplots(
        1, 2, figsize=(12, 1.5 + 0.5 * len(entries)), sharey=True, layout="constrained"
    )
    for axis, figures in zip(axes, (entries, [entry["cpu"] for entry in entries]), strict=True):
        medians = [figure["median"] for figure in figures]
        below = [max(0.0, figure["median"] - figure["spread"]["min"]) for figure in figures]
        above = [max(0.0, figure["spread"]["max"] - figure["median"]) for figure in figures]
        axis.barh(names, medians, xerr=(below, above), color="#4c78a8", ecolor="#333333", capsize=3)
        axis.set_xlabel(f"{figures[0]['unit']} (median; bars: least to greatest)")
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    about = result["machine"]
    drawing.suptitle(
        f"{result['name']}, {result['rounds']} rounds, {about['cpu_count']} x {about['cpu_model']}, "
        f"load {about['load']['before'][0]:g} to {about['load']['after'][0]:g}"
    )
    drawing.savefig(path, dpi=120)
    plt.close(drawing)
