"""What the tests of whole processes are given: a folder of their own, in which nothing runs when they are over."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from http_target import Target, answer, listening

from drills.yard import Yard


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """For a receiver that several tests look at."""
    return "asyncio"


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    """An empty folder to run the receiver in."""
    async with Yard.opened(tmp_path) as yard:
        yield yard


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """A server that takes what `forward` brings."""
    async with listening(answer(204)) as target:
        yield target
