"""What the tests of whole processes are given: a folder of their own, in which nothing runs when they are over."""

from collections.abc import AsyncIterator
from pathlib import Path

import postgres_kit
import pytest
from http_target import Target, answer, listening

from drills.yard import Yard


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """For a receiver that several tests look at."""
    return "asyncio"


@pytest.fixture
async def yard(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Yard]:
    """An empty folder to run the receiver in; asked for with `postgres`, it has an empty database too."""
    url = await postgres_kit.fresh() if getattr(request, "param", "") == "postgres" else ""
    async with Yard.opened(tmp_path, url=url) as yard:
        yield yard
    if url:
        await postgres_kit.drop(url)


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """A server that takes what `forward` brings."""
    async with listening(answer(204)) as target:
        yield target
