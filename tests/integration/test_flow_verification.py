# ruff: noqa: S608 - names are the test's own
"""Verification against real servers: what differs is found, row by row, and what is only late is not."""

import json
import threading
from typing import Any

import pytest

from dbint.errors import ConfigurationError
from dbint.flow.mapping import TableMapping
from dbint.flow.verification import Difference, verify
from tests.integration.flow_tables import EVERY_TYPE, ROW, config, lines, load, mapped, message, run

INSERT = """
INSERT INTO {schema}.everything VALUES (
    7, '2026-11-22', 'a''"b', true, -3, 4, 9007199254740993, 123456789012345.12345, 1{zeros},
    1.5, 0.1, 'äöü', 'ab', E'line\\nbreak \\\\ \\t \\x01 😀', '\\x000102ff', '1999-12-31',
    '2026-11-22 01:02:03.123456', '2026-11-22 01:02:03.123', '2026-11-22 01:02:03.5+01', '23:59:59.123456',
    '1 year 2 mons 3 days 04:05:06.789', 'b7a1c7de-0000-4000-8000-00000000000f',
    '{{"a": [1, null, "x"], "b": {{"c": 1.5}}}}', '[1]', 'glad', 9.90, '10.0.0.1/8',
    '{{1,NULL,3}}', '{{a,NULL,"b\\""}}', '{{2026-01-01}}', '{{1.10,NULL}}')
"""


@pytest.fixture
def everything(source, target) -> TableMapping:
    """A table with a column of every type, empty."""
    connection, schema = source
    connection.execute(EVERY_TYPE.format(schema=schema))
    mapping = mapped(source, "everything", target)
    run(target, mapping.create_table())
    return mapping


def insert(source: Any) -> None:
    """ROW, into PostgreSQL's."""
    connection, schema = source
    connection.execute(INSERT.format(schema=schema, zeros="0" * 50))


def test_every_type_compares_as_the_same(stack, source, target, everything):
    connection, schema = source
    insert(source)
    load(target, everything, lines(message("c", None, ROW, (1, 2))))
    connection.execute(f"INSERT INTO {schema}.everything (id, day, label) VALUES (8, '2026-01-01', 'null')")
    nothing = dict.fromkeys(ROW) | {"id": 8, "day": "2026-01-01Z", "label": "null"}
    load(target, everything, lines(message("c", None, nothing, (1, 3))))
    (found,) = verify(config(stack, source, target, "everything"), settle=0)
    assert found.differences == ()
    assert (found.rows_source, found.rows_target, found.same) == (2, 2, True)
    assert set(found.by_value) == {"single", "double", "doc", "raw", "numbers", "words", "days", "amounts"}
    assert found.ranges_read == 0  # both databases make the same checksums of all of them


def test_what_has_another_text_and_the_same_value_is_read_and_the_same(stack, source, target, everything):
    insert(source)
    other = ROW | {"doc": '{"b": {"c": 1.50}, "a": [1, null, "x"]}'}
    load(target, everything, lines(message("c", None, other, (1, 2))))
    (found,) = verify(config(stack, source, target, "everything"), settle=0)
    assert (found.ranges_read, found.suspicious_ranges, found.same) == (1, 0, True)


