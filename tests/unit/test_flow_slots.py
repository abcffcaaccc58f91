"""When a slot that falls behind is told of, and when it is given up."""

import logging
from dataclasses import replace

from dbint.flow.slots import LagWatch, SlotState

MIB = 1 << 20
SLOT = SlotState("s", "pgoutput", "d", None, "reserved", None, 1, 1, 0, 0)


def levels(watch: LagWatch, *retained: int) -> list[str]:
    return [watch.look(replace(SLOT, retained=size * MIB)) for size in retained]


def test_a_warning_is_told_again_when_the_lag_has_doubled(caplog) -> None:
    watch = LagWatch("orders", 10 * MIB, None)
    with caplog.at_level(logging.WARNING, "dbint.flow"):
        assert levels(watch, 0, 9, 10, 11, 19, 20, 39, 40) == ["ok"] * 2 + ["warning"] * 6
        assert [record.args[1] for record in caplog.records] == [10, 20, 40]
        assert levels(watch, 5, 12) == ["ok", "warning"]  # it had caught up: a new one
    assert [record.args[1] for record in caplog.records] == [10, 20, 40, 12]
    assert "flow orders: the server keeps 10 MiB of its log for slot s" in caplog.text


def test_a_server_that_will_not_keep_as_much_again_is_told_of(caplog) -> None:
    watch = LagWatch("orders", 100 * MIB, 200 * MIB)
    with caplog.at_level(logging.WARNING, "dbint.flow"):
        assert watch.look(replace(SLOT, retained=20 * MIB, safe=20 * MIB)) == "ok"
        assert watch.look(replace(SLOT, retained=21 * MIB, safe=19 * MIB)) == "warning"
        assert "invalidated after 19 MiB more, by max_slot_wal_keep_size" in caplog.text
        late = replace(SLOT, retained=42 * MIB, safe=-2 * MIB, wal_status="unreserved")
        assert watch.look(late) == "warning"
    assert "dropped at 200 MiB; invalidated at the next checkpoint" in caplog.text


def test_from_the_limit_on_it_is_lost() -> None:
    assert levels(LagWatch("orders", 10 * MIB, 30 * MIB), 29, 30) == ["warning", "lost"]


def test_what_the_server_has_given_up_is_lost() -> None:
    watch = LagWatch("orders", 10 * MIB, None)
    assert watch.look(replace(SLOT, wal_status="lost")) == "lost"
    assert watch.look(replace(SLOT, restart=None)) == "lost"
    assert replace(SLOT, confirmed=0x1_0000_0028).to_json()["confirmed"] == "1/28"
