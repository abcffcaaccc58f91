"""Names of scratch objects, latencies, the rows, the advice."""

import dataclasses

import pytest

from dbint.verify import Redactor, values
from dbint.verify.advice import Target, advise
from dbint.verify.diagnosis import Kind
from dbint.verify.latency import Stopwatch, over_budget, quantile
from dbint.verify.scratch import STALE_AFTER, is_stale, scratch_name


def test_only_names_of_our_own_shape_and_age_are_stale() -> None:
    name = scratch_name("dbint_verify")
    assert not is_stale(name, "dbint_verify")
    assert is_stale("dbint_verify_1000000000_abcdef", "dbint_verify")
    assert is_stale("dbint-verify-1000000000-abcdef", "dbint-verify")
    assert is_stale("dbint_verify_1000000000_abcdef_flow", "dbint_verify")
    for other in (
        "dbint_verify",
        "dbint_verify_backup",
        "dbint_verify_1000000000",
        "dbint_verify_1000000000_ABCDEF",
        "my_dbint_verify_1000000000_abcdef",
        "other_1000000000_abcdef",
        "dbint_verify_1000000000_abcdef; DROP TABLE x",
    ):
        assert not is_stale(other, "dbint_verify"), other


def test_a_name_is_stale_after_an_hour() -> None:
    name = scratch_name("x")
    made = int(name.split("_")[1])
    assert not is_stale(name, "x", now=made + STALE_AFTER)
    assert is_stale(name, "x", now=made + STALE_AFTER + 1)


def test_names_differ() -> None:
    assert len({scratch_name() for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("values_", "fraction", "expected"),
    [
        ([5.0], 0.99, 5.0),
        ([1, 2, 3, 4], 0.5, 2),
        (list(range(1, 101)), 0.95, 95),
        (list(range(1, 101)), 0.99, 99),
    ],
)
def test_quantile_is_a_value_that_was_measured(
    values_: list[float], fraction: float, expected: float
) -> None:
    assert quantile(values_, fraction) == expected


def test_quantile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no measurements"):
        quantile([], 0.5)


def test_stopwatch_counts_what_succeeded() -> None:
    ticks = iter([0.0, 0.010, 1.0, 2.0, 2.030])
    watch = Stopwatch(clock=lambda: next(ticks))
    with watch.time("insert"):
        pass
    with pytest.raises(RuntimeError), watch.time("insert"):
        raise RuntimeError
    with watch.time("insert"):
        pass
    assert watch.summary()["insert"] == {"p50_ms": 10.0, "p95_ms": 30.0, "p99_ms": 30.0, "samples": 2}


def test_over_budget_names_operation_quantile_and_both_values() -> None:
    measured = {"get": {"p50_ms": 12.0, "p95_ms": 20.0}}
    assert over_budget(measured, {"get": {"p50_ms": 10, "p95_ms": 20}, "other": {"p50_ms": 1}}) == [
        "get: p50 12 ms, budget 10 ms"
    ]


def test_rows_are_distinct_and_cover_nulls_and_extremes() -> None:
    rows = values.rows()
    assert len({row["name"] for row in rows}) == len(rows)
    assert {len(row) for row in rows} == {len(rows[0])}
    for column in set(rows[0]) - {"name"}:
        assert any(row[column] is None for row in rows), column
    assert {row["big"] for row in rows} >= {-(2**63), 2**63 - 1, 2**53 + 1}
    assert any(character >= "\U00010000" for row in rows for character in row["words"] or "")
    assert all("\x00" not in (row["words"] or "") for row in rows)


def test_difference_is_strict_about_types() -> None:
    assert values.difference("r", "c", 1, 1) is None
    assert values.difference("r", "c", None, None) is None
    assert values.difference("r", "c", 1, True) is not None
    line = values.difference("r", "c", "x" * 500, None)
    assert line is not None
    assert "'r'" in line
    assert len(line) < 200


POSTGRES = Target(
    service="postgres",
    host="db.example",
    port=5432,
    address_from="environment variable POSTGRES_HOST",
    credentials_from="environment variables POSTGRES_USER and POSTGRES_PASSWORD",
    alias="default",
    user="app",
    database="app_db",
)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("service", ["postgres", "doris", "kafka", "sqlite"])
def test_every_kind_has_advice_that_redaction_leaves_whole(kind: Kind, service: str) -> None:
    target = dataclasses.replace(POSTGRES, service=service)
    if service == "kafka":
        target = dataclasses.replace(target, alias=None, database=None)
    steps = advise(target, kind)
    assert steps
    assert all(Redactor(["unrelated-secret"])(step) == step for step in steps)
    assert not any("None" in step for step in steps)


def test_advice_names_the_variable_and_the_setting() -> None:
    text = " ".join(advise(POSTGRES, Kind.UNREACHABLE))
    for part in ("db.example:5432", "POSTGRES_HOST", "POSTGRES_PORT", 'DATABASES["default"]'):
        assert part in text


def test_advice_on_the_development_stack_is_its_command() -> None:
    target = dataclasses.replace(
        POSTGRES, service="kafka", alias=None, address_from="state file /x/state.json"
    )
    assert "python -m stack start kafka" in " ".join(advise(target, Kind.UNREACHABLE))


def test_advice_inside_kubernetes_is_kubectl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBINT_IN_KUBERNETES", "1")
    text = " ".join(advise(POSTGRES, Kind.UNREACHABLE))
    assert "kubectl get service,endpoints postgres-cluster-primary -n default" in text


def test_a_command_to_run_is_quoted_for_the_shell() -> None:
    target = dataclasses.replace(POSTGRES, database="my db")
    step = next(step for step in advise(target, Kind.AUTHENTICATION) if "psql" in step)
    assert "'host=db.example port=5432 user=app dbname=my db'" in step
