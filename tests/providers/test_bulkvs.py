"""BulkVS's settings; what its callbacks become stands in cases/bulkvs."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from receiver.callback import Callback
from receiver.providers.bulkvs import BulkVS, BulkVSSettings

BODY = b'{"From": "13105551212", "To": ["13109060901"], "Message": "1+1"}'


def callback(body: bytes) -> Callback:
    return Callback(
        source="b", endpoint="webhook", method="POST", body=body, received_at=datetime(2026, 9, 17, tzinfo=UTC)
    )


def test_an_identity_does_not_change_with_the_encoding() -> None:
    readers = [BulkVS(BulkVSSettings(text_encoding=how)) for how in ("auto", "form", "plain")]
    first, *others = [reader.parse(callback(BODY))[0].identity for reader in readers]
    assert others == [first, first]


def test_an_unknown_encoding_is_a_fault() -> None:
    with pytest.raises(ValidationError, match="'auto', 'form' or 'plain'"):
        BulkVSSettings.model_validate({"text_encoding": "utf-8"})


def test_a_callback_is_answered_with_what_the_old_api_wants_to_hear() -> None:
    assert BulkVS(BulkVSSettings()).reply(callback(b"")).body == b"OK"