def test_numbers_of_every_size_have_the_same_checksums(stack, source, target):
    connection, schema = source
    connection.execute(
        f"CREATE TABLE {schema}.t (id int PRIMARY KEY, d double precision, f real, l float8[])"
    )
    values = [0.0, -0.0, 0.1 + 0.2, 1 / 3, -2 / 3, 2.0**52 + 1, 1e22, 1.5e308, 5e-324, 1e-300]
    values += [sign * 2.0**power for sign in (1, -1) for power in range(-900, 900, 13)]
    rows = [
        {"id": n, "d": value, "f": value if 1e-30 < abs(value) < 1e38 else 0.0, "l": [value, None]}
        for n, value in enumerate(values)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {schema}.t VALUES (%(id)s, %(d)s, %(f)s, %(l)s)", rows)
    mapping = mapped(source, "t", target)
    run(target, mapping.create_table())
    load(target, mapping, lines(*(message("c", None, row, (1, row["id"])) for row in rows)))
    (found,) = verify(config(stack, source, target, "t"), settle=0)
    assert (found.rows_target, found.same) == (len(values), True)
    # What has its text in checksums, of which Doris shows 16 digits: items of lists, and very large numbers.
    beyond = "ABS(d) NOT BETWEEN 1e-270 AND 1e270 AND d <> 0"
    run(target, f"DELETE FROM {mapping.target} WHERE {beyond}")
    run(target, f"UPDATE {mapping.target} SET l = NULL WHERE id >= 0")
    connection.execute(f"DELETE FROM {schema}.t WHERE {beyond}; UPDATE {schema}.t SET l = NULL")
    (found,) = verify(config(stack, source, target, "t"), settle=0)
    assert (found.ranges_read, found.same) == (0, True)
    connection.execute(f"UPDATE {schema}.t SET d = d * (1 + 1e-13) WHERE id = 3")
    (found,) = verify(config(stack, source, target, "t"), settle=0)
    assert found.differences == (Difference(("3",), "different", ("d",)),)


OTHER = {
    "flag": False,
    "small": -4,
    "large": 9007199254740992,
    "number": "123456789012345.12346",
    "free": "1",
    "single": 1.25,
    "double": 0.1000001,
    "short": "äöu",
    "fixed": "ab",
    "long": "",
    "bytes": "AAEC/g==",
    "born": "1999-12-30Z",
    "at": "2026-11-22T01:02:03.123457Z",
    "at3": "2026-11-22T01:02:03.124Z",
    "zoned": None,
    "clock": "23:59:59.123455Z",
    "span": "P1Y2M3DT4H5M6.788S",
    "uid": None,
    "doc": '{"a": [1, null, "x"], "b": {"c": 2.5}}',
    "raw": "[]",
    "feeling": "sad",
    "cost": "9.91",
    "address": "10.0.0.1",
    "numbers": [1, 2, 3],
    "words": ["a", None, "b"],
    "days": ["2026-01-02Z"],
    "amounts": ["1.1", None],
}


def test_a_difference_in_any_type_is_found_with_its_column(stack, source, target, everything):
    connection, schema = source
    columns, changed = list(OTHER), []
    for number, column in enumerate(columns):
        insert(source)
        connection.execute(f"UPDATE {schema}.everything SET id = %s WHERE id = 7", (100 + number,))
        row = ROW | {"id": 100 + number, column: OTHER[column]}
        changed.append(message("c", None, row, (1, number)))
    load(target, everything, lines(*changed))
    (found,) = verify(config(stack, source, target, "everything"), settle=0)
    assert {d.key[0]: d.columns for d in found.differences} == {
        str(100 + number): (column,) for number, column in enumerate(columns)
    }
    assert {d.kind for d in found.differences} == {"different"}


@pytest.fixture
def orders(source, target) -> TableMapping:
    connection, schema = source
    connection.execute(
        f"CREATE TABLE {schema}.orders (region text, n int, amount numeric(9, 2), PRIMARY KEY (region, n));"
        f"INSERT INTO {schema}.orders SELECT r, n, n * 1.5 FROM "
        "unnest(ARRAY['B', 'a', 'ä', 'Z''\\x', '_']) r, generate_series(-20, 19) n"
    )
    mapping = mapped(source, "orders", target)
    run(target, mapping.create_table())
    load(target, mapping, lines(*(order(*row) for row in stored(source))))
    return mapping


def stored(source: Any) -> list[tuple[Any, ...]]:
    connection, schema = source
    return connection.execute(f"SELECT region, n, amount::text FROM {schema}.orders").fetchall()


def order(region: str, n: int, amount: str, sequence: int = 1) -> dict[str, Any]:
    return message("c", None, {"region": region, "n": n, "amount": amount}, (sequence, 1))


def delete(region: str, n: int, sequence: int = 2) -> dict[str, Any]:
    return message("d", {"region": region, "n": n}, None, (sequence, 1))


def test_ranges_are_the_same_on_both_sides(stack, source, target, orders):
    (found,) = verify(config(stack, source, target, "orders"), settle=0, chunk_rows=40)
    assert (found.rows_source, found.rows_target, found.ranges) == (200, 200, 6)
    assert (found.suspicious_ranges, found.differences, found.same) == (0, (), True)


def test_missing_extra_and_different_rows_are_told_apart(stack, source, target, orders):
    load(
        target,
        orders,
        lines(
            delete("a", -20),
            delete("_", 19),
            order("Z'\\x", 0, "0.01", 2),
            order("ÿ", 1000, "1.00"),
            order("", -1000, "1.00"),
        ),
    )
    (found,) = verify(config(stack, source, target, "orders"), settle=0, chunk_rows=40)
    assert set(found.differences) == {
        Difference(("a", "-20"), "missing"),
        Difference(("_", "19"), "missing"),
        Difference(("Z'\\x", "0"), "different", ("amount",)),
        Difference(("ÿ", "1000"), "extra"),
        Difference(("", "-1000"), "extra"),
    }
    assert (found.found, found.same) == (5, False)
    assert 1 < found.suspicious_ranges <= 5
    assert json.loads(json.dumps(found.to_json()))["differences"][0]["key"]


def test_only_so_many_differences_are_held(stack, source, target, orders):
    run(target, f"TRUNCATE TABLE {orders.target}")
    (found,) = verify(config(stack, source, target, "orders"), settle=0, max_differences=10)
    assert (len(found.differences), found.found, found.rows_target) == (10, 200, 0)


def test_what_is_only_late_is_no_difference(stack, source, target, orders):
    load(target, orders, lines(delete("a", 3)))
    late = threading.Timer(1.0, load, (target, orders, lines(order("a", 3, "4.50", 3))))
    late.start()
    (found,) = verify(config(stack, source, target, "orders"), settle=15)
    late.join()
    assert (found.suspicious_ranges, found.differences, found.same) == (1, (), True)
    assert found.seconds < 10


def test_a_row_that_goes_on_changing_is_marked(stack, source, target, orders):
    connection, schema = source
    load(target, orders, lines(order("a", 3, "7.00", 2)))
    ended = threading.Event()

    def change() -> None:
        while not ended.wait(0.05):
            connection.execute(f"UPDATE {schema}.orders SET amount = amount + 1 WHERE (region, n) = ('a', 3)")

    changing = threading.Thread(target=change)
    changing.start()
    try:
        (found,) = verify(config(stack, source, target, "orders"), settle=2)
    finally:
        ended.set()
        changing.join()
    assert found.differences == (Difference(("a", "3"), "different", ("amount",), moving=True),)


def test_a_table_that_doris_has_not_is_said_and_others_go_on(stack, source, target, orders):
    connection, schema = source
    connection.execute(f"CREATE TABLE {schema}.other (id int PRIMARY KEY)")
    other, mine = verify(config(stack, source, target, "other", "orders"), settle=0)
    assert "other" in other.error
    assert not other.same
    assert mine.same


def test_a_table_of_another_flow_is_refused(stack, source, target, orders):
    with pytest.raises(ConfigurationError, match=r"has no table public\.x"):
        verify(config(stack, source, target, "orders"), ["public.x"])
