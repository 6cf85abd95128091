"""`backup` and `migrate`: a copy that is whole, and a store that is up to date."""

import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from cli_kit import Office, opened_office  # noqa: F401 - a fixture
from factories import after, report


@pytest.fixture
def clock(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at it is a minute later."""
    minutes = count(1)
    monkeypatch.setattr("receiver.cli.opening.now", lambda: after(minutes=next(minutes)))


def test_a_backup_is_a_new_folder_that_can_be_put_back(office: Office) -> None:
    office.store(report("m-1"), report("m-2"))
    ended = office.run("backup", "copy")
    assert ended.status == 0
    assert f"{office.folder}/copy  2 events" in ended.out
    office.store(report("later"))
    for file in (office.folder / "copy").iterdir():
        file.rename(office.folder / file.name)
    assert [record["subject"] for record in office.run("events", "--json").records] == ["m-1", "m-2"]


def test_it_leaves_an_audit_line_and_one_object_for_machines(office: Office) -> None:
    office.store(report())
    ended = office.run("backup", "copy", "--json")
    (told,) = ended.records
    size = sum(file.stat().st_size for file in (office.folder / "copy").iterdir())
    assert told == {
        "path": str(office.folder / "copy"),
        "made_at": "2026-03-02T10:42:10Z",
        "events": 1,
        "bytes": size,
        "removed": [],
    }
    assert ended.audit.items() >= {"command": "backup", "count": 1, "path": told["path"]}.items()


def test_in_a_folder_that_exists_a_dated_one_is_made(office: Office) -> None:
    (office.folder / "backups").mkdir()
    office.run("backup", "backups")
    assert [one.name for one in (office.folder / "backups").iterdir()] == ["2026-03-02T10-42-10Z"]


@pytest.mark.usefixtures("clock")
def test_of_dated_ones_the_newest_stay_and_nothing_else_is_touched(office: Office) -> None:
    kept = office.folder / "backups"
    kept.mkdir()
    (kept / "by-hand").mkdir()
    (kept / "2020-01-01T00-00-00Z").mkdir()  # no backup: nothing is in it
    made = [office.run("backup", "backups", "--keep", "2", "--json").records[0] for _ in range(3)]
    assert [one["removed"] for one in made] == [[], [], [made[0]["path"]]]
    there = {Path(one["path"]).name for one in made[1:]} | {"by-hand", "2020-01-01T00-00-00Z"}
    assert {one.name for one in kept.iterdir()} == there
    told = office.run("erase", "--number", "+31612345678", "--dry-run", "--json").records[0]
    assert told["backups"] == [one["path"] for one in made[1:]]


def test_with_keep_the_folder_is_made_the_first_time(office: Office) -> None:
    assert office.run("backup", "backups", "--keep", "2").status == 0
    assert [one.name for one in (office.folder / "backups").iterdir()] == ["2026-03-02T10-42-10Z"]


@pytest.mark.parametrize(
    ("dest", "words"),
    [
        ("copy", "is a backup already; name another folder"),
        ("receiver.toml", "exists already, and is no folder"),
        ("nowhere/copy", "there is no folder"),
    ],
)
def test_where_no_backup_can_be_it_says_why(office: Office, dest: str, words: str) -> None:
    office.run("backup", "copy")
    ended = office.run("backup", dest)
    assert (ended.status, ended.out, ended.acted) == (1, "", False)
    assert words in ended.err


def test_a_backup_that_fails_is_told_and_removes_none(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.run("backup", "backups", "--keep", "1")
    monkeypatch.setattr("receiver.cli.opening.now", lambda: after(70))
    monkeypatch.setattr("receiver.store.sqlite.copying.SPARE", 2**60)
    ended = office.run("backup", "backups", "--keep", "1")
    assert (ended.status, ended.acted) == (1, False)
    assert "MiB free" in ended.err
    assert [one.name for one in (office.folder / "backups").iterdir()] == ["2026-03-02T10-42-10Z"]


# migrate


def test_nothing_to_migrate_is_said_and_no_act(office: Office) -> None:
    ended = office.run("migrate")
    assert (ended.status, ended.out, ended.acted) == (0, "Nothing to do: the schema is up to date.\n", False)


def test_an_older_store_is_copied_and_brought_up_to_date(office: Office) -> None:
    office.store(report())
    with closing(sqlite3.connect(office.folder / "receiver.db")) as db:
        db.executescript("DROP TABLE erased; DROP TABLE backups; PRAGMA user_version = 1")
    assert office.run("stats").status == 78
    ended = office.run("migrate")
    assert ended.status == 0
    copies = {line.split("/")[-1] for line in ended.lines if line.startswith("copied")}
    assert copies == {"receiver-schema1.db", "receiver.dispatch-schema2.db"}
    assert "migrated  0003 years" in ended.lines
    assert ended.audit.items() >= {"command": "migrate", "steps": ["0003 years", "0004 fates"]}.items()
    assert office.stats().events == 1


def test_a_newer_store_is_refused(office: Office) -> None:
    with closing(sqlite3.connect(office.folder / "receiver.db")) as db:
        db.execute("PRAGMA user_version = 99")
    ended = office.run("migrate")
    assert ended.status == 78
    assert "install the newer version again" in ended.err


def test_a_missing_store_is_created(office: Office) -> None:
    for file in office.folder.glob("receiver*.db*"):
        file.unlink()
    ended = office.run("migrate")
    assert (ended.status, ended.lines) == (0, [f"created   {office.folder}/receiver.db"])
    assert office.stats().events == 0
