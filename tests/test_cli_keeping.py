"""`prune`: removes now what is older than it has to be kept."""

from pathlib import Path
from typing import Any

import pytest
from cli_kit import CONFIG, Office, opened_office  # noqa: F401 - a fixture
from factories import after, report

from receiver.errors import StoreUnavailable
from receiver.store.base import Done
from receiver.store.sqlite import SqliteStore


def old_and_new(office: Office) -> None:
    """Two old events and a new one, of which the handler has all."""
    office.configure(CONFIG + '[store]\nkeep = "7 days"\n')
    office.store(report("m-1", received_at=after(days=-9)), report("m-2", received_at=after(days=-8)), report("m-3"))
    office.settle("crm", Done(), Done(), Done())


def subjects(office: Office) -> list[str]:
    return [record["subject"] for record in office.run("events", "--json").records]


def test_what_is_older_than_keep_goes_and_the_rest_stays(office: Office) -> None:
    old_and_new(office)
    ended = office.run("prune")
    assert ended.status == 0
    assert "removed" in ended.out
    assert subjects(office) == ["m-3"]
    assert ended.audit["command"] == "prune"
    assert office.counts() == {"done": 3}


def test_what_a_handler_still_waits_for_stays(office: Office) -> None:
    office.configure(CONFIG + '[store]\nkeep = "7 days"\n')
    office.store(report("m-1", received_at=after(days=-9)), report("m-2"))
    office.run("prune")
    assert subjects(office) == ["m-1", "m-2"]


def test_nothing_to_remove_is_fine_and_no_act(office: Office) -> None:
    ended = office.run("prune")
    assert (ended.status, ended.acted) == (0, False)
    assert ended.out.startswith("0 records from before 2025-12-02")


@pytest.mark.parametrize("when", ["start", "prune"])
def test_on_a_full_disk_the_reserve_is_given_up_first(
    office: Office, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The disk is faked: it is full while the reserve is there."""
    old_and_new(office)
    reserve = office.folder / "receiver.db.reserve"
    reserve.write_bytes(b"x")
    original = getattr(SqliteStore, when)

    async def full(*given: Any, **more: Any) -> Any:
        if reserve.exists():
            raise StoreUnavailable("no space left")
        return await original(*given, **more)

    monkeypatch.setattr(SqliteStore, when, full)
    assert office.run("prune").status == 0
    assert subjects(office) == ["m-3"]
    assert not Path(reserve).exists()


def test_a_store_that_stays_unavailable_is_told(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: Any, **more: Any) -> int:
        raise StoreUnavailable("no space left")

    monkeypatch.setattr(SqliteStore, "prune", full)
    ended = office.run("prune")
    assert (ended.status, ended.err) == (69, "receiver: no space left\n")
