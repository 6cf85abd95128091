"""`erase`: a person's data go, and what stays of them is named."""

import pytest
from cli_kit import Office, opened_office  # noqa: F401 - a fixture
from factories import PHONE, message, report

from receiver.numbers import Written
from receiver.store.base import Dead
from receiver.store.sqlite import erasing
from receiver.store.views import Erased

OTHER = "+31687654321"


def filled(office: Office) -> None:
    """Two of the person's, one of them dead at crm, and one of somebody else who writes about them."""
    office.store(report("m-1"), report("m-2"), message(f"ask {PHONE}", originator=OTHER))
    office.settle("crm", Dead(f"no such number {PHONE}"))


def test_what_is_a_persons_goes_after_a_question(office: Office) -> None:
    filled(office)
    ended = office.run("erase", "--number", "0031 6 12345678", "--yes")
    assert ended.status == 0
    assert "2 events, 2 callbacks, 0 callbacks in quarantine, 2 dispatches not settled" in ended.out
    assert "1 callback of other people name it in their words, and stay." in ended.err
    assert [record["data"]["originator"] for record in office.run("events", "--json").records] == [OTHER]
    assert office.counts() == {"cancelled": 2, "pending": 1}


def test_without_an_answer_nothing_is_changed(office: Office) -> None:
    filled(office)
    ended = office.run("erase", "--number", PHONE)
    assert (ended.status, ended.acted) == (1, False)
    assert "Erase it for good?" in ended.err
    assert office.stats().events == 3


def test_a_dry_run_counts_and_asks_nothing(office: Office) -> None:
    filled(office)
    ended = office.run("erase", "--number", PHONE, "--dry-run", "--json")
    (told,) = ended.records
    assert told.items() >= {"events": 2, "callbacks": 2, "cancelled": 2, "mentions": 1, "dry_run": True}.items()
    assert (ended.status, ended.acted) == (0, False)
    assert office.stats().events == 3


def test_the_audit_line_has_the_number_masked(office: Office) -> None:
    filled(office)
    ended = office.run("erase", "--number", PHONE, "--yes", "--json")
    assert ended.audit.items() >= {"command": "erase", "count": 2, "number": "+31*******78"}.items()
    assert not Written(PHONE).is_in(ended.err.encode())


def test_no_file_of_the_folder_holds_it_but_the_backups_that_are_listed(office: Office) -> None:
    office.store(report("m-1"), report("m-2"))
    office.run("backup", "copy")
    ended = office.run("erase", "--number", PHONE, "--yes")
    assert f"{office.folder}/copy" in ended.err
    files = [file for file in office.folder.rglob("*") if file.is_file()]
    holding = {file.parent.name for file in files if Written(PHONE).in_file(file.read_bytes())}
    assert holding == {"copy"}


def test_backups_that_were_moved_are_listed_too(office: Office) -> None:
    office.run("backup", "copy")
    (office.folder / "copy").rename(office.folder / "elsewhere")
    assert "copy  of 2026-03-02 11:42  (not there any more)" in office.run("erase", "--number", PHONE, "--dry-run").err


def test_copies_of_before_a_migration_are_listed(office: Office) -> None:
    (office.folder / "receiver.dispatch-schema2.db").write_bytes(b"")
    assert "receiver.dispatch-schema2.db" in office.run("erase", "--number", PHONE, "--dry-run").err


def test_a_number_that_nothing_is_stored_of_is_fine(office: Office) -> None:
    ended = office.run("erase", "--number", PHONE, "--yes")
    assert (ended.status, ended.lines[-1]) == (0, f"{PHONE}  nothing is stored of it")


def test_a_number_without_its_country_is_guessed_and_not_erased(office: Office) -> None:
    office.store(report())
    assert f"Did you mean {PHONE}?" in office.run("erase", "--number", "0612345678").err
    assert office.stats().events == 1


def test_what_could_not_be_overwritten_is_told(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaves(*_: object, **_more: object) -> Erased:
        return Erased(events=1, traces=2)

    monkeypatch.setattr(erasing, "erase", leaves)
    ended = office.run("erase", "--number", PHONE, "--yes")
    assert ended.status == 1
    assert "Old bytes are left on 2 pages: stop the receiver" in ended.err


@pytest.mark.parametrize("number", ["", " ", "+3161*"])
def test_one_whole_number_is_asked_for(office: Office, number: str) -> None:
    ended = office.run("erase", "--number", number, "--yes")
    assert ended.status == 2
    assert "one whole number" in ended.err
