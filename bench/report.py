"""A bench's result as a table and as a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

PLAIN: dict[str, Any] = {
    "box": box.SIMPLE_HEAD,
    "padding": (0, 1, 0, 0),
    "pad_edge": False,
    "title_justify": "left",
}


def number(value: float) -> str:
    """The digits that matter: "0.938", "12.3", "1,290", "412k"."""
    if abs(value) >= 10_000:
        return f"{value / 1000:,.0f}k"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def others(entry: Mapping[str, Any]) -> list[str]:
    """The names of a contender's figures beside the headline."""
    return [name for name, figure in entry.items() if isinstance(figure, dict) and "median" in figure]


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
    rounds = "one round" if result["rounds"] == 1 else f"medians of {result['rounds']} rounds"
    console.print(f"\n{result['name']}: {result['title']}; {rounds}", style="bold", highlight=False)
    figures = Table(**PLAIN)
    figures.add_column("contender", no_wrap=True)
    entries = result["results"]
    first = next(iter(entries.values()))
    headings = [first["unit"], "min-max", *(f"{name} {first[name]['unit']}" for name in others(first))]
    for heading in headings:
        figures.add_column(heading, justify="right", max_width=15)
    for name, entry in entries.items():
        least, most = entry["spread"]["min"], entry["spread"]["max"]
        medians = (number(entry[other]["median"]) for other in others(first))
        figures.add_row(name, number(entry["median"]), f"{number(least)}-{number(most)}", *medians)
    console.print(figures)
    ratios = Table(**PLAIN)
    for heading in ("ratio", "value", "aim", ""):
        ratios.add_column(heading, justify="right" if heading == "value" else "left")
    for name, value in result["ratios"].items():
        aim = result["aims"].get(name)
        verdict = "" if aim is None else "[green]met[/]" if aim["met"] else "[red]not met[/]"
        ratios.add_row(name, number(value), aim["aim"] if aim else "", verdict)
    console.print(ratios)


def picture(result: Mapping[str, Any], path: Path) -> None:
    """Draw each contender's figures but memory into ``path``; the format follows the file's suffix.

    Raises OSError when the file cannot be written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    entries = list(result["results"].values())
    panels = {"": entries}
    panels |= {name: [entry[name] for entry in entries] for name in others(entries[0]) if name != "memory"}
    size = (3 + 4.5 * len(panels), 1.5 + 0.5 * len(entries))
    drawing, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, layout="constrained")
    for axis, (label, figures) in zip(axes, panels.items(), strict=True):
        medians = [figure["median"] for figure in figures]
        below = [figure["median"] - figure["spread"]["min"] for figure in figures]
        above = [figure["spread"]["max"] - figure["median"] for figure in figures]
        names = [entry["title"] for entry in entries]
        axis.barh(names, medians, xerr=(below, above), color="#4c78a8", ecolor="#333333", capsize=3)
        for row, figure in enumerate(figures):
            axis.text(figure["spread"]["max"], row, f"  {number(figure['median'])}", va="center")
        axis.margins(x=0.15)
        axis.locator_params(axis="x", nbins=5)
        axis.xaxis.set_major_formatter(lambda value, _position: number(value))
        axis.set_xlabel(f"{label} {figures[0]['unit']}\n(median; bars: least to greatest)")
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    about = result["machine"]
    load = about["load"]
    drawing.suptitle(
        f"{result['name']}: {result['title']}\n{result['rounds']} rounds on {about['cpu_count']} x "
        f"{about['cpu_model']}, load {load['before'][0]:g} to {load['after'][0]:g}"
    )
    drawing.savefig(path, dpi=120)
    plt.close(drawing)
