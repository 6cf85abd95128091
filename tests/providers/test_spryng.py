"""Spryng's settings; what its callbacks become stands in cases/spryng."""

from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from pydantic import ValidationError

from receiver.callback import Callback
from receiver.events import Event
from receiver.providers.spryng import Spryng, SpryngSettings


def reported(timezone: str) -> Event:
    query = urlencode({"ID": "a", "RECIPIENT": "31612345678", "STATUS": "10", "OPERATOR_STATUS_AT": "20250701120000"})
    received_at = datetime(2025, 7, 1, 10, 1, tzinfo=UTC)
    callback = Callback(source="s", endpoint="dlr", method="GET", query=query.encode(), received_at=received_at)
    return Spryng(SpryngSettings(timezone=timezone)).parse(callback)[0]


def test_times_are_of_the_zone_that_is_set() -> None:
    assert reported("UTC").occurred_at == datetime(2025, 7, 1, 12, tzinfo=UTC)


def test_an_identity_does_not_change_with_the_zone() -> None:
    assert reported("UTC").identity == reported("Europe/Amsterdam").identity


@pytest.mark.parametrize("name", ["Europe/Amsterdum", "", "/etc/passwd", "../UTC", "Europe"])
def test_an_unknown_zone_is_a_fault(name: str) -> None:
    with pytest.raises(ValidationError, match='write a name such as "Europe/Amsterdam"'):
        SpryngSettings(timezone=name)


def test_a_callback_is_answered_with_ok() -> None:
    callback = Callback(source="s", endpoint="mo", method="POST", received_at=datetime(2025, 7, 1, tzinfo=UTC))
    assert Spryng(SpryngSettings()).reply(callback).body == b"OK"
