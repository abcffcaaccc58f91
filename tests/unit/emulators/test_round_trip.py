# ruff: noqa: S608 - the SQL here is made of this file's own constants
"""Any value of any type comes back as it went in: by INSERT, by a JSON load and by a CSV load."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.emulators.conftest import Client
from tests.unit.emulators.test_stream_load import load

COLUMNS = {
    "b": ("BOOLEAN", st.booleans()),
    "i8": ("TINYINT", st.integers(-(2**7), 2**7 - 1)),
    "i16": ("SMALLINT", st.integers(-(2**15), 2**15 - 1)),
    "i32": ("INT", st.integers(-(2**31), 2**31 - 1)),
    "i64": ("BIGINT", st.integers(-(2**63), 2**63 - 1)),
    "i128": ("LARGEINT", st.integers(-(2**127) + 1, 2**127 - 1)),
    "f32": ("FLOAT", st.floats(width=32, allow_nan=False, allow_infinity=False)),
    "f64": ("DOUBLE", st.floats(allow_nan=False, allow_infinity=False)),
    "d": (
        "DECIMAL(38, 10)",
        st.decimals(-(10**27), 10**27, places=10, allow_nan=False, allow_infinity=False),
    ),
    "day": ("DATE", st.dates(dt.date(1, 1, 1))),
    "at": ("DATETIME(6)", st.datetimes(dt.datetime(1, 1, 1))),
    "c": (
        "VARCHAR(400)",
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=100),
    ),
    "s": ("STRING", st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))),
    "j": (
        "JSON",
        st.dictionaries(st.text(st.characters(codec="ascii", exclude_characters='\0"\\')), st.integers(0, 9)),
    ),
}
NAMES = list(COLUMNS)
ROWS = st.lists(st.tuples(*(st.none() | values for _, values in COLUMNS.values())), min_size=1, max_size=5)


def expected(value: Any, kind: str) -> Any:
    """What a client sees of a value."""
    if value is None:
        return None
    if kind == "BOOLEAN":
        return int(value)
    if kind == "LARGEINT":
        return str(value)
    if kind == "JSON":
        return json.dumps(value, separators=(",", ":"))
    return value


def text(value: Any, kind: str) -> str | None:
    """A value as a load carries it."""
    if value is None:
        return None
    if kind == "JSON":
        return json.dumps(value)
    if isinstance(value, dt.datetime):
        return value.isoformat(" ", "microseconds")
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def same(found: Any, wanted: Any, kind: str) -> bool:
    if kind in ("FLOAT", "DOUBLE") and wanted is not None:
        return found == float(f"{wanted:.{7 if kind == 'FLOAT' else 16}g}")  # what Doris gives out
    if kind == "JSON" and found is not None:
        return bool(json.loads(found) == json.loads(wanted))
    return bool(found == wanted)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_round_trip(doris: Client, rows: list[tuple[Any, ...]]) -> None:
    doris.run("DROP TABLE IF EXISTS t")
    doris.table("id BIGINT NOT NULL, " + ", ".join(f"{n} {kind}" for n, (kind, _) in COLUMNS.items()))
    kinds = [kind for kind, _ in COLUMNS.values()]
    texts = [[text(v, k) for v, k in zip(row, kinds, strict=True)] for row in rows]
    marks = ", ".join(["%s"] * (len(NAMES) + 1))
    for n, row in enumerate(texts):
        doris.run(f"INSERT INTO t VALUES ({marks})", n, *row)
    objects = [{"id": 100 + n, **dict(zip(NAMES, row, strict=True))} for n, row in enumerate(texts)]
    answer = load(
        doris, json.dumps(objects).encode(), format="json", strip_outer_array="true", strict_mode="true"
    )
    assert answer["Message"] == "OK", answer
    lines = "".join(
        json.dumps(o, ensure_ascii=False) + "\n" for o in ({**o, "id": o["id"] + 100} for o in objects)
    )
    answer = load(doris, lines.encode(), format="json", read_json_by_line="true", strict_mode="true")
    assert answer["Message"] == "OK", answer
    fits = [
        n for n, row in enumerate(texts) if not any(set(v or "") & set("\x01\x02") or v == "\\N" for v in row)
    ]
    body = "".join(
        "\x01".join([str(300 + n), *("\\N" if v is None else v for v in texts[n])]) + "\x02" for n in fits
    )
    answer = load(doris, body.encode(), column_separator="\\x01", line_delimiter="\\x02", strict_mode="true")
    assert answer["Message"] == "OK", answer
    found = {row[0]: row[1:] for row in doris.rows("SELECT * FROM t")}
    assert len(found) == 3 * len(rows) + len(fits)
    for number, row in found.items():
        wanted = [expected(v, k) for v, k in zip(rows[number % 100], kinds, strict=True)]
        for name, kind, value, want in zip(NAMES, kinds, row, wanted, strict=True):
            assert same(value, want, kind), (number, name, value, want)
