"""What the tests of deploy/ are given: a receiver with sockets handed over to it, and each proxy in front of it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from deploy_kit import SOURCE, Activated, Proxy, proxy

from drills.yard import Yard


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    """An empty folder to run the receiver in."""
    async with Yard.opened(tmp_path) as yard:
        (yard.folder / "receiver.toml").write_text(SOURCE)
        yield yard


@pytest.fixture
def activated(yard: Yard) -> Iterator[Activated]:
    """Sockets to hand over."""
    with Activated.held(yard) as held:
        yield held


@pytest.fixture(params=["nginx", "nginx-location", "caddy"])
async def front(request: pytest.FixtureRequest, activated: Activated, tmp_path: Path) -> AsyncIterator[Proxy]:
    """Each proxy, in front of these sockets."""
    async with proxy(request.param, activated.callbacks, tmp_path / "front") as running:
        yield running
