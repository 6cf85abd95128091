"""What the simulator makes up looks like the provider's and is read by its adapter."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from simulate_kit import READERS, SHAPES

from receiver.callback import Callback
from receiver.cli.simulate.shape import Making, Request, doubling


def made(provider: str, kind: str, count: int = 2000) -> list[Request]:
    chance = random.Random(1)
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    return [SHAPES[provider].make[kind](Making(number, 5, now, chance)) for number in range(count)]


def read(provider: str, request: Request) -> Any:
    callback = Callback(
        source=provider,
        endpoint=request.endpoint,
        method=request.method,
        query=request.query.encode(),
        body=request.body,
        content_type=request.content_type,
        received_at=datetime(2026, 3, 2, 12, tzinfo=UTC),
    )
    (event,) = READERS[provider].parse(callback)
    assert READERS[provider].home(callback, event) == request.endpoint
    return event


@pytest.mark.parametrize("provider", SHAPES)
@pytest.mark.parametrize("kind", ["dlr", "mo"])
def test_made_up_callbacks_are_all_different_and_read_as_their_kind(provider: str, kind: str) -> None:
    requests = made(provider, kind)
    events = [read(provider, request) for request in requests]
    assert {event.kind for event in events} == {kind}
    assert {event.identity.certain for event in events} == {requests[0].identified}
    assert len({event.identity.values for event in events}) == len(requests)


@pytest.mark.parametrize("provider", SHAPES)
def test_most_messages_arrive_and_the_others_fail_for_reasons(provider: str) -> None:
    events = [read(provider, request) for request in made(provider, "dlr")]
    statuses = Counter(event.status.value for event in events)
    assert 0.88 < statuses["delivered"] / len(events) < 0.96
    assert set(statuses) > {"failed", "rejected"}
    assert {event.reason for event in events if event.outcome == "failure"} - {None}


@pytest.mark.parametrize("provider", SHAPES)
def test_people_write_opt_outs_emoji_and_several_lines(provider: str) -> None:
    events = [read(provider, request) for request in made(provider, "mo")]
    assert any(event.opt_out for event in events)
    assert any("😀" in event.text for event in events)
    assert any("\n" in event.text for event in events)


def test_the_times_of_reports_are_of_now() -> None:
    (request, *_) = made("spryng", "dlr", 1)
    assert read("spryng", request).occurred_at == datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_reports_of_spryng_come_again_ever_more_slowly() -> None:
    pauses = [doubling(refusals) for refusals in range(1, 2000)]
    assert pauses[:4] == [timedelta(minutes=minutes) for minutes in (1, 2, 4, 8)]
    assert pauses == sorted(pauses)
