"""Durations and sizes as people write them."""

from datetime import timedelta
from typing import Any

import pytest

from receiver import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("1h 30m", 5400),
        ("1h30m", 5400),
        ("90 days", 90 * 86400),
        ("1 day", 86400),
        ("2 weeks", 14 * 86400),
        ("250ms", 0.25),
        ("1.5 h", 5400),
        ("0s", 0),
        (15, 15),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: Any, seconds: float) -> None:
    assert units.duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "10", "s", "10 parsecs", "-5s", "10s and more", "999999 days", True, None, [1]])
def test_what_is_no_duration_is_refused_with_examples(text: Any) -> None:
    with pytest.raises(ValueError, match='"10s"'):
        units.duration(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [("64 KiB", 65536), ("64KiB", 65536), ("1 MB", 1_000_000), ("1.5 GiB", 3 * 2**29), ("7 bytes", 7), (100, 100)],
)
def test_a_size_is_read_as_people_write_it(text: Any, count: int) -> None:
    assert units.size(text) == count


@pytest.mark.parametrize("text", ["", "64", "KiB", "64 kilos", "-1 B", True, None])
def test_what_is_no_size_is_refused_with_examples(text: Any) -> None:
    with pytest.raises(ValueError, match='"64 KiB"'):
        units.size(text)


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (timedelta(milliseconds=12), "12 ms"),
        (timedelta(seconds=6), "6 s"),
        (timedelta(seconds=64), "1 min 4 s"),
        (timedelta(days=2, hours=3, minutes=4), "2 days 3 h"),
        (timedelta(days=1), "1 day"),
        (timedelta(seconds=-5), "0 ms"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(span: timedelta, said: str) -> None:
    assert units.words(span) == said


@pytest.mark.parametrize(
    ("count", "said"), [(512, "512 B"), (65536, "64 KiB"), (1536, "1.5 KiB"), (3 * 2**29, "1.5 GiB")]
)
def test_a_size_is_said_in_binary_units(count: int, said: str) -> None:
    assert units.bytes_words(count) == said
