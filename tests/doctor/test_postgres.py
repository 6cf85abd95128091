"""What the doctor says of a PostgreSQL: the server, what stands behind a commit, and its clock."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import postgres_kit
import pytest
from doctor_kit import case

from receiver.cli.doctor import database, disk, postgres
from receiver.cli.doctor.case import Case
from receiver.cli.doctor.finding import OK, PROBLEM, SKIPPED
from receiver.store.postgres import PostgresStore, checkup
from receiver.store.postgres.checkup import Standby, Stands

pytestmark = pytest.mark.anyio
SOUND = Stands("17.2", "on", "ANY 1 (db2, db3)", (Standby("db2", "quorum", 512),), timedelta(0), 0.0008)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    url = await postgres_kit.fresh()
    store = await PostgresStore.open(url, "receive", create=True)
    await store.close()
    yield url
    await postgres_kit.drop(url)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    return case(tmp_path, '[store]\nurl = "postgresql://receiver@db.example.com/receiver"')


async def found(told: Case, monkeypatch: pytest.MonkeyPatch, **changes: object) -> dict[str, tuple[str, str]]:
    """What is said of a server that is sound but for this."""

    async def stands(_url: str) -> Stands:
        return SOUND._replace(**changes)

    monkeypatch.setattr(checkup, "stands", stands)
    return {one.check: (one.state, one.words) for one in await postgres.server(told)}


async def test_a_real_server_is_told_with_its_version_its_durability_and_its_clock(url: str, tmp_path: Path) -> None:
    told = case(tmp_path, f'[store]\nurl = "{url}"')
    server, standbys, clock = await postgres.server(told)
    assert (server.check, server.state, server.facts["synchronous_commit"]) == ("postgresql", OK, "on")
    assert f"{server.facts['version'].split()[0]} · synchronous_commit on" in server.words
    assert (standbys.check, standbys.state) == ("standbys", SKIPPED)
    assert "on one machine only" in standbys.words
    assert (clock.check, clock.state) == ("database clock", OK)
    assert [one.state for one in await database.store(told)] == [OK]


async def test_what_is_sqlites_is_not_told(url: str, tmp_path: Path) -> None:
    told = case(tmp_path, f'[store]\nurl = "{url}"')
    assert [*await disk.room(told), *await disk.flushing(told), *await database.integrity(told)] == []


async def test_on_sqlite_nothing_of_it_is_told(tmp_path: Path) -> None:
    assert await postgres.server(case(tmp_path)) == []


async def test_a_server_that_cannot_be_reached_is_one_problem_and_not_four(told: Case, tmp_path: Path) -> None:
    told = case(tmp_path, '[store]\nurl = "postgresql://receiver@127.0.0.1:1/receiver"')
    assert await postgres.server(told) == []
    (one,) = await database.store(told)
    assert one.state == PROBLEM
    assert "cannot be reached" in one.words


async def test_standbys_that_are_waited_for_are_told(told: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    told_of = await found(told, monkeypatch)
    assert told_of["standbys"] == (
        OK,
        "a commit waits for ANY 1 (db2, db3): db2 (quorum) is 512 B behind",
    )


@pytest.mark.parametrize(
    ("standbys", "words"),
    [
        ((), "and none is there"),
        ((Standby("db2", "async", 0),), "and none is there"),
        ((Standby("db2", "sync", 2 * 1024**3),), "db2 (sync) is 2.0 GiB behind"),
    ],
)
async def test_standbys_that_are_away_or_late_are_a_problem(
    told: Case, monkeypatch: pytest.MonkeyPatch, standbys: tuple[Standby, ...], words: str
) -> None:
    state, said = (await found(told, monkeypatch, standbys=standbys))["standbys"]
    assert state == PROBLEM
    assert words in said


async def test_standbys_that_are_not_shown_are_not_judged(told: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    state, said = (await found(told, monkeypatch, standbys=None))["standbys"]
    assert state == OK
    assert "pg_monitor" in said


@pytest.mark.parametrize(("seconds", "words"), [(90, "1 min 30 s ahead of ours"), (-90, "1 min 30 s behind ours")])
async def test_a_clock_that_differs_is_a_problem(
    told: Case, monkeypatch: pytest.MonkeyPatch, seconds: int, words: str
) -> None:
    assert (await found(told, monkeypatch, ahead=timedelta(seconds=seconds)))["database clock"] == (PROBLEM, words)


async def test_a_server_that_nobody_mends_any_more_is_a_problem(told: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await found(told, monkeypatch, version="11.22 (Debian)"))["postgresql"][0] == PROBLEM
