"""Laws of when to try again."""

from datetime import timedelta

import pytest

from receiver import backoff
from receiver.handler import RETRIES

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


@pytest.mark.parametrize(("draw", "factor"), [(0.0, 0.8), (0.5, 1.0), (0.999999, 1.2)])
def test_a_pause_is_the_schedules_times_0_8_to_1_2(draw: float, factor: float) -> None:
    assert backoff.pause([10 * SECOND], 1, random=lambda: draw) == pytest.approx(10 * SECOND * factor, rel=1e-5)


def test_every_failure_has_its_own_pause_until_none_is_left() -> None:
    pauses = [backoff.pause([SECOND, HOUR], failures, random=lambda: 0.5) for failures in (1, 2, 3)]
    assert pauses == [SECOND, HOUR, None]


def test_without_retries_the_first_failure_is_the_last() -> None:
    assert backoff.pause([], 1, random=lambda: 0.5) is None


@pytest.mark.parametrize(
    ("after", "expected"), [(None, 60), (5, 60), (90, 90), (25 * 3600, 24 * 3600)], ids=["none", "less", "more", "cap"]
)
def test_the_later_of_pause_and_after_counts_and_after_at_most_24_hours(after: int | None, expected: int) -> None:
    asked = None if after is None else after * SECOND
    assert backoff.at_least(60 * SECOND, asked) == expected * SECOND


def test_no_due_time_we_set_is_beyond_the_horizon() -> None:
    assert backoff.horizon([SECOND]) == 24 * HOUR
    assert backoff.horizon([]) == 24 * HOUR
    longest = backoff.pause(RETRIES, len(RETRIES), random=lambda: 0.999999)
    assert longest is not None
    assert longest <= backoff.horizon(RETRIES) == RETRIES[-1] * 1.2


def test_delays_double_from_a_second_to_a_minute() -> None:
    seconds = [backoff.doubling(n).total_seconds() for n in (*range(8), 10_000)]
    assert seconds == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_first_restart_is_at_once_and_again_after_success() -> None:
    delays = backoff.Delays()
    assert [delays.next().total_seconds() for _ in range(4)] == [0, 1, 2, 4]
    delays.reset()
    assert delays.next() == timedelta(0)
