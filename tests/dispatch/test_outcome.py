"""Laws of what a result means for its dispatch."""

from datetime import timedelta
from typing import Any

from factories import NOW, after, report

from receiver.dispatch.outcome import Circumstances, outcome
from receiver.handler import HandlerSettings
from receiver.perform import Result
from receiver.store.base import Dead, Dispatch, Done, Interrupted, Outcome, RetryAt

SETTINGS = HandlerSettings(use="x", retries=["10s", "100s"])


def decide(result: Result, *, number: int = 1, **given: Any) -> Outcome:
    dispatch = Dispatch("crm:1", "crm", report(), number, 0, None, alone=False)
    return outcome(result, dispatch, SETTINGS, Circumstances(now=NOW, **{"draw": 0.5, **given}))


def test_each_verdict_has_its_outcome() -> None:
    assert decide(Result("done", "204")) == Done("204")
    assert decide(Result("discard", "no")) == Dead("no")
    assert decide(Result("interrupted", "killed: exit status 1")) == Interrupted("killed: exit status 1")


def test_a_paused_event_is_pending_and_not_charged() -> None:
    assert decide(Result("pause", "410")) == RetryAt(NOW, "410", charged=False)


def test_again_comes_after_the_schedules_pause_with_jitter() -> None:
    assert decide(Result("again", "x"), number=2, draw=0.0) == RetryAt(after(80), "x")


def test_what_the_target_asks_for_counts_where_it_is_later() -> None:
    assert decide(Result("again", "x", 60.0)) == RetryAt(after(60), "x")
    assert decide(Result("again", "x", 1.0)) == RetryAt(after(10), "x")
    assert decide(Result("again", "x", 1e6)) == RetryAt(NOW + timedelta(hours=24), "x")


def test_the_attempt_after_the_last_retry_is_a_dead_letter() -> None:
    assert decide(Result("unavailable", "x"), number=3) == Dead("x")


def test_on_hold_a_failure_is_not_charged_and_due_now_or_after() -> None:
    assert decide(Result("unavailable", "x"), number=3, held=True) == RetryAt(NOW, "x", target=True, charged=False)
    late = decide(Result("unavailable", "x", 30.0), held=True, probe=True)
    assert late == RetryAt(after(30), "x", target=True, charged=False, probe=True)
