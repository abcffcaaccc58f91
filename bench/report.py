"""A bench's result as a table and as a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def number(value: float) -> str:
    """The digits that matter: "0.938", "12.3", "1,290", "412 k"."""
    if abs(value) >= 10_000:
        return f"{value / 1000:,.0f} k"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(result: Mapping[str, Any], console: Console) -> None:
    """Print the machine, the contenders' figures, the ratios and the aims."""
    about = result["machine"]
    load = about["load"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    console.print(
        f"{about['cpu_count']} x {about['cpu_model']}, Linux {about['kernel']}, {about['python']}\n"
        f"load {load['before'][0]:g} before, {load['after'][0]:g} after; {versions}",
        highlight=False,
    )
    if result["quick"]:
        console.print("A quick run: it shows that the bench works and proves nothing.", style="yellow")
    rounds = "1 round" if result["rounds"] == 1 else f"medians of {result['rounds']} rounds"
    figures = Table(title=f"{result['name']}: {rounds}", title_justify="left")
    figures.add_column("contender", no_wrap=True)
    entries = result["results"]
    first = next(iter(entries.values()))
    others = [name for name, figure in first.items() if isinstance(figure, dict) and "median" in figure]
    units = [first["unit"], "min - max", *(first[name]["unit"] for name in others)]
    for unit in units:
        figures.add_column(unit, justify="right")
    for name, entry in entries.items():
        least, most = entry["spread"]["min"], entry["spread"]["max"]
        medians = (number(entry[other]["median"]) for other in others)
        figures.add_row(name, number(entry["median"]), f"{number(least)} - {number(most)}", *medians)
    console.print(figures)
    ratios = Table(title="ratios and aims", title_justify="left")
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
