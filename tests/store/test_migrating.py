"""A store of an earlier version is brought up to date after a copy of both files; one of a later version is refused."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from receiver.errors import StoreTaken, StoreUnavailable, StoreUnusable
from receiver.store import migrate as steps
from receiver.store.sqlite import files, migrate, migrating

COPIES = {"receiver-schema1.db", "receiver.dispatch-schema2.db"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "receiver.db"


@pytest.fixture
def old(path: Path) -> Path:
    """A store as the first schemas made it, with an event and a lane in it."""
    for file, first in (("log", 1), ("dispatch", 2)):
        (step,) = [one for one in steps.migrations("sqlite", file) if one.number == first]
        with closing(sqlite3.connect(migrating.file_of(path, file))) as db:
            db.executescript(step.sql)
            db.execute(f"PRAGMA user_version = {first}")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(
            "INSERT INTO events (position, id, kind, source, received_at, simulated, data)"
            " VALUES (7, x'00', 'dlr', 'spryng', 0, 0, '{}')"
        )
    return path


def versions(path: Path) -> list[int]:
    return [files.version_of(migrating.file_of(path, file), file) for file in ("log", "dispatch")]


def positions(path: Path) -> list[tuple[int]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT position FROM events").fetchall()


def names(path: Path) -> set[str]:
    return {one.name for one in path.parent.glob("*.db")}


def test_an_older_store_is_copied_and_then_changed(old: Path) -> None:
    done = migrate(old)
    assert (done.created, done.steps) == (False, ("0003 years", "0004 fates"))
    assert {copy.name for copy in done.copies} == COPIES
    assert versions(old) == [steps.newest("sqlite", "log"), steps.newest("sqlite", "dispatch")]
    assert positions(old) == positions(old.with_name("receiver-schema1.db")) == [(7,)]


def test_what_became_of_answers_is_known_after_it(old: Path) -> None:
    told = [(b"b", 3, 30, "unknown"), (b"a", 7, 70, "answered"), (b"c", 5, 50, "unanswered")]
    with closing(sqlite3.connect(old)) as db, db:
        db.executemany("INSERT INTO fates (digest, position, received_at, fate) VALUES (?, ?, ?, ?)", told)
    migrate(old)
    with closing(sqlite3.connect(old)) as db:
        kept = db.execute("SELECT digest, position, received_at, fate FROM fates ORDER BY position").fetchall()
    assert kept == sorted(told, key=lambda fate: fate[1])


def test_what_was_copied_is_a_store_of_before(old: Path, tmp_path: Path) -> None:
    """Put back under its own name, the version from before takes it."""
    migrate(old)
    back = tmp_path / "back"
    back.mkdir()
    (old.with_name("receiver-schema1.db")).rename(back / "receiver.db")
    (old.with_name("receiver.dispatch-schema2.db")).rename(back / "receiver.dispatch.db")
    assert versions(back / "receiver.db") == [1, 2]


def test_a_second_time_nothing_is_to_do(old: Path) -> None:
    migrate(old)
    assert migrate(old) == migrating.Migrated(False, (), ())


def test_a_missing_store_is_made_without_a_copy(path: Path) -> None:
    assert migrate(path).created
    assert names(path) == {"receiver.db", "receiver.dispatch.db"}


def test_a_newer_store_is_refused_and_left_alone(path: Path) -> None:
    migrate(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreUnusable, match="install the newer version again"):
        migrate(path)
    assert names(path) == {"receiver.db", "receiver.dispatch.db"}


@pytest.mark.parametrize("file", ["log", "dispatch"])
def test_under_a_running_receiver_nothing_is_changed(old: Path, file: str) -> None:
    one = migrating.file_of(old, file)
    lock = files.Lock(one.with_name(f"{one.name}.lock"))
    with pytest.raises(StoreTaken, match="in use by another receiver"):
        migrate(old)
    assert versions(old) == [1, 2]
    lock.release()


def test_without_a_copy_nothing_is_changed(old: Path) -> None:
    old.with_name("receiver-schema1.db.unfinished").mkdir()
    with pytest.raises(StoreUnavailable, match="not changed without a copy"):
        migrate(old)
    assert versions(old) == [1, 2]


def test_only_what_serve_and_migrate_open_is_changed(old: Path) -> None:
    with pytest.raises(StoreUnusable, match="`receiver migrate` brings it up to date"):
        files.check(old, "log")
    assert versions(old) == [1, 2]
