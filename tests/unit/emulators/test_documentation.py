"""docs/emulators.md lists the functions that there are."""

from pathlib import Path

from dbint.emulators.doris.sql.functions import AGGREGATES, SCALARS, WINDOW_ONLY, WRITTEN_OUT

DOCUMENT = Path(__file__).parents[3] / "docs" / "emulators.md"


def test_functions_are_listed() -> None:
    text = (
        DOCUMENT.read_text()
        .partition("<!-- functions: begin -->\n")[2]
        .partition("<!-- functions: end -->")[0]
    )
    listed = {line.partition(": ")[0]: line.partition(": ")[2] for line in text.strip().split("\n\n")}
    assert listed == {
        "Aggregates": ", ".join(sorted(AGGREGATES)) + ".",
        "Window functions": ", ".join(sorted(WINDOW_ONLY)) + ".",
        "Scalar functions": ", ".join(sorted({*SCALARS, *WRITTEN_OUT})) + ".",
    }
