"""What strangers do is told at most once a minute for each kind, and never with what must not be in a log."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from factories import callback, report
from structlog.testing import capture_logs
from structlog.typing import EventDict

from receiver.journal import WHY, RequestLog
from receiver.store.base import Recorded


@pytest.fixture
def lines() -> Iterator[list[EventDict]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, as a list of one: `seconds[0] += 60`."""
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_refusal_says_source_reason_and_address(lines: list[EventDict]) -> None:
    RequestLog().refused("spryng", "dlr", "wrong_secret", "192.0.2.1")
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("callback_refused", "warning")
    assert (line["source"], line["endpoint"], line["address"]) == ("spryng", "dlr", "192.0.2.1")
    assert "receiver urls" in line["why"]


@pytest.mark.parametrize("reason", WHY)
def test_every_reason_says_more_than_its_name(reason: str, lines: list[EventDict]) -> None:
    RequestLog().refused("spryng", "dlr", reason, "192.0.2.1")
    assert len(lines[0]["why"]) > len(reason)


def test_the_same_is_said_once_a_minute_with_a_count(lines: list[EventDict], seconds: list[float]) -> None:
    journal = RequestLog()
    for _ in range(100):
        journal.refused("spryng", "dlr", "wrong_secret", "192.0.2.1")
    seconds[0] += 59.9
    journal.refused("spryng", "dlr", "wrong_secret", "192.0.2.1")
    assert len(lines) == 1
    seconds[0] += 0.1
    journal.refused("spryng", "dlr", "wrong_secret", "192.0.2.1")
    assert [line.get("and_more_like_this") for line in lines] == [None, 100]


def test_another_source_and_another_reason_are_said_at_once(lines: list[EventDict]) -> None:
    journal = RequestLog()
    for source, reason in (("spryng", "wrong_secret"), ("spryng", "no_secret"), ("bulkvs", "wrong_secret")):
        journal.refused(source, "dlr", reason, "192.0.2.1")
    assert len(lines) == 3


def test_another_address_is_not_another_kind(lines: list[EventDict]) -> None:
    journal = RequestLog()
    for last in range(50):
        journal.refused("spryng", "dlr", "wrong_secret", f"192.0.2.{last}")
    assert len(lines) == 1


def test_a_test_of_the_url_is_said(lines: list[EventDict]) -> None:
    RequestLog().ignored("spryng", "dlr", "192.0.2.1")
    assert (lines[0]["event"], lines[0]["log_level"], lines[0]["address"]) == ("callback_ignored", "info", "192.0.2.1")


def test_a_quarantine_says_why_and_the_cure(lines: list[EventDict]) -> None:
    RequestLog().quarantined(callback(report()), "RECIPIENT is missing")
    (line,) = lines
    assert (line["event"], line["why"]) == ("callback_quarantined", "RECIPIENT is missing")
    assert "receiver quarantine" in line["cure"]


def test_a_repeat_names_the_first_event(lines: list[EventDict]) -> None:
    RequestLog().repeated(callback(report()), Recorded("duplicate", ("e-1",)))
    assert (lines[0]["event"], lines[0]["events"]) == ("callback_repeated", ["e-1"])


def test_a_store_that_is_unavailable_is_an_error_with_its_reason(lines: list[EventDict]) -> None:
    RequestLog().unavailable("no space left")
    assert (lines[0]["event"], lines[0]["log_level"], lines[0]["why"]) == (
        "callback_not_stored",
        "error",
        "no space left",
    )


def test_an_adapters_failure_is_told_by_its_place_not_by_its_words(lines: list[EventDict]) -> None:
    try:
        int("31612345678 canary")
    except ValueError as fault:
        RequestLog().adapter_failed(callback(report()), fault)
    (line,) = lines
    assert (line["fault"], line["log_level"]) == ("ValueError", "error")
    assert line["at"].startswith("test_journal.py:")
    assert "canary" not in f"{line}"


def test_a_failure_without_a_place_is_told_all_the_same(lines: list[EventDict]) -> None:
    RequestLog().adapter_failed(callback(report()), ValueError("canary"))
    assert lines[0]["at"] == "unknown:0 in unknown"


def test_no_line_quotes_the_callback(lines: list[EventDict]) -> None:
    journal, asked = RequestLog(), callback(report(received_at=report().received_at + timedelta(0)), body=b"canary")
    journal.quarantined(asked, "RECIPIENT is missing")
    journal.repeated(asked, Recorded("duplicate", ("e-1",)))
    assert "canary" not in f"{lines}"
    assert "31612345678" not in f"{lines}"
