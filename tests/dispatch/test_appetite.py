"""Laws of how much a handler is given at a time."""

from datetime import timedelta
from typing import Any

from receiver.dispatch.appetite import Appetite
from receiver.handler import HandlerSettings


def appetite(batch: int = 1, **settings: Any) -> Appetite:
    return Appetite(HandlerSettings(use="x", batch=batch, **settings), batch=batch)


def test_nothing_is_claimed_ahead_before_a_handler_has_shown_to_be_fast() -> None:
    assert appetite(concurrency=8).limit(calls=0, queued=0) == 8


def test_a_slow_handler_is_given_its_free_calls_and_no_more() -> None:
    hungry = appetite(concurrency=8)
    for _ in range(100):
        hungry.performed(0.1)
    assert hungry.limit(calls=6, queued=0) == 2
    assert hungry.limit(calls=8, queued=0) == 0


def test_a_fast_handler_is_given_work_for_twenty_milliseconds_ahead() -> None:
    hungry = appetite(concurrency=8)
    for _ in range(100):
        hungry.performed(0.002)
    assert 70 <= hungry.ahead <= 80
    assert hungry.limit(calls=8, queued=0) == hungry.ahead


def test_nothing_is_claimed_while_half_of_it_still_waits() -> None:
    hungry = appetite(concurrency=8)
    for _ in range(100):
        hungry.performed(0.002)
    assert hungry.limit(calls=8, queued=hungry.ahead // 2 + 1) == 0


def test_a_handler_that_slows_down_is_soon_given_nothing_ahead() -> None:
    hungry = appetite()
    for _ in range(100):
        hungry.performed(0.001)
    hungry.performed(10)
    assert hungry.ahead == 0


def test_a_gathering_handler_waits_from_the_first_event_on() -> None:
    hungry = appetite(batch=100, batch_wait=timedelta(seconds=5))
    assert hungry.patience(0, now=10) == 5
    assert hungry.patience(1, now=20) == 5
    assert hungry.patience(3, now=22) == 3
    assert hungry.patience(3, now=25) == 0


def test_a_full_batch_does_not_wait() -> None:
    assert appetite(batch=100, batch_wait=timedelta(seconds=5)).patience(100, now=0) == 0


def test_events_that_filters_keep_away_fill_no_batch() -> None:
    hungry = appetite(batch=100, batch_wait=timedelta(seconds=5))
    for _ in range(10):
        hungry.claimed(100, 1)
    assert hungry.patience(1000, now=0) == 5


def test_a_gathering_handler_is_claimed_one_batch_at_a_time() -> None:
    hungry = appetite(batch=100, batch_wait=timedelta(seconds=5), concurrency=8)
    assert hungry.limit(calls=0, queued=30) == 70
    assert hungry.limit(calls=8, queued=0) == 0
