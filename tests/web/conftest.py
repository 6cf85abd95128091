"""Fixtures of the callbacks side: a receiver that answers on loopback."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from web_kit import Site, receiving


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that `receiver serve` runs on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def site(tmp_path: Path, anyio_backend: object) -> AsyncIterator[Site]:
    async with receiving(tmp_path) as running:
        yield running
