"""SMPP receipt texts are told from what people write, and read field by field."""

from datetime import UTC, datetime

import pytest

from receiver.events import Reason, Status
from receiver.providers import receipt

WHOLE = "id:0000000012345678 sub:001 dlvrd:001 submit date:1601010100 done date:1601010101 stat:{} err:000 text:none"


def test_a_receipt_says_everything() -> None:
    text = WHOLE.format("DELIVRD")
    assert receipt.whole(text)
    assert receipt.read(text) == ("0000000012345678", "1601010100", "1601010101", "DELIVRD", "000")


@pytest.mark.parametrize(
    ("state", "status", "reason"),
    [
        ("SCHEDULED", Status.SCHEDULED, None),
        ("ENROUTE", Status.SENT, None),
        ("ACCEPTD", Status.SENT, None),
        ("DELIVRD", Status.DELIVERED, None),
        ("EXPIRED", Status.EXPIRED, Reason.EXPIRED),
        ("DELETED", Status.CANCELLED, Reason.UNKNOWN),
        ("UNDELIV", Status.FAILED, Reason.UNKNOWN),
        ("REJECTD", Status.REJECTED, Reason.UNKNOWN),
        ("UNKNOWN", Status.UNKNOWN, None),
        ("delivrd", Status.DELIVERED, None),
        ("VANISHED", None, None),
    ],
)
def test_a_state_is_a_status(state: str, status: Status | None, reason: Reason | None) -> None:
    told = receipt.read(WHOLE.format(state))
    assert told.verdict == (status, reason)


@pytest.mark.parametrize(
    "text",
    [
        "id:40072910491427628 sub:001 dlvrd:001 submit date:1007291049 done date:1007291049 stat:DELIVRD err:000",
        "id:9 sub:001 dlvrd:000 submit date:2609160247 done date:2609160247 stat:EXPIRED err:1 Text:hi",
        " id:9 sub:001  dlvrd:000 submit date:260916024700 done date:260916024700 stat:EXPIRED err: text:two\nlines ",
    ],
    ids=["no text", "capital Text", "seconds and white space"],
)
def test_a_receipt_may_lack_its_text(text: str) -> None:
    assert receipt.whole(text)


@pytest.mark.parametrize(
    "text",
    [
        "My id:12 is on the invoice",
        "id:12 stat:DELIVRD",
        "id:9 sub:001 dlvrd:000 submit date:2609160247 stat:EXPIRED err:1",
        "id:9 sub:001 dlvrd:000 submit date:today done date:tomorrow stat:EXPIRED err:1",
        "fwd: " + WHOLE.format("DELIVRD"),
        WHOLE.format("DELIVRD").removesuffix("text:none") + "what is this?",
        "",
    ],
)
def test_what_lacks_a_part_is_no_receipt(text: str) -> None:
    assert not receipt.whole(text)


def test_what_the_echoed_text_says_is_not_read() -> None:
    assert receipt.read("id:1 err:7 text:stat:DELIVRD id:2 stat:DELIVRD").stat == ""


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2609160247", datetime(2026, 9, 16, 2, 47, tzinfo=UTC)),
        ("260916024759", datetime(2026, 9, 16, 2, 47, 59, tzinfo=UTC)),
        ("20260916024759", datetime(2026, 9, 16, 2, 47, 59, tzinfo=UTC)),
        ("2613160247", None),
        ("0000000000", None),
        ("26091602", None),
        ("", None),
    ],
)
def test_a_receipts_time_is_read_in_its_three_lengths(written: str, meant: datetime | None) -> None:
    assert receipt.when(written) == meant
