"""The questions of docs/how-to/leave-the-receiver.md, asked of a store: everything comes out."""

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli_kit import Office, opened_office  # noqa: F401 - a fixture
from factories import after, message, report

from receiver.events import Status

PAGE = (Path(__file__).parents[1] / "docs/how-to/leave-the-receiver.md").read_text()
STATUSES, REQUESTS = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def asked(office: Office, question: str) -> Sequence[dict[str, Any]]:
    """The rows of an answer, read as a stranger's program reads the file."""
    file = sqlite3.connect(f"file:{office.folder}/receiver.db?mode=ro", uri=True)
    try:
        file.row_factory = sqlite3.Row
        return [dict(row) for row in file.execute(question)]
    finally:
        file.close()


def test_the_status_of_a_message_is_that_of_the_report_that_counts(office: Office) -> None:
    office.store(
        report("m-1", reference="order-1", occurred_at=after(-2)),
        report("m-1", reference="order-1", status=Status.SENT, occurred_at=after(-1)),
        report("m-2", status=Status.FAILED),
        message(),
    )
    found = {row["message_id"]: row for row in asked(office, STATUSES)}
    assert {name: row["status"] for name, row in found.items()} == {"m-1": "delivered", "m-2": "failed"}
    assert found["m-1"]["reference"] == "order-1"
    assert found["m-1"]["recipient"] == "31612345678"
    assert found["m-1"]["occurred_at"] == "2026-03-02T10:41:58Z"


def test_every_request_comes_out_with_its_bytes_and_why_it_could_not_be_read(office: Office) -> None:
    office.store(report("m-1"))
    office.quarantine("RECIPIENT is missing", query=b"ID=7", body=b"\xff\x00")
    good, bad = asked(office, REQUESTS)
    assert (good["query"], good["outcome"], good["reason"]) == ("ID=m-1&RECIPIENT=+31612345678", "stored", None)
    assert (bad["query"], bad["body_hex"], bad["reason"]) == ("ID=7", "FF00", "RECIPIENT is missing")


def test_the_export_has_every_event_also_more_than_are_shown_without_being_asked(office: Office) -> None:
    office.store(*(report(f"m-{number}") for number in range(60)))
    assert len(office.run("events", "--limit", "0", "--json").records) == 60
    assert len(office.run("events", "--limit", "0", "--csv").lines) == 1 + 60
