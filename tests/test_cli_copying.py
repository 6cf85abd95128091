"""`copy`: a whole store into another one."""

import pytest
from cli_kit import Office, opened_office  # noqa: F401 - a fixture
from factories import report

from receiver import cli
from receiver.cli import EX_CONFIG, EX_UNAVAILABLE
from receiver.store.sqlite.files import Lock


@pytest.fixture
def filled(office: Office) -> Office:
    office.enrol("crm")
    office.store(report("m-1"), report("m-2"))
    return office


def to(office: Office) -> tuple[str, ...]:
    return ("copy", "--to", f"sqlite:///{office.folder}/copy.db")


def test_a_copy_is_a_store_that_can_be_used(filled: Office) -> None:
    ended = filled.run(*to(filled), "--from", f"sqlite:///{filled.folder}/receiver.db")
    assert ended.status == 0
    assert [line.split()[:2] for line in ended.lines[:3]] == [["RECORDS", "COUNT"], ["callbacks", "2"], ["events", "2"]]
    assert f"Equal in both: {filled.folder}/receiver.db and {filled.folder}/copy.db" in ended.err
    before = filled.run("events", "--json").records
    (filled.folder / "copy.db").rename(filled.folder / "receiver.db")
    (filled.folder / "copy.dispatch.db").rename(filled.folder / "receiver.dispatch.db")
    assert filled.run("events", "--json").records == before


def test_it_leaves_an_audit_line_and_one_object_for_machines(filled: Office) -> None:
    ended = filled.run(*to(filled), "--json")
    (told,) = ended.records
    assert told["records"]["events"]["count"] == 2
    assert (told["from"], told["to"]) == (f"{filled.folder}/receiver.db", f"{filled.folder}/copy.db")
    assert ended.audit.items() >= {"command": "copy", "count": 2, "target": told["to"]}.items()


def test_nothing_is_copied_twice_into_the_same(filled: Office) -> None:
    filled.run(*to(filled))
    ended = filled.run(*to(filled))
    assert (ended.status, ended.acted) == (1, False)
    assert "the target is not empty (events: 2, handlers: 1)" in ended.err


@pytest.mark.parametrize("file", ["receiver.db", "receiver.dispatch.db", "copy.db"])
def test_while_a_receiver_runs_nothing_is_copied(filled: Office, file: str) -> None:
    lock = Lock(filled.folder / f"{file}.lock")
    ended = filled.run(*to(filled))
    lock.release()
    assert ended.status == EX_UNAVAILABLE
    assert f"{file} is in use by another receiver" in ended.err


def test_an_interrupted_one_keeps_receivers_away_until_it_is_finished(
    filled: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_told: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("receiver.cli.progress.quietly", interrupt)
        ended = filled.run(*to(filled))
    assert (ended.status, ended.acted) == (cli.INTERRUPTED, False)
    assert "goes on where it was" in ended.err
    monkeypatch.setenv("RECEIVER_STORE__URL", f"sqlite:///{filled.folder}/copy.db")
    ended = filled.run("events")
    assert ended.status == EX_CONFIG
    assert "is not finished: `receiver copy` again" in ended.err
    monkeypatch.delenv("RECEIVER_STORE__URL")
    assert filled.run(*to(filled)).status == 0


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        (("--to", "mysql://db"), 'expected "sqlite:///receiver.db"'),
        (("--from", "sqlite:///a.db", "--to", "sqlite:///a.db"), "the same store"),
        ((), "--to"),
    ],
)
def test_what_makes_no_sense_is_a_fault_of_use(filled: Office, urls: tuple[str, ...], words: str) -> None:
    ended = filled.run("copy", *urls)
    assert ended.status == 2
    assert words in ended.err


def test_what_is_not_there_is_not_copied(office: Office) -> None:
    ended = office.run(*to(office), "--from", f"sqlite:///{office.folder}/nowhere.db")
    assert ended.status == EX_CONFIG
    assert "no database at" in ended.err
    assert list(office.folder.glob("nowhere*")) == []
