"""Fates on SQLite: what a process remembers of answered callbacks has an end."""

import pytest

from receiver.store.plan import Plan
from receiver.store.sqlite import fates

SECOND = 1_000_000


def stored(fates_of: fates.Fates, content: bytes, position: int, seconds: float) -> None:
    fates_of.remember(Plan(fates={content: (position, round(seconds * SECOND))}))


def test_what_came_long_before_the_newest_is_forgotten() -> None:
    known = fates.Fates()
    for n in range(1000):
        stored(known, b"%d" % n, n, n)
    assert list(known._newest) == [b"%d" % n for n in range(984, 1000)]
    assert len(known._came) == 16


def test_a_content_that_came_again_is_remembered_from_then_on() -> None:
    known = fates.Fates()
    stored(known, b"OK", 1, 0)
    stored(known, b"OK", 1, 10)  # a retry: the same event
    stored(known, b"NO", 2, 20)
    assert known._newest == {b"OK": (1, 10 * SECOND), b"NO": (2, 20 * SECOND)}
    stored(known, b"NO", 3, 30)
    assert known._newest == {b"NO": (3, 30 * SECOND)}


def test_a_clock_that_was_set_back_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fates, "MOST_REMEMBERED", 100)
    known = fates.Fates()
    stored(known, b"first", 0, 3600)
    for n in range(1, 1000):
        stored(known, b"%d" % n, n, 0)
    assert len(known._came) == len(known._newest) == 100
