"""What the tests of dispatch share: a store with a dispatcher that can be started on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from engine_kit import Yard


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with Yard.opened(tmp_path) as yard:
        yield yard
