"""Laws of where a handler stands, in memory and in the store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from engine_kit import Yard

from receiver.dispatch.standing import HELD, OK, PAUSED, Stand
from receiver.errors import StoreUnavailable
from receiver.store.views import Standing

pytestmark = pytest.mark.anyio


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with Yard.opened(tmp_path) as yard:
        await yard.enrol("crm")
        yield yard


@pytest.fixture
def stand(yard: Yard) -> Stand:
    return Stand("crm", yard.store, clock=yard.clock)


async def kept(yard: Yard) -> Standing:
    return (await yard.command.standings())["crm"]


async def test_a_move_is_kept_by_the_store(yard: Yard, stand: Stand) -> None:
    stand.move(HELD, "connection refused")
    assert stand.urgent
    await stand.meet()
    assert not stand.urgent
    assert ((await kept(yard)).state, (await kept(yard)).reason) == (HELD, "connection refused")


async def test_what_was_kept_is_taken_over_after_a_restart(yard: Yard, stand: Stand) -> None:
    stand.move(HELD, "down")
    stand.err("connection refused")
    await stand.meet()
    after_restart = Stand("crm", yard.store, clock=yard.clock)
    await after_restart.meet()
    assert (after_restart.state, after_restart.now.last_error) == (HELD, "connection refused")


async def test_a_command_wins_over_what_we_were_about_to_write(yard: Yard, stand: Stand) -> None:
    stand.move(HELD, "down")
    await stand.meet()
    await yard.command.stand(Standing("crm", PAUSED), now=yard.clock())
    stand.move(OK, release=True)
    await stand.meet()
    assert stand.state == PAUSED
    assert (await kept(yard)).state == PAUSED


async def test_an_error_is_remembered_with_its_numbers_masked(yard: Yard, stand: Stand) -> None:
    stand.err("no customer +31612345678")
    await stand.meet()
    assert (await kept(yard)).last_error == "no customer +31*******78"


async def test_what_could_not_be_written_is_still_to_be_written(stand: Stand) -> None:
    class Broken:
        async def standings(self) -> dict[str, Standing]:
            return {}

        async def stand(self, *_: object, **__: object) -> None:
            raise StoreUnavailable("disk full")

    working, stand._store = stand._store, Broken()  # type: ignore[assignment]
    stand.move(PAUSED, "410")
    with pytest.raises(StoreUnavailable):
        await stand.meet()
    assert stand.urgent
    stand._store = working
    await stand.meet()
    assert (await working.standings())["crm"].state == PAUSED
