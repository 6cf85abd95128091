"""Laws of filters: which events a handler is given."""

from typing import Any

import pytest
from factories import message, notice, report

from receiver.dispatch.filters import matches
from receiver.events import Event, Status
from receiver.handler import HandlerSettings


def given(event: Event, *, to: str = "crm", **filters: Any) -> bool:
    return matches(HandlerSettings(use="x", **filters), event, handler=to)


def test_without_filters_reports_and_messages_are_given_and_notices_are_not() -> None:
    assert given(report())
    assert given(message())
    assert not given(notice())


def test_kinds_choose() -> None:
    assert not given(report(), kinds=["mo"])
    assert given(notice(about="shop"), kinds=["notice"])


def test_a_notice_about_a_handler_is_not_given_to_that_handler() -> None:
    assert not given(notice(about="crm"), kinds=["notice"])
    assert given(notice(about="crm"), kinds=["notice"], to="mail")


def test_notices_are_chosen_by_kinds_alone() -> None:
    filters: dict[str, Any] = {"sources": ["bulkvs"], "statuses": ["failed"], "originators": ["1"], "opt_out": True}
    assert given(notice(), to="mail", kinds=["notice"], **filters)


def test_a_list_is_any_of() -> None:
    assert given(report(source="spryng"), sources=["bulkvs", "spryng"])
    assert not given(report(source="spryng"), sources=["bulkvs"])


def test_several_filters_are_all_of() -> None:
    event = report(status=Status.FAILED, recipient="+31612345678")
    assert given(event, statuses=["failed"], recipients=["+31*"])
    assert not given(event, statuses=["failed"], recipients=["+32*"])


@pytest.mark.parametrize(
    ("event", "filters"),
    [
        (message(), {"statuses": ["delivered"]}),
        (report(originator=None), {"originators": ["*"]}),
        (report(), {"keywords": ["stop"]}),
        (report(), {"opt_out": False}),
        (message("", keyword=None), {"keywords": ["stop"]}),
    ],
)
def test_an_event_that_lacks_the_field_does_not_match(event: Event, filters: dict[str, Any]) -> None:
    assert not given(event, **filters)


@pytest.mark.parametrize("pattern", ["+31612345678", "0031612345678", "31612345678", "+316*", "31 6*"])
def test_numbers_are_compared_by_digits_and_a_star_is_a_prefix(pattern: str) -> None:
    assert given(message(originator="+31612345678"), originators=[pattern])
    assert not given(message(originator="+32612345678"), originators=[pattern])


def test_each_of_several_recipients_counts() -> None:
    event = message(recipient="3010", recipients=["3010", "3020"])
    assert given(event, recipients=["3020"])


def test_the_keyword_is_the_providers_else_the_first_word_in_any_case() -> None:
    assert given(message("Info please"), keywords=["INFO"])
    assert given(message("please info", keyword="INFO"), keywords=["info"])
    assert not given(message("please info"), keywords=["info"])
    assert not given(message("info", keyword="OTHER"), keywords=["info"])


def test_opt_out_chooses_both_ways() -> None:
    assert given(message("STOP"), opt_out=True)
    assert not given(message("hello"), opt_out=True)
    assert given(message("hello"), opt_out=False)
    assert not given(message("STOP"), opt_out=False)


def test_simulated_events_are_given_unless_the_handler_says_no() -> None:
    assert given(report(simulated=True))
    assert not given(report(simulated=True), simulated=False)
    assert given(report(simulated=False), simulated=False)
