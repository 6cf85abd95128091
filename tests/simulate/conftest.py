"""What the tests of the simulator share: a port where nobody listens."""

import pytest
from simulate_kit import listening


@pytest.fixture
async def free_port() -> int:
    async with listening("spryng") as receiver:
        return int(receiver.base.rpartition(":")[2])
