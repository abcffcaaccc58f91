"""Ranges of time: which one a moment lies in, and what is left between those that are there."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbint.events.partitions import Span, choose_interval, span_at


def day(number: int) -> datetime:
    return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=number)


class TestSpanAt:
    @pytest.mark.parametrize(
        ("interval", "start", "end"),
        [
            ("day", "2026-11-19", "2026-11-20"),
            ("week", "2026-11-16", "2026-11-23"),
            ("month", "2026-11-01", "2026-12-01"),
        ],
    )
    def test_a_moment(self, interval: str, start: str, end: str) -> None:
        span = span_at(interval, datetime(2026, 11, 19, 13, 30, tzinfo=UTC))
        assert span == Span(
            datetime.fromisoformat(f"{start}T00:00+00:00"), datetime.fromisoformat(f"{end}T00:00+00:00")
        )

    def test_days_are_those_of_utc(self) -> None:
        late = datetime(2026, 11, 19, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
        assert span_at("day", late).start == datetime(2026, 11, 20, tzinfo=UTC)

    @given(
        interval=st.sampled_from(["day", "week", "month"]),
        moment=st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),
    )
    def test_spans_hold_their_moment_and_follow_each_other(self, interval: str, moment: datetime) -> None:
        span = span_at(interval, moment)
        assert span.start is not None
        assert span.end is not None
        assert span.start <= moment < span.end
        assert span_at(interval, span.end).start == span.end
        assert span_at(interval, span.start) == span


class TestMinus:
    def test_nothing_taken(self) -> None:
        assert Span(day(0), day(7)).minus([]) == [Span(day(0), day(7))]

    def test_pieces_around_what_is_taken(self) -> None:
        taken = [Span(day(2), day(3)), Span(day(5), day(6))]
        assert Span(day(0), day(7)).minus(taken) == [
            Span(day(0), day(2)),
            Span(day(3), day(5)),
            Span(day(6), day(7)),
        ]

    def test_spans_without_an_end(self) -> None:
        assert Span(day(0), day(7)).minus([Span(None, day(3))]) == [Span(day(3), day(7))]
        assert Span(day(0), day(7)).minus([Span(day(3), None)]) == [Span(day(0), day(3))]
        assert Span(day(0), day(7)).minus([Span(None, None)]) == []

    def test_neighbours_do_not_overlap(self) -> None:
        assert not Span(day(0), day(1)).overlaps(Span(day(1), day(2)))
        assert Span(day(0), day(1)).minus([Span(day(1), day(2))]) == [Span(day(0), day(1))]

    @given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)), max_size=6))
    def test_what_is_left_and_what_is_taken_make_the_whole(self, taken: list[tuple[int, int]]) -> None:
        spans = [Span(day(start), day(start + length)) for start, length in taken]
        left = Span(day(5), day(25)).minus(spans)
        for number in range(5, 25):
            moment = Span(day(number), day(number + 1))
            covered = sum(moment.overlaps(span) for span in left)
            assert covered == (0 if any(moment.overlaps(span) for span in spans) else 1)


@pytest.mark.parametrize(
    ("interval", "days", "chosen"),
    [
        ("auto", 30, "day"),
        ("auto", 90, "week"),
        ("auto", 180, "week"),
        ("auto", 730, "month"),
        ("auto", None, "month"),
        ("day", 730, "day"),
    ],
)
def test_the_interval_follows_from_the_retention(interval: str, days: float | None, chosen: str) -> None:
    assert choose_interval(interval, days) == chosen
